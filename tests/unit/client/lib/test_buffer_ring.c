/* SPDX-License-Identifier: MIT */
/* Buffers of blkd_buffer_alloc on real shared memory, and what goes through the rings with them. */
#include <sys/wait.h>

#include "tests/unit/client/lib/fake_ring.h"
#include "tests/unit/suite.h"

static struct fake fake;
static struct blkd *connection;
static struct blkd_device *device;

static void setup(void)
{
    (void)unsetenv("BLKD_TIER");
    fake_ring_init(&fake);
}

static void begin(void)
{
    fake_start(&fake);
    connection = fake_connect_tier(&fake, BLKD_TIER_RING);
    device = fake_open_device(connection);
}

static void end(void)
{
    blkd_close(device);
    blkd_disconnect(connection);
    fake_ring_stop(&fake);
}

static uint8_t *alloc(size_t size_bytes)
{
    void *buffer = NULL;

    ck_assert_msg(blkd_buffer_alloc(connection, size_bytes, &buffer) == 0, "%s",
                  blkd_error_message());
    return buffer;
}

START_TEST(transfers_name_the_buffer_itself)
{
    uint8_t *first;
    uint8_t *second;

    begin();
    first = alloc(4096);
    second = alloc(65536);
    ck_assert_int_eq(blkd_read(device, 3, &(struct iovec){second + 512, 8192}, 1), 0);
    fake_assert_content(second + 512, 3 * FAKE_SECTOR, 8192);
    ck_assert_uint_eq(first[0], 0);
    blkd_buffer_free(connection, second);
    second = alloc(32768);
    for (size_t i = 0; i < 32768; i++)
        ck_assert_uint_eq(second[i], 0);
    end();
    ck_assert_uint_eq(fake_rings.logged, 1);
    ck_assert_uint_eq(fake_rings.log[0].arena, 1); /* 0 is where other memory is copied */
    ck_assert_uint_eq(fake_rings.log[0].memory_offset, 4096 + 512);
    ck_assert_uint_eq(fake_rings.arena_count, 2);
}
END_TEST

/* Allocating and freeing the same again asks the daemon for nothing; a second arena goes. */
START_TEST(one_unused_arena_stays)
{
    uint8_t *small;
    uint8_t *large;

    begin();
    for (int i = 0; i < 10; i++)
        blkd_buffer_free(connection, alloc((size_t)2 << 20));
    small = alloc((size_t)2 << 20);
    large = alloc((size_t)4 << 20);
    blkd_buffer_free(connection, small);
    blkd_buffer_free(connection, large);
    ck_assert_int_eq(blkd_ping(connection), 0);
    end();
    ck_assert_uint_eq(fake_rings.arena_count, 3);
    ck_assert_uint_eq(fake_rings.removals, 1);
}
END_TEST

START_TEST(a_buffer_beyond_the_quota_is_copied)
{
    uint8_t *buffer;

    fake_rings.arenas_allowed = 1; /* that for copying */
    begin();
    buffer = alloc(8192);
    ck_assert_int_eq(blkd_read(device, 7, &(struct iovec){buffer, 8192}, 1), 0);
    fake_assert_content(buffer, 7 * FAKE_SECTOR, 8192);
    blkd_buffer_free(connection, buffer);
    end();
    ck_assert_uint_eq(fake_rings.log[0].arena, 0);
}
END_TEST

START_TEST(in_a_child_shared_buffers_are_gone)
{
    unsigned char resident;
    uint8_t *buffer;
    int status;
    pid_t child;

    begin();
    buffer = alloc(1);
    child = fork();
    if (child == 0)
        _exit(mincore(buffer, 4096, &resident) == 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    buffer[0] = 1;
    end();
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("client_buffer_ring");
    TCase *tests = tcase_create("shared");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, transfers_name_the_buffer_itself);
    tcase_add_test(tests, one_unused_arena_stays);
    tcase_add_test(tests, a_buffer_beyond_the_quota_is_copied);
    tcase_add_test(tests, in_a_child_shared_buffers_are_gone);
    suite_add_tcase(all, tests);
    return all;
}

int main(void)
{
    return suite_run(suite());
}

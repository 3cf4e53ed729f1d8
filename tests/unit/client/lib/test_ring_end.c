/* SPDX-License-Identifier: MIT */
/* How libblkd's rings end while parts are in flight: a lost daemon, disconnect, close, fork. */
#include <sys/wait.h>

#include "tests/unit/client/lib/fake_ring_wait.h"

static void hang_up(struct fake *daemon)
{
    fake_hang_up(daemon);
}

START_TEST(lost_with_parts_in_flight)
{
    uint8_t *memory;
    uint8_t bytes[FAKE_SECTOR];
    struct iovec list[2] = {{NULL, FAKE_SECTOR}, {bytes, FAKE_SECTOR}};

    fake_rings.entries = 8;
    fake_rings.on_poke = hold;
    begin_rings();
    memory = fake_shared_memory(connection, 4096);
    memset(memory, 0x11, 4096);
    fake_ring_poke();
    ck_assert(fake_is_readable(connection, -1));
    ck_assert_int_eq(blkd_dispatch(connection, 0), 0);
    list[0].iov_base = memory;
    for (int i = 0; i < 20; i++) /* more than are in flight */
        ck_assert_int_eq(blkd_read_async(device, 0, &list[i % 2], 1, on_called, NULL), 0);
    fake_rings.on_poke = hang_up;
    fake_ring_poke();
    dispatch_until(20);
    ck_assert_int_eq(failed, -ENOTCONN);
    ck_assert_int_eq(blkd_flush(device), -ENOTCONN);
    ck_assert_int_eq(blkd_read(device, 0, list, 2), -ENOTCONN);
    memset(memory, 0x22, 4096); /* still memory */
    pthread_mutex_lock(&connection->mutex);
    ck_assert_int_eq(memory_add_arena(connection, 4096), -ENOTCONN);
    ck_assert_ptr_null(arena_free(&connection->rings.shared.set, memory));
    pthread_mutex_unlock(&connection->mutex);
    blkd_buffer_free(connection, memory);
    end();
}
END_TEST

START_TEST(disconnect_with_parts_in_flight)
{
    uint8_t bytes[FAKE_SECTOR];
    struct iovec iov = {bytes, sizeof(bytes)};

    begin_held();
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(blkd_read_async(device, 0, &iov, 1, on_called, NULL), 0);
    blkd_disconnect(connection);
    ck_assert_int_eq(called, 5);
    ck_assert_int_eq(failed, -ENOTCONN);
    fake_ring_stop(&fake);
}
END_TEST

/* What the device looked like is not overtaken by its close. */
START_TEST(close_waits_for_parts)
{
    begin_held();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(blkd_flush_async(device, on_called, NULL), 0);
    ck_assert_int_eq(blkd_close_async(device, on_called, NULL), 0);
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_uint_eq(fake.closes, 0);
    fake_ring_poke();
    dispatch_until(4);
    ck_assert_uint_eq(fake.closes, 1);
    blkd_disconnect(connection);
    fake_ring_stop(&fake);
}
END_TEST

/* The child can do nothing with the rings, and disconnecting there harms nobody. */
START_TEST(forked_child)
{
    uint8_t *memory;
    int status;
    pid_t child;

    begin_rings();
    memory = fake_shared_memory(connection, 4096);
    memset(memory, 1, 4096);
    child = fork();
    if (child == 0) {
        enum blkd_tier tier;
        bool fine = blkd_flush(device) == -ENOTCONN &&
                    blkd_get_tier(connection, &tier) == -ENOTCONN &&
                    madvise(memory, 4096, MADV_NORMAL) < 0;
        blkd_disconnect(connection);
        _exit(fine ? 0 : 1);
    }
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(blkd_read(device, 0, &(struct iovec){memory, 4096}, 1), 0);
    fake_assert_content(memory, 0, 4096);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client rings, the end");
    TCase *tests = tcase_create("all");

    tcase_add_checked_fixture(tests, setup_calls, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, lost_with_parts_in_flight);
    tcase_add_test(tests, disconnect_with_parts_in_flight);
    tcase_add_test(tests, close_waits_for_parts);
    tcase_add_test(tests, forked_child);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

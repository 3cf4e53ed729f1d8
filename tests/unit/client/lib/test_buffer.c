/* SPDX-License-Identifier: MIT */
/* blkd_buffer_alloc: when memory of the daemon is asked for, given back, or done without. */
#include "tests/unit/client/lib/fake_arenas.h"

START_TEST(a_buffer_is_shared_and_zero_again_each_time)
{
    uint8_t *first = alloc(1);
    uint8_t *second;

    ck_assert(is_shared(first));
    ck_assert(is_zero(first, PAGE));
    memset(first, 1, PAGE);
    second = alloc(3 * PAGE);
    ck_assert_uint_ge((size_t)(second - first), PAGE);
    memset(second, 2, (size_t)3 * PAGE);
    ck_assert_uint_eq(first[PAGE - 1], 1);
    blkd_buffer_free(connection, first);
    blkd_buffer_free(connection, second);
    first = alloc(8 * PAGE - 5);
    ck_assert(is_zero(first, (size_t)8 * PAGE));
    ck_assert_uint_eq(world.asks, 1);
}
END_TEST

START_TEST(fresh_memory_is_not_touched)
{
    uint8_t *first = alloc((size_t)16 * MIB);
    uint8_t *second;

    ck_assert(is_untouched(first, (size_t)16 * MIB));
    second = alloc(MIB);
    blkd_buffer_free(connection, second);
    second = alloc((size_t)2 * MIB);
    ck_assert(is_untouched(second + MIB, MIB));
}
END_TEST

START_TEST(arenas_grow_with_what_is_in_use)
{
    static const size_t mib[] = {2, 4, 8, 16, 32, 64, 64, 100, 64};
    void *filled;

    for (size_t i = 0; i < sizeof(mib) / sizeof(mib[0]); i++) {
        filled = alloc(mib[i] == 100 ? mib[i] * MIB : 1);
        ck_assert_uint_eq(world.asks, i + 1);
        ck_assert_uint_eq(world.asked[i], mib[i] * MIB);
        if (mib[i] == 100)
            continue;
        blkd_buffer_free(connection, filled);
        filled = alloc(mib[i] * MIB);
        ck_assert(is_shared(filled));
        ck_assert_uint_eq(world.asks, i + 1);
    }
    ck_assert_uint_eq(world.removed, 0);
}
END_TEST

START_TEST(at_the_quota_just_what_is_needed_is_asked_for)
{
    uint8_t *bytes;

    world.quota_bytes = (size_t)3 * MIB;
    (void)alloc((size_t)2 * MIB);
    ck_assert(is_shared(alloc(PAGE + 1)));
    ck_assert_uint_eq(world.asks, 3);
    ck_assert_uint_eq(world.asked[1], 4 * MIB);
    ck_assert_uint_eq(world.asked[2], 2 * PAGE);
    bytes = alloc((size_t)5 * MIB);
    ck_assert(!is_shared(bytes));
    ck_assert(is_zero(bytes, (size_t)5 * MIB));
    ck_assert_uint_eq(world.asks, 4); /* nothing smaller would do */
    memset(bytes, 1, (size_t)5 * MIB);
    blkd_buffer_free(connection, bytes);
    ck_assert(!is_mapped(bytes));
}
END_TEST

START_TEST(at_the_quota_the_spare_is_given_back_first)
{
    world.quota_bytes = (size_t)4 * MIB;
    blkd_buffer_free(connection, alloc(1));
    ck_assert_uint_eq(world.removed, 0);
    ck_assert(is_shared(alloc((size_t)4 * MIB)));
    ck_assert_uint_eq(world.removed, 1);
    ck_assert_uint_eq(world.asks, 3);
    ck_assert_uint_eq(world.asked[2], 4 * MIB);
}
END_TEST

START_TEST(the_largest_unused_arena_is_kept)
{
    void *small = alloc((size_t)2 * MIB);
    void *middle = alloc((size_t)4 * MIB);
    void *large = alloc((size_t)8 * MIB);

    blkd_buffer_free(connection, middle);
    ck_assert_uint_eq(world.removed, 0);
    blkd_buffer_free(connection, small);
    ck_assert_uint_eq(world.removed, 1);
    ck_assert_uint_eq(world.bytes, 12 * MIB);
    blkd_buffer_free(connection, large);
    ck_assert_uint_eq(world.removed, 2);
    ck_assert_uint_eq(world.bytes, 8 * MIB);
    ck_assert(is_shared(alloc((size_t)8 * MIB)));
    ck_assert_uint_eq(world.asks, 3);
}
END_TEST

static void check_without_shared_memory(void)
{
    uint8_t *buffers[64];

    for (size_t i = 0; i < 64; i++) {
        buffers[i] = alloc((i % 3 + 1) * PAGE);
        ck_assert(!is_shared(buffers[i]));
        ck_assert(is_zero(buffers[i], (i % 3 + 1) * PAGE));
        memset(buffers[i], (int)i, (i % 3 + 1) * PAGE);
    }
    for (size_t i = 0; i < 64; i++) {
        size_t which = i * 29 % 64;

        ck_assert_uint_eq(buffers[which][0], which);
        blkd_buffer_free(connection, buffers[which]);
        ck_assert(!is_mapped(buffers[which]));
    }
}

START_TEST(without_shared_memory_a_buffer_is_ordinary_memory)
{
    static const int errors[] = {-EOPNOTSUPP, -EDQUOT, -ENOSPC, -ENOMEM, -EPROTO};

    world.error = errors[_i];
    check_without_shared_memory();
}
END_TEST

/* Bytes go to a device and come back, whatever kind of memory the buffer is. */
START_TEST(buffers_are_good_for_transfers)
{
    struct blkd_device *device = fake_open_device(connection);
    uint8_t *bytes;
    struct iovec iov;

    world.error = _i == 0 ? 0 : -EOPNOTSUPP;
    bytes = alloc(MIB);
    ck_assert(is_shared(bytes) == (_i == 0));
    iov = (struct iovec){bytes + 512, MIB - 512};
    ck_assert_int_eq(blkd_read(device, 0, &iov, 1), 0);
    fake_assert_content(bytes + 512, 0, MIB - 512);
    ck_assert_int_eq(blkd_write(device, 8192, &iov, 1, 0), 0);
    ck_assert_mem_eq(fake.disk + (size_t)8192 * 512, bytes + 512, MIB - 512);
    blkd_close(device);
}
END_TEST

START_TEST(freeing_what_is_no_buffer_does_nothing)
{
    uint8_t here[2 * PAGE];
    uint8_t *shared = alloc((size_t)2 * PAGE);
    uint8_t *ordinary;

    world.error = -EDQUOT;
    ordinary = alloc((size_t)4 * MIB);
    blkd_buffer_free(connection, NULL);
    blkd_buffer_free(NULL, shared);
    blkd_buffer_free(connection, here);
    blkd_buffer_free(connection, shared + PAGE);
    blkd_buffer_free(connection, shared + 1);
    blkd_buffer_free(connection, ordinary + PAGE);
    ck_assert(is_shared(shared) && is_mapped(ordinary));
    shared[0] = ordinary[0] = 1;
    ck_assert_uint_eq(connection->rings.shared.set.arenas[0].used_pages, 2);
    for (int i = 0; i < 2; i++) {
        blkd_buffer_free(connection, shared);
        blkd_buffer_free(connection, ordinary);
    }
    ck_assert_uint_eq(connection->rings.shared.set.arenas[0].used_pages, 0);
    ck_assert(!is_mapped(ordinary));
}
END_TEST

static void check_refused(struct blkd *of, size_t size_bytes, int error, const char *words)
{
    int here;
    void *buffer = &here;

    ck_assert_int_eq(blkd_buffer_alloc(of, size_bytes, &buffer), error);
    ck_assert_msg(strstr(blkd_error_message(), words) != NULL, "%s", blkd_error_message());
    ck_assert_ptr_eq(buffer, &here);
}

START_TEST(impossible_sizes_are_refused)
{
    check_refused(connection, 0, -EINVAL, "0 bytes");
    check_refused(NULL, 1, -EINVAL, "connection is NULL");
    ck_assert_int_eq(blkd_buffer_alloc(connection, 1, NULL), -EINVAL);
    check_refused(connection, SIZE_MAX, -ENOMEM, "18446744073709551615");
    check_refused(connection, SIZE_MAX / 2, -ENOMEM, "buffer of");
    ck_assert_uint_eq(world.asks, 0);
    check_refused(connection, (size_t)1 << 60, -ENOMEM, "1152921504606846976");
    ck_assert_ptr_nonnull(alloc(1));
}
END_TEST

static void on_alloc(void *user_data, int result)
{
    ck_assert_int_eq(result, 0);
    *(void **)user_data = alloc(PAGE);
}

START_TEST(a_callback_never_asks_the_daemon)
{
    void *buffer = NULL;

    ck_assert_int_eq(blkd_ping_async(connection, on_alloc, &buffer), 0);
    ck_assert_int_eq(blkd_dispatch(connection, -1), 1);
    ck_assert_uint_eq(world.asks, 0);
    ck_assert(!is_shared(buffer));
    blkd_buffer_free(connection, buffer);
    (void)alloc(1);
    ck_assert_int_eq(blkd_ping_async(connection, on_alloc, &buffer), 0);
    ck_assert_int_eq(blkd_dispatch(connection, -1), 1);
    ck_assert(is_shared(buffer));
}
END_TEST

START_TEST(buffers_outlive_the_daemon)
{
    uint8_t *shared = alloc(PAGE);
    uint8_t *ordinary;

    __atomic_store_n(&hang_up, true, __ATOMIC_RELEASE);
    ck_assert_int_eq(blkd_ping(connection), -ENOTCONN);
    shared[0] = 1;
    ordinary = alloc(PAGE);
    ck_assert(!is_shared(ordinary)); /* what the daemon still punches out is not given to anybody */
    blkd_buffer_free(connection, shared);
    blkd_buffer_free(connection, ordinary);
    ck_assert_uint_eq(world.asks, 1);
}
END_TEST

static void lose(void)
{
    __atomic_store_n(&hang_up, true, __ATOMIC_RELEASE);
    ck_assert_int_eq(blkd_ping(connection), -ENOTCONN);
}

static void take_pages_back(void)
{
    ck_assert_int_eq(
        fallocate(world.memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)2 * MIB), 0);
}

/* Freed ones, too, do not come back. */
START_TEST(contents_outlive_the_daemons_memory)
{
    uint8_t *first = alloc(PAGE);
    uint8_t *freed = alloc((size_t)3 * PAGE);
    uint8_t *second = alloc((size_t)9 * PAGE);

    memset(first, 1, PAGE);
    memset(second, 2, (size_t)9 * PAGE);
    blkd_buffer_free(connection, freed);
    lose();
    take_pages_back();
    ck_assert(!is_shared(first) && !is_mapped(freed));
    ck_assert(first[0] == 1 && memcmp(first, first + 1, PAGE - 1) == 0);
    ck_assert(second[0] == 2 && memcmp(second, second + 1, (size_t)9 * PAGE - 1) == 0);
    blkd_buffer_free(connection, second);
    ck_assert(is_mapped(first) && !is_mapped(second));
    blkd_buffer_free(connection, first);
    ck_assert(!is_mapped(first));
}
END_TEST

/* They are still memory, and what blkd_error_message says is true. */
START_TEST(buffers_that_cannot_be_moved_are_said_to_be_lost)
{
    uint8_t *bytes = alloc(PAGE);
    struct arena *arena = arena_find_at(&connection->rings.shared.set, bytes);

    memset(bytes, 1, PAGE);
    (void)close(arena->fd);
    arena->fd = -1;
    lose();
    ck_assert_msg(strstr(blkd_error_message(), "the contents of its shared buffers may be lost") !=
                      NULL,
                  "%s", blkd_error_message());
    take_pages_back();
    ck_assert(is_zero(bytes, PAGE));
    blkd_buffer_free(connection, bytes);
    ck_assert(!is_mapped(bytes));
}
END_TEST

START_TEST(buffers_are_the_programs_after_disconnecting)
{
    uint8_t *shared = alloc(1);
    uint8_t *ordinary[9];
    int other;

    shared[0] = 1;
    world.error = -EOPNOTSUPP;
    for (size_t i = 0; i < 9; i++) {
        ordinary[i] = alloc((size_t)4 * MIB);
        ordinary[i][0] = 2;
    }
    blkd_disconnect(connection);
    connection = NULL;
    take_pages_back();
    ck_assert_uint_eq(shared[0], 1);
    blkd_buffer_free(NULL, &other);
    blkd_buffer_free(NULL, shared);
    ck_assert(!is_mapped(shared));
    for (size_t i = 0; i < 9; i++) {
        ck_assert_uint_eq(ordinary[i][0], 2);
        blkd_buffer_free(NULL, ordinary[i]);
        ck_assert(!is_mapped(ordinary[i]));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_buffer");
    TCase *tests = tcase_create("buffers");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_buffer_is_shared_and_zero_again_each_time);
    tcase_add_test(tests, fresh_memory_is_not_touched);
    tcase_add_test(tests, arenas_grow_with_what_is_in_use);
    tcase_add_test(tests, at_the_quota_just_what_is_needed_is_asked_for);
    tcase_add_test(tests, at_the_quota_the_spare_is_given_back_first);
    tcase_add_test(tests, the_largest_unused_arena_is_kept);
    tcase_add_loop_test(tests, without_shared_memory_a_buffer_is_ordinary_memory, 0, 5);
    tcase_add_loop_test(tests, buffers_are_good_for_transfers, 0, 2);
    tcase_add_test(tests, freeing_what_is_no_buffer_does_nothing);
    tcase_add_test(tests, impossible_sizes_are_refused);
    tcase_add_test(tests, a_callback_never_asks_the_daemon);
    tcase_add_test(tests, buffers_outlive_the_daemon);
    tcase_add_test(tests, contents_outlive_the_daemons_memory);
    tcase_add_test(tests, buffers_that_cannot_be_moved_are_said_to_be_lost);
    tcase_add_test(tests, buffers_are_the_programs_after_disconnecting);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

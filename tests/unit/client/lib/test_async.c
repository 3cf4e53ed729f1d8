/* SPDX-License-Identifier: MIT */
/* libblkd's callbacks and its pollable descriptor against a scripted daemon. */
#include "tests/unit/client/lib/fake_scene.h"

enum { BLOCKS = 15, BLOCK_BYTES = 4096 };

static int results[64];
static unsigned int called;

static void setup(void)
{
    fake_init(&fake);
    called = 0;
}

static void on_done(void *user_data, int result)
{
    *(int *)user_data = result;
    called++;
}

static void dispatch_until(unsigned int count)
{
    while (called < count)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 1);
}

static void read_blocks(uint8_t (*blocks)[BLOCK_BYTES])
{
    for (unsigned int i = 0; i < BLOCKS; i++) {
        struct iovec iov = {blocks[i], BLOCK_BYTES};
        results[i] = 1;
        ck_assert_int_eq(blkd_read_async(device, i * 11, &iov, 1, on_done, &results[i]), 0);
    }
}

static bool hold_reads(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    daemon->hold = request->op_case == BLKD__REQUEST__OP_READ ? BLOCKS : 0;
    return false;
}

START_TEST(answers_come_in_any_order)
{
    static uint8_t blocks[BLOCKS][BLOCK_BYTES];

    fake.on_request = hold_reads;
    begin();
    read_blocks(blocks);
    dispatch_until(BLOCKS);
    for (unsigned int i = 0; i < BLOCKS; i++) {
        ck_assert_int_eq(results[i], 0);
        fake_assert_content(blocks[i], i * 11 * FAKE_SECTOR, BLOCK_BYTES);
    }
    end();
}
END_TEST

/* Every frame boundary falls on every place of a received piece. */
START_TEST(answers_may_come_in_pieces)
{
    static uint8_t blocks[BLOCKS][BLOCK_BYTES];

    fake.split_bytes = (size_t)_i;
    begin();
    read_blocks(blocks);
    dispatch_until(BLOCKS);
    for (unsigned int i = 0; i < BLOCKS; i++)
        fake_assert_content(blocks[i], i * 11 * FAKE_SECTOR, BLOCK_BYTES);
    end();
}
END_TEST

START_TEST(large_and_small_reads_mix)
{
    static const size_t lengths[] = {512, 65536, 512, 512, 1 << 20, 4096, 32768, 1024};
    uint8_t *buffers[8];

    fake.split_bytes = (size_t)_i;
    begin();
    for (unsigned int i = 0; i < 8; i++) {
        buffers[i] = calloc(1, lengths[i]);
        struct iovec iov[2] = {{buffers[i], 512}, {buffers[i] + 512, lengths[i] - 512}};
        ck_assert_int_eq(blkd_read_async(device, i, iov, 2, on_done, &results[i]), 0);
    }
    dispatch_until(8);
    for (unsigned int i = 0; i < 8; i++) {
        ck_assert_int_eq(results[i], 0);
        fake_assert_content(buffers[i], i * FAKE_SECTOR, lengths[i]);
        free(buffers[i]);
    }
    end();
}
END_TEST

static int deadlocks[4];

static void on_deadlock(void *user_data, int result)
{
    struct blkd_config config = {0};
    struct blkd_device *other;

    config.path = "/x";
    deadlocks[0] = blkd_ping(connection);
    deadlocks[1] = blkd_dispatch(connection, 0);
    deadlocks[2] = blkd_flush(device);
    deadlocks[3] = blkd_open(connection, &config, &other);
    on_done(user_data, result);
}

START_TEST(waiting_in_a_callback_is_refused)
{
    begin();
    ck_assert_int_eq(blkd_ping_async(connection, on_deadlock, &results[0]), 0);
    dispatch_until(1);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(deadlocks[i], -EDEADLK);
    ck_assert_int_eq(blkd_ping(connection), 0);
    end();
}
END_TEST

static void on_submit_more(void *user_data, int result)
{
    for (unsigned int i = 1; i <= 8; i++)
        ck_assert_int_eq(blkd_ping_async(connection, on_done, &results[i]), 0);
    on_done(user_data, result);
}

START_TEST(submissions_in_a_callback_leave_together)
{
    begin();
    ck_assert_int_eq(blkd_ping_async(connection, on_submit_more, &results[0]), 0);
    dispatch_until(9);
    end();
    ck_assert_uint_eq(fake.most_frames_in_receive, 8);
}
END_TEST

START_TEST(submissions_wait_for_dispatch_if_told_to)
{
    struct blkd_options options = {0};

    fake_start(&fake);
    options.socket_path = fake.path;
    options.send_on_dispatch = true;
    ck_assert_int_eq(blkd_connect(&options, &connection), 0);
    for (unsigned int i = 0; i < 8; i++)
        ck_assert_int_eq(blkd_ping_async(connection, on_done, &results[i]), 0);
    dispatch_until(8);
    ck_assert_int_eq(blkd_ping_async(connection, on_done, &results[0]), 0);
    ck_assert_int_eq(blkd_ping(connection), 0); /* a waiting call sends both */
    ck_assert_int_eq(blkd_dispatch(connection, 0), 1);
    blkd_disconnect(connection);
    fake_stop(&fake);
    ck_assert_uint_eq(fake.most_frames_in_receive, 8);
}
END_TEST

START_TEST(descriptor_is_readable_while_there_is_work)
{
    begin();
    ck_assert(!fake_is_readable(connection, 0));
    ck_assert_int_eq(blkd_ping_async(connection, on_done, &results[0]), 0);
    ck_assert(fake_is_readable(connection, -1));
    ck_assert_uint_eq(called, 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 1);
    ck_assert_uint_eq(called, 1);
    ck_assert(!fake_is_readable(connection, 0));
    ck_assert_int_eq(blkd_dispatch(connection, 0), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 10), 0);
    end();
}
END_TEST

START_TEST(completion_found_by_a_waiting_call_is_announced)
{
    begin();
    results[0] = 1;
    ck_assert_int_eq(blkd_ping_async(connection, on_done, &results[0]), 0);
    ck_assert_int_eq(blkd_ping(connection), 0); /* answered second */
    ck_assert_uint_eq(called, 0);
    ck_assert(fake_is_readable(connection, 0));
    ck_assert_int_eq(blkd_dispatch(connection, 0), 1);
    ck_assert_int_eq(results[0], 0);
    ck_assert(!fake_is_readable(connection, 0));
    end();
}
END_TEST

START_TEST(nothing_to_do_calls_back_too)
{
    begin();
    ck_assert_int_eq(blkd_read_async(device, 0, NULL, 0, on_done, &results[0]), 0);
    ck_assert_uint_eq(called, 0);
    ck_assert(fake_is_readable(connection, 0));
    ck_assert_int_eq(blkd_dispatch(connection, 0), 1);
    ck_assert_int_eq(results[0], 0);
    ck_assert(!fake_is_readable(connection, 0));
    end();
}
END_TEST

static char message_inside[256];

static void on_failed(void *user_data, int result)
{
    (void)snprintf(message_inside, sizeof(message_inside), "%s", blkd_error_message());
    on_done(user_data, result);
}

START_TEST(message_is_there_in_the_callback)
{
    uint8_t bytes[512];
    struct iovec iov = {bytes, sizeof(bytes)};

    begin();
    ck_assert_int_eq(blkd_read_async(device, 1 << 20, &iov, 1, on_failed, &results[0]), 0);
    dispatch_until(1);
    ck_assert_int_eq(results[0], -EINVAL);
    ck_assert_ptr_nonnull(strstr(message_inside, "sector 1048576"));
    ck_assert_ptr_nonnull(strstr(message_inside, "past the end of the device"));
    end();
}
END_TEST

START_TEST(callback_is_required)
{
    begin();
    ck_assert_int_eq(blkd_ping_async(connection, NULL, NULL), -EINVAL);
    ck_assert_int_eq(blkd_flush_async(device, NULL, NULL), -EINVAL);
    end();
}
END_TEST

START_TEST(everything_works_without_waiting)
{
    struct blkd_config config = {0};
    struct blkd_config *told = NULL;
    struct blkd_device *other = NULL;
    struct blkd_info info = {0};
    uint64_t mapped = 99, unmapped = 99;
    struct iovec iov[6];
    static uint8_t bytes[6][512];

    begin();
    config.path = FAKE_FILE;
    ck_assert_int_eq(blkd_open_async(connection, &config, &other, on_done, &results[0]), 0);
    dispatch_until(1);
    ck_assert_int_eq(results[0], 0);
    for (int i = 0; i < 6; i++)
        iov[i] = (struct iovec){bytes[i], 512};
    ck_assert_int_eq(blkd_write_async(other, 0, iov, 6, 0, on_done, &results[0]), 0);
    memset(iov, 0, sizeof(iov)); /* the list is the library's own by now */
    ck_assert_int_eq(blkd_flush_async(other, on_done, &results[1]), 0);
    ck_assert_int_eq(blkd_discard_async(other, 0, 1, on_done, &results[2]), 0);
    ck_assert_int_eq(blkd_write_zeroes_async(other, 0, 1, 0, on_done, &results[3]), 0);
    ck_assert_int_eq(blkd_resize_async(other, 5, on_done, &results[4]), 0);
    ck_assert_int_eq(blkd_seek_mapped_async(other, 2, &mapped, on_done, &results[5]), 0);
    ck_assert_int_eq(blkd_seek_unmapped_async(other, 2, &unmapped, on_done, &results[6]), 0);
    ck_assert_int_eq(blkd_get_info_async(other, &info, on_done, &results[7]), 0);
    ck_assert_int_eq(blkd_get_config_async(other, &told, on_done, &results[8]), 0);
    dispatch_until(10);
    for (int i = 0; i < 9; i++)
        ck_assert_int_eq(results[i], 0);
    ck_assert_uint_eq(mapped, 2);
    ck_assert_uint_eq(unmapped, fake.disk_bytes / FAKE_SECTOR);
    ck_assert_uint_eq(info.sector_size, FAKE_SECTOR);
    ck_assert_str_eq(told->path, "/srv/a b.img");
    blkd_config_free(told);
    results[0] = 1;
    ck_assert_int_eq(blkd_close_async(other, on_done, &results[0]), 0);
    ck_assert_int_eq(blkd_flush_async(other, on_done, &results[1]), -EBADF);
    dispatch_until(11);
    ck_assert_int_eq(results[0], 0);
    end();
    ck_assert_uint_eq(fake.closes, 2);
}
END_TEST

START_TEST(path_means_what_it_meant_at_the_call)
{
    char name[] = "/tmp/blkd-test-XXXXXX";
    struct blkd_config config = {0};
    struct blkd_device *other = NULL;
    struct stat status;
    int fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    (void)close(fd);
    fake_start(&fake);
    connection = fake_connect(&fake);
    config.path = name;
    ck_assert_int_eq(blkd_open_async(connection, &config, &other, on_done, &results[0]), 0);
    ck_assert_int_eq(unlink(name), 0);
    while (called < 1)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    ck_assert_int_eq(results[0], 0);
    blkd_close(other);
    ck_assert_uint_eq(fake.opened_inode, status.st_ino);
    ck_assert_int_eq(blkd_open_async(connection, &config, &other, on_done, &results[0]), -ENOENT);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), name));
    blkd_disconnect(connection);
    fake_stop(&fake);
}
END_TEST

START_TEST(close_lets_calls_before_it_end)
{
    static uint8_t blocks[BLOCKS][BLOCK_BYTES];

    fake.on_request = hold_reads;
    begin();
    read_blocks(blocks);
    blkd_close(device);
    ck_assert_uint_eq(called, 0); /* callbacks run nowhere but in blkd_dispatch */
    for (unsigned int i = 0; i < BLOCKS; i++)
        fake_assert_content(blocks[i], i * 11 * FAKE_SECTOR, BLOCK_BYTES);
    dispatch_until(BLOCKS);
    for (unsigned int i = 0; i < BLOCKS; i++)
        ck_assert_int_eq(results[i], 0);
    blkd_disconnect(connection);
    fake_stop(&fake);
    ck_assert_uint_eq(fake.closes, 1);
}
END_TEST

static void on_close_there(void *user_data, int result)
{
    blkd_close(device);
    on_done(user_data, result);
}

START_TEST(close_in_a_callback_does_not_wait)
{
    begin();
    ck_assert_int_eq(blkd_flush_async(device, on_close_there, &results[0]), 0);
    dispatch_until(1);
    ck_assert_int_eq(blkd_ping(connection), 0); /* answered after the close */
    blkd_disconnect(connection);
    fake_stop(&fake);
    ck_assert_uint_eq(fake.closes, 1);
}
END_TEST

static bool never_answer(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)daemon;
    (void)payload;
    return request->op_case == BLKD__REQUEST__OP_FLUSH;
}

START_TEST(disconnect_calls_back_what_is_pending)
{
    fake.on_request = never_answer;
    begin();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(blkd_flush_async(device, on_failed, &results[i]), 0);
    ck_assert_int_eq(blkd_ping(connection), 0);
    blkd_disconnect(connection); /* frees the open device as well */
    ck_assert_uint_eq(called, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(results[i], -ENOTCONN);
    ck_assert_ptr_nonnull(strstr(message_inside, "the program disconnected"));
    fake_stop(&fake);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_async");
    TCase *tests = tcase_create("callbacks");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, answers_come_in_any_order);
    tcase_add_loop_test(tests, answers_may_come_in_pieces, 1, 40);
    tcase_add_loop_test(tests, large_and_small_reads_mix, 500, 530);
    tcase_add_test(tests, waiting_in_a_callback_is_refused);
    tcase_add_test(tests, submissions_in_a_callback_leave_together);
    tcase_add_test(tests, submissions_wait_for_dispatch_if_told_to);
    tcase_add_test(tests, descriptor_is_readable_while_there_is_work);
    tcase_add_test(tests, completion_found_by_a_waiting_call_is_announced);
    tcase_add_test(tests, nothing_to_do_calls_back_too);
    tcase_add_test(tests, message_is_there_in_the_callback);
    tcase_add_test(tests, callback_is_required);
    tcase_add_test(tests, everything_works_without_waiting);
    tcase_add_test(tests, path_means_what_it_meant_at_the_call);
    tcase_add_test(tests, close_lets_calls_before_it_end);
    tcase_add_test(tests, close_in_a_callback_does_not_wait);
    tcase_add_test(tests, disconnect_calls_back_what_is_pending);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

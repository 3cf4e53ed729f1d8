/* SPDX-License-Identifier: MIT */
#include "tests/unit/daemon/engine/fixture.h"

#include <time.h>

#include "tests/unit/suite.h"

static const char *const inner[] = {"io_uring", "threads"};

enum { INNER = sizeof(inner) / sizeof(*inner), SECTORS = 64 };

static int fault_start(int variant, const char *rules)
{
    char name[128];

    snprintf(name, sizeof(name), "fault:%s:%s", inner[variant], rules);
    engine_start(name);
    ck_assert_str_eq(engine_name(engine), "fault");
    return file_make("/dev/shm", SECTORS);
}

static void fault_stop(int fd)
{
    engine_stop();
    (void)close(fd);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

START_TEST(a_transfer_that_fails_transfers_nothing)
{
    int fd = fault_start(_i, "write@2=EIO");
    unsigned char data[SECTOR], back[SECTOR];

    fill_sector(data, 1000);
    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_WRITE, fd, data, SECTOR, 0)), SECTOR);
    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_WRITE, fd, data, SECTOR, SECTOR)), -EIO);
    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_READ, fd, back, SECTOR, 0)), SECTOR);
    assert_sector(back, 1000);
    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_READ, fd, back, SECTOR, SECTOR)), SECTOR);
    assert_sector(back, 1);
    fault_stop(fd);
}
END_TEST

START_TEST(a_short_transfer_ends_within_a_buffer)
{
    int fd = fault_start(_i, "any=short:700");
    unsigned char data[4][SECTOR];
    struct iovec iov[4];
    struct transfer transfer = transfer_make(ENGINE_READ, fd, NULL, 0, 0);

    memset(data, 0xee, sizeof(data));
    for (int i = 0; i < 4; i++)
        iov[i] = (struct iovec){data[i], SECTOR};
    transfer.io.iov = iov;
    transfer.io.iov_count = 4;
    ck_assert_int_eq(transfer_run(transfer), 700);
    assert_sector(data[0], 0);
    ck_assert_uint_eq(data[1][700 - SECTOR - 1], 1);
    ck_assert_uint_eq(data[1][700 - SECTOR], 0xee);
    ck_assert_uint_eq(data[2][0], 0xee);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(iov[i].iov_len, SECTOR);
    fault_stop(fd);
}
END_TEST

START_TEST(a_short_write_leaves_the_rest_alone)
{
    int fd = fault_start(_i, "write=short");
    unsigned char data[4 * SECTOR], back[SECTOR];

    for (uint32_t i = 0; i < 4; i++)
        fill_sector(data + i * SECTOR, 100 + i);
    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_WRITE, fd, data, sizeof(data), 0)),
                     2 * SECTOR);
    for (uint32_t i = 0; i < 4; i++) {
        ck_assert_int_eq(pread(fd, back, SECTOR, (off_t)i * SECTOR), SECTOR);
        assert_sector(back, i < 2 ? 100 + i : i);
    }
    fault_stop(fd);
}
END_TEST

/* False: the others took as long as the delay is, which a busy machine does, too. */
static bool others_are_quicker_than(int variant, unsigned int delay_ms)
{
    char rules[64];
    unsigned char slow_data[SECTOR], data[SECTOR];
    struct transfer slow;
    uint64_t begin = now_ms();

    snprintf(rules, sizeof(rules), "read@1=delay:%ums", delay_ms);
    int fd = fault_start(variant, rules);
    slow = transfer_make(ENGINE_READ, fd, slow_data, SECTOR, 5 * SECTOR);
    transfer_submit(&slow);
    for (uint32_t i = 0; i < 20; i++)
        ck_assert_int_eq(transfer_run(transfer_make(ENGINE_READ, fd, data, SECTOR, i * SECTOR)),
                         SECTOR);
    const bool quicker = slow.done == 0;
    engine_finish_all();
    ck_assert_uint_ge(now_ms() - begin, delay_ms);
    ck_assert_uint_eq(slow.done, 1);
    ck_assert_int_eq(slow.result, SECTOR);
    assert_sector(slow_data, 5);
    fault_stop(fd);
    return quicker;
}

START_TEST(a_delayed_transfer_holds_up_nobody)
{
    ck_assert(others_are_quicker_than(_i, 500) || others_are_quicker_than(_i, 2000) ||
              others_are_quicker_than(_i, 8000));
}
END_TEST

static unsigned int order[3];
static unsigned int order_count;

static void on_ordered_done(struct engine_io *io, ssize_t result)
{
    on_transfer_done(io, result);
    order[order_count++] = (unsigned int)(io->offset_bytes / SECTOR);
}

START_TEST(delays_end_in_the_order_of_their_times)
{
    int fd = fault_start(_i, "read@1=delay:90ms,read@2=delay:60ms,read@3=delay:30ms");
    struct transfer transfers[3];
    unsigned char data[3][SECTOR];

    for (uint32_t i = 0; i < 3; i++) {
        transfers[i] = transfer_make(ENGINE_READ, fd, data[i], SECTOR, i * SECTOR);
        transfers[i].io.on_done = on_ordered_done;
        transfer_submit(&transfers[i]);
    }
    engine_finish_all();
    for (unsigned int i = 0; i < 3; i++)
        ck_assert_uint_eq(order[i], 2 - i);
    fault_stop(fd);
}
END_TEST

START_TEST(a_delayed_failure_fails_late)
{
    int fd = fault_start(_i, "write=delay:50ms,write=ENOSPC");
    unsigned char data[SECTOR] = {0};
    uint64_t begin = now_ms();

    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_WRITE, fd, data, SECTOR, 0)), -ENOSPC);
    ck_assert_uint_ge(now_ms() - begin, 50);
    fault_stop(fd);
}
END_TEST

START_TEST(the_descriptor_is_quiet_while_nothing_is_due)
{
    int fd = fault_start(_i, "write@1=EIO");
    struct pollfd poll_fd = {.fd = engine_fd(engine), .events = POLLIN};
    unsigned char data[SECTOR] = {0};
    struct transfer transfer = transfer_make(ENGINE_WRITE, fd, data, SECTOR, 0);

    ck_assert_int_eq(poll(&poll_fd, 1, 0), 0);
    transfer_submit(&transfer);
    ck_assert_uint_eq(transfer.done, 0); /* not from engine_submit, though all is known */
    ck_assert(engine_ready(engine));
    ck_assert_int_eq(poll(&poll_fd, 1, TIMEOUT_MS), 1);
    ck_assert_uint_eq(engine_round(TIMEOUT_MS), 1);
    ck_assert_int_eq(poll(&poll_fd, 1, 0), 0);
    ck_assert(!engine_ready(engine));
    fault_stop(fd);
}
END_TEST

START_TEST(many_transfers_with_many_faults_all_end)
{
    enum { MANY = 2000 };
    int fd = fault_start(_i, "any~10=EIO,any~20=short,any~30=delay:3ms");
    struct transfer *transfers = calloc(MANY, sizeof(*transfers));
    unsigned char *data = calloc(MANY, 2 * SECTOR);
    unsigned int failed = 0, cut = 0;

    for (uint32_t i = 0; i < MANY; i++) {
        transfers[i] = transfer_make(ENGINE_READ, fd, data + (size_t)i * 2 * SECTOR, 2 * SECTOR,
                                     (uint64_t)(i % (SECTORS - 1)) * SECTOR);
        transfer_submit(&transfers[i]);
    }
    engine_finish_all();
    for (uint32_t i = 0; i < MANY; i++) {
        ck_assert_uint_eq(transfers[i].done, 1);
        failed += transfers[i].result == -EIO;
        cut += transfers[i].result == SECTOR;
        if (transfers[i].result >= SECTOR)
            assert_sector(data + (size_t)i * 2 * SECTOR, i % (SECTORS - 1));
    }
    ck_assert_uint_gt(failed, MANY / 20);
    ck_assert_uint_gt(cut, MANY / 10);
    free(transfers);
    free(data);
    fault_stop(fd);
}
END_TEST

START_TEST(a_name_that_makes_no_sense_is_refused)
{
    static const char *const wrong[] = {
        "fault:",
        "fault:threads",
        "fault:threads:",
        "fault:what:read=EIO",
        "fault:threads:read=",
        "what",
        "",
    };
    struct engine *none = NULL;

    ck_assert_int_eq(engine_global_init(), 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        ck_assert_msg(engine_new(wrong[i], &none, NULL) == -EINVAL, "taken: '%s'", wrong[i]);
        ck_assert_ptr_null(none);
    }
    engine_global_deinit();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine fault");
    TCase *tests = tcase_create("engine fault");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, a_transfer_that_fails_transfers_nothing, 0, INNER);
    tcase_add_loop_test(tests, a_short_transfer_ends_within_a_buffer, 0, INNER);
    tcase_add_loop_test(tests, a_short_write_leaves_the_rest_alone, 0, INNER);
    tcase_add_loop_test(tests, a_delayed_transfer_holds_up_nobody, 0, INNER);
    tcase_add_loop_test(tests, delays_end_in_the_order_of_their_times, 0, INNER);
    tcase_add_loop_test(tests, a_delayed_failure_fails_late, 0, INNER);
    tcase_add_loop_test(tests, the_descriptor_is_quiet_while_nothing_is_due, 0, INNER);
    tcase_add_loop_test(tests, many_transfers_with_many_faults_all_end, 0, INNER);
    tcase_add_test(tests, a_name_that_makes_no_sense_is_refused);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says to a ring only now and then. Two functions of liburing are replaced here by
 * ones that call the real ones and then, if a test wants it, tell the engine something else.
 */
#include "tests/unit/daemon/engine/fixture.h"

#include <dlfcn.h>
#include <liburing.h>

#include "tests/unit/suite.h"

/* The next so many completions end with this result; the next so many submissions are refused. */
static int forged_result;
static unsigned int forged_completions;
static int refused_with;
static unsigned int refused_submissions;
static unsigned int blocking_submissions; /* with IOSQE_ASYNC */

unsigned int io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes,
                                     unsigned int count)
{
    unsigned int (*real)(struct io_uring *, struct io_uring_cqe **, unsigned int);

    *(void **)&real = dlsym(RTLD_NEXT, "io_uring_peek_batch_cqe");
    count = real(ring, cqes, count);
    for (unsigned int i = 0; i < count && forged_completions > 0; i++, forged_completions--)
        cqes[i]->res = forged_result;
    return count;
}

static void count_blocking(const struct io_uring *ring)
{
    for (unsigned int i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++)
        if (ring->sq.sqes[i & *ring->sq.kring_mask].flags & IOSQE_ASYNC)
            blocking_submissions++;
}

int io_uring_submit(struct io_uring *ring)
{
    int (*real)(struct io_uring *);

    if (refused_submissions > 0) {
        refused_submissions--;
        return refused_with;
    }
    count_blocking(ring);
    *(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit");
    return real(ring);
}

static void forge(int result, unsigned int completions)
{
    forged_result = result;
    forged_completions = completions;
}

/* Reads one sector with these flags; it must be right if the read says so. */
static ssize_t read_one(int fd, int rw_flags, bool punts)
{
    unsigned char data[SECTOR];
    struct transfer transfer = transfer_make(ENGINE_READ, fd, data, SECTOR, SECTOR);

    transfer.io.rw_flags = rw_flags;
    transfer.io.punts = punts;
    ssize_t result = transfer_run(transfer);
    if (result > 0)
        assert_sector(data, 1);
    return result;
}

static int uring_start(void)
{
    engine_start("io_uring");
    return file_make("/tmp", 1000);
}

static void uring_stop(int fd)
{
    ck_assert_uint_eq(forged_completions, 0);
    ck_assert_uint_eq(refused_submissions, 0);
    engine_stop();
    (void)close(fd);
}

START_TEST(an_interrupted_transfer_is_done_again)
{
    int fd = uring_start();

    for (int punts = 0; punts < 2; punts++) {
        forge(-EINTR, 3);
        ck_assert_int_eq(read_one(fd, 0, punts), SECTOR);
    }
    uring_stop(fd);
}
END_TEST

START_TEST(what_would_not_wait_is_done_again_where_it_may)
{
    int fd = uring_start();

    forge(-EAGAIN, 1);
    ck_assert_int_eq(read_one(fd, 0, false), SECTOR);
    ck_assert_uint_eq(blocking_submissions, 1);
    uring_stop(fd);
}
END_TEST

START_TEST(who_says_eagain_where_it_may_wait_is_believed)
{
    int fd = uring_start();

    forge(-EAGAIN, 2);
    ck_assert_int_eq(read_one(fd, 0, false), -EAGAIN);
    forge(-EAGAIN, 1);
    ck_assert_int_eq(read_one(fd, 0, true), -EAGAIN);
    uring_stop(fd);
}
END_TEST

START_TEST(a_nowait_transfer_gets_its_eagain)
{
    int fd = uring_start();

    forge(-EAGAIN, 1);
    ck_assert_int_eq(read_one(fd, RWF_NOWAIT, false), -EAGAIN);
    ck_assert_uint_eq(blocking_submissions, 0);
    uring_stop(fd);
}
END_TEST

START_TEST(only_what_punts_goes_to_a_worker_at_once)
{
    int fd = uring_start();

    ck_assert_int_eq(read_one(fd, 0, false), SECTOR);
    ck_assert_uint_eq(blocking_submissions, 0);
    ck_assert_int_eq(read_one(fd, 0, true), SECTOR);
    ck_assert_uint_eq(blocking_submissions, 1);
    uring_stop(fd);
}
END_TEST

/* Writes one sector `count` times, at once. */
static void write_copying(int fd, unsigned int count)
{
    unsigned char data[SECTOR];
    struct transfer transfers[4];

    fill_sector(data, 1);
    for (unsigned int i = 0; i < count; i++) {
        transfers[i] = transfer_make(ENGINE_WRITE, fd, data, SECTOR, SECTOR);
        transfers[i].io.copies = true;
        transfer_submit(&transfers[i]);
    }
    engine_finish_all();
    for (unsigned int i = 0; i < count; i++)
        ck_assert_int_eq(transfers[i].result, SECTOR);
}

/* The kernel sorts the buffered writes of its workers by inode into 64 queues: one could stand
 * behind the write of a hung file. */
START_TEST(no_write_that_copies_goes_to_a_worker)
{
    int fd = uring_start();

    write_copying(fd, 1);
    write_copying(fd, 4);
    ck_assert_uint_eq(blocking_submissions, 0);
    uring_stop(fd);
}
END_TEST

static const int refusals[] = {-EAGAIN, -EBUSY, -EINTR};

START_TEST(a_submission_that_the_kernel_puts_off_is_made_later)
{
    struct transfer *transfers = calloc(1000, sizeof(*transfers));
    unsigned char *data = calloc(1000, SECTOR);
    int fd = uring_start();

    refused_with = refusals[_i];
    refused_submissions = 3;
    for (uint32_t i = 0; i < 1000; i++) {
        transfers[i] =
            transfer_make(ENGINE_READ, fd, data + (size_t)i * SECTOR, SECTOR, (uint64_t)i * SECTOR);
        transfers[i].io.punts = false;
        transfer_submit(&transfers[i]);
    }
    engine_finish_all();
    for (uint32_t i = 0; i < 1000; i++) {
        ck_assert_uint_eq(transfers[i].done, 1);
        assert_sector(data + (size_t)i * SECTOR, i);
    }
    free(transfers);
    free(data);
    uring_stop(fd);
}
END_TEST

/* More than the ring and the target's lane take, of all kinds, before and after the refusal. */
static void read_many(int fd, uint32_t count)
{
    struct transfer *transfers = calloc(count, sizeof(*transfers));
    unsigned char *data = calloc(count, SECTOR);

    for (uint32_t i = 0; i < count; i++) {
        transfers[i] =
            transfer_make(ENGINE_READ, fd, data + (size_t)i * SECTOR, SECTOR, (uint64_t)i * SECTOR);
        transfers[i].io.punts = i % 2 == 0;
        transfer_submit(&transfers[i]);
    }
    engine_finish_all();
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_uint_eq(transfers[i].done, 1);
        ck_assert_int_eq(transfers[i].result, SECTOR);
        assert_sector(data + (size_t)i * SECTOR, i);
    }
    free(transfers);
    free(data);
}

static const int final_refusals[] = {-EPERM, -ENOSYS, -EBADR, -ENOMEM};

START_TEST(what_the_kernel_refuses_for_good_is_done_by_threads)
{
    int fd = uring_start();

    read_many(fd, 100);
    refused_with = final_refusals[_i];
    refused_submissions = 1; /* and is not asked again: uring_stop */
    read_many(fd, 1000);
    read_many(fd, 1000);
    write_copying(fd, 4);
    uring_stop(fd);
}
END_TEST

START_TEST(there_are_as_many_rings_as_workers)
{
    struct engine *rings[WORKERS_MAX], *one_more = NULL;

    for (int i = 0; i < WORKERS_MAX; i++)
        ck_assert_int_eq(engine_new("io_uring", &rings[i], NULL), 0);
    ck_assert_int_eq(engine_new("io_uring", &one_more, NULL), -EMFILE);
    engine_free(rings[5]);
    ck_assert_int_eq(engine_new("io_uring", &rings[5], NULL), 0);
    for (int i = 0; i < WORKERS_MAX; i++)
        engine_free(rings[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine io_uring");
    TCase *tests = tcase_create("engine io_uring");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, an_interrupted_transfer_is_done_again);
    tcase_add_test(tests, what_would_not_wait_is_done_again_where_it_may);
    tcase_add_test(tests, who_says_eagain_where_it_may_wait_is_believed);
    tcase_add_test(tests, a_nowait_transfer_gets_its_eagain);
    tcase_add_test(tests, only_what_punts_goes_to_a_worker_at_once);
    tcase_add_test(tests, no_write_that_copies_goes_to_a_worker);
    tcase_add_loop_test(tests, a_submission_that_the_kernel_puts_off_is_made_later, 0, 3);
    tcase_add_loop_test(tests, what_the_kernel_refuses_for_good_is_done_by_threads, 0, 4);
    tcase_add_test(tests, there_are_as_many_rings_as_workers);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * Writes that copy (engine_io.copies) have threads of their own: a batch is one thread's, a thread
 * that is stuck gets company, and each engine hears of its own writes only. What blocks here is a
 * write into a pipe that is full: it goes on when the test reads. (A pipe has no offsets, so those
 * are writes at -1: the file's own place, preadv2(2).)
 */
#include "tests/unit/daemon/engine/fixture.h"

#include <dirent.h>
#include <time.h>

#include "tests/unit/patience.h"
#include "tests/unit/suite.h"

static const char *const engines[] = {"io_uring", "threads", "fault:io_uring:read@1000000=EIO"};

enum {
    ENGINES = sizeof(engines) / sizeof(*engines),
    PLAIN_ENGINES = 2,
    WRITES = 1000,
    PAGE = 4096,
};

struct batch {
    struct transfer *transfers;
    unsigned char *data;
    unsigned int count;
};

static struct transfer copying(int fd, void *data, size_t length, uint64_t offset_bytes)
{
    struct transfer transfer = transfer_make(ENGINE_WRITE, fd, data, length, offset_bytes);

    transfer.io.copies = true;
    return transfer;
}

/* Sector number i gets contents first + i. */
static struct batch batch_submit(int fd, uint32_t first, unsigned int count)
{
    struct batch batch = {.transfers = calloc(count, sizeof(*batch.transfers)),
                          .data = calloc(count, SECTOR),
                          .count = count};

    ck_assert_ptr_nonnull(batch.transfers);
    ck_assert_ptr_nonnull(batch.data);
    for (unsigned int i = 0; i < count; i++) {
        unsigned char *data = batch.data + (size_t)i * SECTOR;

        fill_sector(data, first + i);
        batch.transfers[i] = copying(fd, data, SECTOR, (uint64_t)i * SECTOR);
        transfer_submit(&batch.transfers[i]);
    }
    return batch;
}

static bool batch_is_done(const struct batch *batch)
{
    for (unsigned int i = 0; i < batch->count; i++)
        if (!batch->transfers[i].done)
            return false;
    return true;
}

static void batch_end(struct batch *batch)
{
    for (unsigned int i = 0; i < batch->count; i++) {
        ck_assert_uint_eq(batch->transfers[i].done, 1);
        ck_assert_int_eq(batch->transfers[i].result, SECTOR);
    }
    free(batch->transfers);
    free(batch->data);
}

static void assert_sectors(int fd, uint32_t first, unsigned int count)
{
    unsigned char data[SECTOR];

    for (unsigned int i = 0; i < count; i++) {
        ck_assert_int_eq(pread(fd, data, SECTOR, (off_t)i * SECTOR), SECTOR);
        assert_sector(data, first + i);
    }
}

/* Threads of the pool, its keeper included: they are called like that. */
static unsigned int count_pool_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    unsigned int count = 0;
    const struct dirent *entry;

    ck_assert_ptr_nonnull(tasks);
    while ((entry = readdir(tasks))) {
        char path[300], name[32] = "";

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "re");
        if (!file)
            continue;
        count += fgets(name, sizeof(name), file) && strcmp(name, "blkd-engine\n") == 0;
        (void)fclose(file);
    }
    (void)closedir(tasks);
    return count;
}

START_TEST(each_write_is_done_once_whatever_the_batches)
{
    static const unsigned int counts[] = {1, 2, 3, 64, 65, WRITES};
    int fd = file_make("/tmp", WRITES);

    engine_start(engines[_i]);
    for (unsigned int i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        struct batch batch = batch_submit(fd, 5000 * i, counts[i]);
        engine_finish_all();
        batch_end(&batch);
        assert_sectors(fd, 5000 * i, counts[i]);
    }
    engine_stop();
    (void)close(fd);
}
END_TEST

START_TEST(a_failed_write_says_so_and_the_others_are_done)
{
    int fd = file_make("/tmp", 10);
    int read_only = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    unsigned char data[SECTOR] = {0};
    struct transfer failing = copying(read_only, data, SECTOR, 0);

    engine_start(engines[_i]);
    struct batch batch = batch_submit(fd, 70, 5);
    transfer_submit(&failing);
    struct batch after = batch_submit(fd, 70, 10);
    engine_finish_all();
    ck_assert_int_eq(failing.result, -EBADF);
    batch_end(&batch);
    batch_end(&after);
    assert_sectors(fd, 70, 10);
    engine_stop();
    (void)close(read_only);
    (void)close(fd);
}
END_TEST

static const char *engine_to_try;

/* One and the keeper; one more where the one was preempted for long enough to seem stuck. */
static bool copies_take_one_thread(void)
{
    int fd = file_make("/dev/shm", WRITES);

    engine_start(engine_to_try);
    for (unsigned int round = 0; round < 20; round++) {
        struct batch batch = batch_submit(fd, round, WRITES);
        engine_finish_all();
        batch_end(&batch);
    }
    const unsigned int threads = count_pool_threads();
    engine_stop();
    (void)close(fd);
    return threads <= 3;
}

START_TEST(what_only_copies_takes_one_thread)
{
    engine_to_try = engines[_i];
    ck_assert(patience_try(copies_take_one_thread));
}
END_TEST

/* Its threads are still on their way out when the last write is done. */
START_TEST(a_target_may_end_right_after_its_last_write)
{
    int fd = file_make("/dev/shm", 4);

    engine_start(engines[_i]);
    for (unsigned int round = 0; round < 500; round++) {
        struct batch batch = batch_submit(fd, round, 4);
        engine_finish_all();
        batch_end(&batch);
        engine_target_deinit(&target);
        engine_target_init(&target);
    }
    engine_stop();
    (void)close(fd);
}
END_TEST

/* The next writes come just when the thread has found nothing more to do. */
START_TEST(no_write_is_left_behind_by_a_thread_that_goes)
{
    enum { ROUNDS = 10000, PAIR = 2 };
    int fd = file_make("/dev/shm", PAIR);

    engine_start(engines[_i]);
    for (unsigned int round = 0; round < ROUNDS; round++) {
        struct batch batch = batch_submit(fd, round, PAIR);
        engine_finish_all();
        batch_end(&batch);
    }
    engine_stop();
    (void)close(fd);
}
END_TEST

/* ---- a thread that is stuck ---- */

struct stuck {
    int ends[2];
    unsigned char data[PAGE];
    struct transfer transfers[2 * ENGINE_PER_DEVICE];
    unsigned int count;
};

static void stuck_init(struct stuck *stuck)
{
    stuck->count = 0;
    ck_assert_int_eq(pipe2(stuck->ends, O_CLOEXEC), 0);
    ck_assert_int_eq(fcntl(stuck->ends[1], F_SETPIPE_SZ, PAGE), PAGE);
    ck_assert_int_eq(write(stuck->ends[1], stuck->data, PAGE), PAGE);
}

static void stuck_submit(struct stuck *stuck)
{
    struct transfer *transfer = &stuck->transfers[stuck->count++];

    *transfer = copying(stuck->ends[1], stuck->data, PAGE, UINT64_MAX);
    transfer_submit(transfer);
}

static void stuck_end(struct stuck *stuck)
{
    for (unsigned int i = 0; i < stuck->count + 1; i++)
        ck_assert_int_eq(read(stuck->ends[0], stuck->data, PAGE), PAGE);
    engine_finish_all();
    for (unsigned int i = 0; i < stuck->count; i++) {
        ck_assert_uint_eq(stuck->transfers[i].done, 1);
        ck_assert_int_eq(stuck->transfers[i].result, PAGE);
    }
    (void)close(stuck->ends[0]);
    (void)close(stuck->ends[1]);
}

/* Until a write that was begun has taken so long that it counts as stuck. */
static void wait_until_stuck(void)
{
    struct timespec pause = {.tv_nsec = 20000000};

    nanosleep(&pause, NULL);
}

START_TEST(others_are_written_beside_one_that_is_stuck)
{
    enum { LATE_MAX = 1000 };
    int fd = file_make("/tmp", 100);
    struct stuck stuck;

    engine_start(engines[_i]);
    stuck_init(&stuck);
    stuck_submit(&stuck);
    stuck_submit(&stuck); /* a lone one would be a kernel worker's */
    engine_kick(engine);
    wait_until_stuck();
    struct batch batch = batch_submit(fd, 30, 100);
    engine_kick(engine);
    wait_until_stuck(); /* the second one is in the first one's place now */
    struct batch more = batch_submit(fd, 30, 100);
    /* On a busy machine they may get stuck later than that: what is submitted then brings company.
     */
    struct batch late[LATE_MAX];
    unsigned int late_count = 0;
    for (engine_round(0); !batch_is_done(&batch) || !batch_is_done(&more); engine_round(0)) {
        ck_assert_uint_lt(late_count, LATE_MAX);
        wait_until_stuck();
        late[late_count++] = batch_submit(fd, 30, 1);
    }
    while (engine_in_flight(engine) > 2)
        engine_round(TIMEOUT_MS);
    ck_assert_uint_eq(stuck.transfers[0].done, 0);
    batch_end(&batch);
    batch_end(&more);
    for (unsigned int i = 0; i < late_count; i++)
        batch_end(&late[i]);
    stuck_end(&stuck);
    engine_stop();
    (void)close(fd);
}
END_TEST

/* Two engines write to one target, and a thread finds the writes of both mixed. */
START_TEST(each_engine_hears_of_its_own)
{
    enum { ROUNDS = 20, EACH = 3 };
    struct engine *first, *second;
    struct batch batches[2][ROUNDS];
    int fd = file_make("/tmp", EACH);
    struct stuck stuck;

    engine_start(engines[_i]);
    first = engine;
    ck_assert_int_eq(engine_new(engines[_i], &second, NULL), 0);
    stuck_init(&stuck);
    stuck_submit(&stuck);
    stuck_submit(&stuck);
    engine_kick(first);
    for (unsigned int round = 0; round < ROUNDS; round++) {
        for (unsigned int i = 0; i < 2; i++) {
            engine = i == 0 ? first : second;
            batches[i][round] = batch_submit(fd, 0, EACH);
            engine_kick(engine);
        }
    }
    engine = first;
    stuck_end(&stuck);
    for (unsigned int round = 0; round < ROUNDS; round++) {
        for (unsigned int i = 0; i < EACH; i++)
            ck_assert_uint_eq(batches[1][round].transfers[i].done, 0);
        batch_end(&batches[0][round]);
    }
    engine = second;
    engine_finish_all();
    for (unsigned int round = 0; round < ROUNDS; round++)
        batch_end(&batches[1][round]);
    engine = first;
    engine_free(second);
    engine_stop();
    (void)close(fd);
}
END_TEST

START_TEST(a_stuck_target_holds_its_part_of_the_threads)
{
    struct engine_target other;
    int fd = file_make("/tmp", 100);
    struct stuck stuck;

    engine_start(engines[_i]);
    stuck_init(&stuck);
    for (unsigned int i = 0; i < 2 * ENGINE_PER_DEVICE; i++) {
        stuck_submit(&stuck);
        if (i > 0) {
            engine_kick(engine);
            wait_until_stuck();
        }
    }
    ck_assert_uint_le(count_pool_threads(), ENGINE_PER_DEVICE + 1);

    engine_target_init(&other);
    unsigned char data[2][SECTOR] = {{0}};
    struct transfer beside[2];
    for (unsigned int i = 0; i < 2; i++) {
        beside[i] = copying(fd, data[i], SECTOR, (uint64_t)i * SECTOR);
        beside[i].io.target = &other;
        transfer_submit(&beside[i]);
    }
    while (!beside[0].done || !beside[1].done)
        engine_round(TIMEOUT_MS);
    stuck_end(&stuck);
    engine_target_deinit(&other);
    engine_stop();
    (void)close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine writers");
    TCase *tests = tcase_create("engine writers");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, each_write_is_done_once_whatever_the_batches, 0, ENGINES);
    tcase_add_loop_test(tests, a_failed_write_says_so_and_the_others_are_done, 0, ENGINES);
    tcase_add_loop_test(tests, what_only_copies_takes_one_thread, 0, ENGINES);
    tcase_add_loop_test(tests, a_target_may_end_right_after_its_last_write, 0, ENGINES);
    tcase_add_loop_test(tests, no_write_is_left_behind_by_a_thread_that_goes, 0, PLAIN_ENGINES);
    tcase_add_loop_test(tests, each_engine_hears_of_its_own, 0, PLAIN_ENGINES);
    tcase_add_loop_test(tests, others_are_written_beside_one_that_is_stuck, 0, PLAIN_ENGINES);
    tcase_add_loop_test(tests, a_stuck_target_holds_its_part_of_the_threads, 0, PLAIN_ENGINES);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

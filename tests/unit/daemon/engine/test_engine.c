/* SPDX-License-Identifier: MIT */
/* One suite for all engines: it runs once for each engine and each kind of file. */
#include "tests/unit/daemon/engine/fixture.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "tests/unit/suite.h"

/* The fault engine with rules that never strike must be like the one it wraps. */
static const char *const engines[] = {
    "io_uring",
    "threads",
    "fault:io_uring:any@1000000000=EIO",
    "fault:threads:any@1000000000=EIO",
};
static const char *const directories[] = {"/tmp", "/dev/shm"};

enum {
    ENGINES = sizeof(engines) / sizeof(*engines),
    DIRECTORIES = sizeof(directories) / sizeof(*directories),
    VARIANTS = ENGINES * DIRECTORIES,
    MANY = 10000, /* more than the completion queue of a ring holds */
};

static int variant_start(int variant, uint32_t sectors)
{
    engine_start(engines[variant % ENGINES]);
    return file_make(directories[variant / ENGINES], sectors);
}

static void variant_stop(int fd)
{
    engine_stop();
    (void)close(fd);
}

START_TEST(what_is_written_is_read_back)
{
    unsigned char data[8 * SECTOR], back[8 * SECTOR];
    int fd = variant_start(_i, 16);

    for (uint32_t i = 0; i < 8; i++)
        fill_sector(data + i * SECTOR, 1000 + i);
    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_WRITE, fd, data, sizeof(data), SECTOR)),
                     sizeof(data));
    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_READ, fd, back, sizeof(back), SECTOR)),
                     sizeof(back));
    ck_assert_mem_eq(data, back, sizeof(data));

    ck_assert_int_eq(pread(fd, back, sizeof(back), SECTOR), sizeof(back));
    ck_assert_mem_eq(data, back, sizeof(data));
    ck_assert_int_eq(pread(fd, back, SECTOR, 0), SECTOR);
    assert_sector(back, 0);
    variant_stop(fd);
}
END_TEST

START_TEST(a_vector_of_iov_max_buffers_keeps_its_order)
{
    static unsigned char data[IOV_MAX][SECTOR], back[IOV_MAX][SECTOR];
    static struct iovec out[IOV_MAX], in[IOV_MAX];
    int fd = variant_start(_i, 1);

    for (uint32_t i = 0; i < IOV_MAX; i++) {
        fill_sector(data[i], i + 1);
        out[i] = (struct iovec){data[i], SECTOR};
        in[i] = (struct iovec){back[i], SECTOR};
    }
    struct transfer transfer = transfer_make(ENGINE_WRITE, fd, NULL, 0, SECTOR);
    transfer.io.iov = out;
    transfer.io.iov_count = IOV_MAX;
    ck_assert_int_eq(transfer_run(transfer), sizeof(data));

    transfer.io.op = ENGINE_READ;
    transfer.io.iov = in;
    ck_assert_int_eq(transfer_run(transfer), sizeof(back));
    ck_assert_mem_eq(data, back, sizeof(data));
    variant_stop(fd);
}
END_TEST

START_TEST(reading_across_the_end_is_short_and_behind_it_is_nothing)
{
    unsigned char data[4 * SECTOR];
    int fd = variant_start(_i, 8);

    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_READ, fd, data, sizeof(data), 6 * SECTOR)),
                     2 * SECTOR);
    assert_sector(data, 6);
    assert_sector(data + SECTOR, 7);
    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_READ, fd, data, sizeof(data), 8 * SECTOR)),
                     0);
    variant_stop(fd);
}
END_TEST

START_TEST(errors_are_passed_up)
{
    unsigned char data[SECTOR];
    int fd = variant_start(_i, 8);
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int full_fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct transfer transfer = transfer_make(ENGINE_READ, 10000, data, SECTOR, 0);

    ck_assert_int_eq(transfer_run(transfer), -EBADF);
    transfer = transfer_make(ENGINE_WRITE, null_fd, data, SECTOR, 0);
    ck_assert_int_eq(transfer_run(transfer), -EBADF);
    transfer = transfer_make(ENGINE_WRITE, full_fd, data, SECTOR, 0);
    ck_assert_int_eq(transfer_run(transfer), -ENOSPC);
    transfer = transfer_make(ENGINE_READ, fd, NULL, SECTOR, 0);
    ck_assert_int_eq(transfer_run(transfer), -EFAULT);
    transfer = transfer_make(ENGINE_READ, fd, data, SECTOR, 0);
    transfer.io.rw_flags = 1 << 30;
    ck_assert_int_lt(transfer_run(transfer), 0);
    (void)close(null_fd);
    (void)close(full_fd);
    variant_stop(fd);
}
END_TEST

/* Another description of a nameless file, with more flags. */
static int reopen(int fd, int flags)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

START_TEST(direct_io_wants_and_takes_aligned_memory)
{
    int fd = variant_start(_i, 64);
    int direct_fd = reopen(fd, O_RDWR | O_DIRECT);
    struct transfer transfer;
    unsigned char *data;

    ck_assert_int_ge(direct_fd, 0);
    ck_assert_int_eq(posix_memalign((void **)&data, 4096, 16384), 0);
    for (uint32_t i = 0; i < 16; i++)
        fill_sector(data + i * SECTOR, 500 + i);
    transfer = transfer_make(ENGINE_WRITE, direct_fd, data, 8192, 4096);
    transfer.io.punts = false;
    ck_assert_int_eq(transfer_run(transfer), 8192);
    memset(data, 0, 16384);
    transfer = transfer_make(ENGINE_READ, direct_fd, data, 16384, 0);
    transfer.io.punts = false;
    ck_assert_int_eq(transfer_run(transfer), 16384);
    for (uint32_t i = 0; i < 32; i++)
        assert_sector(data + i * SECTOR, i >= 8 && i < 24 ? 492 + i : i);

    if (_i / ENGINES == 0) { /* tmpfs does not mind */
        transfer = transfer_make(ENGINE_READ, direct_fd, data, 4096, 100);
        ck_assert_int_eq(transfer_run(transfer), -EINVAL);
    }
    free(data);
    (void)close(direct_fd);
    variant_stop(fd);
}
END_TEST

START_TEST(a_descriptor_that_is_nonblocking_is_read_and_written_all_the_same)
{
    unsigned char data[SECTOR];
    int fd = variant_start(_i, 8);
    int nonblocking_fd = reopen(fd, O_RDWR | O_NONBLOCK);
    struct transfer transfer;

    for (int punts = 0; punts < 2; punts++) {
        fill_sector(data, 77);
        transfer = transfer_make(ENGINE_WRITE, nonblocking_fd, data, SECTOR, SECTOR);
        transfer.io.punts = punts;
        ck_assert_int_eq(transfer_run(transfer), SECTOR);
        ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
        transfer = transfer_make(ENGINE_READ, nonblocking_fd, data, SECTOR, 2 * SECTOR);
        transfer.io.punts = punts;
        ck_assert_int_eq(transfer_run(transfer), SECTOR);
        assert_sector(data, 2);
    }
    (void)close(nonblocking_fd);
    variant_stop(fd);
}
END_TEST

START_TEST(nowait_may_answer_that_it_would_wait)
{
    unsigned char data[SECTOR];
    int fd = variant_start(_i, 8);
    struct transfer transfer = transfer_make(ENGINE_WRITE, fd, data, SECTOR, 0);

    /* Neither file system does buffered writes without waiting on all kernels; none transfers half.
     */
    memset(data, 1, sizeof(data));
    transfer.io.rw_flags = RWF_NOWAIT;
    ssize_t result = transfer_run(transfer);
    ck_assert(result == SECTOR || result == -EAGAIN || result == -EOPNOTSUPP);
    variant_stop(fd);
}
END_TEST

START_TEST(a_write_with_dsync_is_taken)
{
    unsigned char data[SECTOR] = {1};
    int fd = variant_start(_i, 8);
    struct transfer transfer = transfer_make(ENGINE_WRITE, fd, data, SECTOR, 0);

    transfer.io.rw_flags = RWF_DSYNC;
    ck_assert_int_eq(transfer_run(transfer), SECTOR);
    variant_stop(fd);
}
END_TEST

static void many_in_flight(int variant, bool punts)
{
    struct transfer *transfers = calloc(MANY, sizeof(*transfers));
    unsigned char *data = calloc(MANY, SECTOR);
    int fd = variant_start(variant, MANY);

    ck_assert(transfers && data);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t sector = (i * 7919) % MANY;

        transfers[i] = transfer_make(ENGINE_READ, fd, data + (size_t)sector * SECTOR, SECTOR,
                                     (uint64_t)sector * SECTOR);
        transfers[i].io.punts = punts;
        transfer_submit(&transfers[i]);
    }
    ck_assert_uint_eq(engine_in_flight(engine), MANY);
    engine_finish_all();
    for (uint32_t i = 0; i < MANY; i++) {
        ck_assert_uint_eq(transfers[i].done, 1);
        ck_assert_int_eq(transfers[i].result, SECTOR);
        assert_sector(data + (size_t)i * SECTOR, i);
    }
    free(transfers);
    free(data);
    variant_stop(fd);
}

START_TEST(thousands_may_be_in_flight)
{
    many_in_flight(_i, false);
}
END_TEST

START_TEST(thousands_that_punt_may_be_in_flight)
{
    many_in_flight(_i, true);
}
END_TEST

/* A transfer that submits itself again for the next sector, as long as there is one. */
static void on_chain_done(struct engine_io *io, ssize_t result)
{
    struct transfer *transfer = (struct transfer *)(void *)io;

    on_transfer_done(io, result);
    ck_assert_int_eq(result, SECTOR);
    assert_sector(transfer->iov.iov_base, (uint32_t)(io->offset_bytes / SECTOR));
    io->offset_bytes += 4 * SECTOR;
    if (io->offset_bytes < 1000 * SECTOR)
        engine_submit(engine, io);
}

START_TEST(a_completion_may_submit_again)
{
    struct transfer transfers[4];
    unsigned char data[4][SECTOR];
    int fd = variant_start(_i, 1000);

    for (unsigned int i = 0; i < 4; i++) {
        transfers[i] = transfer_make(ENGINE_READ, fd, data[i], SECTOR, i * SECTOR);
        transfers[i].io.on_done = on_chain_done;
        transfer_submit(&transfers[i]);
    }
    engine_finish_all();
    for (unsigned int i = 0; i < 4; i++)
        ck_assert_uint_eq(transfers[i].done, 250);
    variant_stop(fd);
}
END_TEST

static unsigned int process_when_readable(void)
{
    struct pollfd poll_fd = {.fd = engine_fd(engine), .events = POLLIN};

    ck_assert_int_eq(poll(&poll_fd, 1, TIMEOUT_MS), 1);
    /* In all other places in_process is false: a completion there would have been noticed. */
    in_process = true;
    unsigned int done = engine_process(engine);
    in_process = false;
    return done;
}

static bool is_quiet(void)
{
    struct pollfd poll_fd = {.fd = engine_fd(engine), .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 0 && !engine_ready(engine);
}

START_TEST(the_descriptor_tells_when_there_is_something_to_process)
{
    enum { ROUNDS = 200 };
    unsigned char data[SECTOR];
    int fd = variant_start(_i, 8);
    struct transfer transfer = transfer_make(ENGINE_READ, fd, data, SECTOR, 0);
    unsigned int for_nothing = 0;

    ck_assert(is_quiet());
    ck_assert_uint_eq(engine_process(engine), 0);
    for (unsigned int round = 1; round <= ROUNDS; round++) {
        transfer_submit(&transfer);
        engine_kick(engine);
        while (process_when_readable() == 0)
            for_nothing++;
        ck_assert_uint_eq(transfer.done, round);
        while (!is_quiet()) {
            for_nothing += process_when_readable() == 0;
            ck_assert_uint_lt(for_nothing, ROUNDS / 2);
        }
    }
    variant_stop(fd);
}
END_TEST

/* The engine is made here and used on another thread, as the daemon does with its workers. */
static void *use_engine(void *argument)
{
    int fd = *(const int *)argument;
    unsigned char data[SECTOR];

    for (uint32_t i = 0; i < 100; i++) {
        struct transfer transfer = transfer_make(ENGINE_READ, fd, data, SECTOR, i * SECTOR);

        transfer.io.punts = i % 2;
        ck_assert_int_eq(transfer_run(transfer), SECTOR);
        assert_sector(data, i);
    }
    return NULL;
}

START_TEST(an_engine_may_be_made_on_another_thread)
{
    pthread_t thread;
    int fd = variant_start(_i, 100);

    ck_assert_int_eq(pthread_create(&thread, NULL, use_engine, &fd), 0);
    pthread_join(thread, NULL);
    variant_stop(fd);
}
END_TEST

/* --- Where io_uring is refused --- */

static const int refusals[] = {EPERM, ENOSYS};

enum { REFUSALS = sizeof(refusals) / sizeof(*refusals) };

/* From here on io_uring_setup fails in this process, as in a container with a usual seccomp
 * profile. */
static void refuse_io_uring(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(*filter), .filter = filter};

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
}

START_TEST(where_io_uring_is_refused_it_says_so)
{
    struct engine *none = NULL;
    int reason = 7;

    refuse_io_uring(refusals[_i]);
    /* More often than there are numbers for engines: a failed one gives its number back. */
    for (int i = 0; i < WORKERS_MAX + 1; i++)
        ck_assert_int_eq(engine_new("io_uring", &none, &reason), -refusals[_i]);
    ck_assert_ptr_null(none);
    ck_assert_int_eq(reason, 7);
}
END_TEST

START_TEST(auto_falls_back_to_threads_and_gives_the_reason)
{
    unsigned char data[SECTOR];
    int fd = file_make("/tmp", 2);
    int reason = 7;

    refuse_io_uring(refusals[_i]);
    ck_assert_int_eq(engine_global_init(), 0);
    engine_target_init(&target);
    ck_assert_int_eq(engine_new("auto", &engine, &reason), 0);
    ck_assert_int_eq(reason, -refusals[_i]);
    ck_assert_str_eq(engine_name(engine), "threads");
    ck_assert_int_eq(transfer_run(transfer_make(ENGINE_READ, fd, data, SECTOR, SECTOR)), SECTOR);
    assert_sector(data, 1);
    engine_stop();
    (void)close(fd);
}
END_TEST

START_TEST(auto_is_io_uring_where_it_works)
{
    int reason = 7;

    ck_assert_int_eq(engine_global_init(), 0);
    engine_target_init(&target);
    ck_assert_int_eq(engine_new("auto", &engine, &reason), 0);
    ck_assert_int_eq(reason, 0);
    ck_assert_str_eq(engine_name(engine), "io_uring");
    engine_stop();
}
END_TEST

static TCase *choice_of_engine(void)
{
    TCase *tests = tcase_create("choice of engine");

    tcase_add_loop_test(tests, where_io_uring_is_refused_it_says_so, 0, REFUSALS);
    tcase_add_loop_test(tests, auto_falls_back_to_threads_and_gives_the_reason, 0, REFUSALS);
    tcase_add_test(tests, auto_is_io_uring_where_it_works);
    return tests;
}

static TCase *all_engines(void)
{
    TCase *tests = tcase_create("all engines");

    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, what_is_written_is_read_back, 0, VARIANTS);
    tcase_add_loop_test(tests, a_vector_of_iov_max_buffers_keeps_its_order, 0, VARIANTS);
    tcase_add_loop_test(tests, reading_across_the_end_is_short_and_behind_it_is_nothing, 0,
                        VARIANTS);
    tcase_add_loop_test(tests, errors_are_passed_up, 0, VARIANTS);
    tcase_add_loop_test(tests, direct_io_wants_and_takes_aligned_memory, 0, VARIANTS);
    tcase_add_loop_test(tests, a_descriptor_that_is_nonblocking_is_read_and_written_all_the_same, 0,
                        VARIANTS);
    tcase_add_loop_test(tests, nowait_may_answer_that_it_would_wait, 0, VARIANTS);
    tcase_add_loop_test(tests, a_write_with_dsync_is_taken, 0, VARIANTS);
    tcase_add_loop_test(tests, thousands_may_be_in_flight, 0, VARIANTS);
    tcase_add_loop_test(tests, thousands_that_punt_may_be_in_flight, 0, VARIANTS);
    tcase_add_loop_test(tests, a_completion_may_submit_again, 0, VARIANTS);
    tcase_add_loop_test(tests, the_descriptor_tells_when_there_is_something_to_process, 0,
                        VARIANTS);
    tcase_add_loop_test(tests, an_engine_may_be_made_on_another_thread, 0, VARIANTS);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("engine");

    suite_add_tcase(suite, all_engines());
    suite_add_tcase(suite, choice_of_engine());
    return suite_run(suite);
}

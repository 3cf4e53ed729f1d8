/* SPDX-License-Identifier: MIT */
/* lock=1: among sessions, and toward programs that know nothing of blkd. */
#include "fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct blkd *other; /* a second connection */

static void begin(void)
{
    fixture_begin();
    other = harness_connect(&fixture.daemon);
}

static void end(void)
{
    blkd_disconnect(other);
    fixture_end();
}

static struct blkd_config with(bool lock, enum blkd_access access)
{
    struct blkd_config config = fixture_config();
    config.lock = lock;
    config.access = access;
    return config;
}

static struct blkd_device *open_on(struct blkd *connection, bool lock, enum blkd_access access)
{
    const struct blkd_config config = with(lock, access);
    struct blkd_device *device = NULL;
    ASSERT_OK(blkd_open(connection, &config, &device));
    return device;
}

static void expect_lock(struct blkd_device *device, enum blkd_lock_mode mode)
{
    ck_assert_int_eq((int)fixture_info(device).lock, (int)mode);
}

/* Refused, with the holder's pid in the message. */
static void expect_refused(struct blkd *connection, enum blkd_access access, pid_t holder)
{
    const struct blkd_config config = with(true, access);
    struct blkd_device *device = NULL;
    char pid[32];
    ASSERT_FAILS(blkd_open(connection, &config, &device), EBUSY);
    ck_assert_ptr_null(device);
    ASSERT_SAYS(fixture.place.path);
    if (holder > 0) {
        (void)snprintf(pid, sizeof(pid), "pid %d,", (int)holder);
        ASSERT_SAYS(pid);
    } else {
        ASSERT_SAYS("another program");
    }
}

static void expect_changes_refused(struct blkd_device *device, pid_t holder)
{
    uint8_t sector[4096] = {1};
    const struct iovec vector = {sector, fixture_info(device).sector_size};
    char pid[32];
    (void)snprintf(pid, sizeof(pid), "pid %d,", (int)holder);
    ASSERT_FAILS(blkd_write(device, 3, &vector, 1, 0), EBUSY);
    ASSERT_SAYS(pid);
    ASSERT_SAYS(fixture.place.path);
    ASSERT_FAILS(blkd_discard(device, 3, 1), EBUSY);
    ASSERT_SAYS(pid);
    ASSERT_FAILS(blkd_write_zeroes(device, 3, 1, 0), EBUSY);
    ASSERT_SAYS(pid);
}

/* ---- among sessions ---- */

START_TEST(exclusive_lock_refuses_a_second_locker)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    expect_lock(open_on(fixture.connection, true, BLKD_ACCESS_AUTO), BLKD_LOCK_EXCLUSIVE);
    expect_refused(other, BLKD_ACCESS_AUTO, getpid());
    expect_refused(other, BLKD_ACCESS_READ_ONLY, getpid());
    expect_refused(fixture.connection, BLKD_ACCESS_AUTO, getpid());
}
END_TEST

START_TEST(exclusive_lock_keeps_unlocked_writers_out)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_device *before = open_on(other, false, BLKD_ACCESS_AUTO);
    data_write(before, 3, 1, 1);
    struct blkd_device *holder = open_on(fixture.connection, true, BLKD_ACCESS_AUTO);
    struct blkd_device *after = open_on(other, false, BLKD_ACCESS_AUTO);
    expect_changes_refused(before, getpid());
    expect_changes_refused(after, getpid());
    expect_lock(after, BLKD_LOCK_NONE);
    data_expect(holder, 3, 1, 1);
    data_write(holder, 3, 1, 2);
    data_expect(before, 3, 1, 2); /* reading goes on */
    data_expect(after, 3, 1, 2);
    ASSERT_OK(blkd_flush(after));
    blkd_close(holder);
    data_write(before, 3, 1, 3);
    data_write(after, 4, 1, 3);
}
END_TEST

START_TEST(shared_locks_share)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_device *first = open_on(fixture.connection, true, BLKD_ACCESS_READ_ONLY);
    struct blkd_device *second = open_on(other, true, BLKD_ACCESS_READ_ONLY);
    expect_lock(first, BLKD_LOCK_SHARED);
    expect_lock(second, BLKD_LOCK_SHARED);
    data_expect(second, 0, 8, 0);
    expect_refused(other, BLKD_ACCESS_AUTO, getpid());
    struct blkd_device *writer = open_on(other, false, BLKD_ACCESS_AUTO);
    expect_changes_refused(writer, getpid());
    blkd_close(first);
    expect_changes_refused(writer, getpid());
    blkd_close(second);
    data_write(writer, 3, 1, 1);
}
END_TEST

START_TEST(closing_releases_the_lock)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    for (unsigned int round = 0; round < 3; round++) {
        struct blkd_device *device = open_on(fixture.connection, true, BLKD_ACCESS_AUTO);
        expect_refused(other, BLKD_ACCESS_AUTO, getpid());
        blkd_close(device);
        device = open_on(other, true, BLKD_ACCESS_AUTO);
        expect_lock(device, BLKD_LOCK_EXCLUSIVE);
        blkd_close(device);
    }
}
END_TEST

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* contract L5: within a second. */
static void expect_released_soon(void)
{
    const struct blkd_config config = with(true, BLKD_ACCESS_AUTO);
    struct blkd_device *device = NULL;
    int64_t begin = now_ms();
    int result = -EBUSY;
    while (result == -EBUSY && harness_in_time((uint64_t)(now_ms() - begin), 1000))
        result = blkd_open(fixture.connection, &config, &device);
    ASSERT_OK(result);
    expect_lock(device, BLKD_LOCK_EXCLUSIVE);
}

START_TEST(disconnecting_releases_the_lock)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd *third = harness_connect(&fixture.daemon);
    (void)open_on(third, true, BLKD_ACCESS_AUTO);
    expect_refused(fixture.connection, BLKD_ACCESS_AUTO, getpid());
    blkd_disconnect(third);
    expect_released_soon();
}
END_TEST

/* ---- other processes ---- */

struct process {
    pid_t pid;
    int release; /* closing it tells the process to end */
};

/* Runs the function in another process, which then stays until process_end. */
static struct process process_begin(bool (*function)(void))
{
    struct process process;
    int ready[2];
    int release[2];
    char byte = 0;
    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(release, O_CLOEXEC), 0);
    process.pid = fork();
    ck_assert_int_ge(process.pid, 0);
    if (process.pid == 0) {
        (void)close(release[1]);
        bool done = function() && write(ready[1], "y", 1) == 1;
        while (done && read(release[0], &byte, 1) > 0) {
        }
        _exit(done ? 0 : 1);
    }
    (void)close(ready[1]);
    (void)close(release[0]);
    ck_assert_msg(read(ready[0], &byte, 1) == 1, "the other process fails: %s",
                  blkd_error_message());
    (void)close(ready[0]);
    process.release = release[1];
    return process;
}

static void process_end(struct process *process)
{
    int status = 0;
    (void)close(TAKE_FD(process->release));
    ck_assert_int_eq(waitpid(process->pid, &status, 0), process->pid);
    ck_assert_int_eq(status, 0);
}

static bool lock_through_daemon(void)
{
    const struct blkd_config config = with(true, BLKD_ACCESS_AUTO);
    struct blkd_device *device = NULL;
    return blkd_open(harness_connect(&fixture.daemon), &config, &device) == 0;
}

START_TEST(killed_client_loses_its_lock)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct process holder = process_begin(lock_through_daemon);
    expect_refused(fixture.connection, BLKD_ACCESS_AUTO, holder.pid);
    ck_assert_int_eq(kill(holder.pid, SIGKILL), 0);
    expect_released_soon();
    ck_assert_int_eq(waitpid(holder.pid, NULL, 0), holder.pid);
    (void)close(holder.release);
}
END_TEST

static int flock_outside(int operation, int *ret_fd)
{
    int fd = open(fixture.place.path, O_RDWR | O_CLOEXEC);
    int error = fd < 0 || flock(fd, operation | LOCK_NB) < 0 ? errno : 0;
    if (error == 0)
        *ret_fd = fd;
    else if (fd >= 0)
        (void)close(fd);
    return error;
}

static bool flock_exclusive(void)
{
    int fd = -1;
    return flock_outside(LOCK_EX, &fd) == 0;
}

static bool flock_shared(void)
{
    int fd = -1;
    return flock_outside(LOCK_SH, &fd) == 0;
}

START_TEST(exclusive_flock_of_another_program_is_respected)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct process holder = process_begin(flock_exclusive);
    expect_refused(fixture.connection, BLKD_ACCESS_AUTO, 0);
    expect_refused(fixture.connection, BLKD_ACCESS_READ_ONLY, 0);
    struct blkd_device *unlocked = open_on(other, false, BLKD_ACCESS_AUTO);
    process_end(&holder);
    expect_lock(open_on(fixture.connection, true, BLKD_ACCESS_AUTO), BLKD_LOCK_EXCLUSIVE);
    expect_changes_refused(unlocked, getpid());
}
END_TEST

START_TEST(shared_flock_of_another_program_is_respected)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct process holder = process_begin(flock_shared);
    expect_refused(fixture.connection, BLKD_ACCESS_AUTO, 0);
    struct blkd_device *shared = open_on(fixture.connection, true, BLKD_ACCESS_READ_ONLY);
    expect_lock(shared, BLKD_LOCK_SHARED);
    process_end(&holder);
}
END_TEST

/* A refused lock leaves nothing behind that refuses the next one. */
START_TEST(lock_refused_by_another_program_is_not_kept)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct process holder = process_begin(flock_exclusive);
    struct blkd_device *unlocked = open_on(other, false, BLKD_ACCESS_AUTO);
    expect_refused(fixture.connection, BLKD_ACCESS_AUTO, 0);
    data_write(unlocked, 3, 1, 1);
    ck_assert_int_eq((int)fixture_entry(unlocked).lock, BLKD_LOCK_NONE);
    process_end(&holder);
}
END_TEST

static void expect_flock(int operation, int expected)
{
    CLEANUP_CLOSE int fd = -1;
    ck_assert_int_eq(flock_outside(operation, &fd), expected);
}

START_TEST(other_programs_see_the_lock)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_device *device = open_on(fixture.connection, false, BLKD_ACCESS_AUTO);
    expect_flock(LOCK_EX, 0);
    blkd_close(device);
    device = open_on(fixture.connection, true, BLKD_ACCESS_AUTO);
    expect_flock(LOCK_SH, EWOULDBLOCK);
    expect_flock(LOCK_EX, EWOULDBLOCK);
    blkd_close(device);
    expect_flock(LOCK_EX, 0);
    device = open_on(fixture.connection, true, BLKD_ACCESS_READ_ONLY);
    struct blkd_device *second = open_on(other, true, BLKD_ACCESS_READ_ONLY);
    expect_flock(LOCK_SH, 0);
    expect_flock(LOCK_EX, EWOULDBLOCK);
    blkd_close(device);
    expect_flock(LOCK_EX, EWOULDBLOCK);
    blkd_close(second);
    expect_flock(LOCK_EX, 0);
}
END_TEST

static int open_exclusively(void)
{
    CLEANUP_CLOSE int fd = open(fixture.place.path, O_RDWR | O_EXCL | O_CLOEXEC);
    return fd < 0 ? errno : 0;
}

/* What mount(8), mkfs and LVM do. */
START_TEST(exclusive_lock_claims_the_block_device)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    ck_assert_int_eq(open_exclusively(), 0);
    struct blkd_device *device = open_on(fixture.connection, true, BLKD_ACCESS_AUTO);
    ck_assert_int_eq(open_exclusively(), EBUSY);
    blkd_close(device);
    ck_assert_int_eq(open_exclusively(), 0);
    CLEANUP_CLOSE int fd = open(fixture.place.path, O_RDWR | O_EXCL | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    expect_refused(fixture.connection, BLKD_ACCESS_AUTO, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/locking");
    TCase *tests = tcase_create("locking");
    tcase_set_timeout(tests, FIXTURE_TIMEOUT_S);
    tcase_add_checked_fixture(tests, begin, end);
    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, exclusive_lock_refuses_a_second_locker, 0, place_rows());
    tcase_add_loop_test(tests, exclusive_lock_keeps_unlocked_writers_out, 0, place_rows());
    tcase_add_loop_test(tests, shared_locks_share, 0, place_rows());
    tcase_add_loop_test(tests, closing_releases_the_lock, 0, place_rows());
    tcase_add_loop_test(tests, disconnecting_releases_the_lock, 0, place_rows());
    tcase_add_loop_test(tests, killed_client_loses_its_lock, 0, place_rows());
    tcase_add_loop_test(tests, exclusive_flock_of_another_program_is_respected, 0, place_rows());
    tcase_add_loop_test(tests, shared_flock_of_another_program_is_respected, 0, place_rows());
    tcase_add_loop_test(tests, lock_refused_by_another_program_is_not_kept, 0, place_rows());
    tcase_add_loop_test(tests, other_programs_see_the_lock, 0, place_rows());
    tcase_add_loop_test(tests, exclusive_lock_claims_the_block_device, place_file_rows(),
                        place_rows());
    return harness_main(suite);
}

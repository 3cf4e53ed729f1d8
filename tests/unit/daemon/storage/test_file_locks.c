/* SPDX-License-Identifier: MIT */
/* Who else has a device: locks and leases that other programs hold on it. */
#include <signal.h>

#include "tests/unit/daemon/storage/outside_loop.h"

static int record_lock(int fd, int command, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &lock);
}

static void hold_record_lock(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    fixture_must(fd >= 0 && record_lock(fd, F_SETLK, F_WRLCK, 10, 0) == 0);
}

static void hold_ofd_lock(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    fixture_must(fd >= 0 && record_lock(fd, F_OFD_SETLK, F_RDLCK, 100, 4) == 0);
}

static void hold_lease(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    fixture_must(fd >= 0 && fcntl(fd, F_SETLEASE, F_WRLCK) == 0);
}

static const struct {
    void (*hold)(const char *path);
    enum outside_kind kind;
    bool exclusive;
    const char *detail;
} lock_cases[] = {
    {hold_flock_exclusive, OUTSIDE_FLOCK, true, ""},
    {hold_flock_shared, OUTSIDE_FLOCK, false, ""},
    {hold_record_lock, OUTSIDE_RECORD_LOCK, true, "bytes from 10"},
    {hold_ofd_lock, OUTSIDE_RECORD_LOCK, false, "bytes 100-103"},
    {hold_lease, OUTSIDE_LEASE, true, ""},
};

START_TEST(holder_of_a_lock_is_found)
{
    const char *path = fixture_file("a", 4096);
    (void)fixture_file("b", 4096);
    struct fixture_child child = fixture_hold(lock_cases[_i].hold, path);
    struct outside_holder holder = find_one(path, lock_cases[_i].kind, false);
    ck_assert_int_eq(holder.pid, child.pid);
    ck_assert_uint_eq(holder.uid, geteuid());
    ck_assert_str_eq(holder.command, program_invocation_short_name);
    ck_assert_int_eq(holder.exclusive, lock_cases[_i].exclusive);
    ck_assert_str_eq(holder.detail, lock_cases[_i].detail);
    ck_assert(!holder.waits);
    ck_assert_uint_eq(count_holders(path), 1);
    ck_assert_uint_eq(count_holders(fixture_path("b")), 0);
    fixture_end(&child);
    ck_assert_uint_eq(count_holders(path), 0);
}
END_TEST

START_TEST(own_locks_are_not_the_worlds)
{
    const char *path = fixture_file("a", 4096);
    struct fixture_child child = fixture_hold(hold_ofd_lock, path);
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_SH), 0);
    ck_assert_int_eq(record_lock(fd, F_OFD_SETLK, F_RDLCK, 100, 4), 0);
    ck_assert_int_eq(find_one(path, OUTSIDE_RECORD_LOCK, false).pid, child.pid);
    fixture_end(&child);
    ck_assert_uint_eq(count_holders(path), 0);
}
END_TEST

static void hold_flock_in_a_grandchild(const char *path)
{
    int ready[2];
    char byte = 0;
    fixture_must(pipe(ready) == 0);
    pid_t middle = fork();
    fixture_must(middle >= 0);
    if (middle == 0) {
        /* The one that takes it dies; its child, this process' grandchild, keeps it. */
        hold_flock_exclusive(path);
        if (fork() != 0)
            _exit(0);
        (void)!write(ready[1], &byte, 1);
        (void)pause();
    }
    fixture_must(waitpid(middle, NULL, 0) == middle && read(ready[0], &byte, 1) == 1);
}

START_TEST(heir_of_a_lock_is_named_not_the_dead)
{
    const char *path = fixture_file("a", 4096);
    struct fixture_child child = fixture_hold(hold_flock_in_a_grandchild, path);
    struct outside_holder holder = find_one(path, OUTSIDE_FLOCK, false);
    ck_assert_int_gt(holder.pid, child.pid);
    ck_assert_int_eq(kill(holder.pid, SIGKILL), 0);
    fixture_end(&child);
}
END_TEST

static void *on_wait_for_flock(void *context)
{
    CLEANUP_CLOSE int fd = open(context, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    return NULL;
}

START_TEST(waiter_is_told_from_a_holder)
{
    const char *path = fixture_file("a", 4096);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, path);
    pid_t waiter = fork();
    ck_assert_int_ge(waiter, 0);
    if (waiter == 0) {
        (void)close(child.word);
        (void)on_wait_for_flock((void *)(uintptr_t)path);
        _exit(0);
    }
    while (count_holders(path) < 2) /* the test's time limit ends it */
        (void)sched_yield();
    struct outside_holders holders = find(path);
    for (size_t i = 0; i < holders.count; i++)
        ck_assert_int_eq(holders.list[i].pid, holders.list[i].waits ? waiter : child.pid);
    ck_assert(holders.list[0].waits != holders.list[1].waits);
    outside_holders_free(&holders);
    const struct device_identity identity = fixture_identity(path);
    char text[256];
    char words[64];
    outside_describe(&identity, text, sizeof(text));
    (void)snprintf(words, sizeof(words), "flock by pid %d (uid %u, %s)", child.pid, geteuid(),
                   program_invocation_short_name);
    ck_assert_str_eq(text, words);
    fixture_end(&child);
    ck_assert_int_eq(waitpid(waiter, NULL, 0), waiter);
}
END_TEST

START_TEST(nobody_is_described_as_hidden)
{
    const struct device_identity identity = fixture_identity(fixture_file("a", 4096));
    char text[256];
    outside_describe(&identity, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "/proc does not show"));
}
END_TEST

START_TEST(lock_on_a_device_is_found_whatever_its_node)
{
    char loop[32];
    const char *node = fixture_path("node");
    CLEANUP_CLOSE int fd = fixture_loop(fixture_file("disk", FIXTURE_MIB), 0, loop, sizeof(loop));
    ck_assert_int_ge(fd, 0);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, loop);
    ck_assert_int_eq(find_one(loop, OUTSIDE_FLOCK, false).pid, child.pid);
    struct outside_holder holder = find_one(fixture_path("disk"), OUTSIDE_FLOCK, true);
    ck_assert_int_eq(holder.pid, child.pid);
    ck_assert_ptr_nonnull(strstr(holder.detail, loop));
    ck_assert_int_eq(mknod(node, S_IFBLK | 0600, fixture_identity(loop).dev), 0);
    ck_assert_int_eq(find_one(node, OUTSIDE_FLOCK, false).pid, child.pid);
    fixture_end(&child);
}
END_TEST

static TCase *file_tests(void)
{
    TCase *tests = tcase_create("files");

    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, holder_of_a_lock_is_found, 0,
                        sizeof(lock_cases) / sizeof(lock_cases[0]));
    tcase_add_test(tests, own_locks_are_not_the_worlds);
    tcase_add_test(tests, heir_of_a_lock_is_named_not_the_dead);
    tcase_add_test(tests, waiter_is_told_from_a_holder);
    tcase_add_test(tests, nobody_is_described_as_hidden);
    return tests;
}

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, lock_on_a_device_is_found_whatever_its_node);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("outside, file locks");

    suite_add_tcase(suite, file_tests());
    if (have_loops("locks on loop devices") && have_mounts("locks on loop devices"))
        suite_add_tcase(suite, loop_tests());
    return suite_run(suite);
}

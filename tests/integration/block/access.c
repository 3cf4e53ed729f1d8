/* SPDX-License-Identifier: MIT */
/* Who may do what: read-only devices and sessions, passed descriptors, users that are not root. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct blkd_device *device;

static void expect_changes_refused(uint64_t sectors)
{
    uint8_t sector[512] = {1};
    const struct iovec vector = {sector, sizeof(sector)};
    ck_assert_int_eq(fixture_info(device).read_write, false);
    ASSERT_FAILS(blkd_write(device, 0, &vector, 1, 0), EROFS);
    ASSERT_SAYS("read-only");
    ASSERT_FAILS(blkd_discard(device, 0, 1), EROFS);
    ASSERT_FAILS(blkd_write_zeroes(device, 0, 1, 0), EROFS);
    ASSERT_FAILS(blkd_write(device, 0, NULL, 0, 0), EROFS);
    ASSERT_SAYS("read-only");
    ASSERT_FAILS(blkd_discard(device, 0, 0), EROFS);
    ASSERT_FAILS(blkd_write_zeroes(device, 0, 0, 0), EROFS);
    ASSERT_OK(blkd_read(device, 0, NULL, 0));
    ASSERT_FAILS(blkd_resize(device, sectors + 1), EROFS);
    ASSERT_FAILS(blkd_resize(device, sectors - 1), EROFS);
    ck_assert_uint_eq(fixture_info(device).size_sectors, sectors);
    data_expect(device, 0, sectors, 1);
    ASSERT_OK(blkd_flush(device));
}

static void fill_outside(const char *path)
{
    CLEANUP_FREE uint8_t *content = data_new(MIB);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    data_fill(content, 0, MIB / 512, 512, 1);
    ASSERT_OK(blkd_really_write(fd, content, MIB));
}

static void expect_fallback(const char *path)
{
    struct blkd_config config = {0};
    config.path = path;
    device = fixture_open(&config);
    expect_changes_refused(MIB / 512);
    blkd_close(device);
    config.access = BLKD_ACCESS_READ_ONLY;
    device = fixture_open(&config);
    expect_changes_refused(MIB / 512);
    blkd_close(device);
    config.access = BLKD_ACCESS_READ_WRITE;
    ASSERT_FAILS(blkd_open(fixture.connection, &config, &device), EROFS);
    ASSERT_SAYS(path);
    ASSERT_SAYS("read/write");
}

START_TEST(read_only_device_is_opened_read_only)
{
    struct harness_loop loop;
    char path[HARNESS_PATH_MAX];
    if (!harness_needs_loop())
        return;
    harness_join(harness_directory(), "backing", path);
    fill_outside(path);
    harness_loop_attach(&loop, path, 512, true);
    expect_fallback(loop.path);
    harness_loop_detach(&loop);
}
END_TEST

START_TEST(file_on_read_only_mount_is_opened_read_only)
{
    char source[HARNESS_PATH_MAX];
    char target[HARNESS_PATH_MAX];
    char path[HARNESS_PATH_MAX];
    if (!harness_needs_root())
        return;
    harness_join(harness_memory_directory(), "source", source);
    harness_join(harness_memory_directory(), "target", target);
    ck_assert_int_eq(mkdir(source, 0700), 0);
    ck_assert_int_eq(mkdir(target, 0700), 0);
    harness_join(source, "image", path);
    fill_outside(path);
    if (mount(source, target, NULL, MS_BIND, NULL) < 0 && errno == EPERM) {
        harness_skip("nothing can be mounted here");
        return;
    }
    ck_assert_int_eq(mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
    harness_join(target, "image", path);
    expect_fallback(path);
}
END_TEST

START_TEST(session_asked_for_read_only_changes_nothing)
{
    struct blkd_config config = {0};
    char path[HARNESS_PATH_MAX];
    harness_join(harness_directory(), "image", path);
    fill_outside(path);
    config.path = path;
    config.access = BLKD_ACCESS_READ_ONLY;
    device = fixture_open(&config);
    expect_changes_refused(MIB / 512);
}
END_TEST

/* A read-only first opener does not bound those after it, nor do they widen its session. */
START_TEST(each_session_has_an_access_mode_of_its_own)
{
    struct blkd_config config = {0};
    char path[HARNESS_PATH_MAX];
    harness_join(harness_directory(), "image", path);
    fill_outside(path);
    config.path = path;
    config.access = BLKD_ACCESS_READ_ONLY;
    config.direct = _i != 0;
    device = fixture_open(&config);
    config.access = BLKD_ACCESS_AUTO;
    struct blkd_device *writer = fixture_open(&config);
    ck_assert_int_eq(fixture_info(writer).read_write, true);
    expect_changes_refused(MIB / 512);
    data_write(writer, 5, 1, 2);
    data_expect(device, 5, 1, 2);
    ASSERT_OK(blkd_discard(writer, 5, 1));
    data_expect(device, 5, 1, 0);
    ck_assert_uint_eq(fixture_count_devices(), 1);
}
END_TEST

/* ---- passed descriptors ---- */

static int open_image(int flags)
{
    char path[HARNESS_PATH_MAX];
    harness_join(harness_directory(), "image", path);
    if (access(path, F_OK) < 0)
        fill_outside(path);
    int fd = open(path, flags | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(passed_descriptor_can_be_closed_at_once)
{
    int fd = open_image(O_RDWR);
    ASSERT_OK(blkd_open_fd(fixture.connection, fd, NULL, &device));
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(fixture_info(device).read_write, true);
    data_expect(device, 0, MIB / 512, 1);
    data_write(device, 9, 1, 2);
    data_expect(device, 9, 1, 2);
}
END_TEST

static void on_opened(void *user_data, int result)
{
    *(int *)user_data = result;
}

START_TEST(passed_descriptor_can_be_closed_before_the_answer)
{
    int result = 1;
    int fd = open_image(O_RDWR);
    ASSERT_OK(blkd_open_fd_async(fixture.connection, fd, NULL, &device, on_opened, &result));
    ck_assert_int_eq(close(fd), 0);
    while (result == 1)
        ck_assert_int_ge(blkd_dispatch(fixture.connection, -1), 0);
    ck_assert_int_eq(result, 0);
    data_expect(device, 0, MIB / 512, 1);
}
END_TEST

START_TEST(passed_descriptor_bounds_the_session)
{
    struct blkd_config config = {0};
    CLEANUP_CLOSE int fd = open_image(O_RDONLY);
    ASSERT_OK(blkd_open_fd(fixture.connection, fd, NULL, &device));
    expect_changes_refused(MIB / 512);
    blkd_close(device);
    config.access = BLKD_ACCESS_READ_WRITE;
    ASSERT_FAILS(blkd_open_fd(fixture.connection, fd, &config, &device), EACCES);
    ASSERT_SAYS("read-only");
}
END_TEST

START_TEST(passed_descriptor_of_a_removed_file_works)
{
    char path[HARNESS_PATH_MAX];
    CLEANUP_CLOSE int fd = open_image(O_RDWR);
    harness_join(harness_directory(), "image", path);
    ck_assert_int_eq(unlink(path), 0);
    ASSERT_OK(blkd_open_fd(fixture.connection, fd, NULL, &device));
    data_write(device, 9, 1, 2);
    data_expect(device, 9, 1, 2);
}
END_TEST

START_TEST(passed_descriptor_without_the_right_to_read_is_refused)
{
    CLEANUP_CLOSE int path_only = open_image(O_PATH);
    CLEANUP_CLOSE int write_only = open_image(O_WRONLY);
    ASSERT_FAILS(blkd_open_fd(fixture.connection, path_only, NULL, &device), EINVAL);
    ASSERT_SAYS("O_PATH");
    ASSERT_FAILS(blkd_open_fd(fixture.connection, write_only, NULL, &device), EINVAL);
    ASSERT_SAYS("only for writing");
}
END_TEST

START_TEST(passed_descriptor_of_something_else_is_refused)
{
    int pipes[2];
    CLEANUP_CLOSE int directory = open(harness_directory(), O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    ASSERT_FAILS(blkd_open_fd(fixture.connection, pipes[0], NULL, &device), ENOTBLK);
    ASSERT_FAILS(blkd_open_fd(fixture.connection, pipes[1], NULL, &device), ENOTBLK);
    ASSERT_FAILS(blkd_open_fd(fixture.connection, directory, NULL, &device), ENOTBLK);
    ASSERT_FAILS(blkd_open_fd(fixture.connection, null, NULL, &device), ENOTBLK);
    ASSERT_FAILS(blkd_open_fd(fixture.connection, -1, NULL, &device), EBADF);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}
END_TEST

/* The size of /proc/PID/fd is the number of descriptors, since Linux 6.2. */
static unsigned int daemon_descriptors(void)
{
    char directory[64];
    struct stat status;
    (void)snprintf(directory, sizeof(directory), "/proc/%d/fd", (int)fixture.daemon.pid);
    ck_assert_int_eq(stat(directory, &status), 0);
    return (unsigned int)status.st_size;
}

/* What a client passes and what the daemon opened beside it is closed again. */
START_TEST(no_descriptor_is_left_in_the_daemon)
{
    CLEANUP_CLOSE int fd = open_image(O_RDWR);
    CLEANUP_CLOSE int path_only = open_image(O_PATH);
    unsigned int before = daemon_descriptors();
    for (int round = 0; round < 40; round++) {
        ASSERT_OK(blkd_open_fd(fixture.connection, fd, NULL, &device));
        blkd_close(device);
        ASSERT_FAILS(blkd_open_fd(fixture.connection, path_only, NULL, &device), EINVAL);
    }
    /* They are closed after the answer, and nobody says when. */
    for (int waited_ms = 0; daemon_descriptors() > before && waited_ms < 10000; waited_ms += 10)
        (void)poll(NULL, 0, 10);
    ck_assert_uint_le(daemon_descriptors(), before);
}
END_TEST

/* ---- another user ---- */

enum { NOBODY = 65534 };

/* Runs the function in a process of this user, on a connection of its own. What it prints says what
 * is wrong; NULL: nothing. */
static void run_as_nobody(const char *(*function)(struct blkd *connection))
{
    int status = 0;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct blkd_options options = {0};
        struct blkd *connection = NULL;
        const char *wrong = "it cannot become another user and connect";
        options.socket_path = fixture.daemon.socket_path;
        if (setgid(NOBODY) == 0 && setuid(NOBODY) == 0 && blkd_connect(&options, &connection) == 0)
            wrong = function(connection);
        if (wrong != NULL)
            (void)dprintf(STDERR_FILENO, "as uid %d: %s: %s\n", NOBODY, wrong,
                          blkd_error_message());
        blkd_disconnect(connection);
        _exit(wrong == NULL ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

static struct blkd_config nobody_config; /* with a path that outlives the fork */
static char nobody_path[HARNESS_PATH_MAX];

static void nobody_file(uid_t owner, mode_t mode)
{
    harness_join(harness_directory(), "nobodys", nobody_path);
    fill_outside(nobody_path);
    ck_assert_int_eq(chown(nobody_path, owner, owner), 0);
    ck_assert_int_eq(chmod(nobody_path, mode), 0);
    nobody_config = (struct blkd_config){0};
    nobody_config.path = nobody_path;
}

static const char *write_and_read(struct blkd *connection)
{
    uint8_t out[512];
    uint8_t in[512];
    const struct iovec vectors[] = {{out, sizeof(out)}, {in, sizeof(in)}};
    struct blkd_info info;
    memset(out, 0x77, sizeof(out));
    if (blkd_open(connection, &nobody_config, &device) < 0)
        return "opening its own file";
    if (blkd_get_info(device, &info) < 0 || !info.read_write)
        return "its own file is not read/write";
    if (blkd_write(device, 3, &vectors[0], 1, 0) < 0 || blkd_flush(device) < 0)
        return "writing";
    if (blkd_read(device, 3, &vectors[1], 1) < 0 || memcmp(in, out, sizeof(in)) != 0)
        return "reading";
    blkd_close(device);
    return NULL;
}

START_TEST(other_user_opens_its_own_file)
{
    uint8_t sector[512];
    if (!harness_needs_root())
        return;
    nobody_file(NOBODY, 0600);
    run_as_nobody(write_and_read);
    CLEANUP_CLOSE int fd = open(nobody_path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, sector, sizeof(sector), 3L * 512), (ssize_t)sizeof(sector));
    ck_assert_uint_eq(sector[511], 0x77);
}
END_TEST

static const char *is_refused(struct blkd *connection)
{
    nobody_config.access = BLKD_ACCESS_AUTO;
    if (blkd_open(connection, &nobody_config, &device) != -EACCES)
        return "opening another's file is not -EACCES";
    nobody_config.access = BLKD_ACCESS_READ_ONLY;
    if (blkd_open(connection, &nobody_config, &device) != -EACCES)
        return "opening another's file read-only is not -EACCES";
    return NULL;
}

START_TEST(other_user_does_not_open_roots_file)
{
    if (!harness_needs_root())
        return;
    nobody_file(0, 0600);
    run_as_nobody(is_refused);
}
END_TEST

static const char *is_read_only(struct blkd *connection)
{
    uint8_t sector[512];
    const struct iovec vector = {sector, sizeof(sector)};
    struct blkd_info info;
    if (blkd_open(connection, &nobody_config, &device) < 0)
        return "opening a readable file";
    if (blkd_get_info(device, &info) < 0 || info.read_write)
        return "a file that it may only read is read/write";
    if (blkd_write(device, 0, &vector, 1, 0) != -EROFS)
        return "writing is not -EROFS";
    blkd_close(device);
    nobody_config.access = BLKD_ACCESS_READ_WRITE;
    if (blkd_open(connection, &nobody_config, &device) != -EACCES)
        return "asking for read/write is not -EACCES";
    return NULL;
}

START_TEST(other_user_falls_back_to_read_only)
{
    if (!harness_needs_root())
        return;
    nobody_file(0, 0644);
    run_as_nobody(is_read_only);
}
END_TEST

/* Root has it open read/write: the other user's session is not widened by that. */
START_TEST(other_user_is_not_widened_by_roots_session)
{
    if (!harness_needs_root())
        return;
    nobody_file(0, 0644);
    device = fixture_open(&nobody_config);
    ck_assert_int_eq(fixture_info(device).read_write, true);
    run_as_nobody(is_read_only);
}
END_TEST

static const char *is_missing(struct blkd *connection)
{
    harness_join(harness_directory(), "missing", nobody_path);
    return blkd_open(connection, &nobody_config, &device) == -ENOENT ? NULL : "not -ENOENT";
}

/* The directory is one that it may look into: its own open(2) says so. */
START_TEST(other_user_is_told_that_a_path_is_missing)
{
    if (!harness_needs_root())
        return;
    nobody_file(0, 0600);
    run_as_nobody(is_missing);
}
END_TEST

static const char *nothing_is_told(struct blkd *connection)
{
    static const char *const names[] = {"there", "missing"};
    for (int i = 0; i < 2; i++) {
        (void)snprintf(nobody_path, sizeof(nobody_path), "%s/closed/%s", harness_directory(),
                       names[i]);
        if (blkd_open(connection, &nobody_config, &device) != -EACCES)
            return "a file in a directory that it may not enter is not -EACCES";
    }
    return NULL;
}

START_TEST(other_user_learns_nothing_about_a_closed_directory)
{
    char directory[HARNESS_PATH_MAX];
    char path[HARNESS_PATH_MAX];
    if (!harness_needs_root())
        return;
    nobody_file(0, 0600);
    harness_join(harness_directory(), "closed", directory);
    ck_assert_int_eq(mkdir(directory, 0700), 0);
    harness_make_file(directory, "there", MIB, path);
    run_as_nobody(nothing_is_told);
}
END_TEST

static void add_sessions(TCase *tests)
{
    tcase_add_test(tests, read_only_device_is_opened_read_only);
    tcase_add_test(tests, file_on_read_only_mount_is_opened_read_only);
    tcase_add_test(tests, session_asked_for_read_only_changes_nothing);
    tcase_add_loop_test(tests, each_session_has_an_access_mode_of_its_own, 0, 2);
}

static void add_descriptors(TCase *tests)
{
    tcase_add_test(tests, passed_descriptor_can_be_closed_at_once);
    tcase_add_test(tests, passed_descriptor_can_be_closed_before_the_answer);
    tcase_add_test(tests, passed_descriptor_bounds_the_session);
    tcase_add_test(tests, passed_descriptor_of_a_removed_file_works);
    tcase_add_test(tests, passed_descriptor_without_the_right_to_read_is_refused);
    tcase_add_test(tests, passed_descriptor_of_something_else_is_refused);
    tcase_add_test(tests, no_descriptor_is_left_in_the_daemon);
}

static void add_users(TCase *tests)
{
    tcase_add_test(tests, other_user_opens_its_own_file);
    tcase_add_test(tests, other_user_does_not_open_roots_file);
    tcase_add_test(tests, other_user_falls_back_to_read_only);
    tcase_add_test(tests, other_user_is_not_widened_by_roots_session);
    tcase_add_test(tests, other_user_is_told_that_a_path_is_missing);
    tcase_add_test(tests, other_user_learns_nothing_about_a_closed_directory);
}

int main(void)
{
    Suite *suite = suite_create("integration/block/access");
    add_sessions(fixture_case(suite, "sessions"));
    add_descriptors(fixture_case(suite, "descriptors"));
    add_users(fixture_case(suite, "users"));
    return harness_main(suite);
}

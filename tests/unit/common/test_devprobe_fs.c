/* SPDX-License-Identifier: MIT */
/* Which file system a descriptor is on: by name, in other mount namespaces, and without asking it.
 */
#include "common/devprobe.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/cleanup.h"
#include "common/fdpass.h"
#include "tests/unit/common/probed_file.h"
#include "tests/unit/needs.h"
#include "tests/unit/suite.h"

static void check_filesystem(int fd, const char *expected)
{
    char type[64] = "untouched";

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(devprobe_filesystem(fd, type, sizeof(type)), 0);
    ck_assert_str_eq(type, expected);
}

START_TEST(filesystem_is_named_as_mountinfo_does)
{
    CLEANUP_CLOSE int proc = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int sys = open("/sys/kernel", O_PATH | O_CLOEXEC);
    CLEANUP_CLOSE int shm = open_file("/dev/shm", 0, 0);

    check_filesystem(proc, "proc");
    check_filesystem(sys, "sysfs");
    check_filesystem(shm, "tmpfs");
}
END_TEST

START_TEST(what_is_on_no_mount_is_enoent)
{
    char type[64] = "untouched";
    int pipes[2];
    CLEANUP_CLOSE int memory = memfd_create("test", MFD_CLOEXEC);

    ck_assert_int_eq(devprobe_filesystem(memory, type, sizeof(type)), -ENOENT);
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    ck_assert_int_eq(devprobe_filesystem(pipes[0], type, sizeof(type)), -ENOENT);
    ck_assert_str_eq(type, "untouched");
    close(pipes[0]);
    close(pipes[1]);
}
END_TEST

START_TEST(too_small_a_buffer_is_enametoolong)
{
    CLEANUP_CLOSE int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    char type[8] = "x";

    ck_assert_int_eq(devprobe_filesystem(fd, type, strlen("proc")), -ENAMETOOLONG);
    ck_assert_str_eq(type, "x");
    ck_assert_int_eq(devprobe_filesystem(fd, type, strlen("proc") + 1), 0);
    ck_assert_str_eq(type, "proc");
}
END_TEST

static void enter_own_mounts(void)
{
    ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
    ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
}

/* A FUSE mount on /mnt, whose server would be the reader of `fuse`: nobody. */
static int mount_fuse(int fuse)
{
    char options[80];

    (void)snprintf(options, sizeof(options),
                   "fd=%d,rootmode=40000,user_id=0,group_id=0,subtype=test", fuse);
    return mount("test", "/mnt", "fuse", 0, options);
}

/* Runs in a child with mounts of its own: opens `path`, with a file system on /mnt, and sends it.
 */
static void send_from_own_mounts(int socket, const char *path, int fuse)
{
    struct iovec iov = {&(char){'x'}, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        _exit(1);
    if ((fuse >= 0 ? mount_fuse(fuse) : mount("test", "/mnt", "tmpfs", 0, NULL)) < 0)
        _exit(1);
    _exit(fdpass_send(socket, &message, open(path, O_PATH | O_CLOEXEC), 0) == 1 ? 0 : 1);
}

static int open_in_other_mounts(const char *path, int fuse)
{
    struct iovec iov = {&(char){'x'}, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct fdpass fds;
    int sockets[2], status;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        send_from_own_mounts(sockets[1], path, fuse);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(fdpass_receive(sockets[0], &message, 0, &fds), 1);
    ck_assert_uint_eq(fds.count, 1);
    close(sockets[0]);
    close(sockets[1]);
    return fds.fds[0];
}

START_TEST(descriptor_from_another_namespace_is_found_by_its_device)
{
    CLEANUP_CLOSE int fd = open_in_other_mounts("/proc/self/status", -1);

    check_filesystem(fd, "proc");
}
END_TEST

START_TEST(file_system_that_is_mounted_elsewhere_only_is_enoent)
{
    CLEANUP_CLOSE int fd = open_in_other_mounts("/mnt", -1);
    char type[64];

    ck_assert_int_eq(devprobe_filesystem(fd, type, sizeof(type)), -ENOENT);
}
END_TEST

/* Whatever asks these mounts for something hangs, and the test's time is up. */
START_TEST(fuse_mount_that_nobody_serves_does_not_hang)
{
    CLEANUP_CLOSE int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fuse, 0);
    enter_own_mounts();
    ck_assert_int_eq(mount_fuse(fuse), 0);
    CLEANUP_CLOSE int fd = open("/mnt", O_PATH | O_CLOEXEC);
    check_filesystem(fd, "fuse.test");
}
END_TEST

START_TEST(fuse_mount_of_another_namespace_does_not_hang)
{
    CLEANUP_CLOSE int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    CLEANUP_CLOSE int fd = open_in_other_mounts("/mnt", fuse);
    char type[64];

    ck_assert_int_eq(devprobe_filesystem(fd, type, sizeof(type)), -ENOENT);
}
END_TEST

START_TEST(file_systems_that_ask_others_are_remote)
{
    static const char *const remote[] = {"fuse", "fuse.nbdfuse", "fuse.sshfs", "fuseblk", "nfs",
                                         "nfs4", "cifs",         "smb3",       "9p",      "ceph",
                                         "afs",  "virtiofs",     "autofs",     "gfs2"};
    static const char *const local[] = {
        "ext4", "xfs", "btrfs", "tmpfs", "devtmpfs", "overlay", "proc",     "ramfs",
        "f2fs", "zfs", "vfat",  "",      "fusectl",  "nfsd",    "squashfs", "ext"};

    for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
        ck_assert_msg(devprobe_filesystem_is_remote(remote[i]), "%s", remote[i]);
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        ck_assert_msg(!devprobe_filesystem_is_remote(local[i]), "%s", local[i]);
}
END_TEST

static TCase *file_tests(void)
{
    TCase *tests = tcase_create("files");

    tcase_add_test(tests, filesystem_is_named_as_mountinfo_does);
    tcase_add_test(tests, what_is_on_no_mount_is_enoent);
    tcase_add_test(tests, too_small_a_buffer_is_enametoolong);
    tcase_add_test(tests, file_systems_that_ask_others_are_remote);
    return tests;
}

static TCase *mount_tests(void)
{
    TCase *tests = tcase_create("mounts");

    tcase_add_test(tests, descriptor_from_another_namespace_is_found_by_its_device);
    tcase_add_test(tests, file_system_that_is_mounted_elsewhere_only_is_enoent);
    return tests;
}

static TCase *fuse_tests(void)
{
    TCase *tests = tcase_create("FUSE");

    tcase_add_test(tests, fuse_mount_that_nobody_serves_does_not_hang);
    tcase_add_test(tests, fuse_mount_of_another_namespace_does_not_hang);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("devprobe, file systems");

    suite_add_tcase(suite, file_tests());
    if (have_mounts("mounts of other namespaces"))
        suite_add_tcase(suite, mount_tests());
    if (have_mounts("hung FUSE mounts") && have_fuse("hung FUSE mounts"))
        suite_add_tcase(suite, fuse_tests());
    return suite_run(suite);
}

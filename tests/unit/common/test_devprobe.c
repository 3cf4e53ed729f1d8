/* SPDX-License-Identifier: MIT */
/*
 * On real files, loop devices, zram and mounts. Loop devices are set to clear themselves and mounts
 * are made in a namespace of the test's own, so that nothing stays behind when a test fails.
 */
#include "common/devprobe.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fdpass.h"

enum { MIB = 1024 * 1024 };

/* An unnamed file of `size` bytes in `directory`. */
static int open_file(const char *directory, off_t size, int flags)
{
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);

    ck_assert_msg(fd >= 0, "%s: %s", directory, strerror(errno));
    ck_assert_int_eq(ftruncate(fd, size), 0);
    return fd;
}

static int configure_loop(const struct loop_config *config)
{
    CLEANUP_CLOSE int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    char path[32];

    ck_assert_int_ge(control, 0);
    for (;;) {
        const int number = ioctl(control, LOOP_CTL_GET_FREE);
        ck_assert_int_ge(number, 0);
        (void)snprintf(path, sizeof(path), "/dev/loop%d", number);
        const int fd = open(path, O_RDWR | O_CLOEXEC);
        ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
        if (ioctl(fd, LOOP_CONFIGURE, config) == 0)
            return fd;
        ck_assert_int_eq(errno, EBUSY); /* somebody else was faster */
        close(fd);
    }
}

/* A loop device that goes away with its descriptor. */
static int open_loop(uint32_t block_bytes, uint32_t flags)
{
    CLEANUP_CLOSE int backing = open_file("/tmp", MIB, 0);
    struct loop_config config = {.fd = (uint32_t)backing, .block_size = block_bytes};

    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | flags;
    return configure_loop(&config);
}

/* ---- size, logical block, read-only ---- */

START_TEST(size_of_a_file_is_its_length)
{
    CLEANUP_CLOSE int small = open_file("/tmp", 511, 0);
    CLEANUP_CLOSE int large = open_file("/dev/shm", (off_t)1 << 42, 0);
    uint64_t size = 7;

    ck_assert_int_eq(devprobe_size(small, &size), 0);
    ck_assert_uint_eq(size, 511);
    ck_assert_int_eq(devprobe_size(large, &size), 0);
    ck_assert_uint_eq(size, 1ULL << 42);
}
END_TEST

START_TEST(what_is_no_file_and_no_block_device_is_enotblk)
{
    static const char *const paths[] = {"/tmp", "/dev/null"};
    struct devprobe_direct direct;
    uint64_t size = 7;
    int pipes[2];

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        CLEANUP_CLOSE int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(devprobe_size(fd, &size), -ENOTBLK);
        ck_assert_int_eq(devprobe_direct(fd, &direct), -ENOTBLK);
    }
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    ck_assert_int_eq(devprobe_size(pipes[0], &size), -ENOTBLK);
    ck_assert_int_eq(devprobe_direct(pipes[0], &direct), -ENOTBLK);
    ck_assert_uint_eq(size, 7);
    close(pipes[0]);
    close(pipes[1]);
}
END_TEST

START_TEST(closed_descriptor_is_ebadf)
{
    struct devprobe_direct direct;
    uint64_t size;
    uint32_t bytes;
    bool read_only;
    char type[32];
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    close(fd);
    ck_assert_int_eq(devprobe_size(fd, &size), -EBADF);
    ck_assert_int_eq(devprobe_logical_block(fd, &bytes), -EBADF);
    ck_assert_int_eq(devprobe_read_only(fd, &read_only), -EBADF);
    ck_assert_int_eq(devprobe_direct(fd, &direct), -EBADF);
    ck_assert_int_eq(devprobe_filesystem(fd, type, sizeof(type)), -EBADF);
}
END_TEST

START_TEST(a_file_has_no_logical_block)
{
    CLEANUP_CLOSE int fd = open_file("/tmp", MIB, 0);
    uint32_t bytes = 7;
    bool read_only = true;

    ck_assert_int_eq(devprobe_logical_block(fd, &bytes), -ENOTTY);
    ck_assert_uint_eq(bytes, 7);
    ck_assert_int_eq(devprobe_read_only(fd, &read_only), -ENOTTY);
}
END_TEST

static const uint32_t block_sizes[] = {512, 1024, 4096};

START_TEST(loop_device_tells_its_size_and_block)
{
    CLEANUP_CLOSE int fd = open_loop(block_sizes[_i], 0);
    uint64_t size;
    uint32_t bytes;
    bool read_only;

    ck_assert_int_eq(devprobe_size(fd, &size), 0);
    ck_assert_uint_eq(size, MIB);
    ck_assert_int_eq(devprobe_logical_block(fd, &bytes), 0);
    ck_assert_uint_eq(bytes, block_sizes[_i]);
    ck_assert_int_eq(devprobe_read_only(fd, &read_only), 0);
    ck_assert(!read_only);
}
END_TEST

START_TEST(read_only_loop_device_says_so)
{
    CLEANUP_CLOSE int fd = open_loop(512, LO_FLAGS_READ_ONLY);
    bool read_only = false;

    ck_assert_int_eq(devprobe_read_only(fd, &read_only), 0);
    ck_assert(read_only);
}
END_TEST

/* ---- direct I/O ---- */

enum { AROUND = 0xee, CONTENT = 0x11 };

static bool is_filled(const uint8_t *bytes, size_t count, uint8_t value)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != value)
            return false;
    }
    return true;
}

/* A direct read of one granule to memory that is aligned as told and no better reads that granule,
 * and leaves the memory around it alone. */
static void check_read(int fd, const struct devprobe_direct *direct, off_t offset)
{
    const size_t granule = direct->offset_align_bytes;
    const size_t around = direct->memory_align_bytes + (size_t)sysconf(_SC_PAGESIZE);
    CLEANUP_FREE uint8_t *memory = NULL;

    ck_assert_int_eq(posix_memalign((void **)&memory, 65536, 2 * around + granule), 0);
    memset(memory, AROUND, 2 * around + granule);
    ck_assert_int_eq(pread(fd, memory + around, granule, offset), (ssize_t)granule);
    ck_assert(is_filled(memory + around, granule, CONTENT));
    ck_assert(is_filled(memory, around, AROUND));
    ck_assert(is_filled(memory + around + granule, around, AROUND));
}

/* `fd` is open for direct I/O. */
static void check_granule(int fd, const struct devprobe_direct *direct)
{
    const size_t granule = direct->offset_align_bytes;
    CLEANUP_FREE uint8_t *buffer = NULL;

    ck_assert_int_eq(posix_memalign((void **)&buffer, 65536, 4 * granule), 0);
    memset(buffer, CONTENT, 4 * granule);
    ck_assert_int_eq(pwrite(fd, buffer, 4 * granule, 0), (ssize_t)(4 * granule));
    check_read(fd, direct, 0);
    check_read(fd, direct, (off_t)granule);
    ck_assert_int_eq(pread(fd, buffer, granule / 2, 0), -1);
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_int_eq(pread(fd, buffer, granule, (off_t)granule / 2), -1);
    ck_assert_int_eq(errno, EINVAL);
}

static void set_direct(int fd)
{
    ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_DIRECT), 0);
}

START_TEST(granule_of_a_loop_device_is_its_block)
{
    CLEANUP_CLOSE int fd = open_loop(block_sizes[_i], 0);
    struct devprobe_direct direct;

    ck_assert_int_eq(devprobe_direct(fd, &direct), 0);
    ck_assert_uint_eq(direct.offset_align_bytes, block_sizes[_i]);
    ck_assert_uint_ge(direct.memory_align_bytes, block_sizes[_i]);
    set_direct(fd);
    check_granule(fd, &direct);
}
END_TEST

START_TEST(granule_of_a_file_on_tmpfs_is_the_page)
{
    CLEANUP_CLOSE int fd = open_file("/dev/shm", MIB, 0);
    struct devprobe_direct direct;

    ck_assert_int_eq(devprobe_direct(fd, &direct), 0);
    ck_assert_int_eq(direct.offset_align_bytes, sysconf(_SC_PAGESIZE));
    ck_assert_int_eq(direct.memory_align_bytes, sysconf(_SC_PAGESIZE));
}
END_TEST

START_TEST(granule_of_a_file_on_a_disk_is_what_the_disk_takes)
{
    CLEANUP_CLOSE int fd = open_file("/var/tmp", MIB, O_DIRECT);
    struct devprobe_direct direct;

    ck_assert_int_eq(devprobe_direct(fd, &direct), 0);
    check_granule(fd, &direct);
}
END_TEST

/* ---- zram ---- */

static void write_text(const char *path, const char *text)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

    ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
    ck_assert_msg(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s: %s", path,
                  strerror(errno));
}

static int hot_add(void)
{
    CLEANUP_CLOSE int fd = open("/sys/class/zram-control/hot_add", O_RDONLY | O_CLOEXEC);
    char text[16] = "";

    ck_assert_int_ge(fd, 0);
    ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
    return atoi(text);
}

static int zram_number = -1;

static void add_zram(void)
{
    char path[64];

    zram_number = hot_add();
    (void)snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", zram_number);
    write_text(path, "4194304");
}

static void remove_zram(void)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%d", zram_number);
    write_text("/sys/class/zram-control/hot_remove", text);
}

START_TEST(zram_tells_its_size_block_and_granule)
{
    struct devprobe_direct direct;
    char path[32];
    uint64_t size;
    uint32_t bytes;

    (void)snprintf(path, sizeof(path), "/dev/zram%d", zram_number);
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC | O_DIRECT);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(devprobe_size(fd, &size), 0);
    ck_assert_uint_eq(size, 4194304);
    ck_assert_int_eq(devprobe_logical_block(fd, &bytes), 0);
    ck_assert_uint_eq(bytes, 4096);
    ck_assert_int_eq(devprobe_direct(fd, &direct), 0);
    ck_assert_uint_eq(direct.offset_align_bytes, 4096);
    check_granule(fd, &direct);
}
END_TEST

/* ---- file systems ---- */

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

static TCase *everyones_tests(void)
{
    TCase *tests = tcase_create("files");

    tcase_add_test(tests, size_of_a_file_is_its_length);
    tcase_add_test(tests, what_is_no_file_and_no_block_device_is_enotblk);
    tcase_add_test(tests, closed_descriptor_is_ebadf);
    tcase_add_test(tests, a_file_has_no_logical_block);
    tcase_add_test(tests, granule_of_a_file_on_tmpfs_is_the_page);
    tcase_add_test(tests, granule_of_a_file_on_a_disk_is_what_the_disk_takes);
    tcase_add_test(tests, filesystem_is_named_as_mountinfo_does);
    tcase_add_test(tests, what_is_on_no_mount_is_enoent);
    tcase_add_test(tests, too_small_a_buffer_is_enametoolong);
    tcase_add_test(tests, file_systems_that_ask_others_are_remote);
    return tests;
}

static TCase *roots_tests(void)
{
    TCase *tests = tcase_create("devices");
    const int sizes = sizeof(block_sizes) / sizeof(block_sizes[0]);

    tcase_add_loop_test(tests, loop_device_tells_its_size_and_block, 0, sizes);
    tcase_add_loop_test(tests, granule_of_a_loop_device_is_its_block, 0, sizes);
    tcase_add_test(tests, read_only_loop_device_says_so);
    tcase_add_test(tests, descriptor_from_another_namespace_is_found_by_its_device);
    tcase_add_test(tests, file_system_that_is_mounted_elsewhere_only_is_enoent);
    tcase_add_test(tests, fuse_mount_that_nobody_serves_does_not_hang);
    tcase_add_test(tests, fuse_mount_of_another_namespace_does_not_hang);
    return tests;
}

static TCase *zram_tests(void)
{
    TCase *tests = tcase_create("zram");

    tcase_add_unchecked_fixture(tests, add_zram, remove_zram);
    tcase_add_test(tests, zram_tells_its_size_block_and_granule);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("devprobe");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, everyones_tests());
    if (geteuid() != 0)
        printf("skipped: loop devices, mounts and zram: they need root\n");
    else
        suite_add_tcase(suite, roots_tests());
    if (access("/sys/class/zram-control/hot_add", R_OK) < 0)
        printf("skipped: zram: no module zram here, or not root\n");
    else
        suite_add_tcase(suite, zram_tests());
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

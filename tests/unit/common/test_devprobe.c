/* SPDX-License-Identifier: MIT */
/*
 * On real files, loop devices, zram and mounts. Loop devices are set to clear themselves and mounts
 * are made in a namespace of the test's own, so that nothing stays behind when a test fails.
 */
#include "common/devprobe.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "tests/unit/common/probed_file.h"
#include "tests/unit/needs.h"
#include "tests/unit/suite.h"

enum { MIB = 1024 * 1024 };

/* A loop device that goes away with its descriptor. */
static int open_loop(uint32_t block_bytes, uint32_t flags)
{
    CLEANUP_CLOSE int backing = open_file("/tmp", MIB, 0);
    char path[32];
    const int fd = loop_attach(backing, block_bytes, flags, path, sizeof(path));

    ck_assert_msg(fd >= 0, "no loop device: %s", strerror(-fd));
    return fd;
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

enum { BLOCK_SIZES = sizeof(block_sizes) / sizeof(block_sizes[0]) };

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

static TCase *file_tests(void)
{
    TCase *tests = tcase_create("files");

    tcase_add_test(tests, size_of_a_file_is_its_length);
    tcase_add_test(tests, what_is_no_file_and_no_block_device_is_enotblk);
    tcase_add_test(tests, closed_descriptor_is_ebadf);
    tcase_add_test(tests, a_file_has_no_logical_block);
    tcase_add_test(tests, granule_of_a_file_on_tmpfs_is_the_page);
    tcase_add_test(tests, granule_of_a_file_on_a_disk_is_what_the_disk_takes);
    return tests;
}

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");

    tcase_add_loop_test(tests, loop_device_tells_its_size_and_block, 0, BLOCK_SIZES);
    tcase_add_loop_test(tests, granule_of_a_loop_device_is_its_block, 0, BLOCK_SIZES);
    tcase_add_test(tests, read_only_loop_device_says_so);
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

    suite_add_tcase(suite, file_tests());
    if (have_loops("loop devices"))
        suite_add_tcase(suite, loop_tests());
    if (have_zram("zram"))
        suite_add_tcase(suite, zram_tests());
    return suite_run(suite);
}

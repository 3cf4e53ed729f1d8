/* SPDX-License-Identifier: MIT */
/* Loop and zram devices. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "harness.h"

/* ---- loop ---- */

enum { LOOPS_MAX = 8, LOOP_MAJOR_NUMBER = 7, LOOP_TRIES = 64 };

/* Descriptors of those that are attached: a loop device with LO_FLAGS_AUTOCLEAR lets go of its file
 * when the last one is closed, so that no test can leave one behind. */
static int loop_fds[LOOPS_MAX] = {-1, -1, -1, -1, -1, -1, -1, -1};

static void remember_loop(int fd)
{
    for (unsigned int i = 0; i < LOOPS_MAX; i++) {
        if (loop_fds[i] < 0) {
            loop_fds[i] = fd;
            return;
        }
    }
    ck_abort_msg("a test has at most %d loop devices", LOOPS_MAX);
}

/* Where /dev is not the kernel's own, a new device has no node there, and gets one for the test. */
static const char node_name[] = "loop-%u";

static void make_node(const struct harness_loop *loop)
{
    char name[32];
    if (mknod(loop->path, S_IFBLK | 0600, makedev(LOOP_MAJOR_NUMBER, loop->number)) < 0)
        return;
    (void)snprintf(name, sizeof(name), node_name, loop->number);
    harness_remember(name);
}

bool harness_needs_loop(void)
{
    if (!harness_needs_root())
        return false;
    CLEANUP_CLOSE int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) {
        harness_skip("cannot open /dev/loop-control: %s", strerror(errno));
        return false;
    }
    struct harness_loop loop = {.fd = -1};
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    loop.number = (unsigned int)number;
    (void)snprintf(loop.path, sizeof(loop.path), "/dev/loop%d", number);
    if (number >= 0)
        make_node(&loop);
    loop.fd = number < 0 ? -1 : open(loop.path, O_RDWR | O_CLOEXEC);
    if (loop.fd < 0) {
        harness_skip("no loop device can be had here: %s: %s", loop.path, strerror(errno));
        return false;
    }
    (void)close(loop.fd);
    return true;
}

/* A free one; another program may take it before we do. */
static int open_free_loop(struct harness_loop *loop)
{
    CLEANUP_CLOSE int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    ck_assert_msg(control >= 0, "cannot open /dev/loop-control: %s", strerror(errno));
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    ck_assert_msg(number >= 0, "no loop device is free: %s", strerror(errno));
    loop->number = (unsigned int)number;
    (void)snprintf(loop->path, sizeof(loop->path), "/dev/loop%d", number);
    make_node(loop);
    int fd = open(loop->path, O_RDWR | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "cannot open %s: %s", loop->path, strerror(errno));
    return fd;
}

void harness_loop_attach(struct harness_loop *loop, const char *file, unsigned int block_bytes,
                         bool read_only)
{
    CLEANUP_CLOSE int backing = open(file, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    ck_assert_msg(backing >= 0, "cannot open %s: %s", file, strerror(errno));
    struct loop_config config = {
        .fd = (__u32)backing,
        .block_size = block_bytes,
        .info = {.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0)},
    };
    for (int tries = 0; tries < LOOP_TRIES; tries++) {
        int fd = open_free_loop(loop);
        if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            loop->fd = fd;
            remember_loop(fd);
            return;
        }
        ck_assert_msg(errno == EBUSY, "LOOP_CONFIGURE of %s: %s", loop->path, strerror(errno));
        (void)close(fd);
    }
    ck_abort_msg("other programs take every free loop device");
}

void harness_loop_detach(struct harness_loop *loop)
{
    for (unsigned int i = 0; i < LOOPS_MAX; i++)
        if (loop_fds[i] == loop->fd)
            loop_fds[i] = -1;
    (void)close(TAKE_FD(loop->fd));
}

/* ---- zram ---- */

enum { ZRAM_TRIES = 1000 };

static const char zram_add[] = "/sys/class/zram-control/hot_add";
static const char zram_remove[] = "/sys/class/zram-control/hot_remove";
static const char zram_name[] = "zram-%u";

static bool write_number(const char *path, uint64_t number)
{
    char text[32];
    int length = snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, (size_t)length) == length;
}

/* The kernel lets go of a killed daemon's descriptors only when its io_uring has ended, and sends
 * no word of it: this is asked again. */
static bool remove_zram(uint64_t number)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000000L};
    for (int tries = 0; tries < ZRAM_TRIES; tries++) {
        if (write_number(zram_remove, number))
            return true;
        if (errno != EBUSY)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

/* Reading hot_add makes a device, even where nobody may write to sysfs to take it away again: that
 * is looked at first. */
static bool zram_can_be_removed(void)
{
    if (access(zram_add, R_OK) == 0 && access(zram_remove, W_OK) == 0)
        return true;
    if (errno == ENOENT)
        harness_skip("this kernel has no zram");
    else
        harness_skip("cannot use %s: %s", zram_remove, strerror(errno));
    return false;
}

/* Its size is set, and there is a node in /dev: in a container there may be none. */
static bool zram_is_ready(struct harness_zram *zram, uint64_t size_bytes)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/sys/block/zram%u/disksize", zram->number);
    if (!write_number(path, size_bytes)) {
        harness_skip("cannot write %s: %s", path, strerror(errno));
        return false;
    }
    (void)snprintf(zram->path, sizeof(zram->path), "/dev/zram%u", zram->number);
    CLEANUP_CLOSE int fd = open(zram->path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        harness_skip("cannot open %s: %s", zram->path, strerror(errno));
    return fd >= 0;
}

bool harness_zram_add(struct harness_zram *zram, uint64_t size_bytes)
{
    char name[32];
    if (!harness_needs_root() || !zram_can_be_removed())
        return false;
    CLEANUP_FREE char *number = harness_read_text(zram_add);
    zram->number = (unsigned int)strtoul(number, NULL, 10);
    (void)snprintf(name, sizeof(name), zram_name, zram->number);
    harness_remember(name);
    if (zram_is_ready(zram, size_bytes))
        return true;
    harness_zram_remove(zram);
    return false;
}

void harness_zram_remove(const struct harness_zram *zram)
{
    char name[32];
    ck_assert_msg(remove_zram(zram->number), "cannot remove %s: %s", zram->path, strerror(errno));
    (void)snprintf(name, sizeof(name), zram_name, zram->number);
    harness_forget(name);
}

/* ---- of a test that failed ---- */

void harness_device_undo(const char *name)
{
    unsigned int number = 0;
    char path[32];
    if (sscanf(name, zram_name, &number) == 1) {
        (void)remove_zram(number);
    } else if (sscanf(name, node_name, &number) == 1) {
        (void)snprintf(path, sizeof(path), "/dev/loop%u", number);
        (void)unlink(path);
    }
}

void harness_device_clean_up(void)
{
    for (unsigned int i = 0; i < LOOPS_MAX; i++)
        if (loop_fds[i] >= 0)
            (void)close(TAKE_FD(loop_fds[i]));
}

/* SPDX-License-Identifier: MIT */
/*
 * Reads fetch anew what was written through other devices that share bytes with this one. Linux
 * keeps the pages of a partition, of its disk and of a loop device apart (each has a bdev inode
 * with an address space of its own), and no sync of one writes what is dirty in another. A backing
 * file has nothing to be dropped: its loop device reads and writes through that file's cache.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daemon/storage/outside/outside.h"
#include "daemon/storage/posix/posix.h"

enum { REFRESH_TRIES = 4, REFRESH_STEP_US = 5000 };

struct refreshing {
    const struct posix_calls *calls;
    int error; /* the first */
};

/* As far as it is clean. BLKFLSBUF wants CAP_SYS_ADMIN. */
static int refresh_drop(int fd, enum device_kind kind)
{
    if (kind == DEVICE_BLOCK && ioctl(fd, BLKFLSBUF, 0) == 0)
        return 0;
    return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* A descriptor of this moment: what it hears of a lost write, those of before hear as well
 * (errseq, as of each description). */
static void on_refresh_related(void *context, int fd)
{
    struct refreshing *refreshing = context;
    int error = refreshing->calls->sync(fd);
    int dropped = refresh_drop(fd, DEVICE_BLOCK);
    if (refreshing->error == 0)
        refreshing->error = error < 0 ? error : dropped;
}

/* Clean pages that are cached still, as far as the kernel tells (cachestat(2), Linux 6.5): of its
 * counters the first is all, then come those that are dirty, and those that are being written. */
static bool refresh_is_cached(int fd)
{
    const struct {
        uint64_t offset, length;
    } all = {0, 0};
    uint64_t counts[5] = {0};
    return syscall(451, fd, &all, counts, 0) == 0 && counts[0] > counts[1] + counts[2];
}

/* A page that is being read just now stays, and may be from before: it goes at the next try. */
int posix_do_refresh(struct posix *posix)
{
    const struct timespec step = {.tv_nsec = REFRESH_STEP_US * 1000L};
    struct refreshing refreshing = {.calls = posix->calls};
    int error = outside_each_cache(&posix->identity, on_refresh_related, &refreshing);
    if (error == 0)
        error = refreshing.error;
    if (posix->kind == DEVICE_FILE)
        return error;
    int dropped = refresh_drop(posix->cursor_fd, DEVICE_BLOCK);
    for (int tries = 1;
         dropped == 0 && tries < REFRESH_TRIES && refresh_is_cached(posix->cursor_fd); tries++) {
        (void)nanosleep(&step, NULL);
        dropped = refresh_drop(posix->cursor_fd, DEVICE_BLOCK);
    }
    return error < 0 ? error : dropped;
}

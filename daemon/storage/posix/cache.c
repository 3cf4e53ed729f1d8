/* SPDX-License-Identifier: MIT */
/*
 * What the kernel has cached of a device, dropped: so that reads fetch anew what is stored
 * (recover), or what was written through other devices that share bytes with it (an exclusive
 * lock).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/storage/outside/outside.h"
#include "daemon/storage/posix/posix.h"

enum {
    DROP_TRIES = 10,
    DROP_STEP_US = 25000,
    REFRESH_TRIES = 4,
    REFRESH_STEP_US = 5000,
};

/* As far as it is clean. BLKFLSBUF wants CAP_SYS_ADMIN; without it POSIX_FADV_DONTNEED does the
 * same for clean pages, as on files. */
static int cache_drop(int fd, enum device_kind kind)
{
    if (kind == DEVICE_BLOCK && ioctl(fd, BLKFLSBUF, 0) == 0)
        return 0;
    return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* cachestat(2), of Linux 6.5, is in no header of older systems. */
#define CACHE_STAT 451

/* Pages: all, then those that are dirty, those that are being written, and more. */
struct cache_counts {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/* All zero where the kernel does not tell. */
static struct cache_counts cache_count(int fd)
{
    const uint64_t all[2] = {0, 0};
    struct cache_counts counts = {0};
    if (syscall(CACHE_STAT, fd, all, &counts, 0) < 0)
        return (struct cache_counts){0};
    return counts;
}

/* ---- recover ---- */

/* What a failed sync has lost is still in the page cache, and marked clean. The sync is only to
 * make all others clean; that it fails again is what the device is known for. */
static int cache_drop_all(struct posix *posix)
{
    (void)posix->calls->sync(posix->cursor_fd);
    return cache_drop(posix->cursor_fd, posix->kind);
}

/* What is in memory only lives there. */
static bool cache_is_left(const struct posix *posix)
{
    return !posix->memory && cache_count(posix->cursor_fd).cached > 0;
}

static void cache_say_left(const struct posix *posix, char *message)
{
    char mapper[128];
    if (message == NULL)
        return;
    if (outside_find_mapper(&posix->identity, mapper, sizeof(mapper)))
        (void)snprintf(
            message, BACKEND_MESSAGE_MAX,
            "%s has it mapped, so what was lost stays in the page cache and would be read "
            "as if it were stored: end that program, then recover again",
            mapper);
    else
        (void)snprintf(
            message, BACKEND_MESSAGE_MAX,
            "pages of it stay in the page cache, so what was lost would be read as if it "
            "were stored: end the program that has it mapped, then recover again");
}

/* Pages that a program has mapped stay, and neither call says so. A page that somebody only reads
 * at the moment goes at the next try. */
int posix_do_drop(struct posix *posix, const struct io *io)
{
    int error = cache_drop_all(posix);
    for (unsigned int tries = 1; error == 0 && cache_is_left(posix); tries++) {
        if (tries == DROP_TRIES) {
            cache_say_left(posix, io->message);
            return -EBUSY;
        }
        posix_delay(DROP_STEP_US);
        error = cache_drop_all(posix);
    }
    return error;
}

/* ---- devices that share bytes ---- */

struct refreshing {
    const struct posix_calls *calls;
    int error; /* the first */
};

/* A descriptor of this moment: what it hears of a lost write, those of before hear as well
 * (errseq, as of each description). */
static void on_refresh_related(void *context, int fd)
{
    struct refreshing *refreshing = context;
    int error = refreshing->calls->sync(fd);
    int dropped = cache_drop(fd, DEVICE_BLOCK);
    if (refreshing->error == 0)
        refreshing->error = error < 0 ? error : dropped;
}

static bool refresh_is_cached(int fd)
{
    struct cache_counts counts = cache_count(fd);
    return counts.cached > counts.dirty + counts.writeback;
}

/* Linux keeps the pages of a partition, of its disk and of a loop device apart (each has a bdev
 * inode with an address space of its own), and no sync of one writes what is dirty in another. A
 * backing file has nothing to be dropped: its loop device reads and writes through that file's
 * cache.
 *
 * A page that is being read just now stays, and may be from before: it goes at the next try. */
int posix_do_refresh(struct posix *posix)
{
    struct refreshing refreshing = {.calls = posix->calls};
    int error = outside_each_cache(&posix->identity, on_refresh_related, &refreshing);
    if (error == 0)
        error = refreshing.error;
    if (posix->kind == DEVICE_FILE)
        return error;
    int dropped = cache_drop(posix->cursor_fd, DEVICE_BLOCK);
    for (int tries = 1;
         dropped == 0 && tries < REFRESH_TRIES && refresh_is_cached(posix->cursor_fd); tries++) {
        posix_delay(REFRESH_STEP_US);
        dropped = cache_drop(posix->cursor_fd, DEVICE_BLOCK);
    }
    return error < 0 ? error : dropped;
}

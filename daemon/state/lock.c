/* SPDX-License-Identifier: MIT */
/*
 * The lock of the state directory: flock on the file `lock`, in which its holder then writes who it
 * is, "PID START" (START: when the process began, so that another with its number is not taken for
 * it). The flock decides; what is written only tells a daemon that lives, which is refused, from
 * one that is dead and whose I/O still lands, which is waited for.
 *
 * That wait looks again and again instead of sleeping in flock(2): the holder may be a daemon that
 * has the lock and is about to write its name, or another successor may get the lock first; then
 * this one is to be refused, not to wait for as long as that one lives. And who seems to live may
 * be ending, or be killed and not know it yet: so it is refused only after a moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/base/log.h"
#include "daemon/state/impl.h"

enum {
    LOCK_LOOK_MS = 50,
    LOCK_GRACE_LOOKS = 10, /* for who lives */
    LOCK_TEXT_MAX = 64,
    STAT_TEXT_MAX = 1024,
    PROCESS_EXITING = 0x4, /* PF_EXITING of the kernel, in field 9 of /proc/PID/stat */
};

struct holder {
    int pid; /* 0: not known */
    unsigned long long start;
};

/* What /proc/PID/stat says; proc(5). Behind the name, which ends with the last parenthesis, come
 * fields 3 (state), 9 (flags) and 22 (start). 0 or -ESRCH; -ENOENT: /proc does not tell. */
static int process_look(int pid, bool *ret_ends, unsigned long long *ret_start)
{
    char text[STAT_TEXT_MAX];
    char ignored[STATE_MESSAGE_MAX];
    char name[32];
    char run_state = 0;
    unsigned int flags = 0;
    CLEANUP_CLOSE int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct state_place proc = {.fd = proc_fd, .path = "/proc"};

    (void)snprintf(name, sizeof(name), "%d/stat", pid);
    if (proc_fd < 0 || file_read(&proc, name, text, sizeof(text), ignored) < 0)
        return -ENOENT;
    const char *fields = strrchr(text, ')');
    if (fields == NULL ||
        sscanf(fields,
               ") %c %*s %*s %*s %*s %*s %u %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &run_state, &flags, ret_start) != 3)
        return -ENOENT;
    *ret_ends = run_state == 'Z' || run_state == 'X' || (flags & PROCESS_EXITING) != 0;
    return 0;
}

static bool holder_lives(const struct holder *holder)
{
    bool ends = false;
    unsigned long long start = 0;
    if (holder->pid <= 0 || (kill(holder->pid, 0) < 0 && errno == ESRCH))
        return false;
    if (process_look(holder->pid, &ends, &start) < 0)
        return kill(holder->pid, 0) == 0 || errno != ESRCH;
    return !ends && start == holder->start;
}

static struct holder holder_read(int fd)
{
    char text[LOCK_TEXT_MAX];
    struct holder holder = {0};
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    if (sscanf(text, "%d %llu\n", &holder.pid, &holder.start) != 2)
        return (struct holder){0};
    return holder;
}

/* Needs no sync: after a power cut nobody holds the lock, and then nobody reads this. */
static int holder_write(int fd)
{
    char text[LOCK_TEXT_MAX];
    bool ends = false;
    struct holder self = {.pid = (int)getpid()};
    (void)process_look(self.pid, &ends, &self.start);
    int length = snprintf(text, sizeof(text), "%d %llu\n", self.pid, self.start);
    ssize_t written = pwrite(fd, text, (size_t)length, 0);
    if (written < 0)
        return -errno;
    if (written != length)
        return -ENOSPC;
    return ftruncate(fd, length) < 0 ? -errno : 0;
}

static void log_waiting(const struct state_place *place, const struct holder *holder)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, "state-waits");
    log_text(&line, "directory", place->path);
    if (holder->pid > 0)
        log_number(&line, "pid", (uint64_t)holder->pid);
    log_text(&line, "message",
             "the previous daemon has died, but its I/O is still in flight: waiting for it to end");
    log_end(&line);
}

static int lock_wait(const struct state_place *place, int fd, char message[STATE_MESSAGE_MAX])
{
    unsigned int dead_looks = 0;
    for (unsigned int looks = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; looks++) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return file_explain(-errno, "lock", place, STATE_LOCK_FILE, message);
        const struct holder holder = holder_read(fd);
        bool lives = holder_lives(&holder);
        if (lives && looks >= LOCK_GRACE_LOOKS) {
            (void)snprintf(message, STATE_MESSAGE_MAX,
                           "the state directory %s is in use by another daemon (pid %d): stop it, "
                           "or use another directory (--state-dir)",
                           place->path, holder.pid);
            return -EBUSY;
        }
        if (!lives && ++dead_looks == 2)
            log_waiting(place, &holder);
        (void)poll(NULL, 0, LOCK_LOOK_MS);
    }
    return 0;
}

int state_lock_take(const struct state_place *place, int *ret_fd, char message[STATE_MESSAGE_MAX])
{
    CLEANUP_CLOSE int fd =
        openat(place->fd, STATE_LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return file_explain(-errno, "open", place, STATE_LOCK_FILE, message);
    int error = lock_wait(place, fd, message);
    if (error < 0)
        return error;
    error = holder_write(fd);
    if (error < 0)
        return file_explain(error, "write", place, STATE_LOCK_FILE, message);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Also from what else refers to it, a ring that the kernel has not taken down yet. */
void state_lock_release(int fd)
{
    if (fd < 0)
        return;
    (void)flock(fd, LOCK_UN);
    (void)close(fd);
}

/* SPDX-License-Identifier: MIT */
/*
 * Keeping other programs out (contract L3), with descriptors of its own:
 *
 * - guard: carries flock, which mirage-block-unix and udev look at, and on files QEMU's byte locks.
 * - exclusive, on block devices: O_EXCL while the mode is exclusive. mount, swap, device mapper and
 *   mkfs respect it, and only through it does the kernel zero the device then.
 *
 * Modes change in place, on the same descriptions. The kernel takes the old flock away before it
 * tries for the new one, so a failed upgrade is without a lock for a moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/base/log.h"
#include "daemon/storage/outside/outside.h"
#include "daemon/storage/posix/posix.h"

enum {
    /* udev takes a device's flock for a moment after it was written to (udev's "watch"): that is
     * waited out. flock has no timed wait, so it is asked again. */
    GUARD_WAIT_MS = 250,
    GUARD_STEP_MS = 10,

    /* QEMU (block/file-posix.c): byte 100+n is locked for reading by who uses permission n, byte
     * 200+n by who does not share it; who finds the opposite byte locked must not go on. */
    QEMU_USES = 100,
    QEMU_KEEPS = 200,
    QEMU_PERMISSIONS = 4,
    QEMU_READ = 1 << 0,
    QEMU_WRITE = 1 << 1,
    QEMU_WRITE_UNCHANGED = 1 << 2,
    QEMU_RESIZE = 1 << 3,
    QEMU_ALL = QEMU_READ | QEMU_WRITE | QEMU_WRITE_UNCHANGED | QEMU_RESIZE,
};

struct guard_permissions {
    unsigned int uses;
    unsigned int keeps;
};

static struct guard_permissions guard_permissions(enum guard_mode mode)
{
    if (mode == GUARD_EXCLUSIVE)
        return (struct guard_permissions){.uses = QEMU_ALL, .keeps = QEMU_ALL};
    if (mode == GUARD_SHARED)
        return (struct guard_permissions){.uses = QEMU_READ, .keeps = QEMU_WRITE | QEMU_RESIZE};
    return (struct guard_permissions){0};
}

/* ---- QEMU's byte locks ---- */

static int guard_byte(int fd, int command, struct flock *lock)
{
    lock->l_whence = SEEK_SET;
    lock->l_len = 1;
    lock->l_pid = 0;
    while (fcntl(fd, command, lock) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            return -EBUSY;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

static int guard_set_bytes(int fd, off_t base, unsigned int bits, short type)
{
    for (unsigned int i = 0; i < QEMU_PERMISSIONS; i++) {
        struct flock lock = {.l_type = type, .l_start = base + (off_t)i};
        int error = (bits & (1U << i)) != 0 ? guard_byte(fd, F_OFD_SETLK, &lock) : 0;
        if (error < 0)
            return error;
    }
    return 0;
}

static int guard_test_bytes(int fd, off_t base, unsigned int bits)
{
    for (unsigned int i = 0; i < QEMU_PERMISSIONS; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_start = base + (off_t)i};
        int error = (bits & (1U << i)) != 0 ? guard_byte(fd, F_OFD_GETLK, &lock) : 0;
        if (error < 0)
            return error;
        if ((bits & (1U << i)) != 0 && lock.l_type != F_UNLCK)
            return -EBUSY;
    }
    return 0;
}

/* A lock first, then a look at the others': two that do so at once both see it. */
static int guard_add_bytes(int fd, const struct guard_permissions *want)
{
    int error = guard_set_bytes(fd, QEMU_USES, want->uses, F_RDLCK);
    if (error == 0)
        error = guard_set_bytes(fd, QEMU_KEEPS, want->keeps, F_RDLCK);
    if (error == 0)
        error = guard_test_bytes(fd, QEMU_USES, want->keeps);
    if (error == 0)
        error = guard_test_bytes(fd, QEMU_KEEPS, want->uses);
    return error;
}

static void guard_leave_bytes(int fd, const struct guard_permissions *left)
{
    (void)guard_set_bytes(fd, QEMU_USES, QEMU_ALL & ~left->uses, F_UNLCK);
    (void)guard_set_bytes(fd, QEMU_KEEPS, QEMU_ALL & ~left->keeps, F_UNLCK);
}

static bool guard_is_unknown(int error)
{
    return error == -EINVAL || error == -EOPNOTSUPP || error == -ENOLCK || error == -ENOSYS;
}

/* From the bytes of `old` to those of `mode`; on failure those of `old` are left. A file system
 * without such locks cannot have QEMU's on it either. */
static int guard_change_bytes(struct posix *posix, enum guard_mode old, enum guard_mode mode)
{
    if (posix->kind != DEVICE_FILE)
        return 0;
    int fd = posix->guard_fd;
    struct guard_permissions want = guard_permissions(mode);
    int error = guard_add_bytes(fd, &want);
    if (guard_is_unknown(error))
        return 0;
    struct guard_permissions left = guard_permissions(error == 0 ? mode : old);
    guard_leave_bytes(fd, &left);
    return error;
}

/* ---- flock ---- */

static int guard_flock_once(const struct posix *posix, int fd, enum guard_mode mode)
{
    return posix->calls->lock(fd, mode == GUARD_EXCLUSIVE ? LOCK_EX : LOCK_SH);
}

/* On failure: *ret_left is what is kept, `old` or nothing. */
static int guard_flock(const struct posix *posix, int fd, enum guard_mode old, enum guard_mode mode,
                       enum guard_mode *ret_left)
{
    for (int waited_ms = 0;; waited_ms += GUARD_STEP_MS) {
        const struct timespec step = {.tv_nsec = GUARD_STEP_MS * 1000000L};
        int error = guard_flock_once(posix, fd, mode);
        if (error == 0)
            return 0;
        if (old != GUARD_NONE && guard_flock_once(posix, fd, old) < 0)
            old = GUARD_NONE;
        if (error != -EBUSY || waited_ms >= GUARD_WAIT_MS) {
            *ret_left = old;
            return error;
        }
        (void)nanosleep(&step, NULL);
    }
}

/* ---- the guard ---- */

static int guard_access(const struct posix *posix)
{
    int flags = fcntl(posix->data_fd, F_GETFL);
    return flags < 0 ? O_RDONLY : flags & O_ACCMODE;
}

static void guard_put_fd(struct posix *posix, int *slot, int fd)
{
    (void)pthread_mutex_lock(&posix->guard_mutex);
    int old = *slot;
    *slot = fd;
    (void)pthread_mutex_unlock(&posix->guard_mutex);
    posix->calls->close(old);
}

static void guard_unclaim(struct posix *posix)
{
    if (posix->exclusive_fd < 0)
        return;
    guard_put_fd(posix, &posix->exclusive_fd, -1);
    outside_claim_end(posix->identity.dev);
}

static void guard_drop(struct posix *posix)
{
    guard_unclaim(posix);
    guard_put_fd(posix, &posix->guard_fd, -1);
    posix->guard_mode = GUARD_NONE;
}

static int guard_claim(struct posix *posix, enum guard_mode mode)
{
    if (posix->kind != DEVICE_BLOCK || mode != GUARD_EXCLUSIVE)
        return 0;
    int error = outside_claim_begin(posix->identity.dev);
    if (error < 0)
        return error;
    int fd = posix->calls->reopen(posix->cursor_fd, guard_access(posix) | O_EXCL);
    if (fd < 0) {
        outside_claim_end(posix->identity.dev);
        return fd;
    }
    guard_put_fd(posix, &posix->exclusive_fd, fd);
    return 0;
}

static void guard_say(const struct posix *posix, char *message, int error, const char *what)
{
    char holders[BACKEND_MESSAGE_MAX / 2];
    if (message == NULL)
        return;
    if (error != -EBUSY) {
        (void)snprintf(message, BACKEND_MESSAGE_MAX, "%s: %s", what, strerror(-error));
        return;
    }
    outside_describe(&posix->identity, holders, sizeof(holders));
    (void)snprintf(message, BACKEND_MESSAGE_MAX, "%s: %s", what, holders);
}

/* What falls or is left when a step fails is for the caller: *ret_left. */
static int guard_take(struct posix *posix, enum guard_mode mode, enum guard_mode *ret_left,
                      struct io *io)
{
    char *message = io->message;
    const enum guard_mode old = posix->guard_mode;
    int error = guard_flock(posix, posix->guard_fd, old, mode, ret_left);
    if (guard_is_unknown(error)) {
        guard_say(posix, message, error, "its file system does not support locks (flock)");
        return error;
    }
    if (error < 0) {
        io->refusal = REFUSAL_LOCKED_OUTSIDE;
        guard_say(posix, message, error, "locked by another program (flock)");
        return error;
    }
    *ret_left = old;
    error = guard_claim(posix, mode);
    if (error < 0) {
        io->refusal = REFUSAL_CLAIMED;
        guard_say(posix, message, error,
                  "another program or the kernel has it open exclusively (O_EXCL)");
    } else {
        error = guard_change_bytes(posix, old, mode);
        io->refusal = error < 0 ? REFUSAL_LOCKED_OUTSIDE : REFUSAL_NONE;
        if (error < 0)
            guard_say(posix, message, error, "in use by another program (QEMU's locks)");
    }
    /* Back to the weaker lock: nothing stands in the way of that. */
    if (error < 0 && old != GUARD_NONE && guard_flock_once(posix, posix->guard_fd, old) < 0)
        *ret_left = GUARD_NONE;
    return error;
}

/* What stands against a lock of any kind. Locks are waited for as long as with flock. */
static int guard_check(const struct posix *posix, enum guard_mode mode, struct io *io)
{
    char reason[BACKEND_MESSAGE_MAX];
    const struct timespec step = {.tv_nsec = GUARD_STEP_MS * 1000000L};
    int error = outside_check(&posix->identity, true, reason, &io->refusal);
    if (error == 0) {
        io->refusal = REFUSAL_LOCKED_OUTSIDE;
        error = outside_check_locks(&posix->identity, mode == GUARD_EXCLUSIVE, reason);
        for (int waited_ms = 0; error == -EBUSY && waited_ms < GUARD_WAIT_MS;
             waited_ms += GUARD_STEP_MS) {
            (void)nanosleep(&step, NULL);
            error = outside_check_locks(&posix->identity, mode == GUARD_EXCLUSIVE, reason);
        }
    }
    if (error == 0)
        io->refusal = REFUSAL_NONE;
    else if (io->message != NULL)
        (void)memcpy(io->message, reason, sizeof(reason));
    return error;
}

static int guard_strengthen(struct posix *posix, enum guard_mode mode, struct io *io)
{
    enum guard_mode left = posix->guard_mode;
    int error = guard_check(posix, mode, io);
    if (error < 0)
        return error;
    if (posix->guard_fd < 0) {
        int fd = posix->calls->reopen(posix->cursor_fd, guard_access(posix));
        if (fd < 0) {
            guard_say(posix, io->message, fd, "cannot open it for locking");
            return fd;
        }
        guard_put_fd(posix, &posix->guard_fd, fd);
    }
    error = guard_take(posix, mode, &left, io);
    if (error == 0)
        posix->guard_mode = mode;
    else if (left == GUARD_NONE)
        guard_drop(posix);
    return error;
}

/* From exclusive to shared. */
static int guard_weaken(struct posix *posix, enum guard_mode mode, char *message)
{
    int error = guard_flock_once(posix, posix->guard_fd, mode);
    if (error < 0) {
        guard_say(posix, message, error, "the lock was lost during the downgrade to a shared one");
        guard_drop(posix);
        return error;
    }
    guard_unclaim(posix);
    (void)guard_change_bytes(posix, mode, mode);
    posix->guard_mode = mode;
    return 0;
}

int posix_do_guard(struct posix *posix, struct io *io)
{
    int error = 0;
    if (io->guard_mode == GUARD_NONE)
        guard_drop(posix);
    else if (io->guard_mode > posix->guard_mode)
        error = guard_strengthen(posix, io->guard_mode, io);
    else if (io->guard_mode < posix->guard_mode)
        error = guard_weaken(posix, io->guard_mode, io->message);
    io->value = posix->guard_mode;
    return error;
}

int posix_dup_exclusive(struct posix *posix)
{
    (void)pthread_mutex_lock(&posix->guard_mutex);
    int fd = -1;
    /* A read-only one, from before an adoption, cannot zero. */
    if (posix->exclusive_fd >= 0 && (fcntl(posix->exclusive_fd, F_GETFL) & O_ACCMODE) == O_RDWR)
        fd = fcntl(posix->exclusive_fd, F_DUPFD_CLOEXEC, 3);
    (void)pthread_mutex_unlock(&posix->guard_mutex);
    return fd;
}

/* ---- pins ---- */

/* The pin of an engine, or NULL; with `make`, a free one becomes its. There is one for each engine
 * that the daemon can have. */
static struct posix_pin *guard_find_pin(struct posix *posix, struct engine *engine, bool make)
{
    struct posix_pin *free_pin = NULL;
    for (unsigned int i = 0; i < WORKERS_MAX; i++) {
        struct posix_pin *pin = &posix->pins[i];
        if (pin->engine == engine)
            return pin;
        if (pin->engine == NULL && free_pin == NULL)
            free_pin = pin;
    }
    if (!make || free_pin == NULL)
        return NULL;
    *free_pin = (struct posix_pin){.engine = engine};
    return free_pin;
}

static unsigned int guard_list_fds(const struct posix *posix, int fds[ENGINE_PIN_MAX])
{
    unsigned int count = 0;
    if (posix->guard_fd >= 0)
        fds[count++] = posix->guard_fd;
    if (posix->exclusive_fd >= 0)
        fds[count++] = posix->exclusive_fd;
    return count;
}

static void guard_unpin(struct posix *posix, struct engine *engine)
{
    struct posix_pin *pin = guard_find_pin(posix, engine, false);
    if (pin == NULL)
        return;
    engine_unpin(engine, &pin->pin);
    pin->engine = NULL;
}

/* Nothing here blocks, so the mutex is held throughout: the descriptors stay open and the table
 * stays as it is. */
static int guard_pin(struct posix *posix, struct engine *engine)
{
    int fds[ENGINE_PIN_MAX];
    unsigned int count = guard_list_fds(posix, fds);
    if (count == 0) {
        guard_unpin(posix, engine);
        return 0;
    }
    struct posix_pin *pin = guard_find_pin(posix, engine, true);
    return pin == NULL ? -ENFILE : engine_pin(engine, &pin->pin, fds, count);
}

void posix_pin(struct backend *backend, struct engine *engine)
{
    struct posix *posix = posix_of(backend);
    (void)pthread_mutex_lock(&posix->guard_mutex);
    int error = guard_pin(posix, engine);
    (void)pthread_mutex_unlock(&posix->guard_mutex);
    if (error < 0) {
        struct log_line line;
        log_begin(&line, LOG_LEVEL_WARNING, "guard_not_pinned");
        log_text(&line, "message",
                 "if the daemon is killed, the lock may be released before its last I/O has ended");
        log_errno(&line, error);
        log_end(&line);
    }
}

void posix_unpin(struct backend *backend, struct engine *engine)
{
    struct posix *posix = posix_of(backend);
    (void)pthread_mutex_lock(&posix->guard_mutex);
    guard_unpin(posix, engine);
    (void)pthread_mutex_unlock(&posix->guard_mutex);
}

/* SPDX-License-Identifier: MIT */
/*
 * libblkd: block devices and disk images through the daemon blkd.
 *
 * A connection (struct blkd) reaches one daemon; devices (struct blkd_device) are opened on it, any
 * number. Every verb has a form that waits and a form that calls back (`_async`).
 *
 * Results. Functions return 0 (or what they say) or a negative errno. Out-parameters (`ret_`) are
 * set on success and untouched on failure. After a failure blkd_error_message() tells the calling
 * thread what was tried, on what, and why it failed. Clauses such as S1 or R1 are those of blkd's
 * CONTRACT; besides what is said at a function, every one that takes a connection or a device
 * returns
 *
 *   -ENOTCONN  the daemon is gone or has closed the connection, or the process has forked since
 *              blkd_connect (a child connects anew). At once, and for ever. What was unanswered
 *              then is indeterminate: a write may or may not have happened (R1)
 *   -EDEADLK   a function that waits was called inside a callback of the same connection
 *   -ENOMEM    memory is short on this side or in the daemon
 *   -EINVAL    an argument is impossible: NULL where it must not be, an unknown flag
 *   -EDQUOT    one of the daemon's limits is reached: requests, sessions, descriptors
 *   -EPROTO    the daemon's answer lacks what was asked for
 *
 * and those that transfer something, whatever errno the device itself gave, most often -EIO.
 *
 * Threads. All functions may be called from any thread at any time, on the same connection and
 * device too, but for blkd_disconnect, during and after which nobody may use the connection, and
 * blkd_close, after which nobody may use the device. The library starts no threads, prints nothing,
 * ends no process and touches no signal's disposition.
 *
 * Order. Calls that are under way together are not ordered (S2): who needs an order waits for one
 * before submitting the next.
 *
 * Offsets and lengths are in sectors of the device's session (blkd_info.sector_size, in bytes). The
 * device's bounds are checked by the daemon, when it carries out the call.
 *
 * All of this since 0.1.
 */
#ifndef BLKD_H
#define BLKD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BLKD_API __attribute__((visibility("default")))

struct blkd;
struct blkd_device;

enum blkd_sync {
    BLKD_SYNC_OS = 0,    /* blkd_flush brings the data to stable storage; the default */
    BLKD_SYNC_NONE = 1,  /* blkd_flush succeeds and does nothing */
    BLKD_SYNC_DRIVE = 2, /* the same as BLKD_SYNC_OS on Linux */
};

enum blkd_access {
    BLKD_ACCESS_AUTO = 0,
    BLKD_ACCESS_READ_ONLY = 1,
    BLKD_ACCESS_READ_WRITE = 2,
};

enum blkd_lock_mode {
    BLKD_LOCK_NONE = 0,
    BLKD_LOCK_SHARED = 1,
    BLKD_LOCK_EXCLUSIVE = 2,
};

enum blkd_device_kind {
    BLKD_DEVICE_UNKNOWN = 0,
    BLKD_DEVICE_FILE = 1,
    BLKD_DEVICE_BLOCK = 2,
};

enum blkd_discard_method {
    BLKD_DISCARD_UNKNOWN = 0,
    BLKD_DISCARD_PUNCH_HOLE = 1,
    BLKD_DISCARD_ZERO_RANGE = 2,
    BLKD_DISCARD_WRITE = 3,
};

enum blkd_write_flags {
    BLKD_WRITE_FUA = 1, /* on stable storage before the call succeeds */
};

/* How a device is opened. Start from BLKD_CONFIG_INIT; the reserved members stay 0. */
struct blkd_config {
    const char *path;        /* of an image file or a block device */
    bool buffered;           /* through the page cache; false: direct I/O (O_DIRECT) */
    enum blkd_sync sync;     /* what blkd_flush does */
    bool lock;               /* take a lock: exclusive for read/write, shared for read-only (L1) */
    uint32_t sector_size;    /* bytes, a power of two from 512 to 65536; 0: the device's own */
    enum blkd_access access; /* AUTO: read/write, else read-only where writing is not allowed */
    bool strict;             /* refuse (-EOPNOTSUPP) rather than open with less than was asked for:
                                caching mode, a sync level on storage that survives a power cut, a
                                discard that gives space back */
    bool discard;            /* discards are to give space back; without `strict` only a wish */
    const char *purpose;     /* what the session is for, for people; UTF-8, at most 64 bytes; NULL:
                                nothing is said */
    uint64_t reserved[7];
};

#define BLKD_CONFIG_INIT                                                                           \
    {                                                                                              \
        NULL, true, BLKD_SYNC_OS, false, 0, BLKD_ACCESS_AUTO, false, false, NULL,                  \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* A session's view of its device: what is effective, beside what was asked for (`asked_`). */
struct blkd_info {
    bool read_write;
    bool direct; /* the device's caching mode, which its first opener set (S1) */
    bool asked_direct;
    bool asked_lock;
    bool failed;                  /* a sync failed: writes and flushes are refused (S5) */
    bool elision_own_writes_only; /* a flush that finds nothing to do knows of blkd's writes only
                                     (S4) */
    bool asked_discard;
    bool volatile_storage;  /* a power cut loses it whatever is synced (tmpfs, a RAM disk) */
    bool lock_lost;         /* a lock of the session was broken or lost: changes are refused with
                               -ESTALE until it unlocks or is granted a lock anew (L6) */
    uint32_t sector_size;   /* bytes; constant while the device is open */
    uint32_t granule_bytes; /* the smallest piece that can be addressed in this caching mode */
    uint64_t size_sectors;
    uint64_t generation;    /* grows with each change of size */
    uint64_t device_number; /* the daemon's, as in lists */
    enum blkd_sync sync;
    enum blkd_lock_mode lock;         /* the strongest that this session holds */
    enum blkd_discard_method discard; /* how discarded sectors are made to read as zeroes (S8) */
    enum blkd_device_kind kind;
    enum blkd_access asked_access;
    enum blkd_sync asked_sync;
    uint64_t unsynced_changes; /* of this session: acknowledged, not known to be stable (S3) */
    uint64_t token; /* fencing token of the newest exclusive lock that it holds; 0: none (L6) */
    uint64_t reserved[6];
};

/* How reads, writes, flushes, discards and zeroings reach the daemon. All else always goes through
 * the socket. */
enum blkd_tier {
    BLKD_TIER_AUTO = 0,   /* rings in shared memory where they can be had, the socket until then */
    BLKD_TIER_SOCKET = 1, /* never rings */
    BLKD_TIER_RING = 2,   /* never the socket: without rings those calls fail */
};

enum { BLKD_BUSY_POLL_DEFAULT = -1 };

/* How to connect. Start from BLKD_OPTIONS_INIT; the reserved members stay 0. */
struct blkd_options {
    const char *socket_path; /* NULL: $BLKD_SOCKET, else $XDG_RUNTIME_DIR/blkd.sock if there, else
                                /run/blkd/blkd.sock */
    const char
        *client_name; /* NULL: the program's name; shown in lists and logs; at most 64 bytes */
    int busy_poll_us; /* microseconds; 0: never poll; BLKD_BUSY_POLL_DEFAULT */
    int connect_timeout_ms; /* for connecting and the first exchange; -1: no limit */
    bool send_on_dispatch;  /* what is submitted without waiting is not sent at once but, all of it
                               together, by the next blkd_dispatch or waiting call */
    enum blkd_tier tier;    /* $BLKD_TIER ("socket" or "ring"), if it is set, is taken instead */
    uint64_t reserved[8];
};

#define BLKD_OPTIONS_INIT                                                                          \
    {                                                                                              \
        NULL, NULL, BLKD_BUSY_POLL_DEFAULT, 10000, false, BLKD_TIER_AUTO,                          \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* ---- connections ---- */

/*
 * Connects to the daemon and exchanges the first messages with it.
 *
 * options          NULL: BLKD_OPTIONS_INIT. Not kept.
 * ret_connection   the caller's, to be given to blkd_disconnect.
 *
 * Blocks until the daemon has answered, at most options->connect_timeout_ms.
 *
 * -ENOENT, -ECONNREFUSED  no daemon listens at the socket; the message names it
 * -EACCES, -EPERM         this user may not connect (group blkd)
 * -ETIMEDOUT              the daemon took no connection, or did not answer, in time
 * -ENAMETOOLONG           the socket's path is longer than a Unix socket's may be (unix(7))
 * -EMFILE, -ENFILE        no descriptor is to be had (a connection takes four, and
 *                         one more for rings)
 * -EPROTO                 the daemon does not speak this library's protocol
 * -EINVAL                 an option has an impossible value, or $BLKD_TIER has one
 */
BLKD_API int blkd_connect(const struct blkd_options *options, struct blkd **ret_connection);

/*
 * Ends the connection. Cannot fail. Does not wait for the daemon: it ends what is in flight and
 * then closes what was open (S7, L5). To know that writes have arrived, wait for them; to know that
 * they are stable, flush.
 *
 * Before it returns, the callbacks of all calls that are pending run on the calling thread: with
 * their results if those have come, with -ENOTCONN else. No buffer is touched afterwards. Devices
 * that are still open are closed and their handles freed. In the child of a fork it closes the
 * child's copies of the descriptors and nothing else. Inside a callback of the same connection it
 * does nothing.
 *
 * connection   NULL is allowed.
 */
BLKD_API void blkd_disconnect(struct blkd *connection);

/* What the daemon told about itself when the connection was made. */
struct blkd_server_info {
    const char *version;   /* lives as long as the connection */
    const char *engine;    /* "io_uring" or "threads"; lives as long as the connection */
    uint32_t workers;      /* threads that serve clients */
    uint32_t pid;          /* as the daemon sees it */
    uint32_t max_io_bytes; /* of one request; the library splits what is larger */
    uint32_t max_requests; /* in flight at once; the library keeps back what is more */
    uint32_t max_sessions; /* devices open at once on this connection */
    uint32_t busy_poll_us; /* how long the daemon polls before it sleeps; 0: not at all */
    uint64_t session_epoch;
    uint64_t connection_number; /* as in lists and the daemon's log */
    uint8_t instance[16];       /* drawn at random when the daemon started */
    uint64_t reserved[8];
};

/* Tells about the daemon, from memory: does not block, and works on a lost connection too. */
BLKD_API int blkd_get_server_info(struct blkd *connection, struct blkd_server_info *ret_info);

/* The way that a transfer would take now: BLKD_TIER_RING or BLKD_TIER_SOCKET. With BLKD_TIER_AUTO
 * the rings are made when the first transfer or blkd_buffer_alloc asks for them, and used from when
 * they are there. Does not block. */
BLKD_API int blkd_get_tier(struct blkd *connection, enum blkd_tier *ret_tier);

/* Sends a request that does nothing, and waits for the answer. */
BLKD_API int blkd_ping(struct blkd *connection);

/* ---- devices ---- */

/*
 * Opens a device by its path.
 *
 * config       read during the call, not kept. A relative path is taken from the working directory.
 * ret_device   the caller's, to be given to blkd_close.
 *
 * Where the daemon may not open paths for this user (it answers -EACCES), the library opens the
 * path itself, with the user's own rights, and passes the descriptor; the error of its own open is
 * then the result. Blocks until the device is open, which on a hung disk can take for ever.
 *
 * -ENOENT, -EACCES, -ENOTDIR, -ELOOP, ...  as open(2)
 * -ENOTBLK       neither a regular file nor a block device
 * -EINVAL        no path, or a config member without meaning; the sector size is not possible on
 *                this device, or the file is not a whole number of sectors
 * -EBUSY         config->lock: another holds a lock; or the device is mounted or in use (L1, L3)
 * -EROFS         BLKD_ACCESS_READ_WRITE: the device is read-only
 * -EOPNOTSUPP    config->strict: something that was asked for is not to be had; the message tells
 * -ENAMETOOLONG  the absolute path has over 4095 bytes
 * -EIO           the device has FAILED: see S5, S7
 */
BLKD_API int blkd_open(struct blkd *connection, const struct blkd_config *config,
                       struct blkd_device **ret_device);

/*
 * Opens a device that the caller has open already.
 *
 * fd       a regular file or block device. Stays the caller's, who may close it as soon as this
 * returns, also from the form that does not wait. Its access mode bounds that of the session; the
 *          daemon reopens the file and never uses this description for I/O or locks.
 * config   NULL: BLKD_CONFIG_INIT. Its path is only a name for messages and lists; NULL: the name
 * that the kernel knows.
 *
 * As blkd_open, and
 * -EBADF      fd is not open
 * -EINVAL     fd was opened with O_PATH
 * -EACCES     the file is on a file system of another program or machine, or cannot be reopened
 */
BLKD_API int blkd_open_fd(struct blkd *connection, int fd, const struct blkd_config *config,
                          struct blkd_device **ret_device);

/*
 * Closes the device and frees the handle. Cannot fail. Calls that are pending on it end first, but
 * for those that wait for a lock, which end with -ECANCELED; then the daemon ends the session's I/O
 * and releases its locks (L5). Waits for that, but not for a sync:
 * who wants to know that the data is stable calls blkd_flush before.
 *
 * Callbacks of the calls that were pending run later, in blkd_dispatch. Inside a callback of the
 * same connection, closing does not wait but goes on in the background. In the child of a fork it
 * does nothing.
 *
 * device   NULL is allowed.
 */
BLKD_API void blkd_close(struct blkd_device *device);

/* Asks the daemon about the device as it is now. Blocks for a round trip. */
BLKD_API int blkd_get_info(struct blkd_device *device, struct blkd_info *ret_info);

/* How the device was asked for; blkd_open with it opens the same again. Blocks for a round trip.
 * ret_config   the caller's, to be given to blkd_config_free. */
BLKD_API int blkd_get_config(struct blkd_device *device, struct blkd_config **ret_config);

/*
 * Reads from `sector` on into a list of buffers, one after the other.
 *
 * buffers   any number, of any length that is a whole number of sectors; need not be aligned. List
 * and memory stay the caller's. A list of no bytes succeeds.
 *
 * Success: all of it was read (S1). Failure: the buffers' contents are undefined; of several
 * errors, the one at the lowest offset is returned. A read of more than
 * blkd_server_info.max_io_bytes goes in parts that are not one atomic read (S2); none is carried
 * out if the whole is not within the device. Blocks until it is done.
 *
 * -EINVAL   a buffer is not a whole number of sectors (the message says which), or the range goes
 *           past the device's end: then nothing is transferred
 * -EFAULT   a buffer has a length but no address
 * -EBUSY    the holder of a lock asked that nobody else reads (L2)
 * -EIO      the device could not be read
 */
BLKD_API int blkd_read(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
                       size_t count);

/*
 * Writes a list of buffers from `sector` on, one after the other.
 *
 * buffers   as for blkd_read. Their bytes must not change until the call is done.
 * flags     0 or BLKD_WRITE_FUA: the data is on stable storage before the call succeeds (S3).
 *
 * Success: all of it is written and seen by every later read (S1); without BLKD_WRITE_FUA it is on
 * stable storage only after the next successful blkd_flush. Failure: any part of it may have been
 * written. Blocks until it is done.
 *
 * -EINVAL   a buffer is not a whole number of sectors, or the range's end is no number
 * -EFAULT   a buffer has a length but no address
 * -ENOSPC   the range goes past the device's end, then nothing is written; or the file system is
 *           full
 * -EROFS    the session is read-only; nothing is written
 * -EBUSY    another session holds a lock (L2)
 * -ESTALE   a lock of the session was broken or lost (L6); see blkd_unlock
 * -EIO      the device could not be written, or has FAILED (S5)
 */
BLKD_API int blkd_write(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
                        size_t count, unsigned int flags);

/*
 * Brings to stable storage all that was written, discarded, zeroed or resized on the device and
 * acknowledged before, by any session (S3). With BLKD_SYNC_NONE it succeeds and does nothing.
 * Blocks until it is done.
 *
 * -EIO and others   the sync failed; so will every later one, and every write, until an
 * administrator recovers the device (S5)
 */
BLKD_API int blkd_flush(struct blkd_device *device);

/*
 * Gives sectors back; they read as zeroes afterwards (S8). Blocks until it is done. A range of no
 * sectors succeeds. Fails as blkd_write does, with the range partly discarded.
 */
BLKD_API int blkd_discard(struct blkd_device *device, uint64_t sector, uint64_t count_sectors);

/* Makes sectors read as zeroes (S8); `flags` as for blkd_write. Otherwise as blkd_discard. */
BLKD_API int blkd_write_zeroes(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                               unsigned int flags);

/*
 * Changes the size of an image file, for all sessions at once (S9). Blocks until I/O to a part that
 * goes away has ended.
 *
 * -EOPNOTSUPP   a block device's size cannot be changed
 * -EROFS        the session is read-only
 * -EBUSY        shrinking needs an exclusive lock while others have the device open
 * -EINVAL, -EFBIG, -ENOSPC   as ftruncate(2)
 */
BLKD_API int blkd_resize(struct blkd_device *device, uint64_t size_sectors);

/*
 * Finds the next sector at or after `sector` that may hold data.
 *
 * ret_sector   the device's size in sectors if there is no more. A hole's start is rounded up to a
 * sector, its end down. All of a block device is mapped.
 *
 * -EINVAL   `sector` is past the device's end
 */
BLKD_API int blkd_seek_mapped(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector);

/* Finds the next sector at or after `sector` that is sure to read as zeroes, for not being mapped.
 * Otherwise as blkd_seek_mapped. */
BLKD_API int blkd_seek_unmapped(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector);

/* ---- locks ---- */

enum { BLKD_WAIT_FOREVER = -1 };

/* Which lock is asked for. Start from BLKD_LOCK_REQUEST_INIT: exclusive, the whole device, without
 * waiting. The reserved members stay 0. */
struct blkd_lock_request {
    enum blkd_lock_mode mode; /* BLKD_LOCK_SHARED or BLKD_LOCK_EXCLUSIVE */
    uint64_t first_sector;    /* of the range */
    uint64_t count_sectors;   /* 0, with first_sector 0: the whole device, however it grows */
    int wait_ms;              /* how long to wait for those that hold it; 0: not at all;
                                 BLKD_WAIT_FOREVER */
    bool isolate;             /* exclusive only: others cannot read the range either (L2) */
    const char *purpose; /* shown to those that it keeps out (L4); UTF-8, at most 64 bytes; NULL or
                            empty: the session's */
    uint64_t reserved[8];
};

#define BLKD_LOCK_REQUEST_INIT                                                                     \
    {                                                                                              \
        BLKD_LOCK_EXCLUSIVE, 0, 0, 0, false, NULL,                                                 \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/*
 * Takes a lock (L1). Locks among blkd's sessions are mandatory (L2), toward other programs as far
 * as Linux has locks (L3). The same range asked for in another mode is an upgrade or a downgrade;
 * while an upgrade waits, and if it is refused, the shared lock stays.
 *
 * request     NULL: BLKD_LOCK_REQUEST_INIT. Not kept.
 * ret_token   of an exclusive lock its fencing token, greater than any that this daemon ever gave
 *             (L6); else 0. May be NULL.
 *
 * Blocks until the lock is granted or refused, in the order in which sessions asked; a grant waits
 * for I/O of others that is in the way. Other threads go on using connection and device meanwhile;
 * one that waits takes up one of the connection's requests (blkd_server_info.max_requests). A
 * session that gives up by closing the device, or by dying, leaves the queue.
 *
 * -EBUSY      it cannot be had without waiting; the message names who holds it (L4); or the
 *             device is mounted or in use (L3)
 * -ETIMEDOUT  wait_ms have passed
 * -EROFS      an exclusive lock of a read-only session
 * -EDEADLK    waiting would never end: those that it would wait for wait for this connection (L7)
 * -ECANCELED  the device is being closed
 * -ESTALE     the lock that was to be changed is lost
 * -EALREADY   an earlier call for the same range is not answered yet
 * -EBADF      the session was thrown out
 * -EINVAL     no mode, the range's end is no number, isolate without exclusive, a purpose of
 *             over 64 bytes
 */
BLKD_API int blkd_lock(struct blkd_device *device, const struct blkd_lock_request *request,
                       uint64_t *ret_token);

/*
 * Lets go of the session's locks that lie in a range, when its I/O in flight has ended (L5). With
 * sector and count 0: of all. To hold none is no error. Takes notice of a lost lock: changes are
 * no longer refused with -ESTALE for it (L6). Blocks until the locks are released.
 *
 * -EINVAL     a lock lies only partly in the range, or the range's end is no number
 * -EALREADY   a call of blkd_lock for a range in it is not answered yet
 */
BLKD_API int blkd_unlock(struct blkd_device *device, uint64_t first_sector, uint64_t count_sectors);

/* ---- buffers ---- */

/*
 * Memory for transfers that the daemon shares: the device is read into it and written from it
 * directly, "the data will not be copied". Other memory is as good for every call, and is copied
 * once on its way.
 *
 * size_bytes   at least 1
 * ret_buffer   aligned to 4096 bytes, all zero; the caller's until blkd_buffer_free or
 *              blkd_disconnect, whichever is first
 *
 * Any part of it that is a whole number of sectors can be given to any call on any device of this
 * connection, and it can be used as ordinary memory besides. Where the daemon shares no memory (no
 * rings, or its quota is used up) it is ordinary memory, and transfers are copied. After the
 * connection is lost it stays valid memory until blkd_disconnect, but not memory to work with:
 * reads that were under way may still land in it, and all of it may become zeroes at any time. What
 * is to be written through another connection is written from other memory. In the child of a fork
 * it is gone.
 *
 * Whole pages are handed out. Blocks for a round trip, or a few, when the daemon has to be asked
 * for more memory, else not at all; inside a callback it never asks, and on a lost connection it
 * gives ordinary memory.
 *
 * -EINVAL     size_bytes is 0
 * -ENOMEM     the process cannot have so much memory
 * -ENOTCONN   only in the child of a fork
 */
BLKD_API int blkd_buffer_alloc(struct blkd *connection, size_t size_bytes, void **ret_buffer);

/* Gives a buffer back. No call that uses it may be pending. NULL is allowed. An address that
 * blkd_buffer_alloc did not return, or that was given back already, is ignored. Memory of which
 * nothing is in use goes back to the daemon, but for one piece that is kept for the next buffers.
 * Does not block. */
BLKD_API void blkd_buffer_free(struct blkd *connection, void *buffer);

/* ---- the same without waiting ---- */

/*
 * Each takes what its waiting form takes, and what to call when it is done. Returning 0 means that
 * the callback will run, once, in a later blkd_dispatch (or in blkd_disconnect); anything else that
 * it will not, and why. Does not block.
 *
 * Until the callback runs, the memory that buffers point to and the out-parameters belong to the
 * call; lists of buffers, configs and descriptors do not. What is submitted outside of callbacks is
 * sent at once, unless blkd_options.send_on_dispatch says otherwise; what is submitted inside one,
 * together with the rest when the callbacks of that blkd_dispatch have run.
 */

/* `result` is what the waiting form would have returned; while it is negative, blkd_error_message()
 * tells more. Runs without any lock of the library held; may submit, and close devices. */
typedef void blkd_callback(void *user_data, int result);

BLKD_API int blkd_ping_async(struct blkd *connection, blkd_callback *callback, void *user_data);
BLKD_API int blkd_open_async(struct blkd *connection, const struct blkd_config *config,
                             struct blkd_device **ret_device, blkd_callback *callback,
                             void *user_data);
BLKD_API int blkd_open_fd_async(struct blkd *connection, int fd, const struct blkd_config *config,
                                struct blkd_device **ret_device, blkd_callback *callback,
                                void *user_data);
/* The handle is freed whatever the result, which is 0, -ENOTCONN or the error of the session's last
 * writes. The callback may be NULL. -EBADF: the device is being closed already. */
BLKD_API int blkd_close_async(struct blkd_device *device, blkd_callback *callback, void *user_data);
BLKD_API int blkd_get_info_async(struct blkd_device *device, struct blkd_info *ret_info,
                                 blkd_callback *callback, void *user_data);
BLKD_API int blkd_get_config_async(struct blkd_device *device, struct blkd_config **ret_config,
                                   blkd_callback *callback, void *user_data);
BLKD_API int blkd_read_async(struct blkd_device *device, uint64_t sector,
                             const struct iovec *buffers, size_t count, blkd_callback *callback,
                             void *user_data);
BLKD_API int blkd_write_async(struct blkd_device *device, uint64_t sector,
                              const struct iovec *buffers, size_t count, unsigned int flags,
                              blkd_callback *callback, void *user_data);
BLKD_API int blkd_flush_async(struct blkd_device *device, blkd_callback *callback, void *user_data);
BLKD_API int blkd_discard_async(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                                blkd_callback *callback, void *user_data);
BLKD_API int blkd_write_zeroes_async(struct blkd_device *device, uint64_t sector,
                                     uint64_t count_sectors, unsigned int flags,
                                     blkd_callback *callback, void *user_data);
BLKD_API int blkd_resize_async(struct blkd_device *device, uint64_t size_sectors,
                               blkd_callback *callback, void *user_data);
BLKD_API int blkd_seek_mapped_async(struct blkd_device *device, uint64_t sector,
                                    uint64_t *ret_sector, blkd_callback *callback, void *user_data);
BLKD_API int blkd_seek_unmapped_async(struct blkd_device *device, uint64_t sector,
                                      uint64_t *ret_sector, blkd_callback *callback,
                                      void *user_data);
/* Closing the device ends a lock call that waits, with -ECANCELED. */
BLKD_API int blkd_lock_async(struct blkd_device *device, const struct blkd_lock_request *request,
                             uint64_t *ret_token, blkd_callback *callback, void *user_data);
BLKD_API int blkd_unlock_async(struct blkd_device *device, uint64_t first_sector,
                               uint64_t count_sectors, blkd_callback *callback, void *user_data);

/*
 * A descriptor for poll(2), epoll, libevent and the like, the same for the connection's whole life
 * (an epoll(7) descriptor). While it is readable, blkd_dispatch has something to do. It is only to
 * be polled, for reading. Does not block.
 */
BLKD_API int blkd_get_fd(const struct blkd *connection);

/*
 * Sends what waits to be sent, receives what has come, and runs the callbacks of what is done, on
 * the calling thread. A callback must not wait for the end of another call, in whatever thread:
 * that end may only be seen when the callback has returned.
 *
 * timeout_ms   how long to wait if nothing is done yet; 0: not at all; -1: for ever.
 *
 * Returns the number of callbacks that ran, those of events included. 0: the time is over, or a
 * signal handler ran. -ENOTCONN: the connection is lost, and no callbacks are left. Several threads
 * may dispatch one connection; callbacks then run on any of them, several at once.
 */
BLKD_API int blkd_dispatch(struct blkd *connection, int timeout_ms);

/* ---- events ---- */

enum blkd_event_type {
    BLKD_EVENT_RESIZED = 1,       /* the device has a new size (S9) */
    BLKD_EVENT_SHUTTING_DOWN = 2, /* the daemon stops: what is sent now may go unanswered */
    BLKD_EVENT_SYNC_FAILED = 3,   /* from now on the device's writes and flushes fail (S5) */
    BLKD_EVENT_DISCONNECTED = 4,  /* the connection is lost; the last event */
    BLKD_EVENT_LOCK_GRANTED = 5,  /* a lock that was waited for is the session's; its call ends
                                     besides */
    BLKD_EVENT_LOCK_LOST = 6,     /* a lock is gone without the session's doing: changes are refused
                                     with -ESTALE until it unlocks or is granted a lock anew (L6) */
    BLKD_EVENT_EVICTED = 7,       /* an administrator threw the session out: calls get -EBADF; the
                                     handle is still to be closed */
    BLKD_EVENT_HAPPENING = 8,     /* what blkd_watch asked for */
};

enum blkd_lost_reason {
    BLKD_LOST_UNKNOWN = 0,
    BLKD_LOST_BROKEN = 1,  /* an administrator broke it */
    BLKD_LOST_OUTSIDE = 2, /* the lock toward other programs could not be kept (L3) */
};

enum blkd_happening_what {
    BLKD_HAPPENING_UNKNOWN = 0, /* of a newer daemon */
    BLKD_HAPPENING_SESSION_OPENED = 1,
    BLKD_HAPPENING_SESSION_CLOSED = 2,
    BLKD_HAPPENING_LOCK_GRANTED = 3,
    BLKD_HAPPENING_LOCK_RELEASED = 4,
    BLKD_HAPPENING_LOCK_WAITS = 5,
    BLKD_HAPPENING_LOCK_LOST = 6,
    BLKD_HAPPENING_RESIZED = 7,
    BLKD_HAPPENING_SYNC_FAILED = 8,
    BLKD_HAPPENING_RECOVERED = 9,
    BLKD_HAPPENING_EVICTED = 10,
    BLKD_HAPPENING_DEVICE_CLOSED = 11,
};

/* Something that happened to a device, for a watcher. What does not apply is 0 or empty. */
struct blkd_happening {
    enum blkd_happening_what what;
    uint64_t device_number;
    uint64_t session_number; /* 0: of the device as such */
    const char *path;
    uint64_t unix_ms; /* when, by the wall clock */
    uint32_t pid, uid;
    const char *command;
    const char *purpose;
    enum blkd_lock_mode mode; /* LOCK_...: which lock */
    uint64_t offset_bytes;    /* of the lock */
    uint64_t length_bytes;    /* 0: the whole device */
    uint64_t token;
    uint64_t size_bytes; /* RESIZED */
    uint64_t generation; /* RESIZED, RECOVERED */
    int error;           /* SYNC_FAILED: a negative errno */
    uint64_t left_out;   /* happenings before this one that came too fast to be told */
};

struct blkd_event {
    enum blkd_event_type type;
    struct blkd_device *device; /* NULL: the whole connection */
    uint64_t sequence;
    uint64_t size_sectors;                  /* RESIZED */
    uint64_t generation;                    /* RESIZED */
    int error;                              /* SYNC_FAILED, DISCONNECTED: a negative errno */
    enum blkd_lock_mode lock_mode;          /* LOCK_GRANTED */
    uint64_t token;                         /* LOCK_GRANTED: of an exclusive lock */
    uint64_t first_sector;                  /* LOCK_GRANTED */
    uint64_t count_sectors;                 /* LOCK_GRANTED; 0: the whole device */
    enum blkd_lost_reason lost_reason;      /* LOCK_LOST */
    uint32_t lost_locks;                    /* LOCK_LOST: how many */
    const struct blkd_happening *happening; /* HAPPENING, with all that it points to; else NULL */
    uint64_t reserved[4];
};

/* Runs in blkd_dispatch. `event` and what it points to are valid during the call. Of several events
 * of one type for one device that could not be told in time, the last is; of happenings the first
 * 4096 are, and how many were left out. */
typedef void blkd_event_callback(void *user_data, const struct blkd_event *event);

/* What to call for events; NULL: nothing. Events that come while there is none are dropped. Does
 * not block. */
BLKD_API int blkd_set_event_callback(struct blkd *connection, blkd_event_callback *callback,
                                     void *user_data);

/* ---- configuration strings ---- */

/*
 * file://<path>?sync=(none|os|drive)&buffered=(0|1)&lock=(0|1)&prefered_sector_size=N
 *              &mode=(auto|ro|rw)&strict=(0|1)&discard=(0|1)&purpose=TEXT
 *
 * Paths and values are percent-encoded; what is left out has BLKD_CONFIG_INIT's value. The spelling
 * "prefered_sector_size" is mirage-block-unix's own. These functions need no connection and do not
 * block.
 */

/* Parses a configuration string. *ret_config is the caller's, to be given to blkd_config_free.
 * -EINVAL: it is none, the message names the part; -ENAMETOOLONG: its path has over 4095 bytes. */
BLKD_API int blkd_config_parse(const char *text, struct blkd_config **ret_config);

/* The same for what a person types: a configuration string if it has a scheme, else a path with all
 * defaults. */
BLKD_API int blkd_config_from_argument(const char *text, struct blkd_config **ret_config);

/* The configuration string that blkd_config_parse turns into this config again. *ret_text is the
 * caller's, to be given to free(3). -EINVAL: no path, or a member without meaning. */
BLKD_API int blkd_config_format(const struct blkd_config *config, char **ret_text);

/* Frees what blkd_config_parse, _from_argument or blkd_get_config gave; NULL is allowed. */
BLKD_API void blkd_config_free(struct blkd_config *config);

/* ---- errors ---- */

/* Words for an errno, negative or positive, that fit block I/O. Static memory, not translated. */
BLKD_API const char *blkd_strerror(int error);

/* What the calling thread's last failed call tried, on what, and why it failed; inside a callback
 * with a negative result, that of its call. Valid until the thread's next call into the library;
 * empty if none failed yet. Meaningless after a success. */
BLKD_API const char *blkd_error_message(void);

/* ---- queries ---- */

struct blkd_counters {
    uint64_t reads, writes, flushes, discards, zeroes;
    uint64_t read_bytes, written_bytes, errors;
    uint64_t syncs_issued, flushes_elided, flushes_shared;
};

/* What is known of a device's stable storage (S3-S7). Times are of the wall clock. */
struct blkd_sync_state {
    enum blkd_sync
        level; /* the strictest that a session has; BLKD_SYNC_NONE: no flush does a thing */
    uint64_t unsynced_changes;
    uint64_t unsynced_since_unix_ms; /* 0: nothing is unsynced */
    uint64_t last_sync_unix_ms;      /* 0: none since it was opened */
    uint64_t last_sync_us;           /* how long it took */
    uint64_t longest_sync_us;
    uint64_t flushes_asked; /* beside blkd_counters' syncs_issued, flushes_shared, flushes_elided */
    bool running;           /* a sync */
    uint32_t waiting;       /* flushes, now */
    int failed; /* a negative errno: writes and flushes are refused (S5); 0: it has not */
    uint64_t failed_unix_ms;
    bool volatile_storage; /* a power cut loses it whatever is synced (tmpfs, a RAM disk) */
};

struct blkd_device_entry {
    uint64_t device_number;
    const char *path;
    enum blkd_device_kind kind;
    uint32_t major, minor;
    uint64_t inode;
    uint64_t size_bytes;
    bool read_write, direct, failed, unsynced;
    uint32_t sessions;
    uint32_t in_flight;
    uint32_t granule_bytes;
    enum blkd_lock_mode lock;
    enum blkd_discard_method discard;
    uint64_t generation;
    const char *io_policy;
    struct blkd_counters counters;
    struct blkd_sync_state sync;
    uint32_t locks; /* held */
    uint32_t lock_waiters;
};

struct blkd_session_entry {
    uint64_t session_number;
    uint64_t connection_number;
    uint64_t device_number;
    const char *path;
    uint32_t pid, uid, gid;
    const char *command;
    const char *client_name;
    bool read_write, direct;
    enum blkd_sync sync;
    enum blkd_lock_mode lock;
    uint32_t sector_size;
    uint32_t in_flight;
    uint64_t opened_unix_ms;
    struct blkd_counters counters;
    const char *purpose;
    uint64_t unsynced_changes;       /* acknowledged, not known to be stable */
    uint64_t unsynced_since_unix_ms; /* 0: nothing is unsynced */
    bool lock_lost;
    bool ring;            /* its connection has rings */
    uint64_t arena_bytes; /* memory that the daemon shares with its connection, without the rings */
};

struct blkd_device_list {
    size_t count;
    const struct blkd_device_entry *entries;
};

struct blkd_session_list {
    size_t count;
    const struct blkd_session_entry *entries;
};

/* All devices that the daemon has open. Blocks for a round trip. *ret_list is the caller's, to be
 * given to blkd_device_list_free, with all that it points to. */
BLKD_API int blkd_list_devices(struct blkd *connection, struct blkd_device_list **ret_list);

BLKD_API void blkd_device_list_free(struct blkd_device_list *list);

/* The sessions of one device, or with device_number 0 of all. Otherwise as blkd_list_devices. */
BLKD_API int blkd_list_sessions(struct blkd *connection, uint64_t device_number,
                                struct blkd_session_list **ret_list);
BLKD_API void blkd_session_list_free(struct blkd_session_list *list);

/* A lock that is held, waited for, or held shared while its upgrade is waited for. */
struct blkd_lock_entry {
    uint64_t lock_number;
    uint64_t device_number;
    uint64_t session_number;
    const char *path;
    enum blkd_lock_mode mode;   /* held */
    enum blkd_lock_mode wanted; /* waited for; BLKD_LOCK_NONE: nothing */
    uint32_t position;          /* of one that waits, in its device's queue, from 1 on */
    uint64_t offset_bytes;
    uint64_t length_bytes; /* 0: the whole device */
    bool isolate;
    bool waits_outside; /* for a program outside blkd */
    uint64_t token;
    uint64_t since_unix_ms; /* when it was granted, or asked for */
    const char *purpose;
    uint32_t pid, uid;
    const char *command;
};

struct blkd_lock_list {
    size_t count;
    const struct blkd_lock_entry *entries;
};

/* The locks of one device, or with device_number 0 of all; for others than root of those that they
 * have open. Otherwise as blkd_list_devices. */
BLKD_API int blkd_list_locks(struct blkd *connection, uint64_t device_number,
                             struct blkd_lock_list **ret_list);
BLKD_API void blkd_lock_list_free(struct blkd_lock_list *list);

enum blkd_holder_kind {
    BLKD_HOLDER_UNKNOWN = 0,
    BLKD_HOLDER_SESSION = 1,     /* of this daemon */
    BLKD_HOLDER_FLOCK = 2,       /* flock(2) */
    BLKD_HOLDER_RECORD_LOCK = 3, /* fcntl(2): traditional, or of an open file description (QEMU) */
    BLKD_HOLDER_MOUNT = 4,
    BLKD_HOLDER_SWAP = 5,
    BLKD_HOLDER_KERNEL = 6, /* a device made of it (device mapper, md), or an exclusive open */
    BLKD_HOLDER_LOOP = 7,   /* a loop device that is attached to it */
    BLKD_HOLDER_LEASE = 8,
};

struct blkd_holder {
    enum blkd_holder_kind kind;
    bool exclusive;
    bool via;        /* holds something that shares bytes with it (partition, disk, loop device) */
    bool read_write; /* a session's */
    bool waiting;    /* does not hold it but waits for it */
    uint32_t pid;    /* 0: unknown, or the kernel */
    uint32_t uid;
    const char *command;
    const char *detail; /* mount point, device, range of a lock; of a session: its path */
    uint64_t session_number;
    const char *purpose;
    enum blkd_lock_mode lock; /* a session's */
    uint64_t since_unix_ms;   /* a session's */
};

/* Who has a device, and whether what is on it is safe. */
struct blkd_holders {
    size_t count;
    const struct blkd_holder *entries;
    bool more;              /* than the daemon tells */
    uint64_t device_number; /* 0: this daemon does not have it open */
    bool failed;            /* S5 */
    bool safe; /* it has not failed, and nothing that went through this daemon is unsynced */
};

/*
 * Who has a file or block device, in blkd and outside, as far as /proc and /sys tell (L4).
 *
 * path   relative ones are taken from the working directory. Where the daemon opens no paths for
 *        this user, the library opens it itself, for reading, and passes the descriptor.
 *
 * Blocks until the daemon has looked around. *ret_holders is the caller's, to be given to
 * blkd_who_free, with all that it points to.
 *
 * -ENOENT, -EACCES, ...   as open(2)
 * -ENOTBLK                neither a regular file nor a block device
 * -ENAMETOOLONG           the absolute path has over 4095 bytes
 */
BLKD_API int blkd_who(struct blkd *connection, const char *path, struct blkd_holders **ret_holders);
BLKD_API void blkd_who_free(struct blkd_holders *holders);

/* From now on BLKD_EVENT_HAPPENING tells what happens to all devices (for others than root: to
 * those that they have open), until it is called with `on` false. Blocks for a round trip. */
BLKD_API int blkd_watch(struct blkd *connection, bool on);

/* ---- administration: root and the daemon's own user only, else -EPERM ---- */

/*
 * Breaks the locks of a session on a device, or with session_number 0 of all sessions (L6). The
 * holder's changes are refused at once, with -ESTALE, and it is told; the locks fall when its I/O
 * in flight has ended.
 *
 * wait_ms      how long to wait for that; 0: not at all; BLKD_WAIT_FOREVER
 * ret_broken   how many; 0 is no error. May be NULL.
 *
 * -ENODEV      no such device is open
 * -ETIMEDOUT   I/O is still in flight; the locks fall later all the same
 */
BLKD_API int blkd_break_lock(struct blkd *connection, uint64_t device_number,
                             uint64_t session_number, int wait_ms, uint32_t *ret_broken);

/* Throws a session out: its I/O ends, its locks fall, its client is told (BLKD_EVENT_EVICTED).
 * Blocks until it is gone. -ENOENT: there is no such session. */
BLKD_API int blkd_evict(struct blkd *connection, uint64_t session_number);

/* What a device was recovered from. */
struct blkd_recovery {
    int failed; /* what it had failed with, a negative errno; 0: it had not */
    uint64_t failed_unix_ms;
    uint64_t generation; /* the one that begins */
    uint64_t reserved[4];
};

/*
 * Makes a FAILED device usable again (S5). What the failed sync lost stays lost: what is on the
 * device is to be checked before it is trusted. No session may have it open.
 *
 * path            NULL: device_number names it. A relative one is taken from the working directory.
 * device_number   0: path names it
 * ret_recovery    may be NULL
 *
 * Blocks as opening does.
 *
 * -EBUSY    a session has it open; the message names it
 * -ENODEV   there is no such device
 * -EALREADY it has not failed
 * -EINVAL   neither path nor number, or both
 */
BLKD_API int blkd_recover(struct blkd *connection, const char *path, uint64_t device_number,
                          struct blkd_recovery *ret_recovery);

/* ---- helpers on a plain descriptor of one's own ---- */

/* These work without a daemon and block as long as the file does. EINTR is retried. */

/* Reads exactly length_bytes. -ENODATA: the file ended before; or read(2)'s error. */
BLKD_API int blkd_really_read(int fd, void *buffer, size_t length_bytes);

/* Writes exactly length_bytes; or write(2)'s error, with a part written. */
BLKD_API int blkd_really_write(int fd, const void *buffer, size_t length_bytes);

/* The size in bytes of the block device or regular file `fd`; `path` is only for the message.
 * -ENOTBLK: it is neither; or the error of fstat(2) or ioctl(2). */
BLKD_API int blkd_blkgetsize(const char *path, int fd, uint64_t *ret_size_bytes);

/* Changes a file's size. -EFBIG: more than 2^63 - 1 bytes; or ftruncate(2)'s error. */
BLKD_API int blkd_ftruncate(int fd, uint64_t size_bytes);

#ifdef __cplusplus
}
#endif

#endif

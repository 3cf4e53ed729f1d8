/* SPDX-License-Identifier: MIT */
/*
 * libblkd: access to block devices and disk images through the daemon blkd.
 *
 * Where to start
 *
 *   blkd_connect makes a connection to the daemon (struct blkd). blkd_open opens a device on it
 *   (struct blkd_device). blkd_read, blkd_write and blkd_flush transfer data. blkd_close closes the
 *   device and blkd_disconnect the connection. libblkd(3) is the overview, docs/examples in the
 *   source tree has complete programs.
 *
 *   Sections of this file: errors; connections; devices; reading and writing; locks; buffers;
 *   asynchronous calls; events; configuration strings; lists; administration; helpers.
 *
 * Terms
 *
 *   device          a disk image (a regular file) or a block device
 *   session         one open of a device. A struct blkd_device is the handle of one session. Other
 *                   sessions, of this program and of others, can have the same device open.
 *   tier            the way that data takes between the program and the daemon: the Unix socket,
 *                   or rings in shared memory
 *   stable storage  what survives a power failure
 *   FAILED          the state of a device after a sync failed: writes and flushes are refused until
 *                   an administrator recovers it (S5)
 *   administrator   root, or the user that the daemon runs as
 *
 * Guarantees
 *
 *   S3, L6, R1 and the like are the numbered clauses of docs/contract.md, which is installed with
 *   the documentation. S: storage (reads, writes, syncs). L: locks. R: loss of the daemon.
 *
 * Results
 *
 *   A function that returns int returns 0, or what its description says, on success, and a negative
 *   errno on failure. Out-parameters (`ret_...`) are set on success and untouched on failure. After
 *   a failure blkd_error_message tells the calling thread what was tried, on what, and why it
 *   failed.
 *
 *   The description of a function lists its own errors. A function that takes a connection or a
 *   device can also return
 *
 *     -ENOTCONN   the daemon ended or closed the connection, or the process has forked since
 *                 blkd_connect. The connection stays unusable: make a new one. A call that was
 *                 unanswered is indeterminate: a write may or may not have happened (R1).
 *     -EBADF      an administrator evicted the session, or the device is being closed
 *     -EDEADLK    a function that blocks was called inside a callback of the same connection
 *     -EINVAL     an argument is invalid: NULL where that is not allowed, an unknown flag
 *     -ENOMEM     the library or the daemon is out of memory
 *     -EDQUOT     a limit of the daemon is reached: on requests, sessions, locks, memory
 *     -ESHUTDOWN  the daemon is stopping
 *     -EOPNOTSUPP the daemon is older than this library and does not know the operation
 *     -EPROTO     the daemon's answer is malformed or incomplete
 *
 *   and a function that accesses the device can return any errno of the device or its file system,
 *   most often -EIO. After an error the connection and the device are still usable, unless it is
 *   -ENOTCONN (the connection is lost) or -EBADF (the session is).
 *
 * Blocking
 *
 *   A function that asks the daemon blocks until the answer is there, unless its name ends in
 *   _async. Only the functions that take a timeout have one: on a device that hangs, all others
 *   block as long as it hangs. Signal handlers interrupt blkd_dispatch only.
 *
 * Threads
 *
 *   Any thread may call any function at any time, also on the same connection and device, with two
 *   exceptions: no thread may use a connection during or after blkd_disconnect, nor a device after
 *   blkd_close or blkd_close_async. The library starts no threads, prints nothing (unless
 *   $LIBBLKD_DEBUG is set: libblkd(3)), does not terminate the process and changes no signal
 *   dispositions.
 *
 * fork(2)
 *
 *   A child cannot use its parent's connections: calls return -ENOTCONN, and blkd_close and
 *   blkd_buffer_free do nothing. blkd_disconnect closes the child's copies of the descriptors. The
 *   child makes connections of its own. When the process that connected ends, its connections end
 *   with their sessions and locks, even if a child lives on (L5).
 *
 * Order
 *
 *   Calls that are in progress at the same time are not ordered (S2). To order two calls, wait for
 *   the first to complete before you submit the second.
 *
 * Sectors
 *
 *   Offsets and lengths are in sectors of the session: blkd_info.sector_size bytes each. The daemon
 *   checks them against the size of the device when it carries out the call.
 *
 * Versions
 *
 *   Everything in this file is available since version 0.1.
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

/* A connection to the daemon. */
struct blkd;
/* A session: one open of a device, on one connection. */
struct blkd_device;

/* The version of this header. */
#define BLKD_VERSION "0.1.0"

/* The version of the library that the program runs with, as BLKD_VERSION; static memory.
 * Before 1.0, a library fits the programs that were built with its own minor version. Does not
 * block. */
BLKD_API const char *blkd_version(void);

/* ---- errors ---- */

/*
 * Describes an errno in words that fit block I/O.
 *
 *   error   an errno, negative or positive
 *
 * Returns static memory: it stays valid and is not to be freed. Not translated. Does not block.
 */
BLKD_API const char *blkd_strerror(int error);

/*
 * Describes the last failed call of the calling thread: what was tried, on what, and why it failed.
 * In a callback that got a negative result it describes the call of that callback.
 *
 * Returns memory of the library, valid until the thread's next call into the library; an empty
 * string if no call of the thread has failed yet. After a call that succeeded the text has no
 * meaning. Does not block.
 */
BLKD_API const char *blkd_error_message(void);

/* What stood in the way, where one errno has several causes (-EBUSY, -EIO, -ESTALE, -EACCES). The
 * numbers are stable; later versions may add some. */
enum blkd_reason {
    BLKD_REASON_NONE = 0,           /* the errno says it all, or the reason is not known */
    BLKD_REASON_LOCKED_SESSION = 1, /* another session holds a lock (L2) */
    BLKD_REASON_LOCKED_OUTSIDE = 2, /* a program that does not use blkd holds a lock (L3) */
    BLKD_REASON_MOUNTED = 3,
    BLKD_REASON_SWAP = 4,     /* in use as swap space */
    BLKD_REASON_RELATED = 5,  /* a device that shares bytes with it is in use or locked */
    BLKD_REASON_CLAIMED = 6,  /* the kernel or another program has it open exclusively */
    BLKD_REASON_ISOLATED = 7, /* another session's lock keeps readers out (L2) */
    BLKD_REASON_OPEN = 8,     /* other sessions have it open */
    BLKD_REASON_FAILED = 9,   /* a sync failed, and the device was not recovered (S5) */
    BLKD_REASON_STALE = 10,   /* the session has lost its lock (L6) */
    BLKD_REASON_NO_RULE = 11, /* nothing allows the program to have the daemon open a path */
};

/*
 * Tells the reason of the last failed call of the calling thread, as blkd_error_message does in
 * words. After a call that succeeded it has no meaning. Does not block.
 */
BLKD_API enum blkd_reason blkd_error_reason(void);

/* ---- connections ---- */

/*
 * How reads, writes, flushes, discards and zeroings reach the daemon. Everything else always uses
 * the socket.
 */
enum blkd_tier {
    /* Rings in shared memory where they are available; the socket until then and otherwise. */
    BLKD_TIER_AUTO = 0,
    /* Only the socket. */
    BLKD_TIER_SOCKET = 1,
    /* Only rings: without them these calls fail, with -EOPNOTSUPP, -EDQUOT or -ENOMEM. */
    BLKD_TIER_RING = 2,
};

enum {
    BLKD_BUSY_POLL_DEFAULT = 0,
    BLKD_BUSY_POLL_NEVER = -1,
};

/* How to connect. All zero is the default: `struct blkd_options o = {.client_name = "backup"}`. The
 * reserved members are 0 (else -EINVAL). */
struct blkd_options {
    /* The path of the daemon's socket. NULL: $BLKD_SOCKET if it is set, else
     * $XDG_RUNTIME_DIR/blkd.sock if that exists, else /run/blkd/blkd.sock. */
    const char *socket_path;
    /* The name of the client in lists and logs; its first 64 bytes are used. NULL: the name of the
     * program. */
    const char *client_name;
    /* How long at most a waiting thread polls before it sleeps, in microseconds. 0
     * (BLKD_BUSY_POLL_DEFAULT): 100. BLKD_BUSY_POLL_NEVER: it does not poll. More than 1000 is the
     * same as 1000. */
    int busy_poll_us;
    /* How long blkd_connect may take, in milliseconds. 0: 10 seconds; -1: no limit. */
    int connect_timeout_ms;
    /* Asynchronous calls are not sent when they are submitted, but together, by the next
     * blkd_dispatch or blocking call. */
    bool send_on_dispatch;
    /* $BLKD_TIER ("socket" or "ring"), if it is set, overrides this. */
    enum blkd_tier tier;
    uint64_t reserved[8];
};

/* Deprecated, as BLKD_CONFIG_INIT and BLKD_LOCK_REQUEST_INIT are: all zero does the same. */
#ifdef __cplusplus
#define BLKD_OPTIONS_INIT                                                                          \
    {                                                                                              \
    }
#else
#define BLKD_OPTIONS_INIT                                                                          \
    {                                                                                              \
        0                                                                                          \
    }
#endif

/*
 * Connects to the daemon and exchanges the first messages with it.
 *
 *   options          NULL: the defaults. Only used during the call.
 *   ret_connection   the new connection. The caller ends it with blkd_disconnect.
 *
 * Blocks until the daemon has answered, at most options->connect_timeout_ms. After a failure
 * nothing is left open.
 *
 *   -ENOENT, -ECONNREFUSED  no daemon listens on the socket; the message names the socket
 *   -EACCES, -EPERM         this user may not connect (group blkd)
 *   -ETIMEDOUT              the daemon did not accept the connection, or did not answer, in time
 *   -ENOTCONN               the daemon closed the connection: it is stopping, or the limit on
 *                           connections is reached; the message says what is known
 *   -EINVAL                 an option or $BLKD_TIER has an invalid value, or the path of the socket
 *                           is empty
 *   -ENAMETOOLONG           the path of the socket is too long for a Unix socket (unix(7))
 *   -EMFILE, -ENFILE        no free descriptor (a connection needs four, one more for rings, and
 *                           one for every larger piece of memory that it gets for buffers)
 *   -EPROTO                 the daemon does not speak this version of the protocol
 */
BLKD_API int blkd_connect(const struct blkd_options *options, struct blkd **ret_connection);

/*
 * Ends the connection and frees it. Cannot fail.
 *
 *   connection   may be NULL
 *
 * Does not wait for the daemon, which completes the requests that it has received and then closes
 * the sessions of the connection (S7, L5). To know that data was written, wait for the write; to
 * know that it is on stable storage, flush.
 *
 * The callbacks of all pending calls run on the calling thread before the function returns: with
 * their results if those have arrived, else with -ENOTCONN. Event callbacks do not run any more.
 * Afterwards the library touches no buffer of the program. Devices that are still open are closed
 * and their handles freed. Buffers of blkd_buffer_alloc stay, with their contents, until they are
 * freed.
 *
 * In the child of a fork it only closes the child's copies of the descriptors. Inside a callback of
 * the same connection it does nothing.
 */
BLKD_API void blkd_disconnect(struct blkd *connection);

/* What the daemon told about itself when the connection was made. */
struct blkd_server_info {
    const char *version;    /* belongs to the connection and is valid as long as that */
    const char *engine;     /* "io_uring" or "threads"; valid as long as the connection */
    uint32_t workers;       /* threads that serve clients */
    uint32_t pid;           /* of the daemon, in its own pid namespace */
    uint32_t max_io_bytes;  /* of one request; the library splits larger transfers */
    uint32_t max_requests;  /* in flight at once; the library holds back further ones */
    uint32_t max_sessions;  /* open at once on this connection */
    uint32_t busy_poll_us;  /* how long the daemon polls before it sleeps; 0: it does not poll */
    uint64_t session_epoch; /* increases with every start that kept the state directory */
    uint64_t connection_number; /* of this connection, in lists and in the daemon's log */
    uint8_t instance[16];       /* random, chosen when the daemon started */
    uint64_t reserved[8];
};

/*
 * Returns what the daemon told about itself when the connection was made.
 *
 *   ret_info   its strings belong to the connection
 *
 * Does not block. Also works on a lost connection.
 */
BLKD_API int blkd_get_server_info(struct blkd *connection, struct blkd_server_info *ret_info);

/*
 * Tells which tier a transfer would use now: BLKD_TIER_RING or BLKD_TIER_SOCKET.
 *
 * With BLKD_TIER_AUTO the first transfer or blkd_buffer_alloc asks the daemon for rings, and
 * transfers use them as soon as they are set up. Does not block.
 */
BLKD_API int blkd_get_tier(struct blkd *connection, enum blkd_tier *ret_tier);

/* Sends a request that does nothing, and blocks until the daemon has answered it. */
BLKD_API int blkd_ping(struct blkd *connection);

/* ---- devices ---- */

enum blkd_sync {
    BLKD_SYNC_OS = 0,    /* blkd_flush brings data to stable storage; the default */
    BLKD_SYNC_NONE = 1,  /* blkd_flush succeeds without doing anything */
    BLKD_SYNC_DRIVE = 2, /* the same as BLKD_SYNC_OS on Linux */
};

enum blkd_access {
    /* Read/write; read-only if that fails with EACCES, EPERM, EROFS or ETXTBSY (a program that
     * runs), or because the device is mounted, in use as swap space or claimed. */
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

/* How discarded and zeroed sectors are made to read as zeroes (S8). */
enum blkd_discard_method {
    BLKD_DISCARD_UNKNOWN = 0,
    BLKD_DISCARD_PUNCH_HOLE = 1, /* their space is released */
    BLKD_DISCARD_ZERO_RANGE = 2, /* the kernel or the device zeroes them */
    BLKD_DISCARD_WRITE = 3,      /* the daemon writes zeroes */
};

/* How to open a device. All zero, with a path, is the default: `struct blkd_config c = {.path =
 * p}`. Name the members that you set: their order may change. The reserved members are 0 (else
 * -EINVAL). */
struct blkd_config {
    const char *path; /* of a disk image or a block device */
    /* What the session is for, shown to people; UTF-8, at most 64 bytes. NULL: no purpose. */
    const char *purpose;
    enum blkd_sync sync;     /* what blkd_flush does */
    enum blkd_access access; /* read/write, read-only, or what is permitted */
    /* In bytes, a power of two from 512 to 65536; 0: the device's own. A preference: block devices
     * have their own, and of a file it is at least the granule (512; with direct I/O what that
     * needs) and divides the size. Else the device's own is taken: see blkd_info.sector_size. */
    uint32_t sector_size;
    bool direct; /* false: use the page cache; true: direct I/O (O_DIRECT) */
    bool lock;   /* take a lock: exclusive if read/write, shared if read-only (L1) */
    /* Fail with -EOPNOTSUPP instead of falling back. Applies to the caching mode, to the sector
     * size, to a sync level on storage that loses its data in a power failure, and to `discard`. */
    bool strict;
    /* Discards must release space. Has no effect without `strict`. */
    bool discard;
    uint64_t reserved[7];
};

#define BLKD_CONFIG_INIT BLKD_OPTIONS_INIT

/*
 * What a session has: the effective settings, alongside the requested ones (`asked_...`), and the
 * state of its device.
 */
struct blkd_info {
    bool read_write;
    bool direct; /* the caching mode of the device, which its first session sets (S1) */
    bool asked_direct;
    bool asked_lock;
    bool failed; /* the device is FAILED: writes and flushes are refused (S5) */
    /* No exclusive lock keeps other programs out. A flush may then be skipped although another
     * program has written: blkd only knows what was written through it (S4). */
    bool elision_own_writes_only;
    bool asked_discard;
    bool volatile_storage; /* a power failure loses even synced data (tmpfs, a RAM disk) */
    /* The session lost a lock: its writes, discards, zeroings and resizes fail with -ESTALE until
     * it unlocks that range or locks it again (L6). */
    bool lock_lost;
    /* Nothing names the device for good, so that a restart of the daemon would forget that it has
     * FAILED (S5, L8). */
    bool forgets_failure;
    uint32_t sector_size;   /* bytes; constant while the device is open */
    uint32_t granule_bytes; /* the smallest sector size that the caching mode permits */
    uint32_t asked_sector_size;
    uint64_t size_sectors;
    uint64_t generation;    /* increases with every change of size */
    uint64_t device_number; /* the daemon's number for the device, as in lists */
    enum blkd_sync sync;
    enum blkd_lock_mode lock; /* the strongest lock that this session holds */
    enum blkd_discard_method discard;
    enum blkd_device_kind kind;
    enum blkd_access asked_access;
    enum blkd_sync asked_sync;
    /* Changes by this session that are acknowledged but may not be on stable storage yet (S3). */
    uint64_t unsynced_changes;
    /* The fencing token of the newest exclusive lock that the session holds (L6); 0: none. */
    uint64_t token;
    uint64_t reserved[6];
};

/*
 * Opens a device by its path.
 *
 *   config       only used during the call. A relative path starts at the working directory.
 *   ret_device   the handle of the new session. The caller closes it with blkd_close.
 *
 * The library opens the path itself, at the moment of the call, and passes the descriptor to the
 * daemon: a path means what it means in the program, with its root directory, mounts, working
 * directory and rights, and later changes of names change nothing. Only regular files and block
 * devices are opened; anything else is only looked at. BLKD_ACCESS_AUTO opens it read-only where
 * the program may not write (EACCES, EPERM, EROFS, ETXTBSY).
 *
 * Opening a FAILED device succeeds: it can be read, and blkd_info.failed is set (S5).
 *
 * Blocks until the device is open: as long as the disk hangs, and until the sync of an earlier last
 * close has ended (S7). After a failure nothing is left open.
 *
 *   -ENOENT, -EACCES, -ENOTDIR, -ELOOP, ...  as open(2)
 *   -ENOTBLK       the path is neither a regular file nor a block device
 *   -EINVAL        no path; a config member is invalid; the size of the file is not a multiple of
 *                  512 bytes, or with direct I/O of the granule. (That of a block device is rounded
 *                  down to whole sectors.)
 *   -EBUSY         config->lock: another session or program holds a lock (L1, L3, L4); or, unless
 *                  it is opened read-only without a lock, the device is mounted or otherwise in use
 *                  (L3)
 *   -EROFS         BLKD_ACCESS_READ_WRITE: the device or its file system is read-only
 *   -EOPNOTSUPP    config->strict: a setting is not available; the message says which
 *   -ENAMETOOLONG  the path is longer than 4095 bytes
 *   -ETXTBSY       BLKD_ACCESS_READ_WRITE: it is a program that runs
 *   -EAGAIN        the file is being replaced, and there is no /proc to open it by
 *   -EDQUOT        too many sessions or locks, of this connection or of this user; or the device
 *                  shares bytes with too many open devices
 *   -EIO           the device failed; or config->lock: no fencing token could be stored (L6)
 */
BLKD_API int blkd_open(struct blkd *connection, const struct blkd_config *config,
                       struct blkd_device **ret_device);

/*
 * Opens a device by a descriptor of the caller.
 *
 *   fd           a regular file or a block device, open for reading or for reading and writing. The
 *                caller keeps it, and may close it as soon as this function (or its _async form)
 *                returns. A session on a read-only descriptor is read-only.
 *   config       NULL: the defaults. Its path is only a name for messages and lists; NULL: the
 *                name that the kernel knows.
 *   ret_device   as for blkd_open
 *
 * The daemon opens the file again and never uses the caller's open file description for I/O or
 * locks. Blocks as blkd_open does. After a failure nothing is left open except fd.
 *
 * Errors as for blkd_open, and
 *
 *   -EBADF    fd is not an open descriptor
 *   -EINVAL   fd was opened with O_PATH or only for writing
 *   -EACCES   BLKD_ACCESS_READ_WRITE, but fd is open read-only or for appending; the file cannot be
 *             opened again; or the caller is not an administrator and the file is on FUSE, on a
 *             network file system, or on one that stores no data (procfs, sysfs)
 */
BLKD_API int blkd_open_fd(struct blkd *connection, int fd, const struct blkd_config *config,
                          struct blkd_device **ret_device);

/*
 * Closes a device and frees its handle. The device is closed and the handle freed whatever the
 * result is: never close it again.
 *
 *   device   may be NULL
 *
 * Calls that are pending on the device complete first, except those that wait for a lock: they end
 * with -ECANCELED. Callbacks of asynchronous calls run later, in blkd_dispatch. Then the daemon
 * releases the locks of the session (L5).
 *
 * Blocks until the daemon has closed the session, but not until data is on stable storage (S7): to
 * be sure of that, call blkd_flush first. Inside a callback of the same connection it returns at
 * once and the device closes in the background. In the child of a fork it does nothing.
 *
 * Returns 0, or tells what was wrong at the end:
 *
 *   an errno of the device   a sync of the device failed, acknowledged changes of this session may
 *                            be lost, and no flush or FUA change of the session has returned that
 *                            yet (S5, S7). A failure that is found later, by the sync that follows
 *                            the last close, is told to the next opener only.
 *   -EBADF                   the session had been evicted
 *   -ENOTCONN                the connection was lost before
 */
BLKD_API int blkd_close(struct blkd_device *device);

/* Asks the daemon for the current settings and state of a session. Blocks for a round trip. */
BLKD_API int blkd_get_info(struct blkd_device *device, struct blkd_info *ret_info);

/*
 * Returns the settings that a session was opened with. `direct` is the effective caching mode of
 * the device.
 *
 *   ret_config   the caller frees it with blkd_config_free
 *
 * blkd_open with it opens the device again, unless the path was only a name (blkd_open_fd). Blocks
 * for a round trip.
 */
BLKD_API int blkd_get_config(struct blkd_device *device, struct blkd_config **ret_config);

/* ---- reading and writing ---- */

enum blkd_write_flags {
    BLKD_WRITE_FUA = 1, /* the data is on stable storage before the call succeeds (S3) */
};

/*
 * Reads from a device into a list of buffers, which are filled one after the other.
 *
 *   sector    where to begin
 *   buffers   the length of each is a multiple of the sector size; the address needs no alignment.
 *             The list and the buffers stay the caller's. If there are no bytes to read, the call
 *             succeeds.
 *   count     number of buffers
 *
 * On success everything was read (S1). The library may split a read into several requests, and
 * always splits one of more than blkd_server_info.max_io_bytes: it is not atomic (S2). If any part
 * is beyond the end of the device, nothing is read. After a failure the contents of the buffers are
 * undefined; if several parts failed, the error is that of the lowest offset. Blocks until the read
 * has ended.
 *
 *   -EINVAL   the length of a buffer is not a multiple of the sector size (the message says which),
 *             the range overflows, or it goes beyond the end of the device; nothing was read
 *   -EFAULT   a buffer is NULL but not empty
 *   -EBUSY    another session holds an isolating lock on the range (L2)
 *   -EIO      the device could not be read
 */
BLKD_API int blkd_read(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
                       size_t count);

/*
 * Writes a list of buffers to a device, one after the other.
 *
 *   sector    where to begin
 *   buffers   as for blkd_read. Their contents must not change until the call has ended.
 *   count     number of buffers
 *   flags     0 or BLKD_WRITE_FUA
 *
 * On success everything was written, and every later read sees it (S1). It is on stable storage
 * with BLKD_WRITE_FUA; else after the next successful blkd_flush (S3). A write is split as a read
 * is, and not atomic either (S2); if any part is beyond the end of the device, nothing is written.
 * After any other failure, any part of it may have been written. Blocks until the write has ended.
 *
 *   -EINVAL   the length of a buffer is not a multiple of the sector size, or the range overflows;
 *             nothing was written
 *   -EFAULT   a buffer is NULL but not empty; nothing was written
 *   -ENOSPC   the range goes beyond the end of the device, and nothing was written; or the file
 *             system is full
 *   -EROFS    the session is read-only; nothing was written
 *   -EBUSY    another session holds a lock on the range (L2)
 *   -ESTALE   the session has lost a lock (L6); see blkd_unlock
 *   -EIO      the device could not be written, or is FAILED (S5). With BLKD_WRITE_FUA, -EIO from
 *             the device makes it FAILED, as a failed sync does.
 */
BLKD_API int blkd_write(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
                        size_t count, unsigned int flags);

/*
 * Brings data to stable storage.
 *
 * On success, every write, discard, zeroing and resize of the device, by any session, that was
 * acknowledged before this call is on stable storage (S3). Flushes at the same time share one sync,
 * and a flush with nothing to do issues none (S4). In a session with BLKD_SYNC_NONE it succeeds
 * without doing anything. Blocks until the sync has ended.
 *
 *   -EIO   this or an earlier sync of the device failed. The device is FAILED (S5): acknowledged
 *          writes may be lost. Until an administrator recovers it (blkd_recover), every later flush
 *          and change fails, also with BLKD_SYNC_NONE; reads go on.
 */
BLKD_API int blkd_flush(struct blkd_device *device);

/*
 * Discards sectors: they read as zeroes afterwards (S8), and their space is released if the device
 * can do that (blkd_info.discard).
 *
 *   sector          where to begin
 *   count_sectors   number of sectors; 0: nothing is changed
 *
 * After a failure any part of the range may have been discarded. Blocks until it has ended.
 *
 * Errors as for blkd_write.
 */
BLKD_API int blkd_discard(struct blkd_device *device, uint64_t sector, uint64_t count_sectors);

/*
 * Makes sectors read as zeroes (S8).
 *
 *   sector          where to begin
 *   count_sectors   number of sectors; 0: nothing is changed
 *   flags           0 or BLKD_WRITE_FUA
 *
 * The sectors may become a hole, as with blkd_discard. After a failure any part of the range may
 * have been zeroed. Blocks until it has ended.
 *
 * Errors as for blkd_write.
 */
BLKD_API int blkd_write_zeroes(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                               unsigned int flags);

/*
 * Changes the size of a disk image, for all sessions (S9). The others get BLKD_EVENT_RESIZED.
 *
 *   size_sectors   the new size
 *
 * Blocks until I/O to a part that is cut off has ended. After a failure the size is unchanged.
 *
 *   -EOPNOTSUPP   it is a block device, which cannot be resized through blkd
 *   -EROFS        the session is read-only
 *   -EBUSY        another session holds a lock on what is added or cut off (L2); or others have the
 *                 device open, and this session has no exclusive lock on what is cut off
 *   -ESTALE       the session has lost a lock (L6)
 *   -EIO          the device is FAILED (S5)
 *   -EINVAL       the size overflows
 *   -EFBIG, -ENOSPC, ...   as ftruncate(2)
 */
BLKD_API int blkd_resize(struct blkd_device *device, uint64_t size_sectors);

/*
 * Finds the next sector, at or after `sector`, that is allocated and so may hold data.
 *
 *   sector       where to begin; at most the size of the device
 *   ret_sector   the sector; the size of the device if there is none
 *
 * A sector that is partly in a hole counts as allocated. On a block device all sectors do. Blocks
 * until the file system has answered.
 *
 *   -EINVAL   `sector` is beyond the end of the device, or overflows
 */
BLKD_API int blkd_seek_mapped(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector);

/*
 * Finds the next sector, at or after `sector`, that lies in a hole and so reads as zeroes.
 *
 * Otherwise as blkd_seek_mapped.
 */
BLKD_API int blkd_seek_unmapped(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector);

/* ---- locks ---- */

enum { BLKD_WAIT_FOREVER = -1 };

/*
 * Which lock to take. All zero is the default: exclusive, the whole device, without waiting. The
 * reserved members are 0 (else -EINVAL).
 */
struct blkd_lock_request {
    enum blkd_lock_mode mode; /* BLKD_LOCK_SHARED or BLKD_LOCK_EXCLUSIVE; 0: exclusive */
    uint64_t first_sector;    /* of the range */
    uint64_t count_sectors;   /* 0, with first_sector 0: the whole device, also when it grows */
    int wait_ms;              /* how long to wait, in milliseconds; 0: fail with -EBUSY instead;
                                 BLKD_WAIT_FOREVER: no limit */
    bool isolate;             /* exclusive locks only: others cannot read the range either (L2) */
    /* Shown to those that the lock keeps out (L4); UTF-8, at most 64 bytes. NULL or empty: the
     * purpose of the session. */
    const char *purpose;
    uint64_t reserved[8];
};

#define BLKD_LOCK_REQUEST_INIT BLKD_OPTIONS_INIT

/*
 * Locks a device or a range of it (L1).
 *
 *   request     NULL: the defaults. Only used during the call.
 *   ret_token   for an exclusive lock, its fencing token: greater than that of every earlier
 *               exclusive lock of the daemon (L6). For a shared lock 0. May be NULL.
 *
 * Among sessions of blkd, locks are mandatory (L2); other programs are kept out as far as Linux has
 * locks for that (L3). Asking again for exactly the same range upgrades or downgrades the lock; in
 * the mode that it has already, it succeeds and keeps its token. While an upgrade waits, and if it
 * fails, the session keeps the shared lock.
 *
 * Blocks until the lock is granted or refused. Requests are granted in the order in which they
 * arrived, upgrades first; a grant waits until conflicting I/O of other sessions has ended. Other
 * threads can use the connection and the device meanwhile. A request that waits counts towards
 * blkd_server_info.max_requests; it is withdrawn when the device is closed or the connection ends.
 *
 *   -EBUSY      wait_ms is 0 and the lock is not available; the message says who holds it (L4). Or
 *               the device is mounted or otherwise in use (L3).
 *   -ETIMEDOUT  wait_ms have passed
 *   -EROFS      an exclusive lock needs a session that can write
 *   -EDEADLK    the request would wait for sessions that wait for this connection (L7)
 *   -ECANCELED  the device is being closed, or the daemon is stopping
 *   -ESTALE     the session lost the lock that was to be upgraded or downgraded, or the new lock
 *               was broken at once
 *   -EALREADY   an earlier request of the session for this range is still pending
 *   -EINVAL     an invalid mode, range or wait_ms; isolate without an exclusive mode; a purpose
 *               longer than 64 bytes
 *   -EDQUOT     the session or its user has too many locks
 *   -EIO        no fencing token could be stored (L6)
 *   -EOPNOTSUPP, -ENOLCK, ...   the file system has no locks (flock(2))
 */
BLKD_API int blkd_lock(struct blkd_device *device, const struct blkd_lock_request *request,
                       uint64_t *ret_token);

/*
 * Releases the locks of the session that lie in a range.
 *
 *   first_sector    of the range
 *   count_sectors   number of sectors; 0, with first_sector 0: the whole device
 *
 * If there are none, it succeeds. If all locks that the session has lost lie in the range, its
 * writes no longer fail with -ESTALE (L6).
 *
 * Blocks until the session's own I/O has ended (L5) and the locks are released. After a failure the
 * session has the same locks as before.
 *
 *   -EINVAL     a lock lies only partly in the range, or the range is invalid
 *   -EALREADY   a lock request of the session for a range in it is still pending
 */
BLKD_API int blkd_unlock(struct blkd_device *device, uint64_t first_sector, uint64_t count_sectors);

/* ---- buffers ---- */

/*
 * Allocates a buffer that the daemon shares, so that transfers need no copy: the device is read
 * into it and written from it directly. All calls accept any other memory too, and copy it once.
 *
 *   size_bytes   at least 1; rounded up to whole pages of 4096 bytes
 *   ret_buffer   aligned to 4096 bytes, filled with zeroes. The caller frees it with
 *                blkd_buffer_free.
 *
 * The buffer, or any part of it that is a whole number of sectors, can be used for every device of
 * this connection, and as ordinary memory. If the daemon shares no memory (there are no rings, or
 * the quota is used up), the buffer is ordinary memory and transfers are copied.
 *
 * The buffer stays where it is, with its contents, until blkd_buffer_free: also when the connection
 * is lost, and after blkd_disconnect, which then copies it. The library moves buffers out of shared
 * memory in the first call that finds the connection lost; from then on they are ordinary memory,
 * for any connection. The daemon waits for that, for 10 seconds: if the program makes no call for
 * so long after the daemon closed the connection, or has no memory for the copy (blkd_error_message
 * says so), the contents turn into zeroes. A read that was in flight leaves its buffer undefined,
 * as any failed read does. In the child of a fork the buffer does not exist.
 *
 * Blocks for one or a few round trips if the daemon has to provide more memory, else not at all.
 * Inside a callback it does not ask the daemon; on a lost connection it returns ordinary memory.
 *
 *   -EINVAL     size_bytes is 0
 *   -ENOMEM     the process cannot allocate this much memory
 *   -ENOTCONN   only in the child of a fork
 */
BLKD_API int blkd_buffer_alloc(struct blkd *connection, size_t size_bytes, void **ret_buffer);

/*
 * Frees a buffer of blkd_buffer_alloc.
 *
 *   connection   that it was allocated on; NULL if that is disconnected
 *   buffer       may be NULL. No pending call may use it. An address that is not that of an
 *                allocated buffer is ignored.
 *
 * Shared memory in which no buffer is left goes back to the daemon, except one piece that is kept
 * for later buffers. Does not block.
 */
BLKD_API void blkd_buffer_free(struct blkd *connection, void *buffer);

/* ---- asynchronous calls ---- */

/*
 * Each blkd_..._async function does what the function without the suffix does, and takes the same
 * arguments, but does not block: `callback` is called with the result later, by blkd_dispatch.
 *
 * If the function returns 0, the callback will be called exactly once, by blkd_dispatch or
 * blkd_disconnect. If it returns a negative errno, the callback will not be called.
 *
 * Until the callback is called, the call owns the out-parameters and the memory that the buffers
 * point to. Lists of buffers, configs, lock requests and descriptors are copied and not needed
 * after the function has returned.
 *
 * Calls are sent at once (see blkd_options.send_on_dispatch); those that are submitted in a
 * callback are sent together, when all callbacks of that blkd_dispatch have returned.
 */

/*
 * Receives the result of an asynchronous call.
 *
 *   user_data   as it was given with the call
 *   result      what the blocking function would have returned; if it is negative,
 *               blkd_error_message describes the failure
 *
 * The library holds no mutex while the callback runs. A callback may submit calls and close
 * devices. It must not block: functions that do return -EDEADLK.
 */
typedef void blkd_callback(void *user_data, int result);

/* blkd_ping without blocking. */
BLKD_API int blkd_ping_async(struct blkd *connection, blkd_callback *callback, void *user_data);

/*
 * blkd_open without blocking on the daemon. The path is opened before the function returns (see
 * blkd_open), and if that fails, the function does: it blocks as long as open(2) does.
 */
BLKD_API int blkd_open_async(struct blkd *connection, const struct blkd_config *config,
                             struct blkd_device **ret_device, blkd_callback *callback,
                             void *user_data);

/* blkd_open_fd without blocking. */
BLKD_API int blkd_open_fd_async(struct blkd *connection, int fd, const struct blkd_config *config,
                                struct blkd_device **ret_device, blkd_callback *callback,
                                void *user_data);

/*
 * blkd_close without blocking. The handle must not be used after the function has returned 0.
 *
 *   callback   may be NULL. Its result is that of blkd_close. The handle is freed in any case.
 *
 *   -EBADF     the device is already being closed
 */
BLKD_API int blkd_close_async(struct blkd_device *device, blkd_callback *callback, void *user_data);

/* blkd_get_info without blocking. */
BLKD_API int blkd_get_info_async(struct blkd_device *device, struct blkd_info *ret_info,
                                 blkd_callback *callback, void *user_data);

/* blkd_get_config without blocking. */
BLKD_API int blkd_get_config_async(struct blkd_device *device, struct blkd_config **ret_config,
                                   blkd_callback *callback, void *user_data);

/* blkd_read without blocking. */
BLKD_API int blkd_read_async(struct blkd_device *device, uint64_t sector,
                             const struct iovec *buffers, size_t count, blkd_callback *callback,
                             void *user_data);

/* blkd_write without blocking. */
BLKD_API int blkd_write_async(struct blkd_device *device, uint64_t sector,
                              const struct iovec *buffers, size_t count, unsigned int flags,
                              blkd_callback *callback, void *user_data);

/* blkd_flush without blocking. It covers changes that were acknowledged before it was submitted. */
BLKD_API int blkd_flush_async(struct blkd_device *device, blkd_callback *callback, void *user_data);

/* blkd_discard without blocking. */
BLKD_API int blkd_discard_async(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                                blkd_callback *callback, void *user_data);

/* blkd_write_zeroes without blocking. */
BLKD_API int blkd_write_zeroes_async(struct blkd_device *device, uint64_t sector,
                                     uint64_t count_sectors, unsigned int flags,
                                     blkd_callback *callback, void *user_data);

/* blkd_resize without blocking. */
BLKD_API int blkd_resize_async(struct blkd_device *device, uint64_t size_sectors,
                               blkd_callback *callback, void *user_data);

/* blkd_seek_mapped without blocking. */
BLKD_API int blkd_seek_mapped_async(struct blkd_device *device, uint64_t sector,
                                    uint64_t *ret_sector, blkd_callback *callback, void *user_data);

/* blkd_seek_unmapped without blocking. */
BLKD_API int blkd_seek_unmapped_async(struct blkd_device *device, uint64_t sector,
                                      uint64_t *ret_sector, blkd_callback *callback,
                                      void *user_data);

/* blkd_lock without blocking. Closing the device ends a request that waits, with -ECANCELED. */
BLKD_API int blkd_lock_async(struct blkd_device *device, const struct blkd_lock_request *request,
                             uint64_t *ret_token, blkd_callback *callback, void *user_data);

/* blkd_unlock without blocking. */
BLKD_API int blkd_unlock_async(struct blkd_device *device, uint64_t first_sector,
                               uint64_t count_sectors, blkd_callback *callback, void *user_data);

/*
 * Returns a descriptor for poll(2), epoll(7), libevent and the like, or a negative errno. While it
 * is readable, blkd_dispatch has work to do.
 *
 * It is an epoll(7) descriptor and the same for the whole life of the connection. It belongs to the
 * connection: only poll it, for reading; do not close it. Does not block.
 */
BLKD_API int blkd_get_fd(const struct blkd *connection);

/*
 * Sends calls that wait to be sent, receives answers, and runs the callbacks of completed calls and
 * of events on the calling thread.
 *
 *   timeout_ms   how long to wait until there is a callback to run, in milliseconds; 0: do not
 *                wait; -1: no limit
 *
 * Returns the number of callbacks that ran. 0: the time is over, or a signal handler ran. Several
 * threads may dispatch one connection; then callbacks run on any of them, and several at once. So a
 * callback must not wait, in any way, until another call has completed: that may only become known
 * after the callback has returned.
 *
 *   -ENOTCONN   the connection is lost, and all callbacks have run
 */
BLKD_API int blkd_dispatch(struct blkd *connection, int timeout_ms);

/* ---- events ---- */

enum blkd_event_type {
    /* The size of the device has changed (S9). */
    BLKD_EVENT_RESIZED = 1,
    /* The daemon is stopping: calls that are sent from now on may stay unanswered. */
    BLKD_EVENT_SHUTTING_DOWN = 2,
    /* A sync failed and the device is FAILED: from now on its writes and flushes fail (S5). */
    BLKD_EVENT_SYNC_FAILED = 3,
    /* The connection is lost. This is its last event. */
    BLKD_EVENT_DISCONNECTED = 4,
    /* A lock that was waited for is granted. Its call completes as well. */
    BLKD_EVENT_LOCK_GRANTED = 5,
    /* The session lost a lock: its changes fail with -ESTALE until it unlocks that range or locks
     * it again (L6). */
    BLKD_EVENT_LOCK_LOST = 6,
    /* An administrator evicted the session: calls on it fail with -EBADF. The program still has to
     * close the handle. */
    BLKD_EVENT_EVICTED = 7,
    /* What blkd_watch has asked for: see struct blkd_happening. */
    BLKD_EVENT_HAPPENING = 8,
};

enum blkd_lost_reason {
    BLKD_LOST_UNKNOWN = 0,
    BLKD_LOST_BROKEN = 1,  /* an administrator broke the lock */
    BLKD_LOST_OUTSIDE = 2, /* the lock that keeps other programs out could not be kept (L3) */
};

enum blkd_happening_what {
    BLKD_HAPPENING_UNKNOWN = 0, /* the daemon is newer than this library */
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

/* What happened to a device or one of its sessions, for a watcher. Members that do not apply are 0
 * or empty. */
struct blkd_happening {
    enum blkd_happening_what what;
    uint64_t device_number;
    uint64_t session_number; /* 0: it concerns the device, no single session */
    const char *path;
    uint64_t unix_ms; /* when, in milliseconds since 1970 */
    uint32_t pid, uid;
    const char *command;
    const char *purpose;
    enum blkd_lock_mode mode; /* LOCK_...: of the lock */
    uint64_t offset_bytes;    /* LOCK_...: of the lock */
    uint64_t length_bytes;    /* LOCK_...: 0: the whole device */
    uint64_t token;           /* LOCK_...: the fencing token of an exclusive lock */
    uint64_t size_bytes;      /* RESIZED */
    uint64_t generation;      /* RESIZED, RECOVERED */
    int error;                /* SYNC_FAILED: a negative errno */
    uint64_t left_out;        /* how many before this one came too fast and were dropped */
};

struct blkd_event {
    enum blkd_event_type type;
    struct blkd_device *device;        /* NULL: the event concerns the whole connection */
    uint64_t sequence;                 /* the daemon numbers the events of a connection from 1 */
    uint64_t size_sectors;             /* RESIZED */
    uint64_t generation;               /* RESIZED */
    int error;                         /* SYNC_FAILED, DISCONNECTED: a negative errno */
    enum blkd_lock_mode lock_mode;     /* LOCK_GRANTED */
    uint64_t token;                    /* LOCK_GRANTED: of an exclusive lock; else 0 */
    uint64_t first_sector;             /* LOCK_GRANTED */
    uint64_t count_sectors;            /* LOCK_GRANTED; 0: the whole device */
    enum blkd_lost_reason lost_reason; /* LOCK_LOST */
    uint32_t lost_locks;               /* LOCK_LOST: how many */
    const struct blkd_happening *happening; /* HAPPENING; else NULL */
    uint64_t reserved[4];
};

/*
 * Receives an event.
 *
 *   event   valid until the callback returns, with everything it points to
 *
 * Called by blkd_dispatch, under the same rules as blkd_callback. Events that have not been
 * delivered yet are merged: of several of the same type for the same session, only the last is
 * delivered. Happenings are not merged: up to 4096 are kept, and further ones are dropped and
 * counted (blkd_happening.left_out).
 */
typedef void blkd_event_callback(void *user_data, const struct blkd_event *event);

/*
 * Sets the function that is called for events of a connection.
 *
 *   callback    NULL: none. Events that arrive while there is none are dropped.
 *   user_data   passed to the callback
 *
 * Does not block.
 */
BLKD_API int blkd_set_event_callback(struct blkd *connection, blkd_event_callback *callback,
                                     void *user_data);

/* ---- configuration strings ---- */

/*
 * A configuration string holds the members of struct blkd_config:
 *
 *   file://<path>?sync=(none|os|drive)&buffered=(0|1)&lock=(0|1)&prefered_sector_size=N
 *                &mode=(auto|ro|rw)&strict=(0|1)&discard=(0|1)&purpose=TEXT
 *
 * Paths and values are percent-encoded. A key that is missing has its default. `buffered=0` is the
 * member `direct`.
 * The spelling "prefered_sector_size" is that of mirage-block-unix, which defined the format.
 *
 * These functions need no connection and do not block.
 */

/*
 * Parses a configuration string.
 *
 *   ret_config   the caller frees it with blkd_config_free
 *
 *   -EINVAL         the string is invalid; the message says where
 *   -ENAMETOOLONG   its path is longer than 4095 bytes
 *   -ENOMEM         out of memory
 */
BLKD_API int blkd_config_parse(const char *text, struct blkd_config **ret_config);

/*
 * Parses what a user has typed: a configuration string if it begins with "file:", in capitals or
 * not, or "buffered:"; else a path, with defaults for everything else.
 *
 * Otherwise as blkd_config_parse.
 */
BLKD_API int blkd_config_from_argument(const char *text, struct blkd_config **ret_config);

/*
 * Formats a config as a configuration string. blkd_config_parse turns it into an equal config.
 *
 *   ret_text   the caller frees it with free(3)
 *
 *   -EINVAL         there is no path, or a member is invalid
 *   -ENAMETOOLONG   the path is longer than 4095 bytes
 *   -ENOMEM         out of memory
 */
BLKD_API int blkd_config_format(const struct blkd_config *config, char **ret_text);

/* Frees a config that blkd_config_parse, blkd_config_from_argument or blkd_get_config returned.
 * NULL is allowed. */
BLKD_API void blkd_config_free(struct blkd_config *config);

/* ---- lists ---- */

/*
 * A list has an array of pointers to its entries: list->entries[i]->path. So later versions can add
 * members at the end of an entry. Do not copy entries as a whole, and do not make them yourself.
 *
 * Times are in milliseconds since 1970 (`..._unix_ms`) or are durations in microseconds (`..._us`).
 * Strings are never NULL. Callers other than administrators see empty paths and purposes for the
 * sessions of other users.
 */

/* How often something was done since the device or session was opened. */
struct blkd_counters {
    uint64_t reads, writes, flushes, discards, zeroes;
    uint64_t read_bytes, written_bytes, errors;
    /* Only of devices (S4): syncs that were issued, flushes that had nothing to sync, and flushes
     * that shared the sync of another. */
    uint64_t syncs_issued, flushes_elided, flushes_shared;
    uint64_t reserved[4];
};

/* What of a device is on stable storage (S3 to S7). */
struct blkd_sync_state {
    /* The strictest level of its sessions; BLKD_SYNC_NONE: flushes do nothing. */
    enum blkd_sync level;
    uint64_t unsynced_changes;       /* acknowledged, but maybe not on stable storage */
    uint64_t unsynced_since_unix_ms; /* 0: there are none */
    uint64_t last_sync_unix_ms;      /* end of the last successful sync; 0: none so far */
    uint64_t last_sync_us;           /* how long it took */
    uint64_t longest_sync_us;
    uint64_t flushes_asked; /* flush calls; compare with the counters of blkd_counters */
    bool running;           /* a sync is running now */
    uint32_t waiting;       /* flushes that wait now */
    int failed; /* FAILED with this negative errno (S5; -EOWNERDEAD: S10); 0: not FAILED */
    uint64_t failed_unix_ms; /* when */
    bool volatile_storage;   /* a power failure loses even synced data (tmpfs, a RAM disk) */
    uint64_t reserved[4];
};

struct blkd_device_entry {
    uint64_t device_number;
    /* By which it was first opened. For callers other than administrators: by which their own user
     * has opened it, or empty. */
    const char *path;
    enum blkd_device_kind kind;
    uint32_t major, minor; /* of the block device, or of the file system of the file */
    uint64_t inode;        /* of a file */
    uint64_t size_bytes;
    bool read_write, direct, failed, unsynced;
    uint32_t sessions;
    uint32_t in_flight;
    uint32_t granule_bytes;   /* the smallest sector size that the caching mode permits */
    enum blkd_lock_mode lock; /* the strongest that is held */
    enum blkd_discard_method discard;
    uint64_t generation;
    const char *io_policy; /* how the daemon reads and writes, for experts */
    struct blkd_counters counters;
    struct blkd_sync_state sync;
    uint32_t locks; /* held */
    uint32_t lock_waiters;
};

/* What the path of a session is worth. */
enum blkd_path_kind {
    BLKD_PATH_UNKNOWN = 0, /* only told to administrators */
    /* What the program calls its descriptor: it may lead elsewhere from here, or nowhere. */
    BLKD_PATH_LABEL = 1,
    BLKD_PATH_VERIFIED = 2, /* when the session began, it led the daemon to the same file */
};

struct blkd_session_entry {
    uint64_t session_number;
    uint64_t connection_number;
    uint64_t device_number;
    const char *path; /* by which this session opened the device */
    uint32_t pid, uid, gid;
    const char *command;
    const char *client_name;
    bool read_write, direct;
    enum blkd_sync sync;
    enum blkd_lock_mode lock; /* the strongest that it holds */
    uint32_t sector_size;
    uint32_t in_flight;
    uint64_t opened_unix_ms;
    struct blkd_counters counters;
    const char *purpose;
    uint64_t unsynced_changes;       /* acknowledged, but maybe not on stable storage */
    uint64_t unsynced_since_unix_ms; /* 0: there are none */
    bool lock_lost;                  /* see blkd_info.lock_lost */
    bool ring;                       /* its connection has rings */
    uint64_t arena_bytes; /* memory that the daemon shares with its connection, without the rings */
    enum blkd_path_kind path_kind;
};

struct blkd_device_list {
    size_t count;
    const struct blkd_device_entry *const *entries; /* so many pointers */
};

struct blkd_session_list {
    size_t count;
    const struct blkd_session_entry *const *entries; /* so many pointers */
};

/*
 * Lists all devices that the daemon has open.
 *
 *   ret_list   the caller frees it, with everything it points to, with blkd_device_list_free
 *
 * Blocks for one round trip or, for a long list, several.
 */
BLKD_API int blkd_list_devices(struct blkd *connection, struct blkd_device_list **ret_list);

/* Frees a list of devices. NULL is allowed. */
BLKD_API void blkd_device_list_free(struct blkd_device_list *list);

/*
 * Lists the sessions of one device or of all.
 *
 *   device_number   0: of all devices
 *   ret_list        the caller frees it with blkd_session_list_free
 *
 * Blocks as blkd_list_devices does. A device that is not open has no sessions: that is no error.
 */
BLKD_API int blkd_list_sessions(struct blkd *connection, uint64_t device_number,
                                struct blkd_session_list **ret_list);

/* Frees a list of sessions. NULL is allowed. */
BLKD_API void blkd_session_list_free(struct blkd_session_list *list);

/* A lock that is held or waited for, or both while a shared lock waits for its upgrade. */
struct blkd_lock_entry {
    uint64_t lock_number;
    uint64_t device_number;
    uint64_t session_number;
    const char *path;
    enum blkd_lock_mode mode;   /* held; BLKD_LOCK_NONE: nothing yet */
    enum blkd_lock_mode wanted; /* waited for; BLKD_LOCK_NONE: nothing */
    uint32_t position;          /* in the queue of its device, counting from 1; 0: not in it */
    uint64_t offset_bytes;
    uint64_t length_bytes; /* 0: the whole device */
    bool isolate;
    bool waits_outside;     /* for a program that does not use blkd */
    uint64_t token;         /* the fencing token of an exclusive lock */
    uint64_t since_unix_ms; /* when it was granted or, while it waits, asked for */
    const char *purpose;
    uint32_t pid, uid;
    const char *command;
};

struct blkd_lock_list {
    size_t count;
    const struct blkd_lock_entry *const *entries; /* so many pointers */
};

/*
 * Lists the locks of one device or of all, held and waited for.
 *
 *   device_number   0: of all devices
 *   ret_list        the caller frees it with blkd_lock_list_free
 *
 * Callers other than administrators see only the locks of devices that their user has open. Blocks
 * as blkd_list_devices does.
 */
BLKD_API int blkd_list_locks(struct blkd *connection, uint64_t device_number,
                             struct blkd_lock_list **ret_list);

/* Frees a list of locks. NULL is allowed. */
BLKD_API void blkd_lock_list_free(struct blkd_lock_list *list);

enum blkd_holder_kind {
    BLKD_HOLDER_UNKNOWN = 0,
    BLKD_HOLDER_SESSION = 1,     /* a session of this daemon */
    BLKD_HOLDER_FLOCK = 2,       /* flock(2) */
    BLKD_HOLDER_RECORD_LOCK = 3, /* fcntl(2): traditional, or open file description locks (QEMU) */
    BLKD_HOLDER_MOUNT = 4,
    BLKD_HOLDER_SWAP = 5,
    BLKD_HOLDER_KERNEL = 6, /* a device built on it (device mapper, md), or an exclusive open */
    BLKD_HOLDER_LOOP = 7,   /* a loop device that is attached to it */
    BLKD_HOLDER_LEASE = 8,  /* fcntl(2), F_SETLEASE */
};

struct blkd_holder {
    enum blkd_holder_kind kind;
    bool exclusive;
    bool via;        /* holds a device that shares bytes with it (partition, disk, loop device) */
    bool read_write; /* of a session */
    bool waiting;    /* does not hold it yet, but waits for it */
    uint32_t pid;    /* 0: unknown, or the kernel */
    uint32_t uid;
    const char *command;
    const char *detail; /* mount point, device or range of a lock; of a session: its path */
    uint64_t session_number;
    const char *purpose;      /* of a session */
    enum blkd_lock_mode lock; /* of a session: that it holds, or waits for if `waiting` */
    uint64_t since_unix_ms;   /* of a session: its lock or, without one, its open */
};

/* Who uses a device, and whether its data is on stable storage. */
struct blkd_holders {
    size_t count;
    const struct blkd_holder *const *entries; /* so many pointers */
    bool more;                                /* there are more holders than the daemon lists */
    uint64_t device_number;                   /* 0: this daemon does not have it open */
    bool failed;                              /* FAILED (S5) */
    bool safe; /* not FAILED, and everything written through this daemon is on stable storage */
};

/*
 * Lists who uses a file or block device: sessions of blkd, and other programs and the kernel as far
 * as /proc and /sys show them (L4).
 *
 *   path          a relative path starts at the working directory
 *   ret_holders   the caller frees it, with everything it points to, with blkd_who_free
 *
 * Administrators need no right to read the file, and it is not opened; for others it is opened as
 * by blkd_open, read-only. Blocks until the daemon has searched /proc and /sys.
 *
 *   -ENOENT, -EACCES, ...   as open(2)
 *   -ENOTBLK                the path is neither a regular file nor a block device
 *   -ENAMETOOLONG           the path is longer than 4095 bytes
 */
BLKD_API int blkd_who(struct blkd *connection, const char *path, struct blkd_holders **ret_holders);

/* Frees a list of holders. NULL is allowed. */
BLKD_API void blkd_who_free(struct blkd_holders *holders);

/*
 * Starts or stops reports of what happens to devices, as BLKD_EVENT_HAPPENING.
 *
 *   on   true: start; false: stop
 *
 * Administrators get reports about all devices, others about those that this connection has open.
 * Set an event callback first (blkd_set_event_callback). Blocks for a round trip.
 *
 *   -EDQUOT   the user watches on too many connections
 */
BLKD_API int blkd_watch(struct blkd *connection, bool on);

/* ---- administration ---- */

/* These functions are for administrators; other callers get -EPERM. */

/*
 * Breaks the locks of one session or of all sessions of a device (L6).
 *
 *   device_number    of the device, as in lists
 *   session_number   0: of all sessions
 *   wait_ms          how long to wait until the locks are released, in milliseconds; 0 or
 *                    BLKD_WAIT_FOREVER: no limit
 *   ret_broken       how many locks were broken; may be 0. May be NULL.
 *
 * From the beginning, changes by those who held the locks fail with -ESTALE. The locks are released
 * when the I/O that is in flight on the device has ended; then their sessions get
 * BLKD_EVENT_LOCK_LOST. Blocks until then.
 *
 *   -ENODEV      no such device is open
 *   -ETIMEDOUT   I/O was still in flight after wait_ms. The locks are released later all the same.
 *   -EINVAL      device_number is 0, or wait_ms is invalid
 *   -EPERM       the caller is not an administrator
 */
BLKD_API int blkd_break_lock(struct blkd *connection, uint64_t device_number,
                             uint64_t session_number, int wait_ms, uint32_t *ret_broken);

/*
 * Evicts a session: closes it on behalf of its client, which gets BLKD_EVENT_EVICTED.
 *
 *   session_number   as in lists
 *
 * Blocks until the I/O of the session has ended and its locks are released.
 *
 *   -ENOENT   there is no such session
 *   -EINVAL   session_number is 0
 *   -EPERM    the caller is not an administrator
 */
BLKD_API int blkd_evict(struct blkd *connection, uint64_t session_number);

/* From what a device was recovered. */
struct blkd_recovery {
    int failed;              /* the negative errno of the sync that failed */
    uint64_t failed_unix_ms; /* when */
    uint64_t generation;     /* the generation that begins */
    uint64_t reserved[4];
};

/*
 * Makes a FAILED device usable again (S5).
 *
 *   path            of the device, opened as by blkd_open. NULL: use device_number.
 *   device_number   of the device, as in lists. 0: use path.
 *   ret_recovery    may be NULL
 *
 * What the failed sync lost stays lost: check the contents of the device before you rely on them.
 * No session may have the device open. Blocks as blkd_open does.
 *
 *   -EBUSY      a session has the device open, or it is mounted or otherwise in use
 *   -ENODEV     there is no such device
 *   -EALREADY   the device is not FAILED
 *   -EAGAIN     the failure is still being recorded: try again
 *   -EINVAL     neither path nor device_number, or both
 *   -EPERM      the caller is not an administrator
 *   and those of opening the device (blkd_open), and of updating the state directory
 */
BLKD_API int blkd_recover(struct blkd *connection, const char *path, uint64_t device_number,
                          struct blkd_recovery *ret_recovery);

/* ---- helpers ---- */

/*
 * These work on a descriptor of the caller, without a daemon. They block as long as the file does,
 * and go on after signals (EINTR).
 */

/*
 * Reads exactly length_bytes from a descriptor. After a failure the contents of the buffer are
 * undefined.
 *
 *   -ENODATA   the file ended before
 *   or an error of read(2)
 */
BLKD_API int blkd_really_read(int fd, void *buffer, size_t length_bytes);

/*
 * Writes exactly length_bytes to a descriptor. After a failure a part may have been written.
 *
 *   -EIO   the file accepts no more bytes
 *   or an error of write(2)
 */
BLKD_API int blkd_really_write(int fd, const void *buffer, size_t length_bytes);

/*
 * Returns the size of a block device or regular file.
 *
 *   path             only for the error message; may be NULL
 *   fd               a descriptor of it
 *   ret_size_bytes   the size in bytes
 *
 *   -ENOTBLK   it is neither a block device nor a regular file
 *   or an error of fstat(2) or ioctl(2)
 */
BLKD_API int blkd_blkgetsize(const char *path, int fd, uint64_t *ret_size_bytes);

/*
 * Changes the size of a file.
 *
 *   size_bytes   the new size in bytes
 *
 *   -EFBIG   size_bytes is more than 2^63 - 1
 *   or an error of ftruncate(2)
 */
BLKD_API int blkd_ftruncate(int fd, uint64_t size_bytes);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Every bound that blkd keeps, with its reason. Those that an administrator may change in the
 * configuration file are the defaults of daemon/config.h.
 */
#ifndef BLKD_COMMON_LIMITS_H
#define BLKD_COMMON_LIMITS_H

enum {
    PROTOCOL_VERSION = 1,

    /* Sector sizes: the smallest that a block device can have, and the kernel's largest logical
       block. */
    SECTOR_SIZE_MIN = 512,
    SECTOR_SIZE_MAX = 65536,

    /* Frames. A path and its framing fit in a header many times over. */
    FRAME_PREFIX_BYTES = 8,
    FRAME_HEADER_MAX = 64 * 1024,
    IO_BYTES_MAX = 1024 * 1024,

    /* A decoded message may take DECODE_FACTOR times its frame's header and DECODE_EXTRA besides.
       Replies come from the daemon, and a list's entry with small numbers takes 6 times its bytes.
     */
    DECODE_FACTOR = 4,
    DECODE_REPLY_FACTOR = 16,
    DECODE_EXTRA = 4096,

    /* Path length with its NUL; the kernel's PATH_MAX. */
    PATH_BYTES_MAX = 4096,
    CLIENT_NAME_MAX = 64,

    /* Per connection. */
    CONN_REQUESTS_MAX = 1024,
    CONN_SESSIONS_MAX = 256,
    CONN_BUFFERED_MAX =
        4 * 1024 * 1024, /* payload in flight and replies unsent: then it is not read */
    CONN_EVENTS_UNSENT_MAX =
        64 * 1024, /* beyond, events wait, and coalesce, until the client reads */
    CONN_HELLO_MS = 5000,
    CONN_FRAME_MS = 5000,
    CONN_UNREAD_MS = 30000,

    /* Per uid and for all. */
    CONNECTIONS_MAX = 16384,
    CONNECTIONS_PER_UID_MAX = 12288,
    SESSIONS_PER_UID_MAX = 16384,
    /* Locks held and waited for; one takes about 2 KiB, and some of what a session asks looks at
       all of its own. */
    LOCKS_PER_UID_MAX = 16384,
    LOCKS_PER_SESSION_MAX = 1024,
    WATCHERS_PER_UID_MAX = 256, /* each is told of everything that happens, by whomever */

    /* What waits for a watcher that does not read. */
    WATCH_ENTRIES_MAX = 256,
    WATCH_BYTES_MAX = 128 * 1024,

    /* How often a lock request that waits for a program outside blkd looks again. */
    LOCK_RETRY_MIN_MS = 50,
    LOCK_RETRY_MAX_MS = 250,

    PURPOSE_MAX = 64,

    /* Verbs that can block for ever, in flight at once. A thread that waits costs little; what
       hangs is often a server with many images of one user. */
    HELPER_THREADS_MAX = 512,
    HELPER_PER_DEVICE = 2,
    HELPER_PER_CONNECTION = 2,
    HELPER_PER_UID = 128,
    /* Descriptors of a user that wait to be closed, which takes as long as what they are on likes:
       beyond, no connection and no descriptor of that user is taken. */
    CLOSING_PER_UID_MAX = 512,
    HELPER_IDLE_MS = 10000,

    /* How often the size of what is open is looked at, and how many such looks, which may hang, a
       user's devices have in flight. */
    LOOK_INTERVAL_MS = 1000,
    HELPER_LOOKS_PER_UID = 32,

    /* The engine of threads. A device's share leaves room for the others when it hangs. */
    ENGINE_THREADS_MAX = 512,
    ENGINE_PER_DEVICE = 8,

    /* A device with this many reads waiting in the engine gets no more inline attempts: each
       attempt that misses the cache starts read-ahead, and a full request queue would block the
       worker. */
    INLINE_MISSES_MAX = 16,

    /* SIGTERM: how long requests in flight are waited for. */
    DRAIN_MS = 10000,

    /* The shared memory of the ring tier. Arenas: what a client's transfers of a moment need, and
       what a uid may make the daemon allocate: that many MiB, or a quarter of the machine's memory
       if that is less. Their number bounds a search. */
    RING_ENTRIES_DEFAULT = 256, /* that the library asks for */
    ARENAS_PER_CONNECTION = 64,
    ARENA_MIB_PER_CONNECTION = 256,
    ARENA_MIB_PER_UID = 4096,
    /* Each piece of shared memory, however small, takes a descriptor and a mapping of the daemon's,
       and there are 65536 of each (systemd/blkd.service, vm.max_map_count). */
    PIECES_PER_UID_MAX = 8192,

    /* The memory of a connection that has ended stays for so long at most, so that a client that
       works on something else can still move what it has in it. It counts toward its uid until
       then. */
    PARTING_MS = 10000,

    /* A larger arena is not registered with io_uring: pinning its pages would keep the worker from
       everybody for more than 2 ms or so. */
    ARENA_REGISTER_MAX = 64 * 1024 * 1024,

    BUSY_POLL_US_DEFAULT = 100,
    BUSY_POLL_US_MAX = 1000,

    WORKERS_MAX = 64,
};

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Where a device's bytes are. `posix` (files and block devices) is the backend there is; nothing
 * above this line assumes a file descriptor.
 *
 * Bounds, locks and the sync ledger are settled before an io comes here. An io is submitted and
 * completed on its own loop, never blocks it, and ends exactly once by on_done: with 0, its whole
 * length transferred, or with a negative errno.
 */
#ifndef BLKD_DAEMON_STORAGE_BACKEND_H
#define BLKD_DAEMON_STORAGE_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "daemon/base/helper.h"
#include "daemon/base/loop.h"
#include "daemon/engine/engine.h"

struct backend;

/* The loop on which an io begins and ends, with the engine of the same thread. */
struct io_loop {
    struct loop base;
    struct engine *engine; /* the thread's own */
};

/* How far the outside world is kept out of a device: from no other program at all to all of them.
 */
enum guard_mode {
    GUARD_NONE,
    GUARD_SHARED,    /* others may lock it shared */
    GUARD_EXCLUSIVE, /* nobody else may lock, claim or mount it */
};

enum io_op {
    IO_READ,
    IO_WRITE,
    IO_ZERO,    /* the range reads as zeroes afterwards; space may be given back */
    IO_DISCARD, /* the same, asked for to give back space */
    IO_SYNC,    /* everything that has ended is on stable storage */
    IO_RESIZE,  /* to `value` bytes */
    IO_SEEK, /* from offset_bytes to the next mapped or unmapped sector, which `value` then tells */
    IO_GUARD, /* keep the outside world out as guard_mode says; `value` is the mode that it is kept
                 out in afterwards, also when it fails */
    IO_DROP, /* the cache forgets what it has of the device: reads fetch it anew; -EBUSY: it did not
              */
    IO_REFRESH, /* the caches of block devices that share bytes with it, open or not, are written
                   back and dropped, and its own is dropped, where it is clean */
    IO_LOOK,    /* `value` is how large the device is now, in bytes, whole sectors or not */
};

/* What stands in the way, where one errno has several causes. Numbers as on the wire
 * (Blkd__Reason).
 */
enum refusal {
    REFUSAL_NONE = 0,
    REFUSAL_LOCKED_SESSION = 1,
    REFUSAL_LOCKED_OUTSIDE = 2,
    REFUSAL_MOUNTED = 3,
    REFUSAL_SWAP = 4,
    REFUSAL_RELATED = 5,
    REFUSAL_CLAIMED = 6,
    REFUSAL_ISOLATED = 7,
    REFUSAL_OPEN = 8,
    REFUSAL_FAILED = 9,
    REFUSAL_STALE = 10,
    REFUSAL_NO_RULE = 11,
};

struct io {
    enum io_op op;
    bool fua; /* IO_WRITE, IO_ZERO: on stable storage before on_done */
    /* Set when an io with fua fails: the sync that was to make it stable failed, or may have. Other
     * changes that wait for a sync may be lost then, too. */
    bool sync_failed;
    uint64_t offset_bytes;
    uint64_t length_bytes;
    bool borrowed; /* IO_WRITE: backend_writes_inline has said that `data` need not last */
    uint8_t *data; /* IO_READ, IO_WRITE; aligned to a page where the backend is direct */
    const struct engine_memory *memory; /* that `data` lies in; or NULL */
    uint64_t value;
    uint64_t size_bytes;        /* IO_SEEK: where the device ends */
    uint32_t sector_size;       /* IO_SEEK */
    bool unmapped;              /* IO_SEEK */
    enum guard_mode guard_mode; /* IO_GUARD */
    char *message; /* IO_GUARD, IO_DROP: BACKEND_MESSAGE_MAX bytes for the reason of a failure; or
                      NULL */
    enum refusal refusal; /* IO_GUARD: of a failure */
    struct io_loop *loop;
    struct helper_share *user_share; /* of who asked: bounds what one uid can occupy; may be NULL */
    void (*on_done)(struct io *io, int result);

    /* The backend's own. */
    struct backend *backend;
    struct engine_io engine_io;
    struct iovec vector;
    uint64_t done_bytes;
    struct helper_job job;
    int result;
    int fault_error; /* IO_SYNC: what engine_verb_fault has said */
    uint64_t fault_delay_us;
};

enum device_kind {
    DEVICE_FILE = 1,
    DEVICE_BLOCK = 2,
};

/* Numbers as on the wire (Blkd__DiscardMethod). */
enum discard_method {
    DISCARD_PUNCH_HOLE = 1,
    DISCARD_ZERO_RANGE = 2,
    DISCARD_WRITE = 3,
};

/* Two opens reach one device if and only if their identities are equal. No padding: it is a hash
 * key. */
struct device_identity {
    uint64_t kind;  /* enum device_kind */
    uint64_t dev;   /* st_rdev of a block device, st_dev of a file */
    uint64_t inode; /* 0 for a block device */
};

enum { BACKEND_KEY_MAX = 192 };

/* Names a device across restarts so that no other is meant by it (contract L8); letters, digits and
 * "._:-" only. Files: the file system's UUID, the inode, its birth time or generation. Block
 * devices: the serial or WWN (with number and place of a partition), else disk sequence number and
 * boot id. */
struct backend_key {
    char
        text[BACKEND_KEY_MAX]; /* empty: the device cannot be named so, and nothing is remembered */
};

/* What lies where a file is, so that a copy of its file system, which has the same key, can be told
 * from it: "MAJOR:MINOR KEY", the number of the block device below the file system and the key of
 * that, or of the file that the device is a loop device of. Empty: unknown. */
struct backend_place {
    char text[BACKEND_KEY_MAX + 32];
};

struct backend_open {
    const char *path; /* what to open; with a descriptor, a name for messages */
    int fd;           /* -1, or a peer's descriptor: never used itself, only reopened */
    bool direct;
    bool read_only_asked;
    bool read_write_asked;
    enum refusal *ret_refusal; /* of a failure; may be NULL */
};

enum { BACKEND_RELATED_MAX = 64 };

struct backend_info {
    struct device_identity identity;
    struct backend_key key; /* how it is remembered across restarts */
    struct backend_place place;
    /* What shares bytes with it: a partition's disk, a loop device's file, up and down. */
    struct device_identity related[BACKEND_RELATED_MAX];
    size_t related_count;
    bool volatile_storage; /* a power cut loses it, whatever is synced: tmpfs, a RAM disk */
    enum device_kind kind;
    uint64_t size_bytes;
    bool read_write;
    bool direct;            /* as asked for, where the file system can */
    uint32_t granule_bytes; /* no smaller piece can be addressed */
};

struct backend_ops {
    void (*submit)(struct backend *backend, struct io *io);
    bool (*writes_inline)(const struct backend *backend);
    enum discard_method (*discard_method)(const struct backend *backend);
    const char *(*policy)(const struct backend *backend);
    void (*pin)(struct backend *backend, struct engine *engine);
    void (*unpin)(struct backend *backend, struct engine *engine);
    int (*adopt)(struct backend *backend, struct backend *donor);
    void (*close)(struct backend *backend);
};

struct backend {
    const struct backend_ops *ops;
    struct helper_share share; /* verbs that can block, in flight for this device */
};

enum { BACKEND_MESSAGE_MAX = 512 };

/*
 * Opens files and block devices. Read/write, unless read_only_asked; where that is not possible or
 * the device is in use outside, read-only, unless read_write_asked. Runs on a helper thread and may
 * block for as long as the file system does. Returns 0, or a negative errno with the reason in
 * message.
 */
int backend_posix_open(const struct backend_open *open, struct backend **ret_backend,
                       struct backend_info *ret_info, char message[BACKEND_MESSAGE_MAX]);

static inline void backend_submit(struct backend *backend, struct io *io)
{
    io->backend = backend;
    backend->ops->submit(backend, io);
}

/* Whether a write that is submitted now ends before backend_submit returns, so that its data may be
 * borrowed. */
static inline bool backend_writes_inline(const struct backend *backend)
{
    return backend->ops->writes_inline(backend);
}

static inline enum discard_method backend_discard_method(const struct backend *backend)
{
    return backend->ops->discard_method(backend);
}

/* How reads and writes reach the device, as "inline/engine"; static memory. */
static inline const char *backend_policy(const struct backend *backend)
{
    return backend->ops->policy(backend);
}

/*
 * Called on the thread of each engine that does I/O for the device, after IO_GUARD has succeeded:
 * what keeps the outside world out stays in place until the engine's last transfer has landed, also
 * when the process is killed (contract R3). Replaces what was pinned before. Does not block.
 */
static inline void backend_pin(struct backend *backend, struct engine *engine)
{
    backend->ops->pin(backend, engine);
}

/* The engine keeps the guard no longer: called on each such thread before an IO_GUARD to a weaker
 * mode, and before backend_close. Without a pin it does nothing. */
static inline void backend_unpin(struct backend *backend, struct engine *engine)
{
    backend->ops->unpin(backend, engine);
}

/* A read-only backend becomes read/write with the descriptors of `donor`, the same device opened
 * read/write, which is left to be closed. Does not block. 0, or a negative errno with nothing
 * changed. Callers see to it that two adoptions do not run at once.
 */
static inline int backend_adopt(struct backend *backend, struct backend *donor)
{
    return backend->ops->adopt(backend, donor);
}

/* On a helper thread: closes and frees. Nothing may be in flight. */
static inline void backend_close(struct backend *backend)
{
    backend->ops->close(backend);
}

#endif

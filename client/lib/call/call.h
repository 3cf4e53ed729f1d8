/* SPDX-License-Identifier: MIT */
/*
 * One operation of the user, from submission to result. A call goes to the daemon as one request,
 * or as several that are in flight together when a transfer is larger than one request may be
 * (request.h). Somebody waits for it, or its callback runs in blkd_dispatch, or nobody cares.
 *
 * The life of a call: call_begin -> call_run -> [backlog] -> parts in flight -> CALL_DONE -> back
 * in the pool. All of it under the connection's mutex, but for callbacks and retries.
 */
#ifndef BLKD_CLIENT_LIB_CALL_CALL_H
#define BLKD_CLIENT_LIB_CALL_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/blkd.h"
#include "client/lib/base/cursor.h"
#include "common/ring.h"
#include "proto/blkd.pb-c.h"

struct call;
struct request;
struct waiter;

/* How the caller hears of the result. */
struct call_mode {
    bool waits;
    blkd_callback *callback; /* if it does not wait; NULL only for closing */
    void *user_data;
};

#define CALL_WAITS ((struct call_mode){.waits = true})
#define CALL_BACK(callback_, user_data_)                                                           \
    ((struct call_mode){.callback = (callback_), .user_data = (user_data_)})

/* Room for any operation's message while it is packed. */
union call_body {
    Blkd__Hello hello;
    Blkd__Ping ping;
    struct {
        Blkd__Open open;
        Blkd__Config config;
    } open;
    Blkd__Close close;
    Blkd__GetInfo get_info;
    Blkd__GetConfig get_config;
    Blkd__Read read;
    Blkd__Write write;
    Blkd__Flush flush;
    Blkd__Discard discard;
    Blkd__WriteZeroes write_zeroes;
    Blkd__Resize resize;
    Blkd__Seek seek;
    Blkd__ListDevices list_devices;
    Blkd__ListSessions list_sessions;
    Blkd__Lock lock;
    Blkd__Unlock unlock;
    Blkd__ListLocks list_locks;
    Blkd__Who who;
    Blkd__Watch watch;
    Blkd__BreakLock break_lock;
    Blkd__Evict evict;
    Blkd__Recover recover;
    Blkd__SetupRing setup_ring;
    Blkd__AddArena add_arena;
    Blkd__RemoveArena remove_arena;
};

enum call_payload {
    CALL_PAYLOAD_NONE,
    CALL_PAYLOAD_OUT, /* the request carries the buffers */
    CALL_PAYLOAD_IN,  /* the reply fills them */
};

/* What differs between operations. */
struct operation {
    enum call_payload payload;
    enum ring_operation ring; /* 0: always goes through the socket */
    /* Fills in the message of one part; everything it points to outlives the packing. */
    void (*build)(const struct call *call, const struct request *part, Blkd__Request *message,
                  union call_body *body);
    /* Takes the results out of a reply that reports success; NULL: there are none. Returns 0, or a
     * negative errno that becomes the result. */
    int (*on_reply)(struct call *call, const Blkd__Reply *reply);
    /* "read of 512 bytes at sector 3 (offset 1536) of /srv/a.img" */
    void (*describe)(const struct call *call, char *text, size_t size);
    /* The last thing done with the call under the mutex before it is CALL_DONE; may be NULL. */
    void (*on_done)(struct call *call);
    /* Runs without the mutex, on the thread that is about to hand over the result. True: the call
     * has been changed and is to be submitted again. May be NULL. */
    bool (*retry)(struct call *call);
};

enum call_state {
    CALL_NEW,
    CALL_ACTIVE,
    CALL_DONE,
};

enum { CALL_IOV_INLINE = 4, CALL_POOL_MAX = 1024 };

struct call {
    TAILQ_ENTRY(call) link;         /* in `active`, `done` or the pool */
    TAILQ_ENTRY(call) backlog_link; /* while in_backlog */
    struct blkd *connection;
    struct blkd_device *device; /* NULL: about the connection */
    const struct operation *operation;
    struct call_mode mode;
    struct waiter *waiter; /* who sleeps until the call is done */
    enum call_state state;
    bool in_backlog; /* has parts that are not in flight yet */
    bool by_ring;    /* chosen once, when it is submitted */
    bool started;
    bool empty; /* a transfer of nothing: succeeds without a request */
    uint32_t parts_in_flight;
    int result;
    uint64_t failed_offset_bytes; /* of the part that `result` is from */
    char *message;                /* with a negative result; may be NULL when memory is short */
    void *ret;                    /* the caller's out-parameter */
    uint64_t device_number;       /* what is asked about it, or done to it, by its number */
    uint64_t session_number;
    char *text; /* a path or a purpose that the request carries; may be NULL */

    /* A lock. */
    enum blkd_lock_mode lock_mode;
    uint32_t wait_ms;
    bool isolate;
    bool parked; /* waits for others than the daemon: closing the device ends it */

    /* A range of the device. */
    uint64_t offset_bytes;
    uint64_t length_bytes;
    uint64_t started_bytes; /* of a transfer: what has gone into parts */
    unsigned int flags;
    struct cursor cursor; /* the buffers from started_bytes on */
    struct iovec *iov_copy;
    struct iovec iov_inline[CALL_IOV_INLINE];

    /* Opening a device, or asking about a path. */
    struct blkd_device *opening;
    int fd;          /* to be passed; -1: none, or passed already */
    bool descriptor; /* the request passes one */
};

TAILQ_HEAD(call_list, call);

/* A connection's calls. */
struct call_table {
    struct call_list active;       /* submitted, not done */
    struct call_list backlog;      /* those of them with parts that are not in flight yet */
    struct call_list ring_backlog; /* the same of those that go by ring */
    struct call_list done;         /* for blkd_dispatch */
    struct call_list pool;
    uint32_t pooled;
};

void call_table_init(struct call_table *table);
/* Whether calls have parts that are not in flight yet. */
bool call_table_waits(const struct call_table *table);
void call_table_deinit(struct call_table *table);

/* Whether a call may start at all, before anything is locked: 0, -ENOTCONN in a forked child,
 * -EDEADLK for a waiting one inside a callback, -EINVAL without a callback where there must be one.
 */
int call_check(const struct blkd *connection, struct call_mode mode);

/* Makes a call for an operation. Returns 0 with the connection's mutex held until call_run or
 * call_abandon, or, not held, what call_check returns, -ENOTCONN, -EBADF (device being closed),
 * -ENOMEM. */
int call_begin(struct blkd *connection, struct blkd_device *device,
               const struct operation *operation, struct call_mode mode, struct call **ret_call);

/* Submits the call and, if its mode says so, waits for it: then returns its result. */
int call_run(struct call *call);

/* Gives up a call that was begun but not run; returns `error`. */
int call_abandon(struct call *call, int error);

/* ---- with the mutex held ---- */

/* An unused call outside the table, for one that must not fail later. NULL: no memory. */
struct call *call_new(struct blkd *connection);
/* Frees what the call owns and puts it into the pool. */
void call_release(struct call *call);

/* Puts a call among the active ones; on a lost connection it fails at once. Sends nothing yet. */
void call_submit(struct call *call);

/* A part failed; `detail` is the daemon's words or NULL. No further parts will start. */
void call_part_failed(struct call *call, uint64_t offset_bytes, int error, const char *detail);
/* A part came to its end, well or not; the last one's end is that of the call. */
void call_part_ended(struct call *call);
/* A part is in flight now. Calls with several take turns, so that a huge transfer does not hold up
 * what comes after. */
void call_part_started(struct call *call, bool more);

/* Sets result and message of a call that fails before it is done. */
void call_set_failure(struct call *call, int error, const char *detail);

/* Ends every active call with -ENOTCONN: the connection is lost. */
void call_fail_all(struct call_table *table);

/* Copies the call's message to the calling thread's if it failed. */
void call_tell_message(const struct call *call);

#endif

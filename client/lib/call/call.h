/* SPDX-License-Identifier: MIT */
/*
 * One operation of the user, from submission to result. A call goes to the daemon as one request,
 * or as several that are in flight together when a transfer is larger than one request may be
 * (request.h). Somebody waits for it, or a callback is told of it, or nobody cares.
 *
 * The life of a call: call_new -> call_submit -> [backlog] -> parts in flight -> CALL_DONE -> its
 * owner -> call_release. All of it under the connection's mutex, except where an operation says
 * otherwise (retry).
 *
 * Who sends calls takes the first of a backlog and tells of its parts: call_part_started, then
 * call_part_failed if it fails, then call_part_ended.
 */
#ifndef BLKD_CLIENT_LIB_CALL_CALL_H
#define BLKD_CLIENT_LIB_CALL_CALL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/blkd.h"
#include "client/lib/base/cursor.h"
#include "client/lib/base/trace.h"
#include "client/lib/call/operation.h"
#include "client/lib/call/session.h"

struct call_table;

enum {
    CALL_BUFFERS_FEW = 4,
    CALL_POOL_MAX = 1024,
    CALL_REASON_MAX = 512,
};

/* How the caller hears of the result. */
struct call_mode {
    bool waits;
    blkd_callback *callback; /* if it does not wait; NULL: nobody hears of it */
    void *user_data;
};

#define CALL_WAITS ((struct call_mode){.waits = true})
#define CALL_BACK(callback_, user_data_)                                                           \
    ((struct call_mode){.callback = (callback_), .user_data = (user_data_)})

/* Of the device. */
struct call_range {
    uint64_t offset_bytes;
    uint64_t length_bytes;
    unsigned int flags;
    bool empty; /* nothing to do: succeeds without a request */
};

/* What else the user asks for, and where the answer goes. A verb fills in what its own operation
 * reads. */
struct call_asked {
    uint64_t device_number;
    uint64_t session_number;
    enum blkd_lock_mode lock_mode;
    uint32_t wait_ms;
    bool isolate;
    bool parked;   /* waits for others than the daemon: closing the device ends it */
    char *text;    /* a path or a purpose; the call's to free. May be NULL */
    void *ret;     /* the caller's out-parameter */
    void *context; /* the operation's own: freed by its `release` */
};

/* A descriptor that goes with the request. */
struct call_passing {
    int fd;     /* -1: none, or sent already. Closed with the call */
    bool asked; /* the request says that one comes */
};

/* The list of the user's buffers, for a call that outlives the function that made it. */
struct call_buffers {
    struct iovec *copy; /* NULL: the caller's list is used; else `few` or allocated */
    struct iovec few[CALL_BUFFERS_FEW];
};

enum call_state {
    CALL_NEW,
    CALL_ACTIVE,
    CALL_DONE,
};

struct call_progress {
    enum call_state state;
    bool by_ring;    /* chosen before it is submitted */
    bool in_backlog; /* has parts that are not in flight yet */
    uint32_t parts_in_flight;
    uint64_t started_bytes; /* of a transfer: what has gone into parts */
    struct cursor cursor;   /* the buffers from started_bytes on */
};

struct call_result {
    int error;                    /* 0 or a negative errno */
    uint64_t failed_offset_bytes; /* of the part that it is from */
    char *message;                /* with an error; may be NULL when memory is short */
    enum blkd_reason reason;      /* with an error that the daemon told */
};

struct call {
    TAILQ_ENTRY(call) link;         /* in `active`, the pool, or a list of the owner's when done */
    TAILQ_ENTRY(call) backlog_link; /* while in_backlog */
    struct call_table *table;
    struct session *session; /* NULL: about the connection */
    const struct operation *operation;
    struct call_mode mode;
    pthread_cond_t *waiter; /* of a thread that sleeps until the call is done; the owner's */
    struct call_range range;
    struct call_asked asked;
    struct call_passing passing;
    struct call_progress progress;
    struct call_result result;
    struct call_buffers buffers;
    struct trace trace;
};

TAILQ_HEAD(call_list, call);

/* Who has the calls, as they see it. With the mutex held. */
struct call_owner {
    /* The call has its result and is in no list: the owner hands it over and releases it. */
    void (*on_done)(struct call_table *table, struct call *call);
    /* The connection has just become of no use: whoever moves calls stops doing so, and
     * call_fail_all ends them. */
    void (*on_lost)(struct call_table *table);
};

/* A connection's calls. Under its mutex. */
struct call_table {
    const struct call_owner *owner;
    struct call_list active;       /* submitted, not done */
    struct call_list backlog;      /* those of them with parts that are not in flight yet */
    struct call_list ring_backlog; /* the same of those that go by ring */
    struct call_list pool;
    uint32_t pooled;
    bool lost; /* the connection is, once and for good: no call is active any more */
    char lost_reason[CALL_REASON_MAX];
};

void call_table_init(struct call_table *table, const struct call_owner *owner);
void call_table_deinit(struct call_table *table);

/* Whether calls have parts that are not in flight yet. */
bool call_table_waits(const struct call_table *table);

/* The connection is of no more use; the reason is for a person. Every active call ends with
 * -ENOTCONN. Only by the thread that reads, or while nobody reads: a call that ends gives up
 * buffers that a reader may be filling. */
void call_table_lose(struct call_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Ends every active call with -ENOTCONN. */
void call_fail_all(struct call_table *table);

/* An unused call that is not active yet. NULL: no memory. */
struct call *call_new(struct call_table *table);
/* Frees what the call owns and puts it into the pool. */
void call_release(struct call *call);

/* Puts a call among the active ones; on a lost connection it fails at once. Sends nothing. */
void call_submit(struct call *call);
/* The same for a call that fails before it could be sent. */
void call_refuse(struct call *call, int error, const char *detail);

/* A part is in flight now. Calls with several take turns, so that a huge transfer does not hold up
 * what comes after. */
void call_part_started(struct call *call, bool more);
/* A part failed; `detail` is the daemon's words or NULL. No further parts will start. */
void call_part_failed(struct call *call, uint64_t offset_bytes, int error, const char *detail);
/* The same with the daemon's reason. */
void call_part_refused(struct call *call, uint64_t offset_bytes, int error, const char *detail,
                       uint32_t reason);
/* A part came to its end, well or not; the last one's end is that of the call. */
void call_part_ended(struct call *call);

/* Sets result and message of a call that fails before it is done. */
void call_set_failure(struct call *call, int error, const char *detail);

/* Copies the call's message to the calling thread's if it failed. */
void call_tell_message(const struct call *call);

#endif

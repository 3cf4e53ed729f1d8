/* SPDX-License-Identifier: MIT */
/*
 * Lock and Unlock (contract L1). A request that waits is answered when it is granted or refused;
 * the connection goes on meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/container.h"
#include "common/range.h"
#include "common/text.h"
#include "daemon/device/session.h"
#include "daemon/link/conn.h"
#include "daemon/link/dispatch.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

/* What a request about locks needs beside. */
struct lock_call {
    struct request *request;
    struct session_lock_ask ask;
    struct session_lock *held; /* to be made shared */
    struct guard_wait guard;
    struct drain drain;
    char purpose[PURPOSE_MAX + 1];
};

static struct lock_call *lock_call_new(struct request *request)
{
    struct lock_call *call = calloc(1, sizeof(*call));
    if (call == NULL)
        return NULL;
    call->request = request;
    request->extra = call;
    conn_charge(request->conn, request, sizeof(*call));
    return call;
}

/* Whole sectors; no length and no offset is the whole device. */
static bool lock_range_of(struct request *request, struct lock_range *ret_range)
{
    uint64_t end = 0;
    uint32_t sector = request->session->sector_size;
    if (request->asked.offset_bytes == 0 && request->asked.length_bytes == 0) {
        *ret_range = LOCK_WHOLE;
        return true;
    }
    if (request->asked.length_bytes == 0 ||
        !range_is_aligned(request->asked.offset_bytes, sector) ||
        !range_is_aligned(request->asked.length_bytes, sector) ||
        !range_end(request->asked.offset_bytes, request->asked.length_bytes, &end)) {
        request_fail(request, -EINVAL,
                     "%s of %llu bytes at offset %llu of %s: not a multiple of the sector size, %u "
                     "bytes, or offset + length overflows",
                     request->operation->name, (unsigned long long)request->asked.length_bytes,
                     (unsigned long long)request->asked.offset_bytes, request->session->path,
                     sector);
        return false;
    }
    *ret_range = (struct lock_range){request->asked.offset_bytes, end - 1};
    return true;
}

static void lock_fail(struct request *request, int error, const char *reason)
{
    request_fail(request, error, "%s of %s: %s", request->operation->name, request->session->path,
                 *reason != '\0' ? reason : strerror(-error));
}

/* ---- lock ---- */

int lock_prepare(struct request *request, const Blkd__Request *message)
{
    const Blkd__Lock *lock = message->lock;
    request->asked.session = lock->session;
    request->asked.offset_bytes = lock->offset_bytes;
    request->asked.length_bytes = lock->length_bytes;
    struct lock_call *call = lock_call_new(request);
    if (call == NULL)
        return -ENOMEM;
    call->ask.mode = (enum lock_mode)lock->mode;
    call->ask.isolates = lock->isolate != 0;
    call->ask.wait_ms = lock->wait_ms >= BLKD__LOCK_WAIT__LOCK_WAIT_FOREVER
                            ? SESSION_LOCK_WAIT_FOREVER
                            : (int)lock->wait_ms;
    (void)strncpy(call->purpose, lock->purpose, PURPOSE_MAX);
    text_make_utf8(call->purpose);
    call->ask.purpose = call->purpose;
    call->ask.user_data = call;
    return 0;
}

static void lock_send_granted(struct conn *conn, const struct session_lock *held)
{
    const struct session *session = held->session;
    Blkd__LockGranted granted = BLKD__LOCK_GRANTED__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    granted.mode = (Blkd__LockMode)held->asked;
    granted.token = held->token;
    granted.offset_bytes = held->lock.range.first_byte;
    granted.length_bytes = held->lock.range.last_byte == UINT64_MAX
                               ? 0
                               : held->lock.range.last_byte - held->lock.range.first_byte + 1;
    event.session = session->number;
    event.what_case = BLKD__EVENT__WHAT_LOCK_GRANTED;
    event.lock_granted = &granted;
    conn_queue_event(conn, &event);
}

static void lock_reply(struct request *request, enum lock_mode mode, uint64_t token)
{
    Blkd__Reply reply = BLKD__REPLY__INIT;
    Blkd__LockReply body = BLKD__LOCK_REPLY__INIT;
    body.mode = (Blkd__LockMode)mode;
    body.token = token;
    reply.body_case = BLKD__REPLY__BODY_LOCK;
    reply.lock = &body;
    request_reply(request, &reply);
}

static void on_locked(struct session_lock *held, int result)
{
    struct lock_call *call = held->user_data;
    struct request *request = call->request;
    if (result < 0) {
        lock_fail(request, result, held->message);
        return;
    }
    if (held->waited)
        lock_send_granted(request->conn, held);
    lock_reply(request, held->asked, held->token);
}

static void on_weakened(struct guard_wait *wait, enum guard_mode kept, int result)
{
    struct lock_call *call = CONTAINER_OF(wait, struct lock_call, guard);
    (void)kept;
    (void)result; /* the outside world is kept out no less than a shared lock needs */
    bool lost = session_lock_mode(call->held) == LOCK_NONE;
    session_lock_release_use(call->held);
    if (lost)
        lock_fail(call->request, -ESTALE, "the lock was lost before the downgrade");
    else
        lock_reply(call->request, LOCK_SHARED, 0);
}

static void on_weaken_drained(struct drain *drain)
{
    struct lock_call *call = CONTAINER_OF(drain, struct lock_call, drain);
    struct session *session = call->request->session;
    call->guard = (struct guard_wait){.loop = session->client.loop,
                                      .user_share = &session->client.user->helper_share,
                                      .on_done = on_weakened};
    session_lock_weaken(call->held, &call->guard);
}

/* The session's own transfers that rely on the lock end first (contract L5). */
static void lock_drain(struct lock_call *call, void (*on_done)(struct drain *drain))
{
    struct session *session = call->request->session;
    struct device *device = session->device;
    call->drain = (struct drain){.loop = &session->client.loop->base, .on_done = on_done};
    pthread_mutex_lock(&device->mutex);
    bool wait = drain_gate_wait(&session->transfers, &call->drain);
    pthread_mutex_unlock(&device->mutex);
    if (!wait)
        on_done(&call->drain);
}

static void lock_ask(struct lock_call *call)
{
    struct request *request = call->request;
    call->ask.on_done = on_locked;
    int error = session_lock_ask(request->session, &call->ask);
    if (error == -EALREADY)
        lock_fail(request, error,
                  "an earlier request for this range is still pending: wait for its reply");
    else if (error == -EDQUOT)
        lock_fail(request, error,
                  "this user's limit on locks is reached (locks-per-uid in blkd.conf, or 1024 in "
                  "one session)");
    else if (error < 0)
        lock_fail(request, error, "");
}

void lock_run(struct request *request)
{
    struct lock_call *call = request->extra;
    bool exclusive = call->ask.mode == LOCK_EXCLUSIVE;
    if (call->ask.mode != LOCK_SHARED && !exclusive) {
        lock_fail(request, -EINVAL, "the mode is neither shared nor exclusive");
        return;
    }
    if (call->ask.isolates && !exclusive) {
        lock_fail(request, -EINVAL, "only an exclusive lock can isolate (keep readers out)");
        return;
    }
    if (exclusive && !request->session->read_write) {
        lock_fail(request, -EROFS, "it is open read-only, so only a shared lock is possible");
        return;
    }
    if (!lock_range_of(request, &call->ask.range))
        return;
    call->held = call->ask.mode == LOCK_SHARED
                     ? session_lock_take_use(request->session, call->ask.range)
                     : NULL;
    if (call->held != NULL)
        lock_drain(call, on_weaken_drained);
    else
        lock_ask(call);
}

/* ---- unlock ---- */

int unlock_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.session = message->unlock->session;
    request->asked.offset_bytes = message->unlock->offset_bytes;
    request->asked.length_bytes = message->unlock->length_bytes;
    return lock_call_new(request) == NULL ? -ENOMEM : 0;
}

static void on_unlocked(struct guard_wait *wait, enum guard_mode kept, int result)
{
    struct lock_call *call = CONTAINER_OF(wait, struct lock_call, guard);
    (void)kept;
    (void)result; /* it can only have become weaker, or stay for other holders */
    request_finish(call->request, 0);
}

static void on_unlock_drained(struct drain *drain)
{
    struct lock_call *call = CONTAINER_OF(drain, struct lock_call, drain);
    struct request *request = call->request;
    const char *reason = NULL;
    call->guard = (struct guard_wait){.loop = &request->conn->worker->io,
                                      .user_share = &request->conn->user->helper_share,
                                      .on_done = on_unlocked};
    int error = session_unlock(request->session, call->ask.range, &call->guard, &reason);
    if (error < 0)
        lock_fail(request, error, reason);
}

void unlock_run(struct request *request)
{
    struct lock_call *call = request->extra;
    const char *reason = NULL;
    if (!lock_range_of(request, &call->ask.range))
        return;
    int error = session_unlock_check(request->session, call->ask.range, &reason);
    if (error < 0)
        lock_fail(request, error, reason);
    else
        lock_drain(call, on_unlock_drained);
}

/* SPDX-License-Identifier: MIT */
#include "daemon/device/gate.h"

#include <errno.h>
#include <stdio.h>

#include "daemon/base/clock.h"
#include "daemon/device/session.h"

static int gate_refuse(struct gate_refusal *refusal, int error, enum refusal why,
                       const char *reason)
{
    refusal->reason = why;
    (void)snprintf(refusal->text, sizeof(refusal->text), "%s", reason);
    return error;
}

static int gate_refuse_bounds(const struct device *device, enum io_op op, uint64_t end_bytes,
                              struct gate_refusal *refusal)
{
    refusal->bounds = true;
    (void)snprintf(
        refusal->text, sizeof(refusal->text),
        "it ends at byte %llu, beyond the end of the device at %llu; nothing was transferred",
        (unsigned long long)end_bytes, (unsigned long long)device->size_bytes);
    return op == IO_READ ? -EINVAL : -ENOSPC;
}

static int gate_refuse_lock(int error, const struct lock *blocker, struct gate_refusal *refusal)
{
    if (error == -ESTALE)
        return gate_refuse(refusal, error, REFUSAL_STALE,
                           "this session lost its lock, and others may have written since: check "
                           "the data, then unlock or lock again to continue");
    if (blocker == NULL)
        return gate_refuse(
            refusal, error, REFUSAL_RELATED,
            "a device that shares bytes with this one is locked (blkd-cli why shows by whom)");
    refusal->reason = REFUSAL_LOCKED_SESSION;
    session_lock_describe(blocker, refusal->text, sizeof(refusal->text));
    return error;
}

static int gate_refuse_failed(const struct device *device, struct gate_refusal *refusal)
{
    const char *doubt = device->sync.doubt;
    refusal->reason = REFUSAL_FAILED;
    (void)snprintf(refusal->text, sizeof(refusal->text),
                   "the device has failed: an earlier sync failed and data may be lost; nothing is "
                   "written until it is recovered (blkd-cli recover)%s%s",
                   doubt != NULL ? "; " : "", doubt != NULL ? doubt : "");
    return -EIO;
}

int gate_may_change(const struct device *device, const struct session *session,
                    struct lock_range range, struct gate_refusal *refusal)
{
    const struct lock *blocker = NULL;
    if (device->sync.ledger.failed != 0)
        return gate_refuse_failed(device, refusal);
    int error = lock_may_change(&device->locks, &session->lock, range, &blocker);
    return error < 0 ? gate_refuse_lock(error, blocker, refusal) : 0;
}

static int gate_may_read(const struct device *device, const struct session *session,
                         struct lock_range range, struct gate_refusal *refusal)
{
    const struct lock *blocker = NULL;
    int error = lock_may_read(&device->locks, &session->lock, range, &blocker);
    if (error < 0)
        error = gate_refuse_lock(error, blocker, refusal);
    if (error == -EBUSY)
        refusal->reason = REFUSAL_ISOLATED;
    return error;
}

static int gate_check(const struct device *device, const struct session *session, enum io_op op,
                      uint64_t offset_bytes, uint64_t end_bytes, struct gate_refusal *refusal)
{
    const struct lock_range range = {offset_bytes, end_bytes - 1};
    if (end_bytes > device->size_bytes)
        return gate_refuse_bounds(device, op, end_bytes, refusal);
    return op == IO_READ ? gate_may_read(device, session, range, refusal)
                         : gate_may_change(device, session, range, refusal);
}

void gate_enter(struct device *device, struct session *session, struct gate_ticket *ret_ticket)
{
    ret_ticket->device_epoch = drain_gate_enter(&device->transfers);
    ret_ticket->session_epoch = drain_gate_enter(&session->transfers);
}

void gate_leave(struct device *device, struct session *session, struct gate_ticket ticket)
{
    drain_gate_leave(&session->transfers, ticket.session_epoch);
    drain_gate_leave(&device->transfers, ticket.device_epoch);
}

int gate_begin(struct device *device, struct session *session, enum io_op op, uint64_t offset_bytes,
               uint64_t end_bytes, struct gate_ticket *ret_ticket, struct gate_refusal *ret_refusal)
{
    ret_refusal->bounds = false;
    ret_refusal->reason = REFUSAL_NONE;
    pthread_mutex_lock(&device->mutex);
    int error = gate_check(device, session, op, offset_bytes, end_bytes, ret_refusal);
    if (error == 0) {
        gate_enter(device, session, ret_ticket);
    }
    pthread_mutex_unlock(&device->mutex);
    return error;
}

static void gate_count(struct stats *stats, enum io_op op, uint64_t length_bytes, int result)
{
    if (result < 0) {
        stats->errors++;
    } else if (op == IO_READ) {
        stats->reads++;
        stats->read_bytes += length_bytes;
    } else if (op == IO_WRITE) {
        stats->writes++;
        stats->written_bytes += length_bytes;
    } else if (op == IO_DISCARD) {
        stats->discards++;
    } else if (op == IO_ZERO) {
        stats->zeroes++;
    }
}

static void gate_note_change(struct device *device, struct session *session, const struct io *io,
                             int result)
{
    uint64_t now_ms = clock_unix_ms();
    if (result == 0 && io->fua)
        sync_changed_durably(&device->sync.ledger, &session->unsynced, now_ms);
    else
        sync_changed(&device->sync.ledger, &session->unsynced, now_ms);
    if (session->asked.sync != SESSION_SYNC_NONE)
        flush_sync_at_close(device);
    if (result < 0 && io->sync_failed) {
        session->failure_told = true; /* by the answer */
        flush_fail(device, &session->client.loop->base, result);
    }
}

void gate_submit(struct device *device, struct io *io)
{
    if (io->fua)
        flush_fua_begins(device);
    backend_submit(device->backend, io);
}

void gate_end(struct device *device, struct session *session, const struct io *io,
              struct gate_ticket ticket, int result)
{
    pthread_mutex_lock(&device->mutex);
    gate_count(&session->stats, io->op, io->length_bytes, result);
    if (io->op != IO_READ)
        gate_note_change(device, session, io, result);
    if (io->fua)
        flush_fua_ended(device);
    gate_leave(device, session, ticket);
    bool late = io->op != IO_READ && device->sync.ledger.failed != 0;
    pthread_mutex_unlock(&device->mutex);
    if (late)
        flush_fail_related(device, &session->client.loop->base);
}

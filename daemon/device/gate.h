/* SPDX-License-Identifier: MIT */
/*
 * The gate of every transfer: may this session do this to these bytes now (bounds, locks, failure)?
 * What goes through is counted, in flight and in the ledger of changes.
 */
#ifndef BLKD_DAEMON_DEVICE_GATE_H
#define BLKD_DAEMON_DEVICE_GATE_H

#include "daemon/device/device.h"

struct session;

/* A transfer's claim on the device, from gate_begin to gate_end. */
struct gate_ticket {
    unsigned int device_epoch;
    unsigned int session_epoch;
};

/* Why a transfer was refused, for a person. */
struct gate_refusal {
    bool bounds; /* it goes past the end, as far as is known */
    enum refusal reason;
    char text[768];
};

/*
 * May the session do this now? If so, the transfer counts as in flight until gate_end. `end_bytes`
 * is the end of the whole transfer that this is a part of. Returns 0, or -EINVAL (read past the
 * end), -ENOSPC (change past the end), -EBUSY (another session's lock), -ESTALE (the session's lock
 * was broken), -EIO (the device has failed), with the reason in *ret_refusal.
 */
int gate_begin(struct device *device, struct session *session, enum io_op op, uint64_t offset_bytes,
               uint64_t end_bytes, struct gate_ticket *ret_ticket,
               struct gate_refusal *ret_refusal);

/* May the session change these bytes now? Returns 0, -EBUSY, -ESTALE or -EIO as gate_begin does.
 * With the device's mutex held. */
int gate_may_change(const struct device *device, const struct session *session,
                    struct lock_range range, struct gate_refusal *ret_refusal);

/* Submits a transfer that gate_begin has let in. Until gate_end, one that is to be durable by
 * itself (io->fua) counts as a sync under way (contract S10). */
void gate_submit(struct device *device, struct io *io);

/* The transfer, as it was submitted, has ended with `result`; counts it and tells the sync ledger.
 * A failed sync that was to make it durable by itself (io->sync_failed) fails the device, whatever
 * the errno. */
void gate_end(struct device *device, struct session *session, const struct io *io,
              struct gate_ticket ticket, int result);

/* A resize begins and ends: it counts as a transfer does. With the device's mutex held. */
void gate_enter(struct device *device, struct session *session, struct gate_ticket *ret_ticket);
void gate_leave(struct device *device, struct session *session, struct gate_ticket ticket);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * How a verb of the interface runs: it begins a call, fills in what is asked, and runs it; running
 * waits for the result if the call's mode says so, or lets blkd_dispatch hand it over.
 */
#ifndef BLKD_CLIENT_LIB_CORE_VERB_H
#define BLKD_CLIENT_LIB_CORE_VERB_H

#include "client/lib/call/call.h"
#include "client/lib/core/device.h"

/* Whether a call may start at all, before anything is locked: 0, -ENOTCONN in a forked child,
 * -EDEADLK for a waiting one inside a callback, -EINVAL without a callback where there must be one;
 * with the thread's message. */
int verb_check(const struct blkd *connection, struct call_mode mode);

/* Makes a call for an operation; `device` may be NULL. Returns 0 with the connection's mutex held
 * until verb_run or verb_abandon, or, not held, what verb_check returns, -ENOTCONN, -EBADF (device
 * being closed), -ENOMEM. */
int verb_begin(struct blkd *connection, struct blkd_device *device,
               const struct operation *operation, struct call_mode mode, struct call **ret_call);

/* Submits the call and, if its mode says so, waits for it: then returns its result. */
int verb_run(struct call *call);

/* Gives up a call that was begun but not run; returns `error`. */
int verb_abandon(struct call *call, int error);

#endif

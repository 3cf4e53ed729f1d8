/* SPDX-License-Identifier: MIT */
/*
 * The one place that maps errno values to the wire's status numbers and back, and to words.
 */
#ifndef BLKD_COMMON_STATUS_H
#define BLKD_COMMON_STATUS_H

#include "proto/blkd.pb-c.h"

/* `error`: 0 or a negative errno. An errno without a number of its own becomes STATUS_EIO. */
Blkd__Status status_from_errno(int error);

/* 0 or a negative errno; a status that this program does not know becomes -EIO. */
int status_to_errno(Blkd__Status status);

/* "EINVAL" for -EINVAL, "OK" for 0; static memory; errnos not in the wire's table give "EIO". */
const char *status_name(int error);

#endif

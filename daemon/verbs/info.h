/* SPDX-License-Identifier: MIT */
/* What the wire tells of a session. */
#ifndef BLKD_DAEMON_VERBS_INFO_H
#define BLKD_DAEMON_VERBS_INFO_H

#include "proto/blkd.pb-c.h"

struct session;

/* Fills what is effective beside what was asked for; `ret_info` is initialised. On the session's
 * worker. */
void info_fill(struct session *session, Blkd__Info *ret_info);

#endif

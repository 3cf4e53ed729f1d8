/* SPDX-License-Identifier: MIT */
/* What connections may use, as the configuration says (blkd.conf(5)). */
#ifndef BLKD_DAEMON_LINK_LIMITS_H
#define BLKD_DAEMON_LINK_LIMITS_H

struct limits {
    unsigned int connections;
    unsigned int connections_per_uid;
    unsigned int sessions_per_uid;
    unsigned int locks_per_uid;
    unsigned int sessions_per_connection;
    unsigned int requests_per_connection;
    unsigned int arena_mib_per_connection; /* 0: no rings */
    unsigned int arena_mib_per_uid;        /* with the rings' own memory */
    unsigned int hello_timeout_ms;
    unsigned int frame_timeout_ms;
    unsigned int unread_timeout_ms;
    unsigned int drain_timeout_ms;
    unsigned int busy_poll_us;
};

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What was done, counted. The counters of a session and of a device are under the device's mutex.
 */
#ifndef BLKD_DAEMON_DEVICE_STATS_H
#define BLKD_DAEMON_DEVICE_STATS_H

#include <stdint.h>

struct stats {
    uint64_t reads;
    uint64_t writes;
    uint64_t flushes;
    uint64_t discards;
    uint64_t zeroes;
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t errors;
};

void stats_add(struct stats *sum, const struct stats *part);

#endif

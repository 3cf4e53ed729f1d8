/* SPDX-License-Identifier: MIT */
#include "daemon/device/stats.h"

void stats_add(struct stats *sum, const struct stats *part)
{
    sum->reads += part->reads;
    sum->writes += part->writes;
    sum->flushes += part->flushes;
    sum->discards += part->discards;
    sum->zeroes += part->zeroes;
    sum->read_bytes += part->read_bytes;
    sum->written_bytes += part->written_bytes;
    sum->errors += part->errors;
}

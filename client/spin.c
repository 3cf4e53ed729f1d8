/* SPDX-License-Identifier: MIT */
/* See spin.h. */
#include "client/spin.h"

/* Less than this is no budget: one look at the socket takes a good part of it. */
static const uint64_t budget_min_ns = 5000;

void spin_init(struct spin *spin, uint64_t max_ns)
{
    *spin = (struct spin){.max_ns = max_ns, .budget_ns = max_ns, .backoff = 1};
}

uint64_t spin_begin(struct spin *spin)
{
    if (spin->max_ns == 0 || spin->budget_ns > 0)
        return spin->budget_ns;
    if (spin->waits_to_probe > 0) {
        spin->waits_to_probe--;
        return 0;
    }
    return spin->max_ns;
}

void spin_found(struct spin *spin, uint64_t elapsed_ns)
{
    uint64_t wanted = 2 * elapsed_ns;
    uint64_t decayed = spin->budget_ns - spin->budget_ns / 8;

    if (wanted < decayed)
        wanted = decayed;
    if (wanted < budget_min_ns)
        wanted = budget_min_ns;
    spin->budget_ns = wanted < spin->max_ns ? wanted : spin->max_ns;
    if (spin->backoff > 1)
        spin->backoff /= 2;
}

void spin_failed(struct spin *spin)
{
    spin->budget_ns = 0;
    spin->waits_to_probe = spin->backoff;
    if (spin->backoff < SPIN_BACKOFF_MAX)
        spin->backoff *= 2;
}

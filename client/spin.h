/* SPDX-License-Identifier: MIT */
/*
 * How long to poll for an answer before going to sleep: adaptive polling (DESIGN 4). A wake-up
 * costs more than a quick answer takes; a slow answer is not worth a spin. So the budget follows
 * what spinning brought: it covers twice what the last answers took, is nothing after a spin that
 * found nothing or was preempted, and is then tried again, at longer and longer intervals while
 * that fails. Pure: the clock is read by the caller.
 */
#ifndef BLKD_CLIENT_SPIN_H
#define BLKD_CLIENT_SPIN_H

#include <stdint.h>

struct spin {
    uint64_t max_ns;         /* 0: never spin */
    uint64_t budget_ns;      /* 0: asleep, but for probes */
    uint32_t waits_to_probe; /* waits that sleep at once until the next probe */
    uint32_t backoff;        /* what waits_to_probe starts from after the next failure */
};

enum {
    /* Polling reads the clock more than once a microsecond; a longer gap means that another thread
       had the CPU, perhaps the daemon that is being waited for. */
    SPIN_GAP_NS = 20 * 1000,
    SPIN_BACKOFF_MAX = 1024,
};

void spin_init(struct spin *spin, uint64_t max_ns);

/* Call once a wait that has to wait: for how long to poll before sleeping. */
uint64_t spin_begin(struct spin *spin);

/* The answer came after elapsed_ns of polling. */
void spin_found(struct spin *spin, uint64_t elapsed_ns);

/* The budget ran out, or the thread was preempted. */
void spin_failed(struct spin *spin);

#endif

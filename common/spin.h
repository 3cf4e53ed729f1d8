/* SPDX-License-Identifier: MIT */
/*
 * How long to poll for something to do before going to sleep: adaptive polling, the same
 * on both sides. A wake-up costs more than a quick answer takes; a slow answer is not worth a spin.
 * So the budget follows what spinning brought: it covers twice what the last answers took, and at
 * least what a wake-up takes, is nothing after a spin that found nothing, and is then tried again,
 * at longer and longer intervals while that fails. Pure but for the count of spinners: the clock is
 * read by the caller.
 */
#ifndef BLKD_COMMON_SPIN_H
#define BLKD_COMMON_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct spin {
    uint64_t max_ns;         /* 0: never spin */
    uint64_t budget_ns;      /* 0: asleep, but for probes */
    uint32_t waits_to_probe; /* waits that sleep at once until the next probe */
    uint32_t backoff;        /* what waits_to_probe starts from after the next failure */
};

enum {
    /* Polling reads the clock more than once a microsecond; after a longer gap, spin_lost_cpu is
       worth asking. */
    SPIN_GAP_NS = 20 * 1000,
    SPIN_POLITE_NS = 5 * 1000,
    SPIN_BACKOFF_MAX = 256,
    SPIN_CREDIT = 8,
};

/* Between two looks, when polling has gone on for elapsed_ns: at first leaves the core's resources
 * to its other thread for a moment; from SPIN_POLITE_NS on leaves the CPU to any thread that could
 * run on it, which is perhaps the one that is waited for. */
void spin_pause(uint64_t elapsed_ns);

void spin_init(struct spin *spin, uint64_t max_ns);

/* `max_us` in nanoseconds, or 0 where this process may run on one CPU only: there a spin just keeps
 * the other side from answering. */
uint64_t spin_max_ns(uint32_t max_us);

/* Spinners of this process take turns: there are fewer of them than CPUs it may run on. spin_enter:
 * whether there is room for one more; then spin_leave when it is done. */
bool spin_enter(void);
void spin_leave(void);

/* After a gap: whether the calling thread has lost its CPU to another thread since it last asked,
 * perhaps to the one that is being waited for. If not, it was an interrupt, or the hypervisor,
 * which say nothing about polling: the gap does not count as time spent. What it has lost to
 * another thread does, and ends a spin that is preempted for longer than its budget. A system call.
 */
bool spin_lost_cpu(void);

/* Call once a wait that has to wait: for how long to poll before sleeping. */
uint64_t spin_begin(struct spin *spin);

/* The answer came after elapsed_ns of polling. */
void spin_found(struct spin *spin, uint64_t elapsed_ns);

/* The budget ran out. */
void spin_failed(struct spin *spin);

/* Instead of polling, the thread has slept for elapsed_ns until the answer came. If that was not
 * longer than a spin may be, the next probe comes SPIN_CREDIT waits nearer: two sides that sleep
 * make each other's answers late by their wake-ups, and would not find out of it by themselves. */
void spin_slept(struct spin *spin, uint64_t elapsed_ns);

#endif

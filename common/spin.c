/* SPDX-License-Identifier: MIT */
/* See spin.h. */
#include "common/spin.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* About what a wake-up of another CPU takes: it does not pay to give up sooner. With many transfers
 * in flight most answers come within 2 us; but whoever sleeps on the one that takes 12 stops the
 * flow for both sides. */
static const uint64_t budget_min_ns = 50000;

static atomic_uint spinners;

/* How many may spin at once. Asked for once: affinities change rarely, and then a wrong number
 * costs CPU time, not answers. */
static unsigned int spin_places(void)
{
    static atomic_uint places;
    unsigned int known = atomic_load_explicit(&places, memory_order_relaxed);
    cpu_set_t cpus;

    if (known == 0) {
        int count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 2;
        known = (unsigned int)count; /* one more than places, so that 0 means not known */
        atomic_store_explicit(&places, known, memory_order_relaxed);
    }
    return known - 1;
}

uint64_t spin_max_ns(uint32_t max_us)
{
    return spin_places() == 0 ? 0 : max_us * UINT64_C(1000);
}

bool spin_enter(void)
{
    if (atomic_fetch_add_explicit(&spinners, 1, memory_order_relaxed) < spin_places())
        return true;
    spin_leave();
    return false;
}

void spin_leave(void)
{
    (void)atomic_fetch_sub_explicit(&spinners, 1, memory_order_relaxed);
}

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

void spin_slept(struct spin *spin, uint64_t elapsed_ns)
{
    if (elapsed_ns > spin->max_ns) /* also: never spins */
        return;
    spin->waits_to_probe -= spin->waits_to_probe < SPIN_CREDIT ? spin->waits_to_probe : SPIN_CREDIT;
}

bool spin_lost_cpu(void)
{
    static _Thread_local long seen;
    struct rusage usage;
    bool lost;

    if (getrusage(RUSAGE_THREAD, &usage) < 0)
        return true;
    lost = usage.ru_nivcsw != seen;
    seen = usage.ru_nivcsw;
    return lost;
}

void spin_pause(uint64_t elapsed_ns)
{
    if (elapsed_ns >= SPIN_POLITE_NS) {
        (void)sched_yield();
        return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

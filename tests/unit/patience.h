/* SPDX-License-Identifier: MIT */
/*
 * For what a test can only see by the clock. It fails only where the machine was quick: before and
 * after each attempt this measures how late a short sleep ends, and how long this thread is kept
 * from the CPU.
 */
#ifndef BLKD_TESTS_UNIT_PATIENCE_H
#define BLKD_TESTS_UNIT_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

enum { PATIENCE_ATTEMPTS = 20, PATIENCE_QUICK_US = 2000 };

static inline uint64_t patience_us(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Whether each of ten sleeps of 1 ms and 20 ms of work took hardly longer than that. */
static inline bool patience_machine_is_quick(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 10; i++) {
        const uint64_t begin = patience_us(CLOCK_MONOTONIC);
        (void)nanosleep(&pause, NULL);
        if (patience_us(CLOCK_MONOTONIC) - begin > 1000 + PATIENCE_QUICK_US)
            return false;
    }
    const uint64_t begin = patience_us(CLOCK_MONOTONIC);
    const uint64_t begin_cpu = patience_us(CLOCK_THREAD_CPUTIME_ID);
    uint64_t worked = 0;
    while (worked < 20000)
        worked = patience_us(CLOCK_THREAD_CPUTIME_ID) - begin_cpu;
    return patience_us(CLOCK_MONOTONIC) - begin < worked + PATIENCE_QUICK_US;
}

/* Whether `attempt` succeeds. Its failure counts on a quick machine; else it is made again, and
 * where no attempt could tell, the output says so. */
static inline bool patience_try(bool (*attempt)(void))
{
    for (int i = 0; i < PATIENCE_ATTEMPTS; i++) {
        const bool quick = patience_machine_is_quick();
        if (attempt())
            return true;
        if (quick && patience_machine_is_quick())
            return false;
    }
    printf("skipped: the machine is too busy for a limit of time\n");
    return true;
}

#endif

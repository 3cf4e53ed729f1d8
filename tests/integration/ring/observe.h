/* SPDX-License-Identifier: MIT */
/*
 * What the kernel tells of a process and of shared memory, and waiting for it to become so: none of
 * it is announced, so it is asked for again and again until a deadline.
 */
#ifndef BLKD_TESTS_OBSERVE_H
#define BLKD_TESTS_OBSERVE_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Sanitizers are slow; a limit on the daemon's time is stretched for them. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { OBSERVE_PATIENCE = 10 };
#else
enum { OBSERVE_PATIENCE = 1 };
#endif

/* For what must not take long, and for what only a hang makes take so long. */
enum { OBSERVE_SOON_MS = 1000 * OBSERVE_PATIENCE, OBSERVE_EVER_MS = 60 * 1000 };

/* Open descriptors of the process. */
unsigned int observe_descriptors(pid_t pid);
/* Mappings of memfds, which is where all memory is that it shares. */
unsigned int observe_shared_mappings(pid_t pid);
/* What memory the file has, in bytes. */
uint64_t observe_memory(int fd);

uint64_t observe_now_ms(void);
/* Whether it is not longer ago than the limit, as far as this machine allows (harness_in_time). */
bool observe_in_time(uint64_t begin_ms, uint64_t limit_ms);
/* One look has found it not to be so: waits for a moment. False: it is too late. */
bool observe_again(uint64_t begin_ms, uint64_t limit_ms);

/* Until `condition` is true, or the test fails. */
#define AWAIT(condition, limit_ms)                                                                 \
    do {                                                                                           \
        uint64_t begin_ = observe_now_ms();                                                        \
        while (!(condition))                                                                       \
            ck_assert_msg(observe_again(begin_, (uint64_t)(limit_ms)),                             \
                          "after %llu ms still not: %s", (unsigned long long)(limit_ms),           \
                          #condition);                                                             \
    } while (0)

#define ASSERT_IN_TIME(begin_ms, limit_ms)                                                         \
    ck_assert_msg(observe_in_time(begin_ms, (uint64_t)(limit_ms)), "more than %llu ms",            \
                  (unsigned long long)(limit_ms))

#endif

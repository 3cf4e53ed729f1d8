/* SPDX-License-Identifier: MIT */
/* What a process takes of the machine: memory and CPU time, of all its threads. */
#ifndef BLKD_BENCH_PROCESS_H
#define BLKD_BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Pages of the process that are in memory. `pss` counts what several processes share in parts, so
 * it is the better figure; it needs the right to trace the process. */
struct process_memory {
    uint64_t rss_bytes;
    uint64_t pss_bytes; /* 0: not known */
};

/* 0 or a negative errno. */
int process_read_memory(pid_t pid, struct process_memory *ret_memory);
int process_read_cpu(pid_t pid, uint64_t *ret_cpu_ns);

/* The value in bytes of the line "NAME: 12 kB" of /proc's files. Pure. -ENODATA: there is none. */
int process_find_bytes(const char *text, const char *name, uint64_t *ret_bytes);

/* By how much memory grew for each of `count`; never below 0. Pure. */
double process_bytes_each(uint64_t before_bytes, uint64_t after_bytes, unsigned int count);

/* As many descriptors as the system lets this process have. Returns how many that are. */
uint64_t process_raise_descriptors(uint64_t wanted);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What the machine itself costs, so that figures of two machines, or of two hours on one, can be
 * compared: most of what a daemon adds to a read is waking threads up.
 */
#ifndef BLKD_BENCH_CALIBRATE_H
#define BLKD_BENCH_CALIBRATE_H

#include <sys/utsname.h>

struct calibration {
    double wake_other_cpu_us; /* one wake-up through an eventfd; negative: only one CPU to run on */
    double wake_same_cpu_us;
    double spin_other_cpu_ns; /* a word from one spinning thread to another; negative: as above */
    double yield_same_cpu_ns; /* the same on one CPU, where only sched_yield(2) lets the other on */
    double pread_4k_ns;       /* of a page of tmpfs */
    unsigned int cpus;        /* that this process may run on */
    char governor[32];        /* of cpufreq; "none" without one, as in most VMs */
    struct utsname system;
};

/* Takes about 0.2 s. 0 or a negative errno. */
int calibrate(struct calibration *ret_calibration);

#endif

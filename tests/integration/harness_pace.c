/* SPDX-License-Identifier: MIT */
/*
 * How slow this machine is right now, so that a limit on the daemon's time judges the daemon. The
 * measure is pace.py's: to start a program and wait for it, to compute, to sync a file; each
 * compared with what it takes on a quiet machine of two CPUs. The worst of them counts.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "harness.h"

enum { SPAWNS = 4, SPIN_MS = 10, FRESH_MS = 5000 };

/* What has not come by then never will, however busy the machine. */
enum { EVER_MS = 120 * 1000 };

static const double spawn_ms = 4;
static const double sync_ms = 20;

/* The last result: a limit looks at the one before what it limits, too. Shared by the tests'
 * processes, most of which take less time than to measure. */
static struct last {
    double slowness;
    double at_ms;
} * last;

static double clock_ms(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6;
}

static double measure_spawn(void)
{
    char name[] = "/bin/true";
    char *arguments[] = {name, NULL};
    char *environment[] = {NULL};
    pid_t pid = 0;
    double begin = clock_ms(CLOCK_MONOTONIC);
    if (posix_spawn(&pid, name, NULL, NULL, arguments, environment) == 0)
        (void)waitpid(pid, NULL, 0);
    return clock_ms(CLOCK_MONOTONIC) - begin;
}

static double measure_spin(void)
{
    double begin = clock_ms(CLOCK_MONOTONIC);
    double end = clock_ms(CLOCK_THREAD_CPUTIME_ID) + SPIN_MS;
    while (clock_ms(CLOCK_THREAD_CPUTIME_ID) < end) {
    }
    return clock_ms(CLOCK_MONOTONIC) - begin;
}

static double measure_sync(void)
{
    static const char page[4096];
    char path[] = "/tmp/blkd-pace.XXXXXX";
    CLEANUP_CLOSE int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return 0;
    (void)unlink(path);
    double begin = clock_ms(CLOCK_MONOTONIC);
    if (write(fd, page, sizeof(page)) < 0 || fsync(fd) < 0)
        return 0;
    return clock_ms(CLOCK_MONOTONIC) - begin;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

double harness_slowness(void)
{
    double value = larger(measure_spin() / SPIN_MS, measure_sync() / sync_ms);
    for (int i = 0; i < SPAWNS; i++)
        value = larger(value, measure_spawn() / spawn_ms);
    *last = (struct last){larger(value, 1), clock_ms(CLOCK_MONOTONIC)};
    return last->slowness;
}

void harness_pace_begin(void)
{
    last = mmap(NULL, sizeof(*last), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (last == MAP_FAILED)
        abort();
    (void)harness_slowness();
}

void harness_pace_look(void)
{
    if (clock_ms(CLOCK_MONOTONIC) - last->at_ms > FRESH_MS)
        (void)harness_slowness();
}

bool harness_in_time(uint64_t took_ms, uint64_t limit_ms)
{
    if (took_ms < limit_ms)
        return true;
    if (took_ms > EVER_MS)
        return false;
    double before = last->slowness;
    return (double)took_ms < (double)limit_ms * larger(before, harness_slowness());
}

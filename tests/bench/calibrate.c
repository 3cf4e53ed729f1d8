/* SPDX-License-Identifier: MIT */
/* Measuring the machine; see calibrate.h. */
#include "tests/bench/calibrate.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/bench/clock.h"

enum {
    ROUND_TRIPS = 1000,
    SPIN_ROUND_TRIPS = 5000,
    SPIN_ROUNDS = 5,
    PAGE_BYTES = 4096,
    PAGES = 256,
    PREADS = 20000,
    PREAD_ROUNDS = 5,
};

#define TURN_NOBODYS UINT32_MAX /* there will be no other player */

/* Where two threads that spin pass a ball: whose turn it is, counted. */
struct court {
    alignas(128) _Atomic uint32_t turn;
    bool yields;
};

/* One of two threads that wake each other in turn, through eventfds or by what the other sees. */
struct player {
    int hear_fd;
    int call_fd;
    struct court *court; /* NULL: through eventfds */
    bool begins;
    uint64_t elapsed_ns;
    int error;
};

static int play_spinning(const struct player *player)
{
    struct court *court = player->court;
    uint32_t limit = SPIN_ROUND_TRIPS * 2;
    for (uint32_t mine = player->begins ? 0 : 1; mine < limit; mine += 2) {
        uint32_t turn;
        while ((turn = atomic_load_explicit(&court->turn, memory_order_acquire)) != mine) {
            if (turn == TURN_NOBODYS)
                return -ECANCELED;
            if (court->yields)
                (void)sched_yield();
        }
        atomic_store_explicit(&court->turn, mine + 1, memory_order_release);
    }
    return 0;
}

static int play(const struct player *player)
{
    if (player->court)
        return play_spinning(player);

    uint64_t count = 1;
    for (int i = 0; i < ROUND_TRIPS; i++) {
        if (player->begins && write(player->call_fd, &count, sizeof(count)) < 0)
            return -errno;
        if (read(player->hear_fd, &count, sizeof(count)) < 0)
            return -errno;
        if (!player->begins && write(player->call_fd, &count, sizeof(count)) < 0)
            return -errno;
    }
    return 0;
}

static void *player_main(void *user_data)
{
    struct player *player = user_data;
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
    player->error = play(player);
    player->elapsed_ns = clock_ns(CLOCK_MONOTONIC) - start_ns;
    return NULL;
}

static int player_start(struct player *player, int cpu, pthread_t *ret_thread)
{
    pthread_attr_t attributes;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((size_t)cpu, &cpus);
    int r = pthread_attr_init(&attributes);
    if (r)
        return -r;
    r = pthread_attr_setaffinity_np(&attributes, sizeof(cpus), &cpus);
    if (r == 0)
        r = pthread_create(ret_thread, &attributes, player_main, player);
    (void)pthread_attr_destroy(&attributes);
    return -r;
}

/* How long the first one played. */
static int match(struct player *first, int cpu_first, struct player *second, int cpu_second,
                 uint64_t *ret_elapsed_ns)
{
    pthread_t first_thread;
    pthread_t second_thread;
    int r = player_start(second, cpu_second, &second_thread);
    if (r < 0)
        return r;
    r = player_start(first, cpu_first, &first_thread);
    if (r == 0)
        (void)pthread_join(first_thread, NULL);
    else if (second->court)
        atomic_store(&second->court->turn, TURN_NOBODYS);
    else
        (void)pthread_cancel(second_thread); /* its read is a cancellation point */
    (void)pthread_join(second_thread, NULL);
    if (r == 0)
        r = first->error ? first->error : second->error;
    if (r == 0)
        *ret_elapsed_ns = first->elapsed_ns;
    return r;
}

static int measure_wake(int cpu_a, int cpu_b, double *ret_us)
{
    CLEANUP_CLOSE int ping_fd = eventfd(0, EFD_CLOEXEC);
    CLEANUP_CLOSE int pong_fd = eventfd(0, EFD_CLOEXEC);
    if (ping_fd < 0 || pong_fd < 0)
        return -errno;
    struct player first = {.hear_fd = pong_fd, .call_fd = ping_fd, .begins = true};
    struct player second = {.hear_fd = ping_fd, .call_fd = pong_fd};
    uint64_t elapsed_ns;
    int r = match(&first, cpu_a, &second, cpu_b, &elapsed_ns);
    if (r == 0)
        *ret_us = (double)elapsed_ns / ROUND_TRIPS / 2 / 1000;
    return r;
}

/* The best of several rounds: a thread that is preempted takes milliseconds. */
static int measure_spin(int cpu_a, int cpu_b, double *ret_ns)
{
    uint64_t best_ns = UINT64_MAX;
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        struct court court = {.yields = cpu_a == cpu_b};
        struct player first = {.hear_fd = -1, .call_fd = -1, .court = &court, .begins = true};
        struct player second = {.hear_fd = -1, .call_fd = -1, .court = &court};
        uint64_t elapsed_ns;
        int r = match(&first, cpu_a, &second, cpu_b, &elapsed_ns);
        if (r < 0)
            return r;
        best_ns = elapsed_ns < best_ns ? elapsed_ns : best_ns;
    }
    *ret_ns = (double)best_ns / SPIN_ROUND_TRIPS / 2;
    return 0;
}

/* The best of several rounds: everything that disturbs it makes it longer. */
static int measure_pread(double *ret_ns)
{
    static char page[PAGE_BYTES];
    CLEANUP_CLOSE int fd = memfd_create("blkd-bench", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (int i = 0; i < PAGES; i++) {
        if (pwrite(fd, page, sizeof(page), (off_t)i * PAGE_BYTES) != PAGE_BYTES)
            return errno ? -errno : -EIO;
    }
    uint64_t best_ns = UINT64_MAX;
    for (int round = 0; round < PREAD_ROUNDS; round++) {
        uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < PREADS; i++) {
            if (pread(fd, page, sizeof(page), (off_t)(i % PAGES) * PAGE_BYTES) != PAGE_BYTES)
                return -EIO;
        }
        uint64_t elapsed_ns = clock_ns(CLOCK_MONOTONIC) - start_ns;
        best_ns = elapsed_ns < best_ns ? elapsed_ns : best_ns;
    }
    *ret_ns = (double)best_ns / PREADS;
    return 0;
}

static void read_governor(char *governor, size_t size)
{
    (void)snprintf(governor, size, "none");
    FILE *file = fopen("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "re");
    if (!file)
        return;
    char line[32];
    if (fgets(line, sizeof(line), file))
        (void)snprintf(governor, size, "%.*s", (int)strcspn(line, "\n"), line);
    (void)fclose(file);
}

/* The first two CPUs that this process may use, the second -1 if there is but one. */
static void find_cpus(const cpu_set_t *allowed, int *ret_first, int *ret_second)
{
    *ret_first = -1;
    *ret_second = -1;
    for (int cpu = 0; cpu < CPU_SETSIZE && *ret_second < 0; cpu++) {
        if (!CPU_ISSET((size_t)cpu, allowed))
            continue;
        if (*ret_first < 0)
            *ret_first = cpu;
        else
            *ret_second = cpu;
    }
}

int calibrate(struct calibration *ret_calibration)
{
    struct calibration calibration = {.wake_other_cpu_us = -1, .spin_other_cpu_ns = -1};
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0 || uname(&calibration.system) < 0)
        return -errno;
    calibration.cpus = (unsigned int)CPU_COUNT(&allowed);
    read_governor(calibration.governor, sizeof(calibration.governor));
    int first;
    int second;
    find_cpus(&allowed, &first, &second);
    int r = measure_wake(first, first, &calibration.wake_same_cpu_us);
    if (r == 0 && second >= 0)
        r = measure_wake(first, second, &calibration.wake_other_cpu_us);
    if (r == 0)
        r = measure_spin(first, first, &calibration.yield_same_cpu_ns);
    if (r == 0 && second >= 0)
        r = measure_spin(first, second, &calibration.spin_other_cpu_ns);
    if (r == 0)
        r = measure_pread(&calibration.pread_4k_ns);
    if (r == 0)
        *ret_calibration = calibration;
    return r;
}

/* SPDX-License-Identifier: MIT */
/* See sigbus.h. */
#include "daemon/base/sigbus.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"

/* Areas are never freed, but used again: the handler follows `next` without a lock. */
struct sigbus_area {
    struct sigbus_area *next; /* of all; constant */
    struct sigbus_area *next_spare;
    atomic_uintptr_t base; /* 0: a spare one */
    atomic_size_t size_bytes;
    atomic_bool lost;
};

static _Atomic(struct sigbus_area *) areas;
static atomic_uint losses;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct sigbus_area *spare_areas;
static int spare_page_fd = -1;
static size_t page_bytes;
static struct sigaction previous;

/* ---- the handler ---- */

static struct sigbus_area *sigbus_find(uintptr_t address)
{
    struct sigbus_area *area = atomic_load(&areas);
    for (; area != NULL; area = area->next) {
        uintptr_t base = atomic_load(&area->base);
        if (base != 0 && address >= base && address - base < atomic_load(&area->size_bytes))
            return area;
    }
    return NULL;
}

/* No memory is needed for it: the page is there, and a shared mapping of it is not accounted. */
static bool sigbus_repair(void *address)
{
    uintptr_t page = (uintptr_t)address & ~(uintptr_t)(page_bytes - 1);
    struct sigbus_area *area = sigbus_find((uintptr_t)address);
    if (area == NULL)
        return false;
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): rounded down */
    if (mmap((void *)page, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             spare_page_fd, 0) == MAP_FAILED)
        return false;
    atomic_store(&area->lost, true);
    atomic_fetch_add(&losses, 1);
    return true;
}

/* Returning repeats the touch: it succeeds, or ends the process by the action that was before. */
static void on_sigbus(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    (void)context;
    if (info->si_code != BUS_ADRERR || !sigbus_repair(info->si_addr))
        (void)sigaction(number, &previous, NULL);
    errno = saved;
}

int sigbus_init(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    CLEANUP_CLOSE int fd = memfd_create("blkd-spare", MFD_CLOEXEC);
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    if (fd < 0 || fallocate(fd, 0, 0, (off_t)page_bytes) < 0)
        return -errno;
    (void)sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &previous) < 0)
        return -errno;
    spare_page_fd = TAKE_FD(fd);
    return 0;
}

/* ---- areas ---- */

static struct sigbus_area *sigbus_new(void)
{
    struct sigbus_area *area = spare_areas;
    if (area != NULL) {
        spare_areas = area->next_spare;
        return area;
    }
    area = calloc(1, sizeof(*area));
    if (area == NULL)
        return NULL;
    area->next = atomic_load(&areas);
    atomic_store(&areas, area);
    return area;
}

struct sigbus_area *sigbus_watch(void *base, size_t size_bytes)
{
    if (spare_page_fd < 0)
        return NULL;
    pthread_mutex_lock(&mutex);
    struct sigbus_area *area = sigbus_new();
    pthread_mutex_unlock(&mutex);
    if (area == NULL)
        return NULL;
    atomic_store(&area->lost, false);
    atomic_store(&area->size_bytes, size_bytes);
    atomic_store(&area->base, (uintptr_t)base);
    return area;
}

struct sigbus_area *sigbus_unwatch(struct sigbus_area *area)
{
    if (area == NULL)
        return NULL;
    atomic_store(&area->base, 0);
    pthread_mutex_lock(&mutex);
    area->next_spare = spare_areas;
    spare_areas = area;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

bool sigbus_is_lost(const struct sigbus_area *area)
{
    return atomic_load(&area->lost);
}

unsigned int sigbus_losses(void)
{
    return atomic_load_explicit(&losses, memory_order_relaxed);
}

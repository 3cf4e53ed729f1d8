/* SPDX-License-Identifier: MIT */
/*
 * Memory of the daemon for tests of blkd_buffer_alloc: what asks the daemon is replaced here
 * (--wrap) by something that counts and has a quota. To be included once in a program.
 */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_ARENAS_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_ARENAS_H

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>

#include "client/lib/core/connection.h"
#include "client/lib/core/memory.h"
#include "client/lib/ring/arena.h"
#include "tests/unit/client/lib/fake_daemon.h"
#include "tests/unit/suite.h"

enum { PAGE = ARENA_PAGE_BYTES, MIB = 1024 * 1024 };

int __wrap_memory_add_arena(struct blkd *of, size_t size_bytes);
int __wrap_memory_remove_arena(struct blkd *of, struct arena *arena);

static struct fake fake;
static struct blkd *connection;

/* What is shared in place of the daemon. Under the connection's mutex. */
static struct {
    size_t quota_bytes;
    size_t bytes;
    int error; /* of every question */
    size_t asked[256];
    unsigned int asks;
    unsigned int removed;
    int memory;         /* the newest arena's, the daemon's descriptor */
    pid_t until_asleep; /* the first answer comes when this thread sleeps; 0: at once */
} world;

static bool asked_once;

static inline void wait_asleep(pid_t thread)
{
    char path[64], text[256];
    char state = '?';

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
    while (state != 'S') {
        FILE *file = fopen(path, "re");
        if (file == NULL || fgets(text, sizeof(text), file) == NULL)
            abort();
        (void)fclose(file);
        state = strrchr(text, ')')[2];
        (void)sched_yield();
    }
}

int __wrap_memory_add_arena(struct blkd *of, size_t size_bytes)
{
    pid_t sleeper = world.until_asleep;
    void *base;
    int fd, r;

    world.asked[world.asks++ % 256] = size_bytes;
    world.until_asleep = 0;
    pthread_mutex_unlock(&of->mutex);
    if (sleeper != 0) {
        __atomic_store_n(&asked_once, true, __ATOMIC_RELEASE);
        wait_asleep(sleeper);
    }
    (void)sched_yield();
    pthread_mutex_lock(&of->mutex);
    if (world.error != 0 || of->calls.lost)
        return of->calls.lost ? -ENOTCONN : world.error;
    if (size_bytes > world.quota_bytes - world.bytes)
        return -EDQUOT;
    fd = memfd_create("fake", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size_bytes) < 0)
        abort();
    base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        abort();
    r = arena_add(&of->rings.shared.set, world.asks, base, size_bytes);
    if (r < 0)
        abort();
    arena_find_at(&of->rings.shared.set, base)->fd = fd;
    world.memory = dup(fd);
    world.bytes += size_bytes;
    return 0;
}

int __wrap_memory_remove_arena(struct blkd *of, struct arena *arena)
{
    if (arena->used_pages != 0)
        abort();
    world.bytes -= arena->size_bytes;
    world.removed++;
    (void)munmap(arena->base, arena->size_bytes);
    (void)close(arena->fd);
    arena_remove(&of->rings.shared.set, arena);
    return 0;
}

static bool hang_up;

static inline bool hang_up_when_told(struct fake *daemon, const Blkd__Request *request,
                                     const uint8_t *payload)
{
    (void)request;
    (void)payload;
    if (__atomic_load_n(&hang_up, __ATOMIC_ACQUIRE))
        fake_hang_up(daemon);
    return daemon->hung_up;
}

static inline void setup(void)
{
    memset(&world, 0, sizeof(world));
    world.quota_bytes = (size_t)1 << 30;
    fake_init(&fake);
    fake.on_request = hang_up_when_told;
    fake_start(&fake);
    connection = fake_connect(&fake);
}

static inline void teardown(void)
{
    blkd_disconnect(connection);
    fake_stop(&fake);
}

static inline bool is_shared(const void *pointer)
{
    struct arena_place place;
    size_t foreign;
    bool shared;

    pthread_mutex_lock(&connection->mutex);
    shared = arena_find(&connection->rings.shared.set, pointer, 1, &place, &foreign) == 1;
    pthread_mutex_unlock(&connection->mutex);
    return shared;
}

static inline bool is_zero(const uint8_t *bytes, size_t length)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

static inline bool is_mapped(void *pointer)
{
    unsigned char resident;

    return mincore(pointer, PAGE, &resident) == 0;
}

/* Without reading them: a page that was only read is there, too. */
static inline bool is_untouched(void *pointer, size_t size_bytes)
{
    static unsigned char resident[16384];

    ck_assert_int_eq(mincore(pointer, size_bytes, resident), 0);
    return is_zero(resident, size_bytes / PAGE);
}

static inline void *alloc(size_t size_bytes)
{
    void *buffer = NULL;

    ck_assert_msg(blkd_buffer_alloc(connection, size_bytes, &buffer) == 0, "%s",
                  blkd_error_message());
    ck_assert_ptr_nonnull(buffer);
    ck_assert_uint_eq((uintptr_t)buffer % PAGE, 0);
    return buffer;
}

#endif

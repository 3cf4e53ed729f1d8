/* SPDX-License-Identifier: MIT */
/*
 * blkd_buffer_alloc: when memory of the daemon is asked for, given back, or done without. What asks
 * the daemon is replaced here (--wrap) by something that counts and has a quota.
 */
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "client/lib/core/connection.h"
#include "client/lib/core/memory.h"
#include "tests/unit/client/lib/fake_daemon.h"

enum { PAGE = ARENA_PAGE_BYTES, MIB = 1024 * 1024, THREADS = 4, ROUNDS = 400, KEPT = 24 };

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
    pid_t until_asleep; /* the first answer comes when this thread sleeps; 0: at once */
} world;

static bool asked_once;

static void wait_asleep(pid_t thread)
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
    int r;

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
    base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        abort();
    r = arena_add(&of->rings.shared.set, world.asks, base, size_bytes);
    if (r < 0)
        abort();
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
    arena_remove(&of->rings.shared.set, arena);
    return 0;
}

static bool hang_up;

static bool hang_up_when_told(struct fake *daemon, const Blkd__Request *request,
                              const uint8_t *payload)
{
    (void)request;
    (void)payload;
    if (__atomic_load_n(&hang_up, __ATOMIC_ACQUIRE))
        fake_hang_up(daemon);
    return daemon->hung_up;
}

static void setup(void)
{
    memset(&world, 0, sizeof(world));
    world.quota_bytes = (size_t)1 << 30;
    fake_init(&fake);
    fake.on_request = hang_up_when_told;
    fake_start(&fake);
    connection = fake_connect(&fake);
}

static void teardown(void)
{
    blkd_disconnect(connection);
    fake_stop(&fake);
}

static bool is_shared(const void *pointer)
{
    struct arena_place place;
    size_t foreign;
    bool shared;

    pthread_mutex_lock(&connection->mutex);
    shared = arena_find(&connection->rings.shared.set, pointer, 1, &place, &foreign) == 1;
    pthread_mutex_unlock(&connection->mutex);
    return shared;
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

static bool is_mapped(void *pointer)
{
    unsigned char resident;

    return mincore(pointer, PAGE, &resident) == 0;
}

/* Without reading them: a page that was only read is there, too. */
static bool is_untouched(void *pointer, size_t size_bytes)
{
    static unsigned char resident[16384];

    ck_assert_int_eq(mincore(pointer, size_bytes, resident), 0);
    return is_zero(resident, size_bytes / PAGE);
}

static void *alloc(size_t size_bytes)
{
    void *buffer = NULL;

    ck_assert_msg(blkd_buffer_alloc(connection, size_bytes, &buffer) == 0, "%s",
                  blkd_error_message());
    ck_assert_ptr_nonnull(buffer);
    ck_assert_uint_eq((uintptr_t)buffer % PAGE, 0);
    return buffer;
}

START_TEST(a_buffer_is_shared_and_zero_again_each_time)
{
    uint8_t *first = alloc(1);
    uint8_t *second;

    ck_assert(is_shared(first));
    ck_assert(is_zero(first, PAGE));
    memset(first, 1, PAGE);
    second = alloc(3 * PAGE);
    ck_assert_uint_ge((size_t)(second - first), PAGE);
    memset(second, 2, (size_t)3 * PAGE);
    ck_assert_uint_eq(first[PAGE - 1], 1);
    blkd_buffer_free(connection, first);
    blkd_buffer_free(connection, second);
    first = alloc(8 * PAGE - 5);
    ck_assert(is_zero(first, (size_t)8 * PAGE));
    ck_assert_uint_eq(world.asks, 1);
}
END_TEST

START_TEST(fresh_memory_is_not_touched)
{
    uint8_t *first = alloc((size_t)16 * MIB);
    uint8_t *second;

    ck_assert(is_untouched(first, (size_t)16 * MIB));
    second = alloc(MIB);
    blkd_buffer_free(connection, second);
    second = alloc((size_t)2 * MIB);
    ck_assert(is_untouched(second + MIB, MIB));
}
END_TEST

START_TEST(arenas_grow_with_what_is_in_use)
{
    static const size_t mib[] = {2, 4, 8, 16, 32, 64, 64, 100, 64};
    void *filled;

    for (size_t i = 0; i < sizeof(mib) / sizeof(mib[0]); i++) {
        filled = alloc(mib[i] == 100 ? mib[i] * MIB : 1);
        ck_assert_uint_eq(world.asks, i + 1);
        ck_assert_uint_eq(world.asked[i], mib[i] * MIB);
        if (mib[i] == 100)
            continue;
        blkd_buffer_free(connection, filled);
        filled = alloc(mib[i] * MIB);
        ck_assert(is_shared(filled));
        ck_assert_uint_eq(world.asks, i + 1);
    }
    ck_assert_uint_eq(world.removed, 0);
}
END_TEST

START_TEST(at_the_quota_just_what_is_needed_is_asked_for)
{
    uint8_t *bytes;

    world.quota_bytes = (size_t)3 * MIB;
    (void)alloc((size_t)2 * MIB);
    ck_assert(is_shared(alloc(PAGE + 1)));
    ck_assert_uint_eq(world.asks, 3);
    ck_assert_uint_eq(world.asked[1], 4 * MIB);
    ck_assert_uint_eq(world.asked[2], 2 * PAGE);
    bytes = alloc((size_t)5 * MIB);
    ck_assert(!is_shared(bytes));
    ck_assert(is_zero(bytes, (size_t)5 * MIB));
    ck_assert_uint_eq(world.asks, 4); /* nothing smaller would do */
    memset(bytes, 1, (size_t)5 * MIB);
    blkd_buffer_free(connection, bytes);
    ck_assert(!is_mapped(bytes));
}
END_TEST

START_TEST(at_the_quota_the_spare_is_given_back_first)
{
    world.quota_bytes = (size_t)4 * MIB;
    blkd_buffer_free(connection, alloc(1));
    ck_assert_uint_eq(world.removed, 0);
    ck_assert(is_shared(alloc((size_t)4 * MIB)));
    ck_assert_uint_eq(world.removed, 1);
    ck_assert_uint_eq(world.asks, 3);
    ck_assert_uint_eq(world.asked[2], 4 * MIB);
}
END_TEST

START_TEST(the_largest_unused_arena_is_kept)
{
    void *small = alloc((size_t)2 * MIB);
    void *middle = alloc((size_t)4 * MIB);
    void *large = alloc((size_t)8 * MIB);

    blkd_buffer_free(connection, middle);
    ck_assert_uint_eq(world.removed, 0);
    blkd_buffer_free(connection, small);
    ck_assert_uint_eq(world.removed, 1);
    ck_assert_uint_eq(world.bytes, 12 * MIB);
    blkd_buffer_free(connection, large);
    ck_assert_uint_eq(world.removed, 2);
    ck_assert_uint_eq(world.bytes, 8 * MIB);
    ck_assert(is_shared(alloc((size_t)8 * MIB)));
    ck_assert_uint_eq(world.asks, 3);
}
END_TEST

static void check_without_shared_memory(void)
{
    uint8_t *buffers[64];

    for (size_t i = 0; i < 64; i++) {
        buffers[i] = alloc((i % 3 + 1) * PAGE);
        ck_assert(!is_shared(buffers[i]));
        ck_assert(is_zero(buffers[i], (i % 3 + 1) * PAGE));
        memset(buffers[i], (int)i, (i % 3 + 1) * PAGE);
    }
    for (size_t i = 0; i < 64; i++) {
        size_t which = i * 29 % 64;

        ck_assert_uint_eq(buffers[which][0], which);
        blkd_buffer_free(connection, buffers[which]);
        ck_assert(!is_mapped(buffers[which]));
    }
}

START_TEST(without_shared_memory_a_buffer_is_ordinary_memory)
{
    static const int errors[] = {-EOPNOTSUPP, -EDQUOT, -ENOSPC, -ENOMEM, -EPROTO};

    world.error = errors[_i];
    check_without_shared_memory();
}
END_TEST

/* Bytes go to a device and come back, whatever kind of memory the buffer is. */
START_TEST(buffers_are_good_for_transfers)
{
    struct blkd_device *device = fake_open_device(connection);
    uint8_t *bytes;
    struct iovec iov;

    world.error = _i == 0 ? 0 : -EOPNOTSUPP;
    bytes = alloc(MIB);
    ck_assert(is_shared(bytes) == (_i == 0));
    iov = (struct iovec){bytes + 512, MIB - 512};
    ck_assert_int_eq(blkd_read(device, 0, &iov, 1), 0);
    fake_assert_content(bytes + 512, 0, MIB - 512);
    ck_assert_int_eq(blkd_write(device, 8192, &iov, 1, 0), 0);
    ck_assert_mem_eq(fake.disk + (size_t)8192 * 512, bytes + 512, MIB - 512);
    blkd_close(device);
}
END_TEST

START_TEST(freeing_what_is_no_buffer_does_nothing)
{
    uint8_t here[2 * PAGE];
    uint8_t *shared = alloc((size_t)2 * PAGE);
    uint8_t *ordinary;

    world.error = -EDQUOT;
    ordinary = alloc((size_t)4 * MIB);
    blkd_buffer_free(connection, NULL);
    blkd_buffer_free(NULL, shared);
    blkd_buffer_free(connection, here);
    blkd_buffer_free(connection, shared + PAGE);
    blkd_buffer_free(connection, shared + 1);
    blkd_buffer_free(connection, ordinary + PAGE);
    ck_assert(is_shared(shared) && is_mapped(ordinary));
    shared[0] = ordinary[0] = 1;
    ck_assert_uint_eq(connection->rings.shared.set.arenas[0].used_pages, 2);
    for (int i = 0; i < 2; i++) {
        blkd_buffer_free(connection, shared);
        blkd_buffer_free(connection, ordinary);
    }
    ck_assert_uint_eq(connection->rings.shared.set.arenas[0].used_pages, 0);
    ck_assert(!is_mapped(ordinary));
}
END_TEST

static void check_refused(struct blkd *of, size_t size_bytes, int error, const char *words)
{
    int here;
    void *buffer = &here;

    ck_assert_int_eq(blkd_buffer_alloc(of, size_bytes, &buffer), error);
    ck_assert_msg(strstr(blkd_error_message(), words) != NULL, "%s", blkd_error_message());
    ck_assert_ptr_eq(buffer, &here);
}

START_TEST(impossible_sizes_are_refused)
{
    check_refused(connection, 0, -EINVAL, "0 bytes");
    check_refused(NULL, 1, -EINVAL, "connection is NULL");
    ck_assert_int_eq(blkd_buffer_alloc(connection, 1, NULL), -EINVAL);
    check_refused(connection, SIZE_MAX, -ENOMEM, "18446744073709551615");
    check_refused(connection, SIZE_MAX / 2, -ENOMEM, "buffer of");
    ck_assert_uint_eq(world.asks, 0);
    check_refused(connection, (size_t)1 << 60, -ENOMEM, "1152921504606846976");
    ck_assert_ptr_nonnull(alloc(1));
}
END_TEST

static void on_alloc(void *user_data, int result)
{
    ck_assert_int_eq(result, 0);
    *(void **)user_data = alloc(PAGE);
}

START_TEST(a_callback_never_asks_the_daemon)
{
    void *buffer = NULL;

    ck_assert_int_eq(blkd_ping_async(connection, on_alloc, &buffer), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 5000), 1);
    ck_assert_uint_eq(world.asks, 0);
    ck_assert(!is_shared(buffer));
    blkd_buffer_free(connection, buffer);
    (void)alloc(1);
    ck_assert_int_eq(blkd_ping_async(connection, on_alloc, &buffer), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 5000), 1);
    ck_assert(is_shared(buffer));
}
END_TEST

START_TEST(buffers_outlive_the_daemon)
{
    uint8_t *shared = alloc(PAGE);
    uint8_t *ordinary;

    __atomic_store_n(&hang_up, true, __ATOMIC_RELEASE);
    ck_assert_int_eq(blkd_ping(connection), -ENOTCONN);
    shared[0] = 1;
    ordinary = alloc(PAGE);
    ck_assert(!is_shared(ordinary)); /* what the daemon still punches out is not given to anybody */
    blkd_buffer_free(connection, shared);
    blkd_buffer_free(connection, ordinary);
    ck_assert_uint_eq(world.asks, 1);
}
END_TEST

struct second {
    pid_t thread; /* 0: not started */
    void *buffer;
};

static void *alloc_second(void *argument)
{
    struct second *second = argument;

    __atomic_store_n(&second->thread, gettid(), __ATOMIC_RELEASE);
    while (!__atomic_load_n(&asked_once, __ATOMIC_ACQUIRE))
        (void)sched_yield();
    return blkd_buffer_alloc(connection, PAGE, &second->buffer) == 0 ? NULL : argument;
}

START_TEST(threads_that_need_memory_share_one_question)
{
    struct second second = {0};
    pthread_t thread;
    void *failed;

    ck_assert_int_eq(pthread_create(&thread, NULL, alloc_second, &second), 0);
    while ((world.until_asleep = __atomic_load_n(&second.thread, __ATOMIC_ACQUIRE)) == 0)
        (void)sched_yield();
    ck_assert(is_shared(alloc(PAGE)));
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert_ptr_null(failed);
    ck_assert(is_shared(second.buffer));
    ck_assert_uint_eq(world.asks, 1);
}
END_TEST

/* Allocates, fills, looks and frees. NULL: all was well. */
static void *churn(void *argument)
{
    unsigned int seed = *(unsigned int *)argument;
    uint8_t *kept[KEPT] = {NULL};
    size_t sizes[KEPT] = {0};

    for (int round = 0; round < ROUNDS; round++) {
        size_t i = (size_t)rand_r(&seed) % KEPT;
        size_t size = (size_t)rand_r(&seed) % (rand_r(&seed) % 16 == 0 ? 3 * MIB : 5 * PAGE) + 2;
        void *buffer;

        if (kept[i] != NULL && (kept[i][0] != i + 1 || kept[i][sizes[i] - 1] != i + 1))
            return argument;
        blkd_buffer_free(connection, kept[i]);
        if (blkd_buffer_alloc(connection, size, &buffer) != 0 || !is_zero(buffer, size))
            return argument;
        kept[i] = memset(buffer, (int)i + 1, size);
        sizes[i] = size;
    }
    for (size_t i = 0; i < KEPT; i++)
        blkd_buffer_free(connection, kept[i]);
    return NULL;
}

START_TEST(threads_allocate_and_free_together)
{
    pthread_t threads[THREADS];
    unsigned int seeds[THREADS];
    void *failed;

    world.quota_bytes = (size_t)20 * MIB; /* so that there is ordinary memory, too */
    for (unsigned int i = 0; i < THREADS; i++) {
        seeds[i] = i + 1;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, &seeds[i]), 0);
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    ck_assert_ptr_null(connection->buffers.privates);
    for (uint32_t i = 0; i < connection->rings.shared.set.count; i++)
        ck_assert_uint_eq(connection->rings.shared.set.arenas[i].used_pages, 0);
    ck_assert_uint_gt(world.asks, 0);
}
END_TEST

/* Returns the number of what was wrong, or 0. */
static int try_in_child(void *ordinary, void *shared)
{
    void *buffer;

    if (is_mapped(ordinary))
        return 1;
    if (blkd_buffer_alloc(connection, 1, &buffer) != -ENOTCONN)
        return 2;
    if (strstr(blkd_error_message(), "forked") == NULL)
        return 3;
    blkd_buffer_free(connection, ordinary);
    blkd_buffer_free(connection, shared);
    if (world.removed > 0)
        return 4; /* the daemon would hear of it on the parent's socket */
    blkd_disconnect(connection);
    return 0;
}

START_TEST(in_a_child_buffers_are_gone)
{
    void *spare = alloc((size_t)2 << 20);
    void *shared = alloc((size_t)4 << 20);
    uint8_t *ordinary;
    int status;
    pid_t child;

    blkd_buffer_free(connection, spare);
    world.error = -EOPNOTSUPP;
    ordinary = alloc((size_t)4 << 20);
    child = fork();
    if (child == 0)
        _exit(try_in_child(ordinary, shared));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    ordinary[0] = 1;
    blkd_buffer_free(connection, ordinary);
}
END_TEST

START_TEST(disconnecting_gives_everything_back)
{
    void *shared = alloc(1);
    void *ordinary[9];

    world.error = -EOPNOTSUPP;
    for (size_t i = 0; i < 9; i++)
        ordinary[i] = alloc((size_t)4 * MIB);
    blkd_disconnect(connection);
    connection = NULL;
    ck_assert(!is_mapped(shared));
    for (size_t i = 0; i < 9; i++)
        ck_assert(!is_mapped(ordinary[i]));
}
END_TEST

static Suite *buffer_suite(void)
{
    Suite *suite = suite_create("client_buffer");
    TCase *tests = tcase_create("buffers");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_buffer_is_shared_and_zero_again_each_time);
    tcase_add_test(tests, fresh_memory_is_not_touched);
    tcase_add_test(tests, arenas_grow_with_what_is_in_use);
    tcase_add_test(tests, at_the_quota_just_what_is_needed_is_asked_for);
    tcase_add_test(tests, at_the_quota_the_spare_is_given_back_first);
    tcase_add_test(tests, the_largest_unused_arena_is_kept);
    tcase_add_loop_test(tests, without_shared_memory_a_buffer_is_ordinary_memory, 0, 5);
    tcase_add_loop_test(tests, buffers_are_good_for_transfers, 0, 2);
    tcase_add_test(tests, freeing_what_is_no_buffer_does_nothing);
    tcase_add_test(tests, impossible_sizes_are_refused);
    tcase_add_test(tests, a_callback_never_asks_the_daemon);
    tcase_add_test(tests, buffers_outlive_the_daemon);
    tcase_add_test(tests, threads_that_need_memory_share_one_question);
    tcase_add_test(tests, threads_allocate_and_free_together);
    tcase_add_test(tests, in_a_child_buffers_are_gone);
    tcase_add_test(tests, disconnecting_gives_everything_back);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(buffer_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

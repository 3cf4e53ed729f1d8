/* SPDX-License-Identifier: MIT */
/* blkd_buffer_alloc and threads, and in a child: one question at a time, nothing of the parent. */
#include <sys/wait.h>

#include "tests/unit/client/lib/fake_arenas.h"

enum { THREADS = 4, ROUNDS = 400, KEPT = 24 };

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

int main(void)
{
    Suite *suite = suite_create("client_buffer_threads");
    TCase *tests = tcase_create("threads");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, threads_that_need_memory_share_one_question);
    tcase_add_test(tests, threads_allocate_and_free_together);
    tcase_add_test(tests, in_a_child_buffers_are_gone);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* SPDX-License-Identifier: MIT */
/* Several threads on one connection of libblkd, and a process that forks. */
#include <sched.h>
#include <sys/wait.h>

#include "tests/unit/client/lib/fake_daemon.h"
#include "tests/unit/suite.h"

enum { THREADS = 6, ROUNDS = 150, BLOCK_BYTES = 4096 };

static struct fake fake;
static struct blkd *connection;
static struct blkd_device *device;

static void setup(void)
{
    fake_init(&fake);
    fake_start(&fake);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
}

static fake_handler hold_flush_until_written;

static void setup_holding(void)
{
    fake_init(&fake);
    fake.on_request = hold_flush_until_written;
    fake_start(&fake);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
}

static void teardown(void)
{
    blkd_close(device);
    blkd_disconnect(connection);
    fake_stop(&fake);
}

/* Writes and reads a region of its own and looks at what it got. */
static void *use_region(void *argument)
{
    unsigned int number = *(unsigned int *)argument;
    uint8_t out[BLOCK_BYTES], in[BLOCK_BYTES];
    struct iovec out_iov = {out, sizeof(out)}, in_iov = {in, sizeof(in)};

    for (unsigned int round = 0; round < ROUNDS; round++) {
        uint64_t sector = (uint64_t)number * 1024 + round % 64 * 8;
        memset(out, (int)(number * 40 + round % 40), sizeof(out));
        if (blkd_write(device, sector, &out_iov, 1, 0) != 0 ||
            blkd_read(device, sector, &in_iov, 1) != 0 || memcmp(in, out, sizeof(in)) != 0)
            return argument;
    }
    return NULL;
}

START_TEST(threads_share_a_connection)
{
    pthread_t threads[THREADS];
    unsigned int numbers[THREADS];
    void *failed;

    for (unsigned int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_region, &numbers[i]), 0);
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
}
END_TEST

static unsigned int pings_done;
static bool stop;

static void on_ping(void *user_data, int result)
{
    (void)user_data;
    if (result == 0)
        (void)__atomic_add_fetch(&pings_done, 1, __ATOMIC_RELAXED);
    if (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        (void)blkd_ping_async(connection, on_ping, NULL);
}

static void *dispatch_all(void *argument)
{
    (void)argument;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        if (blkd_dispatch(connection, 100) < 0)
            return connection;
    return NULL;
}

START_TEST(waiting_calls_beside_a_dispatching_thread)
{
    pthread_t dispatcher, users[2];
    unsigned int numbers[2] = {0, 1};
    void *failed;

    stop = false;
    pings_done = 0;
    ck_assert_int_eq(blkd_ping_async(connection, on_ping, NULL), 0);
    ck_assert_int_eq(pthread_create(&dispatcher, NULL, dispatch_all, NULL), 0);
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&users[i], NULL, use_region, &numbers[i]), 0);
    for (unsigned int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(users[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    ck_assert_int_eq(pthread_join(dispatcher, &failed), 0);
    ck_assert_ptr_null(failed);
    ck_assert_uint_gt(pings_done, 0);
}
END_TEST

static void on_once(void *user_data, int result)
{
    *(int *)user_data = result;
}

/* Returns when the thread is asleep, as /proc tells; it can then only be woken from outside. */
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

struct submitter {
    pid_t sleeper;
    int result;
};

static void *submit_empty_read(void *argument)
{
    struct submitter *submitter = argument;

    wait_asleep(submitter->sleeper);
    return blkd_read_async(device, 0, NULL, 0, on_once, &submitter->result) == 0 ? NULL : argument;
}

/* The thread that waits polls the socket, and nothing will come from there. */
START_TEST(completion_without_the_daemon_wakes_a_dispatching_thread)
{
    struct submitter submitter = {gettid(), 1};
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, submit_empty_read, &submitter), 0);
    ck_assert_int_eq(blkd_dispatch(connection, -1), 1);
    ck_assert_int_eq(submitter.result, 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

/* Answers a flush only with the four parts of a write of 4 MiB. */
static bool hold_flush_until_written(struct fake *daemon, const Blkd__Request *request,
                                     const uint8_t *payload)
{
    (void)payload;
    daemon->hold =
        request->op_case == BLKD__REQUEST__OP_FLUSH || request->op_case == BLKD__REQUEST__OP_WRITE
            ? 5
            : 0;
    return false;
}

static void *write_when_asleep(void *argument)
{
    const struct submitter *submitter = argument;
    size_t length = (size_t)4 << 20;
    struct iovec iov = {calloc(1, length), length};
    int r;

    wait_asleep(submitter->sleeper);
    r = blkd_write(device, 0, &iov, 1, 0);
    free(iov.iov_base);
    return r == 0 ? NULL : argument;
}

/* The leader sleeps until the socket is readable. It never will be unless the leader also sends
 * what the other thread could not. */
START_TEST(sleeping_leader_sends_for_another_thread)
{
    struct submitter submitter = {gettid(), 1};
    pthread_t thread;
    void *failed;

    ck_assert_int_eq(pthread_create(&thread, NULL, write_when_asleep, &submitter), 0);
    ck_assert_int_eq(blkd_flush(device), 0);
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert_ptr_null(failed);
}
END_TEST

static void *read_large(void *argument)
{
    uint8_t *bytes = malloc(3 << 20);
    struct iovec iov = {bytes, 3 << 20};
    bool good = true;

    for (int i = 0; i < 8 && good; i++) {
        good = blkd_write(device, 0, &iov, 1, 0) == 0;
        good = good && blkd_read(device, 4096, &iov, 1) == 0;
    }
    free(bytes);
    return good ? NULL : argument;
}

/* More than the socket takes: one thread sends while another, asleep in poll, must help. */
START_TEST(large_transfers_of_several_threads)
{
    pthread_t threads[3];
    void *failed;
    int dummy;

    for (unsigned int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_large, &dummy), 0);
    for (unsigned int i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
}
END_TEST

static void on_never(void *user_data, int result)
{
    (void)user_data;
    (void)result;
    _exit(100);
}

/* Returns the number of the call that was not refused, or 0. */
static int try_all_in_child(void)
{
    uint8_t bytes[512];
    struct iovec iov = {bytes, sizeof(bytes)};
    struct blkd_config config = {0};
    struct blkd_server_info server;
    struct blkd_device *other;

    config.path = "/x";
    if (blkd_ping(connection) != -ENOTCONN)
        return 1;
    if (strstr(blkd_error_message(), "forked") == NULL)
        return 2;
    if (blkd_read(device, 0, &iov, 1) != -ENOTCONN)
        return 3;
    if (blkd_write_async(device, 0, &iov, 1, 0, on_never, NULL) != -ENOTCONN)
        return 4;
    if (blkd_dispatch(connection, 0) != -ENOTCONN)
        return 5;
    if (blkd_open(connection, &config, &other) != -ENOTCONN)
        return 6;
    if (blkd_get_fd(connection) != -ENOTCONN || blkd_get_server_info(connection, &server) == 0)
        return 7;
    if (blkd_close_async(device, on_never, NULL) != -ENOTCONN)
        return 8;
    if (blkd_set_event_callback(connection, NULL, NULL) != -ENOTCONN)
        return 9;
    blkd_close(device);
    blkd_disconnect(connection);
    return 0;
}

START_TEST(forked_child_is_not_connected)
{
    int status;
    int result = 1;
    pid_t child;

    ck_assert_int_eq(blkd_ping_async(connection, on_once, &result), 0);
    child = fork();
    if (child == 0)
        _exit(try_all_in_child());
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    /* The parent goes on as if nothing had happened. */
    ck_assert_int_eq(blkd_dispatch(connection, 5000), 1);
    ck_assert_int_eq(result, 0);
    ck_assert_int_eq(blkd_ping(connection), 0);
}
END_TEST

static Suite *threads_suite(void)
{
    Suite *suite = suite_create("client_threads");
    TCase *tests = tcase_create("threads");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, threads_share_a_connection);
    tcase_add_test(tests, waiting_calls_beside_a_dispatching_thread);
    tcase_add_test(tests, completion_without_the_daemon_wakes_a_dispatching_thread);
    tcase_add_test(tests, large_transfers_of_several_threads);
    tcase_add_test(tests, forked_child_is_not_connected);
    suite_add_tcase(suite, tests);
    tests = tcase_create("held");
    tcase_add_checked_fixture(tests, setup_holding, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, sleeping_leader_sends_for_another_thread);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return suite_run(threads_suite());
}

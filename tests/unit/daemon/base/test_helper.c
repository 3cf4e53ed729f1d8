/* SPDX-License-Identifier: MIT */
#include "daemon/base/helper.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/suite.h"

enum { TIMEOUT_MS = 20000, MANY_JOBS = 100000 };

/* A job that says where it ran, and, if it has a gate, hangs until a byte comes out of that pipe.
 */
struct task {
    struct helper_job job;
    int gate_fd; /* -1: none */
    pthread_t ran_on;
    bool signals_blocked;
    unsigned int place; /* the how manieth to run, from 1 */
    bool done;
};

static struct mailbox box;
static struct helper_pool *pool;
static atomic_uint places;
static unsigned int done_count;
static pthread_t owner;

static struct task *task_of(struct helper_job *job)
{
    return (struct task *)(void *)((char *)job - offsetof(struct task, job));
}

static bool all_signals_blocked(void)
{
    sigset_t blocked;

    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    for (int number = 1; number < 32; number++)
        if (number != SIGKILL && number != SIGSTOP && number != SIGBUS &&
            !sigismember(&blocked, number))
            return false;
    return !sigismember(&blocked, SIGBUS); /* its handler has to run (thread.h) */
}

static void task_run(struct helper_job *job)
{
    struct task *task = task_of(job);
    char byte;

    task->place = atomic_fetch_add(&places, 1) + 1;
    task->ran_on = pthread_self();
    task->signals_blocked = all_signals_blocked();
    if (task->gate_fd >= 0)
        ck_assert_int_eq(read(task->gate_fd, &byte, 1), 1);
}

static void on_task_done(struct helper_job *job)
{
    ck_assert(pthread_equal(pthread_self(), owner));
    task_of(job)->done = true;
    done_count++;
}

static void task_submit(struct task *task, int gate_fd, struct helper_share *first,
                        struct helper_share *second)
{
    *task = (struct task){
        .job = {.run = task_run,
                .on_done = on_task_done,
                .reply_to = &box,
                .shares = {first, second}},
        .gate_fd = gate_fd,
    };
    helper_submit(pool, &task->job);
}

static void wait_until_done(unsigned int count)
{
    while (done_count < count) {
        struct pollfd poll_fd = {.fd = mailbox_fd(&box), .events = POLLIN};

        ck_assert_msg(poll(&poll_fd, 1, TIMEOUT_MS) == 1, "%u of %u done", done_count, count);
        mailbox_drain(&box);
    }
}

/* Nothing tells of it; so it is looked at again and again. */
static void wait_for_counts(struct helper_counts wanted)
{
    struct timespec pause = {.tv_nsec = 1000000};
    struct helper_counts counts;

    for (int i = 0; i < TIMEOUT_MS; i++) {
        helper_count(pool, &counts);
        if (counts.running == wanted.running && counts.waiting == wanted.waiting &&
            counts.threads == wanted.threads)
            return;
        nanosleep(&pause, NULL);
    }
    ck_abort_msg("%u run, %u wait, %u threads", counts.running, counts.waiting, counts.threads);
}

static void gate_open(int gate[2], size_t count)
{
    static const char bytes[16];

    ck_assert_int_eq(write(gate[1], bytes, count), (ssize_t)count);
}

static void pool_start(unsigned int max_threads)
{
    owner = pthread_self();
    ck_assert_int_eq(mailbox_init(&box), 0);
    ck_assert_int_eq(helper_new(max_threads, "test-helper", &pool), 0);
}

static void pool_end(void)
{
    pool = helper_free(pool);
    mailbox_drain(&box);
    mailbox_deinit(&box);
}

START_TEST(a_job_runs_elsewhere_and_ends_with_its_owner)
{
    struct task task;

    pool_start(2);
    task_submit(&task, -1, NULL, NULL);
    wait_until_done(1);
    ck_assert(!pthread_equal(task.ran_on, pthread_self()));
    ck_assert(task.signals_blocked);
    ck_assert(!all_signals_blocked());
    pool_end();
}
END_TEST

START_TEST(threads_start_on_demand_up_to_the_maximum)
{
    struct task tasks[5];
    int gate[2];

    ck_assert_int_eq(pipe(gate), 0);
    pool_start(3);
    wait_for_counts((struct helper_counts){.threads = 1});
    task_submit(&tasks[0], gate[0], NULL, NULL);
    wait_for_counts((struct helper_counts){.running = 1, .threads = 1});
    for (int i = 1; i < 5; i++)
        task_submit(&tasks[i], gate[0], NULL, NULL);
    wait_for_counts((struct helper_counts){.running = 3, .waiting = 2, .threads = 3});
    gate_open(gate, 5);
    wait_until_done(5);
    pool_end();
}
END_TEST

START_TEST(idle_threads_end_but_for_one)
{
    struct task tasks[4];
    int gate[2];

    ck_assert_int_eq(pipe(gate), 0);
    pool_start(4);
    helper_set_idle_ms(pool, 20);
    for (int i = 0; i < 4; i++)
        task_submit(&tasks[i], gate[0], NULL, NULL);
    wait_for_counts((struct helper_counts){.running = 4, .threads = 4});
    gate_open(gate, 4);
    wait_until_done(4);
    wait_for_counts((struct helper_counts){.threads = 1});
    task_submit(&tasks[0], -1, NULL, NULL);
    wait_until_done(5);
    pool_end();
}
END_TEST

START_TEST(jobs_of_one_share_run_in_their_order)
{
    struct helper_share share;
    struct task tasks[200];

    helper_share_init(&share, 1);
    pool_start(4);
    for (int i = 0; i < 200; i++)
        task_submit(&tasks[i], -1, &share, NULL);
    wait_until_done(200);
    for (unsigned int i = 0; i < 200; i++)
        ck_assert_uint_eq(tasks[i].place, i + 1);
    pool_end();
    helper_share_deinit(&share);
}
END_TEST

START_TEST(jobs_that_wait_for_a_thread_run_in_their_order)
{
    struct task tasks[100];
    int gate[2];

    ck_assert_int_eq(pipe(gate), 0);
    pool_start(1);
    for (int i = 0; i < 100; i++)
        task_submit(&tasks[i], i == 0 ? gate[0] : -1, NULL, NULL);
    gate_open(gate, 1);
    wait_until_done(100);
    for (unsigned int i = 0; i < 100; i++)
        ck_assert_uint_eq(tasks[i].place, i + 1);
    pool_end();
}
END_TEST

START_TEST(a_hung_device_holds_up_its_own_jobs_only)
{
    struct helper_share hung, well;
    struct task hung_tasks[10], tasks[100];
    int gate[2];

    ck_assert_int_eq(pipe(gate), 0);
    helper_share_init(&hung, 2);
    helper_share_init(&well, 2);
    pool_start(4);
    for (int i = 0; i < 10; i++)
        task_submit(&hung_tasks[i], gate[0], &hung, NULL);
    for (int i = 0; i < 100; i++)
        task_submit(&tasks[i], -1, &well, NULL);
    wait_until_done(100);

    struct helper_counts counts;
    helper_count(pool, &counts);
    ck_assert_uint_eq(counts.running, 2);
    ck_assert_uint_eq(counts.waiting, 8);
    for (int i = 0; i < 10; i++)
        ck_assert(!hung_tasks[i].done);

    gate_open(gate, 10);
    wait_until_done(110);
    pool_end();
    helper_share_deinit(&hung);
    helper_share_deinit(&well);
}
END_TEST

static uint64_t cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* On one CPU a wake-up costs the same each time; to another one it costs more, now and then. */
static void stay_on_this_cpu(void)
{
    cpu_set_t cpu;

    CPU_ZERO(&cpu);
    CPU_SET((size_t)sched_getcpu(), &cpu);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(cpu), &cpu), 0);
}

/* CPU time of all threads for 1,000 jobs one after another. */
static uint64_t cpu_of_thousand(struct helper_share *share)
{
    uint64_t before = cpu_ns();

    for (int i = 0; i < 1000; i++) {
        struct task task;

        task_submit(&task, -1, share, NULL);
        wait_until_done(done_count + 1);
    }
    return cpu_ns() - before;
}

/* The least of three: what else runs on this CPU makes it more, never less. */
static uint64_t least_cpu_of_thousand(struct helper_share *share)
{
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < 3; i++) {
        const uint64_t cpu = cpu_of_thousand(share);

        if (cpu < least)
            least = cpu;
    }
    return least;
}

START_TEST(a_long_queue_behind_one_share_costs_others_nothing)
{
    struct helper_share hung, well;
    struct task *blocked = calloc(MANY_JOBS, sizeof(*blocked));
    struct task holder;
    int gate[2];

    ck_assert_ptr_nonnull(blocked);
    ck_assert_int_eq(pipe(gate), 0);
    helper_share_init(&hung, 1);
    helper_share_init(&well, 2);
    stay_on_this_cpu();
    pool_start(4);
    cpu_of_thousand(&well);
    uint64_t alone = least_cpu_of_thousand(&well);
    task_submit(&holder, gate[0], &hung, NULL);
    for (int i = 0; i < MANY_JOBS; i++)
        task_submit(&blocked[i], -1, i % 2 ? &well : &hung, i % 2 ? &hung : NULL);
    uint64_t beside = least_cpu_of_thousand(&well);

    /* One look through the queue takes longer than a job: a scan would make this many times as
     * much.
     */
    ck_assert_msg(beside < alone * 3, "%llu us, with the queue %llu us",
                  (unsigned long long)alone / 1000, (unsigned long long)beside / 1000);
    gate_open(gate, 1);
    wait_until_done(7001 + MANY_JOBS);
    pool_end();
    helper_share_deinit(&hung);
    helper_share_deinit(&well);
    free(blocked);
}
END_TEST

START_TEST(a_job_waits_for_each_of_its_shares_in_turn)
{
    struct helper_share first, second;
    struct task holds_first, holds_second, both, late;
    int first_gate[2], second_gate[2];

    ck_assert_int_eq(pipe(first_gate), 0);
    ck_assert_int_eq(pipe(second_gate), 0);
    helper_share_init(&first, 1);
    helper_share_init(&second, 1);
    pool_start(4);
    task_submit(&holds_first, first_gate[0], &first, NULL);
    task_submit(&holds_second, second_gate[0], &second, NULL);
    task_submit(&both, -1, &first, &second);
    task_submit(&late, -1, &second, NULL);

    gate_open(first_gate, 1);
    wait_until_done(1);
    ck_assert(holds_first.done && !both.done);
    gate_open(second_gate, 1);
    wait_until_done(4);
    /* It came before `late`, and goes before it, though it reached the second queue after it. */
    ck_assert_uint_lt(both.place, late.place);
    pool_end();
    helper_share_deinit(&first);
    helper_share_deinit(&second);
}
END_TEST

START_TEST(a_job_that_waits_for_one_share_does_not_hold_the_other)
{
    struct helper_share hung, well;
    struct task holder, both, alone;
    int gate[2];

    ck_assert_int_eq(pipe(gate), 0);
    helper_share_init(&hung, 1);
    helper_share_init(&well, 1);
    pool_start(4);
    task_submit(&holder, gate[0], &hung, NULL);
    task_submit(&both, -1, &well, &hung);
    task_submit(&alone, -1, &well, NULL);
    wait_until_done(1);
    ck_assert(alone.done && !both.done);
    gate_open(gate, 1);
    wait_until_done(3);
    pool_end();
    helper_share_deinit(&hung);
    helper_share_deinit(&well);
}
END_TEST

/* What runs at once, counted by the jobs themselves. */
static atomic_int at_once, at_once_most;

static void crowd_run(struct helper_job *job)
{
    int now = atomic_fetch_add(&at_once, 1) + 1;
    int most = atomic_load(&at_once_most);

    (void)job;
    while (now > most && !atomic_compare_exchange_weak(&at_once_most, &most, now))
        ;
    sched_yield();
    atomic_fetch_sub(&at_once, 1);
}

START_TEST(a_share_is_never_exceeded)
{
    enum { CROWD = 20000 };
    struct helper_share share, others[3];
    struct task *tasks = calloc(CROWD, sizeof(*tasks));

    ck_assert_ptr_nonnull(tasks);
    helper_share_init(&share, 3);
    for (int i = 0; i < 3; i++)
        helper_share_init(&others[i], 2);
    pool_start(8);
    for (int i = 0; i < CROWD; i++) {
        tasks[i].job = (struct helper_job){.run = crowd_run,
                                           .on_done = on_task_done,
                                           .reply_to = &box,
                                           .shares = {&others[i % 3], &share}};
        helper_submit(pool, &tasks[i].job);
    }
    wait_until_done(CROWD);
    ck_assert_int_le(atomic_load(&at_once_most), 3);
    pool_end();
    helper_share_deinit(&share);
    for (int i = 0; i < 3; i++)
        helper_share_deinit(&others[i]);
    free(tasks);
}
END_TEST

START_TEST(ending_waits_for_jobs_that_are_queued)
{
    struct helper_share share;
    struct task tasks[100];

    helper_share_init(&share, 1);
    pool_start(3);
    for (int i = 0; i < 100; i++)
        task_submit(&tasks[i], -1, i % 2 ? &share : NULL, NULL);
    pool = helper_free(pool);
    mailbox_drain(&box);
    ck_assert_uint_eq(done_count, 100);
    mailbox_deinit(&box);
    helper_share_deinit(&share);
}
END_TEST

START_TEST(jobs_are_run_where_no_further_thread_can_be_started)
{
    struct rlimit none = {.rlim_cur = 0, .rlim_max = 1000};
    struct rlimit enough = {.rlim_cur = 1000, .rlim_max = 1000};
    struct task tasks[3];
    int gate[2];

    if (geteuid() != 0) {
        fprintf(stderr, "skipped: needs root, to become a user that may start no thread\n");
        return;
    }
    ck_assert_int_eq(pipe(gate), 0);
    pool_start(3);
    ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &none), 0);
    ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
    task_submit(&tasks[0], -1, NULL, NULL);
    wait_until_done(1);

    /* What one hangs in holds up the other only as long as there is no further thread. */
    task_submit(&tasks[1], gate[0], NULL, NULL);
    wait_for_counts((struct helper_counts){.running = 1, .threads = 1});
    task_submit(&tasks[2], -1, NULL, NULL);
    wait_for_counts((struct helper_counts){.running = 1, .waiting = 1, .threads = 1});
    ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &enough), 0);
    wait_until_done(2);
    gate_open(gate, 1);
    wait_until_done(3);
    pool_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("helper");
    TCase *tests = tcase_create("helper");

    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, a_job_runs_elsewhere_and_ends_with_its_owner);
    tcase_add_test(tests, threads_start_on_demand_up_to_the_maximum);
    tcase_add_test(tests, idle_threads_end_but_for_one);
    tcase_add_test(tests, jobs_of_one_share_run_in_their_order);
    tcase_add_test(tests, jobs_that_wait_for_a_thread_run_in_their_order);
    tcase_add_test(tests, a_hung_device_holds_up_its_own_jobs_only);
    tcase_add_test(tests, a_long_queue_behind_one_share_costs_others_nothing);
    tcase_add_test(tests, a_job_waits_for_each_of_its_shares_in_turn);
    tcase_add_test(tests, a_job_that_waits_for_one_share_does_not_hold_the_other);
    tcase_add_test(tests, a_share_is_never_exceeded);
    tcase_add_test(tests, ending_waits_for_jobs_that_are_queued);
    tcase_add_test(tests, jobs_are_run_where_no_further_thread_can_be_started);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

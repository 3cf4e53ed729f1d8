/* SPDX-License-Identifier: MIT */
/*
 * See helper.h. A submitted job is in exactly one place: in one share's queue (that share is full),
 * in `ready` (it holds its shares; no thread is free), or with a thread. A share that has room has
 * nobody in its queues, but for the moment in which pool_settle looks through them.
 *
 * All threads but the first are started, and all are joined, by one more, the keeper. So a
 * submitter never pays for the start of a thread, and a thread that cannot be started now (a limit
 * on tasks) is tried again. The first is there from the beginning, and the last one does not end:
 * whatever the limit, jobs are run. The thread that went idle last is taken first: a light load
 * lets the others end.
 */
#include "daemon/base/helper.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "daemon/base/log.h"
#include "daemon/base/thread.h"

/* After a thread could not be started: when it is tried again. */
enum { KEEPER_RETRY_MS = 100, KEEPER_LOG_EVERY = 600 };

/* `job` and `link`: under the pool's mutex; all else is constant. */
struct helper_thread {
    struct helper_pool *pool;
    pthread_t id;
    pthread_cond_t wake;
    struct helper_job *job; /* handed over while it is idle */
    LIST_ENTRY(helper_thread) link;
};

LIST_HEAD(helper_thread_list, helper_thread);

/* What there is to do. All members: under the pool's mutex. */
struct pool_jobs {
    struct helper_job_queue ready;
    unsigned int ready_count;
    unsigned int running;
    unsigned int waiting; /* in shares' queues or in `ready` */
};

/* Who does it. All members: under the pool's mutex. */
struct pool_threads {
    unsigned int count;    /* started and not ended */
    unsigned int starting; /* of these: have not yet looked for a job */
    unsigned int refused;  /* how often in a row one could not be started */
    unsigned int idle_ms;
    struct helper_thread_list idle;
    struct helper_thread_list ended; /* to be joined */
};

/* `name`, `max_threads` and `keeper` are constant; all else: under `mutex`. */
struct helper_pool {
    char name[THREAD_NAME_BYTES];
    unsigned int max_threads;
    pthread_t keeper;

    pthread_mutex_t mutex;
    pthread_cond_t keeper_wake;
    bool ending;
    struct pool_jobs jobs;
    struct pool_threads threads;
};

static struct helper_job *job_of_letter(struct letter *letter)
{
    return (struct helper_job *)(void *)((char *)letter - offsetof(struct helper_job, letter));
}

static void on_letter(struct letter *letter)
{
    struct helper_job *job = job_of_letter(letter);

    job->on_done(job);
}

void helper_share_init(struct helper_share *share, unsigned int limit)
{
    assert(limit > 0);
    *share = (struct helper_share){.limit = limit};
    STAILQ_INIT(&share->returned);
    STAILQ_INIT(&share->blocked);
}

void helper_share_deinit(struct helper_share *share)
{
    assert(share->running == 0);
    assert(STAILQ_EMPTY(&share->returned) && STAILQ_EMPTY(&share->blocked));
    (void)share;
}

static struct timespec deadline_in(unsigned int milliseconds)
{
    struct timespec when;

    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_sec += milliseconds / 1000;
    when.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (when.tv_nsec >= 1000000000) {
        when.tv_sec++;
        when.tv_nsec -= 1000000000;
    }
    return when;
}

/* --- Shares and jobs, under the pool's lock --- */

static struct helper_share *job_full_share(const struct helper_job *job)
{
    for (unsigned int i = 0; i < HELPER_SHARES; i++) {
        struct helper_share *share = job->shares[i];

        if (share && share->running >= share->limit)
            return share;
    }
    return NULL;
}

static void job_take_shares(const struct helper_job *job)
{
    for (unsigned int i = 0; i < HELPER_SHARES; i++)
        if (job->shares[i])
            job->shares[i]->running++;
}

static bool pool_wants_thread(const struct helper_pool *pool)
{
    return pool->jobs.ready_count > pool->threads.starting &&
           pool->threads.count < pool->max_threads;
}

/* A job that holds its shares goes to a thread, or where the next free thread looks. */
static void pool_start(struct helper_pool *pool, struct helper_job *job)
{
    struct helper_thread *thread = LIST_FIRST(&pool->threads.idle);

    if (thread) {
        LIST_REMOVE(thread, link);
        thread->job = job;
        pool->jobs.waiting--;
        pool->jobs.running++;
        pthread_cond_signal(&thread->wake);
        return;
    }

    STAILQ_INSERT_TAIL(&pool->jobs.ready, job, link);
    pool->jobs.ready_count++;
    if (pool_wants_thread(pool))
        pthread_cond_signal(&pool->keeper_wake);
}

static struct helper_job *share_pop(struct helper_share *share)
{
    struct helper_job_queue *queue =
        STAILQ_EMPTY(&share->returned) ? &share->blocked : &share->returned;
    struct helper_job *job = STAILQ_FIRST(queue);

    if (job)
        STAILQ_REMOVE_HEAD(queue, link);
    return job;
}

/* A share has got room: its jobs go on, in their order, to start or to wait for another share. */
static void pool_settle(struct helper_pool *pool, struct helper_share *share)
{
    while (share->running < share->limit) {
        struct helper_job *job = share_pop(share);
        if (!job)
            return;

        struct helper_share *full = job_full_share(job);
        if (full) {
            STAILQ_INSERT_TAIL(&full->returned, job, link);
        } else {
            job_take_shares(job);
            pool_start(pool, job);
        }
    }
}

static void pool_release_shares(struct helper_pool *pool, const struct helper_job *job)
{
    for (unsigned int i = 0; i < HELPER_SHARES; i++)
        if (job->shares[i])
            job->shares[i]->running--;
    for (unsigned int i = 0; i < HELPER_SHARES; i++)
        if (job->shares[i])
            pool_settle(pool, job->shares[i]);
}

static struct helper_job *pool_pop_ready(struct helper_pool *pool)
{
    struct helper_job *job = STAILQ_FIRST(&pool->jobs.ready);

    if (job) {
        STAILQ_REMOVE_HEAD(&pool->jobs.ready, link);
        pool->jobs.ready_count--;
        pool->jobs.waiting--;
        pool->jobs.running++;
    }
    return job;
}

static bool pool_is_done(const struct helper_pool *pool)
{
    return pool->ending && pool->jobs.running == 0 && pool->jobs.waiting == 0;
}

static void pool_wake_all(struct helper_pool *pool)
{
    struct helper_thread *thread;

    LIST_FOREACH (thread, &pool->threads.idle, link)
        pthread_cond_signal(&thread->wake);
    pthread_cond_signal(&pool->keeper_wake);
}

/* --- A thread --- */

/* Waits as an idle thread for a job: NULL when it has been idle for long, and is not the last one,
 * or the pool ends. */
static struct helper_job *thread_wait(struct helper_thread *thread)
{
    struct helper_pool *pool = thread->pool;
    struct timespec deadline = deadline_in(pool->threads.idle_ms);
    int error = 0;

    thread->job = NULL;
    LIST_INSERT_HEAD(&pool->threads.idle, thread, link);
    while (!thread->job && !pool_is_done(pool)) {
        if (pool->threads.count == 1)
            error = pthread_cond_wait(&thread->wake, &pool->mutex);
        else if (error == ETIMEDOUT)
            break;
        else
            error = pthread_cond_timedwait(&thread->wake, &pool->mutex, &deadline);
    }

    if (!thread->job)
        LIST_REMOVE(thread, link);
    return thread->job;
}

/* The job has run. Returns the next one if there is one at once; the caller posts `job` after that.
 */
static struct helper_job *thread_swap(struct helper_pool *pool, struct helper_job *job)
{
    pthread_mutex_lock(&pool->mutex);
    pool->jobs.running--;
    pool_release_shares(pool, job);
    struct helper_job *next = pool_pop_ready(pool);
    if (pool_is_done(pool))
        pool_wake_all(pool);
    pthread_mutex_unlock(&pool->mutex);
    return next;
}

static void thread_run(struct helper_pool *pool, struct helper_job *job)
{
    while (job) {
        job->run(job);
        struct helper_job *next = thread_swap(pool, job);

        /* The last that is seen of the job here: its owner may free it now. */
        if (job->reply_to)
            mailbox_post(job->reply_to, &job->letter);
        else
            job->on_done(job);
        job = next;
    }
}

static void *thread_main(void *argument)
{
    struct helper_thread *thread = argument;
    struct helper_pool *pool = thread->pool;
    struct helper_job *job;

    pthread_mutex_lock(&pool->mutex);
    pool->threads.starting--;
    while ((job = pool_pop_ready(pool)) || (job = thread_wait(thread))) {
        pthread_mutex_unlock(&pool->mutex);
        thread_run(pool, job);
        pthread_mutex_lock(&pool->mutex);
    }
    pool->threads.count--;
    LIST_INSERT_HEAD(&pool->threads.ended, thread, link);
    pthread_cond_signal(&pool->keeper_wake);
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* --- The keeper --- */

static void thread_free(struct helper_thread *thread)
{
    pthread_cond_destroy(&thread->wake);
    free(thread);
}

static int cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error != 0)
        return -error;

    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error = pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
    return -error;
}

static int thread_new(struct helper_pool *pool)
{
    CLEANUP_FREE struct helper_thread *thread = calloc(1, sizeof(*thread));
    if (!thread)
        return -ENOMEM;
    thread->pool = pool;

    int error = cond_init_monotonic(&thread->wake);
    if (error < 0)
        return error;

    error = thread_start(&thread->id, pool->name, thread_main, thread);
    if (error < 0) {
        pthread_cond_destroy(&thread->wake);
        return error;
    }
    TAKE_PTR(thread);
    return 0;
}

static void pool_log_shortage(const struct helper_pool *pool, const struct helper_counts *counts,
                              int error)
{
    struct log_line line;

    log_begin(&line, LOG_LEVEL_WARNING, "threads-unavailable");
    log_text(&line, "pool", pool->name);
    log_number(&line, "threads", counts->threads);
    log_number(&line, "waiting", counts->waiting);
    log_text(&line, "message", "no thread can be started; requests wait for those that there are");
    log_errno(&line, error);
    log_end(&line);
}

/* Starts one thread, without the lock meanwhile. A shortage is told when it begins, and each
 * minute. */
static int keeper_start_thread(struct helper_pool *pool)
{
    struct helper_counts counts = {.threads = pool->threads.count, .waiting = pool->jobs.waiting};
    bool tell = pool->threads.refused % KEEPER_LOG_EVERY == 0;

    pool->threads.count++;
    pool->threads.starting++;
    pthread_mutex_unlock(&pool->mutex);
    int error = thread_new(pool);
    if (error < 0 && tell)
        pool_log_shortage(pool, &counts, error);
    pthread_mutex_lock(&pool->mutex);

    pool->threads.refused = error < 0 ? pool->threads.refused + 1 : 0;
    if (error < 0) {
        pool->threads.count--;
        pool->threads.starting--;
    }
    return error;
}

static void keeper_join_ended(struct helper_pool *pool)
{
    struct helper_thread *thread;

    while ((thread = LIST_FIRST(&pool->threads.ended))) {
        LIST_REMOVE(thread, link);
        pthread_mutex_unlock(&pool->mutex);
        pthread_join(thread->id, NULL);
        thread_free(thread);
        pthread_mutex_lock(&pool->mutex);
    }
}

static void *keeper_main(void *argument)
{
    struct helper_pool *pool = argument;

    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        keeper_join_ended(pool);
        if (pool_is_done(pool) && pool->threads.count == 0)
            break;

        if (!pool_wants_thread(pool)) {
            if (LIST_EMPTY(&pool->threads.ended))
                pthread_cond_wait(&pool->keeper_wake, &pool->mutex);
        } else if (keeper_start_thread(pool) < 0) {
            struct timespec retry = deadline_in(KEEPER_RETRY_MS);
            pthread_cond_timedwait(&pool->keeper_wake, &pool->mutex, &retry);
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* The keeper, and the first thread. */
static int pool_start_threads(struct helper_pool *pool)
{
    pool->threads.count = 1;
    pool->threads.starting = 1;
    int error = thread_start(&pool->keeper, pool->name, keeper_main, pool);
    if (error < 0)
        return error;

    error = thread_new(pool);
    if (error < 0) {
        pthread_mutex_lock(&pool->mutex);
        pool->threads.count = 0;
        pool->threads.starting = 0;
        pool->ending = true;
        pthread_cond_signal(&pool->keeper_wake);
        pthread_mutex_unlock(&pool->mutex);
        pthread_join(pool->keeper, NULL);
    }
    return error;
}

/* --- The pool --- */

int helper_new(unsigned int max_threads, const char *name, struct helper_pool **ret_pool)
{
    assert(max_threads > 0);
    assert(strlen(name) < THREAD_NAME_BYTES);

    CLEANUP_FREE struct helper_pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return -ENOMEM;

    strcpy(pool->name, name);
    pool->max_threads = max_threads;
    pool->threads.idle_ms = HELPER_IDLE_MS;
    STAILQ_INIT(&pool->jobs.ready);
    pthread_mutex_init(&pool->mutex, NULL);
    int error = cond_init_monotonic(&pool->keeper_wake);
    if (error < 0)
        return error;

    error = pool_start_threads(pool);
    if (error < 0) {
        pthread_cond_destroy(&pool->keeper_wake);
        return error;
    }
    *ret_pool = TAKE_PTR(pool);
    return 0;
}

struct helper_pool *helper_free(struct helper_pool *pool)
{
    if (!pool)
        return NULL;

    pthread_mutex_lock(&pool->mutex);
    pool->ending = true;
    pool_wake_all(pool);
    pthread_mutex_unlock(&pool->mutex);

    pthread_join(pool->keeper, NULL);
    pthread_cond_destroy(&pool->keeper_wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
    return NULL;
}

void helper_set_idle_ms(struct helper_pool *pool, unsigned int idle_ms)
{
    pthread_mutex_lock(&pool->mutex);
    pool->threads.idle_ms = idle_ms;
    pthread_mutex_unlock(&pool->mutex);
}

void helper_submit(struct helper_pool *pool, struct helper_job *job)
{
    job->letter.deliver = on_letter;

    pthread_mutex_lock(&pool->mutex);
    pool->jobs.waiting++;
    struct helper_share *full = job_full_share(job);
    if (full) {
        STAILQ_INSERT_TAIL(&full->blocked, job, link);
    } else {
        job_take_shares(job);
        pool_start(pool, job);
    }
    pthread_mutex_unlock(&pool->mutex);
}

void helper_count(struct helper_pool *pool, struct helper_counts *ret_counts)
{
    pthread_mutex_lock(&pool->mutex);
    *ret_counts = (struct helper_counts){
        .running = pool->jobs.running,
        .waiting = pool->jobs.waiting,
        .threads = pool->threads.count,
    };
    pthread_mutex_unlock(&pool->mutex);
}

/* SPDX-License-Identifier: MIT */
/*
 * The engine that makes transfers go wrong, by the rules of fault_rules.h, and hands all the rest
 * to the engine that it wraps. For tests of what sits above.
 *
 * A transfer that no rule strikes goes through untouched. One that is to fail or to wait is put in
 * `plans`, in the order in which they fall due, and a timer makes the engine readable then:
 * failures fall due at once. So nothing blocks, and completions come from process only.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/engine/fault_rules.h"
#include "daemon/engine/impl.h"

/* What is to become of a transfer that was struck. */
struct fault_plan {
    TAILQ_ENTRY(fault_plan) link;
    uint64_t due_ns;
    struct fault_outcome outcome;
    struct engine_io *io;
    struct engine_io cut; /* what the inner engine gets for a short transfer */
    struct iovec iov[];   /* of `cut` */
};

TAILQ_HEAD(fault_plan_queue, fault_plan);

/* All members: the owner's thread. */
struct engine_fault {
    struct engine engine;
    struct engine *inner;
    struct fault_rules rules;
    struct fault_plan_queue plans; /* by due_ns */
    int timer_fd;
    int epoll_fd; /* the inner engine and the timer: what we show as our descriptor */
};

static struct engine_fault *fault_of(const struct engine *engine)
{
    return (struct engine_fault *)(uintptr_t)engine;
}

static size_t io_length(const struct engine_io *io)
{
    size_t length = 0;

    for (int i = 0; i < io->iov_count; i++)
        length += io->iov[i].iov_len;
    return length;
}

/* The timer fires when the first plan falls due, and not at all without plans. */
static void fault_set_timer(struct engine_fault *fault)
{
    const struct fault_plan *first = TAILQ_FIRST(&fault->plans);
    struct itimerspec when = {0};

    if (first) {
        when.it_value.tv_sec = (time_t)(first->due_ns / 1000000000);
        when.it_value.tv_nsec = (long)(first->due_ns % 1000000000);
    }
    int result = timerfd_settime(fault->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    assert(result == 0);
    (void)result;
}

static void fault_insert(struct engine_fault *fault, struct fault_plan *plan)
{
    struct fault_plan *before = TAILQ_LAST(&fault->plans, fault_plan_queue);

    while (before && before->due_ns > plan->due_ns)
        before = TAILQ_PREV(before, fault_plan_queue, link);
    if (before)
        TAILQ_INSERT_AFTER(&fault->plans, before, plan, link);
    else
        TAILQ_INSERT_HEAD(&fault->plans, plan, link);
    if (TAILQ_FIRST(&fault->plans) == plan)
        fault_set_timer(fault);
}

static void fault_pass(struct engine_fault *fault, struct engine_io *io)
{
    fault->inner->ops->submit(fault->inner, io);
}

static void fault_submit(struct engine *engine, struct engine_io *io)
{
    struct engine_fault *fault = fault_of(engine);
    enum fault_op op = io->op == ENGINE_READ ? FAULT_READ : FAULT_WRITE;
    struct fault_outcome outcome =
        fault_rules_next(&fault->rules, op, io->offset_bytes, io_length(io));

    if (outcome.delay_us == 0 && outcome.error == 0 && outcome.limit_bytes == 0) {
        fault_pass(fault, io);
        return;
    }

    size_t iovs = (size_t)io->iov_count * sizeof(struct iovec);
    struct fault_plan *plan = calloc(1, sizeof(*plan) + iovs);
    if (!plan) { /* then it does not go wrong */
        fault_pass(fault, io);
        return;
    }
    plan->io = io;
    plan->outcome = outcome;
    plan->due_ns = clock_ns() + outcome.delay_us * 1000;
    fault_insert(fault, plan);
}

/* The short transfer is over: its length is the caller's result. */
static void on_cut_done(struct engine_io *cut, ssize_t result)
{
    struct fault_plan *plan =
        (struct fault_plan *)(void *)((char *)cut - offsetof(struct fault_plan, cut));
    struct engine_io *io = plan->io;

    cut->engine->in_threads += cut->punts || cut->copies;
    cut->engine->in_flight++; /* it counted as one with `io`, which is finished here */
    free(plan);
    engine_finish(io, result);
}

static void plan_pass_cut(struct engine_fault *fault, struct fault_plan *plan)
{
    size_t left = plan->outcome.limit_bytes;
    int count = 0;

    for (; left > 0; count++) {
        plan->iov[count] = plan->io->iov[count];
        if (plan->iov[count].iov_len > left)
            plan->iov[count].iov_len = left;
        left -= plan->iov[count].iov_len;
    }
    plan->cut = *plan->io;
    plan->cut.iov = plan->iov;
    plan->cut.iov_count = count;
    plan->cut.on_done = on_cut_done;
    fault_pass(fault, &plan->cut);
}

/* Returns how many transfers that ended: 0 or 1. */
static unsigned int plan_execute(struct engine_fault *fault, struct fault_plan *plan)
{
    struct engine_io *io = plan->io;
    int error = plan->outcome.error;

    if (error == 0 && plan->outcome.limit_bytes != 0) {
        plan_pass_cut(fault, plan);
        return 0;
    }

    free(plan);
    if (error == 0) {
        fault_pass(fault, io);
        return 0;
    }
    engine_finish(io, error);
    return 1;
}

/* What has fallen due when this begins: a transfer that on_done submits waits for the next round.
 */
static unsigned int fault_execute_due(struct engine_fault *fault)
{
    struct fault_plan_queue due = TAILQ_HEAD_INITIALIZER(due);
    struct fault_plan *plan;
    uint64_t now = clock_ns();
    unsigned int done = 0;

    while ((plan = TAILQ_FIRST(&fault->plans)) && plan->due_ns <= now) {
        TAILQ_REMOVE(&fault->plans, plan, link);
        TAILQ_INSERT_TAIL(&due, plan, link);
    }
    if (!TAILQ_EMPTY(&due))
        fault_set_timer(fault);
    while ((plan = TAILQ_FIRST(&due))) {
        TAILQ_REMOVE(&due, plan, link);
        done += plan_execute(fault, plan);
    }
    return done;
}

static void fault_kick(struct engine *engine)
{
    struct engine *inner = fault_of(engine)->inner;

    inner->ops->kick(inner);
}

static bool fault_ready(struct engine *engine)
{
    struct engine_fault *fault = fault_of(engine);
    const struct fault_plan *first = TAILQ_FIRST(&fault->plans);

    return (first && first->due_ns <= clock_ns()) || engine_ready(fault->inner);
}

static unsigned int fault_process(struct engine *engine)
{
    struct engine_fault *fault = fault_of(engine);
    unsigned int done = TAILQ_EMPTY(&fault->plans) ? 0 : fault_execute_due(fault);

    return done + engine_process(fault->inner);
}

static int fault_fd(const struct engine *engine)
{
    return fault_of(engine)->epoll_fd;
}

static int fault_pin(struct engine *engine, struct engine_pin *pin, const int *fds,
                     unsigned int count)
{
    return engine_pin(fault_of(engine)->inner, pin, fds, count);
}

static void fault_unpin(struct engine *engine, struct engine_pin *pin)
{
    engine_unpin(fault_of(engine)->inner, pin);
}

static void fault_register_memory(struct engine *engine, struct engine_memory *memory)
{
    engine_register(fault_of(engine)->inner, memory, memory->base, memory->size_bytes);
}

static void fault_unregister_memory(struct engine *engine, struct engine_memory *memory)
{
    engine_unregister(fault_of(engine)->inner, memory);
}

static void fault_verb_fault(struct engine *engine, uint64_t *ret_delay_us, int *ret_error)
{
    struct fault_outcome outcome = fault_rules_next(&fault_of(engine)->rules, FAULT_SYNC, 0, 0);

    *ret_delay_us = outcome.delay_us;
    *ret_error = outcome.error;
}

static void fault_free(struct engine *engine)
{
    struct engine_fault *fault = fault_of(engine);

    assert(TAILQ_EMPTY(&fault->plans));
    engine_free(fault->inner);
    (void)close(fault->epoll_fd);
    (void)close(fault->timer_fd);
    free(fault);
}

static const struct engine_ops fault_ops = {
    .name = "fault",
    .free = fault_free,
    .submit = fault_submit,
    .kick = fault_kick,
    .ready = fault_ready,
    .process = fault_process,
    .fd = fault_fd,
    .pin = fault_pin,
    .unpin = fault_unpin,
    .register_memory = fault_register_memory,
    .unregister_memory = fault_unregister_memory,
    .verb_fault = fault_verb_fault,
};

static int epoll_add(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int fault_new(const char *rules, struct engine *inner, struct engine **ret_engine)
{
    CLEANUP_FREE struct engine_fault *fault = calloc(1, sizeof(*fault));
    if (!fault)
        return -ENOMEM;
    int error = fault_rules_parse(rules, &fault->rules);
    if (error < 0)
        return error;

    CLEANUP_CLOSE int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer_fd < 0)
        return -errno;
    CLEANUP_CLOSE int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        return -errno;
    error = epoll_add(epoll_fd, timer_fd);
    if (error == 0)
        error = epoll_add(epoll_fd, engine_fd(inner));
    if (error < 0)
        return error;

    TAILQ_INIT(&fault->plans);
    fault->engine.ops = &fault_ops;
    fault->inner = inner;
    fault->timer_fd = TAKE_FD(timer_fd);
    fault->epoll_fd = TAKE_FD(epoll_fd);
    *ret_engine = &TAKE_PTR(fault)->engine;
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* See wait.h. */
#include "client/lib/core/wait.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>

#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/traffic.h"

enum {
    /* Between looks at the socket while the ring is waited for: with answers to come through it as
       well, and without. */
    LOOK_NS = 8000,
    LOOK_SELDOM_NS = 50000,
};

static struct timespec wait_timespec(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
}

/* What the thread that leads waits for, as it was when it began. */
struct wait_plan {
    bool unsent;
    bool ring; /* there is one to look at */
    /* How seldom to look at the socket, which takes a system call: 0 while nothing is expected of
     * the ring. */
    uint64_t look_ns;
};

static struct wait_plan wait_make_plan(const struct blkd *connection)
{
    struct wait_plan plan = {
        .unsent = connection->sender.blocked,
        .ring = rings_ready(&connection->rings),
    };

    if (plan.ring && connection->rings.memory.in_flight > 0)
        plan.look_ns = connection->requests.in_flight > 0 ? LOOK_NS : LOOK_SELDOM_NS;
    return plan;
}

static bool wait_ring_has(const struct blkd *connection, const struct wait_plan *plan)
{
    return plan->ring && ring_consumer_ready(&connection->rings.memory.completions);
}

bool wait_socket_due(const struct blkd *connection)
{
    return !rings_ready(&connection->rings) ||
           clock_now_ns() - connection->lead.polling.looked_ns >= LOOK_SELDOM_NS;
}

/* Looks at the socket if it is time to. */
static ssize_t wait_look(struct blkd *connection, const struct wait_plan *plan, uint64_t now_ns)
{
    if (now_ns - connection->lead.polling.looked_ns < plan->look_ns)
        return -EAGAIN;
    connection->lead.polling.looked_ns = now_ns;
    return receiver_receive(&connection->receiver);
}

static ssize_t wait_look_now(struct blkd *connection, const struct wait_plan *plan)
{
    if (plan->ring)
        connection->lead.polling.looked_ns = clock_now_ns();
    return receiver_receive(&connection->receiver);
}

/* Polls ring and socket until the budget is spent. */
static ssize_t wait_spin_for(struct blkd *connection, const struct wait_plan *plan,
                             uint64_t budget_ns)
{
    uint64_t start_ns = clock_now_ns();
    uint64_t last_ns = start_ns;

    for (;;) {
        uint64_t now_ns;
        ssize_t n;

        spin_pause(last_ns - start_ns);
        now_ns = clock_now_ns();
        if (now_ns - last_ns > SPIN_GAP_NS && !spin_lost_cpu())
            start_ns += now_ns - last_ns;
        last_ns = now_ns;
        n = wait_look(connection, plan, now_ns);
        if (n != -EAGAIN || wait_ring_has(connection, plan)) {
            spin_found(&connection->lead.polling.spin, now_ns - start_ns);
            return n;
        }
        if (now_ns - start_ns >= budget_ns) {
            spin_failed(&connection->lead.polling.spin);
            return n;
        }
    }
}

/* Whether the daemon last ran on this CPU: then it waits for this thread. Tells it the CPU. */
static bool wait_shares_cpu(struct blkd *connection, const struct wait_plan *plan)
{
    int cpu;

    if (!plan->ring)
        return false;
    cpu = sched_getcpu();
    ring_consumer_set_cpu(&connection->rings.memory.completions, cpu);
    return plan->look_ns > 0 &&
           ring_producer_shares_cpu(&connection->rings.memory.submissions, cpu);
}

/* Polls for as long as it is worth it. The mutex is not held. */
static ssize_t wait_spin(struct blkd *connection, const struct wait_plan *plan)
{
    uint64_t budget_ns;
    ssize_t n;

    if (wait_shares_cpu(connection, plan))
        return -EAGAIN;
    budget_ns = spin_begin(&connection->lead.polling.spin);
    if (budget_ns == 0 || !spin_enter())
        return -EAGAIN;
    n = wait_spin_for(connection, plan, budget_ns);
    spin_leave();
    return n;
}

/* Sleeps until the socket is ready or the thread is kicked. 0, -ETIMEDOUT or a negative errno. */
static int wait_sleep(struct blkd *connection, bool unsent, uint64_t deadline_ns)
{
    struct pollfd fds[2] = {
        {.fd = connection->socket, .events = (short)(POLLIN | (unsent ? POLLOUT : 0))},
        {.fd = connection->lead.kick_fd, .events = POLLIN},
    };
    struct timespec left;
    uint64_t kicks;
    int n;

    if (deadline_ns != CLOCK_NO_DEADLINE) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        left = wait_timespec(deadline_ns - now_ns);
    }
    n = ppoll(fds, 2, deadline_ns == CLOCK_NO_DEADLINE ? NULL : &left, NULL);
    if (n < 0)
        return -errno;
    if (n == 0)
        return -ETIMEDOUT;
    if (fds[1].revents != 0)
        (void)eventfd_read(connection->lead.kick_fd, &kicks);
    return 0;
}

/* The daemon wakes the thread that sleeps here through the socket when completions come. */
static ssize_t wait_sleep_and_receive(struct blkd *connection, const struct wait_plan *plan,
                                      uint64_t deadline_ns)
{
    struct ring_consumer *completions = &connection->rings.memory.completions;
    uint64_t start_ns;
    int r;

    if (plan->ring && !ring_consumer_sleep(completions))
        return -EAGAIN;
    start_ns = clock_now_ns();
    r = wait_sleep(connection, plan->unsent, deadline_ns);
    spin_slept(&connection->lead.polling.spin, clock_now_ns() - start_ns);
    if (plan->ring)
        ring_consumer_wake(completions);
    return r < 0 ? r : receiver_receive(&connection->receiver);
}

/* Receives, waiting for it if need be. Returns what receiver_receive does; -EAGAIN: look again, at
 * the ring too. */
static ssize_t wait_receive(struct blkd *connection, const struct wait_plan *plan,
                            uint64_t deadline_ns)
{
    ssize_t n = -EAGAIN;

    if (plan->look_ns == 0 || deadline_ns == 0 ||
        clock_now_ns() - connection->lead.polling.looked_ns >= LOOK_SELDOM_NS)
        n = wait_look_now(connection, plan);
    if (n != -EAGAIN || wait_ring_has(connection, plan))
        return n;
    if (deadline_ns == 0)
        return -ETIMEDOUT;
    if (!plan->unsent)
        n = wait_spin(connection, plan);
    if (n != -EAGAIN || wait_ring_has(connection, plan))
        return n;
    return wait_sleep_and_receive(connection, plan, deadline_ns);
}

static void wait_lose(struct blkd *connection, int error)
{
    if (error == 0)
        call_table_lose(&connection->calls, "the daemon (pid %u) exited or closed the connection",
                        connection->introduction.server.pid);
    else
        call_table_lose(&connection->calls, "receiving from the daemon (pid %u) failed: %s",
                        connection->introduction.server.pid, blkd_strerror(error));
}

static int wait_lead(struct blkd *connection, enum lead_role role, uint64_t deadline_ns)
{
    struct wait_plan plan = wait_make_plan(connection);
    ssize_t n;

    connection->lead.reading = true;
    connection->lead.role = role;
    rings_wake(&connection->rings);
    receiver_prepare(&connection->receiver);
    pthread_mutex_unlock(&connection->mutex);
    n = wait_receive(connection, &plan, deadline_ns);
    pthread_mutex_lock(&connection->mutex);
    connection->lead.reading = false;

    rings_reap(&connection->rings); /* what was completed before the daemon went away counts */
    if (n > 0)
        receiver_take(&connection->receiver, (size_t)n);
    else if (n != -EAGAIN && n != -ETIMEDOUT && n != -EINTR)
        wait_lose(connection, (int)n);
    if (plan.unsent || call_table_waits(&connection->calls))
        traffic_push(connection);
    if (role != LEAD_TO_DISPATCH && dispatch_pending(connection))
        dispatch_announce(connection);
    return n == -ETIMEDOUT || n == -EINTR ? (int)n : 0;
}

static int wait_follow(struct blkd *connection, struct call *call, enum lead_role role,
                       uint64_t deadline_ns)
{
    struct waiter waiter = {.dispatches = role == LEAD_TO_DISPATCH};
    struct timespec deadline = wait_timespec(deadline_ns);
    int r;

    if (deadline_ns == 0)
        return -ETIMEDOUT;
    (void)pthread_cond_init(&waiter.wake, NULL);
    TAILQ_INSERT_TAIL(&connection->lead.waiters, &waiter, link);
    if (call != NULL)
        call->waiter = &waiter.wake;
    if (deadline_ns == CLOCK_NO_DEADLINE)
        r = pthread_cond_wait(&waiter.wake, &connection->mutex);
    else
        r = pthread_cond_clockwait(&waiter.wake, &connection->mutex, CLOCK_MONOTONIC, &deadline);
    if (call != NULL)
        call->waiter = NULL;
    TAILQ_REMOVE(&connection->lead.waiters, &waiter, link);
    (void)pthread_cond_destroy(&waiter.wake);
    return r == ETIMEDOUT ? -ETIMEDOUT : 0;
}

int wait_step(struct blkd *connection, struct call *call, enum lead_role role, uint64_t deadline_ns)
{
    if (connection->lead.reading)
        return wait_follow(connection, call, role, deadline_ns);
    return wait_lead(connection, role, deadline_ns);
}

int wait_for_call(struct blkd *connection, struct call *call, uint64_t deadline_ns)
{
    int r = 0;

    while (call->progress.state != CALL_DONE && r != -ETIMEDOUT)
        r = wait_step(connection, call, LEAD_FOR_CALL, deadline_ns);
    lead_hand_over(&connection->lead);
    wait_leave(connection);
    return call->progress.state == CALL_DONE ? 0 : r;
}

void wait_leave(struct blkd *connection)
{
    traffic_rest(connection);
    if (dispatch_pending(connection))
        dispatch_announce(connection);
}

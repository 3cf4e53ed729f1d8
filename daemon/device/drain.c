/* SPDX-License-Identifier: MIT */
/*
 * Drains: what is in flight is counted by the epoch it began in. A drain turns the epoch and is
 * done when the old one's count is 0. There are two epochs, so drains take their turns; one that
 * waits for its turn covers what began before that, which is more than it has to and never less.
 *
 * Invariant: while drains wait, in_flight[1 - epoch] is what the first of them waits for, and not
 * 0.
 */
#include "daemon/device/drain.h"

#include <assert.h>

#include "common/container.h"

void drain_gate_init(struct drain_gate *gate)
{
    *gate = (struct drain_gate){.epoch = 0};
    TAILQ_INIT(&gate->drains);
}

static void on_drain_letter(struct letter *letter)
{
    struct drain *drain = CONTAINER_OF(letter, struct drain, letter);
    drain->on_done(drain);
}

/* False: nothing is in flight. */
static bool drain_turn(struct drain_gate *gate)
{
    assert(gate->in_flight[1 - gate->epoch] == 0);
    gate->epoch = 1 - gate->epoch;
    return gate->in_flight[1 - gate->epoch] > 0;
}

bool drain_gate_wait(struct drain_gate *gate, struct drain *drain)
{
    if (TAILQ_EMPTY(&gate->drains) && !drain_turn(gate))
        return false;
    TAILQ_INSERT_TAIL(&gate->drains, drain, link);
    return true;
}

static void drain_step(struct drain_gate *gate)
{
    struct drain *drain = TAILQ_FIRST(&gate->drains);
    if (drain == NULL)
        return;
    do {
        TAILQ_REMOVE(&gate->drains, drain, link);
        drain->letter.deliver = on_drain_letter;
        loop_post(drain->loop, &drain->letter);
        drain = TAILQ_FIRST(&gate->drains);
    } while (drain != NULL && !drain_turn(gate));
}

unsigned int drain_gate_enter(struct drain_gate *gate)
{
    gate->in_flight[gate->epoch]++;
    return gate->epoch;
}

void drain_gate_leave(struct drain_gate *gate, unsigned int epoch)
{
    assert(gate->in_flight[epoch] > 0);
    if (--gate->in_flight[epoch] == 0 && epoch != gate->epoch)
        drain_step(gate);
}

unsigned int drain_gate_count(const struct drain_gate *gate)
{
    return gate->in_flight[0] + gate->in_flight[1];
}

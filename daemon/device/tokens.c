/* SPDX-License-Identifier: MIT */
#include "daemon/device/tokens.h"

#include "common/container.h"
#include "daemon/base/log.h"
#include "daemon/state/state.h"

void tokens_init(struct tokens *tokens, struct state *state)
{
    *tokens = (struct tokens){.state = state};
}

static void on_reserve_run(struct helper_job *job)
{
    struct tokens *tokens = CONTAINER_OF(job, struct tokens, job);
    char message[STATE_MESSAGE_MAX];
    int error = state_reserve_tokens(tokens->state, message);
    if (error < 0)
        log_message(LOG_LEVEL_WARNING, "tokens-not-reserved", "%s", message);
}

static void on_reserve_done(struct helper_job *job)
{
    struct tokens *tokens = CONTAINER_OF(job, struct tokens, job);
    loop_release(tokens->loop);
    atomic_store(&tokens->reserving, false);
}

void tokens_reserve_ahead(struct tokens *tokens, struct loop *loop)
{
    if (!state_tokens_low(tokens->state) || atomic_exchange(&tokens->reserving, true))
        return;
    tokens->loop = loop;
    tokens->job = (struct helper_job){.run = on_reserve_run, .on_done = on_reserve_done};
    loop_hold(loop);
    loop_submit(loop, &tokens->job);
}

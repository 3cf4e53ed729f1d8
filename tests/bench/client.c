/* SPDX-License-Identifier: MIT */
/* The measuring loop; see client.h. */
#include "tests/bench/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/bench/clock.h"
#include "tests/bench/complaint.h"
#include "tests/bench/memory.h"

struct client {
    const struct bench_options *options;
    struct client_result *result;
    struct target *target;
    struct workload workload;
    unsigned int index;
    enum op_kind first_kind;
    struct op *ops;
    struct op *ready; /* complete, to be submitted anew */
    unsigned int in_flight;
    uint64_t remaining; /* operations still to begin */
    uint64_t now_ns;    /* when the last operation completed */
    struct client_window window;
    bool lost;    /* the target cannot say any more what is in flight */
    void *memory; /* the buffers of all operations, memory_bytes of it */
    size_t memory_bytes;
};

/* ---- the loop ---- */

static void client_fail(struct client *client, const struct op *op, const char *what, int error)
{
    client->result->failed_ops++;
    client->remaining = 0;
    if (client->result->error)
        return;
    client->result->error = error;
    if (op)
        complain("%s of %zu bytes at byte %llu on %s: %s", what, op->buffer.iov_len,
                 (unsigned long long)op->offset_bytes, client->options->target_text,
                 strerror(-error));
    else
        complain("%s on %s: %s", what, client->options->target_text, strerror(-error));
}

static void client_check(struct client *client, const struct op *op)
{
    uint64_t wrong_at = 0;
    if (pattern_check(op->buffer.iov_base, op->buffer.iov_len, op->offset_bytes, &wrong_at))
        return;
    complain("wrong data at byte %llu of %s", (unsigned long long)wrong_at,
             client->options->target_text);
    client->result->error = client->result->error ? client->result->error : -EIO;
    client_fail(client, op, "read", -EIO);
}

void op_complete(struct op *op, int result)
{
    static const char *const kinds[] = {"read", "write", "flush"};
    struct client *client = op->client;
    client->now_ns = clock_ns(CLOCK_MONOTONIC);
    client->in_flight--;
    if (result < 0) {
        client_fail(client, op, kinds[op->kind], result);
        return;
    }
    op->next = client->ready;
    client->ready = op;
    if (op->kind == OP_READ && client->options->verify)
        client_check(client, op);
    if (op->kind == OP_WRITE && client->workload.type == WORKLOAD_WRITEFLUSH) {
        op->kind = OP_FLUSH; /* the second half of the same operation */
        op->stage = OP_HALF_DONE;
        return;
    }
    op->stage = OP_NEW;
    if (client->now_ns >= client->window.begin_ns && client->now_ns < client->window.end_ns)
        histogram_add(&client->result->latency_ns, client->now_ns - op->started_ns);
}

static void client_prepare(struct client *client, struct op *op)
{
    client->remaining--;
    op->kind = client->first_kind;
    op->offset_bytes = workload_next_offset(&client->workload);
    if (op->kind == OP_WRITE && client->options->verify)
        pattern_fill(op->buffer.iov_base, op->buffer.iov_len, op->offset_bytes);
    op->started_ns = clock_ns(CLOCK_MONOTONIC);
}

static void client_submit(struct client *client, struct op *op)
{
    if (client->remaining == 0)
        return; /* it rests until client_start */
    if (op->stage == OP_NEW)
        client_prepare(client, op);
    client->in_flight++;
    int r = client->target->type->submit(client->target, op);
    if (r < 0) {
        client->in_flight--;
        client_fail(client, op, "submission", r);
    }
}

/* Submits all that is ready, as one batch, and waits unless some of it is done already. */
static void client_turn(struct client *client)
{
    struct op *batch = client->ready;
    client->ready = NULL;
    while (batch) {
        struct op *op = batch;
        batch = op->next;
        client_submit(client, op);
    }
    if (client->ready || client->in_flight == 0)
        return;
    int r = client->target->type->wait(client->target);
    if (r < 0) {
        client->lost = true;
        client_fail(client, NULL, "waiting for replies", r);
    }
}

static void client_start(struct client *client, uint64_t count)
{
    client->ready = NULL;
    for (unsigned int i = client->options->depth; i-- > 0;) {
        struct op *op = &client->ops[i];
        op->stage = OP_NEW;
        op->next = client->ready;
        client->ready = op;
    }
    client->remaining = count;
    client->now_ns = clock_ns(CLOCK_MONOTONIC);
}

static void client_run_until(struct client *client, uint64_t end_ns)
{
    while (client->now_ns < end_ns && client->remaining > 0)
        client_turn(client);
}

static void client_drain(struct client *client)
{
    client->remaining = 0;
    while (client->in_flight > 0 && !client->lost)
        client_turn(client);
}

/* ---- what is measured around it ---- */

static uint64_t seconds_ns(double seconds)
{
    return (uint64_t)(seconds * NS_PER_SECOND);
}

struct client_window client_window(const struct bench_options *options, uint64_t start_ns)
{
    uint64_t begin_ns = start_ns + seconds_ns(options->warmup_seconds);
    return (struct client_window){
        .begin_ns = begin_ns,
        .end_ns = begin_ns + seconds_ns(options->seconds),
    };
}

static const char *client_tier(const struct client *client)
{
    const struct target_type *type = client->target->type;
    const char *tier = type->tier ? type->tier(client->target) : NULL;
    return tier ? tier : "";
}

/* That what is about to be measured is what was asked for: rings are made in the background, and
 * $BLKD_TIER or the daemon may have refused them. */
static void client_check_tier(struct client *client)
{
    const char *asked = client->options->tier;
    const char *tier = client_tier(client);
    (void)snprintf(client->result->tier, sizeof(client->result->tier), "%s", tier);
    if (!*tier || !asked || strcmp(asked, "auto") == 0 || strcmp(asked, tier) == 0)
        return;
    client->result->error = client->result->error ? client->result->error : -EOPNOTSUPP;
    client->remaining = 0;
    complain("--tier=%s: after the warm-up of %g s %s still goes by %s; is the daemon able to, and "
             "the warm-up long enough?",
             asked, client->options->warmup_seconds, client->options->target_text, tier);
}

void client_measure(struct client *client, uint64_t start_ns)
{
    client->window = client_window(client->options, start_ns);
    client_start(client, UINT64_MAX);
    client_run_until(client, client->window.begin_ns);
    client_check_tier(client);
    client_run_until(client, client->window.end_ns);
    struct client_result *result = client->result;
    if (strcmp(result->tier, client_tier(client)) != 0)
        (void)snprintf(result->tier, sizeof(result->tier), "%s", CLIENT_TIER_MIXED);
    client_drain(client);
}

int client_pass(struct client *client)
{
    client_start(client, client->workload.count_blocks);
    while (client->remaining > 0)
        client_turn(client);
    client_drain(client);
    return client->result->error;
}

/* ---- its life ---- */

static int client_map(struct client *client)
{
    struct target *target = client->target;
    size_t size_bytes = (size_t)client->options->depth * client->options->block_bytes;
    int r = target->type->alloc ? target->type->alloc(target, size_bytes, &client->memory)
                                : memory_map(size_bytes, &client->memory);
    if (r == 0)
        client->memory_bytes = size_bytes;
    return r;
}

/* Not while the target may still transfer into it. */
static void client_unmap(struct client *client)
{
    if (!client->memory || client->lost)
        return;
    if (client->target->type->free)
        client->target->type->free(client->target, client->memory, client->memory_bytes);
    else
        memory_unmap(client->memory, client->memory_bytes);
}

static int client_prepare_ops(struct client *client)
{
    const struct bench_options *options = client->options;
    int r = client_map(client);
    if (r == 0 && !(client->ops = calloc(options->depth, sizeof(*client->ops))))
        r = -ENOMEM;
    if (r < 0) {
        complain("no memory for %u buffers of %u bytes: %s", options->depth, options->block_bytes,
                 strerror(-r));
        return r;
    }
    for (unsigned int i = 0; i < options->depth; i++) {
        client->ops[i].client = client;
        client->ops[i].buffer.iov_base = (char *)client->memory + (size_t)i * options->block_bytes;
        client->ops[i].buffer.iov_len = options->block_bytes;
    }
    return 0;
}

static int client_open(struct client *client)
{
    const struct bench_options *options = client->options;
    struct target_options target_options = {
        .address = options->address,
        .socket = options->socket,
        .tier = options->tier,
        .depth = options->depth,
        .busy_poll_us = options->busy_poll_us,
        .read_write = workload_writes(options->workload),
        .o_direct = options->o_direct,
        .arena_buffers = options->buffers == BUFFERS_ARENA,
    };
    int r = options->target->open(&target_options, &client->target);
    if (r < 0)
        return r;
    if (options->block_bytes % client->target->granule_bytes != 0) {
        complain("--bs=%u is not a multiple of the sector size of %s, %u bytes",
                 options->block_bytes, options->target_text, client->target->granule_bytes);
        return -EINVAL;
    }
    r = workload_init(&client->workload, options->workload, client->target->size_bytes,
                      options->block_bytes, client->index, options->clients, options->seed);
    if (r < 0)
        complain("%s has %llu bytes, less than one block of %u for each of %u clients",
                 options->target_text, (unsigned long long)client->target->size_bytes,
                 options->block_bytes, options->clients);
    return r;
}

static void cleanup_client(struct client **client)
{
    client_free(*client);
}

int client_new(const struct bench_options *options, unsigned int index,
               struct client_result *result, struct client **ret_client)
{
    CLEANUP(cleanup_client) struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    client->options = options;
    client->index = index;
    client->result = result;
    int r = client_open(client);
    if (r == 0)
        r = client_prepare_ops(client);
    if (r < 0)
        return r;
    client->first_kind = workload_first_kind(&client->workload);
    *ret_client = TAKE_PTR(client);
    return 0;
}

struct client *client_free(struct client *client)
{
    if (!client)
        return NULL;
    client_unmap(client);
    if (client->target)
        client->target->type->close(client->target);
    free(client->ops);
    free(client);
    return NULL;
}

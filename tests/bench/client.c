/* SPDX-License-Identifier: MIT */
/* The measuring loop; see client.h. */
#include "tests/bench/client.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

enum { NS_PER_SECOND = 1000000000 };

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
    bool measuring;
    bool lost; /* the target cannot say any more what is in flight */
    struct iovec memory;
};

uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    (void)clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

/* ---- the loop ---- */

static void client_fail(struct client *client, const struct op *op, const char *what, int error)
{
    client->result->failed_ops++;
    client->remaining = 0;
    if (client->result->error)
        return;
    client->result->error = error;
    if (op)
        warnx("%s of %zu bytes at byte %llu on %s: %s", what, op->buffer.iov_len,
              (unsigned long long)op->offset_bytes, client->options->target_text, strerror(-error));
    else
        warnx("%s on %s: %s", what, client->options->target_text, strerror(-error));
}

static void client_check(struct client *client, const struct op *op)
{
    uint64_t wrong_at = 0;
    if (pattern_check(op->buffer.iov_base, op->buffer.iov_len, op->offset_bytes, &wrong_at))
        return;
    warnx("wrong data at byte %llu of %s", (unsigned long long)wrong_at,
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
    if (client->measuring)
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

struct sample {
    uint64_t time_ns;
    uint64_t cpu_ns;
    uint64_t server_cpu_ns;
};

/* The CPU clock of a process counts all its threads, also those that have ended and io_uring's
 * workers, in nanoseconds; /proc/PID/stat would count in ticks. */
static struct sample client_sample(const struct client *client)
{
    struct sample sample = {.time_ns = clock_ns(CLOCK_MONOTONIC)};
    clockid_t server_clock;
    if (client->index == 0 || client->options->processes)
        sample.cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (client->index == 0 && client->options->server_pid &&
        clock_getcpuclockid(client->options->server_pid, &server_clock) == 0)
        sample.server_cpu_ns = clock_ns(server_clock);
    return sample;
}

static uint64_t seconds_ns(double seconds)
{
    return (uint64_t)(seconds * NS_PER_SECOND);
}

void client_measure(struct client *client, uint64_t start_ns)
{
    uint64_t begin_ns = start_ns + seconds_ns(client->options->warmup_seconds);
    client_start(client, UINT64_MAX);
    client_run_until(client, begin_ns);
    struct sample begin = client_sample(client);
    client->measuring = true;
    client_run_until(client, begin_ns + seconds_ns(client->options->seconds));
    client->measuring = false;
    struct sample end = client_sample(client);
    client_drain(client);

    struct client_result *result = client->result;
    result->window_ns = end.time_ns - begin.time_ns;
    result->cpu_ns = end.cpu_ns - begin.cpu_ns;
    if (end.server_cpu_ns > begin.server_cpu_ns)
        result->server_cpu_ns = end.server_cpu_ns - begin.server_cpu_ns;
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
    const struct bench_options *options = client->options;
    size_t length = (size_t)options->depth * options->block_bytes;
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    memset(memory, 0xb1, length);
    client->memory = (struct iovec){.iov_base = memory, .iov_len = length};
    client->ops = calloc(options->depth, sizeof(*client->ops));
    if (!client->ops)
        return -ENOMEM;
    for (unsigned int i = 0; i < options->depth; i++) {
        client->ops[i].client = client;
        client->ops[i].buffer.iov_base = (char *)memory + (size_t)i * options->block_bytes;
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
        .memory = client->memory,
        .depth = options->depth,
        .busy_poll_us = options->busy_poll_us,
        .read_write = workload_writes(options->workload),
        .o_direct = options->o_direct,
    };
    int r = options->target->open(&target_options, &client->target);
    if (r < 0)
        return r;
    if (options->block_bytes % client->target->granule_bytes != 0) {
        warnx("--bs=%u is not a multiple of the sector size of %s, %u bytes", options->block_bytes,
              options->target_text, client->target->granule_bytes);
        return -EINVAL;
    }
    r = workload_init(&client->workload, options->workload, client->target->size_bytes,
                      options->block_bytes, client->index, options->clients, options->seed);
    if (r < 0)
        warnx("%s has %llu bytes, less than one block of %u for each of %u clients",
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
    int r = client_map(client);
    if (r < 0) {
        warnx("no memory for %u buffers of %u bytes: %s", options->depth, options->block_bytes,
              strerror(-r));
        return r;
    }
    r = client_open(client);
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
    if (client->target)
        client->target->type->close(client->target);
    if (client->memory.iov_base)
        (void)munmap(client->memory.iov_base, client->memory.iov_len);
    free(client->ops);
    free(client);
    return NULL;
}

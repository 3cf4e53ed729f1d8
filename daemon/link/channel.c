/* SPDX-License-Identifier: MIT */
/* A channel's life, its completions and its sleep. What is submitted is taken in
 * channel_submissions.c. */
#include "daemon/link/channel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "common/status.h"
#include "daemon/base/sigbus.h"
#include "daemon/link/conn.h"

/* So many completions of small transfers, or fewer of larger ones, are shown to the client at once:
 * so that it works on them while the worker works on the rest. */
enum { CHANNEL_PUBLISH = 8 };

/* A client that sleeps is woken after this time at the latest, however busy the worker is with what
 * it has submitted. A wake-up takes the worker some microseconds, and the client tens of them. */
enum { CHANNEL_WAKE_NS = 100000 };

struct channel *channel_new(struct conn *conn)
{
    struct channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL)
        return NULL;
    channel->conn = conn;
    channel->doorbell_fd = -1;
    return channel;
}

static void channel_close_doorbell(struct channel *channel)
{
    if (channel->doorbell_fd >= 0)
        (void)close(TAKE_FD(channel->doorbell_fd));
}

static void channel_free_piece(struct channel *channel, struct piece *piece)
{
    if (piece == NULL)
        return;
    engine_unregister(channel->conn->worker->io.engine, &piece->memory);
    piece_give_back(piece);
}

struct channel *channel_free(struct channel *channel, int process_fd)
{
    struct worker *worker = channel->conn->worker;
    assert(channel->in_flight == 0 && !channel->ready_queued);
    channel_stop(channel);
    struct parting_estate estate = {.process_fd = process_fd};
    estate.doorbell_fd = TAKE_FD(channel->doorbell_fd);
    if (channel->misused)
        piece_give_back(channel->rings);
    else
        estate.rings = channel->rings;
    for (uint32_t i = 0; i < ARENAS_PER_CONNECTION; i++) {
        struct channel_arena *arena = channel->arenas[i];
        if (arena != NULL && !arena->scratch && arena->piece != NULL && !channel->misused) {
            engine_unregister(worker->io.engine, &arena->piece->memory);
            estate.arenas[i] = arena->piece;
        } else if (arena != NULL) {
            channel_free_piece(channel, arena->piece);
        }
        free(arena);
    }
    parting_begin(worker, &estate);
    free(channel);
    return NULL;
}

/* ---- sleeping and waking ---- */

static void channel_awaken(struct channel *channel)
{
    struct worker *worker = channel->conn->worker;
    if (channel->state == CHANNEL_AWAKE)
        return;
    ring_consumer_wake(&channel->submissions);
    channel->state = CHANNEL_AWAKE;
    channel->busy_ns = worker->rings.looked_ns;
    TAILQ_INSERT_TAIL(&worker->rings.awake, channel, awake_link);
    worker->rings.awake_count++;
    worker->polling.activity++;
}

static void channel_leave(struct channel *channel)
{
    struct worker *worker = channel->conn->worker;
    if (channel->state != CHANNEL_AWAKE)
        return;
    channel->state = CHANNEL_ASLEEP;
    TAILQ_REMOVE(&worker->rings.awake, channel, awake_link);
    worker->rings.awake_count--;
}

void channel_hold(struct channel *channel)
{
    channel_leave(channel);
    channel->held = true;
}

void channel_resume(struct channel *channel)
{
    if (!channel->held)
        return;
    channel->held = false;
    channel_awaken(channel);
}

bool channel_sleep(struct channel *channel)
{
    if (!ring_consumer_sleep(&channel->submissions))
        return false;
    channel_leave(channel);
    return true;
}

/* The eventfd is never read: it is watched for edges, and a client could have read it, or have made
 * reading block. */
static void on_channel_doorbell(evutil_socket_t fd, short what, void *user_data)
{
    struct channel *channel = user_data;
    (void)fd;
    (void)what;
    if (channel->conn->state == CONN_SERVING && !channel->held)
        channel_awaken(channel);
}

int channel_start(struct channel *channel, struct piece *rings)
{
    CLEANUP_CLOSE int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    channel->doorbell = event_new(channel->conn->worker->io.base.events, fd,
                                  EV_READ | EV_ET | EV_PERSIST, on_channel_doorbell, channel);
    if (channel->doorbell == NULL || event_add(channel->doorbell, NULL) < 0)
        return -ENOMEM; /* channel_unstart frees the event */
    channel->doorbell_fd = TAKE_FD(fd);
    channel->rings = rings;
    struct ring_words *words = (struct ring_words *)(void *)rings->base;
    const struct ring_layout *layout = &channel->layout;
    ring_consumer_init(&channel->submissions, &words[0], rings->base + layout->submissions,
                       layout->entries, sizeof(struct ring_submission));
    ring_producer_init(&channel->completions, &words[1], rings->base + layout->completions,
                       layout->entries, sizeof(struct ring_completion));
    channel_awaken(channel);
    return 0;
}

void channel_stop(struct channel *channel)
{
    struct worker *worker = channel->conn->worker;
    channel_leave(channel);
    if (channel->dirty)
        TAILQ_REMOVE(&worker->rings.dirty, channel, dirty_link);
    if (channel->wake_due)
        TAILQ_REMOVE(&worker->rings.due, channel, due_link);
    channel->dirty = false;
    channel->wake_due = false;
    if (channel->doorbell != NULL)
        event_free(channel->doorbell);
    channel->doorbell = NULL;
}

void channel_unstart(struct channel *channel)
{
    assert(channel->in_flight == 0);
    channel_stop(channel);
    channel_close_doorbell(channel);
    channel->rings = NULL;
}

/* ---- completions ---- */

void channel_publish(struct channel *channel)
{
    if (channel->dirty)
        TAILQ_REMOVE(&channel->conn->worker->rings.dirty, channel, dirty_link);
    unsigned int shown = channel->unpublished;
    channel->dirty = false;
    channel->unpublished = 0;
    channel->unpublished_weight = 0;
    /* Who sees a completion may reckon with the place of its submission (ring.h). */
    ring_consumer_release(&channel->submissions);
    channel->shown += shown;
    if (ring_producer_publish(&channel->completions) && !channel->wake_due) {
        channel->wake_due = true;
        channel->shown = shown;
        channel->due_ns = channel->conn->worker->rings.looked_ns;
        TAILQ_INSERT_TAIL(&channel->conn->worker->rings.due, channel, due_link);
    }
}

static void channel_put(struct channel *channel, uint64_t id, const struct channel_end *end)
{
    struct ring_completion completion = {.id = id,
                                         .status = (uint32_t)status_from_errno(end->error)};
    unsigned int weight = channel_weigh(end->length_bytes);
    if (end->message != NULL) {
        uint32_t place = ring_producer_place(&channel->completions);
        size_t bytes = strnlen(end->message, RING_MESSAGE_REASON);
        uint8_t *slot =
            channel->rings->base + channel->layout.messages + (size_t)place * RING_MESSAGE_BYTES;
        (void)memcpy(slot, end->message, bytes);
        slot[RING_MESSAGE_REASON] = (uint8_t)end->refusal;
        completion.message_bytes = (uint32_t)bytes;
    }
    (void)ring_producer_put(&channel->completions, &completion);
    channel->unpublished++;
    channel->unpublished_weight += weight;
    if (channel->unpublished_weight >= CHANNEL_PUBLISH) {
        channel_publish(channel);
    } else if (!channel->dirty) {
        channel->dirty = true;
        TAILQ_INSERT_TAIL(&channel->conn->worker->rings.dirty, channel, dirty_link);
    }
}

void channel_complete(struct channel *channel, uint64_t id, const struct channel_end *end)
{
    struct conn *conn = channel->conn;
    if (conn->state != CONN_CLOSING)
        channel_put(channel, id, end);
    channel->in_flight--;
    conn->requests.count--;
}

/* ---- waking the client ---- */

bool channel_wake_overdue(const struct channel *channel, uint64_t now_ns)
{
    return now_ns - channel->due_ns >= CHANNEL_WAKE_NS;
}

bool channel_should_wake(const struct channel *channel, uint64_t now_ns)
{
    return channel->shown >= ring_consumer_waiting(&channel->submissions) ||
           channel_wake_overdue(channel, now_ns);
}

static void on_channel_ready_sent(struct outgoing *outgoing)
{
    struct channel *channel = CONTAINER_OF(outgoing, struct channel, ready);
    outgoing_deinit(outgoing);
    channel->ready_queued = false;
}

void channel_wake_client(struct channel *channel)
{
    struct conn *conn = channel->conn;
    TAILQ_REMOVE(&conn->worker->rings.due, channel, due_link);
    channel->wake_due = false;
    if (conn->state == CONN_CLOSING || channel->ready_queued ||
        !ring_producer_must_wake(&channel->completions))
        return;
    Blkd__RingReady ready = BLKD__RING_READY__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;
    Blkd__Reply reply = BLKD__REPLY__INIT;
    event.what_case = BLKD__EVENT__WHAT_RING_READY;
    event.ring_ready = &ready;
    conn_number_event(conn, &event, &reply);
    channel->ready = (struct outgoing){.release = on_channel_ready_sent};
    /* So small that it is packed in place. */
    if (outgoing_pack(&channel->ready, &reply, 0) < 0)
        return;
    channel->ready_queued = true;
    conn_queue(conn, &channel->ready);
}

void channel_tell_client(struct channel *channel)
{
    if (channel->dirty)
        channel_publish(channel);
    if (channel->wake_due)
        channel_wake_client(channel);
}

bool channel_shares_cpu(const struct channel *channel, int cpu)
{
    return ring_producer_shares_cpu(&channel->completions, cpu);
}

bool channel_ready(const struct channel *channel)
{
    return ring_consumer_ready(&channel->submissions);
}

bool channel_is_lost(const struct channel *channel)
{
    bool lost = channel->rings != NULL && sigbus_is_lost(channel->rings->area);
    for (uint32_t i = 0; i < ARENAS_PER_CONNECTION && !lost; i++) {
        const struct channel_arena *arena = channel->arenas[i];
        lost = arena != NULL && arena->piece != NULL && sigbus_is_lost(arena->piece->area);
    }
    return lost;
}

/* ---- arenas ---- */

int channel_reserve(struct channel *channel, size_t size_bytes, struct channel_arena **ret_arena)
{
    struct conn *conn = channel->conn;
    uint64_t limit = conn->worker->server->limits.arena_mib_per_connection * (UINT64_C(1) << 20);
    uint64_t used = atomic_load(&conn->shown.arena_bytes);
    uint32_t number = 0;
    while (number < ARENAS_PER_CONNECTION && channel->arenas[number] != NULL)
        number++;
    if (number == ARENAS_PER_CONNECTION || size_bytes > limit || used > limit - size_bytes)
        return -EDQUOT;
    struct channel_arena *arena = calloc(1, sizeof(*arena));
    if (arena == NULL)
        return -ENOMEM;
    arena->number = number;
    arena->size_bytes = size_bytes;
    atomic_fetch_add(&conn->shown.arena_bytes, size_bytes);
    channel->arenas[number] = arena;
    *ret_arena = arena;
    return 0;
}

const struct engine_memory *channel_arena_memory(struct channel *channel,
                                                 struct channel_arena *arena)
{
    struct piece *piece = arena->piece;
    if (!arena->offered && piece->size_bytes <= ARENA_REGISTER_MAX)
        engine_register(channel->conn->worker->io.engine, &piece->memory, piece->base,
                        piece->size_bytes);
    arena->offered = true;
    return &piece->memory;
}

struct channel_arena *channel_find_arena(const struct channel *channel, uint32_t number)
{
    struct channel_arena *arena = number < ARENAS_PER_CONNECTION ? channel->arenas[number] : NULL;
    return arena == NULL || arena->piece == NULL || arena->removal != NULL ? NULL : arena;
}

void channel_drop_arena(struct channel *channel, struct channel_arena *arena)
{
    atomic_fetch_sub(&channel->conn->shown.arena_bytes, arena->size_bytes);
    channel->arenas[arena->number] = NULL;
    free(arena);
}

void channel_forget_arena(struct channel *channel, struct channel_arena *arena)
{
    struct piece *piece = arena->piece;
    channel_drop_arena(channel, arena);
    channel_free_piece(channel, piece);
}

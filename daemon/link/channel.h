/* SPDX-License-Identifier: MIT */
/*
 * The fast way of a connection: rings (common/ring.h) and arenas in memory that is shared with the
 * client. A submission becomes a request like one of the socket's, goes through the same dispatch
 * and handlers, and is answered by a completion.
 *
 * A channel is awake (its worker looks at it again and again) or asleep (the client rings the
 * doorbell, an eventfd). The client is woken by an event on the socket: a description that the
 * client shares could be made to block whoever writes to it. That event is not sent at once, but
 * when the worker has nothing else to do for a moment, or is about to sleep: most clients have come
 * back to look by then.
 *
 * Nothing that the client can write is believed: an entry is copied before it is looked at, and an
 * index that is impossible, or more submissions than the rings have places, closes the connection.
 */
#ifndef BLKD_DAEMON_LINK_CHANNEL_H
#define BLKD_DAEMON_LINK_CHANNEL_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/limits.h"
#include "common/ring.h"
#include "daemon/link/outgoing.h"
#include "daemon/link/piece.h"
#include "daemon/storage/backend.h"

struct conn;
struct request;
struct worker;

enum channel_state {
    CHANNEL_ASLEEP, /* also while it is being made */
    CHANNEL_AWAKE,  /* in the worker's list */
};

/* An arena, from AddArena to the end of the last submission that uses it. */
struct channel_arena {
    uint32_t number;
    size_t size_bytes;       /* counted in the connection's quota */
    struct piece *piece;     /* NULL while it is being made */
    unsigned int users;      /* submissions in flight that name it */
    bool offered;            /* to the engine, to be registered */
    bool scratch;            /* nothing in it has to outlive the connection */
    struct request *removal; /* no submission may name it any more; answered when none does */
};

struct channel {
    struct conn *conn;
    struct piece *rings; /* NULL until they are made */
    bool making;
    struct ring_layout layout;
    struct ring_consumer submissions;
    struct ring_producer completions;
    unsigned int in_flight;   /* taken and not answered */
    unsigned int unpublished; /* completions */
    unsigned int unpublished_weight;
    int doorbell_fd; /* the client gets a descriptor of it too */
    struct event *doorbell;
    enum channel_state state;
    bool misused; /* the client has broken the rules of the rings: it gets no time to move its data
                   */
    bool held; /* asleep until the connection has room again for what it makes the daemon buffer */
    uint64_t busy_ns;   /* when a submission was last taken, roughly */
    bool dirty;         /* has completions to publish: in the worker's list of those */
    unsigned int shown; /* completions published since then */
    uint64_t due_ns;    /* roughly when the first of them was */
    bool wake_due; /* completions were published, and the client may sleep: in the worker's list */
    TAILQ_ENTRY(channel) awake_link;
    TAILQ_ENTRY(channel) dirty_link;
    TAILQ_ENTRY(channel) due_link;
    struct outgoing ready; /* the event that wakes the client */
    bool ready_queued;
    struct channel_arena *arenas[ARENAS_PER_CONNECTION];
};

TAILQ_HEAD(channel_list, channel);

enum { CHANNEL_SMALL_BYTES = 8192 };

/* What a transfer keeps the worker busy with at most, in small ones. */
static inline unsigned int channel_weigh(uint64_t length_bytes)
{
    return 1 + (unsigned int)(length_bytes / CHANNEL_SMALL_BYTES);
}

/* The connection's channel, with no rings yet. NULL: no memory. */
struct channel *channel_new(struct conn *conn);
/* With nothing in flight. Gives its memory back, when the client needs nothing of it any more
 * (parting.h); process_fd is the client's process, taken over, or -1. Returns NULL. */
struct channel *channel_free(struct channel *channel, int process_fd);

/* The rings are there: makes the doorbell. 0 or a negative errno (the piece is then still the
 * caller's, and channel_unstart is to follow). */
int channel_start(struct channel *channel, struct piece *rings);
/* The client never got the rings: there are none, and the piece is the caller's again. */
void channel_unstart(struct channel *channel);

/* The connection is closed: no submission is taken any more. */
void channel_stop(struct channel *channel);

/* The connection has no room for what submissions make the daemon buffer; and has it again. */
void channel_hold(struct channel *channel);
void channel_resume(struct channel *channel);

/* Takes what is submitted, some of it if it is much; whether anything was. The connection may be
 * closed by it. channel_submissions.c */
bool channel_poll(struct channel *channel);

/* Whether memory of it has gone (sigbus.h): the connection is to be closed. */
bool channel_is_lost(const struct channel *channel);

/* Whether channel_poll would find something: for spinning. */
bool channel_ready(const struct channel *channel);

/* How a submission ended. */
struct channel_end {
    int error;
    const char *message; /* or NULL */
    enum refusal refusal;
    uint64_t length_bytes; /* of a transfer, else 0 */
};

/* Answers a submission of that id, which is not in flight any more. */
void channel_complete(struct channel *channel, uint64_t id, const struct channel_end *end);

/* Shows the client what was answered. */
void channel_publish(struct channel *channel);

/* Sends the event if the client sleeps. */
void channel_wake_client(struct channel *channel);

/* Whether that has waited for long enough. */
bool channel_wake_overdue(const struct channel *channel, uint64_t now_ns);

/* Whether that is worth its price at `now_ns` already, while the worker has more to do for the
 * client: not as long as most of what it has submitted is still to be done. */
bool channel_should_wake(const struct channel *channel, uint64_t now_ns);

/* Both at once, as far as there is something. */
void channel_tell_client(struct channel *channel);

/* Before the worker sleeps: true if the client will ring. */
bool channel_sleep(struct channel *channel);

/* Whether the client last ran on this CPU. */
bool channel_shares_cpu(const struct channel *channel, int cpu);

/* Arenas. channel_reserve: one of size_bytes that has a number and no memory yet; -ENOMEM, or
 * -EDQUOT: the connection has too many, or too many bytes of them. */
int channel_reserve(struct channel *channel, size_t size_bytes, struct channel_arena **ret_arena);
/* The arena, if there is one that submissions may use. */
struct channel_arena *channel_find_arena(const struct channel *channel, uint32_t number);
/* Nothing uses it any more, or the client was never told of it. */
void channel_forget_arena(struct channel *channel, struct channel_arena *arena);
/* For a direct transfer: the engine pins its pages, the first time that there is one. */
const struct engine_memory *channel_arena_memory(struct channel *channel,
                                                 struct channel_arena *arena);
/* It could not be made. */
void channel_drop_arena(struct channel *channel, struct channel_arena *arena);

#endif

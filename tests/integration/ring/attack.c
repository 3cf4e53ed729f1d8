/* SPDX-License-Identifier: MIT */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/limits.h"
#include "observe.h"
#include "peer.h"

enum {
    THREADS = 3,
    ARENAS = 3,
    SESSIONS = 3,
    LIFE_MS_MAX = 400,
    AFTERLIFE_WORDS = 20000,
};

/* What a life does, besides submitting: each by the toss of a coin. */
enum {
    DOES_ENTRIES = 1 << 0, /* writes over submissions, completions, messages */
    DOES_HINTS = 1 << 1,   /* need_wakeup, consumer_cpu */
    DOES_ARENAS = 1 << 2,  /* while they are read and written */
    DOES_INDICES = 1 << 3, /* its own and the daemon's */
    DOES_HOLES = 1 << 4,   /* in rings and arenas */
    DOES_RINGING = 1 << 5,
    DOES_ROBBING = 1 << 6,
    DOES_REQUESTS = 1 << 7, /* arenas added and removed, sessions closed, on the socket */
    DOES_GREED = 1 << 8,    /* more in flight than there may be */
};

struct life {
    const struct attack_plan *plan;
    struct peer peer;
    struct peer_arena arenas[ARENAS];
    uint64_t sessions[SESSIONS];
    unsigned int does;
    uint64_t random;
    uint32_t tail;  /* of its submissions; the rings' own may be anything */
    uint32_t taken; /* of the completions */
    _Atomic bool over;
};

struct scribbler {
    struct life *life;
    unsigned int does;
    uint64_t random;
    pthread_t thread;
};

/* ---- numbers ---- */

static uint64_t next(uint64_t *random)
{
    *random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t word = *random;
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

static uint64_t below(uint64_t *random, uint64_t limit)
{
    return next(random) % limit;
}

/* Zero, one, limits and their neighbours, bits alone, or anything. */
static uint64_t hostile(uint64_t *random)
{
    static const uint64_t limits[] = {
        0,         1,          511,       512,        4096,         SCHAR_MAX,      UINT16_MAX,
        INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX, IO_BYTES_MAX, 1024 * 1024 * 4};
    uint64_t value = limits[below(random, sizeof(limits) / sizeof(limits[0]))];
    switch (below(random, 6)) {
    case 0:
        return value;
    case 1:
        return value + 1;
    case 2:
        return value - 1;
    case 3:
        return -value;
    case 4:
        return UINT64_C(1) << below(random, 64);
    default:
        return next(random);
    }
}

/* ---- scribbling ---- */

static void scribble(uint8_t *memory, size_t length, uint64_t *random)
{
    _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)memory;
    size_t at = below(random, length / sizeof(*words));
    size_t count = 1 + below(random, 16);
    for (size_t i = 0; i < count && at + i < length / sizeof(*words); i++)
        atomic_store_explicit(words + at + i, hostile(random), memory_order_relaxed);
}

static void scribble_entries(struct life *life, uint64_t *random)
{
    size_t begin = life->peer.layout.submissions;
    size_t end = below(random, 4) == 0 ? life->peer.layout.size_bytes : life->peer.layout.messages;
    scribble(life->peer.rings + begin, end - begin, random);
}

static struct ring_words *any_words(struct life *life, uint64_t *random)
{
    return below(random, 2) == 0 ? peer_submission_words(&life->peer)
                                 : peer_completion_words(&life->peer);
}

static void scribble_hints(struct life *life, uint64_t *random)
{
    struct ring_words *words = any_words(life, random);
    atomic_store(&words->need_wakeup, (uint32_t)hostile(random));
    atomic_store(&words->consumer_cpu, (uint32_t)below(random, 4));
}

/* Mostly a little off: what is far off is found at once. */
static void scribble_indices(struct life *life, uint64_t *random)
{
    struct ring_words *words = any_words(life, random);
    _Atomic uint32_t *index = below(random, 2) == 0 ? &words->tail : &words->head;
    if (below(random, 2000) != 0)
        return;
    uint32_t value = below(random, 4) == 0 ? (uint32_t)hostile(random)
                                           : atomic_load(index) + (uint32_t)below(random, 40) - 20;
    atomic_store(index, value);
}

static void scribble_arenas(struct life *life, uint64_t *random)
{
    struct peer_arena *arena = &life->arenas[below(random, ARENAS)];
    if (arena->base != NULL)
        scribble(arena->base, arena->size_bytes, random);
}

/* Rings without need, and fills it up. */
static void ring_doorbell(struct life *life, uint64_t *random)
{
    uint64_t value = below(random, 4) > 0 ? 1 : UINT64_MAX - 1;
    (void)!write(life->peer.doorbell_fd, &value, sizeof(value));
}

/* Makes it block who reads it when it is empty, and empties it. */
static void rob_doorbell(struct life *life, uint64_t *random)
{
    uint64_t value = 0;
    if (below(random, 1000) == 0)
        (void)!fcntl(life->peer.doorbell_fd, F_SETFL, below(random, 2) == 0 ? O_NONBLOCK : 0);
    (void)!read(life->peer.doorbell_fd, &value, sizeof(value));
}

static void punch(struct life *life, uint64_t *random)
{
    struct peer_arena *arena = &life->arenas[below(random, ARENAS)];
    if (below(random, 500) != 0)
        return;
    if (arena->base != NULL)
        (void)!fallocate(arena->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                         (off_t)arena->size_bytes);
    if (below(random, 50) == 0)
        (void)!fallocate(life->peer.rings_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         (off_t)below(random, 2) * 4096, 4096);
}

static void *scribble_on(void *user_data)
{
    static void (*const ways[])(struct life *, uint64_t *) = {
        scribble_entries, scribble_hints, scribble_arenas, scribble_indices, punch,
        ring_doorbell,    rob_doorbell};
    struct scribbler *scribbler = user_data;
    struct life *life = scribbler->life;
    while (!atomic_load_explicit(&life->over, memory_order_relaxed)) {
        unsigned int way = (unsigned int)below(&scribbler->random, 7);
        if ((scribbler->does & (1U << way)) != 0)
            ways[way](life, &scribbler->random);
    }
    return NULL;
}

/* ---- submitting ---- */

static struct ring_submission good(struct life *life)
{
    uint64_t *random = &life->random;
    const struct peer_arena *arena = &life->arenas[below(random, ARENAS)];
    uint64_t length = 512 * (1 + below(random, below(random, 8) == 0 ? 128 : 8));
    return (struct ring_submission){
        .id = next(random),
        .session = life->sessions[below(random, SESSIONS)],
        .offset_bytes = below(random, (life->plan->image_bytes - length) / 512 + 1) * 512,
        .length_bytes = length,
        .memory_offset = below(random, 4) == 0 ? below(random, 4096) : 4096 * below(random, 8),
        .arena = arena->number,
        .operation = (uint16_t)(below(random, 8) > 0 ? 1 + below(random, 2) : 1 + below(random, 5)),
        .flags = below(random, 16) == 0 ? 1 : 0,
    };
}

static void spoil(struct ring_submission *submission, uint64_t *random)
{
    uint8_t *bytes = (uint8_t *)submission;
    uint64_t value = hostile(random);
    switch (below(random, 5)) {
    case 0: /* another's session, perhaps */
        submission->session = below(random, 100);
        break;
    case 1:
        submission->arena = (uint32_t)below(random, 70);
        break;
    case 2: /* of a length that suits, at an end that does not */
        submission->memory_offset = (1024 * 1024) - submission->length_bytes + below(random, 3) - 1;
        break;
    case 3:
        memcpy(bytes + 8 * below(random, 8), &value, 8);
        break;
    default:
        memcpy(bytes + below(random, 63), &value, 2 - below(random, 2));
    }
}

static void submit(struct life *life)
{
    uint32_t entries = life->peer.layout.entries;
    uint32_t limit = (life->does & DOES_GREED) != 0 ? entries + 1 : entries;
    uint32_t count = (uint32_t)below(&life->random, entries) + 1;
    for (uint32_t i = 0; i < count && life->tail - life->taken < limit; i++) {
        struct ring_submission submission = good(life);
        if (below(&life->random, 3) == 0)
            spoil(&submission, &life->random);
        _Atomic uint64_t *to =
            (_Atomic uint64_t *)(void *)peer_submission_at(&life->peer, life->tail & (entries - 1));
        const uint64_t *from = (const uint64_t *)(const void *)&submission;
        for (size_t word = 0; word < sizeof(submission) / sizeof(*from); word++)
            atomic_store_explicit(to + word, from[word], memory_order_relaxed);
        life->tail++;
    }
    atomic_store(&peer_submission_words(&life->peer)->tail, life->tail);
    peer_ring_doorbell(&life->peer);
}

static void take(struct life *life)
{
    struct ring_words *words = peer_completion_words(&life->peer);
    uint32_t tail = atomic_load(&words->tail);
    if (tail - life->taken > life->tail - life->taken)
        return; /* somebody has scribbled there */
    for (; life->taken != tail; life->taken++) {
        uint8_t *place = life->peer.rings + life->peer.layout.completions +
                         (size_t)(life->taken & (life->peer.layout.entries - 1)) *
                             sizeof(struct ring_completion);
        uint64_t second =
            atomic_load_explicit((_Atomic uint64_t *)(void *)place + 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&life->plan->state->completed, 1, memory_order_relaxed);
        if ((uint32_t)second == 0)
            atomic_fetch_add_explicit(&life->plan->state->done, 1, memory_order_relaxed);
    }
    atomic_store(&words->head, tail);
}

/* ---- on the socket ---- */

static void strange(const struct life *life, const char *what, int result)
{
    (void)fprintf(stderr, "%s: %d (%s)\n", what, result, strerror(-result));
    atomic_fetch_add(&life->plan->state->strange, 1);
}

/* Whatever the answer is, it is one of these, or the connection has ended. */
static void answered(const struct life *life, const char *what, int result)
{
    static const int expected[] = {0, -ENOTCONN, -EBADF, -EDQUOT, -EINVAL, -EBUSY};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        if (result == expected[i])
            return;
    strange(life, what, result);
}

/* The places of arenas stay as they are while threads scribble there: these are others. */
static void ask(struct life *life)
{
    struct peer_arena arena = {.base = NULL};
    uint64_t *random = &life->random;
    if (below(random, 20) != 0)
        return;
    int result = peer_add_arena(&life->peer, 4096 * (1 + below(random, 256)), &arena);
    answered(life, "AddArena", result);
    if (result == 0) {
        answered(life, "RemoveArena",
                 peer_remove_arena(&life->peer, below(random, 2) == 0
                                                    ? arena.number
                                                    : (uint32_t)below(random, 5)));
        peer_arena_unmap(&arena);
    }
    if (below(random, 20) == 0)
        answered(life, "Close",
                 peer_close_session(&life->peer, life->sessions[below(random, SESSIONS)]));
}

static bool has_ended(struct life *life)
{
    struct pollfd pollfd = {.fd = life->peer.socket, .events = POLLIN};
    while (!life->peer.closed && poll(&pollfd, 1, 0) > 0)
        if (peer_poll(&life->peer, UINT64_MAX) == -ENOTCONN)
            break;
    return life->peer.closed;
}

/* ---- lives ---- */

static int open_session(struct life *life, unsigned int number)
{
    Blkd__Config config = BLKD__CONFIG__INIT;
    const char *path = life->plan->images[number % 2];
    config.path = (ProtobufCBinaryData){strlen(path), (uint8_t *)(uintptr_t)path};
    config.direct = below(&life->random, 2) == 0;
    config.access = number == 2 ? BLKD__ACCESS__ACCESS_READ_ONLY : BLKD__ACCESS__ACCESS_AUTO;
    return peer_open(&life->peer, &config, &life->sessions[number]);
}

static int begin(struct life *life)
{
    int error = peer_connect(&life->peer, life->plan->socket_path);
    if (error == 0)
        error = peer_setup_ring(&life->peer, UINT32_C(8) << below(&life->random, 6));
    for (unsigned int i = 0; error == 0 && i < ARENAS; i++)
        error = peer_add_arena(&life->peer, UINT64_C(1024) * 1024 << i, &life->arenas[i]);
    for (unsigned int i = 0; error == 0 && i < SESSIONS; i++)
        error = open_session(life, i);
    return error;
}

static void live(struct life *life)
{
    uint64_t end = observe_now_ms() + 1 + below(&life->random, LIFE_MS_MAX);
    while (!has_ended(life) && observe_now_ms() < end && !atomic_load(&life->plan->state->over)) {
        submit(life);
        take(life);
        if ((life->does & DOES_REQUESTS) != 0)
            ask(life);
    }
    if (life->peer.closed && life->peer.closed_for == -EPROTO)
        atomic_fetch_add(&life->plan->state->closed, 1);
    else if (life->peer.closed && life->peer.closed_for != 0)
        strange(life, "closed", life->peer.closed_for);
}

/* Closed as a whole, or only the socket, and what is mapped is used on. */
static void end(struct life *life)
{
    if (life->peer.rings != NULL && below(&life->random, 2) == 0) {
        peer_hang_up(&life->peer);
        for (unsigned int i = 0; i < AFTERLIFE_WORDS; i++)
            scribble(life->peer.rings, life->peer.layout.size_bytes, &life->random);
        peer_ring_doorbell(&life->peer);
    }
    for (unsigned int i = 0; i < ARENAS; i++)
        peer_arena_unmap(&life->arenas[i]);
    peer_disconnect(&life->peer);
}

/* It may be blocked in the doorbell, which is empty or full: it becomes the other. */
static void join(struct life *life, struct scribbler *scribbler)
{
    uint64_t begin_ms = observe_now_ms();
    uint64_t value = 0;
    while (pthread_tryjoin_np(scribbler->thread, NULL) != 0) {
        (void)!fcntl(life->peer.doorbell_fd, F_SETFL, O_NONBLOCK);
        (void)!read(life->peer.doorbell_fd, &value, sizeof(value));
        peer_ring_doorbell(&life->peer);
        if (!observe_again(begin_ms, OBSERVE_EVER_MS))
            abort();
    }
}

static void live_once(const struct attack_plan *plan, uint64_t *random)
{
    struct life life = {.plan = plan, .random = next(random)};
    struct scribbler scribblers[THREADS];
    life.does = (unsigned int)next(random);
    if ((life.does & DOES_ROBBING) == 0)
        life.does &= ~(unsigned int)DOES_RINGING;
    int error = begin(&life);
    if (error < 0) {
        answered(&life, "coming", error);
        end(&life);
        return;
    }
    atomic_fetch_add(&plan->state->lives, 1);
    for (unsigned int i = 0; i < THREADS; i++) {
        /* One robs the doorbell, all others ring it: so one of them can always go on. */
        scribblers[i] = (struct scribbler){
            .life = &life,
            .random = next(random),
            .does = life.does & ~(unsigned int)(i == 0 ? DOES_RINGING : DOES_ROBBING)};
        if (pthread_create(&scribblers[i].thread, NULL, scribble_on, &scribblers[i]) != 0)
            abort();
    }
    live(&life);
    atomic_store(&life.over, true);
    for (unsigned int i = 0; i < THREADS; i++)
        join(&life, &scribblers[i]);
    end(&life);
}

void attack(const struct attack_plan *plan)
{
    uint64_t random = plan->seed;
    while (!atomic_load(&plan->state->over))
        live_once(plan, &random);
}

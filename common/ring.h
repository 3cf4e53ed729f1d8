/* SPDX-License-Identifier: MIT */
/*
 * The rings of the fast tier: memory that a client and the daemon share, through which submissions
 * go one way and completions the other. Pure: no system calls, no libevent, no protobuf; both sides
 * use this file.
 *
 * Memory. The daemon makes one sealed memfd for each connection's rings:
 *
 *   offset 0                 struct ring_words of the submission ring   (client produces)
 *   offset 256               struct ring_words of the completion ring   (daemon produces)
 *   offset 512               a word of 32 bits: 1 when the client has moved (ring_set_moved)
 *   offset 4096              `entries` submissions of 64 bytes
 *   then                     `entries` completions of 16 bytes
 *   then, at a whole page    `entries` messages of RING_MESSAGE_BYTES
 *
 * (struct ring_layout). Numbers have the machine's own byte order. `entries` is a power of two. The
 * message that belongs to a completion has that completion's place in the ring.
 *
 * Indices. Each ring has one producer and one consumer. `tail` counts the entries that were ever
 * published, `head` those that were ever released; both wrap around at 2^32, an entry's place is
 * its count modulo `entries`. So 0 <= tail - head <= entries, and neither goes back. Each side
 * keeps its own index privately and only stores it here; what it loads of the other's is checked: a
 * value outside what is possible is -EPROTO. Nothing in this memory is believed: an entry is copied
 * out once, with single loads, and the copy is what is looked at.
 *
 * Bound. A client has at most `entries` submissions that it has not taken the completions of; one
 * more breaks the protocol. So the daemon always has room for a completion. It releases a
 * submission before it publishes its completion, so a client within the bound has room for a
 * submission.
 *
 * Order. The producer fills entries, then stores `tail`: seq_cst, which is also a release. The
 * consumer loads `tail` (acquire), reads the entries, then stores `head` (release); the producer
 * loads `head` (acquire) before it fills an entry anew.
 *
 * Wake-ups. A consumer that is about to sleep stores need_wakeup = 1 (seq_cst), then loads `tail`
 * (seq_cst), and sleeps only if nothing is there. A producer stores `tail` (seq_cst), then loads
 * need_wakeup (seq_cst), and wakes the consumer if it is set, after having taken it back to 0, so
 * that many publications make one wake-up. In the one order that all seq_cst operations have,
 * either the store of need_wakeup comes before the producer's load, which sees it, or the
 * producer's store of `tail` comes before the consumer's load, which sees that: no entry is left
 * behind with a sleeping consumer. (C17 7.17.3; tests/unit/test_ring_model.c tries all
 * interleavings.) What wakes is not this module's: the client writes to an eventfd of the daemon's,
 * the daemon sends an event on the socket.
 */
#ifndef BLKD_COMMON_RING_H
#define BLKD_COMMON_RING_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RING_ENTRIES_MIN = 8,
    RING_ENTRIES_MAX = 1024,
    RING_MESSAGE_BYTES = 1024, /* with its NUL, and with the reason in its last byte */
    RING_MESSAGE_REASON = RING_MESSAGE_BYTES - 1,
    RING_CACHE_LINE = 64,
};

/* Numbers of operations; they are part of the layout. */
enum ring_operation {
    RING_READ = 1,
    RING_WRITE = 2,
    RING_FLUSH = 3,
    RING_DISCARD = 4,
    RING_WRITE_ZEROES = 5,
};

/* The meaning of each member is that of the socket tier's message of the same operation. */
struct ring_submission {
    uint64_t id; /* comes back in the completion; the daemon does not look at it */
    uint64_t session;
    uint64_t offset_bytes;
    uint64_t length_bytes; /* of a read or write: at most Limits.max_io_bytes */
    uint64_t transfer_end_bytes;
    uint64_t memory_offset; /* reads and writes: where in the arena the bytes are or go to */
    uint32_t arena;         /* reads and writes: its number */
    uint16_t operation;     /* enum ring_operation */
    uint16_t flags;         /* Blkd__WriteFlag */
    uint64_t reserved;      /* 0 */
};

struct ring_completion {
    uint64_t id;
    uint32_t status;        /* Blkd__Status */
    uint32_t message_bytes; /* of its message, without a NUL; 0: there is none */
};

static_assert(sizeof(struct ring_submission) == 64, "part of the layout");
static_assert(sizeof(struct ring_completion) == 16, "part of the layout");

struct ring_words {
    alignas(RING_CACHE_LINE) _Atomic uint32_t tail;        /* the producer's */
    alignas(RING_CACHE_LINE) _Atomic uint32_t head;        /* the consumer's */
    alignas(RING_CACHE_LINE) _Atomic uint32_t need_wakeup; /* the consumer's, and taken back by the
                                                              producer */
    /* A hint: the CPU that the consumer last ran on, and one more; 0: not known. Who spins on the
     * same CPU waits for itself. */
    alignas(RING_CACHE_LINE) _Atomic uint32_t consumer_cpu;
};

static_assert(sizeof(struct ring_words) == 256, "part of the layout");

/* What a connection's client last says, after the connection's end too: it needs nothing any more
 * of what is in the rings and arenas. It rings the doorbell after it. */
enum { RING_MOVED_OFFSET = 512 };

static inline void ring_set_moved(uint8_t *base)
{
    atomic_store((_Atomic uint32_t *)(void *)(base + RING_MOVED_OFFSET), 1);
}

static inline bool ring_has_moved(const uint8_t *base)
{
    return atomic_load((const _Atomic uint32_t *)(const void *)(base + RING_MOVED_OFFSET)) == 1;
}

/* Where things are in the memory, in bytes. */
struct ring_layout {
    uint32_t entries;
    size_t submissions;
    size_t completions;
    size_t messages;
    size_t size_bytes; /* of all, whole pages of 4096 */
};

/* -EINVAL: `entries` is no power of two, or not within RING_ENTRIES_MIN and _MAX. */
int ring_layout(uint32_t entries, struct ring_layout *ret_layout);

struct ring_producer {
    struct ring_words *words;
    _Atomic uint64_t *entries;
    uint32_t count;
    uint32_t entry_words; /* of 8 bytes */
    uint32_t tail;        /* ours; ahead of words->tail by what is not published yet */
    uint32_t published;   /* what words->tail is */
    uint32_t head;        /* the consumer's, as far as it was seen */
    bool broken;          /* -EPROTO was answered, and will be */
};

struct ring_consumer {
    struct ring_words *words;
    const _Atomic uint64_t *entries;
    uint32_t count;
    uint32_t entry_words; /* of 8 bytes */
    uint32_t head;        /* ours; ahead of words->head by what is not released yet */
    uint32_t released;    /* what words->head is */
    uint32_t tail;        /* the producer's, as far as it was seen */
    bool broken;          /* -EPROTO was answered, and will be */
};

/* The two ends of a ring whose words are fresh (all zero). `entries` is aligned to 8, and
 * entry_bytes a multiple of it. */
void ring_producer_init(struct ring_producer *producer, struct ring_words *words, void *entries,
                        uint32_t count, uint32_t entry_bytes);
void ring_consumer_init(struct ring_consumer *consumer, struct ring_words *words,
                        const void *entries, uint32_t count, uint32_t entry_bytes);

/* How many entries can be put now, at least `wanted` if there are so many: looks at the consumer's
 * index only if it has to. A negative errno: -EPROTO, it is impossible; then for good. */
int ring_producer_room(struct ring_producer *producer, uint32_t wanted, uint32_t *ret_room);

/* Copies one entry in and returns its place (0 to count - 1). There must be room, and it is not
 * seen before ring_producer_publish. ring_producer_place: the place of the next one. */
uint32_t ring_producer_put(struct ring_producer *producer, const void *entry);
uint32_t ring_producer_place(const struct ring_producer *producer);

/* Publishes what was put. False: there was nothing. */
bool ring_producer_publish(struct ring_producer *producer);

/* After a publication: whether the consumer sleeps, or is about to, and is to be woken by the
 * caller. True once for each time that it says so. */
bool ring_producer_must_wake(struct ring_producer *producer);

/* How many entries are there to be taken: looks at the producer's index only if none is known of.
 * A negative errno: -EPROTO, it is impossible; then for good. */
int ring_consumer_look(struct ring_consumer *consumer, uint32_t *ret_ready);

/* The same question without an answer to rely on: for spinning. */
bool ring_consumer_ready(const struct ring_consumer *consumer);

/* How many are published and not taken, as far as it was seen by ring_consumer_look. */
uint32_t ring_consumer_waiting(const struct ring_consumer *consumer);

/* Copies the next entry out and returns its place. There must be one. Its place (and its message)
 * is the producer's again with ring_consumer_release. */
uint32_t ring_consumer_take(struct ring_consumer *consumer, void *ret_entry);
void ring_consumer_release(struct ring_consumer *consumer);

/* Before sleeping. True: sleep; the producer will wake. False: entries are there already (or the
 * producer's index makes no sense, which ring_consumer_look tells), and it is not asked to wake. */
bool ring_consumer_sleep(struct ring_consumer *consumer);
/* Awake again, for whatever reason: no wake-up is needed. */
void ring_consumer_wake(struct ring_consumer *consumer);

/* The hint about CPUs; `cpu` as sched_getcpu(3) gives it. */
void ring_consumer_set_cpu(struct ring_consumer *consumer, int cpu);
/* Whether the consumer last ran on `cpu`. */
bool ring_producer_shares_cpu(const struct ring_producer *producer, int cpu);

#endif

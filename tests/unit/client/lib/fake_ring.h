/* SPDX-License-Identifier: MIT */
/*
 * Rings for the fake daemon: real shared memory, the daemon's ends of common/ring.h, and what may
 * go wrong with them. Everything here runs on the daemon's thread; a test has something done there
 * with fake_ring_poke.
 */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_RING_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_RING_H

#include <sys/eventfd.h>
#include <sys/mman.h>

#include "client/lib/core/connection.h"
#include "client/lib/core/memory.h"
#include "common/ring.h"
#include "tests/unit/client/lib/fake_daemon.h"

enum { FAKE_LOG_MAX = 8192, FAKE_ARENAS_MAX = 8 };

struct fake_arena {
    uint8_t *base;
    size_t size_bytes;
};

struct fake_ring {
    uint32_t entries;
    int refuse_setup, refuse_arena; /* a negative errno */
    uint32_t arenas_allowed;        /* beyond, EDQUOT */
    bool holds;                     /* submissions are not answered until fake_ring_serve_held */
    bool sends_no_descriptors;
    bool short_memory; /* less than is said */
    fake_handler *on_request;
    /* True: the submission is dealt with. */
    bool (*on_submission)(struct fake *fake, const struct ring_submission *submission);
    void (*on_poke)(struct fake *fake);
    /* ------------------------------------------------------------------ */
    int poke, doorbell;
    struct ring_layout layout;
    uint8_t *memory;
    struct ring_consumer submissions;
    struct ring_producer completions;
    struct fake_arena arenas[FAKE_ARENAS_MAX];
    uint32_t arena_count, setups, removals, ready_events, doorbells;
    struct ring_submission log[FAKE_LOG_MAX];
    _Atomic uint32_t logged; /* tests look at it meanwhile */
    uint32_t answered, most_unanswered;
};

static struct fake_ring fake_rings;

static inline struct fake_ring *fake_ring_of(const struct fake *fake)
{
    return fake->user_data;
}

static inline void fake_ring_tell(struct fake *fake)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__RingReady ready = FAKE_MESSAGE(Blkd__RingReady, blkd__ring_ready__init);

    fake_ring_of(fake)->ready_events++;
    event.what_case = BLKD__EVENT__WHAT_RING_READY;
    event.ring_ready = &ready;
    fake_send_event(fake, &event);
}

static inline void fake_ring_publish(struct fake *fake)
{
    struct fake_ring *ring = fake_ring_of(fake);

    if (ring_producer_publish(&ring->completions) && ring_producer_must_wake(&ring->completions))
        fake_ring_tell(fake);
}

/* Without publishing it. */
static inline void fake_ring_put(struct fake *fake, uint64_t id, int error, const char *message)
{
    struct fake_ring *ring = fake_ring_of(fake);
    struct ring_completion completion = {
        .id = id,
        .status = status_from_errno(error),
        .message_bytes = (uint32_t)strlen(message),
    };
    uint32_t place = ring_producer_place(&ring->completions);
    uint32_t room;

    if (ring_producer_room(&ring->completions, 1, &room) < 0 || room == 0)
        abort();
    memcpy(ring->memory + ring->layout.messages + (size_t)place * RING_MESSAGE_BYTES, message,
           completion.message_bytes);
    (void)ring_producer_put(&ring->completions, &completion);
    ring->answered++;
}

static inline void fake_ring_complete(struct fake *fake, uint64_t id, int error,
                                      const char *message)
{
    fake_ring_put(fake, id, error, message);
    fake_ring_publish(fake);
}

static inline int fake_ring_transfer(struct fake *fake, const struct ring_submission *submission)
{
    const struct fake_ring *ring = fake_ring_of(fake);
    const struct fake_arena *arena = &ring->arenas[submission->arena % FAKE_ARENAS_MAX];
    uint8_t *disk = fake->disk + submission->offset_bytes;
    uint64_t end = submission->transfer_end_bytes;

    if (end == 0)
        end = submission->offset_bytes + submission->length_bytes;
    if (submission->arena >= ring->arena_count || arena->base == NULL ||
        submission->length_bytes > fake->max_io_bytes ||
        submission->memory_offset + submission->length_bytes > arena->size_bytes)
        return -EFAULT;
    if (end > fake->disk_bytes)
        return submission->operation == RING_READ ? -EINVAL : -ENOSPC;
    if (submission->operation == RING_READ)
        memcpy(arena->base + submission->memory_offset, disk, submission->length_bytes);
    else
        memcpy(disk, arena->base + submission->memory_offset, submission->length_bytes);
    return 0;
}

static inline void fake_ring_do(struct fake *fake, const struct ring_submission *submission)
{
    const struct fake_ring *ring = fake_ring_of(fake);
    int error = 0;

    if (ring->on_submission != NULL && ring->on_submission(fake, submission))
        return;
    if (submission->operation == RING_READ || submission->operation == RING_WRITE)
        error = fake_ring_transfer(fake, submission);
    fake_ring_complete(fake, submission->id, error, error < 0 ? "the ring says no" : "");
}

/* The last of those that were held first, one publication. */
static inline void fake_ring_serve_held(struct fake *fake)
{
    struct fake_ring *ring = fake_ring_of(fake);
    uint32_t end = ring->answered;

    for (uint32_t i = ring->logged; i > end; i--)
        fake_ring_do(fake, &ring->log[i - 1]);
}

static inline void fake_ring_serve(struct fake *fake)
{
    struct fake_ring *ring = fake_ring_of(fake);
    struct ring_submission submission;
    uint32_t ready;

    while (ring_consumer_look(&ring->submissions, &ready) == 0 && ready > 0 && !fake->hung_up) {
        (void)ring_consumer_take(&ring->submissions, &submission);
        ring_consumer_release(&ring->submissions);
        if (ring->logged == FAKE_LOG_MAX)
            abort();
        ring->log[ring->logged++] = submission;
        if (ring->logged - ring->answered > ring->most_unanswered)
            ring->most_unanswered = ring->logged - ring->answered;
        if (!ring->holds)
            fake_ring_do(fake, &submission);
    }
}

/* ---- through the socket ---- */

static inline void fake_ring_reply(struct fake *fake, const Blkd__Reply *reply, const int *fds,
                                   size_t count)
{
    union {
        struct cmsghdr alignment;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    size_t size = wire_reply_size(reply);
    uint8_t *bytes = malloc(size);
    struct iovec iov = {bytes, size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (bytes == NULL)
        abort();
    wire_pack_reply(reply, 0, bytes);
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.alignment.cmsg_level = SOL_SOCKET;
        control.alignment.cmsg_type = SCM_RIGHTS;
        control.alignment.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.alignment), fds, count * sizeof(int));
    }
    if (sendmsg(fake->socket, &message, MSG_NOSIGNAL) != (ssize_t)size)
        fake->hung_up = true;
    free(bytes);
}

static inline int fake_ring_memory(const char *name, size_t size_bytes, uint8_t **ret_base)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)size_bytes) < 0)
        abort();
    *ret_base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*ret_base == MAP_FAILED)
        abort();
    return fd;
}

static inline void fake_ring_setup(struct fake *fake, const Blkd__Request *request)
{
    struct fake_ring *ring = fake_ring_of(fake);
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__RingReply answer = FAKE_MESSAGE(Blkd__RingReply, blkd__ring_reply__init);
    struct ring_words *words;
    int fds[2];

    ring->setups++;
    if (ring->refuse_setup < 0) {
        fake_answer(fake, request->id, ring->refuse_setup, "no rings for you");
        return;
    }
    if (ring_layout(ring->entries, &ring->layout) < 0)
        abort();
    fds[0] = fake_ring_memory("fake-ring", ring->layout.size_bytes, &ring->memory);
    fds[1] = ring->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    words = (struct ring_words *)ring->memory;
    ring_consumer_init(&ring->submissions, &words[0], ring->memory + ring->layout.submissions,
                       ring->entries, sizeof(struct ring_submission));
    ring_producer_init(&ring->completions, &words[1], ring->memory + ring->layout.completions,
                       ring->entries, sizeof(struct ring_completion));
    answer.entries = ring->entries;
    answer.size_bytes = ring->layout.size_bytes;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_RING;
    reply.ring = &answer;
    if (ring->short_memory && ftruncate(fds[0], 4096) < 0)
        abort();
    fake_ring_reply(fake, &reply, fds, ring->sends_no_descriptors ? 0 : 2);
    (void)close(fds[0]);
}

static inline void fake_ring_add(struct fake *fake, const Blkd__Request *request)
{
    struct fake_ring *ring = fake_ring_of(fake);
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__ArenaReply answer = FAKE_MESSAGE(Blkd__ArenaReply, blkd__arena_reply__init);
    struct fake_arena *arena = &ring->arenas[ring->arena_count];
    int fd;

    if (ring->refuse_arena < 0 || ring->arena_count == ring->arenas_allowed) {
        fake_answer(fake, request->id, ring->refuse_arena < 0 ? ring->refuse_arena : -EDQUOT,
                    "no memory for you");
        return;
    }
    arena->size_bytes = request->add_arena->size_bytes;
    fd = fake_ring_memory("fake-arena", arena->size_bytes, &arena->base);
    answer.arena = ring->arena_count++;
    answer.size_bytes = arena->size_bytes;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_ARENA;
    reply.arena = &answer;
    fake_ring_reply(fake, &reply, &fd, ring->sends_no_descriptors ? 0 : 1);
    (void)close(fd);
}

static inline void fake_ring_remove(struct fake *fake, const Blkd__Request *request)
{
    struct fake_ring *ring = fake_ring_of(fake);
    struct fake_arena *arena = &ring->arenas[request->remove_arena->arena % FAKE_ARENAS_MAX];

    ring->removals++;
    if (arena->base != NULL)
        (void)munmap(arena->base, arena->size_bytes);
    arena->base = NULL;
    fake_answer(fake, request->id, 0, "");
}

static inline bool fake_ring_request(struct fake *fake, const Blkd__Request *request,
                                     const uint8_t *payload)
{
    const struct fake_ring *ring = fake_ring_of(fake);

    if (ring->on_request != NULL && ring->on_request(fake, request, payload))
        return true;
    switch (request->op_case) {
    case BLKD__REQUEST__OP_SETUP_RING:
        fake_ring_setup(fake, request);
        return true;
    case BLKD__REQUEST__OP_ADD_ARENA:
        fake_ring_add(fake, request);
        return true;
    case BLKD__REQUEST__OP_REMOVE_ARENA:
        fake_ring_remove(fake, request);
        return true;
    default:
        return false;
    }
}

/* ---- the daemon's loop ---- */

static inline void fake_ring_clear(int fd)
{
    eventfd_t count;

    (void)eventfd_read(fd, &count);
}

static inline bool fake_ring_wait(struct fake *fake)
{
    struct fake_ring *ring = fake_ring_of(fake);

    while (!fake->hung_up) {
        struct pollfd fds[3] = {
            {.fd = fake->socket, .events = POLLIN},
            {.fd = ring->poke, .events = POLLIN},
            {.fd = ring->doorbell, .events = POLLIN},
        };
        bool sleeps = true;

        if (ring->memory != NULL) {
            fake_ring_serve(fake);
            sleeps = ring_consumer_sleep(&ring->submissions);
        }
        if (poll(fds, 3, sleeps ? -1 : 0) < 0)
            return false;
        if (ring->memory != NULL)
            ring_consumer_wake(&ring->submissions);
        if (fds[2].revents != 0) {
            ring->doorbells++;
            fake_ring_clear(ring->doorbell);
        }
        if (fds[1].revents != 0) {
            fake_ring_clear(ring->poke);
            if (ring->memory != NULL)
                fake_ring_serve(fake);
            ring->on_poke(fake);
        }
        if (fds[0].revents != 0)
            return true;
    }
    return false;
}

static inline void fake_ring_init(struct fake *fake)
{
    fake_init(fake);
    memset(&fake_rings, 0, sizeof(fake_rings));
    fake_rings.entries = 64;
    fake_rings.arenas_allowed = FAKE_ARENAS_MAX;
    fake_rings.doorbell = -1;
    fake_rings.poke = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fake->features = BLKD__FEATURE__FEATURE_RING;
    fake->on_request = fake_ring_request;
    fake->on_wait = fake_ring_wait;
    fake->user_data = &fake_rings;
}

/* Has the daemon call on_poke. */
static inline void fake_ring_poke(void)
{
    ck_assert_int_eq(eventfd_write(fake_rings.poke, 1), 0);
}

static inline void fake_ring_stop(struct fake *fake)
{
    fake_stop(fake);
    if (fake_rings.memory != NULL)
        (void)munmap(fake_rings.memory, fake_rings.layout.size_bytes);
    for (uint32_t i = 0; i < fake_rings.arena_count; i++)
        if (fake_rings.arenas[i].base != NULL)
            (void)munmap(fake_rings.arenas[i].base, fake_rings.arenas[i].size_bytes);
    if (fake_rings.doorbell >= 0)
        (void)close(fake_rings.doorbell);
    (void)close(fake_rings.poke);
}

/* ---- the client's side ---- */

static inline struct blkd *fake_connect_tier(struct fake *fake, enum blkd_tier tier)
{
    struct blkd_options options = {0};
    struct blkd *connection = NULL;

    options.socket_path = fake->path;
    options.tier = tier;
    ck_assert_msg(blkd_connect(&options, &connection) == 0, "%s", blkd_error_message());
    return connection;
}

static inline enum blkd_tier fake_tier(struct blkd *connection)
{
    enum blkd_tier tier = BLKD_TIER_AUTO;

    ck_assert_int_eq(blkd_get_tier(connection, &tier), 0);
    return tier;
}

/* Memory of an arena of its own. */
static inline uint8_t *fake_shared_memory(struct blkd *connection, size_t size_bytes)
{
    uint8_t *memory;

    pthread_mutex_lock(&connection->mutex);
    ck_assert_int_eq(memory_add_arena(connection, size_bytes), 0);
    memory = arena_alloc(&connection->rings.shared.set, size_bytes);
    pthread_mutex_unlock(&connection->mutex);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

#endif

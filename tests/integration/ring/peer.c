/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/frame.h"
#include "common/status.h"

/* ---- bytes ---- */

static void peer_end(struct peer *peer)
{
    peer->closed = true;
}

static int wait_readable(const struct peer *peer)
{
    struct pollfd pollfd = {.fd = peer->socket, .events = POLLIN};
    int ready = 0;
    do
        ready = poll(&pollfd, 1, PEER_WAIT_MS);
    while (ready < 0 && errno == EINTR);
    return ready > 0 ? 0 : -ETIMEDOUT;
}

/* Exactly so many bytes; descriptors that come with them are added to *fds or, if NULL, closed. */
static int receive_bytes(struct peer *peer, uint8_t *bytes, size_t length, struct fdpass *fds)
{
    for (size_t done = 0; done < length;) {
        struct iovec vector = {bytes + done, length - done};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
        struct fdpass came = {.count = 0};
        int error = wait_readable(peer);
        if (error < 0)
            return error;
        ssize_t received = fdpass_receive(peer->socket, &message, 0, &came);
        for (size_t i = 0; i < came.count; i++) {
            if (fds != NULL && fds->count < FDPASS_MAX)
                fds->fds[fds->count++] = came.fds[i];
            else
                (void)close(came.fds[i]);
        }
        if (received <= 0) {
            peer_end(peer);
            return -ENOTCONN;
        }
        done += (size_t)received;
    }
    return 0;
}

static int send_bytes(struct peer *peer, uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(peer->socket, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return -ENOTCONN; /* the daemon's reason may still be there to be read */
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

/* ---- frames ---- */

static int receive_reply(struct peer *peer, const Blkd__Reply **ret_reply, struct fdpass *fds)
{
    uint8_t prefix[FRAME_PREFIX_BYTES];
    struct frame_prefix sizes = {.header_bytes = 0};
    int error = receive_bytes(peer, prefix, sizeof(prefix), fds);
    if (error < 0)
        return error;
    error = frame_decode(prefix, &sizes);
    if (error < 0 || sizes.payload_bytes > 0)
        return -EBADMSG; /* a peer never reads through the socket */
    error = receive_bytes(peer, peer->frame, sizes.header_bytes, fds);
    if (error < 0)
        return error;
    return wire_unpack_reply(&peer->memory, peer->frame, sizes.header_bytes, ret_reply);
}

static void keep(struct peer *peer, const Blkd__Reply *reply)
{
    for (unsigned int i = 0; i < PEER_KEPT_MAX; i++) {
        if (peer->kept[i].id == 0) {
            peer->kept[i].id = reply->id;
            peer->kept[i].status = status_to_errno(reply->status);
            return;
        }
    }
    abort(); /* a test that asks for more than it looks at */
}

static bool take_kept(struct peer *peer, uint64_t id, int *ret_status)
{
    for (unsigned int i = 0; i < PEER_KEPT_MAX; i++) {
        if (peer->kept[i].id == id) {
            *ret_status = peer->kept[i].status;
            peer->kept[i].id = 0;
            return true;
        }
    }
    return false;
}

/* One frame: 0 and the reply if it answers `id`; 1: it is something else, and was seen to. */
static int receive_one(struct peer *peer, uint64_t id, const Blkd__Reply **ret_reply,
                       struct fdpass *fds)
{
    const Blkd__Reply *reply = NULL;
    int error = receive_reply(peer, &reply, fds);
    if (error < 0 || reply == NULL)
        return error < 0 ? error : -EBADMSG;
    if (reply->id == 0 && reply->status != BLKD__STATUS__STATUS_OK) {
        peer->closed_for = status_to_errno(reply->status);
        return 1; /* the end of the stream follows */
    }
    if (reply->id == 0) {
        if (reply->body_case == BLKD__REPLY__BODY_EVENT &&
            reply->event->what_case == BLKD__EVENT__WHAT_RING_READY)
            peer->ready_events++;
        return 1;
    }
    if (reply->id == id) {
        *ret_reply = reply;
        return 0;
    }
    keep(peer, reply);
    return 1;
}

static int finish(struct peer *peer, uint64_t id, const Blkd__Reply **ret_reply, struct fdpass *fds)
{
    const Blkd__Reply *reply = NULL;
    int result = 1;
    if (id == 0)
        return -ENOTCONN;
    if (take_kept(peer, id, &result))
        return result;
    while (result == 1)
        result = receive_one(peer, id, &reply, fds);
    if (result < 0 || reply == NULL)
        return result;
    if (ret_reply != NULL)
        *ret_reply = reply;
    return status_to_errno(reply->status);
}

/* ---- requests ---- */

uint64_t peer_start(struct peer *peer, Blkd__Request *request)
{
    request->id = peer->next_id++;
    size_t length = wire_request_size(request);
    CLEANUP_FREE uint8_t *bytes = malloc(length);
    if (bytes == NULL)
        return 0;
    wire_pack_request(request, 0, bytes);
    return send_bytes(peer, bytes, length) == 0 ? request->id : 0;
}

int peer_finish(struct peer *peer, uint64_t id)
{
    return finish(peer, id, NULL, NULL);
}

int peer_call(struct peer *peer, Blkd__Request *request, const Blkd__Reply **ret_reply,
              struct fdpass *ret_fds)
{
    return finish(peer, peer_start(peer, request), ret_reply, ret_fds);
}

int peer_poll(struct peer *peer, uint64_t id)
{
    struct pollfd pollfd = {.fd = peer->socket, .events = POLLIN};
    int status = 1;
    while (!take_kept(peer, id, &status) && poll(&pollfd, 1, 0) > 0) {
        const Blkd__Reply *reply = NULL;
        int result = receive_one(peer, id, &reply, NULL);
        if (result <= 0)
            return result < 0 ? result : status_to_errno(reply->status);
    }
    return status;
}

#define REQUEST(member, name, message)                                                             \
    {                                                                                              \
        PROTOBUF_C_MESSAGE_INIT(&blkd__request__descriptor), .op_case = BLKD__REQUEST__OP_##name,  \
                                                             .member = (message)                   \
    }

int peer_connect(struct peer *peer, const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    Blkd__Hello hello = BLKD__HELLO__INIT;
    Blkd__Request request = REQUEST(hello, HELLO, &hello);
    *peer = (struct peer){.socket = -1, .rings_fd = -1, .doorbell_fd = -1, .next_id = 1};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
    peer->frame = malloc(FRAME_HEADER_MAX);
    peer->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer->frame == NULL || peer->socket < 0)
        return -ENOMEM;
    if (connect(peer->socket, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    hello.version = PROTOCOL_VERSION;
    hello.features = BLKD__FEATURE__FEATURE_RING;
    hello.client_name = (char[]){"peer"};
    const Blkd__Reply *reply = NULL;
    int error = peer_call(peer, &request, &reply, NULL);
    if (error == 0 && (reply->hello->features & BLKD__FEATURE__FEATURE_RING) == 0)
        error = -EOPNOTSUPP;
    return error;
}

void peer_say_moved(struct peer *peer)
{
    if (peer->rings == NULL)
        return;
    ring_set_moved(peer->rings);
    peer_ring_doorbell(peer);
}

void peer_hang_up_silently(struct peer *peer)
{
    if (peer->socket >= 0)
        (void)close(TAKE_FD(peer->socket));
}

void peer_hang_up(struct peer *peer)
{
    if (peer->socket >= 0)
        peer_say_moved(peer);
    peer_hang_up_silently(peer);
}

void peer_disconnect(struct peer *peer)
{
    if (peer->frame == NULL)
        return;
    peer_hang_up(peer);
    if (peer->rings != NULL)
        (void)munmap(peer->rings, peer->layout.size_bytes);
    peer->rings = NULL;
    cleanup_close(&peer->rings_fd);
    cleanup_close(&peer->doorbell_fd);
    peer->rings_fd = peer->doorbell_fd = -1;
    wire_arena_deinit(&peer->memory);
    free(TAKE_PTR(peer->frame));
}

int peer_ping(struct peer *peer)
{
    Blkd__Ping ping = BLKD__PING__INIT;
    Blkd__Request request = REQUEST(ping, PING, &ping);
    return peer_call(peer, &request, NULL, NULL);
}

int peer_open(struct peer *peer, const Blkd__Config *config, uint64_t *ret_session)
{
    Blkd__Open message = BLKD__OPEN__INIT;
    Blkd__Request request = REQUEST(open, OPEN, &message);
    const Blkd__Reply *reply = NULL;
    message.config = (Blkd__Config *)(uintptr_t)config;
    int error = peer_call(peer, &request, &reply, NULL);
    if (error == 0)
        *ret_session = reply->open->session;
    return error;
}

int peer_close_session(struct peer *peer, uint64_t session)
{
    Blkd__Close message = BLKD__CLOSE__INIT;
    Blkd__Request request = REQUEST(close, CLOSE, &message);
    message.session = session;
    return peer_call(peer, &request, NULL, NULL);
}

int peer_lock(struct peer *peer, uint64_t session, Blkd__LockMode mode)
{
    Blkd__Lock message = BLKD__LOCK__INIT;
    Blkd__Request request = REQUEST(lock, LOCK, &message);
    message.session = session;
    message.mode = mode;
    return peer_call(peer, &request, NULL, NULL);
}

int peer_await_close(struct peer *peer)
{
    const Blkd__Reply *reply = NULL;
    int result = 1;
    while (result == 1)
        result = receive_one(peer, UINT64_MAX, &reply, NULL);
    return result == -ENOTCONN ? peer->closed_for : result;
}

/* ---- shared memory ---- */

static void close_all(struct fdpass *fds)
{
    for (size_t i = 0; i < fds->count; i++)
        (void)close(fds->fds[i]);
    fds->count = 0;
}

static uint8_t *map_shared(int fd, size_t size_bytes)
{
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return base != MAP_FAILED ? base : NULL;
}

static int use_rings(struct peer *peer, const Blkd__RingReply *reply, struct fdpass *fds)
{
    struct ring_layout layout;
    if (fds->count != 2 || ring_layout(reply->entries, &layout) < 0 ||
        layout.size_bytes != reply->size_bytes)
        return -EBADMSG;
    peer->rings = map_shared(fds->fds[0], layout.size_bytes);
    if (peer->rings == NULL)
        return -ENOMEM;
    peer->layout = layout;
    peer->rings_fd = fds->fds[0];
    peer->doorbell_fd = fds->fds[1];
    fds->count = 0;
    ring_producer_init(&peer->submissions, peer_submission_words(peer),
                       peer->rings + layout.submissions, layout.entries,
                       sizeof(struct ring_submission));
    ring_consumer_init(&peer->completions, peer_completion_words(peer),
                       peer->rings + layout.completions, layout.entries,
                       sizeof(struct ring_completion));
    return 0;
}

int peer_setup_ring(struct peer *peer, uint32_t entries)
{
    Blkd__SetupRing message = BLKD__SETUP_RING__INIT;
    Blkd__Request request = REQUEST(setup_ring, SETUP_RING, &message);
    CLEANUP(close_all) struct fdpass fds = {.count = 0};
    const Blkd__Reply *reply = NULL;
    message.entries = entries;
    int error = peer_call(peer, &request, &reply, &fds);
    return error == 0 ? use_rings(peer, reply->ring, &fds) : error;
}

int peer_add_arena(struct peer *peer, uint64_t size_bytes, struct peer_arena *ret_arena)
{
    Blkd__AddArena message = BLKD__ADD_ARENA__INIT;
    Blkd__Request request = REQUEST(add_arena, ADD_ARENA, &message);
    CLEANUP(close_all) struct fdpass fds = {.count = 0};
    const Blkd__Reply *reply = NULL;
    message.size_bytes = size_bytes;
    int error = peer_call(peer, &request, &reply, &fds);
    if (error < 0)
        return error;
    if (fds.count != 1 || reply->arena->size_bytes != size_bytes)
        return -EBADMSG;
    uint8_t *base = map_shared(fds.fds[0], size_bytes);
    if (base == NULL)
        return -ENOMEM;
    *ret_arena = (struct peer_arena){
        .number = reply->arena->arena, .fd = fds.fds[0], .base = base, .size_bytes = size_bytes};
    fds.count = 0;
    return 0;
}

uint64_t peer_start_remove_arena(struct peer *peer, uint32_t number)
{
    Blkd__RemoveArena message = BLKD__REMOVE_ARENA__INIT;
    Blkd__Request request = REQUEST(remove_arena, REMOVE_ARENA, &message);
    message.arena = number;
    return peer_start(peer, &request);
}

int peer_remove_arena(struct peer *peer, uint32_t number)
{
    return peer_finish(peer, peer_start_remove_arena(peer, number));
}

void peer_arena_unmap(struct peer_arena *arena)
{
    if (arena->base == NULL)
        return;
    (void)munmap(arena->base, arena->size_bytes);
    (void)close(arena->fd);
    arena->base = NULL;
}

struct ring_words *peer_submission_words(struct peer *peer)
{
    return (struct ring_words *)(void *)peer->rings;
}

struct ring_words *peer_completion_words(struct peer *peer)
{
    return (struct ring_words *)(void *)(peer->rings + sizeof(struct ring_words));
}

struct ring_submission *peer_submission_at(struct peer *peer, uint32_t place)
{
    return (struct ring_submission *)(void *)(peer->rings + peer->layout.submissions) + place;
}

void peer_ring_doorbell(struct peer *peer)
{
    const uint64_t one = 1;
    (void)!write(peer->doorbell_fd, &one, sizeof(one));
}

int peer_submit(struct peer *peer, const struct ring_submission *submission)
{
    uint32_t room = 0;
    int error = ring_producer_room(&peer->submissions, 1, &room);
    if (error < 0)
        return error;
    if (room == 0)
        return -EBUSY;
    (void)ring_producer_put(&peer->submissions, submission);
    (void)ring_producer_publish(&peer->submissions);
    if (ring_producer_must_wake(&peer->submissions))
        peer_ring_doorbell(peer);
    return 0;
}

static void take(struct peer *peer, struct ring_completion *ret_completion, char *ret_message)
{
    uint32_t place = ring_consumer_take(&peer->completions, ret_completion);
    uint32_t length = ret_completion->message_bytes;
    if (length >= RING_MESSAGE_BYTES)
        length = RING_MESSAGE_BYTES - 1; /* its own scribbling: what counts is the daemon */
    if (ret_message != NULL) {
        memcpy(ret_message,
               peer->rings + peer->layout.messages + (size_t)place * RING_MESSAGE_BYTES, length);
        ret_message[length] = '\0';
    }
    ring_consumer_release(&peer->completions);
}

int peer_wait(struct peer *peer, struct ring_completion *ret_completion,
              char ret_message[RING_MESSAGE_BYTES])
{
    for (;;) {
        const Blkd__Reply *reply = NULL;
        uint32_t ready = 0;
        int error = ring_consumer_look(&peer->completions, &ready);
        if (error == 0 && ready > 0) {
            take(peer, ret_completion, ret_message);
            return 0;
        }
        if (error == 0 && ring_consumer_sleep(&peer->completions)) {
            error = receive_one(peer, UINT64_MAX, &reply, NULL);
            ring_consumer_wake(&peer->completions);
        }
        if (error < 0)
            return error;
    }
}

int peer_io(struct peer *peer, const struct ring_submission *submission)
{
    struct ring_completion completion;
    int error = peer_submit(peer, submission);
    if (error == 0)
        error = peer_wait(peer, &completion, NULL);
    if (error < 0)
        return error;
    return completion.id == submission->id ? status_to_errno((Blkd__Status)completion.status)
                                           : -EBADMSG;
}

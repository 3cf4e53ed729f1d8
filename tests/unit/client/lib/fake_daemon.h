/* SPDX-License-Identifier: MIT */
/*
 * A daemon for the client library's tests: a thread that serves one connection from a piece of
 * memory and misbehaves as it is told. Built on common/wire, so that it shares no code with the
 * client's own sending and receiving.
 *
 * Members above the line are set before fake_start; those below it are read after fake_stop, or
 * from `on_request`, which runs on the daemon's thread.
 */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_DAEMON_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_DAEMON_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/blkd.h"
#include "common/fdpass.h"
#include "common/frame.h"
#include "common/status.h"
#include "common/wire.h"

enum { FAKE_SECTOR = 512, FAKE_HELD_MAX = 1024, FAKE_INPUT_BYTES = 4 * 1024 * 1024 };

/* protobuf-c's own initialisers cast const away, which is refused in our code. */
#define FAKE_MESSAGE(type, init)                                                                   \
    ({                                                                                             \
        type message_;                                                                             \
        init(&message_);                                                                           \
        message_;                                                                                  \
    })

struct fake;

/* True: the request is dealt with. */
typedef bool fake_handler(struct fake *fake, const Blkd__Request *request, const uint8_t *payload);

struct fake_reply {
    uint8_t *bytes;
    size_t length;
};

struct fake {
    size_t disk_bytes;
    uint32_t max_io_bytes;
    uint32_t max_requests;
    size_t split_bytes; /* 0: replies are sent whole; else in pieces of this size */
    unsigned int hold;  /* this many replies are gathered and then sent, the last first */
    bool deny_paths;    /* EACCES for every open without a descriptor */
    fake_handler *on_request;
    bool (*on_wait)(struct fake *fake); /* until there is something to receive; false: no more */
    uint64_t features;                  /* that the daemon has */
    void *user_data;
    /* ------------------------------------------------------------------ */
    char directory[32];
    char path[64];
    int listener;
    int socket;
    pthread_t thread;
    uint8_t *disk;
    uint8_t *input;
    size_t input_bytes;
    struct fdpass fds;
    struct wire_arena arena;
    struct fake_reply held[FAKE_HELD_MAX];
    unsigned int held_count;
    bool hung_up;
    char opened_path[4096];
    char client_name[128];
    uint64_t client_features;
    bool opened_strict, opened_discard;
    char opened_purpose[128];
    uint64_t last_token;
    int opened_flags;
    ino_t opened_inode;
    uint64_t transfer_ends[64];
    unsigned int reads, writes, closes, flushes;
    unsigned int frames_in_receive, most_frames_in_receive;
};

static inline void fake_send_bytes(struct fake *fake, const uint8_t *bytes, size_t length)
{
    size_t piece = fake->split_bytes != 0 ? fake->split_bytes : length;

    while (length > 0 && !fake->hung_up) {
        ssize_t n = send(fake->socket, bytes, piece < length ? piece : length, MSG_NOSIGNAL);
        if (n < 0) {
            fake->hung_up = true;
            return;
        }
        bytes += n;
        length -= (size_t)n;
    }
}

static inline void fake_release(struct fake *fake)
{
    while (fake->held_count > 0) {
        struct fake_reply *reply = &fake->held[--fake->held_count];
        fake_send_bytes(fake, reply->bytes, reply->length);
        free(reply->bytes);
    }
}

static inline void fake_reply(struct fake *fake, const Blkd__Reply *reply, const uint8_t *payload,
                              uint32_t payload_bytes)
{
    size_t size = wire_reply_size(reply);
    uint8_t *bytes = malloc(size + payload_bytes);

    if (bytes == NULL)
        abort();
    wire_pack_reply(reply, payload_bytes, bytes);
    if (payload_bytes > 0)
        memcpy(bytes + size, payload, payload_bytes);
    fake->held[fake->held_count++] = (struct fake_reply){bytes, size + payload_bytes};
    if (fake->held_count >= fake->hold)
        fake_release(fake);
}

static inline void fake_answer(struct fake *fake, uint64_t id, int error, const char *text)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    char message[256];

    (void)snprintf(message, sizeof(message), "%s", text);
    reply.id = id;
    reply.status = status_from_errno(error);
    reply.message = message;
    fake_reply(fake, &reply, NULL, 0);
}

static inline void fake_hang_up(struct fake *fake)
{
    fake->hung_up = true;
}

static inline void fake_hello(struct fake *fake, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__HelloReply hello = FAKE_MESSAGE(Blkd__HelloReply, blkd__hello_reply__init);
    Blkd__Limits limits = FAKE_MESSAGE(Blkd__Limits, blkd__limits__init);
    uint8_t instance[16] = {1, 2, 3};
    char version[] = "9.9";
    char engine[] = "fake";

    (void)snprintf(fake->client_name, sizeof(fake->client_name), "%s", request->hello->client_name);
    fake->client_features = request->hello->features;
    hello.features = request->hello->features & fake->features;
    limits.max_io_bytes = fake->max_io_bytes;
    limits.max_requests = fake->max_requests;
    limits.max_sessions = 7;
    hello.version = 1;
    hello.limits = &limits;
    hello.instance = (ProtobufCBinaryData){sizeof(instance), instance};
    hello.daemon_version = version;
    hello.engine = engine;
    hello.workers = 3;
    hello.daemon_pid = (uint32_t)getpid();
    hello.connection = 42;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_HELLO;
    reply.hello = &hello;
    fake_reply(fake, &reply, NULL, 0);
    fake_release(fake); /* whatever is held later, the first exchange is not */
}

static inline void fake_info(const struct fake *fake, Blkd__Info *info)
{
    blkd__info__init(info);
    info->read_write = true;
    info->sector_size = FAKE_SECTOR;
    info->size_sectors = fake->disk_bytes / FAKE_SECTOR;
    info->kind = BLKD__DEVICE_KIND__DEVICE_KIND_FILE;
    info->discard = BLKD__DISCARD_METHOD__DISCARD_METHOD_PUNCH_HOLE;
    info->generation = 5;
    info->asked_sync = BLKD__SYNC__SYNC_DRIVE;
    info->asked_discard = true;
    info->unsynced_changes = 31;
    info->token = 32;
    info->lock_lost = true;
    info->volatile_storage = true;
}

/* What Open and Who have in common. False: it was refused. */
static inline bool fake_take_descriptor(struct fake *fake, uint64_t id, bool descriptor)
{
    struct stat status;
    int fd;

    if (!descriptor && fake->deny_paths)
        fake_answer(fake, id, -EACCES, "only root opens paths");
    if (!descriptor)
        return !fake->deny_paths;
    if (fake->fds.count == 0) {
        fake_answer(fake, id, -EINVAL, "no descriptor came");
        return false;
    }
    fd = fake->fds.fds[--fake->fds.count];
    if (fstat(fd, &status) == 0)
        fake->opened_inode = status.st_ino;
    fake->opened_flags = fcntl(fd, F_GETFL);
    (void)close(fd);
    return true;
}

static inline void fake_open(struct fake *fake, const Blkd__Request *request)
{
    const Blkd__Open *open = request->open;
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__OpenReply opened = FAKE_MESSAGE(Blkd__OpenReply, blkd__open_reply__init);
    Blkd__Info info;

    (void)snprintf(fake->opened_path, sizeof(fake->opened_path), "%.*s",
                   (int)open->config->path.len, (const char *)open->config->path.data);
    fake->opened_strict = open->config->strict;
    fake->opened_discard = open->config->discard;
    (void)snprintf(fake->opened_purpose, sizeof(fake->opened_purpose), "%s", open->config->purpose);
    if (!fake_take_descriptor(fake, request->id, open->descriptor))
        return;
    fake_info(fake, &info);
    opened.session = 77;
    opened.info = &info;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_OPEN;
    reply.open = &opened;
    fake_reply(fake, &reply, NULL, 0);
}

static inline void fake_read(struct fake *fake, const Blkd__Request *request)
{
    const Blkd__Read *read = request->read;
    uint64_t end = read->transfer_end_bytes != 0 ? read->transfer_end_bytes
                                                 : read->offset_bytes + read->length_bytes;
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);

    fake->transfer_ends[fake->reads++ % 64] = read->transfer_end_bytes;
    if (end > fake->disk_bytes) {
        fake_answer(fake, request->id, -EINVAL, "past the end of the device");
        return;
    }
    reply.id = request->id;
    fake_reply(fake, &reply, fake->disk + read->offset_bytes, read->length_bytes);
}

static inline void fake_write(struct fake *fake, const Blkd__Request *request,
                              const uint8_t *payload, uint32_t payload_bytes)
{
    const Blkd__Write *write = request->write;
    uint64_t end = write->transfer_end_bytes != 0 ? write->transfer_end_bytes
                                                  : write->offset_bytes + payload_bytes;

    fake->transfer_ends[fake->writes++ % 64] = write->transfer_end_bytes;
    if (end > fake->disk_bytes) {
        fake_answer(fake, request->id, -ENOSPC, "past the end of the device");
        return;
    }
    memcpy(fake->disk + write->offset_bytes, payload, payload_bytes);
    fake_answer(fake, request->id, 0, "");
}

static inline void fake_get_info(struct fake *fake, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__Info info;

    fake_info(fake, &info);
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_INFO;
    reply.info = &info;
    fake_reply(fake, &reply, NULL, 0);
}

static inline void fake_get_config(struct fake *fake, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__Config config = FAKE_MESSAGE(Blkd__Config, blkd__config__init);
    uint8_t path[] = "/srv/a b.img";
    char purpose[] = "a purpose";

    config.path = (ProtobufCBinaryData){sizeof(path) - 1, path};
    config.direct = true;
    config.sync = BLKD__SYNC__SYNC_DRIVE;
    config.lock = true;
    config.sector_size = 4096;
    config.access = BLKD__ACCESS__ACCESS_READ_WRITE;
    config.strict = true;
    config.discard = true;
    config.purpose = purpose;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_CONFIG;
    reply.config = &config;
    fake_reply(fake, &reply, NULL, 0);
}

static inline void fake_seek(struct fake *fake, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__SeekReply seek = FAKE_MESSAGE(Blkd__SeekReply, blkd__seek_reply__init);

    /* mapped: where it stands; unmapped: the end */
    seek.offset_bytes = request->seek->target == BLKD__SEEK_TARGET__SEEK_TARGET_MAPPED
                            ? request->seek->offset_bytes
                            : fake->disk_bytes;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_SEEK;
    reply.seek = &seek;
    fake_reply(fake, &reply, NULL, 0);
}

/* Every lock is granted. */
static inline void fake_lock(struct fake *fake, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__LockReply lock = FAKE_MESSAGE(Blkd__LockReply, blkd__lock_reply__init);

    lock.mode = request->lock->mode;
    if (lock.mode == BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE)
        lock.token = ++fake->last_token;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_LOCK;
    reply.lock = &lock;
    fake_reply(fake, &reply, NULL, 0);
}

static inline void fake_send_event(struct fake *fake, Blkd__Event *event)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);

    reply.body_case = BLKD__REPLY__BODY_EVENT;
    reply.event = event;
    fake_reply(fake, &reply, NULL, 0);
}

static inline void fake_request(struct fake *fake, const Blkd__Request *request,
                                const uint8_t *payload, uint32_t payload_bytes)
{
    if (fake->on_request != NULL && fake->on_request(fake, request, payload))
        return;
    switch (request->op_case) {
    case BLKD__REQUEST__OP_HELLO:
        fake_hello(fake, request);
        break;
    case BLKD__REQUEST__OP_OPEN:
        fake_open(fake, request);
        break;
    case BLKD__REQUEST__OP_READ:
        fake_read(fake, request);
        break;
    case BLKD__REQUEST__OP_WRITE:
        fake_write(fake, request, payload, payload_bytes);
        break;
    case BLKD__REQUEST__OP_GET_INFO:
        fake_get_info(fake, request);
        break;
    case BLKD__REQUEST__OP_GET_CONFIG:
        fake_get_config(fake, request);
        break;
    case BLKD__REQUEST__OP_LOCK:
        fake_lock(fake, request);
        break;
    case BLKD__REQUEST__OP_SEEK:
        fake_seek(fake, request);
        break;
    default:
        fake->closes += request->op_case == BLKD__REQUEST__OP_CLOSE;
        fake->flushes += request->op_case == BLKD__REQUEST__OP_FLUSH;
        fake_answer(fake, request->id, 0, "");
    }
}

/* Serves the first frame of the input; false: it is not whole yet. */
static inline bool fake_serve_frame(struct fake *fake)
{
    struct frame_prefix prefix;
    const Blkd__Request *request;
    size_t whole;

    if (fake->input_bytes < FRAME_PREFIX_BYTES || frame_decode(fake->input, &prefix) < 0)
        return false;
    whole = FRAME_PREFIX_BYTES + prefix.header_bytes + (size_t)prefix.payload_bytes;
    if (fake->input_bytes < whole)
        return false;
    if (wire_unpack_request(&fake->arena, fake->input + FRAME_PREFIX_BYTES, prefix.header_bytes,
                            &request) < 0)
        abort();
    fake->frames_in_receive++;
    fake_request(fake, request, fake->input + FRAME_PREFIX_BYTES + prefix.header_bytes,
                 prefix.payload_bytes);
    fake->input_bytes -= whole;
    memmove(fake->input, fake->input + whole, fake->input_bytes);
    return true;
}

static inline bool fake_receive(struct fake *fake)
{
    struct iovec iov = {fake->input + fake->input_bytes, FAKE_INPUT_BYTES - fake->input_bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct fdpass fds;
    ssize_t n = fdpass_receive(fake->socket, &message, 0, &fds);

    if (n <= 0)
        return false;
    if (fds.count > 0)
        fake->fds = fds;
    fake->input_bytes += (size_t)n;
    return true;
}

static inline void *fake_main(void *argument)
{
    struct fake *fake = argument;

    fake->socket = accept(fake->listener, NULL, NULL);
    while (fake->socket >= 0 && !fake->hung_up && (fake->on_wait == NULL || fake->on_wait(fake)) &&
           fake_receive(fake)) {
        fake->frames_in_receive = 0;
        while (!fake->hung_up && fake_serve_frame(fake))
            ;
        if (fake->frames_in_receive > fake->most_frames_in_receive)
            fake->most_frames_in_receive = fake->frames_in_receive;
    }
    if (fake->socket >= 0)
        (void)close(fake->socket);
    fake->socket = -1;
    return NULL;
}

static inline void fake_init(struct fake *fake)
{
    *fake = (struct fake){.disk_bytes = 8 * 1024 * 1024,
                          .max_io_bytes = 1024 * 1024,
                          .max_requests = 64,
                          .socket = -1};
}

static inline void fake_listen(struct fake *fake)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)strcpy(fake->directory, "/tmp/blkd-fake-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fake->directory));
    (void)snprintf(fake->path, sizeof(fake->path), "%s/sock", fake->directory);
    (void)strcpy(address.sun_path, fake->path);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fake->listener, 0);
    ck_assert_int_eq(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(fake->listener, 4), 0);
}

static inline void fake_start(struct fake *fake)
{
    fake_listen(fake);
    fake->disk = malloc(fake->disk_bytes);
    fake->input = malloc(FAKE_INPUT_BYTES);
    ck_assert(fake->disk != NULL && fake->input != NULL);
    for (size_t i = 0; i < fake->disk_bytes; i++)
        fake->disk[i] = (uint8_t)(i / FAKE_SECTOR * 7 + i);
    ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
}

static inline void fake_unlisten(struct fake *fake)
{
    (void)close(fake->listener);
    (void)unlink(fake->path);
    (void)rmdir(fake->directory);
}

/* After the connection has ended on either side. */
static inline void fake_stop(struct fake *fake)
{
    (void)pthread_join(fake->thread, NULL);
    fake_unlisten(fake);
    while (fake->held_count > 0)
        free(fake->held[--fake->held_count].bytes);
    wire_arena_deinit(&fake->arena);
    free(fake->disk);
    free(fake->input);
}

static inline struct blkd *fake_connect(struct fake *fake)
{
    struct blkd_options options = BLKD_OPTIONS_INIT;
    struct blkd *connection = NULL;

    options.socket_path = fake->path;
    ck_assert_msg(blkd_connect(&options, &connection) == 0, "%s", blkd_error_message());
    return connection;
}

static inline struct blkd_device *fake_open_device(struct blkd *connection)
{
    struct blkd_config config = BLKD_CONFIG_INIT;
    struct blkd_device *device = NULL;

    config.path = "/srv/a.img";
    ck_assert_msg(blkd_open(connection, &config, &device) == 0, "%s", blkd_error_message());
    return device;
}

/* Whether the connection's descriptor becomes readable; -1: it must, or the test's time is up. */
static inline bool fake_is_readable(struct blkd *connection, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = blkd_get_fd(connection), .events = POLLIN};

    return poll(&poll_fd, 1, timeout_ms) == 1;
}

/* What the disk holds at first. */
static inline uint8_t fake_byte(uint64_t offset)
{
    return (uint8_t)(offset / FAKE_SECTOR * 7 + offset);
}

static inline void fake_assert_content(const uint8_t *bytes, uint64_t offset, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != fake_byte(offset + i))
            ck_abort_msg("byte %zu (of the disk: %llu) is wrong", i,
                         (unsigned long long)(offset + i));
}

#endif

/* SPDX-License-Identifier: MIT */
/* What the scripted daemon answers when a test has nothing else in mind. */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_REPLIES_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_REPLIES_H

#include "tests/unit/client/lib/fake.h"

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
    info->forgets_failure = true;
}

/* What Open, Who and Recover have in common: the library passes descriptors, never paths alone.
 * False: it was refused. */
static inline bool fake_take_descriptor(struct fake *fake, uint64_t id, bool descriptor)
{
    struct stat status;
    int fd;

    if (!descriptor || fake->fds.count == 0) {
        fake_answer(fake, id, -EINVAL, "no descriptor came");
        return false;
    }
    fd = fake->fds.fds[--fake->fds.count];
    if (fstat(fd, &status) == 0)
        fake->opened_inode = status.st_ino;
    fake->opened_flags = fcntl(fd, F_GETFL);
    (void)close(fd);
    if (!fake->deny_bare || (fake->opened_flags & O_PATH) == 0)
        return true;
    fake_answer(fake, id, -EACCES, "only root asks about what it may not read");
    return false;
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

#endif

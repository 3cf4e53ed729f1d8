/* SPDX-License-Identifier: MIT */
#include "tests/unit/client/cli/scripted_daemon.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

char image[] = "/tmp/blkd-cli-XXXXXX";
int lock_refusal;
bool held, failed, safe;
uint64_t asked_break_device, asked_break_session, asked_evict, asked_recover;
uint32_t asked_wait_ms, asked_break_wait_ms;
uint64_t asked_offset, asked_length;
bool asked_isolate, asked_lock_at_open;
char asked_recover_path[64];

static struct stat image_status;

static void reply_devices(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__DeviceList list = FAKE_MESSAGE(Blkd__DeviceList, blkd__device_list__init);
    Blkd__DeviceEntry entry[2];
    Blkd__SyncState sync[2];
    Blkd__DeviceEntry *entries[] = {&entry[0], &entry[1]};
    Blkd__Counters counters = FAKE_MESSAGE(Blkd__Counters, blkd__counters__init);

    counters.syncs_issued = 11;
    counters.flushes_shared = 12;
    counters.flushes_elided = 13;
    for (unsigned int i = 0; i < 2; i++) {
        blkd__device_entry__init(&entry[i]);
        blkd__sync_state__init(&sync[i]);
        entry[i].device = 3 + i;
        entry[i].kind = BLKD__DEVICE_KIND__DEVICE_KIND_FILE;
        entry[i].sync = &sync[i];
        entry[i].counters = &counters;
    }
    entry[0].path = BYTES("/elsewhere/same.img");
    entry[0].major = major(image_status.st_dev);
    entry[0].minor = minor(image_status.st_dev);
    entry[0].inode = image_status.st_ino;
    sync[0].level = BLKD__SYNC__SYNC_DRIVE;
    sync[0].unsynced_changes = 21;
    sync[0].unsynced_since_unix_ms = 1000;
    sync[0].last_sync_unix_ms = 1000;
    sync[0].last_sync_us = 12345;
    sync[0].longest_sync_us = 2000000;
    sync[0].flushes_asked = 36;
    entry[1].path = BYTES("/srv/broken.img");
    entry[1].failed = true;
    sync[1].failed = BLKD__STATUS__STATUS_ENOSPC;
    sync[1].failed_unix_ms = 5000;
    sync[1].volatile_storage = true;
    list.n_devices = 2;
    list.devices = entries;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_DEVICES;
    reply.devices = &list;
    fake_reply(daemon, &reply, NULL, 0);
}

static void reply_locks(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__LockList list = FAKE_MESSAGE(Blkd__LockList, blkd__lock_list__init);
    Blkd__LockEntry lock[3];
    Blkd__LockEntry *locks[] = {&lock[0], &lock[1], &lock[2]};
    char *command = TEXT("qemu"), *purpose = TEXT("a vm");

    for (unsigned int i = 0; i < 3; i++) {
        blkd__lock_entry__init(&lock[i]);
        lock[i].lock = i + 1;
        lock[i].device = request->list_locks->device;
        lock[i].session = 50 + i;
        lock[i].pid = 1000 + i;
        lock[i].command = command;
        lock[i].purpose = purpose;
    }
    lock[0].mode = BLKD__LOCK_MODE__LOCK_MODE_SHARED;
    lock[0].offset_bytes = 1024;
    lock[0].length_bytes = 512;
    lock[1].mode = BLKD__LOCK_MODE__LOCK_MODE_SHARED;
    lock[1].wanted = BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE;
    lock[1].position = 1;
    lock[2].wanted = BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE;
    lock[2].position = 2;
    list.n_locks = 3;
    list.locks = locks;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_LOCKS;
    reply.locks = &list;
    fake_reply(daemon, &reply, NULL, 0);
}

static void reply_who(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__WhoReply who = FAKE_MESSAGE(Blkd__WhoReply, blkd__who_reply__init);
    Blkd__Holder session = FAKE_MESSAGE(Blkd__Holder, blkd__holder__init);
    Blkd__Holder mount = FAKE_MESSAGE(Blkd__Holder, blkd__holder__init);
    Blkd__Holder waiter = FAKE_MESSAGE(Blkd__Holder, blkd__holder__init);
    Blkd__Holder *holders[] = {&waiter, &session, &mount};

    waiter.kind = BLKD__HOLDER_KIND__HOLDER_KIND_SESSION;
    waiter.waiting = true;
    session.kind = BLKD__HOLDER_KIND__HOLDER_KIND_SESSION;
    session.session = 9;
    session.pid = 4321;
    session.command = TEXT("qemu");
    session.lock = BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE;
    session.read_write = true;
    mount.kind = BLKD__HOLDER_KIND__HOLDER_KIND_MOUNT;
    mount.exclusive = true;
    mount.detail = BYTES("/mnt/with\nnewline");
    who.n_holders = held ? 3 : 1;
    who.holders = holders;
    who.device = held ? 3 : 0;
    who.failed = failed;
    who.safe = safe;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_WHO;
    reply.who = &who;
    fake_reply(daemon, &reply, NULL, 0);
}

static void reply_break(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__BreakLockReply broken = FAKE_MESSAGE(Blkd__BreakLockReply, blkd__break_lock_reply__init);

    asked_break_device = request->break_lock->device;
    asked_break_session = request->break_lock->session;
    asked_break_wait_ms = request->break_lock->wait_ms;
    broken.broken = 2;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_BREAK_LOCK;
    reply.break_lock = &broken;
    fake_reply(daemon, &reply, NULL, 0);
}

static void reply_recover(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__RecoverReply recovered = FAKE_MESSAGE(Blkd__RecoverReply, blkd__recover_reply__init);

    asked_recover = request->recover->device;
    (void)snprintf(asked_recover_path, sizeof(asked_recover_path), "%.*s",
                   (int)request->recover->path.len, (const char *)request->recover->path.data);
    recovered.failed = BLKD__STATUS__STATUS_EIO;
    recovered.failed_unix_ms = 1000;
    recovered.generation = 12;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_RECOVER;
    reply.recover = &recovered;
    fake_reply(daemon, &reply, NULL, 0);
}

static bool note_lock(struct fake *daemon, const Blkd__Request *request)
{
    asked_wait_ms = request->lock->wait_ms;
    asked_offset = request->lock->offset_bytes;
    asked_length = request->lock->length_bytes;
    asked_isolate = request->lock->isolate;
    if (lock_refusal == 0)
        return false;
    fake_answer(daemon, request->id, lock_refusal, "pid 123 (mirage) holds it");
    return true;
}

bool serve(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    switch (request->op_case) {
    case BLKD__REQUEST__OP_OPEN:
        asked_lock_at_open = request->open->config->lock;
        return false;
    case BLKD__REQUEST__OP_LOCK:
        return note_lock(daemon, request);
    case BLKD__REQUEST__OP_LIST_DEVICES:
        reply_devices(daemon, request);
        return true;
    case BLKD__REQUEST__OP_LIST_LOCKS:
        reply_locks(daemon, request);
        return true;
    case BLKD__REQUEST__OP_WHO:
        reply_who(daemon, request);
        return true;
    case BLKD__REQUEST__OP_BREAK_LOCK:
        reply_break(daemon, request);
        return true;
    case BLKD__REQUEST__OP_RECOVER:
        reply_recover(daemon, request);
        return true;
    case BLKD__REQUEST__OP_EVICT:
        asked_evict = request->evict->session;
        return false;
    default:
        return false;
    }
}

void scripted_setup(void)
{
    int fd;

    (void)strcpy(image, "/tmp/blkd-cli-XXXXXX");
    fd = mkstemp(image);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &image_status), 0);
    ck_assert_int_eq(close(fd), 0);
}

void scripted_teardown(void)
{
    ck_assert_int_eq(unlink(image), 0);
}

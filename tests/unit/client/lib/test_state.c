/* SPDX-License-Identifier: MIT */
/* What libblkd tells about the daemon's central state, against a scripted daemon: lists of locks,
 * who has a device, events, watching, and what only root may do. */
#include "tests/unit/client/lib/fake_daemon.h"

static struct fake fake;
static struct blkd *connection;
static struct blkd_device *device;

static void setup(void)
{
    fake_init(&fake);
}

static void begin(void)
{
    fake_start(&fake);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
}

static void end(void)
{
    blkd_close(device);
    blkd_disconnect(connection);
    fake_stop(&fake);
}

/* protobuf-c's strings are not const. */
#define TEXT(literal) ((char[]){literal})
#define BYTES(literal) ((ProtobufCBinaryData){sizeof(literal) - 1, (uint8_t[]){literal}})

static void reply_devices(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__DeviceList list = FAKE_MESSAGE(Blkd__DeviceList, blkd__device_list__init);
    Blkd__DeviceEntry entry = FAKE_MESSAGE(Blkd__DeviceEntry, blkd__device_entry__init);
    Blkd__SyncState sync = FAKE_MESSAGE(Blkd__SyncState, blkd__sync_state__init);
    Blkd__DeviceEntry *entries[] = {&entry};

    sync.level = BLKD__SYNC__SYNC_DRIVE;
    sync.unsynced_changes = 1;
    sync.unsynced_since_unix_ms = 2;
    sync.last_sync_unix_ms = 3;
    sync.last_sync_us = 4;
    sync.longest_sync_us = 5;
    sync.flushes_asked = 6;
    sync.running = true;
    sync.waiting = 7;
    sync.failed = BLKD__STATUS__STATUS_ENOSPC;
    sync.failed_unix_ms = 8;
    sync.volatile_storage = true;
    entry.device = request->list_devices->after_device + 1;
    entry.locks = 9;
    entry.lock_waiters = 10;
    /* The first page has a sync state, the second has none. */
    entry.sync = entry.device == 1 ? &sync : NULL;
    list.n_devices = 1;
    list.devices = entries;
    list.more = entry.device == 1;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_DEVICES;
    reply.devices = &list;
    fake_reply(daemon, &reply, NULL, 0);
}

static void reply_sessions(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__SessionList list = FAKE_MESSAGE(Blkd__SessionList, blkd__session_list__init);
    Blkd__SessionEntry entry = FAKE_MESSAGE(Blkd__SessionEntry, blkd__session_entry__init);
    Blkd__SessionEntry *entries[] = {&entry};

    entry.session = 4;
    entry.command = TEXT("cat");
    entry.client_name = TEXT("tom");
    entry.purpose = TEXT("mice");
    entry.unsynced_changes = 11;
    entry.unsynced_since_unix_ms = 12;
    entry.lock_lost = true;
    entry.ring = true;
    entry.arena_bytes = UINT64_C(13) << 32;
    list.n_sessions = 1;
    list.sessions = entries;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_SESSIONS;
    reply.sessions = &list;
    fake_reply(daemon, &reply, NULL, 0);
}

/* Two pages: two locks, then one that waits. */
static void reply_locks(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__LockList list = FAKE_MESSAGE(Blkd__LockList, blkd__lock_list__init);
    Blkd__LockEntry entry[2];
    Blkd__LockEntry *entries[] = {&entry[0], &entry[1]};
    uint64_t after = request->list_locks->after_lock;
    const ProtobufCBinaryData path = BYTES("/srv/a.img");
    char *first = TEXT("first"), *nothing = TEXT(""), *command = TEXT("qemu");

    for (unsigned int i = 0; i < 2; i++) {
        blkd__lock_entry__init(&entry[i]);
        entry[i].lock = after + i + 1;
        entry[i].device = request->list_locks->device;
        entry[i].session = 20 + i;
        entry[i].path = path;
        entry[i].mode = BLKD__LOCK_MODE__LOCK_MODE_SHARED;
        entry[i].purpose = i == 0 ? first : nothing;
        entry[i].command = command;
        entry[i].pid = 100 + i;
        entry[i].uid = 200;
        entry[i].since_unix_ms = 300;
    }
    entry[0].wanted = after == 2 ? BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE : 0;
    entry[0].position = after == 2 ? 1 : 0;
    entry[0].waits_outside = after == 2;
    entry[1].offset_bytes = 4096;
    entry[1].length_bytes = 512;
    entry[1].isolate = true;
    entry[1].token = 77;
    list.n_locks = after == 2 ? 1 : 2;
    list.locks = entries;
    list.more = after == 0;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_LOCKS;
    reply.locks = &list;
    fake_reply(daemon, &reply, NULL, 0);
}

static bool answer_lists(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    switch (request->op_case) {
    case BLKD__REQUEST__OP_LIST_DEVICES:
        reply_devices(daemon, request);
        return true;
    case BLKD__REQUEST__OP_LIST_SESSIONS:
        reply_sessions(daemon, request);
        return true;
    case BLKD__REQUEST__OP_LIST_LOCKS:
        reply_locks(daemon, request);
        return true;
    default:
        return false;
    }
}

START_TEST(device_entries_tell_about_sync_and_locks)
{
    struct blkd_device_list *list;
    const struct blkd_sync_state *sync;

    fake.on_request = answer_lists;
    begin();
    ck_assert_int_eq(blkd_list_devices(connection, &list), 0);
    ck_assert_uint_eq(list->count, 2);
    sync = &list->entries[0].sync;
    ck_assert_int_eq((int)sync->level, BLKD_SYNC_DRIVE);
    ck_assert_uint_eq(sync->unsynced_changes, 1);
    ck_assert_uint_eq(sync->unsynced_since_unix_ms, 2);
    ck_assert_uint_eq(sync->last_sync_unix_ms, 3);
    ck_assert_uint_eq(sync->last_sync_us, 4);
    ck_assert_uint_eq(sync->longest_sync_us, 5);
    ck_assert_uint_eq(sync->flushes_asked, 6);
    ck_assert(sync->running && sync->volatile_storage);
    ck_assert_uint_eq(sync->waiting, 7);
    ck_assert_int_eq(sync->failed, -ENOSPC);
    ck_assert_uint_eq(sync->failed_unix_ms, 8);
    ck_assert_uint_eq(list->entries[0].locks, 9);
    ck_assert_uint_eq(list->entries[0].lock_waiters, 10);
    ck_assert_int_eq(list->entries[1].sync.failed, 0);
    ck_assert_uint_eq(list->entries[1].sync.flushes_asked, 0);
    blkd_device_list_free(list);
    end();
}
END_TEST

START_TEST(session_entries_tell_about_purpose_loss_and_tier)
{
    struct blkd_session_list *list;

    fake.on_request = answer_lists;
    begin();
    ck_assert_int_eq(blkd_list_sessions(connection, 0, &list), 0);
    ck_assert_uint_eq(list->count, 1);
    ck_assert_str_eq(list->entries[0].command, "cat");
    ck_assert_str_eq(list->entries[0].client_name, "tom");
    ck_assert_str_eq(list->entries[0].purpose, "mice");
    ck_assert_uint_eq(list->entries[0].unsynced_changes, 11);
    ck_assert_uint_eq(list->entries[0].unsynced_since_unix_ms, 12);
    ck_assert(list->entries[0].lock_lost);
    ck_assert(list->entries[0].ring);
    ck_assert_uint_eq(list->entries[0].arena_bytes, UINT64_C(13) << 32);
    blkd_session_list_free(list);
    end();
}
END_TEST

START_TEST(locks_are_listed_over_pages)
{
    struct blkd_lock_list *list;
    const struct blkd_lock_entry *entries;

    fake.on_request = answer_lists;
    begin();
    ck_assert_int_eq(blkd_list_locks(connection, 6, &list), 0);
    ck_assert_uint_eq(list->count, 3);
    entries = list->entries;
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(entries[i].lock_number, i + 1);
        ck_assert_uint_eq(entries[i].device_number, 6);
        ck_assert_str_eq(entries[i].path, "/srv/a.img");
        ck_assert_str_eq(entries[i].command, "qemu");
        ck_assert_int_eq((int)entries[i].mode, BLKD_LOCK_SHARED);
        ck_assert_uint_eq(entries[i].uid, 200);
        ck_assert_uint_eq(entries[i].since_unix_ms, 300);
    }
    ck_assert_str_eq(entries[0].purpose, "first");
    ck_assert_str_eq(entries[1].purpose, "");
    ck_assert_uint_eq(entries[1].session_number, 21);
    ck_assert_uint_eq(entries[1].pid, 101);
    ck_assert_uint_eq(entries[1].offset_bytes, 4096);
    ck_assert_uint_eq(entries[1].length_bytes, 512);
    ck_assert(entries[1].isolate && !entries[0].isolate);
    ck_assert_uint_eq(entries[1].token, 77);
    ck_assert_int_eq((int)entries[1].wanted, BLKD_LOCK_NONE);
    ck_assert_int_eq((int)entries[2].wanted, BLKD_LOCK_EXCLUSIVE);
    ck_assert_uint_eq(entries[2].position, 1);
    ck_assert(entries[2].waits_outside && !entries[0].waits_outside);
    blkd_lock_list_free(list);
    blkd_lock_list_free(NULL);
    ck_assert_int_eq(blkd_list_locks(connection, 0, NULL), -EINVAL);
    ck_assert_int_eq(blkd_list_locks(NULL, 0, &list), -EINVAL);
    end();
}
END_TEST

static bool answer_empty(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_HELLO || request->op_case == BLKD__REQUEST__OP_OPEN)
        return false;
    fake_answer(daemon, request->id, 0, "");
    return true;
}

START_TEST(answers_without_a_body_are_protocol_errors)
{
    struct blkd_lock_list *locks;
    struct blkd_holders *holders;

    fake.on_request = answer_empty;
    begin();
    ck_assert_int_eq(blkd_list_locks(connection, 0, &locks), -EPROTO);
    ck_assert_int_eq(blkd_who(connection, "/a", &holders), -EPROTO);
    ck_assert_int_eq(blkd_break_lock(connection, 1, 0, 0, NULL), -EPROTO);
    ck_assert_int_eq(blkd_recover(connection, "/a", 0, NULL), -EPROTO);
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_evict(connection, 1), 0);
    end();
}
END_TEST

/* ---- who ---- */

static char who_path[256];

static bool answer_who(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__WhoReply who = FAKE_MESSAGE(Blkd__WhoReply, blkd__who_reply__init);
    Blkd__Holder session = FAKE_MESSAGE(Blkd__Holder, blkd__holder__init);
    Blkd__Holder mount = FAKE_MESSAGE(Blkd__Holder, blkd__holder__init);
    Blkd__Holder *holders[] = {&session, &mount};

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_WHO)
        return false;
    (void)snprintf(who_path, sizeof(who_path), "%.*s", (int)request->who->path.len,
                   (const char *)request->who->path.data);
    if (!fake_take_descriptor(daemon, request->id, request->who->descriptor))
        return true;
    session.kind = BLKD__HOLDER_KIND__HOLDER_KIND_SESSION;
    session.exclusive = session.read_write = session.waiting = true;
    session.pid = 1;
    session.uid = 2;
    session.command = TEXT("qemu");
    session.detail = BYTES("/srv/a.img");
    session.session = 3;
    session.purpose = TEXT("a vm");
    session.lock = BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE;
    session.since_unix_ms = 4;
    mount.kind = BLKD__HOLDER_KIND__HOLDER_KIND_MOUNT;
    mount.via = true;
    mount.detail = BYTES("/mnt on /dev/sdb1");
    who.n_holders = 2;
    who.holders = holders;
    who.device = 5;
    who.failed = who.more = who.safe = true;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_WHO;
    reply.who = &who;
    fake_reply(daemon, &reply, NULL, 0);
    return true;
}

START_TEST(holders_are_told_in_full)
{
    struct blkd_holders *holders;

    fake.on_request = answer_who;
    begin();
    ck_assert_int_eq(blkd_who(connection, "/srv/a.img", &holders), 0);
    ck_assert_str_eq(who_path, "/srv/a.img");
    ck_assert_uint_eq(holders->count, 2);
    ck_assert_uint_eq(holders->device_number, 5);
    ck_assert(holders->failed && holders->more && holders->safe);
    ck_assert_int_eq((int)holders->entries[0].kind, BLKD_HOLDER_SESSION);
    ck_assert(holders->entries[0].exclusive && holders->entries[0].read_write &&
              holders->entries[0].waiting && !holders->entries[0].via);
    ck_assert_uint_eq(holders->entries[0].pid, 1);
    ck_assert_uint_eq(holders->entries[0].uid, 2);
    ck_assert_str_eq(holders->entries[0].command, "qemu");
    ck_assert_str_eq(holders->entries[0].detail, "/srv/a.img");
    ck_assert_uint_eq(holders->entries[0].session_number, 3);
    ck_assert_str_eq(holders->entries[0].purpose, "a vm");
    ck_assert_int_eq((int)holders->entries[0].lock, BLKD_LOCK_EXCLUSIVE);
    ck_assert_uint_eq(holders->entries[0].since_unix_ms, 4);
    ck_assert_int_eq((int)holders->entries[1].kind, BLKD_HOLDER_MOUNT);
    ck_assert(holders->entries[1].via && !holders->entries[1].waiting);
    ck_assert_str_eq(holders->entries[1].detail, "/mnt on /dev/sdb1");
    ck_assert_str_eq(holders->entries[1].command, "");
    blkd_who_free(holders);
    blkd_who_free(NULL);
    ck_assert_int_eq(blkd_who(connection, "", &holders), -EINVAL);
    ck_assert_int_eq(blkd_who(connection, NULL, &holders), -EINVAL);
    ck_assert_int_eq(blkd_who(connection, "/a", NULL), -EINVAL);
    end();
}
END_TEST

START_TEST(denied_path_is_passed_as_a_descriptor_for_reading)
{
    char name[] = "/tmp/blkd-who-XXXXXX";
    struct blkd_holders *holders;
    struct stat status;
    int fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    fake.deny_paths = true;
    fake.on_request = answer_who;
    fake_start(&fake);
    connection = fake_connect(&fake);
    ck_assert_int_eq(blkd_who(connection, name, &holders), 0);
    ck_assert_uint_eq(holders->count, 2);
    blkd_who_free(holders);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(unlink(name), 0);
    ck_assert_int_eq(blkd_who(connection, name, &holders), -ENOENT);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "asking who has"));
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), name));
    blkd_disconnect(connection);
    fake_stop(&fake);
    ck_assert_uint_eq(fake.opened_inode, status.st_ino);
    ck_assert_int_eq(fake.opened_flags & O_ACCMODE, O_RDONLY);
}
END_TEST

/* ---- administration ---- */

static struct {
    bool watch_stop;
    uint64_t break_device, break_session, evicted, recover_device;
    uint32_t break_wait_ms;
    char recover_path[256];
} asked;

static void reply_break(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__BreakLockReply broken = FAKE_MESSAGE(Blkd__BreakLockReply, blkd__break_lock_reply__init);

    asked.break_device = request->break_lock->device;
    asked.break_session = request->break_lock->session;
    asked.break_wait_ms = request->break_lock->wait_ms;
    broken.broken = 3;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_BREAK_LOCK;
    reply.break_lock = &broken;
    fake_reply(daemon, &reply, NULL, 0);
}

static void reply_recover(struct fake *daemon, const Blkd__Request *request)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    Blkd__RecoverReply recovered = FAKE_MESSAGE(Blkd__RecoverReply, blkd__recover_reply__init);

    asked.recover_device = request->recover->device;
    (void)snprintf(asked.recover_path, sizeof(asked.recover_path), "%.*s",
                   (int)request->recover->path.len, (const char *)request->recover->path.data);
    recovered.failed = BLKD__STATUS__STATUS_EIO;
    recovered.failed_unix_ms = 1000;
    recovered.generation = 12;
    reply.id = request->id;
    reply.body_case = BLKD__REPLY__BODY_RECOVER;
    reply.recover = &recovered;
    fake_reply(daemon, &reply, NULL, 0);
}

static bool answer_admin(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    switch (request->op_case) {
    case BLKD__REQUEST__OP_WATCH:
        asked.watch_stop = request->watch->stop;
        return false;
    case BLKD__REQUEST__OP_BREAK_LOCK:
        reply_break(daemon, request);
        return true;
    case BLKD__REQUEST__OP_EVICT:
        asked.evicted = request->evict->session;
        fake_answer(daemon, request->id, -ENOENT, "there is no such session");
        return true;
    case BLKD__REQUEST__OP_RECOVER:
        reply_recover(daemon, request);
        return true;
    default:
        return false;
    }
}

START_TEST(administration_asks_for_what_it_was_told)
{
    struct blkd_recovery recovery;
    uint32_t broken = 0;

    fake.on_request = answer_admin;
    begin();
    asked.watch_stop = true;
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert(!asked.watch_stop);
    ck_assert_int_eq(blkd_watch(connection, false), 0);
    ck_assert(asked.watch_stop);
    ck_assert_int_eq(blkd_break_lock(connection, 4, 5, 6, &broken), 0);
    ck_assert_uint_eq(broken, 3);
    ck_assert_uint_eq(asked.break_device, 4);
    ck_assert_uint_eq(asked.break_session, 5);
    ck_assert_uint_eq(asked.break_wait_ms, 6);
    ck_assert_int_eq(blkd_break_lock(connection, 4, 0, BLKD_WAIT_FOREVER, NULL), 0);
    ck_assert_uint_eq(asked.break_wait_ms, BLKD__LOCK_WAIT__LOCK_WAIT_FOREVER);
    ck_assert_int_eq(blkd_evict(connection, 21), -ENOENT);
    ck_assert_uint_eq(asked.evicted, 21);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "evicting session 21"));
    ck_assert_int_eq(blkd_recover(connection, "/srv/../srv/a.img", 0, &recovery), 0);
    ck_assert_str_eq(asked.recover_path, "/srv/../srv/a.img");
    ck_assert_uint_eq(asked.recover_device, 0);
    ck_assert_int_eq(recovery.failed, -EIO);
    ck_assert_uint_eq(recovery.failed_unix_ms, 1000);
    ck_assert_uint_eq(recovery.generation, 12);
    ck_assert_int_eq(blkd_recover(connection, NULL, 8, NULL), 0);
    ck_assert_str_eq(asked.recover_path, "");
    ck_assert_uint_eq(asked.recover_device, 8);
    end();
}
END_TEST

START_TEST(administration_refuses_the_impossible)
{
    begin();
    ck_assert_int_eq(blkd_watch(NULL, true), -EINVAL);
    ck_assert_int_eq(blkd_break_lock(connection, 0, 1, 0, NULL), -EINVAL);
    ck_assert_int_eq(blkd_break_lock(connection, 1, 1, -2, NULL), -EINVAL);
    ck_assert_int_eq(blkd_break_lock(NULL, 1, 1, 0, NULL), -EINVAL);
    ck_assert_int_eq(blkd_evict(connection, 0), -EINVAL);
    ck_assert_int_eq(blkd_evict(NULL, 1), -EINVAL);
    ck_assert_int_eq(blkd_recover(connection, NULL, 0, NULL), -EINVAL);
    ck_assert_int_eq(blkd_recover(connection, "/a", 1, NULL), -EINVAL);
    ck_assert_int_eq(blkd_recover(connection, "", 0, NULL), -EINVAL);
    end();
}
END_TEST

/* ---- events ---- */

enum { SEEN_MAX = 5000 };

static struct blkd_event seen[SEEN_MAX];
static struct blkd_happening seen_happening[SEEN_MAX];
static unsigned int seen_count;
static char seen_path[64], seen_command[64], seen_purpose[64];

static void on_event(void *user_data, const struct blkd_event *event)
{
    (void)user_data;
    ck_assert_uint_lt(seen_count, SEEN_MAX);
    seen[seen_count] = *event;
    if (event->happening != NULL) {
        seen_happening[seen_count] = *event->happening;
        (void)snprintf(seen_path, sizeof(seen_path), "%s", event->happening->path);
        (void)snprintf(seen_command, sizeof(seen_command), "%s", event->happening->command);
        (void)snprintf(seen_purpose, sizeof(seen_purpose), "%s", event->happening->purpose);
    }
    seen_count++;
}

static unsigned int happenings_to_send;

static void send_happenings(struct fake *daemon)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__Happening happening = FAKE_MESSAGE(Blkd__Happening, blkd__happening__init);

    event.what_case = BLKD__EVENT__WHAT_HAPPENING;
    event.happening = &happening;
    happening.what = BLKD__HAPPENING__WHAT__WHAT_LOCK_GRANTED;
    happening.device = 1;
    happening.session = 2;
    happening.path = BYTES("/srv/b.img");
    happening.unix_ms = 3;
    happening.pid = 4;
    happening.uid = 5;
    happening.command = TEXT("qemu");
    happening.mode = BLKD__LOCK_MODE__LOCK_MODE_SHARED;
    happening.offset_bytes = 6;
    happening.length_bytes = 7;
    happening.token = 8;
    happening.size_bytes = 9;
    happening.generation = 10;
    happening.status = BLKD__STATUS__STATUS_EIO;
    happening.purpose = TEXT("a vm");
    for (unsigned int i = 0; i < happenings_to_send; i++) {
        event.sequence = i + 1;
        happening.left_out = i == 1 ? 100 : 0;
        fake_send_event(daemon, &event);
    }
}

static void send_lock_events(struct fake *daemon)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__LockGranted granted = FAKE_MESSAGE(Blkd__LockGranted, blkd__lock_granted__init);
    Blkd__LockLost lost = FAKE_MESSAGE(Blkd__LockLost, blkd__lock_lost__init);
    Blkd__Evicted evicted = FAKE_MESSAGE(Blkd__Evicted, blkd__evicted__init);

    event.what_case = BLKD__EVENT__WHAT_LOCK_GRANTED;
    event.lock_granted = &granted;
    event.session = 78; /* not open here: nobody hears of it */
    fake_send_event(daemon, &event);
    event.session = 77;
    granted.mode = BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE;
    granted.token = 44;
    granted.offset_bytes = 3 * FAKE_SECTOR;
    granted.length_bytes = 4 * FAKE_SECTOR;
    fake_send_event(daemon, &event);
    event.what_case = BLKD__EVENT__WHAT_LOCK_LOST;
    event.lock_lost = &lost;
    lost.reason = BLKD__LOCK_LOST__REASON__REASON_BROKEN;
    lost.locks = 2;
    fake_send_event(daemon, &event);
    event.what_case = BLKD__EVENT__WHAT_EVICTED;
    event.evicted = &evicted;
    fake_send_event(daemon, &event);
}

static bool events_before_answer(struct fake *daemon, const Blkd__Request *request,
                                 const uint8_t *payload)
{
    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_WATCH)
        send_happenings(daemon);
    if (request->op_case == BLKD__REQUEST__OP_PING)
        send_lock_events(daemon);
    return false;
}

static void begin_events(void)
{
    seen_count = 0;
    fake.on_request = events_before_answer;
    begin();
    ck_assert_int_eq(blkd_set_event_callback(connection, on_event, NULL), 0);
}

START_TEST(lock_events_are_delivered)
{
    begin_events();
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 3);
    ck_assert_int_eq((int)seen[0].type, BLKD_EVENT_LOCK_GRANTED);
    ck_assert_ptr_eq(seen[0].device, device);
    ck_assert_int_eq((int)seen[0].lock_mode, BLKD_LOCK_EXCLUSIVE);
    ck_assert_uint_eq(seen[0].token, 44);
    ck_assert_uint_eq(seen[0].first_sector, 3);
    ck_assert_uint_eq(seen[0].count_sectors, 4);
    ck_assert_int_eq((int)seen[1].type, BLKD_EVENT_LOCK_LOST);
    ck_assert_int_eq((int)seen[1].lost_reason, BLKD_LOST_BROKEN);
    ck_assert_uint_eq(seen[1].lost_locks, 2);
    ck_assert_int_eq((int)seen[2].type, BLKD_EVENT_EVICTED);
    ck_assert_ptr_eq(seen[2].device, device);
    ck_assert_ptr_null(seen[2].happening);
    end();
}
END_TEST

START_TEST(happenings_come_one_by_one)
{
    const struct blkd_happening *happening = &seen_happening[1];

    happenings_to_send = 3;
    begin_events();
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 3);
    for (unsigned int i = 0; i < 3; i++) {
        ck_assert_int_eq((int)seen[i].type, BLKD_EVENT_HAPPENING);
        ck_assert_uint_eq(seen[i].sequence, i + 1);
        ck_assert_ptr_null(seen[i].device);
    }
    ck_assert_int_eq((int)happening->what, BLKD_HAPPENING_LOCK_GRANTED);
    ck_assert_uint_eq(happening->device_number, 1);
    ck_assert_uint_eq(happening->session_number, 2);
    ck_assert_uint_eq(happening->unix_ms, 3);
    ck_assert_uint_eq(happening->pid, 4);
    ck_assert_uint_eq(happening->uid, 5);
    ck_assert_int_eq((int)happening->mode, BLKD_LOCK_SHARED);
    ck_assert_uint_eq(happening->offset_bytes, 6);
    ck_assert_uint_eq(happening->length_bytes, 7);
    ck_assert_uint_eq(happening->token, 8);
    ck_assert_uint_eq(happening->size_bytes, 9);
    ck_assert_uint_eq(happening->generation, 10);
    ck_assert_int_eq(happening->error, -EIO);
    ck_assert_uint_eq(happening->left_out, 100);
    ck_assert_str_eq(seen_path, "/srv/b.img");
    ck_assert_str_eq(seen_command, "qemu");
    ck_assert_str_eq(seen_purpose, "a vm");
    end();
}
END_TEST

/* 4096 wait; what comes on top is counted and told with the next one that is queued. */
START_TEST(happenings_that_nobody_fetches_are_bounded_and_counted)
{
    happenings_to_send = 4096 + 10;
    begin_events();
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 4096);
    happenings_to_send = 1;
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 1);
    ck_assert_uint_eq(seen_happening[4095].left_out, 0);
    ck_assert_uint_eq(seen_happening[4096].left_out, 10);
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_dispatch(connection, 0), 1);
    ck_assert_uint_eq(seen_happening[4097].left_out, 0);
    end();
}
END_TEST

START_TEST(open_asks_with_all_members)
{
    struct blkd_config config = BLKD_CONFIG_INIT;
    struct blkd_device *other;
    char purpose[66];

    begin();
    config.path = "/srv/a.img";
    config.strict = true;
    config.discard = true;
    memset(purpose, 'p', 65);
    purpose[65] = '\0';
    config.purpose = purpose;
    ck_assert_int_eq(blkd_open(connection, &config, &other), -EINVAL);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "65 bytes"));
    config.purpose = "nightly backup";
    ck_assert_int_eq(blkd_open(connection, &config, &other), 0);
    blkd_close(other);
    end();
    ck_assert(fake.opened_strict && fake.opened_discard);
    ck_assert_str_eq(fake.opened_purpose, "nightly backup");
}
END_TEST

static Suite *state_suite(void)
{
    Suite *suite = suite_create("client_state");
    TCase *tests = tcase_create("state");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, device_entries_tell_about_sync_and_locks);
    tcase_add_test(tests, session_entries_tell_about_purpose_loss_and_tier);
    tcase_add_test(tests, locks_are_listed_over_pages);
    tcase_add_test(tests, answers_without_a_body_are_protocol_errors);
    tcase_add_test(tests, holders_are_told_in_full);
    tcase_add_test(tests, denied_path_is_passed_as_a_descriptor_for_reading);
    tcase_add_test(tests, administration_asks_for_what_it_was_told);
    tcase_add_test(tests, administration_refuses_the_impossible);
    tcase_add_test(tests, lock_events_are_delivered);
    tcase_add_test(tests, happenings_come_one_by_one);
    tcase_add_test(tests, happenings_that_nobody_fetches_are_bounded_and_counted);
    tcase_add_test(tests, open_asks_with_all_members);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(state_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

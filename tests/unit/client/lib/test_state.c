/* SPDX-License-Identifier: MIT */
/* What libblkd tells about the daemon's state, against a scripted daemon: lists of devices,
 * sessions and locks. */
#include "tests/unit/client/lib/fake_scene.h"

static void setup(void)
{
    fake_init(&fake);
}

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
    sync = &list->entries[0]->sync;
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
    ck_assert_uint_eq(list->entries[0]->locks, 9);
    ck_assert_uint_eq(list->entries[0]->lock_waiters, 10);
    ck_assert_int_eq(list->entries[1]->sync.failed, 0);
    ck_assert_uint_eq(list->entries[1]->sync.flushes_asked, 0);
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
    ck_assert_str_eq(list->entries[0]->command, "cat");
    ck_assert_str_eq(list->entries[0]->client_name, "tom");
    ck_assert_str_eq(list->entries[0]->purpose, "mice");
    ck_assert_uint_eq(list->entries[0]->unsynced_changes, 11);
    ck_assert_uint_eq(list->entries[0]->unsynced_since_unix_ms, 12);
    ck_assert(list->entries[0]->lock_lost);
    ck_assert(list->entries[0]->ring);
    ck_assert_uint_eq(list->entries[0]->arena_bytes, UINT64_C(13) << 32);
    blkd_session_list_free(list);
    end();
}
END_TEST

START_TEST(locks_are_listed_over_pages)
{
    struct blkd_lock_list *list;
    const struct blkd_lock_entry *const *entries;

    fake.on_request = answer_lists;
    begin();
    ck_assert_int_eq(blkd_list_locks(connection, 6, &list), 0);
    ck_assert_uint_eq(list->count, 3);
    entries = list->entries;
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(entries[i]->lock_number, i + 1);
        ck_assert_uint_eq(entries[i]->device_number, 6);
        ck_assert_str_eq(entries[i]->path, "/srv/a.img");
        ck_assert_str_eq(entries[i]->command, "qemu");
        ck_assert_int_eq((int)entries[i]->mode, BLKD_LOCK_SHARED);
        ck_assert_uint_eq(entries[i]->uid, 200);
        ck_assert_uint_eq(entries[i]->since_unix_ms, 300);
    }
    ck_assert_str_eq(entries[0]->purpose, "first");
    ck_assert_str_eq(entries[1]->purpose, "");
    ck_assert_uint_eq(entries[1]->session_number, 21);
    ck_assert_uint_eq(entries[1]->pid, 101);
    ck_assert_uint_eq(entries[1]->offset_bytes, 4096);
    ck_assert_uint_eq(entries[1]->length_bytes, 512);
    ck_assert(entries[1]->isolate && !entries[0]->isolate);
    ck_assert_uint_eq(entries[1]->token, 77);
    ck_assert_int_eq((int)entries[1]->wanted, BLKD_LOCK_NONE);
    ck_assert_int_eq((int)entries[2]->wanted, BLKD_LOCK_EXCLUSIVE);
    ck_assert_uint_eq(entries[2]->position, 1);
    ck_assert(entries[2]->waits_outside && !entries[0]->waits_outside);
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
    ck_assert_int_eq(blkd_who(connection, FAKE_FILE, &holders), -EPROTO);
    ck_assert_int_eq(blkd_break_lock(connection, 1, 0, 0, NULL), -EPROTO);
    ck_assert_int_eq(blkd_recover(connection, FAKE_FILE, 0, NULL), -EPROTO);
    ck_assert_int_eq(blkd_watch(connection, true), 0);
    ck_assert_int_eq(blkd_evict(connection, 1), 0);
    end();
}
END_TEST

START_TEST(open_asks_with_all_members)
{
    struct blkd_config config = {0};
    struct blkd_device *other;
    char purpose[66];

    begin();
    config.path = FAKE_FILE;
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

int main(void)
{
    Suite *suite = suite_create("client_state");
    TCase *tests = tcase_create("state");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, device_entries_tell_about_sync_and_locks);
    tcase_add_test(tests, session_entries_tell_about_purpose_loss_and_tier);
    tcase_add_test(tests, locks_are_listed_over_pages);
    tcase_add_test(tests, answers_without_a_body_are_protocol_errors);
    tcase_add_test(tests, open_asks_with_all_members);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

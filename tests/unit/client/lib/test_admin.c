/* SPDX-License-Identifier: MIT */
/* What libblkd asks about others and does to them, against a scripted daemon: who has a device;
 * ending locks, sessions and failures, which only root may do. */
#include "tests/unit/client/lib/fake_scene.h"

static void setup(void)
{
    fake_init(&fake);
}

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
    ck_assert_int_eq(blkd_who(connection, FAKE_FILE, &holders), 0);
    ck_assert_str_eq(who_path, FAKE_FILE);
    ck_assert_uint_eq(holders->count, 2);
    ck_assert_uint_eq(holders->device_number, 5);
    ck_assert(holders->failed && holders->more && holders->safe);
    ck_assert_int_eq((int)holders->entries[0]->kind, BLKD_HOLDER_SESSION);
    ck_assert(holders->entries[0]->exclusive && holders->entries[0]->read_write &&
              holders->entries[0]->waiting && !holders->entries[0]->via);
    ck_assert_uint_eq(holders->entries[0]->pid, 1);
    ck_assert_uint_eq(holders->entries[0]->uid, 2);
    ck_assert_str_eq(holders->entries[0]->command, "qemu");
    ck_assert_str_eq(holders->entries[0]->detail, "/srv/a.img");
    ck_assert_uint_eq(holders->entries[0]->session_number, 3);
    ck_assert_str_eq(holders->entries[0]->purpose, "a vm");
    ck_assert_int_eq((int)holders->entries[0]->lock, BLKD_LOCK_EXCLUSIVE);
    ck_assert_uint_eq(holders->entries[0]->since_unix_ms, 4);
    ck_assert_int_eq((int)holders->entries[1]->kind, BLKD_HOLDER_MOUNT);
    ck_assert(holders->entries[1]->via && !holders->entries[1]->waiting);
    ck_assert_str_eq(holders->entries[1]->detail, "/mnt on /dev/sdb1");
    ck_assert_str_eq(holders->entries[1]->command, "");
    blkd_who_free(holders);
    blkd_who_free(NULL);
    ck_assert_int_eq(blkd_who(connection, "", &holders), -EINVAL);
    ck_assert_int_eq(blkd_who(connection, NULL, &holders), -EINVAL);
    ck_assert_int_eq(blkd_who(connection, "/a", NULL), -EINVAL);
    end();
}
END_TEST

START_TEST(who_may_read_it_asks_by_a_descriptor_for_reading)
{
    char name[] = "/tmp/blkd-who-XXXXXX";
    struct blkd_holders *holders;
    struct stat status;
    int fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    fake.deny_bare = true;
    fake.on_request = answer_who;
    fake_start(&fake);
    connection = fake_connect(&fake);
    ck_assert_int_eq(blkd_who(connection, name, &holders), 0);
    ck_assert_uint_eq(holders->count, 2);
    blkd_who_free(holders);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(unlink(name), 0);
    ck_assert_int_eq(blkd_who(connection, name, &holders), -ENOENT);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "No such file"));
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

    if (request->recover->descriptor &&
        !fake_take_descriptor(daemon, request->id, request->recover->descriptor))
        return;
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
    struct stat own;
    uint32_t broken = 0;

    ck_assert_int_eq(stat(FAKE_FILE, &own), 0);
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
    ck_assert_int_eq(blkd_recover(connection, "/proc/../proc/self/exe", 0, &recovery), 0);
    ck_assert_str_eq(asked.recover_path, "/proc/../proc/self/exe");
    ck_assert_uint_eq(fake.opened_inode, own.st_ino);
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

int main(void)
{
    Suite *suite = suite_create("client_admin");
    TCase *tests = tcase_create("administration");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, holders_are_told_in_full);
    tcase_add_test(tests, who_may_read_it_asks_by_a_descriptor_for_reading);
    tcase_add_test(tests, administration_asks_for_what_it_was_told);
    tcase_add_test(tests, administration_refuses_the_impossible);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

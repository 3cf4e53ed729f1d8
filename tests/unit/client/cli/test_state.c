/* SPDX-License-Identifier: MIT */
/*
 * blkd-cli itself, the program, against a scripted daemon: locks, why, sync, recover, evict, watch.
 * The program is $BLKD_CLI.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "tests/unit/client/lib/fake_daemon.h"

enum { ARGUMENTS_MAX = 16, OUTPUT_MAX = 16384 };

static struct fake fake;

#define TEXT(literal) ((char[]){literal})
#define BYTES(literal) ((ProtobufCBinaryData){sizeof(literal) - 1, (uint8_t[]){literal}})

/* ---- the program ---- */

struct run {
    pid_t pid;
    int in_fd, out_fd, err_fd; /* nothing is written to its stdin, which stays open */
    char out[OUTPUT_MAX], err[OUTPUT_MAX];
    size_t out_bytes, err_bytes;
    int code; /* once it is over */
};

static struct run run;

static void start(const char *const *words)
{
    const char *program = getenv("BLKD_CLI");
    char *argv[ARGUMENTS_MAX + 2] = {TEXT("blkd-cli")};
    int in[2], out[2], err[2];
    int count = 1;

    ck_assert_msg(program != NULL, "BLKD_CLI does not tell where blkd-cli is: run it by ctest");
    ck_assert(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 &&
              pipe2(err, O_CLOEXEC) == 0);
    for (; *words; words++) {
        ck_assert_int_lt(count, ARGUMENTS_MAX);
        argv[count++] = strdup(*words);
    }
    memset(&run, 0, sizeof(run));
    run.pid = fork();
    ck_assert_int_ge(run.pid, 0);
    if (run.pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(err[1], STDERR_FILENO);
        (void)setenv("BLKD_SOCKET", fake.path, 1);
        (void)execv(program, argv);
        _exit(99);
    }
    while (--count > 0)
        free(argv[count]);
    (void)close(in[0]);
    (void)close(out[1]);
    (void)close(err[1]);
    run.in_fd = in[1];
    run.out_fd = out[0];
    run.err_fd = err[0];
}

#define START(...) start((const char *const[]){__VA_ARGS__, NULL})

/* False: end of file. */
static bool gather(int fd, char *text, size_t *bytes)
{
    ssize_t n = read(fd, text + *bytes, OUTPUT_MAX - 1 - *bytes);

    ck_assert_int_ge(n, 0);
    *bytes += (size_t)n;
    return n > 0;
}

/* Until stdout or stderr has this text. */
static void wait_for(const char *text)
{
    while (strstr(run.out, text) == NULL && strstr(run.err, text) == NULL) {
        struct pollfd fds[] = {{run.out_fd, POLLIN, 0}, {run.err_fd, POLLIN, 0}};
        bool more = true;

        ck_assert_int_gt(poll(fds, 2, 60000), 0);
        if (fds[0].revents)
            more = gather(run.out_fd, run.out, &run.out_bytes);
        else
            more = gather(run.err_fd, run.err, &run.err_bytes);
        ck_assert_msg(more, "it ended without '%s': %s%s", text, run.out, run.err);
    }
}

static void finish(void)
{
    int status;

    while (gather(run.out_fd, run.out, &run.out_bytes))
        ;
    while (gather(run.err_fd, run.err, &run.err_bytes))
        ;
    ck_assert_int_eq(waitpid(run.pid, &status, 0), run.pid);
    run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    (void)close(run.in_fd);
    (void)close(run.out_fd);
    (void)close(run.err_fd);
    fake_stop(&fake);
}

static void check_code(int expected)
{
    ck_assert_msg(run.code == expected, "exit code %d, not %d: %s%s", run.code, expected, run.out,
                  run.err);
}

static void check_has(const char *output, const char *part)
{
    ck_assert_msg(strstr(output, part) != NULL, "no '%s' in: %s", part, output);
}

static void check_lacks(const char *output, const char *part)
{
    ck_assert_msg(strstr(output, part) == NULL, "'%s' in: %s", part, output);
}

#define RUN(handler, ...)                                                                          \
    do {                                                                                           \
        fake_init(&fake);                                                                          \
        fake.on_request = (handler);                                                               \
        fake_start(&fake);                                                                         \
        START(__VA_ARGS__);                                                                        \
        finish();                                                                                  \
    } while (0)

/* ---- the daemon ---- */

static char image[] = "/tmp/blkd-cli-XXXXXX"; /* open in the daemon as device 3 */
static struct stat image_status;
static int lock_refusal; /* a negative errno: for every lock */
static uint64_t asked_break_device, asked_break_session, asked_evict, asked_recover;
static uint32_t asked_wait_ms, asked_break_wait_ms;
static uint64_t asked_offset, asked_length;
static bool asked_isolate, asked_lock_at_open, held, failed, safe;
static char asked_recover_path[64];

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

static bool serve(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
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

/* ---- lists ---- */

START_TEST(lock_ls_tells_what_each_lock_is_at)
{
    RUN(serve, "lock", "ls", image);
    check_code(0);
    check_has(run.out, "held");
    check_has(run.out, "1024-1535");
    check_has(run.out, "upgrading");
    check_has(run.out, "waits");
    check_has(run.out, "a vm");
    RUN(serve, "lock", "ls", "--json", "#3");
    check_code(0);
    check_has(run.out, "\"device\": 3");
    check_has(run.out, "\"state\": \"upgrading\"");
    check_has(run.out, "\"position\": 2");
    check_has(run.out, "\"wanted\": \"exclusive\"");
}
END_TEST

START_TEST(device_is_found_by_number_path_and_string)
{
    char string[64], neighbour[] = "/tmp/blkd-cli-XXXXXX";
    int other;

    (void)snprintf(string, sizeof(string), "file://%s", image);
    asked_break_device = 0;
    RUN(serve, "lock", "break", string);
    check_code(0);
    ck_assert_uint_eq(asked_break_device, 3);
    ck_assert_uint_eq(asked_break_session, 0);
    ck_assert_uint_eq(asked_break_wait_ms, 10000);
    RUN(serve, "lock", "break", "--session", "77", "--wait", "1.5", "4", "--json");
    check_code(0);
    ck_assert_uint_eq(asked_break_device, 4);
    ck_assert_uint_eq(asked_break_session, 77);
    ck_assert_uint_eq(asked_break_wait_ms, 1500);
    check_has(run.out, "\"broken\": 2");
    asked_break_device = 0;
    RUN(serve, "lock", "break", "/srv/broken.img"); /* no such file any more: by its name */
    ck_assert_uint_eq(asked_break_device, 4);
    RUN(serve, "lock", "break", "/proc/self/exe"); /* there, but not open in the daemon */
    check_code(1);
    other = mkstemp(neighbour); /* on the same file system */
    ck_assert_int_ge(other, 0);
    RUN(serve, "lock", "break", neighbour);
    ck_assert(close(other) == 0 && unlink(neighbour) == 0);
    check_code(1);
    check_has(run.err, "not open in the daemon");
    RUN(serve, "lock", "break", "99");
    check_code(1);
    check_has(run.err, "99: not open in the daemon");
}
END_TEST

START_TEST(sync_status_says_what_has_failed_and_what_is_volatile)
{
    RUN(serve, "sync", "status");
    check_code(0);
    check_has(run.out, "unflushed");
    check_has(run.out, "12.3 ms");
    check_has(run.out, "2.0 s");
    check_has(run.out, "FAILED");
    check_has(run.err, "(/srv/broken.img) has FAILED: sync error 'No space left on device' at ");
    check_has(run.err, "volatile storage");
    RUN(serve, "sync", "status", "--json", image);
    check_code(0);
    check_has(run.out, "\"state\": \"unsynced\"");
    check_has(run.out, "\"flushes_asked\": 36");
    check_has(run.out, "\"syncs_issued\": 11");
    check_has(run.out, "\"flushes_shared\": 12");
    check_has(run.out, "\"flushes_elided\": 13");
    check_has(run.out, "\"unsynced_changes\": 21");
    check_lacks(run.out, "broken.img");
    ck_assert_str_eq(run.err, "");
    RUN(serve, "sync", "flush", image);
    check_code(0);
    ck_assert_uint_eq(fake.flushes, 1);
}
END_TEST

START_TEST(why_is_a_sentence_and_an_exit_code)
{
    held = safe = true;
    RUN(serve, "why", image);
    check_code(4);
    check_has(run.out, ": in use by 1 session and 1 holder outside blkd, 1 waiting. No failed "
                       "sync, nothing unflushed.\n");
    check_has(run.out, "rw, exclusive");
    check_has(run.out, "/mnt/with\\x0anewline");
    RUN(serve, "why", "--json", image);
    check_code(4);
    check_has(run.out, "\"held\": true");
    check_has(run.out, "\"kind\": \"mount\"");
    check_has(run.out, "\"session\": 9");
    held = safe = false;
    RUN(serve, "why", image);
    check_code(0);
    check_has(run.out,
              ": not in use, 1 waiting, not open in blkd. No failed sync, but some writes");
    failed = true;
    RUN(serve, "why", image);
    check_code(0);
    check_has(run.out, ". FAILED: a sync failed");
    failed = false;
}
END_TEST

START_TEST(recover_and_evict_name_what_they_mean)
{
    RUN(serve, "recover", image);
    check_code(0);
    ck_assert_str_eq(asked_recover_path, image);
    ck_assert_uint_eq(asked_recover, 0);
    check_has(run.out, "Input/output error");
    check_has(run.err, "stay lost");
    RUN(serve, "recover", "--json", "4");
    check_code(0);
    ck_assert_str_eq(asked_recover_path, "");
    ck_assert_uint_eq(asked_recover, 4);
    check_has(run.out, "\"generation\": 12");
    RUN(serve, "session", "evict", "21");
    check_code(0);
    ck_assert_uint_eq(asked_evict, 21);
}
END_TEST

/* ---- lock wait, lock take ---- */

START_TEST(lock_wait_takes_and_lets_go)
{
    RUN(serve, "lock", "wait", "--lock", image);
    check_code(0);
    ck_assert(!asked_lock_at_open);
    ck_assert_uint_eq(asked_wait_ms, BLKD__LOCK_WAIT__LOCK_WAIT_FOREVER);
    lock_refusal = -ETIMEDOUT;
    RUN(serve, "lock", "wait", "--timeout", "3", "--range", "2:5", image);
    lock_refusal = 0;
    check_code(4);
    check_has(run.err, "pid 123 (mirage)");
    ck_assert_uint_eq(asked_wait_ms, 3000);
    ck_assert_uint_eq(asked_offset, 2 * FAKE_SECTOR);
    ck_assert_uint_eq(asked_length, 5 * FAKE_SECTOR);
}
END_TEST

START_TEST(lock_take_is_refused_without_running_the_command)
{
    lock_refusal = -EBUSY;
    RUN(serve, "lock", "take", image, "--", "echo", "ran");
    lock_refusal = 0;
    check_code(4);
    check_has(run.err, "pid 123 (mirage)");
    check_has(run.err, "blkd-cli why");
    ck_assert_str_eq(run.out, "");
    ck_assert_uint_eq(asked_wait_ms, 0);
    ck_assert(!asked_isolate);
}
END_TEST

START_TEST(lock_take_exits_as_the_command_does)
{
    RUN(serve, "lock", "take", "--isolate", "-w", image, "--", "sh", "-c",
        "echo token $BLKD_LOCK_TOKEN; exit 42");
    check_code(42);
    check_has(run.out, "token 1\n");
    ck_assert(asked_isolate);
    ck_assert_uint_eq(asked_wait_ms, BLKD__LOCK_WAIT__LOCK_WAIT_FOREVER);
    ck_assert_uint_eq(fake.closes, 1);
    RUN(serve, "lock", "take", "--shared", image, "--", "sh", "-c",
        "echo token ${BLKD_LOCK_TOKEN-none}");
    check_code(0);
    check_has(run.out, "token none\n");
    RUN(serve, "lock", "take", image, "--", "sh", "-c", "kill -KILL $$");
    check_code(128 + SIGKILL);
    RUN(serve, "lock", "take", image, "--", "/nonexistent/program");
    check_code(127);
    check_has(run.err, "cannot run /nonexistent/program");
    RUN(serve, "lock", "take", image, "--", image);
    check_code(126);
}
END_TEST

static void begin_take(fake_handler *handler, const char *option, const char *script)
{
    fake_init(&fake);
    fake.on_request = handler;
    fake_start(&fake);
    START("lock", "take", option, image, "--", "sh", "-c", script);
}

START_TEST(lock_take_passes_signals_on_and_waits)
{
    begin_take(serve, "--shared",
               "trap 'echo got it; exit 7' TERM; echo ready; while :; do read x; done");
    wait_for("ready");
    ck_assert_int_eq(kill(run.pid, SIGTERM), 0);
    finish();
    check_code(7);
    check_has(run.out, "got it");
    ck_assert_uint_eq(fake.closes, 1);
}
END_TEST

/* The lock is lost as soon as it is granted. */
static bool lose_lock(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__LockLost lost = FAKE_MESSAGE(Blkd__LockLost, blkd__lock_lost__init);

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_LOCK)
        return false;
    fake_lock(daemon, request);
    event.session = 77;
    event.what_case = BLKD__EVENT__WHAT_LOCK_LOST;
    event.lock_lost = &lost;
    lost.reason = BLKD__LOCK_LOST__REASON__REASON_BROKEN;
    lost.locks = 1;
    fake_send_event(daemon, &event);
    return true;
}

static bool hang_up_after_lock(struct fake *daemon, const Blkd__Request *request,
                               const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_LOCK)
        return false;
    fake_lock(daemon, request);
    fake_hang_up(daemon);
    return true;
}

START_TEST(lost_lock_is_told_and_kills_if_asked_to)
{
    begin_take(lose_lock, "--kill-on-loss", "while :; do read x; done");
    finish();
    check_code(128 + SIGTERM);
    check_has(run.err, "lock lost while the command (pid ");
    check_has(run.err, "broken by an administrator");
    begin_take(hang_up_after_lock, "--kill-on-loss", "while :; do read x; done");
    finish();
    check_code(128 + SIGTERM);
    check_has(run.err, "the daemon stopped or closed the connection");
}
END_TEST

START_TEST(lost_lock_leaves_the_command_alone_otherwise)
{
    begin_take(lose_lock, "--shared",
               "trap 'exit 5' INT; trap 'exit 6' TERM; echo ready; while :; do read x; done");
    wait_for("ready");
    wait_for("lock lost");
    ck_assert_int_eq(kill(run.pid, SIGINT), 0);
    finish();
    check_code(5);
}
END_TEST

/* ---- watch ---- */

static bool happen(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    Blkd__Event event = FAKE_MESSAGE(Blkd__Event, blkd__event__init);
    Blkd__Happening happening = FAKE_MESSAGE(Blkd__Happening, blkd__happening__init);

    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_WATCH)
        return false;
    fake_answer(daemon, request->id, 0, "");
    event.what_case = BLKD__EVENT__WHAT_HAPPENING;
    event.happening = &happening;
    happening.what = BLKD__HAPPENING__WHAT__WHAT_RESIZED;
    happening.device = 3;
    happening.path = BYTES("/srv/a.img");
    happening.size_bytes = 4096;
    fake_send_event(daemon, &event);
    happening.what = BLKD__HAPPENING__WHAT__WHAT_DEVICE_CLOSED;
    fake_send_event(daemon, &event);
    return true;
}

START_TEST(watch_prints_until_it_is_told_to_stop)
{
    static const int signals[] = {SIGINT, SIGTERM};

    for (size_t i = 0; i < 2; i++) {
        fake_init(&fake);
        fake.on_request = happen;
        fake_start(&fake);
        if (i == 0)
            START("watch");
        else
            START("watch", "--json");
        wait_for("device-closed"); /* written while it still runs */
        ck_assert_int_eq(kill(run.pid, signals[i]), 0);
        finish();
        check_code(0);
        check_has(run.out, i == 0 ? "resized" : "\"event\": \"resized\"");
        check_has(run.out, i == 0 ? "/srv/a.img: 4096 bytes" : "\"size_bytes\": 4096");
    }
}
END_TEST

static bool happen_and_go(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    if (!happen(daemon, request, payload))
        return false;
    fake_hang_up(daemon);
    return true;
}

START_TEST(watch_ends_with_the_daemon)
{
    RUN(happen_and_go, "watch");
    check_code(3);
    check_has(run.out, "device-closed");
    check_has(run.err, "not connected to blkd any more");
}
END_TEST

static void setup(void)
{
    int fd;

    (void)strcpy(image, "/tmp/blkd-cli-XXXXXX");
    fd = mkstemp(image);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &image_status), 0);
    ck_assert_int_eq(close(fd), 0);
}

static void teardown(void)
{
    ck_assert_int_eq(unlink(image), 0);
}

static Suite *state_suite(void)
{
    Suite *suite = suite_create("cli_state");
    TCase *tests = tcase_create("state");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, lock_ls_tells_what_each_lock_is_at);
    tcase_add_test(tests, device_is_found_by_number_path_and_string);
    tcase_add_test(tests, sync_status_says_what_has_failed_and_what_is_volatile);
    tcase_add_test(tests, why_is_a_sentence_and_an_exit_code);
    tcase_add_test(tests, recover_and_evict_name_what_they_mean);
    tcase_add_test(tests, lock_wait_takes_and_lets_go);
    tcase_add_test(tests, lock_take_is_refused_without_running_the_command);
    tcase_add_test(tests, lock_take_exits_as_the_command_does);
    tcase_add_test(tests, lock_take_passes_signals_on_and_waits);
    tcase_add_test(tests, lost_lock_is_told_and_kills_if_asked_to);
    tcase_add_test(tests, lost_lock_leaves_the_command_alone_otherwise);
    tcase_add_test(tests, watch_prints_until_it_is_told_to_stop);
    tcase_add_test(tests, watch_ends_with_the_daemon);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(state_suite());
    int failed_tests;

    srunner_run_all(runner, CK_ENV);
    failed_tests = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed_tests == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

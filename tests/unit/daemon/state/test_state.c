/* SPDX-License-Identifier: MIT */
/*
 * The state directory: what it gives out, what it remembers, and what it refuses to take for a new
 * beginning. Crashes at each step are tests/integration/crashpoint's.
 */
#include "daemon/state/state.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/state/impl.h"

/* For which a daemon that lives is waited for before it is refused. */
enum { LONGER_THAN_GRACE_US = 800 * 1000 };

static char place[64];
static char directory[96];
static char message[STATE_MESSAGE_MAX];

static void make_place(void)
{
    (void)strcpy(place, "/tmp/test-state-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(place));
    (void)snprintf(directory, sizeof(directory), "%s/state", place);
    message[0] = '\0';
}

static int on_entry(const char *path, const struct stat *info, int kind, struct FTW *position)
{
    (void)info;
    (void)kind;
    (void)position;
    return remove(path);
}

static void remove_place(void)
{
    (void)nftw(place, on_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
    static char path[2][512];
    static unsigned int turn;
    char *target = path[turn++ % 2];
    (void)snprintf(target, sizeof(path[0]), "%s/%s", directory, name);
    return target;
}

static void write_file(const char *name, const char *text, size_t length)
{
    FILE *file = fopen(path_of(name), "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static void read_text(const char *name, char *text, size_t size)
{
    FILE *file = fopen(path_of(name), "re");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    (void)fclose(file);
}

static bool is_there(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

static struct state *open_state(void)
{
    struct state *state = NULL;
    int error = state_open(directory, &state, message);
    ck_assert_msg(error == 0, "%d: %s", error, message);
    return state;
}

static void refuses(int expected, const char *words)
{
    struct state *state = NULL;
    message[0] = '\0';
    ck_assert_int_eq(state_open(directory, &state, message), expected);
    ck_assert_ptr_null(state);
    ck_assert_msg(strstr(message, words) != NULL, "%s", message);
}

static uint64_t take(struct state *state)
{
    uint64_t token = 0;
    int error = state_take_token(state, &token);
    if (error == -EAGAIN) {
        ck_assert_int_eq(state_reserve_tokens(state, message), 0);
        error = state_take_token(state, &token);
    }
    ck_assert_int_eq(error, 0);
    return token;
}

/* Opened and closed once. */
static void begin(void)
{
    ck_assert_ptr_null(state_close(open_state()));
}

START_TEST(a_new_directory_starts_at_1_and_is_the_users_own)
{
    struct stat info;
    char text[64];
    struct state *state = open_state();
    ck_assert_uint_eq(take(state), 1);
    ck_assert_uint_eq(take(state), 2);
    ck_assert_int_eq(stat(directory, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0700);
    ck_assert_int_eq(stat(path_of("fencing"), &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0600);
    read_text("fencing", text, sizeof(text));
    ck_assert_str_eq(text, "blkd-fencing 1 1025 1025\n");
    ck_assert_ptr_null(state_close(state));
}
END_TEST

START_TEST(the_directory_is_made_with_the_last_part_of_its_parent_only)
{
    (void)snprintf(directory, sizeof(directory), "%s/a/b/", place);
    begin();
    ck_assert_int_eq(access(directory, F_OK), 0);
    (void)snprintf(directory, sizeof(directory), "%s/no/such/place", place);
    refuses(-ENOENT, "cannot create the state directory");
    (void)snprintf(directory, sizeof(directory), "%s/no", place);
    ck_assert_int_eq(access(directory, F_OK), -1);
}
END_TEST

START_TEST(tokens_go_on_above_the_reserved_block_after_a_restart)
{
    uint64_t last = 0;
    for (int round = 0; round < 5; round++) {
        struct state *state = open_state();
        for (int i = 0; i < 700; i++) {
            uint64_t token = take(state);
            ck_assert_uint_gt(token, last);
            last = token;
        }
        state_close(state);
    }
}
END_TEST

START_TEST(a_used_up_block_is_told_and_reserving_goes_on_without_a_gap)
{
    struct state *state = open_state();
    uint64_t token = 0;
    char text[64];
    for (uint64_t i = 1; i <= STATE_TOKEN_BLOCK; i++) {
        ck_assert_int_eq(state_tokens_low(state), i > STATE_TOKEN_BLOCK / 2 + 1);
        ck_assert_int_eq(state_take_token(state, &token), 0);
        ck_assert_uint_eq(token, i);
    }
    token = 77;
    ck_assert_int_eq(state_take_token(state, &token), -EAGAIN);
    ck_assert_uint_eq(token, 77);
    ck_assert_int_eq(state_reserve_tokens(state, message), 0);
    ck_assert(!state_tokens_low(state));
    ck_assert_int_eq(state_take_token(state, &token), 0);
    ck_assert_uint_eq(token, STATE_TOKEN_BLOCK + 1);
    ck_assert_int_eq(state_reserve_tokens(state, message), 0); /* nothing to do */
    read_text("fencing", text, sizeof(text));
    ck_assert_str_eq(text, "blkd-fencing 1 2049 2049\n");
    state_close(state);
}
END_TEST

START_TEST(a_reservation_that_fails_gives_out_no_token)
{
    struct state *state = open_state();
    uint64_t token = 0;
    while (state_take_token(state, &token) == 0)
        ;
    ck_assert_int_eq(mkdir(path_of("~fencing"), 0700), 0); /* where the new one is to be written */
    int error = state_reserve_tokens(state, message);
    ck_assert_msg(error == -EISDIR || error == -EPERM, "%d", error);
    ck_assert_msg(strstr(message, "~fencing: ") != NULL, "%s", message);
    ck_assert_int_eq(state_take_token(state, &token), -EAGAIN);
    ck_assert_int_eq(rmdir(path_of("~fencing")), 0);
    ck_assert_int_eq(state_reserve_tokens(state, message), 0);
    ck_assert_int_eq(state_take_token(state, &token), 0);
    ck_assert_uint_eq(token, STATE_TOKEN_BLOCK + 1);
    state_close(state);
}
END_TEST

static const char *const damaged[] = {
    "",
    "blkd-fencing",
    "blkd-fencing 1 1025",
    "blkd-fencing 1 1025 102",
    "blkd-fencing 1 1025 1025",
    "blkd-fencing 1 1025 1025\n\n",
    "blkd-fencing 1 1025 1026\n",
    "blkd-fencing 1 01025 01025\n",
    "blkd-fencing 2 1025 1025\n",
    "blkd-fencing 1 0 0\n",
    "blkd-fencing 1 -5 -5\n",
    "blkd-fencing 1 18446744073709551615 18446744073709551615\n",
    "blkd-fencing 1 99999999999999999999999 99999999999999999999999\n",
    "nonsense\n",
};

START_TEST(a_damaged_counter_is_refused_and_left_as_it_is)
{
    char text[64];
    begin();
    write_text("fencing", damaged[_i]);
    refuses(-EUCLEAN, "/fencing is damaged");
    ck_assert_ptr_nonnull(strstr(message, "blkd-fencing 1 N N"));
    read_text("fencing", text, sizeof(text));
    ck_assert_str_eq(text, damaged[_i]);
}
END_TEST

START_TEST(zeroes_or_garbage_behind_the_counter_are_damage)
{
    char big[4096];
    begin();
    write_file("fencing", "blkd-fencing 1 5 5\n\0\0", 21);
    refuses(-EUCLEAN, "/fencing is damaged");
    memset(big, 'x', sizeof(big));
    write_file("fencing", big, sizeof(big));
    refuses(-EUCLEAN, "/fencing is damaged");
    memset(big, 0, sizeof(big));
    write_file("fencing", big, 64);
    refuses(-EUCLEAN, "/fencing is damaged");
    write_text("fencing", "blkd-fencing 1 5000 5000\n"); /* as the message says */
    struct state *state = open_state();
    ck_assert_uint_eq(take(state), 5000);
    state_close(state);
}
END_TEST

START_TEST(a_lost_counter_is_not_a_new_beginning)
{
    begin();
    ck_assert_int_eq(unlink(path_of("fencing")), 0);
    refuses(-EUCLEAN, "fencing is missing");
    ck_assert(!is_there("fencing"));
}
END_TEST

START_TEST(lost_marks_are_not_a_new_beginning)
{
    begin();
    ck_assert_int_eq(rmdir(path_of("failed")), 0);
    refuses(-EUCLEAN, "failed is missing");
    ck_assert_int_eq(mkdir(path_of("failed"), 0700), 0); /* as the message says */
    begin();
}
END_TEST

START_TEST(a_first_start_that_was_cut_short_is_gone_on_with)
{
    ck_assert_int_eq(mkdir(directory, 0700), 0);
    write_text("lock", "4711 1\n");
    begin();
    ck_assert_int_eq(rmdir(path_of("failed")), 0);
    write_text("fencing", "blkd-fencing 1 1 1\n");
    write_text("~fencing", "blkd-fen");
    struct state *state = open_state();
    ck_assert_uint_eq(take(state), 1);
    ck_assert(!is_there("~fencing"));
    state_close(state);
}
END_TEST

START_TEST(a_directory_that_others_can_change_is_refused)
{
    begin();
    ck_assert_int_eq(chmod(directory, 0770), 0);
    refuses(-EPERM, "other users than the daemon's can change");
    ck_assert_int_eq(chmod(directory, 0702), 0);
    refuses(-EPERM, "other users than the daemon's can change");
    ck_assert_int_eq(chmod(directory, 0755), 0);
    begin();
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(directory, 65534, 65534), 0);
        refuses(-EPERM, "other users than the daemon's can change");
    }
}
END_TEST

START_TEST(what_is_no_directory_is_refused_by_name)
{
    (void)snprintf(directory, sizeof(directory), "%s/file", place);
    ck_assert_int_eq(close(creat(directory, 0600)), 0);
    refuses(-ENOTDIR, "/file: ");
    (void)snprintf(directory, sizeof(directory), "%s/file/below", place);
    refuses(-ENOTDIR, "/file/below: ");
}
END_TEST

START_TEST(a_directory_in_use_is_refused_with_the_pid)
{
    char words[32];
    struct state *state = open_state();
    (void)snprintf(words, sizeof(words), "(pid %d)", (int)getpid());
    refuses(-EBUSY, words);
    ck_assert_ptr_nonnull(strstr(message, "--state-dir"));
    ck_assert_ptr_nonnull(strstr(message, directory));
    ck_assert_int_ge(state_lock_fd(state), 0);
    state_close(state);
    begin();
}
END_TEST

START_TEST(who_is_just_ending_is_waited_for)
{
    int ready[2];
    char byte = 0;
    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    pid_t holder = fork();
    ck_assert_int_ge(holder, 0);
    if (holder == 0) {
        struct state *state = NULL;
        int error = state_open(directory, &state, message);
        ssize_t told = write(ready[1], "x", 1);
        (void)told;
        (void)usleep(100 * 1000); /* it seems to live, and then ends without closing */
        _exit(error == 0 ? 0 : 1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    begin();
    ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
    (void)close(ready[0]);
    (void)close(ready[1]);
}
END_TEST

START_TEST(a_closed_directory_is_free_even_if_a_ring_still_refers_to_its_lock)
{
    struct state *state = open_state();
    int ring = dup(state_lock_fd(state));
    state_close(state);
    begin();
    ck_assert_int_eq(close(ring), 0);
}
END_TEST

/* A process that has the lock and is then dead, and one (its child, as a ring would be) that keeps
 * it until `release` is closed. Returns with the first dead; reaped only if `reap`. */
static pid_t die_with_the_lock(int *ret_release, bool reap)
{
    int release[2];
    int ready[2];
    char byte = 0;
    siginfo_t info;
    ck_assert_int_eq(pipe2(release, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    pid_t holder = fork();
    ck_assert_int_ge(holder, 0);
    if (holder == 0) {
        struct state *state = NULL;
        (void)close(release[1]);
        if (state_open(directory, &state, message) < 0)
            _exit(1);
        if (fork() == 0) {
            (void)close(ready[0]);
            (void)close(ready[1]);
            ssize_t end = read(release[0], &byte, 1);
            _exit(end == 0 ? 0 : 1);
        }
        ssize_t told = write(ready[1], "x", 1);
        (void)told;
        (void)raise(SIGKILL);
    }
    (void)close(ready[1]);
    (void)close(release[0]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(waitid(P_PID, (id_t)holder, &info, WEXITED | (reap ? 0 : WNOWAIT)), 0);
    (void)close(ready[0]);
    *ret_release = release[1];
    return holder;
}

static atomic_bool opened;

static void *open_in_thread(void *unused)
{
    (void)unused;
    struct state *state = open_state();
    atomic_store(&opened, true);
    return state;
}

/* _i: 0 a zombie, 1 gone altogether. */
START_TEST(the_io_of_a_dead_daemon_is_waited_for)
{
    pthread_t thread;
    void *state = NULL;
    int release = -1;
    pid_t holder = die_with_the_lock(&release, _i == 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, open_in_thread, NULL), 0);
    (void)usleep(LONGER_THAN_GRACE_US); /* it is to be seen that nothing happens */
    ck_assert(!atomic_load(&opened));
    (void)close(release);
    ck_assert_int_eq(pthread_join(thread, &state), 0);
    ck_assert_uint_gt(take(state), STATE_TOKEN_BLOCK);
    state_close(state);
    if (_i == 0)
        ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
}
END_TEST

START_TEST(another_process_with_the_number_of_a_dead_daemon_is_not_taken_for_it)
{
    pthread_t thread;
    void *state = NULL;
    char text[64];
    int release = -1;
    (void)die_with_the_lock(&release, true);
    (void)snprintf(text, sizeof(text), "%d 1\n", (int)getppid()); /* lives, but began later */
    write_text("lock", text);
    ck_assert_int_eq(pthread_create(&thread, NULL, open_in_thread, NULL), 0);
    (void)usleep(LONGER_THAN_GRACE_US);
    ck_assert(!atomic_load(&opened));
    (void)close(release);
    ck_assert_int_eq(pthread_join(thread, &state), 0);
    state_close(state);
}
END_TEST

START_TEST(who_waits_is_refused_when_another_successor_is_first)
{
    char text[64];
    struct state *state = NULL;
    int release = -1;
    (void)die_with_the_lock(&release, true);
    pid_t writer = fork();
    ck_assert_int_ge(writer, 0);
    if (writer == 0) { /* another one gets the lock, and writes its name a little later */
        (void)usleep(100 * 1000);
        int fd = open(path_of("lock"), O_WRONLY | O_CLOEXEC);
        read_text("../parent", text, sizeof(text));
        ssize_t written = write(fd, text, strlen(text));
        _exit(written > 0 ? 0 : 1);
    }
    /* the name: this very process, which lives */
    FILE *stat_file = fopen("/proc/self/stat", "re");
    char line[1024];
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), stat_file));
    (void)fclose(stat_file);
    char *field = strrchr(line, ')') + 2;
    for (int i = 3; i < 22; i++)
        field = strchr(field, ' ') + 1;
    (void)snprintf(text, sizeof(text), "%d %llu\n", (int)getpid(), strtoull(field, NULL, 10));
    write_text("../parent", text);
    ck_assert_int_eq(state_open(directory, &state, message), -EBUSY);
    ck_assert_int_eq(waitpid(writer, NULL, 0), writer);
    (void)close(release);
}
END_TEST

static const struct state_key disk = {.text = "serial:QM00001-part2"};
static const struct state_failure eio = {.error = -EIO, .unix_ms = 1700000000123};
static const struct state_failure enospc = {.error = -ENOSPC, .unix_ms = 5};

START_TEST(a_mark_survives_restarts_until_it_is_cleared)
{
    struct state_failure found = {0};
    struct state *state = open_state();
    ck_assert(!state_find_failure(state, &disk, &found));
    ck_assert_int_eq(state_put_failure(state, &disk, "/dev/x", &enospc, message), 0);
    for (int round = 0; round < 3; round++) {
        found = (struct state_failure){0};
        ck_assert(state_find_failure(state, &disk, &found));
        ck_assert_int_eq(found.error, -ENOSPC);
        ck_assert_uint_eq(found.unix_ms, 5);
        state_close(state);
        state = open_state();
    }
    ck_assert_int_eq(state_clear_failure(state, &disk, message), 0);
    ck_assert(!state_find_failure(state, &disk, &found));
    ck_assert(!is_there("failed/serial:QM00001-part2"));
    state_close(state);
    state = open_state();
    ck_assert(!state_find_failure(state, &disk, &found));
    ck_assert_int_eq(state_clear_failure(state, &disk, message), 0); /* nothing there */
    state_close(state);
}
END_TEST

START_TEST(the_first_mark_of_a_device_stays)
{
    struct state_failure found = {0};
    struct state *state = open_state();
    ck_assert_int_eq(state_put_failure(state, &disk, "/dev/x", &eio, message), 0);
    ck_assert_int_eq(state_put_failure(state, &disk, "/dev/y", &enospc, message), 0);
    for (int round = 0; round < 2; round++) {
        ck_assert(state_find_failure(state, &disk, &found));
        ck_assert_int_eq(found.error, -EIO);
        ck_assert_uint_eq(found.unix_ms, eio.unix_ms);
        state_close(state);
        state = open_state();
    }
    state_close(state);
}
END_TEST

START_TEST(a_mark_can_be_read_by_a_person)
{
    char text[512];
    struct state *state = open_state();
    ck_assert_int_eq(state_put_failure(state, &disk, "/a b\nerror 0\\", &eio, message), 0);
    read_text("failed/serial:QM00001-part2", text, sizeof(text));
    ck_assert_str_eq(text, "blkd-failed 1\nerror 5 EIO\nunix-ms 1700000000123\n"
                           "path /a b\\x0aerror 0\\x5c\nend\n");
    state_close(state);
}
END_TEST

START_TEST(a_mark_with_a_path_of_any_length_is_taken)
{
    char path[4096];
    struct state_failure found = {0};
    memset(path, '\n', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    struct state *state = open_state();
    ck_assert_int_eq(state_put_failure(state, &disk, path, &enospc, message), 0);
    state_close(state);
    state = open_state();
    ck_assert(state_find_failure(state, &disk, &found));
    ck_assert_int_eq(found.error, -ENOSPC);
    state_close(state);
}
END_TEST

static const char *const damaged_marks[] = {
    "",
    "blkd-failed 1\nerror 28 ENOSPC\nunix-ms 5\npath /dev/x\n",
    "blkd-failed 1\nerror 28 ENOSPC\nunix-ms 5\n",
    "blkd-failed 1\nerror 0 OK\nunix-ms 5\npath /dev/x\nend\n",
    "blkd-failed 1\nerror -28 ENOSPC\nunix-ms 5\npath /dev/x\nend\n",
    "blkd-failed 1\nerror 99999 ENOSPC\nunix-ms 5\npath /dev/x\nend\n",
    "blkd-failed 9\nerror 28 ENOSPC\nunix-ms 5\npath /dev/x\nend\n",
    "blkd-failed 1\nerror 28 ENOSPC\nunix-ms 5\npath /dev/x\nend",
    "garbage",
};

START_TEST(a_damaged_mark_is_a_mark_with_eio)
{
    struct state_failure found = {0};
    begin();
    write_text("failed/serial:QM00001-part2", damaged_marks[_i]);
    struct state *state = open_state();
    ck_assert(state_find_failure(state, &disk, &found));
    ck_assert_int_eq(found.error, -EIO);
    ck_assert_uint_gt(found.unix_ms, 1600000000000);
    ck_assert_int_eq(state_clear_failure(state, &disk, message), 0);
    state_close(state);
    state = open_state();
    ck_assert(!state_find_failure(state, &disk, &found));
    state_close(state);
}
END_TEST

START_TEST(a_mark_that_cannot_be_read_is_a_mark_with_eio)
{
    struct state_failure found = {0};
    begin();
    ck_assert_int_eq(mkdir(path_of("failed/serial:QM00001-part2"), 0700), 0);
    struct state *state = open_state();
    ck_assert(state_find_failure(state, &disk, &found));
    ck_assert_int_eq(found.error, -EIO);
    ck_assert_int_lt(state_clear_failure(state, &disk, message), 0);
    ck_assert_msg(strstr(message, "cannot remove") != NULL, "%s", message);
    ck_assert(state_find_failure(state, &disk, &found));
    state_close(state);
}
END_TEST

START_TEST(leftovers_are_no_marks_and_foreign_files_are_left_alone)
{
    struct state_failure found = {0};
    begin();
    write_text("failed/~serial:QM00001-part2", "blkd-failed 1\n");
    write_text("failed/notes of mine", "x");
    struct state *state = open_state();
    ck_assert(!state_find_failure(state, &disk, &found));
    ck_assert(!is_there("failed/~serial:QM00001-part2"));
    ck_assert(is_there("failed/notes of mine"));
    state_close(state);
}
END_TEST

START_TEST(a_mark_that_cannot_be_written_is_remembered_and_written_by_the_next_put)
{
    struct state_failure found = {0};
    struct state *state = open_state();
    ck_assert_int_eq(mkdir(path_of("failed/~serial:QM00001-part2"), 0700), 0);
    ck_assert_int_lt(state_put_failure(state, &disk, "/dev/x", &enospc, message), 0);
    ck_assert(state_find_failure(state, &disk, &found));
    ck_assert_int_eq(found.error, -ENOSPC);
    ck_assert_int_eq(rmdir(path_of("failed/~serial:QM00001-part2")), 0);
    ck_assert_int_eq(state_put_failure(state, &disk, "/dev/x", &eio, message), 0);
    state_close(state);
    state = open_state();
    ck_assert(state_find_failure(state, &disk, &found));
    ck_assert_int_eq(found.error, -ENOSPC);
    state_close(state);
}
END_TEST

START_TEST(a_device_without_a_key_is_not_remembered)
{
    struct state_failure found = {0};
    const struct state_key none = {0};
    struct state *state = open_state();
    ck_assert_int_eq(state_put_failure(state, &none, "/dev/x", &eio, message), 0);
    ck_assert(!state_find_failure(state, &none, &found));
    ck_assert_int_eq(state_clear_failure(state, &none, message), 0);
    state_close(state);
}
END_TEST

static const char *const wrong_keys[] = {"..", ".", "a/b", "../fencing", "~x", "a b", "\xc3\xa4"};

START_TEST(a_key_never_names_another_file)
{
    struct state_failure found = {0};
    struct state_key key = {0};
    (void)strcpy(key.text, wrong_keys[_i]);
    struct state *state = open_state();
    ck_assert_int_eq(state_put_failure(state, &key, "/dev/x", &eio, message), -EINVAL);
    ck_assert(!state_find_failure(state, &key, &found));
    ck_assert_int_eq(state_clear_failure(state, &key, message), -EINVAL);
    state_close(state);
    begin();
}
END_TEST

START_TEST(marks_beyond_the_limit_are_in_memory_only)
{
    struct state_failure found = {0};
    struct state_key key = {0};
    begin();
    for (int i = 0; i < STATE_FAILURES_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "failed/%d", i);
        write_text(name, "");
    }
    struct state *state = open_state();
    (void)strcpy(key.text, "4095");
    ck_assert(state_find_failure(state, &key, &found));
    ck_assert_int_eq(state_put_failure(state, &disk, "/dev/x", &enospc, message), -ENOSPC);
    ck_assert_msg(strstr(message, "4096 marks") != NULL, "%s", message);
    ck_assert(state_find_failure(state, &disk, &found));
    ck_assert_int_eq(state_clear_failure(state, &key, message), 0);
    ck_assert_int_eq(state_put_failure(state, &disk, "/dev/x", &enospc, message), 0);
    state_close(state);
}
END_TEST

enum { THREADS = 4, TOKENS_EACH = 5000 };

struct taker {
    struct state *state;
    pthread_t thread;
    uint64_t tokens[TOKENS_EACH];
};

static void *take_many(void *user_data)
{
    struct taker *taker = user_data;
    char why[STATE_MESSAGE_MAX];
    for (unsigned int i = 0; i < TOKENS_EACH; i++) {
        while (state_take_token(taker->state, &taker->tokens[i]) == -EAGAIN) {
            if (state_reserve_tokens(taker->state, why) < 0)
                abort();
        }
        if (state_tokens_low(taker->state) && state_reserve_tokens(taker->state, why) < 0)
            abort();
    }
    return NULL;
}

START_TEST(threads_never_get_the_same_token)
{
    static struct taker takers[THREADS];
    static bool seen[THREADS * TOKENS_EACH + 1];
    struct state *state = open_state();
    for (int i = 0; i < THREADS; i++) {
        takers[i].state = state;
        ck_assert_int_eq(pthread_create(&takers[i].thread, NULL, take_many, &takers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(takers[i].thread, NULL), 0);
        for (int j = 0; j < TOKENS_EACH; j++) {
            uint64_t token = takers[i].tokens[j];
            ck_assert_uint_le(token, THREADS * TOKENS_EACH);
            ck_assert(!seen[token]);
            seen[token] = true;
            ck_assert(j == 0 || token > takers[i].tokens[j - 1]);
        }
    }
    state_close(state);
}
END_TEST

static void *put_and_clear(void *user_data)
{
    struct state_key key = {.text = "shared"};
    struct state_failure found;
    char why[STATE_MESSAGE_MAX];
    for (int i = 0; i < 200; i++) {
        if (state_put_failure(user_data, &key, "/dev/x", &eio, why) < 0)
            abort();
        (void)state_find_failure(user_data, &key, &found);
        if (state_clear_failure(user_data, &key, why) < 0)
            abort();
    }
    return NULL;
}

START_TEST(threads_may_put_and_clear_the_same_mark)
{
    pthread_t threads[THREADS];
    struct state_failure found;
    const struct state_key key = {.text = "shared"};
    struct state *state = open_state();
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, put_and_clear, state), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert(!state_find_failure(state, &key, &found));
    ck_assert(!is_there("failed/shared"));
    state_close(state);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("state");
    TCase *tokens = tcase_create("tokens");
    TCase *lock = tcase_create("lock");
    TCase *marks = tcase_create("marks");
    TCase *const all[] = {tokens, lock, marks};
    for (unsigned int i = 0; i < 3; i++) {
        tcase_add_checked_fixture(all[i], make_place, remove_place);
        tcase_set_timeout(all[i], 60);
        suite_add_tcase(suite, all[i]);
    }
    tcase_add_test(tokens, a_new_directory_starts_at_1_and_is_the_users_own);
    tcase_add_test(tokens, the_directory_is_made_with_the_last_part_of_its_parent_only);
    tcase_add_test(tokens, tokens_go_on_above_the_reserved_block_after_a_restart);
    tcase_add_test(tokens, a_used_up_block_is_told_and_reserving_goes_on_without_a_gap);
    tcase_add_test(tokens, a_reservation_that_fails_gives_out_no_token);
    tcase_add_loop_test(tokens, a_damaged_counter_is_refused_and_left_as_it_is, 0, COUNT(damaged));
    tcase_add_test(tokens, zeroes_or_garbage_behind_the_counter_are_damage);
    tcase_add_test(tokens, a_lost_counter_is_not_a_new_beginning);
    tcase_add_test(tokens, lost_marks_are_not_a_new_beginning);
    tcase_add_test(tokens, a_first_start_that_was_cut_short_is_gone_on_with);
    tcase_add_test(tokens, a_directory_that_others_can_change_is_refused);
    tcase_add_test(tokens, what_is_no_directory_is_refused_by_name);
    tcase_add_test(tokens, threads_never_get_the_same_token);
    tcase_add_test(lock, a_directory_in_use_is_refused_with_the_pid);
    tcase_add_test(lock, who_is_just_ending_is_waited_for);
    tcase_add_test(lock, a_closed_directory_is_free_even_if_a_ring_still_refers_to_its_lock);
    tcase_add_loop_test(lock, the_io_of_a_dead_daemon_is_waited_for, 0, 2);
    tcase_add_test(lock, another_process_with_the_number_of_a_dead_daemon_is_not_taken_for_it);
    tcase_add_test(lock, who_waits_is_refused_when_another_successor_is_first);
    tcase_add_test(marks, a_mark_survives_restarts_until_it_is_cleared);
    tcase_add_test(marks, the_first_mark_of_a_device_stays);
    tcase_add_test(marks, a_mark_can_be_read_by_a_person);
    tcase_add_test(marks, a_mark_with_a_path_of_any_length_is_taken);
    tcase_add_loop_test(marks, a_damaged_mark_is_a_mark_with_eio, 0, COUNT(damaged_marks));
    tcase_add_test(marks, a_mark_that_cannot_be_read_is_a_mark_with_eio);
    tcase_add_test(marks, leftovers_are_no_marks_and_foreign_files_are_left_alone);
    tcase_add_test(marks, a_mark_that_cannot_be_written_is_remembered_and_written_by_the_next_put);
    tcase_add_test(marks, a_device_without_a_key_is_not_remembered);
    tcase_add_loop_test(marks, a_key_never_names_another_file, 0, COUNT(wrong_keys));
    tcase_add_test(marks, marks_beyond_the_limit_are_in_memory_only);
    tcase_add_test(marks, threads_may_put_and_clear_the_same_mark);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

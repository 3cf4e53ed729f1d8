/* SPDX-License-Identifier: MIT */
/* The record of what is under way (contract S10): what a daemon that dies leaves to the next. */
#include <sys/wait.h>

#include "tests/unit/daemon/state/fixture.h"

static const struct state_key disk = {.text = "serial:QM00001"};
static const struct state_key other = {.text = "serial:QM00002"};

/* A daemon that does this and is killed. */
static void die_after(void (*work)(struct state *state))
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        work(open_state());
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

static struct record_line *take_line(struct state *state, const struct state_key *key,
                                     bool unsynced)
{
    bool left = !unsynced;
    struct record_line *line = state_take_line(state, key, "/dev/x", &left);
    ck_assert_ptr_nonnull(line);
    ck_assert_int_eq(left, unsynced);
    return line;
}

static void sync_forever(struct state *state)
{
    state_sync_begins(take_line(state, &disk, false));
    take_line(state, &other, false);
}

/* Where the record is, by the directory's own word. */
static const char *record_path(void)
{
    static char path[512];
    char text[600];
    read_text("record", text, sizeof(text));
    ck_assert_int_eq(sscanf(text, "blkd-record 1 %*s %511s", path), 1);
    return path;
}

static int failure_of(struct state *state, const struct state_key *key)
{
    struct state_failure failure = {0};
    return state_find_failure(state, key, &failure) ? failure.error : 0;
}

START_TEST(a_sync_under_way_at_a_death_leaves_a_failed_device)
{
    die_after(sync_forever);
    struct state *state = open_state();
    ck_assert_int_eq(failure_of(state, &disk), -EOWNERDEAD);
    ck_assert_int_eq(failure_of(state, &other), 0);
    ck_assert(is_there("failed/serial:QM00001"));
    /* Once it is marked, that is remembered there, and not found out again. */
    ck_assert_int_eq(state_clear_failure(state, &disk, message), 0);
    state_close(state);
    state = open_state();
    ck_assert_int_eq(failure_of(state, &disk), 0);
    state_close(state);
}
END_TEST

static void sync_some(struct state *state)
{
    struct record_line *line = take_line(state, &disk, false);
    for (int i = 0; i < 3; i++)
        state_sync_begins(line);
    for (int i = 0; i < 3; i++)
        state_sync_ended(line);
    line = take_line(state, &other, false);
    for (int i = 0; i < 3; i++)
        state_sync_begins(line);
    state_sync_ended(line);
}

START_TEST(syncs_are_counted)
{
    die_after(sync_some);
    struct state *state = open_state();
    ck_assert_int_eq(failure_of(state, &disk), 0);
    ck_assert_int_eq(failure_of(state, &other), -EOWNERDEAD);
    state_close(state);
}
END_TEST

static void change(struct state *state)
{
    state_set_unsynced(take_line(state, &disk, false), true);
    struct record_line *synced = take_line(state, &other, false);
    state_set_unsynced(synced, true);
    state_set_unsynced(synced, false);
}

static void nothing(struct state *state)
{
    (void)state;
}

START_TEST(what_was_unsynced_at_a_death_is_remembered_until_it_is_synced)
{
    die_after(change);
    die_after(nothing);
    struct state *state = open_state();
    ck_assert_int_eq(failure_of(state, &disk), 0);
    state_close(state);
    state = open_state();
    struct record_line *line = take_line(state, &disk, true);
    /* Another device with the same key has nothing to do with it. */
    struct record_line *twin = take_line(state, &disk, false);
    ck_assert_ptr_null(state_drop_line(state, twin));
    ck_assert_ptr_null(state_drop_line(state, take_line(state, &other, false)));
    ck_assert_ptr_null(state_drop_line(state, line));
    state_close(state);
    state = open_state();
    ck_assert_ptr_null(state_drop_line(state, take_line(state, &disk, false)));
    state_close(state);
}
END_TEST

START_TEST(a_record_that_says_nothing_is_taken_away)
{
    char path[512];
    struct state *state = open_state();
    (void)snprintf(path, sizeof(path), "%s", record_path());
    ck_assert_int_eq(access(path, F_OK), 0);
    struct record_line *line = take_line(state, &disk, false);
    ck_assert_ptr_null(state_drop_line(state, line));
    state_close(state);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert(!is_there("record"));
}
END_TEST

START_TEST(a_record_whose_directory_is_gone_is_swept_away_by_another_daemon)
{
    char path[512];
    die_after(change);
    (void)snprintf(path, sizeof(path), "%s", record_path());
    (void)snprintf(directory, sizeof(directory), "%s/other", place);
    begin();
    ck_assert_int_eq(access(path, F_OK), 0); /* its directory is there */
    (void)snprintf(directory, sizeof(directory), "%s/state", place);
    ck_assert_int_eq(unlink(path_of("record")), 0);
    begin();
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(a_record_of_another_boot_or_file_is_not_believed)
{
    char path[512];
    char text[640];
    die_after(sync_forever);
    (void)snprintf(path, sizeof(path), "%s", record_path());
    if (_i == 0) {
        (void)snprintf(text, sizeof(text),
                       "blkd-record 1 00000000-0000-0000-0000-000000000000 %s\n", path);
        write_text("record", text);
    } else if (_i == 1) {
        ck_assert_int_eq(chmod(path, 0644), 0); /* others could have written to it */
    } else {
        ck_assert_int_eq(truncate(path, 100), 0);
    }
    struct state *state = open_state();
    ck_assert_int_eq(failure_of(state, &disk), 0);
    ck_assert_str_ne(record_path(), path);
    ck_assert_ptr_null(state_drop_line(state, take_line(state, &disk, false)));
    state_close(state);
    (void)unlink(path);
}
END_TEST

START_TEST(a_mark_that_cannot_be_put_is_tried_again_at_the_next_start)
{
    die_after(sync_forever);
    ck_assert_int_eq(mkdir(path_of("failed/serial:QM00001"), 0700), 0);
    struct state *state = NULL;
    /* A directory of that name is a damaged mark: the device counts as failed, but nothing is put.
     */
    ck_assert_int_eq(state_open(directory, &state, message), 0);
    ck_assert_int_lt(failure_of(state, &disk), 0);
    state_close(state);
    ck_assert_int_eq(rmdir(path_of("failed/serial:QM00001")), 0);
    begin();
}
END_TEST

START_TEST(there_is_room_for_many_devices)
{
    enum { DEVICES = 300 };
    struct record_line *lines[DEVICES];
    struct state *state = open_state();
    for (int i = 0; i < DEVICES; i++) {
        struct state_key key;
        (void)snprintf(key.text, sizeof(key.text), "serial:%d", i);
        lines[i] = take_line(state, &key, false);
        for (int k = 0; k < i; k++)
            ck_assert_ptr_ne(lines[i], lines[k]);
    }
    for (int i = 0; i < DEVICES; i++)
        lines[i] = state_drop_line(state, lines[i]);
    state_close(state);
    ck_assert(!is_there("record"));
}
END_TEST

START_TEST(a_device_without_a_key_has_no_line)
{
    const struct state_key none = {.text = ""};
    bool unsynced = true;
    struct state *state = open_state();
    struct record_line *line = state_take_line(state, &none, "/dev/x", &unsynced);
    ck_assert_ptr_null(line);
    ck_assert(!unsynced);
    state_sync_begins(line);
    state_sync_ended(line);
    state_set_unsynced(line, true);
    ck_assert_ptr_null(state_drop_line(state, line));
    state_close(state);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record");
    TCase *tests = tcase_create("record");

    tcase_add_checked_fixture(tests, make_place, remove_place);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_sync_under_way_at_a_death_leaves_a_failed_device);
    tcase_add_test(tests, syncs_are_counted);
    tcase_add_test(tests, what_was_unsynced_at_a_death_is_remembered_until_it_is_synced);
    tcase_add_test(tests, a_record_that_says_nothing_is_taken_away);
    tcase_add_test(tests, a_record_whose_directory_is_gone_is_swept_away_by_another_daemon);
    tcase_add_loop_test(tests, a_record_of_another_boot_or_file_is_not_believed, 0, 3);
    tcase_add_test(tests, a_mark_that_cannot_be_put_is_tried_again_at_the_next_start);
    tcase_add_test(tests, there_is_room_for_many_devices);
    tcase_add_test(tests, a_device_without_a_key_has_no_line);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

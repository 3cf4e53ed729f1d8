/* SPDX-License-Identifier: MIT */
/* The marks of devices that have failed: kept over restarts, and never lost by damage. */
#include "tests/unit/daemon/state/fixture.h"

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

START_TEST(a_mark_tells_what_lay_there_and_its_name)
{
    static const struct state_failure placed = {
        .error = -EIO, .unix_ms = 5, .place = "7:3 file-ab-12-1.5"};
    struct state_failure found = {0};
    struct state *state = open_state();
    ck_assert_int_eq(state_put_failure(state, &disk, "/a\nplace 8:0 b", &placed, message), 0);
    for (int restarted = 0; restarted < 2; restarted++) {
        ck_assert(state_find_failure(state, &disk, &found));
        ck_assert_str_eq(found.place, placed.place);
        state_close(state);
        state = open_state();
    }
    ck_assert_str_eq(found.place, placed.place);
    ck_assert(state_find_failure(state, &disk, &found));
    ck_assert_str_eq(found.path, "/a\\x0aplace 8:0 b");
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

START_TEST(a_device_without_a_key_is_not_remembered_and_that_is_said)
{
    struct state_failure found = {0};
    const struct state_key none = {0};
    struct state *state = open_state();
    ck_assert_int_eq(state_put_failure(state, &none, "/dev/x", &eio, message), -ENODATA);
    ck_assert_ptr_nonnull(strstr(message, "forgotten"));
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

enum { THREADS = 4 };

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

int main(void)
{
    Suite *suite = suite_create("state marks");
    TCase *tests = tcase_create("marks");

    tcase_add_checked_fixture(tests, make_place, remove_place);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_mark_survives_restarts_until_it_is_cleared);
    tcase_add_test(tests, the_first_mark_of_a_device_stays);
    tcase_add_test(tests, a_mark_can_be_read_by_a_person);
    tcase_add_test(tests, a_mark_with_a_path_of_any_length_is_taken);
    tcase_add_test(tests, a_mark_tells_what_lay_there_and_its_name);
    tcase_add_loop_test(tests, a_damaged_mark_is_a_mark_with_eio, 0, COUNT(damaged_marks));
    tcase_add_test(tests, a_mark_that_cannot_be_read_is_a_mark_with_eio);
    tcase_add_test(tests, leftovers_are_no_marks_and_foreign_files_are_left_alone);
    tcase_add_test(tests, a_mark_that_cannot_be_written_is_remembered_and_written_by_the_next_put);
    tcase_add_test(tests, a_device_without_a_key_is_not_remembered_and_that_is_said);
    tcase_add_loop_test(tests, a_key_never_names_another_file, 0, COUNT(wrong_keys));
    tcase_add_test(tests, marks_beyond_the_limit_are_in_memory_only);
    tcase_add_test(tests, threads_may_put_and_clear_the_same_mark);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

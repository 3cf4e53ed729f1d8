/* SPDX-License-Identifier: MIT */
/*
 * The state directory: what it gives out, and what it refuses to take for a new beginning. Crashes
 * at each step are tests/integration/crashpoint's.
 */
#include <fcntl.h>

#include "tests/unit/daemon/state/fixture.h"

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

int main(void)
{
    Suite *suite = suite_create("state");
    TCase *tests = tcase_create("tokens");

    tcase_add_checked_fixture(tests, make_place, remove_place);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_new_directory_starts_at_1_and_is_the_users_own);
    tcase_add_test(tests, the_directory_is_made_with_the_last_part_of_its_parent_only);
    tcase_add_test(tests, tokens_go_on_above_the_reserved_block_after_a_restart);
    tcase_add_test(tests, a_used_up_block_is_told_and_reserving_goes_on_without_a_gap);
    tcase_add_test(tests, a_reservation_that_fails_gives_out_no_token);
    tcase_add_loop_test(tests, a_damaged_counter_is_refused_and_left_as_it_is, 0, COUNT(damaged));
    tcase_add_test(tests, zeroes_or_garbage_behind_the_counter_are_damage);
    tcase_add_test(tests, a_lost_counter_is_not_a_new_beginning);
    tcase_add_test(tests, lost_marks_are_not_a_new_beginning);
    tcase_add_test(tests, a_first_start_that_was_cut_short_is_gone_on_with);
    tcase_add_test(tests, a_directory_that_others_can_change_is_refused);
    tcase_add_test(tests, what_is_no_directory_is_refused_by_name);
    tcase_add_test(tests, threads_never_get_the_same_token);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* SPDX-License-Identifier: MIT */
/* Whose the state directory is: one daemon's at a time, and of a dead one as long as its I/O is
 * under way. */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "tests/unit/daemon/state/fixture.h"
#include "tests/unit/patience.h"

/* For which a daemon that lives is waited for before it is refused. */
enum { LONGER_THAN_GRACE_US = 800 * 1000 };

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

/* False: it was refused, as it must be if the other one takes longer to end. */
static bool ending_is_waited_for(void)
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
    struct state *state = NULL;
    const int error = state_open(directory, &state, message);
    ck_assert(error == 0 || error == -EBUSY);
    ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
    (void)close(ready[0]);
    (void)close(ready[1]);
    ck_assert_ptr_null(state_close(state));
    return error == 0;
}

START_TEST(who_is_just_ending_is_waited_for)
{
    ck_assert(patience_try(ending_is_waited_for));
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

int main(void)
{
    Suite *suite = suite_create("state lock");
    TCase *tests = tcase_create("lock");

    tcase_add_checked_fixture(tests, make_place, remove_place);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_directory_in_use_is_refused_with_the_pid);
    tcase_add_test(tests, who_is_just_ending_is_waited_for);
    tcase_add_test(tests, a_closed_directory_is_free_even_if_a_ring_still_refers_to_its_lock);
    tcase_add_loop_test(tests, the_io_of_a_dead_daemon_is_waited_for, 0, 2);
    tcase_add_test(tests, another_process_with_the_number_of_a_dead_daemon_is_not_taken_for_it);
    tcase_add_test(tests, who_waits_is_refused_when_another_successor_is_first);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* SPDX-License-Identifier: MIT */
/* The process at the other end: a child that connects, and dies while its socket stays open. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/peer.h"
#include "tests/unit/suite.h"

static pid_t child;
static int accepted;
static struct peer peer;

/* An abstract address of the kernel's choice (unix(7), autobind). */
static void setup(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length = sizeof(address);
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(listening, 0);
    ck_assert_int_eq(bind(listening, (const struct sockaddr *)&address, sizeof(address.sun_family)),
                     0);
    ck_assert_int_eq(listen(listening, 1), 0);
    ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    int connecting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (connect(connecting, (const struct sockaddr *)&address, length) < 0)
            _exit(1);
        (void)pause();
        _exit(0);
    }
    /* This process has the socket that the child connected, too. */
    accepted = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(accepted, 0);
    ck_assert_int_eq(peer_get(accepted, &peer), 0);
    ck_assert_int_eq(peer.pid, child);
}

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, timeout_ms) == 1;
}

static void kill_child(void)
{
    ck_assert_int_eq(kill(child, SIGKILL), 0);
}

static void check_end_is_seen(int fd)
{
    ck_assert_int_ge(fd, 0);
    ck_assert(!is_readable(fd, 0));
    ck_assert(!is_readable(accepted, 0));
    kill_child();
    ck_assert(is_readable(fd, 10000));
    ck_assert(!is_readable(accepted, 0)); /* the socket does not tell */
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert(is_readable(fd, 0));
    (void)close(fd);
}

START_TEST(the_end_of_the_process_that_connected_is_seen)
{
    check_end_is_seen(peer_open_process(accepted, &peer));
}
END_TEST

START_TEST(its_end_is_seen_by_its_number_where_the_socket_gives_no_pidfd)
{
    check_end_is_seen(peer_open_pid(peer.pid));
}
END_TEST

START_TEST(a_process_that_waits_to_be_reaped_has_ended)
{
    siginfo_t info;
    kill_child();
    ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    int fd = peer_open_pid(peer.pid);
    ck_assert_int_ge(fd, 0);
    ck_assert(is_readable(fd, 0));
    (void)close(fd);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

START_TEST(a_process_that_was_reaped_has_ended)
{
    kill_child();
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_int_eq(peer_open_pid(peer.pid), -ESRCH);
    int fd = peer_open_process(accepted, &peer); /* since Linux 6.16 there is one still */
    if (fd < 0) {
        ck_assert_int_eq(fd, -ESRCH);
        return;
    }
    ck_assert(is_readable(fd, 0));
    (void)close(fd);
}
END_TEST

START_TEST(a_process_of_another_pid_namespace_has_no_number_to_watch)
{
    ck_assert_int_eq(peer_open_pid(0), -EOPNOTSUPP);
    kill_child();
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("peer");
    TCase *tests = tcase_create("peer");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, the_end_of_the_process_that_connected_is_seen);
    tcase_add_test(tests, its_end_is_seen_by_its_number_where_the_socket_gives_no_pidfd);
    tcase_add_test(tests, a_process_that_waits_to_be_reaped_has_ended);
    tcase_add_test(tests, a_process_that_was_reaped_has_ended);
    tcase_add_test(tests, a_process_of_another_pid_namespace_has_no_number_to_watch);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

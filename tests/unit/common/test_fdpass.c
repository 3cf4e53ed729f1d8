/* SPDX-License-Identifier: MIT */
#include "common/fdpass.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/suite.h"

static int sockets[2];

static void setup(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
}

static void teardown(void)
{
    close(sockets[0]);
    close(sockets[1]);
}

static int open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    ck_assert_ptr_nonnull(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void close_all(struct fdpass *fds)
{
    for (size_t i = 0; i < fds->count; i++)
        close(fds->fds[i]);
    fds->count = 0;
}

static ssize_t send_text(const char *text, int fd)
{
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    return fdpass_send(sockets[0], &message, fd, 0);
}

static ssize_t receive_text(char *buffer, size_t size, struct fdpass *ret_fds)
{
    struct iovec iov = {buffer, size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    return fdpass_receive(sockets[1], &message, MSG_DONTWAIT, ret_fds);
}

/* What a peer that does not keep to the protocol can send. */
static void send_many(size_t count)
{
    static char control[CMSG_SPACE(sizeof(int) * 253)] __attribute__((aligned(8)));
    struct iovec iov = {(void *)(uintptr_t) "x", 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *header = (struct cmsghdr *)(void *)control;

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    for (size_t i = 0; i < count; i++)
        memcpy(CMSG_DATA(header) + i * sizeof(int), &sockets[0], sizeof(int));
    ck_assert_int_eq(sendmsg(sockets[0], &message, 0), 1);
}

START_TEST(bytes_pass_without_a_descriptor)
{
    struct fdpass fds = {.count = 7};
    char buffer[16];

    ck_assert_int_eq(send_text("hello", -1), 5);
    ck_assert_int_eq(receive_text(buffer, sizeof(buffer), &fds), 5);
    ck_assert_mem_eq(buffer, "hello", 5);
    ck_assert_uint_eq(fds.count, 0);
    ck_assert(!fds.truncated);
}
END_TEST

START_TEST(descriptor_arrives_open_on_the_same_file_and_close_on_exec)
{
    struct fdpass fds;
    struct stat sent, received;
    char buffer[16];
    int file = open("/proc/self/exe", O_RDONLY);

    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(send_text("hello", file), 5);
    ck_assert_int_eq(receive_text(buffer, sizeof(buffer), &fds), 5);
    ck_assert_uint_eq(fds.count, 1);
    ck_assert(!fds.truncated);
    ck_assert_int_eq(fstat(file, &sent), 0);
    ck_assert_int_eq(fstat(fds.fds[0], &received), 0);
    ck_assert(sent.st_ino == received.st_ino && sent.st_dev == received.st_dev);
    ck_assert_int_eq(fcntl(fds.fds[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close_all(&fds);
    close(file);
}
END_TEST

START_TEST(descriptor_comes_with_the_first_byte_it_was_sent_with)
{
    struct fdpass fds;
    char buffer[16];

    ck_assert_int_eq(send_text("ab", sockets[0]), 2);
    ck_assert_int_eq(receive_text(buffer, 1, &fds), 1);
    ck_assert_uint_eq(fds.count, 1);
    close_all(&fds);
    ck_assert_int_eq(receive_text(buffer, 1, &fds), 1);
    ck_assert_uint_eq(fds.count, 0);
}
END_TEST

START_TEST(as_many_as_fit_are_all_handed_over)
{
    const int before = open_descriptors();
    struct fdpass fds;
    char buffer[16];

    send_many(FDPASS_MAX);
    ck_assert_int_eq(receive_text(buffer, sizeof(buffer), &fds), 1);
    ck_assert_uint_eq(fds.count, FDPASS_MAX);
    ck_assert(!fds.truncated);
    close_all(&fds);
    ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* None is closed by the kernel meanwhile: that can block. */
START_TEST(all_that_a_peer_can_send_are_handed_over)
{
    static const size_t counts[] = {FDPASS_MAX + 1, FDPASS_MAX + 2, 100, FDPASS_RECEIVE_MAX};
    const int before = open_descriptors();

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct fdpass fds;
        char buffer[16];
        send_many(counts[i]);
        ck_assert_int_eq(receive_text(buffer, sizeof(buffer), &fds), 1);
        ck_assert_uint_eq(fds.count, counts[i]);
        ck_assert(!fds.truncated);
        close_all(&fds);
        ck_assert_int_eq(open_descriptors(), before);
    }
}
END_TEST

START_TEST(what_finds_no_room_in_the_process_is_said_to_be_cut_off)
{
    struct fdpass fds;
    struct rlimit limit;
    char buffer[16];

    send_many(100);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = (rlim_t)open_descriptors() + 20;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(receive_text(buffer, sizeof(buffer), &fds), 1);
    ck_assert_uint_lt(fds.count, 100);
    ck_assert(fds.truncated);
    close_all(&fds);
}
END_TEST

START_TEST(other_control_data_is_not_taken_for_descriptors)
{
    const int on = 1;
    struct fdpass fds;
    char buffer[16];

    ck_assert_int_eq(setsockopt(sockets[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
    ck_assert_int_eq(send_text("hello", -1), 5);
    ck_assert_int_eq(receive_text(buffer, sizeof(buffer), &fds), 5);
    ck_assert_uint_eq(fds.count, 0);
}
END_TEST

START_TEST(end_of_the_stream_is_zero)
{
    struct fdpass fds;
    char buffer[16];

    ck_assert_int_eq(shutdown(sockets[0], SHUT_WR), 0);
    ck_assert_int_eq(receive_text(buffer, sizeof(buffer), &fds), 0);
    ck_assert_uint_eq(fds.count, 0);
}
END_TEST

START_TEST(nothing_to_receive_is_eagain_and_leaves_the_result_alone)
{
    struct fdpass fds = {.count = 7};
    char buffer[16];

    ck_assert_int_eq(receive_text(buffer, sizeof(buffer), &fds), -EAGAIN);
    ck_assert_uint_eq(fds.count, 7);
}
END_TEST

START_TEST(sending_to_a_closed_peer_is_epipe_without_a_signal)
{
    ck_assert_int_eq(shutdown(sockets[1], SHUT_RD), 0);
    ck_assert(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    ck_assert_int_eq(send_text("hello", -1), -EPIPE);
}
END_TEST

START_TEST(sending_a_descriptor_that_is_not_open_fails)
{
    int closed = dup(sockets[0]);

    close(closed);
    ck_assert_int_eq(send_text("hello", closed), -EBADF);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fdpass");
    TCase *tests = tcase_create("fdpass");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, bytes_pass_without_a_descriptor);
    tcase_add_test(tests, descriptor_arrives_open_on_the_same_file_and_close_on_exec);
    tcase_add_test(tests, descriptor_comes_with_the_first_byte_it_was_sent_with);
    tcase_add_test(tests, as_many_as_fit_are_all_handed_over);
    tcase_add_test(tests, all_that_a_peer_can_send_are_handed_over);
    tcase_add_test(tests, what_finds_no_room_in_the_process_is_said_to_be_cut_off);
    tcase_add_test(tests, other_control_data_is_not_taken_for_descriptors);
    tcase_add_test(tests, end_of_the_stream_is_zero);
    tcase_add_test(tests, nothing_to_receive_is_eagain_and_leaves_the_result_alone);
    tcase_add_test(tests, sending_to_a_closed_peer_is_epipe_without_a_signal);
    tcase_add_test(tests, sending_a_descriptor_that_is_not_open_fails);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

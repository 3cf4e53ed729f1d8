/* SPDX-License-Identifier: MIT */
/* $LIBBLKD_DEBUG: a line for each call, and nothing without it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <regex.h>

#include "tests/unit/client/lib/fake_scene.h"

enum { TEXT_MAX = 16384 };

static int pipe_fds[2];
static int saved_stderr;
static char text[TEXT_MAX];

static void on_called(void *user_data, int result)
{
    *(int *)user_data = result;
}

static void setup(void)
{
    fake_init(&fake);
    ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
    saved_stderr = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(pipe_fds[1], STDERR_FILENO), 0);
    text[0] = '\0';
}

/* What has been written until now becomes `text`, and stderr what it was. */
static void finish(void)
{
    size_t length = 0;
    ssize_t n;

    (void)dup2(saved_stderr, STDERR_FILENO);
    (void)close(pipe_fds[1]);
    while ((n = read(pipe_fds[0], text + length, sizeof(text) - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = '\0';
    (void)close(pipe_fds[0]);
}

static void expect_line(const char *pattern)
{
    regex_t regex;

    ck_assert_int_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NEWLINE | REG_NOSUB), 0);
    ck_assert_msg(regexec(&regex, text, 0, NULL, 0) == 0, "no line is like %s in:\n%s", pattern,
                  text);
    regfree(&regex);
}

static void do_calls(void)
{
    uint8_t bytes[512];
    struct iovec iov = {bytes, sizeof(bytes)};
    int result = 1;
    void *buffer;

    begin();
    memset(bytes, 'S', sizeof(bytes));
    ck_assert_int_eq(blkd_write(device, 3, &iov, 1, 0), 0);
    iov.iov_len = 3;
    errno = EXDEV; /* which no system call of this call would change */
    ck_assert_int_eq(blkd_read(device, 3, &iov, 1), -EINVAL);
    ck_assert_int_eq(errno, EXDEV);
    ck_assert_int_eq(blkd_flush_async(device, on_called, &result), 0);
    while (result == 1)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    ck_assert_int_eq(blkd_buffer_alloc(connection, 4096, &buffer), 0);
    blkd_buffer_free(connection, buffer);
    end();
    finish();
}

START_TEST(every_call_has_a_line)
{
    size_t lines = 0;

    ck_assert_int_eq(setenv("LIBBLKD_DEBUG", "1", 1), 0);
    do_calls();
    expect_line("^libblkd\\[[0-9]+\\] connecting to /.*: 0, [0-9]+ us$");
    expect_line("^libblkd\\[[0-9]+\\] opening /.*: 0, [0-9]+ us$");
    expect_line("^libblkd.* writ.* 3 .*: 0, [0-9]+ us$");
    expect_line("^libblkd.* flush.*: 0, [0-9]+ us$");
    expect_line("^libblkd.* allocating a buffer of 4096 bytes: 0, [0-9]+ us$");
    expect_line("^libblkd.*: -22 \\(EINVAL\\), at once$");
    expect_line("^libblkd.* clos.*: 0, [0-9]+ us$");
    expect_line("^libblkd.* disconnecting: 0, [0-9]+ us$");
    ck_assert_ptr_null(strstr(text, "SSSS")); /* no data */
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1, lines++)
        ck_assert_msg(strncmp(line, "libblkd[", 8) == 0, "%s", line);
    ck_assert_uint_ge(lines, 8);
}
END_TEST

/* What somebody calls a file is no line of its own, and no order to a terminal. */
START_TEST(a_path_makes_no_lines)
{
    struct blkd_config config = {.path = "/a\n\x1b[31mlibblkd[1] b"};
    struct blkd_device *other;

    ck_assert_int_eq(setenv("LIBBLKD_DEBUG", "1", 1), 0);
    begin();
    if (blkd_open(connection, &config, &other) == 0)
        blkd_close(other);
    end();
    finish();
    ck_assert_ptr_null(strchr(text, '\x1b'));
    expect_line("^libblkd\\[[0-9]+\\] opening /a\\?\\?\\[31mlibblkd\\[1\\] b failed: ");
}
END_TEST

static const char *const off[] = {NULL, "", "0"};

START_TEST(without_it_nothing_is_written)
{
    if (off[_i] == NULL)
        (void)unsetenv("LIBBLKD_DEBUG");
    else
        ck_assert_int_eq(setenv("LIBBLKD_DEBUG", off[_i], 1), 0);
    do_calls();
    ck_assert_str_eq(text, "");
}
END_TEST

/* A call is not what fails when nobody reads. */
START_TEST(a_closed_stderr_harms_nothing)
{
    ck_assert_int_eq(setenv("LIBBLKD_DEBUG", "1", 1), 0);
    (void)close(STDERR_FILENO);
    do_calls();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_trace");
    TCase *tests = tcase_create("trace");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_call_has_a_line);
    tcase_add_test(tests, a_path_makes_no_lines);
    tcase_add_loop_test(tests, without_it_nothing_is_written, 0, 3);
    tcase_add_test(tests, a_closed_stderr_harms_nothing);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 *     state_steps DIRECTORY STEP...
 *
 * Opens a state directory, does the steps, and closes it. What is done or known is said at once, in
 * a line; so what is not said when it is killed was not promised. Steps: tokens=COUNT, put=KEY,
 * clear=KEY, find=KEY.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/state/state.h"

static char message[STATE_MESSAGE_MAX];

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        _exit(3);
}

static void check(int error, const char *step)
{
    if (error == 0)
        return;
    (void)fprintf(stderr, "%s: %d: %s\n", step, error, message);
    exit(1);
}

static void do_tokens(struct state *state, unsigned long count)
{
    uint64_t token = 0;
    for (unsigned long i = 0; i < count; i++) {
        if (state_take_token(state, &token) == -EAGAIN) {
            check(state_reserve_tokens(state, message), "reserve");
            check(state_take_token(state, &token), "take");
        }
        say("token %" PRIu64 "\n", token);
    }
}

static void do_find(struct state *state, const struct state_key *key)
{
    struct state_failure failure;
    if (state_find_failure(state, key, &failure))
        say("found %s %d %" PRIu64 "\n", key->text, failure.error, failure.unix_ms);
    else
        say("none %s\n", key->text);
}

static void do_step(struct state *state, const char *step)
{
    static const struct state_failure failure = {.error = -ENOSPC, .unix_ms = 1234567890123};
    struct state_key key = {0};
    const char *value = strchr(step, '=');
    if (value == NULL)
        exit(2);
    (void)snprintf(key.text, sizeof(key.text), "%s", ++value);
    if (strncmp(step, "tokens=", 7) == 0) {
        do_tokens(state, strtoul(value, NULL, 10));
    } else if (strncmp(step, "find=", 5) == 0) {
        do_find(state, &key);
    } else if (strncmp(step, "put=", 4) == 0) {
        check(state_put_failure(state, &key, "/dev/x", &failure, message), step);
        say("put %s\n", key.text);
    } else {
        check(state_clear_failure(state, &key, message), step);
        say("cleared %s\n", key.text);
    }
}

int main(int argc, char **argv)
{
    struct state *state = NULL;
    if (argc < 2)
        return 2;
    check(state_open(argv[1], &state, message), "open");
    for (int i = 2; i < argc; i++)
        do_step(state, argv[i]);
    state_close(state);
    return 0;
}

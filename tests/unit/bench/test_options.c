/* SPDX-License-Identifier: MIT */
/* What blkd-bench understands of its command line, and what it refuses. */
#include <check.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/options.h"
#include "tests/unit/suite.h"

/* Parsing looks at the names of targets only; the targets themselves need libraries. */
const struct target_type target_direct = {.scheme = "direct"};
const struct target_type target_group = {.scheme = "group"};
const struct target_type target_uring = {.scheme = "uring"};
const struct target_type target_blkd = {.scheme = "blkd"};
const struct target_type target_nbd = {.scheme = "nbd"};

enum { ARGUMENTS_MAX = 4, ARGUMENT_BYTES = 64 };

/* Parses "blkd-bench", a target, then `arguments` up to NULL. What was parsed points into copies
 * that stay until the next time. */
static int parse(const char *const *arguments, struct bench_options *ret_options)
{
    static char copies[ARGUMENTS_MAX + 2][ARGUMENT_BYTES] = {"blkd-bench",
                                                             "--target=blkd:/disk.img"};
    char *argv[ARGUMENTS_MAX + 3] = {copies[0], copies[1]};
    int argc = 2;
    for (; *arguments; arguments++, argc++) {
        ck_assert_int_lt(argc, ARGUMENTS_MAX + 2);
        ck_assert_uint_lt(strlen(*arguments), ARGUMENT_BYTES);
        argv[argc] = strcpy(copies[argc], *arguments);
    }
    optind = 0; /* getopt_long(3), NOTES: begin anew */
    return options_parse(argc, argv, ret_options);
}

#define PARSE(ret_options, ...) parse((const char *const[]){__VA_ARGS__, NULL}, ret_options)

START_TEST(defaults_are_one_client_at_depth_one)
{
    struct bench_options options;
    ck_assert_int_eq(PARSE(&options, NULL), 0);
    ck_assert_ptr_eq(options.target, &target_blkd);
    ck_assert_str_eq(options.address, "/disk.img");
    ck_assert_uint_eq(options.clients, 1);
    ck_assert_uint_eq(options.depth, 1);
    ck_assert_uint_eq(options.block_bytes, 4096);
    ck_assert_uint_eq(options.idle, 0);
    ck_assert_int_eq(options.busy_poll_us, -1);
    ck_assert_ptr_null(options.tier);
    ck_assert_int_eq(options.buffers, BUFFERS_FOREIGN);
}
END_TEST

START_TEST(buffers_follow_the_tier_unless_said)
{
    struct bench_options options;
    ck_assert_int_eq(PARSE(&options, "--tier=ring"), 0);
    ck_assert_str_eq(options.tier, "ring");
    ck_assert_int_eq(options.buffers, BUFFERS_ARENA);
    ck_assert_int_eq(PARSE(&options, "--tier=socket"), 0);
    ck_assert_int_eq(options.buffers, BUFFERS_FOREIGN);
    ck_assert_int_eq(PARSE(&options, "--tier=auto"), 0);
    ck_assert_int_eq(options.buffers, BUFFERS_FOREIGN);
    ck_assert_int_eq(PARSE(&options, "--buffers=foreign", "--tier=ring"), 0);
    ck_assert_int_eq(options.buffers, BUFFERS_FOREIGN);
    ck_assert_int_eq(PARSE(&options, "--buffers=arena"), 0);
    ck_assert_int_eq(options.buffers, BUFFERS_ARENA);
}
END_TEST

START_TEST(idle_connections_are_counted_and_may_be_open)
{
    struct bench_options options;
    ck_assert_int_eq(PARSE(&options, "--idle=10000", "--idle-open"), 0);
    ck_assert_uint_eq(options.idle, 10000);
    ck_assert(options.idle_open);
    ck_assert_int_eq(PARSE(&options, "--idle=7"), 0);
    ck_assert(!options.idle_open);
    ck_assert_int_eq(PARSE(&options, "--idle-open"), -EINVAL);
}
END_TEST

START_TEST(sizes_have_suffixes)
{
    struct bench_options options;
    ck_assert_int_eq(PARSE(&options, "--bs=256k"), 0);
    ck_assert_uint_eq(options.block_bytes, 256 * 1024);
    ck_assert_int_eq(PARSE(&options, "--bs=64M"), 0);
    ck_assert_uint_eq(options.block_bytes, 64U << 20);
    ck_assert_int_eq(PARSE(&options, "--bs=512"), 0);
    ck_assert_uint_eq(options.block_bytes, 512);
}
END_TEST

static const char *const refused[] = {
    "--tier=fast",      "--tier=",      "--buffers=none",  "--idle=-1",
    "--idle=x",         "--idle=",      "--clients=0",     "--clients=1025",
    "--depth=0",        "--depth=4097", "--bs=0",          "--bs=65M",
    "--bs=4q",          "--bs=",        "--seconds=0",     "--seconds=nan",
    "--seconds=-1",     "--warmup=x",   "--rw=randomread", "--server-pid=0",
    "--busy-poll-us=-", "--nonsense",   "argument",        "--target=file:/disk.img",
};

START_TEST(what_makes_no_sense_is_refused_and_nothing_is_touched)
{
    struct bench_options options = {.depth = 4711};
    ck_assert_int_eq(PARSE(&options, refused[_i]), -EINVAL);
    ck_assert_uint_eq(options.depth, 4711);
}
END_TEST

START_TEST(verify_wants_whole_sectors_and_data)
{
    struct bench_options options;
    ck_assert_int_eq(PARSE(&options, "--verify"), 0);
    ck_assert_int_eq(PARSE(&options, "--verify", "--bs=513"), -EINVAL);
    ck_assert_int_eq(PARSE(&options, "--verify", "--rw=flush"), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench options");
    TCase *all = tcase_create("options");
    tcase_add_test(all, defaults_are_one_client_at_depth_one);
    tcase_add_test(all, buffers_follow_the_tier_unless_said);
    tcase_add_test(all, idle_connections_are_counted_and_may_be_open);
    tcase_add_test(all, sizes_have_suffixes);
    tcase_add_loop_test(all, what_makes_no_sense_is_refused_and_nothing_is_touched, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(all, verify_wants_whole_sectors_and_data);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}

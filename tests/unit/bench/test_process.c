/* SPDX-License-Identifier: MIT */
/* What blkd-bench says about a server's memory and CPU time. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/clock.h"
#include "tests/bench/memory.h"
#include "tests/bench/process.h"
#include "tests/unit/suite.h"

static const char rollup[] = "55d0c0c00000-7ffd0 ---p 00000000 00:00 0  [rollup]\n"
                             "Rss:                1692 kB\n"
                             "Pss:                 253 kB\n"
                             "Pss_Dirty:           100 kB\n"
                             "Swap:                none\n";

START_TEST(a_line_is_found_by_its_whole_name)
{
    uint64_t bytes = 0;
    ck_assert_int_eq(process_find_bytes(rollup, "Pss", &bytes), 0);
    ck_assert_uint_eq(bytes, 253 * 1024);
    ck_assert_int_eq(process_find_bytes(rollup, "Pss_Dirty", &bytes), 0);
    ck_assert_uint_eq(bytes, 100 * 1024);
    ck_assert_int_eq(process_find_bytes("Rss: 7 kB", "Rss", &bytes), 0);
    ck_assert_uint_eq(bytes, 7 * 1024);
}
END_TEST

START_TEST(a_line_that_is_not_there_leaves_the_answer_alone)
{
    uint64_t bytes = 4711;
    ck_assert_int_eq(process_find_bytes(rollup, "Ps", &bytes), -ENODATA);
    ck_assert_int_eq(process_find_bytes(rollup, "Swap", &bytes), -ENODATA);
    ck_assert_int_eq(process_find_bytes(rollup, "kB", &bytes), -ENODATA);
    ck_assert_int_eq(process_find_bytes("", "Rss", &bytes), -ENODATA);
    ck_assert_uint_eq(bytes, 4711);
}
END_TEST

START_TEST(memory_that_is_touched_is_seen)
{
    enum { SIZE_BYTES = 32 << 20 };
    struct process_memory before;
    struct process_memory after;
    void *memory;
    ck_assert_int_eq(process_read_memory(getpid(), &before), 0);
    ck_assert_int_eq(memory_map(SIZE_BYTES, &memory), 0);
    ck_assert_int_eq(process_read_memory(getpid(), &after), 0);
    memory_unmap(memory, SIZE_BYTES);
    double grown = 2 * process_bytes_each(before.rss_bytes, after.rss_bytes, 2);
    /* A sanitizer's shadow of it counts as well. */
    ck_assert_msg(grown >= SIZE_BYTES && grown < 8.0 * SIZE_BYTES, "%g", grown);
}
END_TEST

START_TEST(nothing_grew_is_zero)
{
    ck_assert(process_bytes_each(10, 10, 5) == 0);
    ck_assert(process_bytes_each(10, 9, 5) == 0);
    ck_assert(process_bytes_each(10, 20, 0) == 0);
    ck_assert(process_bytes_each(10, 30, 5) == 4);
}
END_TEST

START_TEST(cpu_time_of_another_process_is_what_it_used)
{
    enum { BURNT_NS = 50000000 };
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < BURNT_NS)
            ;
        _exit(0);
    }
    siginfo_t info;
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0); /* still there */
    uint64_t cpu_ns = 0;
    ck_assert_int_eq(process_read_cpu(pid, &cpu_ns), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_uint_ge(cpu_ns, BURNT_NS);
    ck_assert_uint_lt(cpu_ns, 4 * (uint64_t)BURNT_NS);
    ck_assert_int_lt(process_read_cpu(pid, &cpu_ns), 0);
}
END_TEST

START_TEST(descriptors_are_raised_as_far_as_may_be)
{
    uint64_t now = process_raise_descriptors(0);
    ck_assert_uint_gt(now, 0);
    ck_assert_uint_eq(process_raise_descriptors(now), now);
    ck_assert_uint_ge(process_raise_descriptors(UINT64_C(1) << 40), now);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench process");
    TCase *all = tcase_create("process");
    tcase_add_test(all, a_line_is_found_by_its_whole_name);
    tcase_add_test(all, a_line_that_is_not_there_leaves_the_answer_alone);
    tcase_add_test(all, memory_that_is_touched_is_seen);
    tcase_add_test(all, nothing_grew_is_zero);
    tcase_add_test(all, cpu_time_of_another_process_is_what_it_used);
    tcase_add_test(all, descriptors_are_raised_as_far_as_may_be);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}

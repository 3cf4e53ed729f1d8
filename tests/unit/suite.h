/* SPDX-License-Identifier: MIT */
/* The end of every unit test's main: runs a suite and returns the program's exit status. */
#ifndef BLKD_TESTS_UNIT_SUITE_H
#define BLKD_TESTS_UNIT_SUITE_H

#include <check.h>
#include <stdlib.h>

static inline int suite_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif

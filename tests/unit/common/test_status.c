/* SPDX-License-Identifier: MIT */
#include "common/status.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"

START_TEST(every_status_of_the_protocol_survives_a_round_trip)
{
    const ProtobufCEnumDescriptor *all = &blkd__status__descriptor;

    for (unsigned int i = 0; i < all->n_values; i++) {
        const Blkd__Status status = (Blkd__Status)all->values[i].value;
        ck_assert_msg(status_from_errno(status_to_errno(status)) == status, "%s",
                      all->values[i].name);
    }
}
END_TEST

START_TEST(every_status_is_named_as_the_protocol_names_it)
{
    const ProtobufCEnumDescriptor *all = &blkd__status__descriptor;

    for (unsigned int i = 0; i < all->n_values; i++) {
        const int error = status_to_errno((Blkd__Status)all->values[i].value);
        ck_assert_str_eq(status_name(error), all->values[i].name + strlen("STATUS_"));
    }
}
END_TEST

/* The wire's numbers never change; the errno they mean is Linux's on this machine. */
START_TEST(numbers_mean_the_errors_they_are_named_for)
{
    ck_assert_int_eq(status_to_errno(BLKD__STATUS__STATUS_OK), 0);
    ck_assert_int_eq(status_to_errno((Blkd__Status)1), -EIO);
    ck_assert_int_eq(status_to_errno((Blkd__Status)7), -EROFS);
    ck_assert_int_eq(status_to_errno((Blkd__Status)10), -EOPNOTSUPP);
    ck_assert_int_eq(status_to_errno((Blkd__Status)12), -EDQUOT);
    ck_assert_int_eq(status_to_errno((Blkd__Status)41), -EDOM);
    ck_assert_int_eq(status_to_errno((Blkd__Status)42), -EALREADY);
    ck_assert_int_eq(status_to_errno((Blkd__Status)43), -EOWNERDEAD);
    ck_assert_int_eq(status_from_errno(-ENOSPC), BLKD__STATUS__STATUS_ENOSPC);
    ck_assert_int_eq(status_from_errno(-ENOTBLK), BLKD__STATUS__STATUS_ENOTBLK);
}
END_TEST

START_TEST(an_errno_without_a_number_becomes_eio)
{
    ck_assert_int_eq(status_from_errno(-EXFULL), BLKD__STATUS__STATUS_EIO);
    ck_assert_int_eq(status_from_errno(-100000), BLKD__STATUS__STATUS_EIO);
    ck_assert_str_eq(status_name(-EXFULL), "EIO");
}
END_TEST

START_TEST(a_status_of_a_later_protocol_becomes_eio)
{
    ck_assert_int_eq(status_to_errno((Blkd__Status)44), -EIO);
    ck_assert_int_eq(status_to_errno((Blkd__Status)-1), -EIO);
    ck_assert_int_eq(status_to_errno((Blkd__Status)INT32_MAX), -EIO);
    ck_assert_int_eq(status_to_errno((Blkd__Status)INT32_MIN), -EIO);
}
END_TEST

START_TEST(success_has_a_name)
{
    ck_assert_str_eq(status_name(0), "OK");
    ck_assert_str_eq(status_name(-EBUSY), "EBUSY");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *tests = tcase_create("status");

    tcase_add_test(tests, every_status_of_the_protocol_survives_a_round_trip);
    tcase_add_test(tests, every_status_is_named_as_the_protocol_names_it);
    tcase_add_test(tests, numbers_mean_the_errors_they_are_named_for);
    tcase_add_test(tests, an_errno_without_a_number_becomes_eio);
    tcase_add_test(tests, a_status_of_a_later_protocol_becomes_eio);
    tcase_add_test(tests, success_has_a_name);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

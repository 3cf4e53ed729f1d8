/* SPDX-License-Identifier: MIT */
#include "client/cli/format.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The name of what begins with these bytes at `offset`; "" if it is not known. */
static const char *find(size_t offset, const char *magic, size_t length)
{
    uint8_t bytes[FORMAT_BYTES];
    const struct format *format;

    memset(bytes, 'x', sizeof(bytes));
    ck_assert_uint_le(offset + length, sizeof(bytes));
    memcpy(bytes + offset, magic, length);
    format = format_find(bytes, sizeof(bytes));
    if (format)
        ck_assert_ptr_nonnull(strstr(format->advice, "first ("));
    /* One byte less of it is not enough. */
    ck_assert_ptr_null(format_find(bytes, offset + length - 1));
    return format ? format->name : "";
}

#define FIND(offset, magic) find(offset, magic, sizeof(magic) - 1)

START_TEST(images_of_virtual_machines)
{
    ck_assert_str_eq(FIND(0, "QFI\xfb\0\0\0\2"), "qcow2");
    ck_assert_str_eq(FIND(0, "QFI\xfb\0\0\0\3"), "qcow2");
    ck_assert_str_eq(FIND(0, "QFI\xfb\0\0\0\1"), "qcow");
    ck_assert_str_eq(FIND(0, "KDMV"), "vmdk");
    ck_assert_str_eq(FIND(0, "COWD"), "vmdk");
    ck_assert_str_eq(FIND(0, "# Disk DescriptorFile"), "vmdk");
    ck_assert_str_eq(FIND(64, "\x7f\x10\xda\xbe"), "vdi");
    ck_assert_str_eq(FIND(0, "vhdxfile"), "vhdx");
    ck_assert_str_eq(FIND(0, "conectix"), "vhd");
}
END_TEST

START_TEST(compressed_files)
{
    ck_assert_str_eq(FIND(0, "\x1f\x8b\x08"), "gzip");
    ck_assert_str_eq(FIND(0, "\xfd\x37\x7a\x58\x5a\x00"), "xz");
    ck_assert_str_eq(FIND(0, "\x28\xb5\x2f\xfd"), "zstd");
}
END_TEST

START_TEST(bytes_of_disks_are_nothing_special)
{
    uint8_t bytes[FORMAT_BYTES] = {0};

    ck_assert_ptr_null(format_find(bytes, sizeof(bytes)));
    ck_assert_ptr_null(format_find(bytes, 0));
    ck_assert_str_eq(FIND(0, "\xeb\x63\x90"), ""); /* a boot sector */
    ck_assert_str_eq(FIND(0, "LUKS\xba\xbe"), ""); /* encrypted, but the disk's own bytes */
    ck_assert_str_eq(FIND(1, "QFI\xfb\0\0\0\3"), "");
    ck_assert_str_eq(FIND(0, "\x7f\x10\xda\xbe"), "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli_format");
    TCase *tests = tcase_create("cli_format");
    SRunner *runner;
    int failed;

    tcase_add_test(tests, images_of_virtual_machines);
    tcase_add_test(tests, compressed_files);
    tcase_add_test(tests, bytes_of_disks_are_nothing_special);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: MIT */
/* Opening: what is refused and with what words, sector sizes, configuration strings. */
#include "fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct blkd_device *device;

/* Opening the path by default fails with this, and the message names the path. */
static void expect_refused(const char *path, int error)
{
    struct blkd_config config = {0};
    config.path = path;
    int result = blkd_open(fixture.connection, &config, &device);
    ck_assert_msg(result == -error, "opening %s: %d, not %d", path, result, -error);
    ck_assert_ptr_null(device);
    ASSERT_SAYS(path);
}

static const char *path_of(const char *name, char path[HARNESS_PATH_MAX])
{
    harness_join(harness_directory(), name, path);
    return path;
}

START_TEST(engine_is_the_one_asked_for)
{
    const char *engine = getenv("BLKD_ENGINE");
    struct blkd_server_info info;
    ASSERT_OK(blkd_get_server_info(fixture.connection, &info));
    if (engine == NULL)
        harness_skip("BLKD_ENGINE is not set");
    else
        ck_assert_str_eq(info.engine, engine);
    ck_assert_uint_eq(info.pid, (uint32_t)fixture.daemon.pid);
}
END_TEST

START_TEST(missing_path_is_refused)
{
    char path[HARNESS_PATH_MAX];
    expect_refused(path_of("missing", path), ENOENT);
    expect_refused(path_of("missing/deeper", path), ENOENT);
    ck_assert_uint_eq(fixture_count_devices(), 0);
}
END_TEST

START_TEST(path_through_a_file_is_refused)
{
    char path[HARNESS_PATH_MAX];
    harness_make_file(harness_directory(), "image", MIB, path);
    expect_refused(path_of("image/below", path), ENOTDIR);
}
END_TEST

/* Nobody writes into it: an open(2) of it would wait for ever. */
START_TEST(fifo_is_refused_without_waiting_for_its_other_end)
{
    char path[HARNESS_PATH_MAX];
    ck_assert_int_eq(mkfifo(path_of("fifo", path), 0600), 0);
    expect_refused(path, ENOTBLK);
}
END_TEST

START_TEST(directory_is_refused)
{
    expect_refused(harness_directory(), ENOTBLK);
}
END_TEST

START_TEST(character_device_is_refused)
{
    expect_refused("/dev/null", ENOTBLK);
}
END_TEST

START_TEST(socket_is_refused)
{
    expect_refused(fixture.daemon.socket_path, ENOTBLK);
}
END_TEST

START_TEST(file_of_odd_size_is_refused)
{
    char path[HARNESS_PATH_MAX];
    harness_make_file(harness_directory(), "odd", 1000, path);
    expect_refused(path, EINVAL);
    ASSERT_SAYS("1000 bytes");
    ASSERT_SAYS("not a multiple of the sector size, 512");
    ck_assert_uint_eq(fixture_count_devices(), 0);
}
END_TEST

START_TEST(file_that_is_odd_only_for_larger_sectors_is_refused_for_those)
{
    char path[HARNESS_PATH_MAX];
    struct blkd_config config = {0};
    harness_make_file(harness_directory(), "nine", 9 * 512, path);
    config.path = path;
    config.sector_size = 4096;
    ASSERT_FAILS(blkd_open(fixture.connection, &config, &device), EINVAL);
    ASSERT_SAYS("not a multiple of the sector size, 4096");
    config.sector_size = 512;
    device = fixture_open(&config);
    ck_assert_uint_eq(fixture_info(device).size_sectors, 9);
}
END_TEST

START_TEST(sector_size_that_none_can_be_is_refused)
{
    static const uint32_t bad[] = {1, 256, 511, 513, 1000, 3 * 512, 65536 * 2};
    char path[HARNESS_PATH_MAX];
    struct blkd_config config = {0};
    harness_make_file(harness_directory(), "image", MIB, path);
    config.path = path;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        config.sector_size = bad[i];
        ASSERT_FAILS(blkd_open(fixture.connection, &config, &device), EINVAL);
    }
}
END_TEST

START_TEST(sector_size_below_the_granule_is_refused)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_config config = fixture_config();
    device = fixture_open(&config);
    struct blkd_info info = fixture_info(device);
    ck_assert_uint_eq(info.sector_size, info.granule_bytes);
    blkd_close(device);
    if (info.granule_bytes == 512) {
        harness_skip("no sector is smaller than its granule of 512 bytes");
        return;
    }
    config.sector_size = 512;
    ASSERT_FAILS(blkd_open(fixture.connection, &config, &device), EINVAL);
    ASSERT_SAYS("sector size 512 was requested");
    ASSERT_SAYS("4096");
    ck_assert_uint_eq(info.granule_bytes, 4096);
}
END_TEST

START_TEST(larger_sector_size_is_taken)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_config config = fixture_config();
    config.sector_size = 16384;
    device = fixture_open(&config);
    struct blkd_info info = fixture_info(device);
    ck_assert_uint_eq(info.sector_size, 16384);
    ck_assert_uint_eq(info.size_sectors, MIB / 16384);
    data_write(device, 63, 1, 1);
    data_expect(device, 63, 1, 1);
    data_expect_outside(&fixture.place, 63, 1, 16384, 1);
    data_expect_outside(&fixture.place, 62, 1, 16384, 0);
    uint8_t sector[4096];
    const struct iovec vector = {sector, sizeof(sector)};
    ASSERT_FAILS(blkd_read(device, 0, &vector, 1), EINVAL);
}
END_TEST

START_TEST(caching_mode_is_the_one_asked_for)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    device = fixture_open_place();
    struct blkd_info info = fixture_info(device);
    ck_assert_int_eq(info.asked_direct, fixture.place.direct);
    ck_assert_int_eq(info.direct, fixture.place.direct);
    ck_assert_int_eq(info.read_write, true);
    ck_assert_int_eq((int)info.kind,
                     place_is_file(&fixture.place) ? BLKD_DEVICE_FILE : BLKD_DEVICE_BLOCK);
}
END_TEST

/* ---- configuration strings ---- */

static const char *const odd_names[] = {"with space", "100%",       "50%25",
                                        "what?",      "a=b&c=d",    "#1",
                                        "plus+plus",  "C:\\cygwin", "\xc3\xa4\xe6\x97\xa5",
                                        "line\nline", "~",          "file:x",
                                        "\x01\xff"};

enum { ODD_NAMES = sizeof(odd_names) / sizeof(odd_names[0]) };

static void expect_same_config(const struct blkd_config *got, const struct blkd_config *expected)
{
    ck_assert_str_eq(got->path, expected->path);
    ck_assert_int_eq(got->direct, expected->direct);
    ck_assert_int_eq((int)got->sync, (int)expected->sync);
    ck_assert_int_eq(got->lock, expected->lock);
    ck_assert_uint_eq(got->sector_size, expected->sector_size);
    ck_assert_int_eq((int)got->access, (int)expected->access);
}

/* String, configuration, device, configuration, string: all the same. */
static void expect_round_trip(const struct blkd_config *config)
{
    struct blkd_config *parsed = NULL;
    struct blkd_config *told = NULL;
    CLEANUP_FREE char *text = NULL;
    CLEANUP_FREE char *text_again = NULL;
    ASSERT_OK(blkd_config_format(config, &text));
    ASSERT_OK(blkd_config_parse(text, &parsed));
    device = fixture_open(parsed);
    ASSERT_OK(blkd_get_config(device, &told));
    expect_same_config(told, config);
    ASSERT_OK(blkd_config_format(told, &text_again));
    ck_assert_str_eq(text_again, text);
    blkd_close(device);
    blkd_config_free(parsed);
    blkd_config_free(told);
}

START_TEST(configuration_string_survives_the_round_trip)
{
    char path[HARNESS_PATH_MAX];
    harness_note("the name %s", odd_names[_i]);
    harness_make_file(harness_directory(), odd_names[_i], MIB, path);
    for (int bits = 0; bits < 36; bits++) {
        struct blkd_config config = {0};
        config.path = path;
        config.direct = (bits & 1) == 0;
        config.lock = (bits & 2) != 0;
        config.sync = (enum blkd_sync)(bits / 4 % 3);
        config.access = (enum blkd_access)(bits / 12);
        config.sector_size = bits % 5 == 0 ? 0 : 4096;
        expect_round_trip(&config);
    }
}
END_TEST

/* mirage-block-unix's own spelling of a relative name with a backslash. */
START_TEST(relative_name_is_of_the_working_directory)
{
    char path[HARNESS_PATH_MAX];
    struct blkd_config *config = NULL;
    struct blkd_config *told = NULL;
    harness_make_file(harness_directory(), "C:\\cygwin", MIB, path);
    ck_assert_int_eq(chdir(harness_directory()), 0);
    ASSERT_OK(blkd_config_parse("file:C:%5Ccygwin", &config));
    ck_assert_str_eq(config->path, "C:\\cygwin");
    device = fixture_open(config);
    ASSERT_OK(blkd_get_config(device, &told));
    ck_assert_str_eq(told->path, path);
    blkd_config_free(config);
    blkd_config_free(told);
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(plain_path_means_the_defaults)
{
    char path[HARNESS_PATH_MAX];
    struct blkd_config *config = NULL;
    harness_make_file(harness_directory(), "image", MIB, path);
    ASSERT_OK(blkd_config_from_argument(path, &config));
    device = fixture_open(config);
    struct blkd_info info = fixture_info(device);
    ck_assert_int_eq(info.direct, false);
    ck_assert_int_eq((int)info.sync, BLKD_SYNC_OS);
    ck_assert_int_eq((int)info.lock, BLKD_LOCK_NONE);
    ck_assert_int_eq(info.asked_lock, false);
    ck_assert_int_eq(info.read_write, true);
    ck_assert_uint_eq(info.sector_size, 512);
    ck_assert_uint_eq(info.size_sectors, MIB / 512);
    ck_assert_int_eq(info.failed, false);
    blkd_config_free(config);
}
END_TEST

START_TEST(closed_device_is_gone_from_the_lists)
{
    struct blkd_session_list *list = NULL;
    char path[HARNESS_PATH_MAX];
    struct blkd_config config = {0};
    harness_make_file(harness_directory(), "image", MIB, path);
    config.path = path;
    device = fixture_open(&config);
    ASSERT_OK(blkd_list_sessions(fixture.connection, 0, &list));
    ck_assert_uint_eq(list->count, 1);
    ck_assert_str_eq(list->entries[0]->path, path);
    ck_assert_uint_eq(list->entries[0]->pid, (uint32_t)getpid());
    ck_assert_uint_eq(list->entries[0]->uid, geteuid());
    ck_assert_str_eq(list->entries[0]->command, "test_block_open"); /* comm(5) has 15 bytes */
    blkd_session_list_free(list);
    blkd_close(device);
    ASSERT_OK(blkd_list_sessions(fixture.connection, 0, &list));
    ck_assert_uint_eq(list->count, 0);
    blkd_session_list_free(list);
    device = fixture_open(&config);
    ck_assert_uint_eq(fixture_count_devices(), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/opening");
    TCase *tests = fixture_case(suite, "opening");
    tcase_add_test(tests, engine_is_the_one_asked_for);
    tcase_add_test(tests, missing_path_is_refused);
    tcase_add_test(tests, path_through_a_file_is_refused);
    tcase_add_test(tests, fifo_is_refused_without_waiting_for_its_other_end);
    tcase_add_test(tests, directory_is_refused);
    tcase_add_test(tests, character_device_is_refused);
    tcase_add_test(tests, socket_is_refused);
    tcase_add_test(tests, file_of_odd_size_is_refused);
    tcase_add_test(tests, file_that_is_odd_only_for_larger_sectors_is_refused_for_those);
    tcase_add_test(tests, sector_size_that_none_can_be_is_refused);
    tcase_add_loop_test(tests, sector_size_below_the_granule_is_refused, 0, place_rows());
    tcase_add_loop_test(tests, larger_sector_size_is_taken, 0, place_rows());
    tcase_add_loop_test(tests, caching_mode_is_the_one_asked_for, 0, place_rows());
    tcase_add_loop_test(tests, configuration_string_survives_the_round_trip, 0, ODD_NAMES);
    tcase_add_test(tests, relative_name_is_of_the_working_directory);
    tcase_add_test(tests, plain_path_means_the_defaults);
    tcase_add_test(tests, closed_device_is_gone_from_the_lists);
    return harness_main(suite);
}

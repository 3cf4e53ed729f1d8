/* SPDX-License-Identifier: MIT */
/* Opening: what is refused and with what words, sector sizes, configuration strings. */
#include "fixture.h"

#include <fcntl.h>
#include <poll.h>
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

/* ---- what a path means ---- */

static int outcome = 1;

static void on_opened(void *user_data, int result)
{
    (void)user_data;
    outcome = result;
}

static void await_opened(struct blkd *connection)
{
    while (outcome == 1)
        ck_assert_int_ge(blkd_dispatch(connection, -1), 0);
    ck_assert_msg(outcome == 0, "%s", blkd_error_message());
}

static void make_image(char path[HARNESS_PATH_MAX], struct stat *ret_status)
{
    harness_make_file(harness_directory(), "image", MIB, path);
    ck_assert_int_eq(stat(path, ret_status), 0);
}

START_TEST(path_means_the_file_that_it_led_to_at_the_call)
{
    struct blkd_config config = BLKD_CONFIG_INIT;
    char path[HARNESS_PATH_MAX];
    struct stat status;
    make_image(path, &status);
    config.path = path;
    ASSERT_OK(blkd_open_async(fixture.connection, &config, &device, on_opened, NULL));
    ck_assert_int_eq(unlink(path), 0);
    harness_make_file(harness_directory(), "image", 2 * MIB, path);
    await_opened(fixture.connection);
    ck_assert_uint_eq(fixture_entry(device).inode, status.st_ino);
    data_write(device, 3, 1, 1);
    data_expect(device, 3, 1, 1);
}
END_TEST

START_TEST(descriptor_by_its_path_is_the_programs_own)
{
    static const char *const names[] = {"/proc/self/fd", "/dev/fd", "/proc/thread-self/fd"};
    struct blkd_config config = BLKD_CONFIG_INIT;
    char path[HARNESS_PATH_MAX];
    struct stat status;
    make_image(path, &status);
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/%d", names[_i], fd);
    config.path = path;
    device = fixture_open(&config);
    ck_assert_uint_eq(fixture_entry(device).inode, status.st_ino);
}
END_TEST

/* Sent later: the library keeps its descriptor meanwhile. */
START_TEST(no_descriptor_lands_on_stdin)
{
    struct blkd_config config = BLKD_CONFIG_INIT;
    struct blkd_options options = BLKD_OPTIONS_INIT;
    struct blkd *connection = NULL;
    char path[HARNESS_PATH_MAX];
    struct stat status;
    make_image(path, &status);
    options.socket_path = fixture.daemon.socket_path;
    options.send_on_dispatch = true;
    ASSERT_OK(blkd_connect(&options, &connection));
    (void)close(STDIN_FILENO);
    config.path = path;
    ASSERT_OK(blkd_open_async(connection, &config, &device, on_opened, NULL));
    ck_assert_int_eq(fcntl(STDIN_FILENO, F_GETFD), -1);
    ck_assert_int_eq(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
    await_opened(connection);
    ck_assert_uint_eq(fixture_info(device).read_write, true);
    blkd_disconnect(connection);
}
END_TEST

/* Whoever opens a FIFO is seen by the one that reads from it. */
START_TEST(fifo_is_never_opened)
{
    struct blkd_config config = BLKD_CONFIG_INIT;
    char path[HARNESS_PATH_MAX];
    char byte;
    harness_join(harness_directory(), "fifo", path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    CLEANUP_CLOSE int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct pollfd poll_fd = {.fd = reader, .events = POLLIN};
    config.path = path;
    for (int access = BLKD_ACCESS_AUTO; access <= BLKD_ACCESS_READ_WRITE; access++) {
        config.access = (enum blkd_access)access;
        ASSERT_FAILS(blkd_open(fixture.connection, &config, &device), ENOTBLK);
    }
    ck_assert_int_eq(poll(&poll_fd, 1, 0), 0); /* POLLHUP: a writer has come and gone */
    ck_assert_int_eq(read(reader, &byte, 1), 0);
}
END_TEST

START_TEST(running_program_is_not_opened_for_writing)
{
    struct blkd_config config = BLKD_CONFIG_INIT;
    config.path = "/proc/self/exe";
    config.access = BLKD_ACCESS_READ_WRITE;
    ASSERT_FAILS(blkd_open(fixture.connection, &config, &device), ETXTBSY);
    ASSERT_SAYS("open it read-only");
}
END_TEST

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

static void expect_own_sectors(struct blkd_config *config, uint32_t asked, uint32_t own)
{
    config->sector_size = asked;
    device = fixture_open(config);
    struct blkd_info info = fixture_info(device);
    ck_assert_uint_eq(info.sector_size, own);
    ck_assert_uint_eq(info.asked_sector_size, asked);
    ck_assert_uint_eq(info.size_sectors, fixture_entry(device).size_bytes / own);
    blkd_close(device);
    device = NULL;
    config->strict = true;
    ASSERT_FAILS(blkd_open(fixture.connection, config, &device), EOPNOTSUPP);
    ASSERT_SAYS("were requested, but here they are of");
    config->strict = false;
}

START_TEST(file_that_is_odd_only_for_larger_sectors_gets_its_own)
{
    char path[HARNESS_PATH_MAX];
    struct blkd_config config = {0};
    harness_make_file(harness_directory(), "nine", 9 * 512, path);
    config.path = path;
    expect_own_sectors(&config, 4096, 512);
    config.sector_size = 512;
    config.strict = true;
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

START_TEST(sector_size_below_the_granule_is_not_taken)
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
    expect_own_sectors(&config, 512, 4096);
}
END_TEST

START_TEST(larger_sector_size_is_taken_of_a_file)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_config config = fixture_config();
    if (!place_is_file(&fixture.place)) {
        device = fixture_open(&config);
        uint32_t own = fixture_info(device).granule_bytes;
        blkd_close(device);
        expect_own_sectors(&config, 16384, own);
        return;
    }
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

/* ---- programs without standard descriptors ---- */

static void expect_closed(const char *when)
{
    for (int fd = 0; fd < 3; fd++)
        ck_assert_msg(fcntl(fd, F_GETFD) < 0, "after %s, descriptor %d is the library's", when, fd);
}

/* What the program prints would go into the connection, or into the memory shared with the daemon.
 */
static void use_without_standard(void)
{
    struct blkd_options options = BLKD_OPTIONS_INIT;
    struct blkd_config config = fixture_config();
    struct blkd *another = NULL;
    options.socket_path = fixture.daemon.socket_path;
    ASSERT_OK(blkd_connect(&options, &another));
    expect_closed("connecting");
    ASSERT_OK(blkd_open(another, &config, &device));
    data_write(device, 0, 8, 1);
    data_expect(device, 0, 8, 1);
    expect_closed("a transfer");
    blkd_close(device);
    blkd_disconnect(another);
}

START_TEST(nothing_of_the_library_is_a_standard_descriptor)
{
    int saved[3];
    if (!place_begin(&fixture.place, 0, MIB))
        return;
    for (int fd = 0; fd < 3; fd++) {
        saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        (void)close(fd);
    }
    use_without_standard();
    for (int fd = 0; fd < 3; fd++) {
        (void)dup2(saved[fd], fd);
        (void)close(saved[fd]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/opening");
    TCase *tests = fixture_case(suite, "opening");
    tcase_add_test(tests, engine_is_the_one_asked_for);
    tcase_add_test(tests, path_means_the_file_that_it_led_to_at_the_call);
    tcase_add_loop_test(tests, descriptor_by_its_path_is_the_programs_own, 0, 3);
    tcase_add_test(tests, no_descriptor_lands_on_stdin);
    tcase_add_test(tests, fifo_is_never_opened);
    tcase_add_test(tests, running_program_is_not_opened_for_writing);
    tcase_add_test(tests, missing_path_is_refused);
    tcase_add_test(tests, path_through_a_file_is_refused);
    tcase_add_test(tests, fifo_is_refused_without_waiting_for_its_other_end);
    tcase_add_test(tests, directory_is_refused);
    tcase_add_test(tests, character_device_is_refused);
    tcase_add_test(tests, socket_is_refused);
    tcase_add_test(tests, file_of_odd_size_is_refused);
    tcase_add_test(tests, file_that_is_odd_only_for_larger_sectors_gets_its_own);
    tcase_add_test(tests, sector_size_that_none_can_be_is_refused);
    tcase_add_loop_test(tests, sector_size_below_the_granule_is_not_taken, 0, place_rows());
    tcase_add_loop_test(tests, larger_sector_size_is_taken_of_a_file, 0, place_rows());
    tcase_add_loop_test(tests, caching_mode_is_the_one_asked_for, 0, place_rows());
    tcase_add_loop_test(tests, configuration_string_survives_the_round_trip, 0, ODD_NAMES);
    tcase_add_test(tests, relative_name_is_of_the_working_directory);
    tcase_add_test(tests, plain_path_means_the_defaults);
    tcase_add_test(tests, closed_device_is_gone_from_the_lists);
    tcase_add_test(tests, nothing_of_the_library_is_a_standard_descriptor);
    return harness_main(suite);
}

/* SPDX-License-Identifier: MIT */
/* libblkd's other waiting calls against a scripted daemon: devices, configurations, messages. */
#include <fcntl.h>

#include "tests/unit/client/lib/fake_scene.h"

static void setup(void)
{
    fake_init(&fake);
}

START_TEST(verbs_without_data_work)
{
    struct blkd_config *config = NULL;
    struct blkd_info info;
    uint64_t sector = 99;

    begin();
    ck_assert_int_eq(blkd_flush(device), 0);
    ck_assert_int_eq(blkd_discard(device, 1, 5), 0);
    ck_assert_int_eq(blkd_write_zeroes(device, 1, 5, BLKD_WRITE_FUA), 0);
    ck_assert_int_eq(blkd_resize(device, 100), 0);
    ck_assert_int_eq(blkd_seek_mapped(device, 3, &sector), 0);
    ck_assert_uint_eq(sector, 3);
    ck_assert_int_eq(blkd_seek_unmapped(device, 3, &sector), 0);
    ck_assert_uint_eq(sector, fake.disk_bytes / FAKE_SECTOR);
    ck_assert_int_eq(blkd_get_info(device, &info), 0);
    ck_assert(info.read_write);
    ck_assert_uint_eq(info.sector_size, FAKE_SECTOR);
    ck_assert_int_eq((int)info.discard, BLKD_DISCARD_PUNCH_HOLE);
    ck_assert_int_eq((int)info.asked_sync, BLKD_SYNC_DRIVE);
    ck_assert(info.asked_discard && info.lock_lost && info.volatile_storage);
    ck_assert(info.forgets_failure);
    ck_assert_uint_eq(info.unsynced_changes, 31);
    ck_assert_uint_eq(info.token, 32);
    ck_assert_int_eq(blkd_get_config(device, &config), 0);
    ck_assert_str_eq(config->path, "/srv/a b.img");
    ck_assert(config->direct && config->lock);
    ck_assert_int_eq((int)config->sync, BLKD_SYNC_DRIVE);
    ck_assert_uint_eq(config->sector_size, 4096);
    ck_assert(config->strict && config->discard);
    ck_assert_str_eq(config->purpose, "a purpose");
    blkd_config_free(config);
    end();
    ck_assert_uint_eq(fake.flushes, 1);
}
END_TEST

START_TEST(relative_path_becomes_absolute)
{
    struct blkd_config config = {0};
    struct blkd_device *other;
    char expected[64];

    begin();
    ck_assert_int_eq(chdir("/proc/self"), 0);
    config.path = "fd/../exe";
    ck_assert_int_eq(blkd_open(connection, &config, &other), 0);
    blkd_close(other);
    (void)snprintf(expected, sizeof(expected), "/proc/%d/fd/../exe", (int)getpid());
    ck_assert_str_eq(fake.opened_path, expected);
    ck_assert_int_eq(chdir("/"), 0);
    config.path = "proc/self/fd/../exe";
    ck_assert_int_eq(blkd_open(connection, &config, &other), 0);
    blkd_close(other);
    ck_assert_str_eq(fake.opened_path, "/proc/self/fd/../exe");
    end();
}
END_TEST

START_TEST(bad_configurations_are_refused)
{
    struct blkd_config config = {0};
    struct blkd_device *other = NULL;

    begin();
    ck_assert_int_eq(blkd_open(connection, &config, &other), -EINVAL);
    config.path = "";
    ck_assert_int_eq(blkd_open(connection, &config, &other), -EINVAL);
    config.path = "/a";
    config.sector_size = 1000;
    ck_assert_int_eq(blkd_open(connection, &config, &other), -EINVAL);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "1000"));
    for (size_t i = 0; i < sizeof(config.reserved) / sizeof(config.reserved[0]); i++) {
        config = (struct blkd_config){0};
        config.path = "/a";
        config.reserved[i] = 1;
        ck_assert_int_eq(blkd_open(connection, &config, &other), -EINVAL);
        ck_assert_ptr_nonnull(strstr(blkd_error_message(), "blkd_config.reserved"));
    }
    ck_assert_int_eq(blkd_open_fd(connection, -1, NULL, &other), -EBADF);
    ck_assert_ptr_null(other);
    end();
}
END_TEST

START_TEST(reserved_options_are_refused)
{
    struct blkd *other = NULL;

    for (size_t i = 0; i < sizeof(((struct blkd_options *)NULL)->reserved) / sizeof(uint64_t);
         i++) {
        struct blkd_options options = {0};
        options.reserved[i] = UINT64_MAX;
        ck_assert_int_eq(blkd_connect(&options, &other), -EINVAL);
        ck_assert_ptr_nonnull(strstr(blkd_error_message(), "blkd_options.reserved"));
    }
    ck_assert_ptr_null(other);
    ck_assert_str_eq(blkd_version(), BLKD_VERSION);
}
END_TEST

START_TEST(path_is_opened_by_the_library)
{
    char name[] = "/tmp/blkd-test-XXXXXX";
    struct blkd_config config = {0};
    struct stat status;
    int fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    fake_start(&fake);
    connection = fake_connect(&fake);
    config.path = name;
    ck_assert_int_eq(blkd_open(connection, &config, &device), 0);
    blkd_close(device);
    ck_assert_uint_eq(fake.opened_inode, status.st_ino);
    ck_assert_int_eq(fake.opened_flags & O_ACCMODE, O_RDWR);
    config.access = BLKD_ACCESS_READ_ONLY;
    ck_assert_int_eq(blkd_open(connection, &config, &device), 0);
    ck_assert_int_eq(fake.opened_flags & O_ACCMODE, O_RDONLY);
    blkd_close(device);
    ck_assert_int_eq(blkd_open_fd(connection, fd, NULL, &device), 0);
    ck_assert_str_eq(fake.opened_path, name);
    blkd_close(device);
    (void)close(fd);
    ck_assert_int_eq(unlink(name), 0);

    ck_assert_int_eq(blkd_open(connection, &config, &device), -ENOENT);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), name));
    ck_assert_int_eq(blkd_ping(connection), 0);
    blkd_disconnect(connection);
    fake_stop(&fake);
}
END_TEST

START_TEST(configuration_strings_round_trip)
{
    struct blkd_config config = {0};
    struct blkd_config *parsed, *plain;
    char *text;

    config.path = "/a b/%?\xc3\xa9";
    config.direct = true;
    config.sync = BLKD_SYNC_NONE;
    config.lock = true;
    config.sector_size = 4096;
    config.access = BLKD_ACCESS_READ_ONLY;
    config.strict = true;
    config.discard = true;
    config.purpose = "backup & more";
    ck_assert_int_eq(blkd_config_format(&config, &text), 0);
    ck_assert_int_eq(blkd_config_parse(text, &parsed), 0);
    ck_assert_str_eq(parsed->path, config.path);
    ck_assert(parsed->direct && parsed->lock);
    ck_assert_int_eq((int)parsed->sync, (int)config.sync);
    ck_assert_uint_eq(parsed->sector_size, 4096);
    ck_assert_int_eq((int)parsed->access, (int)config.access);
    ck_assert(parsed->strict && parsed->discard);
    ck_assert_str_eq(parsed->purpose, config.purpose);
    ck_assert_int_eq(blkd_config_parse("/a", &plain), -EINVAL);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "/a"));
    ck_assert_int_eq(blkd_config_from_argument("/a%20b", &plain), 0);
    ck_assert_str_eq(plain->path, "/a%20b");
    ck_assert(!plain->direct && !plain->strict && !plain->discard);
    ck_assert_ptr_null(plain->purpose);
    blkd_config_free(plain);
    ck_assert_int_eq(blkd_config_from_argument(text, &plain), 0);
    ck_assert_str_eq(plain->path, config.path);
    blkd_config_free(plain);
    blkd_config_free(parsed);
    free(text);
    ck_assert_int_eq(blkd_config_from_argument("", &plain), -EINVAL);
    config.path = NULL;
    ck_assert_int_eq(blkd_config_format(&config, &text), -EINVAL);
}
END_TEST

START_TEST(local_helpers_finish_transfers)
{
    char name[] = "/tmp/blkd-test-XXXXXX";
    char bytes[] = "0123456789", back[sizeof(bytes)];
    uint64_t size;
    int pipe_fds[2];
    int fd = mkstemp(name);

    ck_assert_int_eq(unlink(name), 0);
    ck_assert_int_eq(blkd_really_write(fd, bytes, sizeof(bytes)), 0);
    ck_assert_int_eq(blkd_blkgetsize(name, fd, &size), 0);
    ck_assert_uint_eq(size, sizeof(bytes));
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    ck_assert_int_eq(blkd_really_read(fd, back, sizeof(back)), 0);
    ck_assert_mem_eq(bytes, back, sizeof(back));
    ck_assert_int_eq(blkd_really_read(fd, back, 1), -ENODATA);
    ck_assert_int_eq(blkd_ftruncate(fd, 100), 0);
    ck_assert_int_eq(blkd_blkgetsize(name, fd, &size), 0);
    ck_assert_uint_eq(size, 100);
    ck_assert_int_eq(blkd_ftruncate(fd, UINT64_MAX), -EFBIG);
    (void)close(fd);
    ck_assert_int_eq(blkd_really_write(fd, bytes, 1), -EBADF);
    ck_assert_int_eq(pipe(pipe_fds), 0);
    ck_assert_int_eq(blkd_blkgetsize("the pipe", pipe_fds[0], &size), -ENOTBLK);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "the pipe"));
    /* A pipe gives what it has: the rest comes with the second read. */
    ck_assert_int_eq(blkd_really_write(pipe_fds[1], bytes, 4), 0);
    ck_assert_int_eq(blkd_really_read(pipe_fds[0], back, 4), 0);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
}
END_TEST

START_TEST(errors_have_words)
{
    ck_assert_str_eq(blkd_strerror(0), "Success");
    ck_assert_str_eq(blkd_strerror(-ENOSPC), "No space left on device");
    ck_assert_str_eq(blkd_strerror(ENOSPC), "No space left on device");
    ck_assert_str_eq(blkd_strerror(-ENOTCONN), "Not connected to blkd");
    ck_assert_str_eq(blkd_strerror(-100000), "Unknown error");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *tests = tcase_create("waiting");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, verbs_without_data_work);
    tcase_add_test(tests, relative_path_becomes_absolute);
    tcase_add_test(tests, bad_configurations_are_refused);
    tcase_add_test(tests, reserved_options_are_refused);
    tcase_add_test(tests, path_is_opened_by_the_library);
    tcase_add_test(tests, configuration_strings_round_trip);
    tcase_add_test(tests, local_helpers_finish_transfers);
    tcase_add_test(tests, errors_have_words);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

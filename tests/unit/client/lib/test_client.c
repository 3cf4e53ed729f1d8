/* SPDX-License-Identifier: MIT */
/* libblkd's waiting calls against a scripted daemon: connecting, devices, transfers, messages. */
#include <fcntl.h>

#include "tests/unit/client/lib/fake_daemon.h"

static struct fake fake;
static struct blkd *connection;
static struct blkd_device *device;

static void begin(void)
{
    fake_start(&fake);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
}

static void end(void)
{
    blkd_close(device);
    blkd_disconnect(connection);
    fake_stop(&fake);
}

START_TEST(connecting_tells_about_the_daemon)
{
    struct blkd_options options = BLKD_OPTIONS_INIT;
    struct blkd_server_info info;

    fake_start(&fake);
    options.socket_path = fake.path;
    options.client_name = "somebody";
    ck_assert_int_eq(blkd_connect(&options, &connection), 0);
    ck_assert_int_eq(blkd_get_server_info(connection, &info), 0);
    ck_assert_str_eq(info.version, "9.9");
    ck_assert_str_eq(info.engine, "fake");
    ck_assert_uint_eq(info.workers, 3);
    ck_assert_uint_eq(info.max_requests, 64);
    ck_assert_uint_eq(info.max_io_bytes, 1024 * 1024);
    ck_assert_uint_eq(info.connection_number, 42);
    ck_assert_uint_eq(info.instance[1], 2);
    ck_assert_int_eq(blkd_ping(connection), 0);
    blkd_disconnect(connection);
    fake_stop(&fake);
    ck_assert_str_eq(fake.client_name, "somebody");
}
END_TEST

START_TEST(socket_is_found_in_the_environment)
{
    fake_start(&fake);
    ck_assert_int_eq(setenv("BLKD_SOCKET", fake.path, 1), 0);
    ck_assert_int_eq(blkd_connect(NULL, &connection), 0);
    blkd_disconnect(connection);
    fake_stop(&fake);
}
END_TEST

START_TEST(socket_is_found_in_the_runtime_directory)
{
    char path[128];

    fake_start(&fake);
    (void)snprintf(path, sizeof(path), "%s/blkd.sock", fake.directory);
    ck_assert_int_eq(symlink(fake.path, path), 0);
    ck_assert_int_eq(unsetenv("BLKD_SOCKET"), 0);
    ck_assert_int_eq(setenv("XDG_RUNTIME_DIR", fake.directory, 1), 0);
    ck_assert_int_eq(blkd_connect(NULL, &connection), 0);
    blkd_disconnect(connection);
    ck_assert_int_eq(unlink(path), 0);
    fake_stop(&fake);
}
END_TEST

START_TEST(refused_connection_names_socket_and_remedy)
{
    struct blkd_options options = BLKD_OPTIONS_INIT;

    fake_init(&fake);
    fake_listen(&fake);
    (void)close(fake.listener); /* a stale socket file: ECONNREFUSED */
    options.socket_path = fake.path;
    ck_assert_int_eq(blkd_connect(&options, &connection), -ECONNREFUSED);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), fake.path));
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "systemctl enable --now blkd.socket"));
    ck_assert_int_eq(unlink(fake.path), 0);
    ck_assert_int_eq(blkd_connect(&options, &connection), -ENOENT);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), fake.path));
    ck_assert_int_eq(rmdir(fake.directory), 0);
}
END_TEST

START_TEST(silent_daemon_times_out)
{
    struct blkd_options options = BLKD_OPTIONS_INIT;

    fake_init(&fake);
    fake_listen(&fake);
    options.socket_path = fake.path;
    options.connect_timeout_ms = 20;
    /* The first ones stand in the queue unanswered, then the queue is full: both must time out. */
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(blkd_connect(&options, &connection), -ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), fake.path));
    fake_unlisten(&fake);
}
END_TEST

static bool refuse_hello(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    fake_answer(daemon, request->id, -EPROTO, "version 1 is too old");
    return true;
}

START_TEST(refused_hello_says_why)
{
    struct blkd_options options = BLKD_OPTIONS_INIT;

    fake.on_request = refuse_hello;
    fake_start(&fake);
    options.socket_path = fake.path;
    ck_assert_int_eq(blkd_connect(&options, &connection), -EPROTO);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "version 1 is too old"));
    fake_stop(&fake);
}
END_TEST

START_TEST(what_is_written_is_read)
{
    uint8_t out[2048], in[2048];
    struct iovec iov = {out, sizeof(out)};

    begin();
    memset(out, 0xa5, sizeof(out));
    memset(in, 0, sizeof(in));
    ck_assert_int_eq(blkd_write(device, 100, &iov, 1, BLKD_WRITE_FUA), 0);
    iov.iov_base = in;
    ck_assert_int_eq(blkd_read(device, 100, &iov, 1), 0);
    ck_assert_mem_eq(in, out, sizeof(in));
    ck_assert_int_eq(blkd_read(device, 104, &iov, 1), 0);
    fake_assert_content(in, 104 * FAKE_SECTOR, sizeof(in));
    end();
    ck_assert_uint_eq(fake.closes, 1);
    ck_assert_uint_eq(fake.transfer_ends[0], 0);
}
END_TEST

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
    ck_assert_uint_eq(info.unsynced_changes, 31);
    ck_assert_uint_eq(info.token, 32);
    ck_assert_int_eq(blkd_get_config(device, &config), 0);
    ck_assert_str_eq(config->path, "/srv/a b.img");
    ck_assert(!config->buffered && config->lock);
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
    struct blkd_config config = BLKD_CONFIG_INIT;
    struct blkd_device *other;

    begin();
    ck_assert_int_eq(chdir("/tmp"), 0);
    config.path = "some/../image";
    ck_assert_int_eq(blkd_open(connection, &config, &other), 0);
    blkd_close(other);
    ck_assert_str_eq(fake.opened_path, "/tmp/some/../image");
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(blkd_open(connection, &config, &other), 0);
    blkd_close(other);
    ck_assert_str_eq(fake.opened_path, "/some/../image");
    end();
}
END_TEST

START_TEST(bad_configurations_are_refused)
{
    struct blkd_config config = BLKD_CONFIG_INIT;
    struct blkd_device *other = NULL;

    begin();
    ck_assert_int_eq(blkd_open(connection, &config, &other), -EINVAL);
    config.path = "";
    ck_assert_int_eq(blkd_open(connection, &config, &other), -EINVAL);
    config.path = "/a";
    config.sector_size = 1000;
    ck_assert_int_eq(blkd_open(connection, &config, &other), -EINVAL);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "1000"));
    ck_assert_int_eq(blkd_open_fd(connection, -1, NULL, &other), -EBADF);
    ck_assert_ptr_null(other);
    end();
}
END_TEST

START_TEST(denied_path_is_opened_by_the_library)
{
    char name[] = "/tmp/blkd-test-XXXXXX";
    struct blkd_config config = BLKD_CONFIG_INIT;
    struct stat status;
    int fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    fake.deny_paths = true;
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

    /* Now the library's own open fails, and that is what the user is told. */
    ck_assert_int_eq(blkd_open(connection, &config, &device), -ENOENT);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), name));
    ck_assert_int_eq(blkd_ping(connection), 0);
    blkd_disconnect(connection);
    fake_stop(&fake);
}
END_TEST

START_TEST(odd_buffer_is_named)
{
    uint8_t bytes[1024];
    struct iovec iov[3] = {{bytes, 512}, {bytes, 512}, {bytes, 511}};

    begin();
    ck_assert_int_eq(blkd_write(device, 7, iov, 3, 0), -EINVAL);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "buffer 2"));
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "511 bytes"));
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "/srv/a.img"));
    ck_assert_int_eq(blkd_read(device, 7, iov, 3), -EINVAL);
    iov[2] = (struct iovec){NULL, 512};
    ck_assert_int_eq(blkd_read(device, 7, iov, 3), -EFAULT);
    end();
    ck_assert_uint_eq(fake.writes + fake.reads, 0);
}
END_TEST

START_TEST(nothing_to_transfer_succeeds)
{
    struct iovec iov[2] = {{NULL, 0}, {NULL, 0}};

    begin();
    ck_assert_int_eq(blkd_read(device, 0, NULL, 0), 0);
    ck_assert_int_eq(blkd_write(device, 0, iov, 2, 0), 0);
    ck_assert_int_eq(blkd_discard(device, 0, 0), 0);
    end();
    ck_assert_uint_eq(fake.writes + fake.reads, 0);
}
END_TEST

START_TEST(overflowing_ranges_are_refused)
{
    uint8_t bytes[512];
    struct iovec iov[2] = {{bytes, 512}, {bytes, SIZE_MAX - 511}};
    uint64_t sector;

    begin();
    ck_assert_int_eq(blkd_read(device, UINT64_MAX / 512 + 1, iov, 1), -EINVAL);
    ck_assert_int_eq(blkd_read(device, INT64_MAX / 512, iov, 1), -EINVAL);
    ck_assert_int_eq(blkd_read(device, 0, iov, 2), -EINVAL);
    ck_assert_int_eq(blkd_discard(device, 1, UINT64_MAX), -EINVAL);
    ck_assert_int_eq(blkd_write_zeroes(device, UINT64_MAX, 1, 0), -EINVAL);
    ck_assert_int_eq(blkd_write_zeroes(device, 0, 1, 0x80), -EINVAL);
    ck_assert_int_eq(blkd_write(device, 0, iov, 1, 2), -EINVAL);
    ck_assert_int_eq(blkd_resize(device, UINT64_MAX / 4), -EINVAL);
    ck_assert_int_eq(blkd_seek_mapped(device, UINT64_MAX, &sector), -EINVAL);
    end();
}
END_TEST

START_TEST(failure_message_tells_all)
{
    uint8_t bytes[4096];
    struct iovec iov = {bytes, sizeof(bytes)};

    begin();
    ck_assert_int_eq(blkd_write(device, 1 << 20, &iov, 1, 0), -ENOSPC);
    ck_assert_str_eq(blkd_error_message(),
                     "write of 4096 bytes at sector 1048576 (offset 536870912) of /srv/a.img "
                     "failed: No space left on device: past the end of the device");
    end();
}
END_TEST

enum { MANY = 5000 };

START_TEST(five_thousand_buffers_go_in_order)
{
    uint8_t *out = malloc((size_t)MANY * FAKE_SECTOR);
    uint8_t *in = calloc(MANY, FAKE_SECTOR);
    struct iovec *iov = calloc(MANY, sizeof(*iov));
    uint64_t end_bytes = (uint64_t)(10 + MANY) * FAKE_SECTOR;

    begin();
    /* The buffers lie in memory in the opposite order of the disk's. */
    for (size_t i = 0; i < MANY; i++) {
        iov[i] = (struct iovec){out + (MANY - 1 - i) * FAKE_SECTOR, FAKE_SECTOR};
        memset(iov[i].iov_base, (int)(i * 31 % 251), FAKE_SECTOR);
    }
    ck_assert_int_eq(blkd_write(device, 10, iov, MANY, 0), 0);
    for (size_t i = 0; i < MANY; i++)
        iov[i].iov_base = in + i * FAKE_SECTOR;
    ck_assert_int_eq(blkd_read(device, 10, iov, MANY), 0);
    for (size_t i = 0; i < MANY; i++)
        ck_assert_uint_eq(in[i * FAKE_SECTOR + i % FAKE_SECTOR], i * 31 % 251);
    end();
    ck_assert_uint_eq(fake.writes, 3);
    ck_assert_uint_eq(fake.reads, 3);
    for (unsigned int i = 0; i < 3; i++)
        ck_assert_uint_eq(fake.transfer_ends[i], end_bytes);
    free(out);
    free(in);
    free(iov);
}
END_TEST

/* Parts fail with an error that tells their place; the later ones are answered first. */
static bool fail_parts(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_READ)
        return false;
    daemon->hold = 4;
    if (request->read->offset_bytes == 0)
        return false;
    fake_answer(daemon, request->id, request->read->offset_bytes == 1 << 20 ? -EIO : -EBUSY, "");
    return true;
}

START_TEST(first_error_by_offset_is_the_result)
{
    uint8_t *bytes = malloc(4 << 20);
    struct iovec iov = {bytes, 4 << 20};

    fake.on_request = fail_parts;
    fake_start(&fake);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
    ck_assert_int_eq(blkd_read(device, 0, &iov, 1), -EIO);
    fake.hold = 0;
    end();
    free(bytes);
}
END_TEST

/* Answers only when as many requests have come as may be in flight, or the last has. */
static bool count_in_flight(struct fake *daemon, const Blkd__Request *request,
                            const uint8_t *payload)
{
    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_READ)
        daemon->hold = daemon->max_requests;
    return false;
}

START_TEST(large_transfer_keeps_the_limits)
{
    size_t length = (size_t)6 << 20;
    uint8_t *bytes = calloc(1, length);
    struct iovec iov = {bytes, length};

    fake.max_io_bytes = 65536 + 100; /* not whole sectors: parts are smaller */
    fake.max_requests = 4;           /* 96 parts: a multiple of it */
    fake.on_request = count_in_flight;
    fake_start(&fake);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
    ck_assert_int_eq(blkd_read(device, 3, &iov, 1), 0);
    fake_assert_content(bytes, 3 * FAKE_SECTOR, length);
    fake.hold = 0;
    end();
    ck_assert_uint_eq(fake.reads, 96);
    ck_assert_uint_eq(fake.most_frames_in_receive <= 4, 1);
    free(bytes);
}
END_TEST

START_TEST(configuration_strings_round_trip)
{
    struct blkd_config config = BLKD_CONFIG_INIT;
    struct blkd_config *parsed, *plain;
    char *text;

    config.path = "/a b/%?\xc3\xa9";
    config.buffered = false;
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
    ck_assert(!parsed->buffered && parsed->lock);
    ck_assert_int_eq((int)parsed->sync, (int)config.sync);
    ck_assert_uint_eq(parsed->sector_size, 4096);
    ck_assert_int_eq((int)parsed->access, (int)config.access);
    ck_assert(parsed->strict && parsed->discard);
    ck_assert_str_eq(parsed->purpose, config.purpose);
    ck_assert_int_eq(blkd_config_parse("/a", &plain), -EINVAL);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "/a"));
    ck_assert_int_eq(blkd_config_from_argument("/a%20b", &plain), 0);
    ck_assert_str_eq(plain->path, "/a%20b");
    ck_assert(plain->buffered && !plain->strict && !plain->discard);
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

static void setup(void)
{
    fake_init(&fake);
}

static Suite *client_suite(void)
{
    Suite *suite = suite_create("client");
    TCase *tests = tcase_create("waiting");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, connecting_tells_about_the_daemon);
    tcase_add_test(tests, socket_is_found_in_the_environment);
    tcase_add_test(tests, socket_is_found_in_the_runtime_directory);
    tcase_add_test(tests, refused_connection_names_socket_and_remedy);
    tcase_add_test(tests, silent_daemon_times_out);
    tcase_add_test(tests, refused_hello_says_why);
    tcase_add_test(tests, what_is_written_is_read);
    tcase_add_test(tests, verbs_without_data_work);
    tcase_add_test(tests, relative_path_becomes_absolute);
    tcase_add_test(tests, bad_configurations_are_refused);
    tcase_add_test(tests, denied_path_is_opened_by_the_library);
    tcase_add_test(tests, odd_buffer_is_named);
    tcase_add_test(tests, nothing_to_transfer_succeeds);
    tcase_add_test(tests, overflowing_ranges_are_refused);
    tcase_add_test(tests, failure_message_tells_all);
    tcase_add_test(tests, five_thousand_buffers_go_in_order);
    tcase_add_test(tests, first_error_by_offset_is_the_result);
    tcase_add_test(tests, large_transfer_keeps_the_limits);
    tcase_add_test(tests, configuration_strings_round_trip);
    tcase_add_test(tests, local_helpers_finish_transfers);
    tcase_add_test(tests, errors_have_words);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(client_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

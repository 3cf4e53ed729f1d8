/* SPDX-License-Identifier: MIT */
#include "fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture fixture;

/* ---- where the client is ---- */

static void make_directories(const char *root, const char *path)
{
    char whole[HARNESS_PATH_MAX];
    size_t length = (size_t)snprintf(whole, sizeof(whole), "%s%s/", root, path);
    ck_assert_uint_lt(length, sizeof(whole));
    for (size_t i = strlen(root) + 1; i < length; i++) {
        if (whole[i] != '/')
            continue;
        whole[i] = '\0';
        (void)mkdir(whole, 0755);
        whole[i] = '/';
    }
}

static void bind_below(const char *root, const char *path, const char *source)
{
    char target[HARNESS_PATH_MAX];
    make_directories(root, path);
    (void)snprintf(target, sizeof(target), "%s%s", root, path);
    ck_assert_int_eq(mount(source, target, NULL, MS_BIND | MS_REC, NULL), 0);
}

/* A root directory that has of the outer one what the tests need, and in the place of their
 * directory another. */
static void enter_chroot(const char *elsewhere)
{
    static const char *const shared[] = {"/proc", "/sys", "/dev"};
    char root[HARNESS_PATH_MAX];
    harness_join(harness_directory(), "root", root);
    ck_assert_int_eq(mkdir(root, 0755), 0);
    ck_assert_int_eq(mount("root", root, "tmpfs", 0, NULL), 0);
    for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++)
        bind_below(root, shared[i], shared[i]);
    bind_below(root, harness_directory(), elsewhere);
    ck_assert_int_eq(chroot(root), 0);
    ck_assert_int_eq(chdir("/"), 0);
}

/* A file of the directory that will be out of sight. */
static void keep_name(int directory, char path[HARNESS_PATH_MAX])
{
    char name[64];
    (void)snprintf(name, sizeof(name), "%s", strrchr(path, '/'));
    (void)snprintf(path, HARNESS_PATH_MAX, "/proc/self/fd/%d%s", directory, name);
}

/* $BLKD_CLIENT_IN (mounts, chroot): the client sees other files than the daemon by the names that
 * the tests use. False: it cannot be made here, the test is skipped. */
static bool fixture_go_elsewhere(void)
{
    const char *where = getenv("BLKD_CLIENT_IN");
    char elsewhere[HARNESS_PATH_MAX];
    if (where == NULL || *where == '\0')
        return true;
    if (!harness_needs_root())
        return false;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        harness_skip("there are no mount namespaces here");
        return false;
    }
    int outside = open(harness_directory(), O_PATH | O_CLOEXEC);
    keep_name(outside, fixture.daemon.socket_path);
    keep_name(outside, fixture.daemon.log_path);
    harness_join(harness_directory(), "elsewhere", elsewhere);
    ck_assert_int_eq(mkdir(elsewhere, 0755), 0);
    if (strcmp(where, "chroot") == 0)
        enter_chroot(elsewhere);
    else
        bind_below("", harness_directory(), elsewhere);
    return true;
}

void fixture_begin(void)
{
    harness_daemon_start(&fixture.daemon, NULL);
    if (!fixture_go_elsewhere())
        exit(0);
    fixture.connection = harness_connect(&fixture.daemon);
}

void fixture_end(void)
{
    blkd_disconnect(fixture.connection);
    if (fixture.daemon.pid > 0)
        harness_daemon_stop(&fixture.daemon);
    place_end(&fixture.place);
}

TCase *fixture_case(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_set_timeout(tests, FIXTURE_TIMEOUT_S);
    tcase_add_checked_fixture(tests, fixture_begin, fixture_end);
    suite_add_tcase(suite, tests);
    return tests;
}

/* ---- devices ---- */

struct blkd_config fixture_config(void)
{
    struct blkd_config config = {0};
    config.path = fixture.place.path;
    config.direct = fixture.place.direct;
    return config;
}

struct blkd_device *fixture_open(const struct blkd_config *config)
{
    struct blkd_device *device = NULL;
    ASSERT_OK(blkd_open(fixture.connection, config, &device));
    ck_assert_ptr_nonnull(device);
    return device;
}

struct blkd_device *fixture_open_place(void)
{
    const struct blkd_config config = fixture_config();
    return fixture_open(&config);
}

struct blkd_info fixture_info(struct blkd_device *device)
{
    struct blkd_info info;
    ASSERT_OK(blkd_get_info(device, &info));
    return info;
}

struct blkd_device_entry fixture_entry(struct blkd_device *device)
{
    struct blkd_device_list *list = NULL;
    struct blkd_device_entry entry = {.device_number = 0};
    uint64_t number = fixture_info(device).device_number;
    ASSERT_OK(blkd_list_devices(fixture.connection, &list));
    for (size_t i = 0; i < list->count; i++)
        if (list->entries[i]->device_number == number)
            entry = *list->entries[i];
    ck_assert_uint_eq(entry.device_number, number);
    entry.path = NULL; /* ends with the list */
    entry.io_policy = NULL;
    blkd_device_list_free(list);
    return entry;
}

size_t fixture_count_devices(void)
{
    struct blkd_device_list *list = NULL;
    ASSERT_OK(blkd_list_devices(fixture.connection, &list));
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++)
        count += list->entries[i]->sessions > 0 ? 1 : 0;
    blkd_device_list_free(list);
    return count;
}

/* ---- data ---- */

/* Of one thread's own memory, in megabytes: a sanitizer would only take its time over each byte. */
#define OF_ONE_THREAD __attribute__((no_sanitize("thread")))

/* splitmix64's finaliser: neighbours in any argument differ in all bits. */
OF_ONE_THREAD
static uint64_t data_word(uint64_t sector, unsigned int generation, size_t index)
{
    uint64_t word = (sector << 24) ^ ((uint64_t)generation << 12) ^ index;
    if (generation == 0)
        return 0;
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

OF_ONE_THREAD
void data_fill(void *buffer, uint64_t sector, size_t count, uint32_t sector_size,
               unsigned int generation)
{
    size_t words = sector_size / sizeof(uint64_t);
    uint8_t *at = buffer; /* may be at any address */
    for (size_t i = 0; i < count * words; i++) {
        uint64_t word = data_word(sector + i / words, generation, i % words);
        memcpy(at + i * sizeof(word), &word, sizeof(word));
    }
}

OF_ONE_THREAD
void data_check(const void *buffer, uint64_t sector, size_t count, uint32_t sector_size,
                unsigned int generation, const char *what)
{
    size_t words = sector_size / sizeof(uint64_t);
    const uint8_t *at = buffer;
    for (size_t i = 0; i < count * words; i++) {
        uint64_t word = 0;
        uint64_t expected = data_word(sector + i / words, generation, i % words);
        memcpy(&word, at + i * sizeof(word), sizeof(word));
        if (word != expected)
            ck_abort_msg(
                "%s: sector %" PRIu64 " from byte %zu on is not of generation %u: %016" PRIx64
                " instead of %016" PRIx64,
                what, sector + i / words, i % words * sizeof(word), generation, word, expected);
    }
}

uint8_t *data_new(size_t bytes)
{
    uint8_t *buffer = malloc(bytes);
    ck_assert_ptr_nonnull(buffer);
    memset(buffer, 0x5a, bytes);
    return buffer;
}

void data_write(struct blkd_device *device, uint64_t sector, size_t count, unsigned int generation)
{
    uint32_t sector_size = fixture_info(device).sector_size;
    CLEANUP_FREE uint8_t *buffer = data_new(count * sector_size);
    const struct iovec vector = {buffer, count * sector_size};
    data_fill(buffer, sector, count, sector_size, generation);
    ASSERT_OK(blkd_write(device, sector, &vector, 1, 0));
}

void data_expect(struct blkd_device *device, uint64_t sector, size_t count, unsigned int generation)
{
    uint32_t sector_size = fixture_info(device).sector_size;
    CLEANUP_FREE uint8_t *buffer = data_new(count * sector_size);
    const struct iovec vector = {buffer, count * sector_size};
    ASSERT_OK(blkd_read(device, sector, &vector, 1));
    data_check(buffer, sector, count, sector_size, generation, "read through blkd");
}

void data_expect_outside(const struct place *place, uint64_t sector, size_t count,
                         uint32_t sector_size, unsigned int generation)
{
    CLEANUP_FREE uint8_t *buffer = data_new(count * sector_size);
    place_read_outside(place, sector * sector_size, buffer, count * sector_size);
    data_check(buffer, sector, count, sector_size, generation, "read by another program");
}

/* SPDX-License-Identifier: MIT */
#include "fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture fixture;

void fixture_begin(void)
{
    harness_daemon_start(&fixture.daemon, NULL);
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

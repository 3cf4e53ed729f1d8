/* SPDX-License-Identifier: MIT */
/* One device under several names, several devices on one connection, several threads on both. */
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static struct blkd_device *first;
static struct blkd_device *second;

static struct blkd_device *open_name(const char *path)
{
    struct blkd_config config = fixture_config();
    config.path = path;
    return fixture_open(&config);
}

/* One entry of the list, two sessions, and what one writes the other reads at once. */
static void expect_one_device(void)
{
    uint32_t sector_size = fixture_info(first).sector_size;
    ck_assert_uint_eq(fixture_count_devices(), 1);
    ck_assert_uint_eq(fixture_entry(first).sessions, 2);
    ck_assert_uint_eq(fixture_info(first).device_number, fixture_info(second).device_number);
    for (unsigned int round = 1; round < 50; round++) {
        data_write(round % 2 == 0 ? first : second, round, 2, round);
        data_expect(round % 2 == 0 ? second : first, round, 2, round);
    }
    data_expect_outside(&fixture.place, 49, 2, sector_size, 49);
}

START_TEST(hard_link_is_the_same_device)
{
    char name[HARNESS_PATH_MAX + 8];
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    (void)snprintf(name, sizeof(name), "%s-link", fixture.place.path);
    ck_assert_int_eq(link(fixture.place.path, name), 0);
    first = fixture_open_place();
    second = open_name(name);
    expect_one_device();
}
END_TEST

START_TEST(symbolic_link_is_the_same_device)
{
    char name[HARNESS_PATH_MAX];
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    harness_join(harness_directory(), "symlink", name);
    ck_assert_int_eq(symlink(fixture.place.path, name), 0);
    first = fixture_open_place();
    second = open_name(name);
    expect_one_device();
}
END_TEST

static void make_second_node(char name[HARNESS_PATH_MAX])
{
    struct stat status;
    harness_join(harness_directory(), "node", name);
    ck_assert_int_eq(stat(fixture.place.path, &status), 0);
    ck_assert_int_eq(mknod(name, S_IFBLK | 0600, status.st_rdev), 0);
}

START_TEST(second_node_is_the_same_device)
{
    char name[HARNESS_PATH_MAX];
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    make_second_node(name);
    first = fixture_open_place();
    second = open_name(name);
    expect_one_device();
}
END_TEST

START_TEST(passed_descriptor_is_the_same_device)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_config config = fixture_config();
    config.path = "a name of its own";
    first = fixture_open_place();
    FILE *file = fopen(fixture.place.path, "r+e");
    ck_assert_ptr_nonnull(file);
    ASSERT_OK(blkd_open_fd(fixture.connection, fileno(file), &config, &second));
    (void)fclose(file);
    expect_one_device();
}
END_TEST

START_TEST(lock_holds_under_every_name)
{
    char name[HARNESS_PATH_MAX];
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    harness_join(harness_directory(), "symlink", name);
    ck_assert_int_eq(symlink(fixture.place.path, name), 0);
    struct blkd_config config = fixture_config();
    config.lock = true;
    first = fixture_open(&config);
    config.path = name;
    ASSERT_FAILS(blkd_open(fixture.connection, &config, &second), EBUSY);
}
END_TEST

/* A new file under an old name, as a program makes it that renames over the old one. */
START_TEST(new_file_under_an_old_name_is_another_device)
{
    char name[HARNESS_PATH_MAX];
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    first = fixture_open_place();
    data_write(first, 5, 1, 1);
    harness_join(harness_directory(), "moved", name);
    ck_assert_int_eq(unlink(fixture.place.path), 0);
    harness_make_file(fixture.place.kind == PLACE_FILE ? harness_directory()
                                                       : harness_memory_directory(),
                      "image", MIB, name);
    second = fixture_open_place();
    ck_assert_uint_eq(fixture_count_devices(), 2);
    data_expect(second, 5, 1, 0);
    data_expect(first, 5, 1, 1);
}
END_TEST

START_TEST(later_opener_is_told_the_effective_caching_mode)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_config config = fixture_config();
    first = fixture_open(&config);
    config.direct = !config.direct;
    config.sector_size = 0;
    second = fixture_open(&config);
    struct blkd_info info = fixture_info(second);
    ck_assert_int_eq(info.direct, fixture.place.direct);
    ck_assert_int_eq(info.asked_direct, !fixture.place.direct);
    ck_assert_uint_eq(info.granule_bytes, fixture_info(first).granule_bytes);
    ck_assert_uint_eq(info.sector_size, fixture_info(first).sector_size);
    expect_one_device();
}
END_TEST

/* ---- several devices ---- */

START_TEST(devices_of_one_connection_do_not_mix)
{
    enum { DEVICES = 40 };
    struct blkd_device *devices[DEVICES];
    struct blkd_config config = {0};
    for (unsigned int i = 0; i < DEVICES; i++) {
        char name[32];
        char path[HARNESS_PATH_MAX];
        (void)snprintf(name, sizeof(name), "image%u", i);
        harness_make_file(i % 2 == 0 ? harness_directory() : harness_memory_directory(), name,
                          (1 + i) * 65536, path);
        config.path = path;
        devices[i] = fixture_open(&config);
    }
    ck_assert_uint_eq(fixture_count_devices(), DEVICES);
    for (unsigned int round = 1; round <= 3; round++) {
        for (unsigned int i = 0; i < DEVICES; i++)
            data_write(devices[i], 7, 9, round * 100 + i);
        for (unsigned int i = DEVICES; i > 0; i--)
            data_expect(devices[i - 1], 7, 9, round * 100 + i - 1);
    }
    for (unsigned int i = 0; i < DEVICES; i++)
        ck_assert_uint_eq(fixture_info(devices[i]).size_sectors, (1 + i) * 128);
    for (unsigned int i = 0; i < DEVICES; i += 2)
        blkd_close(devices[i]);
    ck_assert_uint_eq(fixture_count_devices(), DEVICES / 2);
    for (unsigned int i = 1; i < DEVICES; i += 2)
        data_expect(devices[i], 7, 9, 300 + i);
}
END_TEST

/* ---- several threads ---- */

static uint32_t shared_sector_size;

enum { THREADS = 8, ROUNDS = 300, THREAD_SECTORS = 64 };

struct thread {
    pthread_t thread;
    unsigned int index;
    char wrong[256]; /* Check's assertions are for the main thread */
};

static int thread_round(const struct thread *thread, unsigned int round, uint8_t *out, uint8_t *in)
{
    uint32_t sector_size = shared_sector_size;
    uint64_t sector = thread->index * THREAD_SECTORS + round % 50;
    size_t count = 1 + round % 13;
    const struct iovec vectors[] = {{out, count * sector_size}, {in, count * sector_size}};
    struct blkd_device *device = round % 2 == 0 ? first : second;
    data_fill(out, sector, count, sector_size, 1 + round);
    int result = blkd_write(device, sector, &vectors[0], 1, 0);
    if (result == 0 && round % 32 == 0)
        result = blkd_flush(device);
    if (result == 0)
        result = blkd_read(device, sector, &vectors[1], 1);
    if (result == 0 && memcmp(out, in, count * sector_size) != 0)
        result = -EILSEQ;
    return result;
}

static void *run_thread(void *user_data)
{
    struct thread *thread = user_data;
    uint8_t *memory = malloc(2UL * 13 * 4096);
    int result = memory == NULL ? -ENOMEM : 0;
    for (unsigned int round = 0; round < ROUNDS && result == 0; round++) {
        result = thread_round(thread, round, memory, memory + 13UL * 4096);
        if (result < 0)
            (void)snprintf(thread->wrong, sizeof(thread->wrong), "round %u: %d: %s", round, result,
                           blkd_error_message());
    }
    free(memory);
    return NULL;
}

START_TEST(threads_share_connection_and_devices)
{
    static struct thread threads[THREADS];
    if (!place_begin(&fixture.place, _i, THREADS * THREAD_SECTORS * 4096UL))
        return;
    struct blkd_config config = fixture_config();
    first = fixture_open(&config);
    second = fixture_open(&config);
    shared_sector_size = fixture_info(first).sector_size;
    for (unsigned int i = 0; i < THREADS; i++) {
        threads[i].index = i;
        ck_assert_int_eq(pthread_create(&threads[i].thread, NULL, run_thread, &threads[i]), 0);
    }
    for (unsigned int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i].thread, NULL), 0);
    for (unsigned int i = 0; i < THREADS; i++)
        ck_assert_msg(*threads[i].wrong == '\0', "thread %u: %s", i, threads[i].wrong);
    ck_assert_uint_eq(fixture_entry(first).counters.writes, THREADS * ROUNDS);
}
END_TEST

enum { MANY_DEVICES = 600, DEVICES_PER_CONNECTION = 200 };

/* Files of one sector, each opened once, by as many connections as it takes. */
static void open_many(struct blkd **connections)
{
    for (unsigned int i = 0; i < MANY_DEVICES; i++) {
        char name[32];
        char path[HARNESS_PATH_MAX];
        struct blkd_config config = {0};
        struct blkd_options options = {0};
        struct blkd_device *device = NULL;
        options.socket_path = fixture.daemon.socket_path;
        if (i % DEVICES_PER_CONNECTION == 0)
            ASSERT_OK(blkd_connect(&options, &connections[i / DEVICES_PER_CONNECTION]));
        (void)snprintf(name, sizeof(name), "one-of-many-%03u", i);
        harness_make_file(harness_memory_directory(), name, 512, path);
        config.path = path;
        ASSERT_OK(blkd_open(connections[i / DEVICES_PER_CONNECTION], &config, &device));
    }
}

/* A reply holds a few hundred entries at most: the library asks for the rest. */
START_TEST(long_lists_come_whole_and_in_order)
{
    struct blkd *connections[MANY_DEVICES / DEVICES_PER_CONNECTION];
    struct blkd_device_list *devices = NULL;
    struct blkd_session_list *sessions = NULL;
    open_many(connections);
    ASSERT_OK(blkd_list_devices(fixture.connection, &devices));
    ASSERT_OK(blkd_list_sessions(fixture.connection, 0, &sessions));
    ck_assert_uint_eq(devices->count, MANY_DEVICES);
    ck_assert_uint_eq(sessions->count, MANY_DEVICES);
    for (size_t i = 0; i < MANY_DEVICES; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "one-of-many-%03zu", i);
        ck_assert_ptr_nonnull(strstr(devices->entries[i]->path, name));
        ck_assert_ptr_nonnull(strstr(sessions->entries[i]->path, name));
        ck_assert_uint_eq(sessions->entries[i]->device_number, devices->entries[i]->device_number);
    }
    blkd_device_list_free(devices);
    blkd_session_list_free(sessions);
    for (size_t i = 0; i < MANY_DEVICES / DEVICES_PER_CONNECTION; i++)
        blkd_disconnect(connections[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/sharing");
    TCase *tests = fixture_case(suite, "sharing");
    tcase_add_loop_test(tests, hard_link_is_the_same_device, 0, place_file_rows());
    tcase_add_loop_test(tests, symbolic_link_is_the_same_device, 0, place_rows());
    tcase_add_loop_test(tests, second_node_is_the_same_device, place_file_rows(), place_rows());
    tcase_add_loop_test(tests, passed_descriptor_is_the_same_device, 0, place_rows());
    tcase_add_loop_test(tests, lock_holds_under_every_name, 0, place_rows());
    tcase_add_loop_test(tests, new_file_under_an_old_name_is_another_device, 0, place_file_rows());
    tcase_add_loop_test(tests, later_opener_is_told_the_effective_caching_mode, 0, place_rows());
    tcase_add_test(tests, devices_of_one_connection_do_not_mix);
    tcase_add_loop_test(tests, threads_share_connection_and_devices, 0, place_rows());
    tcase_add_test(tests, long_lists_come_whole_and_in_order);
    return harness_main(suite);
}

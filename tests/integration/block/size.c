/* SPDX-License-Identifier: MIT */
/* Sizes: resize of files, and how others learn of it; what block devices say; the local helpers. */
#include "fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct blkd_device *device;
static uint32_t sector_size;
static uint64_t sectors;

static bool open_row(int row, uint64_t size_bytes)
{
    if (!place_begin(&fixture.place, row, size_bytes))
        return false;
    device = fixture_open_place();
    sector_size = fixture_info(device).sector_size;
    sectors = fixture_info(device).size_sectors;
    return true;
}

static uint64_t size_outside(void)
{
    struct stat status;
    ck_assert_int_eq(stat(fixture.place.path, &status), 0);
    return (uint64_t)status.st_size;
}

static void expect_size(struct blkd_device *of, uint64_t expected)
{
    ck_assert_uint_eq(fixture_info(of).size_sectors, expected);
    ck_assert_uint_eq(size_outside(), expected * fixture_info(of).sector_size);
}

START_TEST(empty_file_grows_to_one_sector)
{
    uint8_t memory[4096] = {0};
    if (!open_row(_i, 0))
        return;
    const struct iovec vector = {memory, sector_size};
    expect_size(device, 0);
    ASSERT_FAILS(blkd_write(device, 0, &vector, 1, 0), ENOSPC);
    ASSERT_FAILS(blkd_read(device, 0, &vector, 1), EINVAL);
    ASSERT_OK(blkd_resize(device, 1));
    expect_size(device, 1);
    data_expect(device, 0, 1, 0);
    data_write(device, 0, 1, 1);
    data_expect(device, 0, 1, 1);
    ASSERT_FAILS(blkd_write(device, 1, &vector, 1, 0), ENOSPC);
    ck_assert_uint_eq(size_outside(), sector_size);
}
END_TEST

START_TEST(file_shrinks_and_grows_again_with_zeroes)
{
    if (!open_row(_i, MIB))
        return;
    uint64_t generation = fixture_info(device).generation;
    data_write(device, 0, sectors, 1);
    ASSERT_OK(blkd_resize(device, sectors / 2 + 1));
    expect_size(device, sectors / 2 + 1);
    ck_assert_uint_gt(fixture_info(device).generation, generation);
    ASSERT_OK(blkd_resize(device, sectors));
    expect_size(device, sectors);
    data_expect(device, 0, sectors / 2 + 1, 1);
    data_expect(device, sectors / 2 + 1, sectors / 2 - 1, 0);
    ASSERT_OK(blkd_resize(device, 0));
    expect_size(device, 0);
}
END_TEST

START_TEST(size_that_no_file_can_have_is_refused)
{
    if (!open_row(_i, MIB))
        return;
    data_write(device, 0, sectors, 1);
    ASSERT_FAILS(blkd_resize(device, UINT64_MAX), EINVAL);
    ASSERT_FAILS(blkd_resize(device, UINT64_MAX / sector_size), EINVAL);
    int result = blkd_resize(device, (uint64_t)INT64_MAX / sector_size);
    if (fixture.place.kind == PLACE_FILE) { /* ext4's limit is 16 TiB; a tmpfs has none */
        ck_assert_int_eq(result, -EFBIG);
        ASSERT_SAYS(fixture.place.path);
        expect_size(device, sectors);
    }
    data_expect(device, 0, sectors, 1);
}
END_TEST

START_TEST(block_device_is_not_resized)
{
    if (!open_row(_i, MIB))
        return;
    ASSERT_FAILS(blkd_resize(device, sectors / 2), EOPNOTSUPP);
    ASSERT_SAYS(fixture.place.path);
    ASSERT_FAILS(blkd_resize(device, sectors * 2), EOPNOTSUPP);
    ASSERT_FAILS(blkd_resize(device, sectors), EOPNOTSUPP);
    ck_assert_uint_eq(fixture_info(device).size_sectors, sectors);
}
END_TEST

START_TEST(loop_device_has_the_size_of_its_file)
{
    uint64_t bytes = 0;
    if (!open_row(_i, 3 * MIB))
        return;
    struct stat status;
    ck_assert_int_eq(stat(fixture.place.file, &status), 0);
    ck_assert_uint_eq(sectors * sector_size, (uint64_t)status.st_size);
    CLEANUP_CLOSE int fd = open(fixture.place.path, O_RDONLY | O_CLOEXEC);
    ASSERT_OK(blkd_blkgetsize(fixture.place.path, fd, &bytes));
    ck_assert_uint_eq(bytes, 3 * MIB);
    ck_assert_uint_eq(sector_size, fixture.place.kind == PLACE_LOOP_512 ? 512 : 4096);
}
END_TEST

/* Another program cuts the file off. A read over its new end begins well, and cannot be finished:
 * it fails (contract S1), and what is still there can be read. */
START_TEST(read_of_a_file_cut_off_by_another_program_fails)
{
    if (!open_row(_i, 4 * MIB))
        return;
    data_write(device, 0, sectors, 1);
    ck_assert_int_eq(truncate(fixture.place.path, 2 * MIB + 512), 0);
    uint64_t first = MIB / sector_size;
    CLEANUP_FREE uint8_t *buffer = data_new(3 * MIB);
    for (unsigned int round = 0; round < 50; round++) {
        const struct iovec vector = {buffer, 3 * MIB - (size_t)round * 8 * 4096};
        int result = blkd_read(device, first, &vector, 1);
        ck_assert_msg(result == -EIO || result == -EINVAL, "%d", result);
    }
    data_expect(device, 0, 2 * first, 1);
}
END_TEST

/* The same in a hole: direct I/O of that ends while it is submitted, so that the rest is submitted
 * when the daemon has just looked for what has ended. */
START_TEST(read_of_a_hole_cut_off_by_another_program_fails)
{
    uint8_t memory[16384];
    const struct iovec vector = {memory, sizeof(memory)};
    if (!open_row(_i, MIB))
        return;
    ck_assert_int_eq(truncate(fixture.place.path, MIB / 2), 0);
    for (unsigned int round = 0; round < 100; round++) {
        int result = blkd_read(device, (MIB / 2 - 8192) / sector_size, &vector, 1);
        ck_assert_msg(result == -EIO || result == -EINVAL, "%d", result);
    }
    data_expect(device, 0, MIB / 2 / sector_size, 0);
}
END_TEST

/* ---- others ---- */

/* What another connection is told. */
static struct {
    unsigned int count;
    struct blkd_event last;
} told;

static void on_event(void *user_data, const struct blkd_event *event)
{
    (void)user_data;
    told.count++;
    told.last = *event;
}

static struct blkd *other;
static struct blkd_device *others;

static void open_other(const struct blkd_config *config)
{
    other = harness_connect(&fixture.daemon);
    ASSERT_OK(blkd_set_event_callback(other, on_event, NULL));
    ASSERT_OK(blkd_open(other, config, &others));
}

START_TEST(others_learn_of_a_new_size)
{
    if (!open_row(_i, MIB))
        return;
    struct blkd_config config = fixture_config();
    config.sector_size = 8192;
    open_other(&config);
    uint64_t generation = fixture_info(others).generation;
    ASSERT_OK(blkd_resize(device, 4 * sectors));
    expect_size(others, 4 * MIB / 8192);
    data_expect(others, 4 * MIB / 8192 - 1, 1, 0);
    data_write(others, 4 * MIB / 8192 - 1, 1, 1);

    while (told.count == 0)
        ck_assert_int_ge(blkd_dispatch(other, -1), 0);
    ck_assert_int_eq((int)told.last.type, BLKD_EVENT_RESIZED);
    ck_assert_ptr_eq(told.last.device, others);
    ck_assert_uint_eq(told.last.size_sectors, 4 * MIB / 8192); /* in its own sectors */
    ck_assert_uint_gt(told.last.generation, generation);
    ck_assert_uint_eq(told.last.generation, fixture_info(others).generation);
    blkd_disconnect(other);
}
END_TEST

START_TEST(shrinking_under_others_without_a_lock_is_refused)
{
    if (!open_row(_i, MIB))
        return;
    data_write(device, 0, sectors, 1);
    struct blkd_config config = fixture_config();
    open_other(&config);
    ASSERT_FAILS(blkd_resize(device, sectors - 1), EBUSY);
    ASSERT_SAYS(fixture.place.path);
    ASSERT_SAYS("exclusive lock");
    expect_size(device, sectors);
    data_expect(others, 0, sectors, 1);
    blkd_disconnect(other);
}
END_TEST

/* The others' sessions are still there, and the part that is gone is past their end. */
START_TEST(shrinking_under_others_with_an_exclusive_lock_works)
{
    uint8_t memory[4096] = {0};
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_config config = fixture_config();
    open_other(&config);
    config.lock = true;
    device = fixture_open(&config);
    sector_size = fixture_info(device).sector_size;
    sectors = fixture_info(device).size_sectors;
    const struct iovec vector = {memory, sector_size};
    data_write(device, 0, sectors, 1);
    ASSERT_OK(blkd_resize(device, sectors - 5));
    expect_size(others, sectors - 5);
    data_expect(others, 0, sectors - 5, 1);
    ASSERT_FAILS(blkd_read(others, sectors - 5, &vector, 1), EINVAL);
    ASSERT_FAILS(blkd_read(others, sectors - 1, &vector, 1), EINVAL);
    blkd_close(device);
    ASSERT_FAILS(blkd_write(others, sectors - 5, &vector, 1, 0), ENOSPC);
    ck_assert_uint_eq(size_outside(), (sectors - 5) * sector_size);
    blkd_disconnect(other);
}
END_TEST

START_TEST(resize_under_anothers_lock_is_refused)
{
    char pid[32];
    if (!open_row(_i, MIB))
        return;
    struct blkd_config config = fixture_config();
    config.lock = true;
    open_other(&config);
    (void)snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
    ASSERT_FAILS(blkd_resize(device, sectors + 8), EBUSY);
    ASSERT_SAYS(pid);
    ASSERT_FAILS(blkd_resize(device, sectors - 8), EBUSY);
    expect_size(device, sectors);
    blkd_disconnect(other);
}
END_TEST

/* ---- the local helpers ---- */

START_TEST(helpers_work_on_a_plain_descriptor)
{
    char path[HARNESS_PATH_MAX];
    uint64_t bytes = 0;
    harness_make_file(harness_directory(), "plain", 0, path);
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    CLEANUP_FREE uint8_t *out = data_new(MIB);
    CLEANUP_FREE uint8_t *in = data_new(MIB);
    data_fill(out, 0, MIB / 512, 512, 1);
    ASSERT_OK(blkd_really_write(fd, out, MIB));
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    ASSERT_OK(blkd_really_read(fd, in, MIB));
    ck_assert_mem_eq(in, out, MIB);
    ck_assert_int_lt(blkd_really_read(fd, in, 1), 0);
    ASSERT_OK(blkd_ftruncate(fd, 12345));
    ASSERT_OK(blkd_blkgetsize(path, fd, &bytes));
    ck_assert_uint_eq(bytes, 12345);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/size");
    TCase *tests = fixture_case(suite, "size");
    tcase_add_loop_test(tests, empty_file_grows_to_one_sector, 0, place_file_rows());
    tcase_add_loop_test(tests, file_shrinks_and_grows_again_with_zeroes, 0, place_file_rows());
    tcase_add_loop_test(tests, size_that_no_file_can_have_is_refused, 0, place_file_rows());
    tcase_add_loop_test(tests, block_device_is_not_resized, place_file_rows(), place_rows());
    tcase_add_loop_test(tests, loop_device_has_the_size_of_its_file, place_file_rows(),
                        place_loop_end());
    tcase_add_loop_test(tests, read_of_a_file_cut_off_by_another_program_fails, 0,
                        place_file_rows());
    tcase_add_loop_test(tests, read_of_a_hole_cut_off_by_another_program_fails, 0,
                        place_file_rows());
    tcase_add_loop_test(tests, others_learn_of_a_new_size, 0, place_file_rows());
    tcase_add_loop_test(tests, shrinking_under_others_without_a_lock_is_refused, 0,
                        place_file_rows());
    tcase_add_loop_test(tests, shrinking_under_others_with_an_exclusive_lock_works, 0,
                        place_file_rows());
    tcase_add_loop_test(tests, resize_under_anothers_lock_is_refused, 0, place_file_rows());
    tcase_add_test(tests, helpers_work_on_a_plain_descriptor);
    return harness_main(suite);
}

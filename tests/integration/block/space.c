/* SPDX-License-Identifier: MIT */
/* Discard and zeroing: zeroes afterwards, neighbours as before, space given back. */
#include "fixture.h"

#include <stdlib.h>
#include <sys/stat.h>

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
    data_write(device, 0, sectors, 1);
    return true;
}

/* The range is zeroes and all else of generation 1, here and outside. */
static void expect_zeroes_only_in(uint64_t first, uint64_t count)
{
    data_expect(device, 0, first, 1);
    data_expect(device, first, count, 0);
    data_expect(device, first + count, sectors - first - count, 1);
    data_expect_outside(&fixture.place, 0, first, sector_size, 1);
    data_expect_outside(&fixture.place, first, count, sector_size, 0);
    data_expect_outside(&fixture.place, first + count, sectors - first - count, sector_size, 1);
}

/* Unaligned to the file system's blocks at both ends, at one, in the midst of one, and aligned. */
static const struct {
    uint64_t first;
    uint64_t count;
} ranges[] = {{3, 10}, {1, 1}, {8, 24}, {16, 7}, {5, 3}, {13, 100}, {7, 193}};

enum { RANGES = sizeof(ranges) / sizeof(ranges[0]) };

START_TEST(discarded_sectors_read_as_zeroes)
{
    if (!open_row(_i, MIB))
        return;
    for (size_t i = 0; i < RANGES; i++) {
        ASSERT_OK(blkd_discard(device, ranges[i].first, ranges[i].count));
        expect_zeroes_only_in(ranges[i].first, ranges[i].count);
        data_write(device, 0, sectors, 1);
    }
    ck_assert_uint_eq(fixture_entry(device).counters.discards, RANGES);
}
END_TEST

START_TEST(zeroed_sectors_read_as_zeroes)
{
    if (!open_row(_i, MIB))
        return;
    for (size_t i = 0; i < RANGES; i++) {
        unsigned int flags = i % 2 == 0 ? 0 : BLKD_WRITE_FUA;
        ASSERT_OK(blkd_write_zeroes(device, ranges[i].first, ranges[i].count, flags));
        expect_zeroes_only_in(ranges[i].first, ranges[i].count);
        data_write(device, 0, sectors, 1);
    }
    ck_assert_uint_eq(fixture_entry(device).counters.zeroes, RANGES);
}
END_TEST

START_TEST(all_of_a_device_is_discarded)
{
    if (!open_row(_i, 5 * MIB))
        return;
    ASSERT_OK(blkd_discard(device, 0, sectors));
    data_expect(device, 0, sectors, 0);
    data_expect_outside(&fixture.place, 0, sectors, sector_size, 0);
    ck_assert_uint_eq(fixture_info(device).size_sectors, sectors);
    data_write(device, sectors - 1, 1, 2);
    data_expect(device, sectors - 1, 1, 2);
}
END_TEST

START_TEST(range_past_the_end_is_refused_whole)
{
    if (!open_row(_i, MIB))
        return;
    ASSERT_FAILS(blkd_discard(device, sectors, 1), ENOSPC);
    ASSERT_FAILS(blkd_discard(device, sectors - 1, 2), ENOSPC);
    ASSERT_FAILS(blkd_discard(device, 0, sectors + 1), ENOSPC);
    ASSERT_FAILS(blkd_write_zeroes(device, sectors, 1, 0), ENOSPC);
    ASSERT_FAILS(blkd_write_zeroes(device, sectors - 1, 2, 0), ENOSPC);
    ASSERT_SAYS(fixture.place.path);
    ASSERT_FAILS(blkd_discard(device, UINT64_MAX, 2), EINVAL);
    ASSERT_FAILS(blkd_discard(device, 1, UINT64_MAX), EINVAL);
    data_expect(device, 0, sectors, 1);
    data_expect_outside(&fixture.place, 0, sectors, sector_size, 1);
    ck_assert_uint_eq(fixture_info(device).size_sectors, sectors);
}
END_TEST

START_TEST(empty_range_succeeds)
{
    if (!open_row(_i, MIB))
        return;
    ASSERT_OK(blkd_discard(device, 5, 0));
    ASSERT_OK(blkd_write_zeroes(device, 5, 0, 0));
    data_expect(device, 0, sectors, 1);
}
END_TEST

static uint64_t allocated_bytes(const char *path)
{
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

/* Of a file, or of the file that a loop device is on. */
START_TEST(discard_gives_back_space)
{
    if (!place_begin(&fixture.place, _i, 8 * MIB))
        return;
    if (fixture.place.kind == PLACE_ZRAM) {
        harness_skip("a zram device has no file");
        return;
    }
    device = fixture_open_place();
    uint64_t per_mib = MIB / fixture_info(device).sector_size;
    data_write(device, 0, 8 * per_mib, 1);
    ASSERT_OK(blkd_flush(device));
    uint64_t full = allocated_bytes(fixture.place.file);
    ck_assert_uint_ge(full, 8 * MIB);
    ASSERT_OK(blkd_discard(device, 2 * per_mib, 4 * per_mib));
    ASSERT_OK(blkd_flush(device));
    uint64_t less = allocated_bytes(fixture.place.file);
    ck_assert_uint_le(less, full - 4 * MIB);
    ck_assert_uint_ge(less, full - 4 * MIB - 65536);
    ck_assert_int_ne((int)fixture_info(device).discard, BLKD_DISCARD_WRITE);
}
END_TEST

/* While a lock's descriptor holds a block device exclusively, others of the daemon's own may not
 * zero it. */
START_TEST(discard_works_under_an_exclusive_lock)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_config config = fixture_config();
    config.lock = true;
    device = fixture_open(&config);
    ck_assert_int_eq((int)fixture_info(device).lock, BLKD_LOCK_EXCLUSIVE);
    sector_size = fixture_info(device).sector_size;
    sectors = fixture_info(device).size_sectors;
    data_write(device, 0, sectors, 1);
    ASSERT_OK(blkd_discard(device, 3, 10));
    expect_zeroes_only_in(3, 10);
    ASSERT_OK(blkd_write_zeroes(device, 3, 12, BLKD_WRITE_FUA));
    expect_zeroes_only_in(3, 12);
    if (!place_is_file(&fixture.place))
        ck_assert_int_ne((int)fixture_info(device).discard, BLKD_DISCARD_WRITE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/space");
    TCase *tests = fixture_case(suite, "space");
    tcase_add_loop_test(tests, discarded_sectors_read_as_zeroes, 0, place_rows());
    tcase_add_loop_test(tests, zeroed_sectors_read_as_zeroes, 0, place_rows());
    tcase_add_loop_test(tests, all_of_a_device_is_discarded, 0, place_rows());
    tcase_add_loop_test(tests, range_past_the_end_is_refused_whole, 0, place_rows());
    tcase_add_loop_test(tests, empty_range_succeeds, 0, place_rows());
    tcase_add_loop_test(tests, discard_gives_back_space, 0, place_rows());
    tcase_add_loop_test(tests, discard_works_under_an_exclusive_lock, 0, place_rows());
    return harness_main(suite);
}

/* SPDX-License-Identifier: MIT */
/* Reads and writes: what arrives, and what is refused without anything arriving. */
#include "fixture.h"

#include <stdint.h>
#include <stdlib.h>

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
    ck_assert_uint_eq(sectors, size_bytes / sector_size);
    return true;
}

START_TEST(last_sector_is_written_and_read)
{
    if (!open_row(_i, MIB))
        return;
    data_write(device, sectors - 1, 1, 1);
    data_expect(device, sectors - 1, 1, 1);
    data_expect(device, sectors - 2, 1, 0);
    data_expect_outside(&fixture.place, sectors - 1, 1, sector_size, 1);
}
END_TEST

START_TEST(many_sectors_at_an_odd_place_are_written_and_read)
{
    if (!open_row(_i, 2 * MIB))
        return;
    data_write(device, 7, 255, 1);
    data_expect(device, 7, 255, 1);
    data_expect(device, 0, 7, 0);
    data_expect(device, 262, 8, 0);
    data_expect_outside(&fixture.place, 7, 255, sector_size, 1);
}
END_TEST

/* A transfer that does not fit: refused, and neither device nor memory have changed. */
static void expect_out_of_bounds(uint64_t sector, size_t count)
{
    CLEANUP_FREE uint8_t *buffer = data_new(count * sector_size);
    const struct iovec vector = {buffer, count * sector_size};
    data_fill(buffer, sector, count, sector_size, 9);
    ASSERT_FAILS(blkd_write(device, sector, &vector, 1, 0), ENOSPC);
    ASSERT_SAYS(fixture.place.path);
    ASSERT_FAILS(blkd_read(device, sector, &vector, 1), EINVAL);
    ASSERT_SAYS(fixture.place.path);
    data_check(buffer, sector, count, sector_size, 9, "the memory of a refused read");
    data_expect(device, 0, sectors, 1);
    data_expect_outside(&fixture.place, 0, sectors, sector_size, 1);
}

START_TEST(transfer_past_the_end_is_refused)
{
    if (!open_row(_i, MIB))
        return;
    data_write(device, 0, sectors, 1);
    expect_out_of_bounds(sectors, 1);
    expect_out_of_bounds(sectors + 100, 3);
}
END_TEST

START_TEST(transfer_over_the_end_is_refused_whole)
{
    if (!open_row(_i, MIB))
        return;
    data_write(device, 0, sectors, 1);
    expect_out_of_bounds(sectors - 1, 2);
    expect_out_of_bounds(0, sectors + 1);
    ck_assert_uint_eq(fixture_info(device).size_sectors, sectors);
}
END_TEST

/* The library splits it: the parts that would fit must not land either. */
START_TEST(large_transfer_over_the_end_is_refused_whole)
{
    if (!open_row(_i, 5 * MIB))
        return;
    data_write(device, 0, sectors, 1);
    expect_out_of_bounds(0, 8 * MIB / sector_size);
    expect_out_of_bounds(MIB / sector_size + 1, 4 * MIB / sector_size);
    expect_out_of_bounds(0, sectors + 1);
}
END_TEST

START_TEST(offset_that_overflows_is_refused)
{
    uint8_t byte[65536] = {0};
    if (!open_row(_i, MIB))
        return;
    const struct iovec vector = {byte, sector_size};
    const uint64_t far[] = {UINT64_MAX, UINT64_MAX / sector_size,
                            (uint64_t)INT64_MAX / sector_size};
    for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        ASSERT_FAILS(blkd_write(device, far[i], &vector, 1, 0), EINVAL);
        ASSERT_FAILS(blkd_read(device, far[i], &vector, 1), EINVAL);
    }
    data_expect(device, 0, sectors, 0);
}
END_TEST

START_TEST(buffer_of_part_of_a_sector_is_refused)
{
    if (!open_row(_i, MIB))
        return;
    CLEANUP_FREE uint8_t *buffer = data_new(2 * sector_size);
    const size_t odd[] = {1, sector_size / 2, sector_size - 1, sector_size + 1};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        const struct iovec vector = {buffer, odd[i]};
        ASSERT_FAILS(blkd_write(device, 0, &vector, 1, 0), EINVAL);
        ASSERT_SAYS("not a whole number of sectors");
        ASSERT_FAILS(blkd_read(device, 0, &vector, 1), EINVAL);
        ASSERT_SAYS("not a whole number of sectors");
    }
    data_expect(device, 0, 4, 0);
}
END_TEST

/* Each buffer for itself is to be whole, not only their sum. */
START_TEST(buffers_that_are_whole_only_together_are_refused)
{
    if (!open_row(_i, MIB))
        return;
    CLEANUP_FREE uint8_t *buffer = data_new(2 * sector_size);
    const struct iovec vectors[] = {{buffer, sector_size},
                                    {buffer, sector_size / 2},
                                    {buffer + sector_size / 2, sector_size / 2}};
    ASSERT_FAILS(blkd_write(device, 0, vectors, 3, 0), EINVAL);
    ASSERT_SAYS("buffer 1 ");
    data_expect(device, 0, 4, 0);
}
END_TEST

START_TEST(empty_list_succeeds)
{
    uint8_t byte = 0;
    const struct iovec empty[] = {{&byte, 0}, {NULL, 0}};
    if (!open_row(_i, MIB))
        return;
    ASSERT_OK(blkd_write(device, 0, NULL, 0, 0));
    ASSERT_OK(blkd_read(device, 0, NULL, 0));
    ASSERT_OK(blkd_write(device, sectors, empty, 2, 0));
    ASSERT_OK(blkd_read(device, sectors, empty, 2));
}
END_TEST

START_TEST(memory_need_not_be_aligned)
{
    enum { COUNT = 40 };
    static const size_t shifts[] = {1, 3, 8, 511, 513, 4095};
    if (!open_row(_i, MIB))
        return;
    CLEANUP_FREE uint8_t *memory = data_new(COUNT * sector_size + 8192);
    for (unsigned int i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
        const struct iovec vector = {memory + shifts[i], COUNT * sector_size};
        data_fill(vector.iov_base, i, COUNT, sector_size, i + 1);
        ASSERT_OK(blkd_write(device, i, &vector, 1, 0));
        memset(memory, 0x5a, COUNT * sector_size + 8192);
        ASSERT_OK(blkd_read(device, i, &vector, 1));
        data_check(vector.iov_base, i, COUNT, sector_size, i + 1, "unaligned memory");
        ck_assert_uint_eq(memory[shifts[i] - 1], 0x5a);
        ck_assert_uint_eq(memory[shifts[i] + vector.iov_len], 0x5a);
        data_expect_outside(&fixture.place, i, COUNT, sector_size, i + 1);
    }
}
END_TEST

/* More than IOV_MAX; the buffers stand in memory in another order than on the device. */
START_TEST(list_of_5000_buffers_goes_in_order)
{
    enum { COUNT = 5000, STRIDE = 1237 };
    if (!open_row(_i, 24 * MIB))
        return;
    CLEANUP_FREE uint8_t *memory = data_new((size_t)COUNT * sector_size);
    CLEANUP_FREE struct iovec *vectors = calloc(COUNT, sizeof(*vectors));
    ck_assert_ptr_nonnull(vectors);
    for (size_t i = 0; i < COUNT; i++) {
        vectors[i] = (struct iovec){memory + i * STRIDE % COUNT * sector_size, sector_size};
        data_fill(vectors[i].iov_base, 5 + i, 1, sector_size, 1);
    }
    ASSERT_OK(blkd_write(device, 5, vectors, COUNT, 0));
    data_expect(device, 5, COUNT, 1);
    data_expect_outside(&fixture.place, 5, COUNT, sector_size, 1);
    memset(memory, 0, (size_t)COUNT * sector_size);
    ASSERT_OK(blkd_read(device, 5, vectors, COUNT));
    for (size_t i = 0; i < COUNT; i++)
        data_check(vectors[i].iov_base, 5 + i, 1, sector_size, 1, "a buffer of the list");
}
END_TEST

START_TEST(transfer_of_32_mib_in_one_call)
{
    if (!open_row(_i, 34 * MIB))
        return;
    size_t count = 32 * MIB / sector_size;
    data_write(device, 3, count, 1);
    data_expect(device, 3, count, 1);
    data_expect(device, 0, 3, 0);
    data_expect(device, 3 + count, 3, 0);
    data_expect_outside(&fixture.place, 3, count, sector_size, 1);
}
END_TEST

START_TEST(unknown_flags_are_refused)
{
    uint8_t memory[512] = {1};
    const struct iovec vector = {memory, sizeof(memory)};
    if (!open_row(0, MIB))
        return;
    ASSERT_FAILS(blkd_write(device, 0, &vector, 1, 1U << 7), EINVAL);
    ASSERT_FAILS(blkd_write_zeroes(device, 0, 1, 1U << 7), EINVAL);
    data_expect(device, 0, 1, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/transfer");
    TCase *tests = fixture_case(suite, "transfer");
    tcase_add_loop_test(tests, last_sector_is_written_and_read, 0, place_rows());
    tcase_add_loop_test(tests, many_sectors_at_an_odd_place_are_written_and_read, 0, place_rows());
    tcase_add_loop_test(tests, transfer_past_the_end_is_refused, 0, place_rows());
    tcase_add_loop_test(tests, transfer_over_the_end_is_refused_whole, 0, place_rows());
    tcase_add_loop_test(tests, large_transfer_over_the_end_is_refused_whole, 0, place_rows());
    tcase_add_loop_test(tests, offset_that_overflows_is_refused, 0, place_rows());
    tcase_add_loop_test(tests, buffer_of_part_of_a_sector_is_refused, 0, place_rows());
    tcase_add_loop_test(tests, buffers_that_are_whole_only_together_are_refused, 0, place_rows());
    tcase_add_loop_test(tests, empty_list_succeeds, 0, place_rows());
    tcase_add_loop_test(tests, memory_need_not_be_aligned, 0, place_rows());
    tcase_add_loop_test(tests, list_of_5000_buffers_goes_in_order, 0, place_rows());
    tcase_add_loop_test(tests, transfer_of_32_mib_in_one_call, 0, place_rows());
    tcase_add_test(tests, unknown_flags_are_refused);
    return harness_main(suite);
}

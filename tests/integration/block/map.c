/* SPDX-License-Identifier: MIT */
/*
 * seek_mapped and seek_unmapped, against a model of which pieces of the file have been written. A
 * sector is unmapped if all of its pieces are; the file system's block is the smallest piece that
 * it can leave out, and the sectors of these tests are smaller, as large, and larger than that.
 */
#include "fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 4096, PIECES = 256, MODEL_BYTES = PIECE * PIECES };

static struct blkd_device *device;
static bool mapped[PIECES];

static bool sector_is_mapped(uint64_t sector, uint32_t sector_size)
{
    uint64_t first = sector * sector_size / PIECE;
    uint64_t last = (sector * sector_size + sector_size - 1) / PIECE;
    for (uint64_t piece = first; piece <= last; piece++)
        if (mapped[piece])
            return true;
    return false;
}

/* From every sector, both ways. */
static void expect_map(uint32_t sector_size)
{
    uint64_t sectors = MODEL_BYTES / sector_size;
    uint64_t next[2] = {sectors, sectors}; /* unmapped, mapped */
    for (uint64_t sector = sectors;; sector--) {
        uint64_t found = 0;
        if (sector < sectors)
            next[sector_is_mapped(sector, sector_size) ? 1 : 0] = sector;
        ASSERT_OK(blkd_seek_mapped(device, sector, &found));
        ck_assert_msg(found == next[1], "mapped from %" PRIu64 ": %" PRIu64 ", not %" PRIu64,
                      sector, found, next[1]);
        ASSERT_OK(blkd_seek_unmapped(device, sector, &found));
        ck_assert_msg(found == next[0], "unmapped from %" PRIu64 ": %" PRIu64 ", not %" PRIu64,
                      sector, found, next[0]);
        if (sector == 0)
            break;
    }
}

/* False: the place is reached in larger pieces than that. */
static bool open_with(uint32_t size)
{
    struct blkd_config config = fixture_config();
    device = fixture_open(&config);
    bool possible = size >= fixture_info(device).granule_bytes;
    blkd_close(device);
    config.sector_size = size;
    if (possible)
        device = fixture_open(&config);
    return possible;
}

static void expect_map_for_all_sector_sizes(void)
{
    static const uint32_t sizes[] = {512, 4096, 16384, 65536};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (!open_with(sizes[i]))
            continue;
        expect_map(sizes[i]);
        blkd_close(device);
    }
}

/* A file in which no two pieces hang together that the model keeps apart. */
static int make_file(int row)
{
    struct stat status;
    if (!place_begin(&fixture.place, row, MODEL_BYTES))
        return -1;
    int fd = open(fixture.place.path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    if (status.st_blksize == PIECE)
        return fd;
    harness_skip("the file system's blocks have %ld bytes, not %d", (long)status.st_blksize, PIECE);
    (void)close(fd);
    return -1;
}

/* In pieces of 512 bytes, each of which maps the whole block. */
static void map_piece(int fd, unsigned int piece)
{
    uint8_t bytes[512];
    memset(bytes, 0x31, sizeof(bytes));
    mapped[piece] = true;
    off_t offset = (off_t)piece * PIECE + (off_t)(piece % 8) * 512;
    ck_assert_int_eq(pwrite(fd, bytes, sizeof(bytes), offset), (ssize_t)sizeof(bytes));
}

START_TEST(holes_are_found_wherever_they_begin_and_end)
{
    CLEANUP_CLOSE int fd = make_file(_i);
    unsigned int piece = 2;
    if (fd < 0)
        return;
    /* Runs of data and of holes of 1 to 7 pieces, at all places within the larger sectors. */
    for (unsigned int run = 0; piece < PIECES - 8; run++) {
        unsigned int data = 1 + run * 3 % 7;
        for (unsigned int end = piece + data; piece < end; piece++)
            map_piece(fd, piece);
        piece += 1 + run * 5 % 7 + (run % 6 == 0 ? 16 : 0);
    }
    expect_map_for_all_sector_sizes();
}
END_TEST

START_TEST(fully_mapped_file_has_no_hole)
{
    CLEANUP_CLOSE int fd = make_file(_i);
    if (fd < 0)
        return;
    for (unsigned int piece = 0; piece < PIECES; piece++)
        map_piece(fd, piece);
    expect_map_for_all_sector_sizes();
}
END_TEST

START_TEST(sparse_file_has_no_data)
{
    CLEANUP_CLOSE int fd = make_file(_i);
    if (fd < 0)
        return;
    expect_map_for_all_sector_sizes();
}
END_TEST

START_TEST(only_the_last_sector_is_mapped)
{
    CLEANUP_CLOSE int fd = make_file(_i);
    if (fd < 0)
        return;
    map_piece(fd, PIECES - 1);
    expect_map_for_all_sector_sizes();
}
END_TEST

START_TEST(empty_file_has_neither)
{
    uint64_t found = 1;
    if (!place_begin(&fixture.place, _i, 0))
        return;
    device = fixture_open_place();
    ck_assert_uint_eq(fixture_info(device).size_sectors, 0);
    ASSERT_OK(blkd_seek_mapped(device, 0, &found));
    ck_assert_uint_eq(found, 0);
    found = 1;
    ASSERT_OK(blkd_seek_unmapped(device, 0, &found));
    ck_assert_uint_eq(found, 0);
    ASSERT_FAILS(blkd_seek_mapped(device, 1, &found), EINVAL);
}
END_TEST

START_TEST(seek_past_the_end_is_refused)
{
    uint64_t found = 77;
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    device = fixture_open_place();
    uint64_t sectors = fixture_info(device).size_sectors;
    ASSERT_FAILS(blkd_seek_mapped(device, sectors + 1, &found), EINVAL);
    ASSERT_SAYS(fixture.place.path);
    ASSERT_FAILS(blkd_seek_unmapped(device, sectors + 1, &found), EINVAL);
    ASSERT_FAILS(blkd_seek_unmapped(device, UINT64_MAX, &found), EINVAL);
    ck_assert_uint_eq(found, 77);
}
END_TEST

START_TEST(discarded_sectors_are_unmapped)
{
    CLEANUP_CLOSE int fd = make_file(_i);
    if (fd < 0)
        return;
    for (unsigned int piece = 0; piece < PIECES; piece++)
        map_piece(fd, piece);
    device = fixture_open_place();
    uint32_t sector_size = fixture_info(device).sector_size;
    uint64_t first = 20000 / sector_size; /* within piece 4 */
    ASSERT_OK(blkd_discard(device, first, 70000 / sector_size));
    for (uint64_t piece = 0; piece < PIECES; piece++)
        if (piece * PIECE >= first * sector_size &&
            (piece + 1) * PIECE <= (first + 70000 / sector_size) * sector_size)
            mapped[piece] = false;
    expect_map(sector_size);
}
END_TEST

START_TEST(block_device_is_all_mapped)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    device = fixture_open_place();
    uint64_t sectors = fixture_info(device).size_sectors;
    for (uint64_t sector = 0; sector <= sectors; sector += sectors / 16) {
        uint64_t found = UINT64_MAX;
        ASSERT_OK(blkd_seek_mapped(device, sector, &found));
        ck_assert_uint_eq(found, sector);
        ASSERT_OK(blkd_seek_unmapped(device, sector, &found));
        ck_assert_uint_eq(found, sectors);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/map");
    TCase *tests = fixture_case(suite, "map");
    tcase_add_loop_test(tests, holes_are_found_wherever_they_begin_and_end, 0, place_file_rows());
    tcase_add_loop_test(tests, fully_mapped_file_has_no_hole, 0, place_file_rows());
    tcase_add_loop_test(tests, sparse_file_has_no_data, 0, place_file_rows());
    tcase_add_loop_test(tests, only_the_last_sector_is_mapped, 0, place_file_rows());
    tcase_add_loop_test(tests, empty_file_has_neither, 0, place_file_rows());
    tcase_add_loop_test(tests, discarded_sectors_are_unmapped, 0, place_file_rows());
    tcase_add_loop_test(tests, seek_past_the_end_is_refused, 0, place_rows());
    tcase_add_loop_test(tests, block_device_is_all_mapped, place_file_rows(), place_rows());
    return harness_main(suite);
}

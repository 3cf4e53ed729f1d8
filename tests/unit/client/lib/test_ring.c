/* SPDX-License-Identifier: MIT */
/* What goes through libblkd's rings. */
#include "tests/unit/client/lib/fake_ring_scene.h"
#include "tests/unit/suite.h"

static int write_all(uint64_t sector, const uint8_t *bytes, size_t length)
{
    struct iovec iov = {(uint8_t *)(uintptr_t)bytes, length};

    return blkd_write(device, sector, &iov, 1, 0);
}

START_TEST(shared_memory_is_not_copied)
{
    uint8_t *memory;
    const struct ring_submission *log = fake_rings.log;

    begin(BLKD_TIER_RING);
    memory = fake_shared_memory(connection, 65536);
    ck_assert_int_eq(blkd_read(device, 4, &(struct iovec){memory + 512, 8192}, 1), 0);
    fake_assert_content(memory + 512, 4 * FAKE_SECTOR, 8192);
    memset(memory + 1024, 0x5a, 512);
    ck_assert_int_eq(blkd_write(device, 9, &(struct iovec){memory + 1024, 512}, 1, BLKD_WRITE_FUA),
                     0);
    end();
    ck_assert_uint_eq(fake_rings.logged, 2);
    ck_assert_uint_eq(log[0].operation, RING_READ);
    ck_assert_uint_eq(log[0].session, 77);
    ck_assert_uint_eq(log[0].arena, 1);
    ck_assert_uint_eq(log[0].memory_offset, 512);
    ck_assert_uint_eq(log[0].offset_bytes, 2048);
    ck_assert_uint_eq(log[0].length_bytes, 8192);
    ck_assert_uint_eq(log[0].transfer_end_bytes, 0);
    ck_assert_uint_eq(log[0].flags, 0);
    ck_assert_uint_eq(log[1].operation, RING_WRITE);
    ck_assert_uint_eq(log[1].memory_offset, 1024);
    ck_assert_uint_eq(log[1].flags, BLKD__WRITE_FLAG__WRITE_FLAG_FUA);
}
END_TEST

/* A buffer of its own that lies behind its neighbour goes with it. */
START_TEST(neighbours_in_shared_memory_are_one_part)
{
    uint8_t *memory;
    struct iovec list[4];

    begin(BLKD_TIER_RING);
    memory = fake_shared_memory(connection, 65536);
    list[0] = (struct iovec){memory, 8192};
    list[1] = (struct iovec){NULL, 0};
    list[2] = (struct iovec){memory + 8192, 512};
    list[3] = (struct iovec){memory + 16384, 4096};
    ck_assert_int_eq(blkd_read(device, 0, list, 4), 0);
    fake_assert_content(memory, 0, 8704);
    fake_assert_content(memory + 16384, 8704, 4096);
    end();
    ck_assert_uint_eq(fake_rings.logged, 2);
    ck_assert_uint_eq(fake_rings.log[0].length_bytes, 8704);
    ck_assert_uint_eq(fake_rings.log[1].length_bytes, 4096);
    ck_assert_uint_eq(fake_rings.log[1].transfer_end_bytes, 12800);
}
END_TEST

START_TEST(small_foreign_buffers_are_gathered)
{
    uint8_t bytes[64][FAKE_SECTOR];
    struct iovec list[64];

    begin(BLKD_TIER_RING);
    for (int i = 0; i < 64; i++)
        list[i] = (struct iovec){bytes[63 - i], FAKE_SECTOR};
    ck_assert_int_eq(blkd_read(device, 0, list, 64), 0);
    for (int i = 0; i < 64; i++)
        fake_assert_content(bytes[63 - i], (uint64_t)i * FAKE_SECTOR, FAKE_SECTOR);
    end();
    ck_assert_uint_eq(fake_rings.logged, 1);
    ck_assert_uint_eq(fake_rings.log[0].arena, 0);
}
END_TEST

START_TEST(large_transfers_go_in_parts)
{
    const size_t length = 3 * 1024 * 1024 + 512;
    uint8_t *memory;
    uint8_t *foreign = malloc(length);
    uint32_t logged;

    begin(BLKD_TIER_RING);
    memory = fake_shared_memory(connection, length);
    ck_assert_int_eq(blkd_read(device, 8, &(struct iovec){memory, length}, 1), 0);
    fake_assert_content(memory, 8 * FAKE_SECTOR, length);
    logged = fake_rings.logged;
    ck_assert_int_eq(blkd_read(device, 8, &(struct iovec){foreign, length}, 1), 0);
    fake_assert_content(foreign, 8 * FAKE_SECTOR, length);
    end();
    ck_assert_uint_eq(logged, 4);
    ck_assert_uint_eq(fake_rings.logged - logged,
                      length / RINGS_BOUNCE_PART_BYTES + 1); /* and a sector */
    for (uint32_t i = 0; i < fake_rings.logged; i++)
        ck_assert_uint_eq(fake_rings.log[i].transfer_end_bytes, 8 * FAKE_SECTOR + length);
    free(foreign);
}
END_TEST

enum { MIXED_MAX = 300, MIXED_BYTES = 4 * 1024 * 1024 };

/* Buffers of both kinds of memory, of all lengths, in no order, none overlapping. */
static size_t make_mixed(struct iovec *list, uint8_t *shared, uint8_t *foreign, unsigned int *seed,
                         size_t *ret_bytes)
{
    uint8_t *places[2] = {shared, foreign};
    size_t count = 1 + (size_t)rand_r(seed) % MIXED_MAX;
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        uint8_t **place = &places[rand_r(seed) % 2];
        size_t most = rand_r(seed) % 16 == 0 ? 256 : rand_r(seed) % 4 == 0 ? 32 : 4;
        size_t length = (size_t)rand_r(seed) % (most + 1) * FAKE_SECTOR;

        list[i] = (struct iovec){*place, length};
        *place += length + (rand_r(seed) % 2 == 0 ? 0 : FAKE_SECTOR);
        bytes += length;
    }
    *ret_bytes = bytes;
    return count;
}

static void fill_list(const struct iovec *list, size_t count, unsigned int seed)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < list[i].iov_len; j++)
            ((uint8_t *)list[i].iov_base)[j] = (uint8_t)rand_r(&seed);
}

static void assert_list(const struct iovec *list, size_t count, unsigned int seed)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < list[i].iov_len; j++)
            if (((uint8_t *)list[i].iov_base)[j] != (uint8_t)rand_r(&seed))
                ck_abort_msg("buffer %zu, byte %zu is wrong", i, j);
}

START_TEST(mixed_lists_arrive)
{
    struct iovec list[MIXED_MAX];
    uint8_t *foreign = malloc(2 * MIXED_BYTES);
    uint8_t *shared;
    unsigned int seed = 1;

    fake.disk_bytes = 2 * MIXED_BYTES;
    begin(BLKD_TIER_RING);
    shared = fake_shared_memory(connection, 2 * MIXED_BYTES);
    for (unsigned int round = 0; round < 30; round++) {
        size_t bytes;
        size_t count = make_mixed(list, shared, foreign, &seed, &bytes);

        ck_assert_uint_le(bytes, MIXED_BYTES);
        fill_list(list, count, round);
        ck_assert_int_eq(blkd_write(device, round, list, count, 0), 0);
        fill_list(list, count, round + 1000);
        ck_assert_int_eq(blkd_read(device, round, list, count), 0);
        assert_list(list, count, round);
    }
    end();
    ck_assert_uint_eq(fake.reads + fake.writes, 0);
    free(foreign);
}
END_TEST

/* A part never names memory of two buffers that only happen to be in one arena. */
START_TEST(the_neighbourhood_stays_untouched)
{
    uint8_t *memory;
    struct iovec list[2];

    begin(BLKD_TIER_RING);
    memory = fake_shared_memory(connection, 65536);
    memset(memory, 0xee, 65536);
    list[0] = (struct iovec){memory + 4096, 4608};
    list[1] = (struct iovec){memory + 32768, 4608};
    ck_assert_int_eq(blkd_read(device, 0, list, 2), 0);
    fake_assert_content(memory + 4096, 0, 4608);
    fake_assert_content(memory + 32768, 4608, 4608);
    for (size_t i = 0; i < 65536; i++)
        if ((i < 4096 || i >= 8704) && (i < 32768 || i >= 37376))
            ck_assert_uint_eq(memory[i], 0xee);
    end();
}
END_TEST

START_TEST(verbs_without_data)
{
    const struct ring_submission *log = fake_rings.log;

    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_flush(device), 0);
    ck_assert_int_eq(blkd_discard(device, 3, 5), 0);
    ck_assert_int_eq(blkd_write_zeroes(device, 7, 3 * 1024 * 1024, BLKD_WRITE_FUA), 0);
    ck_assert_int_eq(blkd_discard(device, 3, 0), 0); /* nothing to do */
    ck_assert_int_eq(blkd_read(device, 0, NULL, 0), 0);
    end();
    ck_assert_uint_eq(fake_rings.logged, 3);
    ck_assert_uint_eq(log[0].operation, RING_FLUSH);
    ck_assert_uint_eq(log[0].length_bytes, 0);
    ck_assert_uint_eq(log[1].operation, RING_DISCARD);
    ck_assert_uint_eq(log[1].offset_bytes, 3 * FAKE_SECTOR);
    ck_assert_uint_eq(log[1].length_bytes, 5 * FAKE_SECTOR);
    ck_assert_uint_eq(log[2].operation, RING_WRITE_ZEROES);
    ck_assert_uint_eq(log[2].length_bytes, 3 * UINT64_C(1024) * 1024 * FAKE_SECTOR);
    ck_assert_uint_eq(log[2].flags, 1);
    ck_assert_uint_eq(fake.flushes, 0);
}
END_TEST

START_TEST(failures_have_the_daemons_words)
{
    uint64_t last = fake.disk_bytes / FAKE_SECTOR;

    begin(BLKD_TIER_RING);
    for (int i = 0; i < 100; i++) { /* more than there are places for messages */
        ck_assert_int_eq(read_sector(last), -EINVAL);
        ck_assert_ptr_nonnull(strstr(blkd_error_message(), "the ring says no"));
        ck_assert_ptr_nonnull(strstr(blkd_error_message(), "read of 512 bytes"));
        ck_assert_int_eq(write_all(last, fake.disk, FAKE_SECTOR), -ENOSPC);
        ck_assert_ptr_nonnull(strstr(blkd_error_message(), "write of 512 bytes"));
        ck_assert_int_eq(read_sector(last - 1), 0);
    }
    end();
}
END_TEST

static bool fail_at_length(struct fake *daemon, const struct ring_submission *submission)
{
    struct fake_ring *ring = fake_ring_of(daemon);
    char message[RING_MESSAGE_BYTES];

    memset(message, 'x', sizeof(message));
    message[RING_MESSAGE_BYTES - 1] = '\0';
    fake_ring_put(daemon, submission->id, -EIO, message);
    if (submission->operation == RING_DISCARD) { /* says that it is longer than it can be */
        uint32_t place = (ring_producer_place(&ring->completions) - 1) % ring->entries;
        struct ring_completion *entry =
            (struct ring_completion *)(ring->memory + ring->layout.completions) + place;
        entry->message_bytes = UINT32_MAX;
        memset(ring->memory + ring->layout.messages + (size_t)place * RING_MESSAGE_BYTES, 'y',
               RING_MESSAGE_BYTES);
    }
    fake_ring_publish(daemon);
    return true;
}

START_TEST(longest_message)
{
    fake_rings.on_submission = fail_at_length;
    begin(BLKD_TIER_RING);
    ck_assert_int_eq(blkd_flush(device), -EIO);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "xxxxxxxx"));
    ck_assert_int_eq(blkd_discard(device, 0, 1), -EIO);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "yyyy"));
    ck_assert_uint_lt(strlen(blkd_error_message()), 2000);
    end();
}
END_TEST

/* A failed read leaves what it says nothing about alone. */
START_TEST(failed_read_copies_nothing)
{
    uint8_t bytes[FAKE_SECTOR];
    struct iovec iov = {bytes, sizeof(bytes)};

    begin(BLKD_TIER_RING);
    memset(bytes, 0xab, sizeof(bytes));
    ck_assert_int_eq(blkd_read(device, fake.disk_bytes / FAKE_SECTOR, &iov, 1), -EINVAL);
    for (size_t i = 0; i < sizeof(bytes); i++)
        ck_assert_uint_eq(bytes[i], 0xab);
    end();
}
END_TEST

/* ---- arenas ---- */

START_TEST(arenas_come_and_go)
{
    uint8_t *memory;

    fake_rings.arenas_allowed = 2;
    begin(BLKD_TIER_AUTO);
    memory = fake_shared_memory(connection, 5000); /* sets up rings, too */
    ck_assert_int_eq(fake_tier(connection), BLKD_TIER_RING);
    pthread_mutex_lock(&connection->mutex);
    ck_assert_uint_eq(connection->rings.shared.set.arenas[0].size_bytes, 8192);
    ck_assert_int_eq(memory_add_arena(connection, 4096), -EDQUOT);
    ck_assert_int_eq(
        memory_remove_arena(connection, arena_free(&connection->rings.shared.set, memory)), 0);
    ck_assert_uint_eq(connection->rings.shared.set.count, 0);
    pthread_mutex_unlock(&connection->mutex);
    ck_assert_int_eq(madvise(memory, 4096, MADV_NORMAL), -1); /* unmapped */
    ck_assert_int_eq(read_sector(5), 0);
    end();
    ck_assert_uint_eq(fake_rings.removals, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("client rings");
    TCase *through = tcase_create("through");

    suite_add_tcase(s, through);
    tcase_add_checked_fixture(through, setup, NULL);
    tcase_set_timeout(through, 60);
    tcase_add_test(through, shared_memory_is_not_copied);
    tcase_add_test(through, neighbours_in_shared_memory_are_one_part);
    tcase_add_test(through, small_foreign_buffers_are_gathered);
    tcase_add_test(through, large_transfers_go_in_parts);
    tcase_add_test(through, mixed_lists_arrive);
    tcase_add_test(through, the_neighbourhood_stays_untouched);
    tcase_add_test(through, verbs_without_data);
    tcase_add_test(through, failures_have_the_daemons_words);
    tcase_add_test(through, longest_message);
    tcase_add_test(through, failed_read_copies_nothing);
    tcase_add_test(through, arenas_come_and_go);
    return s;
}

int main(void)
{
    return suite_run(suite());
}

/* SPDX-License-Identifier: MIT */
/*
 * Flush at each level, and FUA. That data is stable cannot be seen; that the kernel was asked for
 * it can: by the daemon's counters, by strace, and by the flushes that a loop device has received.
 */
#include "fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct blkd_device *device;

static const enum blkd_sync levels[] = {BLKD_SYNC_OS, BLKD_SYNC_DRIVE, BLKD_SYNC_NONE};

enum { LEVELS = 3, SYNCING_LEVELS = 2 };

/* `index` counts rows, and for each row the first `count` levels. */
static bool open_level(int index, int count)
{
    if (!place_begin(&fixture.place, index / count, MIB))
        return false;
    struct blkd_config config = fixture_config();
    config.sync = levels[index % count];
    device = fixture_open(&config);
    ck_assert_int_eq((int)fixture_info(device).sync, (int)config.sync);
    return true;
}

static uint64_t syncs(void)
{
    return fixture_entry(device).counters.syncs_issued;
}

/* Somebody may have written to the device before the daemon saw it. */
START_TEST(first_flush_syncs_though_nothing_was_written)
{
    if (!open_level(_i, SYNCING_LEVELS))
        return;
    ck_assert_uint_eq(syncs(), 0);
    ck_assert_int_eq(fixture_entry(device).unsynced, true);
    ASSERT_OK(blkd_flush(device));
    ck_assert_uint_eq(syncs(), 1);
    ck_assert_int_eq(fixture_entry(device).unsynced, false);
}
END_TEST

START_TEST(flush_syncs_once_for_what_was_changed)
{
    if (!open_level(_i, SYNCING_LEVELS))
        return;
    ASSERT_OK(blkd_flush(device));
    for (unsigned int round = 0; round < 3; round++) {
        struct blkd_device_entry before = fixture_entry(device);
        if (round == 0)
            data_write(device, 3, 5, 1);
        else if (round == 1)
            ASSERT_OK(blkd_discard(device, 3, 5));
        else
            ASSERT_OK(blkd_write_zeroes(device, 3, 5, 0));
        ck_assert_int_eq(fixture_entry(device).unsynced, true);
        ck_assert_uint_eq(syncs(), before.counters.syncs_issued);
        ASSERT_OK(blkd_flush(device));
        ck_assert_uint_eq(syncs(), before.counters.syncs_issued + 1);
        ck_assert_int_eq(fixture_entry(device).unsynced, false);
        ASSERT_OK(blkd_flush(device)); /* nothing is left to do */
        ck_assert_uint_eq(syncs(), before.counters.syncs_issued + 1);
        ck_assert_uint_eq(fixture_entry(device).counters.flushes_elided,
                          before.counters.flushes_elided + 1);
    }
}
END_TEST

START_TEST(resize_is_synced_by_a_flush)
{
    if (!open_level(_i, SYNCING_LEVELS))
        return;
    ASSERT_OK(blkd_flush(device));
    ASSERT_OK(blkd_resize(device, 2 * fixture_info(device).size_sectors));
    ck_assert_int_eq(fixture_entry(device).unsynced, true);
    ASSERT_OK(blkd_flush(device));
    ck_assert_uint_eq(syncs(), 2);
}
END_TEST

START_TEST(flush_without_a_sync_level_does_nothing)
{
    if (!place_begin(&fixture.place, _i, MIB))
        return;
    struct blkd_config config = fixture_config();
    config.sync = BLKD_SYNC_NONE;
    device = fixture_open(&config);
    ck_assert_int_eq((int)fixture_info(device).sync, BLKD_SYNC_NONE);
    data_write(device, 3, 5, 1);
    ASSERT_OK(blkd_flush(device));
    ck_assert_uint_eq(syncs(), 0);
    ck_assert_int_eq(fixture_entry(device).unsynced, true);
}
END_TEST

START_TEST(flush_covers_what_other_sessions_wrote)
{
    struct blkd_device *others = NULL;
    if (!open_level(_i, SYNCING_LEVELS))
        return;
    struct blkd *other = harness_connect(&fixture.daemon);
    struct blkd_config config = fixture_config();
    config.sync = BLKD_SYNC_NONE;
    ASSERT_OK(blkd_open(other, &config, &others));
    ASSERT_OK(blkd_flush(device));
    data_write(others, 3, 5, 1);
    ASSERT_OK(blkd_flush(others));
    ck_assert_uint_eq(syncs(), 1);
    ASSERT_OK(blkd_flush(device));
    ck_assert_uint_eq(syncs(), 2);
    blkd_disconnect(other);
}
END_TEST

/* ---- seen by strace ---- */

static char trace_path[HARNESS_PATH_MAX];

/* Returns when strace follows the daemon; 0 if there is none. */
static pid_t trace_begin(void)
{
    char pid[16];
    char word[256] = "";
    int pipes[2];
    size_t length = 0;
    (void)snprintf(pid, sizeof(pid), "%d", (int)fixture.daemon.pid);
    harness_join(harness_directory(), "trace", trace_path);
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    pid_t strace = fork();
    ck_assert_int_ge(strace, 0);
    if (strace == 0) {
        (void)dup2(pipes[1], STDERR_FILENO);
        (void)execlp("strace", "strace", "-f", "-e", "trace=fdatasync,fsync", "-o", trace_path,
                     "-p", pid, (char *)NULL);
        _exit(127);
    }
    (void)close(pipes[1]);
    while (strstr(word, "attached") == NULL && length < sizeof(word) - 1) {
        ssize_t got = read(pipes[0], word + length, sizeof(word) - 1 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    if (strstr(word, "attached") != NULL)
        return strace; /* pipes[0] stays open: strace has more to say */
    (void)waitpid(strace, NULL, 0);
    harness_skip("strace cannot follow the daemon: %s", *word != '\0' ? word : "it is not there");
    return 0;
}

/* The number of calls that strace has seen begin. */
static unsigned int trace_end(pid_t strace)
{
    unsigned int count = 0;
    ck_assert_int_eq(kill(strace, SIGINT), 0);
    ck_assert_int_eq(waitpid(strace, NULL, 0), strace);
    CLEANUP_FREE char *text = harness_read_text(trace_path);
    for (const char *at = text; (at = strstr(at, "sync(")) != NULL; at++)
        count++;
    return count;
}

START_TEST(kernel_is_asked_once_per_flush_and_level)
{
    if (!open_level(_i, LEVELS))
        return;
    ASSERT_OK(blkd_flush(device)); /* of what was there before */
    pid_t strace = trace_begin();
    if (strace == 0)
        return;
    data_write(device, 3, 5, 1);
    ASSERT_OK(blkd_flush(device));
    ASSERT_OK(blkd_flush(device));
    data_write(device, 4, 5, 2);
    ASSERT_OK(blkd_flush(device));
    unsigned int expected = fixture_info(device).sync == BLKD_SYNC_NONE ? 0 : 2;
    ck_assert_uint_eq(trace_end(strace), expected);
}
END_TEST

/* ---- seen by a loop device ---- */

START_TEST(drive_is_flushed_by_a_flush)
{
    if (!open_level(_i, LEVELS))
        return;
    data_write(device, 3, 5, 1);
    uint64_t before = place_count_flushes(&fixture.place);
    ASSERT_OK(blkd_flush(device));
    if (fixture_info(device).sync == BLKD_SYNC_NONE)
        ck_assert_uint_eq(place_count_flushes(&fixture.place), before);
    else
        ck_assert_uint_gt(place_count_flushes(&fixture.place), before);
}
END_TEST

static void write_fua(uint64_t sector, unsigned int generation)
{
    uint32_t sector_size = fixture_info(device).sector_size;
    CLEANUP_FREE uint8_t *buffer = data_new(sector_size);
    const struct iovec vector = {buffer, sector_size};
    data_fill(buffer, sector, 1, sector_size, generation);
    ASSERT_OK(blkd_write(device, sector, &vector, 1, BLKD_WRITE_FUA));
}

START_TEST(write_with_fua_is_stable_by_itself)
{
    if (!open_level(_i, LEVELS))
        return;
    ASSERT_OK(blkd_flush(device));
    uint64_t before = place_count_flushes(&fixture.place);
    data_write(device, 1, 1, 1);
    ck_assert_uint_eq(place_count_flushes(&fixture.place), before);
    write_fua(2, 2);
    ck_assert_uint_gt(place_count_flushes(&fixture.place), before);
    data_expect(device, 1, 1, 1);
    data_expect(device, 2, 1, 2);

    before = place_count_flushes(&fixture.place);
    ASSERT_OK(blkd_write_zeroes(device, 2, 1, BLKD_WRITE_FUA));
    ck_assert_uint_gt(place_count_flushes(&fixture.place), before);
    data_expect(device, 2, 1, 0);
}
END_TEST

START_TEST(flush_after_nothing_but_fua_has_nothing_to_do)
{
    if (!open_level(_i, SYNCING_LEVELS))
        return;
    ASSERT_OK(blkd_flush(device));
    write_fua(2, 2);
    write_fua(3, 2);
    ck_assert_int_eq(fixture_entry(device).unsynced, false);
    ASSERT_OK(blkd_flush(device));
    ck_assert_uint_eq(syncs(), 1);
    data_write(device, 1, 1, 1);
    write_fua(2, 3);
    ck_assert_int_eq(fixture_entry(device).unsynced, true); /* FUA is for that one write */
    ASSERT_OK(blkd_flush(device));
    ck_assert_uint_eq(syncs(), 2);
}
END_TEST

/* The sync of the last close runs after the answer; a new opener waits for it. */
START_TEST(last_close_syncs_unless_nobody_asked_for_it)
{
    if (!open_level(_i, LEVELS))
        return;
    bool expected = fixture_info(device).sync != BLKD_SYNC_NONE;
    data_write(device, 1, 1, 1);
    uint64_t before = place_count_flushes(&fixture.place);
    blkd_close(device);
    device = fixture_open_place();
    if (expected)
        ck_assert_uint_gt(place_count_flushes(&fixture.place), before);
    else
        ck_assert_uint_eq(place_count_flushes(&fixture.place), before);
    data_expect(device, 1, 1, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/sync");
    TCase *tests = fixture_case(suite, "sync");
    tcase_add_loop_test(tests, first_flush_syncs_though_nothing_was_written, 0,
                        place_rows() * SYNCING_LEVELS);
    tcase_add_loop_test(tests, flush_syncs_once_for_what_was_changed, 0,
                        place_rows() * SYNCING_LEVELS);
    tcase_add_loop_test(tests, resize_is_synced_by_a_flush, 0, place_file_rows() * SYNCING_LEVELS);
    tcase_add_loop_test(tests, flush_without_a_sync_level_does_nothing, 0, place_rows());
    tcase_add_loop_test(tests, flush_covers_what_other_sessions_wrote, 0,
                        place_rows() * SYNCING_LEVELS);
    tcase_add_loop_test(tests, kernel_is_asked_once_per_flush_and_level, 0, place_rows() * LEVELS);
    tcase_add_loop_test(tests, drive_is_flushed_by_a_flush, place_file_rows() * LEVELS,
                        place_loop_end() * LEVELS);
    tcase_add_loop_test(tests, write_with_fua_is_stable_by_itself, place_file_rows() * LEVELS,
                        place_loop_end() * LEVELS);
    tcase_add_loop_test(tests, flush_after_nothing_but_fua_has_nothing_to_do, 0,
                        place_rows() * SYNCING_LEVELS);
    tcase_add_loop_test(tests, last_close_syncs_unless_nobody_asked_for_it,
                        place_file_rows() * LEVELS, place_loop_end() * LEVELS);
    return harness_main(suite);
}

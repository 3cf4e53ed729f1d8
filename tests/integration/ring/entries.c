/* SPDX-License-Identifier: MIT */
/* What a submission may ask for: each one that is wrong is answered by an error of its own, and the
 * connection lives (contract, bad input). */
#include "scene.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "common/status.h"

enum {
    IMAGE = SCENE_IMAGE_BYTES,
    ARENA = SCENE_ARENA_BYTES,
    PAGE = SCENE_PAGE,
    SECTOR = 512,
};

/* A member of a submission that has this value instead of a good one. */
struct change {
    size_t offset;
    size_t size_bytes;
    uint64_t value;
};

#define SET(member, number)                                                                        \
    {                                                                                              \
        .offset = offsetof(struct ring_submission, member),                                        \
        .size_bytes = sizeof(((struct ring_submission *)NULL)->member), .value = (number)          \
    }

/* A good read of a page with up to three changes. */
struct row {
    const char *name;
    int expected;
    struct change changes[3];
};

/* Numbers that do not fit in 32 bits, for whoever cuts them. */
static const uint64_t high = UINT64_C(1) << 32;
#define HIGH (UINT64_C(1) << 32)
#define TOP (UINT64_C(1) << 63)
#define OPERATION(name) SET(operation, RING_##name)

static const struct row rows[] = {
    {"no operation", EOPNOTSUPP, {SET(operation, 0)}},
    {"one operation more than there are", EOPNOTSUPP, {SET(operation, RING_WRITE_ZEROES + 1)}},
    {"the last operation", EOPNOTSUPP, {SET(operation, UINT16_MAX)}},
    {"an unknown flag of a write", EINVAL, {OPERATION(WRITE), SET(flags, 2)}},
    {"an unknown flag beside FUA", EINVAL, {OPERATION(WRITE), SET(flags, 0x8001)}},
    {"an unknown flag of a zeroing", EINVAL, {OPERATION(WRITE_ZEROES), SET(flags, 4)}},
    {"an unknown flag of a read", EINVAL, {SET(flags, 2)}},
    {"an unknown flag of a discard", EINVAL, {OPERATION(DISCARD), SET(flags, 0x100)}},
    {"an unknown flag of a flush", EINVAL, {OPERATION(FLUSH), SET(flags, 0x4000)}},
    {"something where 0 belongs", EINVAL, {SET(reserved, 1)}},
    {"something far up where 0 belongs", EINVAL, {SET(reserved, TOP)}},
    {"something where 0 belongs, of a flush", EINVAL, {OPERATION(FLUSH), SET(reserved, 1)}},
    {"a read of nothing", EINVAL, {SET(length_bytes, 0)}},
    {"a write of nothing", EINVAL, {OPERATION(WRITE), SET(length_bytes, 0)}},
    {"a discard of nothing", EINVAL, {OPERATION(DISCARD), SET(length_bytes, 0)}},
    {"a zeroing of nothing", EINVAL, {OPERATION(WRITE_ZEROES), SET(length_bytes, 0)}},
    {"part of a sector", EINVAL, {SET(length_bytes, SECTOR - 1)}},
    {"a sector and a byte", EINVAL, {OPERATION(WRITE), SET(length_bytes, SECTOR + 1)}},
    {"an offset within a sector", EINVAL, {SET(offset_bytes, 1)}},
    {"a write at an offset within a sector", EINVAL, {OPERATION(WRITE), SET(offset_bytes, 256)}},
    {"a read of more than the maximum", EINVAL, {SET(length_bytes, IO_BYTES_MAX + SECTOR)}},
    {"a write of more than the maximum",
     EINVAL,
     {OPERATION(WRITE), SET(length_bytes, IO_BYTES_MAX + SECTOR)}},
    {"a length that is small in 32 bits",
     EINVAL,
     {OPERATION(WRITE), SET(length_bytes, HIGH + SECTOR)}},
    {"a range beyond any offset",
     EINVAL,
     {SET(offset_bytes, UINT64_MAX - SECTOR + 1), SET(length_bytes, PAGE)}},
    {"a read past the end", EINVAL, {SET(offset_bytes, IMAGE)}},
    {"a read over the end", EINVAL, {SET(offset_bytes, IMAGE - SECTOR)}},
    {"a part of a read over the end", EINVAL, {SET(transfer_end_bytes, IMAGE + SECTOR)}},
    {"a write past the end", ENOSPC, {OPERATION(WRITE), SET(offset_bytes, IMAGE)}},
    {"a write far past the end", ENOSPC, {OPERATION(WRITE), SET(offset_bytes, HIGH)}},
    {"a write over the end", ENOSPC, {OPERATION(WRITE), SET(offset_bytes, IMAGE - SECTOR)}},
    {"a part of a write over the end",
     ENOSPC,
     {OPERATION(WRITE), SET(transfer_end_bytes, IMAGE + SECTOR)}},
    {"a discard over the end", ENOSPC, {OPERATION(DISCARD), SET(offset_bytes, IMAGE - SECTOR)}},
    {"a zeroing past the end", ENOSPC, {OPERATION(WRITE_ZEROES), SET(offset_bytes, IMAGE)}},
    {"an arena that is not there", EFAULT, {SET(arena, 1)}},
    {"the arena after the last", EFAULT, {SET(arena, ARENAS_PER_CONNECTION)}},
    {"an arena without end", EFAULT, {OPERATION(WRITE), SET(arena, UINT32_MAX)}},
    {"a negative arena", EFAULT, {SET(arena, UINT32_C(1) << 31)}},
    {"memory after the arena", EFAULT, {SET(memory_offset, ARENA)}},
    {"memory over the arena's end", EFAULT, {SET(memory_offset, ARENA - PAGE + 1)}},
    {"a write from over the arena's end",
     EFAULT,
     {OPERATION(WRITE), SET(memory_offset, ARENA - SECTOR)}},
    {"memory that overflows", EFAULT, {SET(memory_offset, UINT64_MAX - PAGE + 1)}},
    {"memory whose end is all bits", EFAULT, {SET(memory_offset, UINT64_MAX)}},
    {"memory in the arena in 32 bits", EFAULT, {OPERATION(WRITE), SET(memory_offset, HIGH)}},
    {"memory before the arena", EFAULT, {SET(memory_offset, TOP)}},
    {"session 0", EBADF, {SET(session, 0)}},
    {"a session to come", EBADF, {SET(session, 1000000)}},
    {"the last session", EBADF, {OPERATION(FLUSH), SET(session, UINT64_MAX)}},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void apply(struct ring_submission *submission, const struct change *change)
{
    /* The machine has the order of bytes that x86 has, or the values are all small. */
    memcpy((uint8_t *)submission + change->offset, &change->value, change->size_bytes);
}

static void expect_contents(unsigned int seed)
{
    CLEANUP_FREE uint8_t *expected = malloc(IMAGE);
    CLEANUP_FREE uint8_t *found = malloc(IMAGE);
    CLEANUP_CLOSE int fd = open(scene.image, O_RDONLY | O_CLOEXEC);
    scene_fill(expected, IMAGE, seed);
    ck_assert_int_eq(blkd_really_read(fd, found, IMAGE), 0);
    ck_assert_msg(memcmp(expected, found, IMAGE) == 0, "the image has changed");
}

static void expect_good_read(void)
{
    CLEANUP_FREE uint8_t *expected = malloc(IMAGE);
    struct ring_submission read = scene_read();
    read.memory_offset = 8 * (uint64_t)PAGE;
    scene_fill(expected, IMAGE, 0);
    memset(scene.arena.base, 0, 16 * (size_t)PAGE);
    ASSERT_DONE(peer_io(&scene.peer, &read));
    ck_assert_mem_eq(scene.arena.base + read.memory_offset, expected, PAGE);
}

/* It is refused with a sentence, and the next submission is served. */
static void expect_refused(const struct ring_submission *submission, int expected)
{
    struct ring_completion completion = {.id = 0};
    char message[RING_MESSAGE_BYTES];
    ASSERT_DONE(peer_submit(&scene.peer, submission));
    ASSERT_DONE(peer_wait(&scene.peer, &completion, message));
    int error = status_to_errno((Blkd__Status)completion.status);
    ck_assert_msg(error == -expected, "%s, not %s: %s", status_name(error), status_name(-expected),
                  message);
    ck_assert_uint_eq(completion.id, submission->id);
    ck_assert_uint_eq(completion.message_bytes, strlen(message));
    ck_assert_uint_gt(completion.message_bytes, 0);
    expect_good_read();
}

START_TEST(wrong_submission_is_refused_and_the_connection_lives)
{
    for (size_t i = 0; i < ROWS; i++) {
        struct ring_submission submission = scene_read();
        harness_note("%s", rows[i].name);
        submission.id = high + i;
        for (size_t j = 0; j < 3; j++)
            apply(&submission, &rows[i].changes[j]);
        if (submission.arena == 1)
            submission.arena = scene.arena.number + 1;
        expect_refused(&submission, rows[i].expected);
    }
    expect_contents(0);
}
END_TEST

/* All at once: each gets its own answer. */
START_TEST(wrong_submissions_among_good_ones_are_told_apart)
{
    bool seen[SCENE_ENTRIES] = {false};
    for (uint64_t id = 0; id < SCENE_ENTRIES; id++) {
        struct ring_submission submission = scene_read();
        submission.id = id;
        submission.memory_offset = id % 2 == 0 ? id * PAGE : (uint64_t)ARENA;
        ASSERT_DONE(peer_submit(&scene.peer, &submission));
    }
    for (unsigned int i = 0; i < SCENE_ENTRIES; i++) {
        struct ring_completion completion = {.id = 0};
        ASSERT_DONE(peer_wait(&scene.peer, &completion, NULL));
        ck_assert_uint_lt(completion.id, SCENE_ENTRIES);
        ck_assert(!seen[completion.id]);
        seen[completion.id] = true;
        int expected = completion.id % 2 == 0 ? 0 : -EFAULT;
        ck_assert_int_eq(status_to_errno((Blkd__Status)completion.status), expected);
    }
}
END_TEST

START_TEST(read_only_session_changes_nothing)
{
    static const enum ring_operation changes[] = {RING_WRITE, RING_DISCARD, RING_WRITE_ZEROES};
    uint64_t read_only = scene_open(&scene.peer, false, true);
    for (size_t i = 0; i < 3; i++) {
        struct ring_submission submission = scene_submission(changes[i]);
        submission.session = read_only;
        expect_refused(&submission, EROFS);
    }
    struct ring_submission read = scene_read();
    read.session = read_only;
    ASSERT_DONE(peer_io(&scene.peer, &read));
    expect_contents(0);
}
END_TEST

START_TEST(sessions_that_are_not_the_connections_are_refused)
{
    struct ring_submission submission = scene_submission(RING_WRITE);
    submission.session = scene.bystander_session;
    expect_refused(&submission, EBADF);
    uint64_t closed = scene_open(&scene.peer, false, false);
    submission.session = closed;
    memcpy(scene.arena.base, "x", 1);
    ASSERT_DONE(peer_close_session(&scene.peer, closed));
    expect_refused(&submission, EBADF);
    submission.session = scene.session + (UINT64_C(1) << 32);
    expect_refused(&submission, EBADF);
    expect_contents(0);
}
END_TEST

/* A lock of somebody else counts for rings as it does for the socket. */
START_TEST(lock_of_another_is_respected)
{
    struct ring_submission write = scene_submission(RING_WRITE);
    ASSERT_DONE(
        peer_lock(&scene.bystander, scene.bystander_session, BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE));
    expect_refused(&write, EBUSY);
    expect_contents(0);
}
END_TEST

/* An operation that moves no bytes names no memory, whatever stands there. */
START_TEST(memory_of_what_needs_none_is_not_looked_at)
{
    static const enum ring_operation without[] = {RING_FLUSH, RING_DISCARD, RING_WRITE_ZEROES};
    for (size_t i = 0; i < 3; i++) {
        struct ring_submission submission = scene_submission(without[i]);
        submission.arena = UINT32_MAX;
        submission.memory_offset = UINT64_MAX;
        ASSERT_DONE(peer_io(&scene.peer, &submission));
    }
}
END_TEST

/* Memory need not be aligned, also for direct I/O. */
START_TEST(every_operation_works)
{
    uint64_t session = scene_open(&scene.peer, _i == 1, false);
    struct ring_submission submission = scene_submission(RING_WRITE);
    uint8_t *from = scene.arena.base + 3;
    uint8_t *into = scene.arena.base + ARENA - IO_BYTES_MAX;
    submission.session = session;
    submission.length_bytes = IO_BYTES_MAX;
    submission.offset_bytes = IO_BYTES_MAX;
    submission.memory_offset = 3;
    scene_fill(from, IO_BYTES_MAX, 5);
    ASSERT_DONE(peer_io(&scene.peer, &submission));
    submission.flags = BLKD__WRITE_FLAG__WRITE_FLAG_FUA;
    ASSERT_DONE(peer_io(&scene.peer, &submission));
    submission.flags = 0;
    submission.operation = RING_FLUSH;
    ASSERT_DONE(peer_io(&scene.peer, &submission));
    submission.operation = RING_READ;
    submission.memory_offset = ARENA - IO_BYTES_MAX;
    ASSERT_DONE(peer_io(&scene.peer, &submission));
    ck_assert(memcmp(from, into, IO_BYTES_MAX) == 0);

    submission.operation = RING_DISCARD;
    submission.length_bytes = PAGE;
    ASSERT_DONE(peer_io(&scene.peer, &submission));
    submission.operation = RING_WRITE_ZEROES;
    submission.offset_bytes += PAGE;
    ASSERT_DONE(peer_io(&scene.peer, &submission));
    memset(from, 0, 2 * (size_t)PAGE);
    submission.operation = RING_READ;
    submission.offset_bytes = IO_BYTES_MAX;
    submission.length_bytes = IO_BYTES_MAX;
    ASSERT_DONE(peer_io(&scene.peer, &submission));
    ck_assert(memcmp(from, into, IO_BYTES_MAX) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/ring/entries");
    TCase *tests = scene_case(suite, "entries");
    tcase_add_test(tests, wrong_submission_is_refused_and_the_connection_lives);
    tcase_add_test(tests, wrong_submissions_among_good_ones_are_told_apart);
    tcase_add_test(tests, read_only_session_changes_nothing);
    tcase_add_test(tests, sessions_that_are_not_the_connections_are_refused);
    tcase_add_test(tests, lock_of_another_is_respected);
    tcase_add_test(tests, memory_of_what_needs_none_is_not_looked_at);
    tcase_add_loop_test(tests, every_operation_works, 0, 2);
    return harness_main(suite);
}

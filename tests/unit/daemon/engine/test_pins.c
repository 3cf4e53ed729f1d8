/* SPDX-License-Identifier: MIT */
/*
 * What an engine pins stays open without its owner. Whether it does is told by its flock, which
 * falls when the last reference to it does.
 */
#include "tests/unit/daemon/engine/fixture.h"

#include <sys/file.h>
#include <sys/resource.h>

#include "tests/unit/suite.h"

static const char *const rings[] = {"io_uring", "fault:io_uring:read@1000=EIO"};

enum { RINGS = sizeof(rings) / sizeof(*rings) };

/* Of each file: a description that holds its flock and that an engine keeps, and one that tries to
 * take it. */
struct locked {
    int held;
    int other;
};

static int reopen(int fd)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int reopened = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(reopened, 0);
    return reopened;
}

static struct locked locked_make(void)
{
    struct locked locked = {.other = file_make("/dev/shm", 1)};

    locked.held = reopen(locked.other);
    ck_assert_int_eq(flock(locked.held, LOCK_EX | LOCK_NB), 0);
    return locked;
}

static bool is_locked(const struct locked *locked)
{
    if (flock(locked->other, LOCK_EX | LOCK_NB) == 0) {
        ck_assert_int_eq(flock(locked->other, LOCK_UN), 0);
        return false;
    }
    ck_assert_int_eq(errno, EWOULDBLOCK);
    return true;
}

/* The engine takes them in place of what the pin had, and their owner lets go of them. */
static void pin_all(struct engine_pin *pin, const struct locked *locked, unsigned int count)
{
    int fds[ENGINE_PIN_MAX];

    for (unsigned int i = 0; i < count; i++)
        fds[i] = locked[i].held;
    ck_assert_int_eq(engine_pin(engine, pin, fds, count), 0);
    for (unsigned int i = 0; i < count; i++)
        ck_assert_int_eq(close(fds[i]), 0);
}

static void assert_locked(const struct locked *locked, unsigned int count, bool expected)
{
    for (unsigned int i = 0; i < count; i++)
        ck_assert_msg(is_locked(&locked[i]) == expected, "%u of %u: locked is not %d", i, count,
                      expected);
}

START_TEST(what_is_pinned_stays_until_it_is_unpinned)
{
    struct engine_pin pin = {0};
    struct locked locked[ENGINE_PIN_MAX];

    engine_start(rings[_i]);
    for (unsigned int i = 0; i < ENGINE_PIN_MAX; i++)
        locked[i] = locked_make();
    pin_all(&pin, locked, ENGINE_PIN_MAX);
    assert_locked(locked, ENGINE_PIN_MAX, true);
    engine_unpin(engine, &pin);
    assert_locked(locked, ENGINE_PIN_MAX, false);
    engine_stop();
}
END_TEST

START_TEST(pins_are_kept_apart)
{
    struct engine_pin pins[2] = {0};
    struct locked locked[2];

    engine_start(rings[_i]);
    for (unsigned int i = 0; i < 2; i++) {
        locked[i] = locked_make();
        pin_all(&pins[i], &locked[i], 1);
    }
    engine_unpin(engine, &pins[0]);
    assert_locked(&locked[0], 1, false);
    assert_locked(&locked[1], 1, true);
    engine_unpin(engine, &pins[1]);
    assert_locked(&locked[1], 1, false);
    engine_stop();
}
END_TEST

START_TEST(a_pin_can_be_replaced)
{
    struct engine_pin pin = {0};
    struct locked before[2], after[3];

    engine_start(rings[_i]);
    for (unsigned int i = 0; i < 3; i++)
        after[i] = locked_make();
    for (unsigned int i = 0; i < 2; i++)
        before[i] = locked_make();
    pin_all(&pin, before, 2);
    pin_all(&pin, after, 3);
    assert_locked(before, 2, false);
    assert_locked(after, 3, true);
    engine_unpin(engine, &pin);
    assert_locked(after, 3, false);
    engine_stop();
}
END_TEST

START_TEST(a_pin_that_fails_leaves_the_old_one)
{
    struct engine_pin pin = {0};
    struct locked before, after;

    engine_start(rings[_i]);
    before = locked_make();
    pin_all(&pin, &before, 1);
    after = locked_make();
    int fds[2] = {after.held, 1 << 20};
    ck_assert_int_eq(engine_pin(engine, &pin, fds, 2), -EBADF);
    ck_assert_int_eq(close(after.held), 0);
    assert_locked(&before, 1, true);
    assert_locked(&after, 1, false);
    engine_unpin(engine, &pin);
    assert_locked(&before, 1, false);
    engine_stop();
}
END_TEST

START_TEST(unpinning_nothing_does_nothing)
{
    struct engine_pin pin = {0};
    struct locked locked;

    engine_start(rings[_i]);
    engine_unpin(engine, &pin);
    locked = locked_make();
    pin_all(&pin, &locked, 1);
    engine_unpin(engine, &pin);
    engine_unpin(engine, &pin);
    assert_locked(&locked, 1, false);
    engine_stop();
}
END_TEST

/* The table is as large as the limit on descriptors. */
START_TEST(a_full_table_is_an_error_until_there_is_room)
{
    enum { PINS = 33, SLOTS = PINS * ENGINE_PIN_MAX + 1 };
    struct rlimit limit = {.rlim_cur = SLOTS, .rlim_max = SLOTS};
    struct engine_pin pins[PINS] = {0}, small = {0}, late = {0};
    struct locked locked;

    engine_start(rings[_i]);
    locked = locked_make();
    const int fds[ENGINE_PIN_MAX] = {locked.other, locked.other, locked.held};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < SLOTS; i++)
        ck_assert_int_eq(engine_pin(engine, &late, &(int){SLOTS}, 1), -EBADF);
    for (int i = 0; i < PINS; i++)
        ck_assert_int_eq(engine_pin(engine, &pins[i], fds, ENGINE_PIN_MAX), 0);
    ck_assert_int_eq(engine_pin(engine, &late, fds, 2), -ENFILE);
    ck_assert_int_eq(engine_pin(engine, &small, fds, 1), 0);
    ck_assert_int_eq(engine_pin(engine, &late, fds, 1), -ENFILE);
    ck_assert_int_eq(engine_pin(engine, &small, fds, 1), -ENFILE);

    engine_unpin(engine, &pins[PINS / 2]);
    ck_assert_int_eq(engine_pin(engine, &late, fds, ENGINE_PIN_MAX), 0);
    ck_assert_int_eq(engine_pin(engine, &pins[PINS / 2], fds, 1), -ENFILE);
    ck_assert_int_eq(close(locked.held), 0);
    engine_unpin(engine, &late);
    for (int i = 0; i < PINS; i++) {
        ck_assert(is_locked(&locked));
        engine_unpin(engine, &pins[i]);
    }
    ck_assert(!is_locked(&locked));
    engine_stop();
}
END_TEST

/* The process itself outlives its threads' transfers: nothing has to be kept. */
START_TEST(threads_keep_nothing)
{
    struct engine_pin pin = {0};
    struct locked locked;

    engine_start("threads");
    locked = locked_make();
    pin_all(&pin, &locked, 1);
    ck_assert(!is_locked(&locked));
    engine_unpin(engine, &pin);
    engine_stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine pins");
    TCase *tests = tcase_create("engine pins");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, what_is_pinned_stays_until_it_is_unpinned, 0, RINGS);
    tcase_add_loop_test(tests, pins_are_kept_apart, 0, RINGS);
    tcase_add_loop_test(tests, a_pin_can_be_replaced, 0, RINGS);
    tcase_add_loop_test(tests, a_pin_that_fails_leaves_the_old_one, 0, RINGS);
    tcase_add_loop_test(tests, unpinning_nothing_does_nothing, 0, RINGS);
    tcase_add_loop_test(tests, a_full_table_is_an_error_until_there_is_room, 0, RINGS);
    tcase_add_test(tests, threads_keep_nothing);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

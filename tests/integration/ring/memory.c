/* SPDX-License-Identifier: MIT */
/* The memory that is shared: who may have how much, what a client can do to it, and that nothing of
 * it stays when its connection has gone, whatever the client keeps. */
#include "scene.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/limits.h"

enum { MIB = 1024 * 1024 };

/* ---- asking for it ---- */

START_TEST(rings_of_an_odd_size_are_refused)
{
    static const uint32_t odd[] = {0, 1, 2, 4, 7, 9, 24, 1000, UINT32_MAX, UINT32_MAX - 1};
    struct peer peer;
    ASSERT_DONE(peer_connect(&peer, scene.daemon.socket_path));
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        harness_note("%u entries", odd[i]);
        ASSERT_REFUSED(peer_setup_ring(&peer, odd[i]), EINVAL);
    }
    ASSERT_DONE(peer_setup_ring(&peer, RING_ENTRIES_MIN));
    ck_assert_uint_eq(peer.layout.entries, RING_ENTRIES_MIN);
    peer_disconnect(&peer);
}
END_TEST

START_TEST(rings_are_as_large_as_the_daemon_allows)
{
    struct peer peer;
    ASSERT_DONE(peer_connect(&peer, scene.daemon.socket_path));
    ASSERT_DONE(peer_setup_ring(&peer, UINT32_C(1) << 20));
    ck_assert_uint_le(peer.layout.entries, RING_ENTRIES_MAX);
    peer_disconnect(&peer);
}
END_TEST

START_TEST(second_rings_are_refused_and_the_first_work_on)
{
    struct ring_submission read = scene_read();
    ASSERT_REFUSED(peer_setup_ring(&scene.peer, SCENE_ENTRIES), EEXIST);
    ASSERT_DONE(peer_io(&scene.peer, &read));
}
END_TEST

START_TEST(arenas_of_an_odd_size_are_refused)
{
    static const uint64_t odd[] = {0, 1, 4095, 4097, MIB + 512, UINT64_MAX, UINT64_MAX / 2};
    static const uint64_t huge[] = {(SCENE_MIB_PER_CONNECTION + UINT64_C(1)) * MIB,
                                    UINT64_C(1) << 32,
                                    UINT64_C(1) << 44,
                                    UINT64_C(1) << 63,
                                    (UINT64_C(1) << 63) - SCENE_PAGE,
                                    UINT64_MAX - SCENE_PAGE + 1};
    struct peer_arena arena;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        harness_note("%llu bytes", (unsigned long long)odd[i]);
        ASSERT_REFUSED(peer_add_arena(&scene.peer, odd[i], &arena), EINVAL);
    }
    for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
        harness_note("%llu bytes", (unsigned long long)huge[i]);
        ASSERT_REFUSED(peer_add_arena(&scene.peer, huge[i], &arena), EDQUOT);
    }
    ASSERT_DONE(peer_ping(&scene.peer));
}
END_TEST

/* ---- quotas ---- */

START_TEST(connection_gets_so_many_arenas)
{
    struct peer_arena arenas[ARENAS_PER_CONNECTION];
    struct peer_arena more;
    for (unsigned int i = 1; i < ARENAS_PER_CONNECTION; i++)
        ASSERT_DONE(peer_add_arena(&scene.peer, SCENE_PAGE, &arenas[i]));
    ASSERT_REFUSED(peer_add_arena(&scene.peer, SCENE_PAGE, &more), EDQUOT);
    ASSERT_DONE(peer_remove_arena(&scene.peer, arenas[7].number));
    peer_arena_unmap(&arenas[7]);
    ASSERT_DONE(peer_add_arena(&scene.peer, SCENE_PAGE, &arenas[7]));
    ASSERT_REFUSED(peer_add_arena(&scene.peer, SCENE_PAGE, &more), EDQUOT);
    for (unsigned int i = 1; i < ARENAS_PER_CONNECTION; i++)
        peer_arena_unmap(&arenas[i]);
}
END_TEST

START_TEST(connection_gets_so_much_memory)
{
    enum { PIECES = 4 };
    struct peer_arena arenas[PIECES];
    struct peer_arena more;
    ASSERT_DONE(peer_remove_arena(&scene.peer, scene.arena.number));
    for (unsigned int round = 0; round < 3; round++) {
        for (unsigned int i = 0; i < PIECES; i++)
            ASSERT_DONE(peer_add_arena(
                &scene.peer, SCENE_MIB_PER_CONNECTION * (uint64_t)MIB / PIECES, &arenas[i]));
        ASSERT_REFUSED(peer_add_arena(&scene.peer, SCENE_PAGE, &more), EDQUOT);
        for (unsigned int i = 0; i < PIECES; i++) {
            ASSERT_DONE(peer_remove_arena(&scene.peer, arenas[i].number));
            peer_arena_unmap(&arenas[i]);
        }
    }
}
END_TEST

/* Also when it is a connection's end that gives it back. */
START_TEST(user_gets_so_much_memory)
{
    uint64_t all = SCENE_MIB_PER_UID * (uint64_t)MIB;
    uint64_t before = scene_available();
    ck_assert_uint_le(before, all - SCENE_ARENA_BYTES);
    ck_assert_uint_ge(before, all - SCENE_ARENA_BYTES - MIB); /* rings are memory too */
    AWAIT(scene_available() == before, OBSERVE_EVER_MS);
    ASSERT_DONE(peer_remove_arena(&scene.peer, scene.arena.number));
    AWAIT(scene_available() == before + SCENE_ARENA_BYTES, OBSERVE_EVER_MS);
}
END_TEST

/* ---- giving it back ---- */

START_TEST(removed_arena_is_no_more)
{
    struct ring_submission read = scene_read();
    ASSERT_DONE(peer_remove_arena(&scene.peer, scene.arena.number));
    AWAIT(observe_memory(scene.arena.fd) == 0, OBSERVE_SOON_MS);
    ASSERT_REFUSED(peer_io(&scene.peer, &read), EFAULT);
    ASSERT_REFUSED(peer_remove_arena(&scene.peer, scene.arena.number), EBADF);
    ASSERT_REFUSED(peer_remove_arena(&scene.peer, UINT32_MAX), EBADF);
    ASSERT_REFUSED(peer_remove_arena(&scene.peer, ARENAS_PER_CONNECTION), EBADF);
    peer_arena_unmap(&scene.arena);
    ASSERT_DONE(peer_add_arena(&scene.peer, SCENE_ARENA_BYTES, &scene.arena));
    read = scene_read();
    ASSERT_DONE(peer_io(&scene.peer, &read));
}
END_TEST

START_TEST(arena_of_another_connection_cannot_be_named)
{
    struct peer_arena own;
    struct ring_submission read = {
        .operation = RING_READ, .length_bytes = SCENE_PAGE, .session = scene.bystander_session};
    for (read.arena = 0; read.arena < ARENAS_PER_CONNECTION; read.arena++)
        ASSERT_REFUSED(peer_io(&scene.bystander, &read), EFAULT);
    ASSERT_REFUSED(peer_remove_arena(&scene.bystander, scene.arena.number), EBADF);
    ASSERT_DONE(peer_add_arena(&scene.bystander, SCENE_PAGE, &own));
    peer_arena_unmap(&own);
}
END_TEST

/* ---- while it is in use ---- */

#define SLOW "read[0-4095]=delay:500ms"

/* A direct read of the image's begin, which takes its time, is in flight. */
static struct ring_submission begin_slow_read(void)
{
    struct ring_submission slow = scene_read();
    slow.session = scene_open(&scene.peer, true, false);
    memset(scene.arena.base, 0, SCENE_PAGE);
    ASSERT_DONE(peer_submit(&scene.peer, &slow));
    AWAIT(atomic_load(&peer_submission_words(&scene.peer)->head) == 1, OBSERVE_EVER_MS);
    return slow;
}

static void slow_scene_begin(void)
{
    scene_begin_with(SLOW);
}

START_TEST(arena_in_use_is_removed_afterwards)
{
    struct ring_submission slow = begin_slow_read();
    struct ring_submission late = slow;
    struct ring_completion completion = {.id = 0};
    uint8_t expected[SCENE_PAGE];
    scene_fill(expected, sizeof(expected), 0);
    uint64_t remove = peer_start_remove_arena(&scene.peer, scene.arena.number);
    ASSERT_DONE(peer_ping(&scene.peer)); /* behind it on the socket */
    late.id = 78;
    late.offset_bytes = SCENE_PAGE;
    ASSERT_DONE(peer_submit(&scene.peer, &late));
    ASSERT_DONE(peer_wait(&scene.peer, &completion, NULL));
    ck_assert_uint_eq(completion.id, 78);
    ck_assert_int_eq((int)completion.status, BLKD__STATUS__STATUS_EFAULT);
    ck_assert_int_eq(peer_poll(&scene.peer, remove), 1);
    ASSERT_DONE(peer_wait(&scene.peer, &completion, NULL));
    ck_assert_uint_eq(completion.id, 77);
    ck_assert_int_eq((int)completion.status, 0);
    ASSERT_DONE(peer_finish(&scene.peer, remove));
    AWAIT(observe_memory(scene.arena.fd) == 0, OBSERVE_SOON_MS);
}
END_TEST

START_TEST(arena_in_use_outlives_its_connection)
{
    (void)begin_slow_read();
    peer_hang_up(&scene.peer);
    ck_assert_uint_gt(observe_memory(scene.arena.fd), 0);
    AWAIT(observe_memory(scene.arena.fd) == 0, OBSERVE_SOON_MS + 500);
    scene_expect_reclaimed();
}
END_TEST

/* ---- what a client can do to it ---- */

static void expect_sealed(int fd, size_t size_bytes)
{
    ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    ck_assert_int_eq(ftruncate(fd, 0), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(ftruncate(fd, (off_t)size_bytes * 2), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    ck_assert_int_eq(errno, EPERM);
}

START_TEST(memory_cannot_be_cut)
{
    struct ring_submission read = scene_read();
    expect_sealed(scene.peer.rings_fd, scene.peer.layout.size_bytes);
    expect_sealed(scene.arena.fd, scene.arena.size_bytes);
    ASSERT_DONE(peer_io(&scene.peer, &read));
}
END_TEST

/* Holes read as zeroes and fill again: no seal forbids them but one that forbids writing too. */
START_TEST(holes_in_memory_are_zeroes)
{
    struct ring_submission read = scene_read();
    struct ring_submission write = scene_submission(RING_WRITE);
    ASSERT_DONE(peer_io(&scene.peer, &read));
    for (unsigned int i = 0; i < 100; i++) {
        (void)fallocate(scene.arena.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                        SCENE_ARENA_BYTES);
        ASSERT_DONE(peer_io(&scene.peer, i % 2 == 0 ? &write : &read));
    }
    (void)fallocate(scene.peer.rings_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                    (off_t)scene.peer.layout.size_bytes);
    peer_ring_doorbell(&scene.peer);
    if (atomic_load(&peer_submission_words(&scene.peer)->tail) == 0)
        ASSERT_REFUSED(peer_await_close(&scene.peer), EPROTO); /* its index has gone back */
}
END_TEST

START_TEST(protection_of_the_clients_own_mapping_is_its_own_affair)
{
    struct ring_submission read = scene_read();
    ck_assert_int_eq(mprotect(scene.arena.base, scene.arena.size_bytes, PROT_NONE), 0);
    ASSERT_DONE(peer_io(&scene.peer, &read));
    ck_assert_int_eq(munmap(scene.arena.base, scene.arena.size_bytes), 0);
    ASSERT_DONE(peer_io(&scene.peer, &read));
    scene.arena.base = NULL;
    (void)close(scene.arena.fd);
    ASSERT_DONE(peer_io(&scene.peer, &read));
}
END_TEST

/* ---- the doorbell ---- */

static atomic_bool ringing;

/* Makes the descriptor a blocking one and takes away what was written, so that it is empty when the
 * daemon, having been told that it is readable, comes to read it. */
static void *ring_and_run(void *unused)
{
    uint64_t value = 1;
    (void)unused;
    while (atomic_load(&ringing)) {
        (void)!write(scene.peer.doorbell_fd, &value, sizeof(value));
        (void)!read(scene.peer.doorbell_fd, &value, sizeof(value));
        value = 1;
    }
    return NULL;
}

START_TEST(doorbell_that_is_taken_away_blocks_nobody)
{
    pthread_t thread;
    uint64_t end = observe_now_ms() + 1000;
    int flags = fcntl(scene.peer.doorbell_fd, F_GETFL);
    ck_assert_int_eq(fcntl(scene.peer.doorbell_fd, F_SETFL, flags & ~O_NONBLOCK), 0);
    atomic_store(&ringing, true);
    ck_assert_int_eq(pthread_create(&thread, NULL, ring_and_run, NULL), 0);
    while (observe_now_ms() < end) {
        uint64_t begin = observe_now_ms();
        scene_check_bystander();
        ASSERT_IN_TIME(begin, OBSERVE_SOON_MS);
    }
    atomic_store(&ringing, false);
    AWAIT(pthread_tryjoin_np(thread, NULL) == 0 || (peer_ring_doorbell(&scene.peer), false),
          OBSERVE_EVER_MS);
}
END_TEST

/* Its client is not heard, until it has emptied it. */
START_TEST(doorbell_that_is_full_blocks_nobody)
{
    uint64_t most = UINT64_MAX - 1;
    struct ring_submission submission = scene_read();
    for (unsigned int i = 0; i < 1000; i++) {
        (void)!write(scene.peer.doorbell_fd, &most, sizeof(most));
        scene_check_bystander();
    }
    ck_assert_int_eq((int)read(scene.peer.doorbell_fd, &most, sizeof(most)), (int)sizeof(most));
    ASSERT_DONE(peer_io(&scene.peer, &submission));
}
END_TEST

/* ---- afterwards ---- */

/* The client has everything still mapped, and the daemon has closed the connection. */
START_TEST(client_that_lives_on_keeps_no_memory)
{
    struct ring_submission read = scene_read();
    ASSERT_DONE(peer_io(&scene.peer, &read));
    memset(scene.arena.base, 'x', scene.arena.size_bytes);
    memset(scene.peer.rings + scene.peer.layout.messages, 'x', SCENE_PAGE);
    ck_assert_uint_ge(observe_memory(scene.arena.fd), scene.arena.size_bytes);
    if (_i == 0) {
        peer_hang_up(&scene.peer);
    } else {
        atomic_store(&peer_submission_words(&scene.peer)->tail, UINT32_C(1) << 30);
        peer_ring_doorbell(&scene.peer);
        /* Who breaks the rules of the rings gets no time to move their data. */
        ASSERT_REFUSED(peer_await_close(&scene.peer), EPROTO);
    }
    AWAIT(observe_memory(scene.arena.fd) == 0, OBSERVE_SOON_MS);
    AWAIT(observe_memory(scene.peer.rings_fd) == 0, OBSERVE_SOON_MS);
    scene_expect_reclaimed();
    for (size_t i = 0; i < scene.arena.size_bytes; i += SCENE_PAGE / 2)
        ck_assert_uint_eq(scene.arena.base[i], 0);
    for (size_t i = 0; i < scene.peer.layout.size_bytes; i += 64)
        ck_assert_uint_eq(scene.peer.rings[i], 0);
}
END_TEST

/* Who does not say that it has moved may not have: its memory stays, and counts, but not for ever.
 */
START_TEST(memory_of_a_client_that_says_nothing_stays_for_a_while)
{
    uint64_t available = scene_available();
    memset(scene.arena.base, 'x', scene.arena.size_bytes);
    uint64_t begin = observe_now_ms();
    peer_hang_up_silently(&scene.peer);
    while (observe_now_ms() - begin < PARTING_MS / 2) {
        ck_assert_uint_eq(scene_available(), available);
        ck_assert_uint_ge(observe_memory(scene.arena.fd), scene.arena.size_bytes);
    }
    AWAIT(observe_memory(scene.arena.fd) == 0, PARTING_MS);
    ck_assert_uint_ge(observe_now_ms() - begin, PARTING_MS - 100);
    AWAIT(scene_available() >= available + SCENE_ARENA_BYTES, OBSERVE_SOON_MS);
    scene_expect_reclaimed();
}
END_TEST

/* Nobody rings who has no daemon any more; nothing that was there is reached by another. */
START_TEST(old_descriptors_reach_nothing_new)
{
    peer_hang_up(&scene.peer);
    AWAIT(observe_memory(scene.arena.fd) == 0, OBSERVE_SOON_MS);
    struct peer next;
    struct peer_arena arena;
    struct ring_submission read = {.operation = RING_READ, .length_bytes = SCENE_PAGE};
    scene_join(&next);
    ASSERT_DONE(peer_add_arena(&next, SCENE_ARENA_BYTES, &arena));
    read.session = scene_open(&next, false, false);
    read.arena = arena.number;
    memset(scene.arena.base, 'y', scene.arena.size_bytes);
    memset(scene.peer.rings, 'y', scene.peer.layout.size_bytes);
    peer_ring_doorbell(&scene.peer);
    for (size_t i = 0; i < arena.size_bytes; i += 64)
        ck_assert_uint_eq(arena.base[i], 0);
    ASSERT_DONE(peer_io(&next, &read));
    peer_arena_unmap(&arena);
    peer_disconnect(&next);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, rings_of_an_odd_size_are_refused);
    tcase_add_test(tests, rings_are_as_large_as_the_daemon_allows);
    tcase_add_test(tests, second_rings_are_refused_and_the_first_work_on);
    tcase_add_test(tests, arenas_of_an_odd_size_are_refused);
    tcase_add_test(tests, connection_gets_so_many_arenas);
    tcase_add_test(tests, connection_gets_so_much_memory);
    tcase_add_test(tests, user_gets_so_much_memory);
    tcase_add_test(tests, removed_arena_is_no_more);
    tcase_add_test(tests, arena_of_another_connection_cannot_be_named);
    tcase_add_test(tests, memory_cannot_be_cut);
    tcase_add_test(tests, holes_in_memory_are_zeroes);
    tcase_add_test(tests, protection_of_the_clients_own_mapping_is_its_own_affair);
    tcase_add_test(tests, doorbell_that_is_taken_away_blocks_nobody);
    tcase_add_test(tests, doorbell_that_is_full_blocks_nobody);
    tcase_add_loop_test(tests, client_that_lives_on_keeps_no_memory, 0, 2);
    tcase_add_test(tests, memory_of_a_client_that_says_nothing_stays_for_a_while);
    tcase_add_test(tests, old_descriptors_reach_nothing_new);
}

int main(void)
{
    Suite *suite = suite_create("integration/ring/memory");
    TCase *slow = tcase_create("in use");
    add_tests(scene_case(suite, "memory"));
    tcase_set_timeout(slow, SCENE_TIMEOUT_S);
    tcase_add_checked_fixture(slow, slow_scene_begin, scene_end);
    tcase_add_test(slow, arena_in_use_is_removed_afterwards);
    tcase_add_test(slow, arena_in_use_outlives_its_connection);
    suite_add_tcase(suite, slow);
    return harness_main(suite);
}

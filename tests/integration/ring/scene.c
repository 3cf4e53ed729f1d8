/* SPDX-License-Identifier: MIT */
#include "scene.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

struct scene scene;

void scene_fill(uint8_t *bytes, size_t length, unsigned int seed)
{
    uint64_t state = seed + 1;
    for (size_t i = 0; i < length; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bytes[i] = (uint8_t)(state >> 56);
    }
}

static void make_image(const char *name, char *ret_path)
{
    CLEANUP_FREE uint8_t *contents = malloc(SCENE_IMAGE_BYTES);
    ck_assert_ptr_nonnull(contents);
    harness_make_file(harness_directory(), name, SCENE_IMAGE_BYTES, ret_path);
    CLEANUP_CLOSE int fd = open(ret_path, O_WRONLY | O_CLOEXEC);
    scene_fill(contents, SCENE_IMAGE_BYTES, 0);
    ck_assert_int_eq(blkd_really_write(fd, contents, SCENE_IMAGE_BYTES), 0);
}

void scene_join(struct peer *peer)
{
    ASSERT_DONE(peer_connect(peer, scene.daemon.socket_path));
    ASSERT_DONE(peer_setup_ring(peer, SCENE_ENTRIES));
    ck_assert_uint_eq(peer->layout.entries, SCENE_ENTRIES);
}

uint64_t scene_open(struct peer *peer, bool direct, bool read_only)
{
    Blkd__Config config = BLKD__CONFIG__INIT;
    char *path = direct ? scene.direct_image : scene.image;
    uint64_t session = 0;
    config.path = (ProtobufCBinaryData){strlen(path), (uint8_t *)path};
    config.direct = direct;
    config.access = read_only ? BLKD__ACCESS__ACCESS_READ_ONLY : BLKD__ACCESS__ACCESS_AUTO;
    ASSERT_DONE(peer_open(peer, &config, &session));
    return session;
}

/* With limits that are reached without gigabytes. */
static const char *scene_configuration(void)
{
    static char path[HARNESS_PATH_MAX];
    harness_join(harness_directory(), "blkd.conf", path);
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_gt(fprintf(file,
                             "[limits]\narena-mib-per-connection = %d\narena-mib-per-uid = %d\n",
                             SCENE_MIB_PER_CONNECTION, SCENE_MIB_PER_UID),
                     0);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

static void start_daemon(const char *fault_rules)
{
    const char *engine = getenv("BLKD_ENGINE");
    char name[256];
    if (engine == NULL || *engine == '\0')
        engine = "auto";
    if (fault_rules != NULL) {
        (void)snprintf(name, sizeof(name), "fault:%s:%s", engine, fault_rules);
        ck_assert_int_eq(setenv("BLKD_ENGINE", name, 1), 0); /* of this test's process */
    }
    const char *const options[] = {"--config", scene_configuration(), NULL};
    harness_daemon_start(&scene.daemon, options);
}

/* A connection that has ended may still be on its way out: the least of what is seen until the
 * counts have been the same for a while is what an idle daemon has. */
static void count_idle(void)
{
    AWAIT(observe_shared_mappings(scene.daemon.pid) == 0, OBSERVE_SOON_MS);
    struct peer first;
    ASSERT_DONE(peer_connect(&first, scene.daemon.socket_path));
    ASSERT_DONE(peer_ping(&first));
    unsigned int with_one = observe_descriptors(scene.daemon.pid);
    peer_disconnect(&first);
    AWAIT(observe_descriptors(scene.daemon.pid) < with_one, OBSERVE_SOON_MS);
    scene.descriptors = observe_descriptors(scene.daemon.pid);
    scene.mappings = observe_shared_mappings(scene.daemon.pid);
}

void scene_begin_with(const char *fault_rules)
{
    scene = (struct scene){.session = 0};
    make_image("image", scene.image);
    make_image("direct-image", scene.direct_image);
    start_daemon(fault_rules);
    count_idle();
    scene_join(&scene.bystander);
    scene.bystander_session = scene_open(&scene.bystander, false, false);
    scene_join(&scene.peer);
    ASSERT_DONE(peer_add_arena(&scene.peer, SCENE_ARENA_BYTES, &scene.arena));
    scene.session = scene_open(&scene.peer, false, false);
}

static void scene_begin(void)
{
    scene_begin_with(NULL);
}

void scene_check_bystander(void)
{
    struct ring_submission flush = {.operation = RING_FLUSH, .session = scene.bystander_session};
    ASSERT_DONE(peer_ping(&scene.bystander));
    ASSERT_DONE(peer_io(&scene.bystander, &flush));
}

void scene_expect_reclaimed(void)
{
    struct peer *other = &scene.bystander;
    struct peer newcomer;
    scene_check_bystander();
    /* What the bystander has: two descriptors that are shared, its socket and its device's. */
    peer_hang_up(other);
    AWAIT(observe_descriptors(scene.daemon.pid) <= scene.descriptors, OBSERVE_SOON_MS);
    AWAIT(observe_shared_mappings(scene.daemon.pid) <= scene.mappings, OBSERVE_SOON_MS);
    peer_disconnect(other);
    scene_join(&newcomer);
    scene.bystander = newcomer;
    scene.bystander_session = scene_open(&scene.bystander, false, false);
}

void scene_end(void)
{
    scene_check_bystander();
    peer_disconnect(&scene.peer);
    scene_expect_reclaimed();
    peer_arena_unmap(&scene.arena);
    peer_disconnect(&scene.bystander);
    harness_daemon_stop(&scene.daemon);
}

TCase *scene_case(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_set_timeout(tests, SCENE_TIMEOUT_S);
    tcase_add_checked_fixture(tests, scene_begin, scene_end);
    suite_add_tcase(suite, tests);
    return tests;
}

struct ring_submission scene_submission(enum ring_operation operation)
{
    return (struct ring_submission){.id = 77,
                                    .session = scene.session,
                                    .length_bytes = operation != RING_FLUSH ? SCENE_PAGE : 0,
                                    .arena = scene.arena.number,
                                    .operation = (uint16_t)operation};
}

struct ring_submission scene_read(void)
{
    return scene_submission(RING_READ);
}

/* In ever smaller pieces, so that nothing is left over. */
static uint64_t take_all(struct peer *peer)
{
    uint64_t total = 0;
    for (uint64_t size = (uint64_t)SCENE_MIB_PER_CONNECTION << 20; size >= SCENE_PAGE;) {
        struct peer_arena arena;
        if (peer_add_arena(peer, size, &arena) < 0) {
            size /= 2;
            continue;
        }
        total += size;
        peer_arena_unmap(&arena);
    }
    return total;
}

uint64_t scene_available(void)
{
    enum { PEERS = SCENE_MIB_PER_UID / SCENE_MIB_PER_CONNECTION + 1 };
    struct peer peers[PEERS];
    uint64_t total = 0;
    for (unsigned int i = 0; i < PEERS; i++) {
        ASSERT_DONE(peer_connect(&peers[i], scene.daemon.socket_path));
        /* What others had may still be on its way back. */
        AWAIT(peer_setup_ring(&peers[i], SCENE_ENTRIES) == 0, OBSERVE_EVER_MS);
    }
    for (unsigned int i = 0; i < PEERS; i++)
        total += take_all(&peers[i]);
    for (unsigned int i = 0; i < PEERS; i++)
        peer_disconnect(&peers[i]);
    return total;
}

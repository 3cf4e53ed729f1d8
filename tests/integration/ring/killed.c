/* SPDX-License-Identifier: MIT */
/*
 * Clients that are killed at random points, with rings full and I/O in flight on a fast and on a
 * slow device: within a second of the last completion nothing of them is left. `--kills N`.
 */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    AT_ONCE = 4,
    PEER_ENTRIES = 64,
    IMAGE_BYTES = 4 * 1024 * 1024,
    ARENA_BYTES = 1024 * 1024,
    LIFE_US_MAX = 25000,
    CASE_TIMEOUT_S = 900,
};

/* What begins in the first half of a file takes its time, if the engine does it. */
#define RULES "any[0-2097151]%3=delay:30ms"

static unsigned int kills = 100;
static char images[AT_ONCE][HARNESS_PATH_MAX];
static unsigned int seed = 1;

/* ---- those that are killed ---- */

static unsigned int pick(unsigned int *random, unsigned int limit)
{
    return (unsigned int)rand_r(random) % limit;
}

static int open_image(struct peer *peer, const char *path, bool direct, uint64_t *ret_session)
{
    Blkd__Config config = BLKD__CONFIG__INIT;
    config.path = (ProtobufCBinaryData){strlen(path), (uint8_t *)(uintptr_t)path};
    config.direct = direct;
    return peer_open(peer, &config, ret_session);
}

static struct ring_submission random_submission(unsigned int *random, uint64_t session,
                                                uint32_t arena)
{
    uint64_t length = 4096 * (1 + (uint64_t)pick(random, 8));
    return (struct ring_submission){
        .session = session,
        .length_bytes = length,
        .offset_bytes = (uint64_t)pick(random, (IMAGE_BYTES - 32768) / 4096) * 4096,
        .memory_offset = (uint64_t)pick(random, (ARENA_BYTES - 32768) / 4096) * 4096,
        .arena = arena,
        .operation = (uint16_t)(pick(random, 16) > 0 ? 1 + pick(random, 2) : 1 + pick(random, 5)),
    };
}

/* Keeps its ring full. Ends only if something fails, with an exit code that the test is told. */
static _Noreturn void fly(const char *path, unsigned int random)
{
    struct peer peer;
    struct peer_arena arena;
    struct ring_completion completion;
    uint64_t session = 0;
    bool direct = pick(&random, 4) > 0;
    if (peer_connect(&peer, scene.daemon.socket_path) < 0 ||
        peer_setup_ring(&peer, PEER_ENTRIES) < 0 || open_image(&peer, path, direct, &session) < 0 ||
        peer_lock(&peer, session, BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE) < 0 ||
        peer_add_arena(&peer, ARENA_BYTES, &arena) < 0)
        _exit(2);
    for (unsigned int in_flight = 0;;) {
        struct ring_submission submission = random_submission(&random, session, arena.number);
        if (in_flight < PEER_ENTRIES && peer_submit(&peer, &submission) == 0) {
            in_flight++;
            continue;
        }
        if (peer_wait(&peer, &completion, NULL) < 0)
            _exit(3);
        in_flight--;
    }
}

static void ignore(void *user_data, int result)
{
    unsigned int *in_flight = user_data;
    (void)result;
    (*in_flight)--;
}

/* The same through libblkd. */
static _Noreturn void fly_library(const char *path, unsigned int random)
{
    struct blkd_options options = {0};
    struct blkd_config config = {0};
    struct blkd *connection = NULL;
    struct blkd_device *device = NULL;
    void *buffer = NULL;
    unsigned int in_flight = 0;
    options.socket_path = scene.daemon.socket_path;
    config.path = path;
    config.lock = true;
    config.direct = pick(&random, 4) != 0;
    if (blkd_connect(&options, &connection) < 0 || blkd_open(connection, &config, &device) < 0 ||
        blkd_buffer_alloc(connection, ARENA_BYTES, &buffer) < 0)
        _exit(4);
    for (;;) {
        const struct ring_submission wish = random_submission(&random, 0, 0);
        const struct iovec vector = {(uint8_t *)buffer + wish.memory_offset, wish.length_bytes};
        int result =
            wish.operation == RING_READ
                ? blkd_read_async(device, wish.offset_bytes / 512, &vector, 1, ignore, &in_flight)
                : blkd_write_async(device, wish.offset_bytes / 512, &vector, 1, 0, ignore,
                                   &in_flight);
        in_flight++;
        if (result < 0 || (in_flight >= PEER_ENTRIES && blkd_dispatch(connection, -1) < 0))
            _exit(5);
    }
}

static pid_t start_one(unsigned int number)
{
    pid_t parent = getpid();
    unsigned int random = seed++;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    peer_hang_up(&scene.bystander); /* the parent's, to end when the parent says so */
    peer_hang_up(&scene.peer);
    if (pick(&random, 3) == 0)
        fly_library(images[number], random);
    fly(images[number], random);
}

/* ---- what is seen of them ---- */

/* Of all that is listed, only the scene's own clients. */
static struct blkd *watcher;
static size_t own_sessions;

static size_t count_sessions(void)
{
    struct blkd_session_list *list = NULL;
    ck_assert_int_eq(blkd_list_sessions(watcher, 0, &list), 0);
    size_t count = list->count;
    blkd_session_list_free(list);
    return count;
}

static size_t count_locks(void)
{
    struct blkd_lock_list *list = NULL;
    ck_assert_int_eq(blkd_list_locks(watcher, 0, &list), 0);
    size_t count = list->count;
    blkd_lock_list_free(list);
    return count;
}

static size_t count_in_flight(void)
{
    struct blkd_device_list *list = NULL;
    size_t count = 0;
    ck_assert_int_eq(blkd_list_devices(watcher, &list), 0);
    for (size_t i = 0; i < list->count; i++)
        count += list->entries[i]->in_flight;
    blkd_device_list_free(list);
    return count;
}

static size_t count_devices(void)
{
    struct blkd_device_list *list = NULL;
    ck_assert_int_eq(blkd_list_devices(watcher, &list), 0);
    size_t count = list->count;
    blkd_device_list_free(list);
    return count;
}

static unsigned int descriptors;
static unsigned int mappings;

static void expect_gone(void)
{
    AWAIT(count_in_flight() == 0, OBSERVE_EVER_MS);
    AWAIT(count_locks() == 0, OBSERVE_SOON_MS);
    AWAIT(count_sessions() == own_sessions, OBSERVE_SOON_MS);
    AWAIT(observe_shared_mappings(scene.daemon.pid) <= mappings, OBSERVE_SOON_MS);
    AWAIT(count_devices() == 1, OBSERVE_EVER_MS); /* it is synced first, as long as that takes */
    AWAIT(observe_descriptors(scene.daemon.pid) <= descriptors, OBSERVE_SOON_MS);
}

/* ---- killing ---- */

static void kill_one(pid_t pid)
{
    int status = 0;
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status), "it had ended before, with code %d", WEXITSTATUS(status));
}

/* Each at a moment of its own. */
static void kill_some(void)
{
    pid_t pids[AT_ONCE];
    for (unsigned int i = 0; i < AT_ONCE; i++)
        pids[i] = start_one(i);
    for (unsigned int i = 0; i < AT_ONCE; i++) {
        const struct timespec moment = {
            .tv_nsec = 1000L * (long)pick(&seed, LIFE_US_MAX * OBSERVE_PATIENCE / AT_ONCE * 2)};
        (void)nanosleep(&moment, NULL);
        kill_one(pids[i]);
    }
    expect_gone();
}

static void killing_begin(void)
{
    scene_begin_with(RULES);
    for (unsigned int i = 0; i < AT_ONCE; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "killed%u", i);
        harness_make_file(i % 2 == 0 ? harness_directory() : harness_memory_directory(), name,
                          IMAGE_BYTES, images[i]);
    }
    watcher = harness_connect(&scene.daemon);
    own_sessions = count_sessions();
    descriptors = observe_descriptors(scene.daemon.pid);
    mappings = observe_shared_mappings(scene.daemon.pid);
}

static void killing_end(void)
{
    blkd_disconnect(watcher);
    scene_end();
}

START_TEST(nothing_is_left_of_a_killed_client)
{
    uint64_t available = scene_available();
    for (unsigned int done = 0; done < kills; done += AT_ONCE) {
        harness_note("after %u kills", done);
        kill_some();
        scene_check_bystander();
    }
    AWAIT(scene_available() == available, OBSERVE_EVER_MS);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--kills") == 0)
        kills = (unsigned int)strtoul(argv[2], NULL, 10);
    Suite *suite = suite_create("integration/ring/killed");
    TCase *tests = tcase_create("killed");
    tcase_set_timeout(tests, CASE_TIMEOUT_S);
    tcase_add_checked_fixture(tests, killing_begin, killing_end);
    tcase_add_test(tests, nothing_is_left_of_a_killed_client);
    suite_add_tcase(suite, tests);
    return harness_main(suite);
}

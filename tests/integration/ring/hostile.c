/* SPDX-License-Identifier: MIT */
/*
 * Hostile clients, for a while: attack.c's, several at once, while a client of libblkd on its own
 * connection writes, reads back, locks. `--seconds N --seed S`; the seed that was taken is printed.
 */
#include "scene.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attack.h"

enum {
    ATTACKERS = 2,
    BLOCKS = 256,
    BLOCK_BYTES = 4096,
    SECTORS_PER_BLOCK = BLOCK_BYTES / 512,
    RUN_MAX = 16, /* blocks of one transfer */
    /* Nothing that the victim asks for takes so long. */
    VICTIM_MS_MAX = 5000 * OBSERVE_PATIENCE,
};

static unsigned int seconds = 5;
static uint64_t seed;
static struct attack_state *state;

/* ---- the victim ---- */

struct victim {
    struct blkd *connection;
    struct blkd_device *device;
    uint8_t generations[BLOCKS]; /* what each block was written with */
    uint8_t *buffer;             /* shared with the daemon, or not */
    unsigned int random;
    uint64_t rounds;
    uint64_t slowest_ms;
};

#define VICTIM_OK(expression)                                                                      \
    do {                                                                                           \
        int result_ = (expression);                                                                \
        ck_assert_msg(result_ == 0, "%s: %d: %s", #expression, result_, blkd_error_message());     \
    } while (0)

static unsigned int pick(struct victim *victim, unsigned int limit)
{
    return (unsigned int)rand_r(&victim->random) % limit;
}

static void fill_block(uint8_t *block, unsigned int number, uint8_t generation)
{
    if (generation == 0)
        memset(block, 0, BLOCK_BYTES);
    else
        scene_fill(block, BLOCK_BYTES, number * 256 + generation);
}

static void victim_begin(struct victim *victim, const char *path, bool shared)
{
    struct blkd_config config = {0};
    void *buffer = NULL;
    config.path = path;
    *victim = (struct victim){.random = (unsigned int)seed};
    victim->connection = harness_connect(&scene.daemon);
    VICTIM_OK(blkd_open(victim->connection, &config, &victim->device));
    if (shared)
        VICTIM_OK(blkd_buffer_alloc(victim->connection, RUN_MAX * BLOCK_BYTES, &buffer));
    else
        buffer = malloc((size_t)RUN_MAX * BLOCK_BYTES);
    ck_assert_ptr_nonnull(buffer);
    victim->buffer = buffer;
}

static void victim_write(struct victim *victim, unsigned int first, unsigned int count)
{
    const struct iovec vector = {victim->buffer, (size_t)count * BLOCK_BYTES};
    for (unsigned int i = first; i < first + count; i++) {
        victim->generations[i] = (uint8_t)(1 + pick(victim, 255));
        fill_block(victim->buffer + (size_t)(i - first) * BLOCK_BYTES, i, victim->generations[i]);
    }
    VICTIM_OK(blkd_write(victim->device, (uint64_t)first * SECTORS_PER_BLOCK, &vector, 1,
                         pick(victim, 16) == 0 ? BLKD_WRITE_FUA : 0));
}

static void victim_read(struct victim *victim, unsigned int first, unsigned int count)
{
    const struct iovec vector = {victim->buffer, (size_t)count * BLOCK_BYTES};
    uint8_t expected[BLOCK_BYTES];
    memset(victim->buffer, 0xee, vector.iov_len);
    VICTIM_OK(blkd_read(victim->device, (uint64_t)first * SECTORS_PER_BLOCK, &vector, 1));
    for (unsigned int i = first; i < first + count; i++) {
        fill_block(expected, i, victim->generations[i]);
        ck_assert_msg(
            memcmp(expected, victim->buffer + (size_t)(i - first) * BLOCK_BYTES, BLOCK_BYTES) == 0,
            "block %u is not what was written there", i);
    }
}

static void victim_zero(struct victim *victim, unsigned int first, unsigned int count)
{
    VICTIM_OK(blkd_discard(victim->device, (uint64_t)first * SECTORS_PER_BLOCK,
                           (uint64_t)count * SECTORS_PER_BLOCK));
    memset(victim->generations + first, 0, count);
}

/* Its own part of the device, under a lock. */
static void victim_round(struct victim *victim)
{
    struct blkd_lock_request request = {0};
    unsigned int count = 1 + pick(victim, RUN_MAX);
    unsigned int first = pick(victim, BLOCKS - count);
    uint64_t begin = observe_now_ms();
    request.first_sector = (uint64_t)first * SECTORS_PER_BLOCK;
    request.count_sectors = (uint64_t)count * SECTORS_PER_BLOCK;
    VICTIM_OK(blkd_lock(victim->device, &request, NULL));
    victim_read(victim, first, count);
    if (pick(victim, 8) == 0)
        victim_zero(victim, first, count);
    else
        victim_write(victim, first, count);
    if (pick(victim, 8) == 0)
        VICTIM_OK(blkd_flush(victim->device));
    victim_read(victim, first, count);
    VICTIM_OK(blkd_unlock(victim->device, request.first_sector, request.count_sectors));
    uint64_t took = observe_now_ms() - begin;
    victim->slowest_ms = took > victim->slowest_ms ? took : victim->slowest_ms;
    victim->rounds++;
}

static void victim_end(struct victim *victim, bool shared)
{
    for (unsigned int first = 0; first < BLOCKS; first += RUN_MAX)
        victim_read(victim, first, RUN_MAX);
    if (!shared)
        free(victim->buffer);
    blkd_disconnect(victim->connection);
    (void)fprintf(stderr, "victim: %" PRIu64 " rounds, the slowest %" PRIu64 " ms\n",
                  victim->rounds, victim->slowest_ms);
    /* One a second is not starved. */
    ck_assert(harness_in_time(UINT64_C(1000) * seconds, 1000 * victim->rounds + 1));
    ck_assert(harness_in_time(victim->slowest_ms, VICTIM_MS_MAX));
}

/* ---- the attackers ---- */

static pid_t start_attacker(unsigned int number, const struct attack_plan *plan)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0)
        return pid;
    struct attack_plan own = *plan;
    own.seed = seed + number;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        attack(&own);
    _exit(0);
}

static void await_attacker(pid_t pid)
{
    int status = 0;
    AWAIT(waitpid(pid, &status, WNOHANG) == pid, 2 * OBSERVE_EVER_MS);
    ck_assert_msg(status == 0, "an attacker ended with status %#x", (unsigned int)status);
}

/* That it was an attack at all. */
static void expect_attacked(void)
{
    uint64_t lives = atomic_load(&state->lives);
    uint64_t closed = atomic_load(&state->closed);
    uint64_t done = atomic_load(&state->done);
    uint64_t completed = atomic_load(&state->completed);
    (void)fprintf(stderr,
                  "attackers: %" PRIu64 " connections, %" PRIu64 " of them closed with EPROTO; "
                  "%" PRIu64 " completions, %" PRIu64 " without an error\n",
                  lives, closed, completed, done);
    ck_assert_uint_gt(closed, 0);
    ck_assert_uint_gt(lives, closed);
    ck_assert_uint_gt(done, 0);
    ck_assert_uint_gt(completed, done);
    ck_assert_uint_eq(atomic_load(&state->strange), 0);
}

static void start_all(pid_t pids[ATTACKERS])
{
    static char images[2][HARNESS_PATH_MAX];
    struct attack_plan plan = {.socket_path = scene.daemon.socket_path,
                               .images = {images[0], images[1]},
                               .image_bytes = SCENE_IMAGE_BYTES,
                               .state = state};
    harness_make_file(harness_directory(), "attacked", SCENE_IMAGE_BYTES, images[0]);
    harness_make_file(harness_memory_directory(), "attacked", SCENE_IMAGE_BYTES, images[1]);
    for (unsigned int i = 0; i < ATTACKERS; i++)
        pids[i] = start_attacker(i, &plan);
}

START_TEST(another_client_notices_nothing)
{
    struct victim victims[2];
    pid_t pids[ATTACKERS];
    char path[HARNESS_PATH_MAX];
    state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(state, MAP_FAILED);
    uint64_t available = scene_available();
    start_all(pids); /* they are not to have the victims' descriptors */
    harness_make_file(harness_directory(), "victim0", BLOCKS * BLOCK_BYTES, path);
    victim_begin(&victims[0], path, false);
    harness_make_file(harness_memory_directory(), "victim1", BLOCKS * BLOCK_BYTES, path);
    victim_begin(&victims[1], path, true);

    uint64_t end = observe_now_ms() + UINT64_C(1000) * seconds;
    while (observe_now_ms() < end) {
        victim_round(&victims[0]);
        victim_round(&victims[1]);
    }
    atomic_store(&state->over, true);
    for (unsigned int i = 0; i < ATTACKERS; i++)
        await_attacker(pids[i]);
    victim_end(&victims[0], false);
    victim_end(&victims[1], true);
    expect_attacked();

    AWAIT(scene_available() == available, OBSERVE_EVER_MS);
    peer_disconnect(&scene.peer);
    scene_expect_reclaimed();
    (void)munmap(state, sizeof(*state));
}
END_TEST

static uint64_t number(const char *text)
{
    char *end = NULL;
    uint64_t value = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        (void)fprintf(stderr, "'%s' is no number\n", text);
        exit(2);
    }
    return value;
}

static void parse(int argc, char **argv)
{
    seed = (uint64_t)time(NULL);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seconds") == 0)
            seconds = (unsigned int)number(argv[i + 1]);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = number(argv[i + 1]);
    }
    (void)fprintf(stderr, "--seconds %u --seed %" PRIu64 "\n", seconds, seed);
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    Suite *suite = suite_create("integration/ring/hostile");
    TCase *tests = scene_case(suite, "hostile");
    tcase_set_timeout(tests, SCENE_TIMEOUT_S + 2.0 * seconds);
    tcase_add_test(tests, another_client_notices_nothing);
    return harness_main(suite);
}

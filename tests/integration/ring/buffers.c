/* SPDX-License-Identifier: MIT */
/* What a program has in its buffers outlives the connection, whichever side ends it, and the daemon
 * gets its memory back all the same. */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/wire.h"

enum { BUFFERS = 5, MIB = 1024 * 1024, BUFFER_BYTES = 3 * MIB };

static struct blkd *connection;
static struct blkd_device *device;
static uint8_t *buffers[BUFFERS];

#define LIBRARY_OK(expression)                                                                     \
    do {                                                                                           \
        int result_ = (expression);                                                                \
        ck_assert_msg(result_ == 0, "%s: %d: %s", #expression, result_, blkd_error_message());     \
    } while (0)

static size_t buffer_bytes(unsigned int i)
{
    return BUFFER_BYTES - (size_t)i * SCENE_PAGE;
}

/* With freed buffers between them. */
static void fill_buffers(void)
{
    for (unsigned int i = 0; i < BUFFERS; i++) {
        void *gap = NULL;
        void *memory = NULL;
        LIBRARY_OK(blkd_buffer_alloc(connection, SCENE_PAGE, &gap));
        LIBRARY_OK(blkd_buffer_alloc(connection, buffer_bytes(i), &memory));
        blkd_buffer_free(connection, gap);
        buffers[i] = memory;
        scene_fill(buffers[i], buffer_bytes(i), i + 1);
    }
}

static void check_buffers(void)
{
    CLEANUP_FREE uint8_t *expected = malloc(BUFFER_BYTES);
    ck_assert_ptr_nonnull(expected);
    for (unsigned int i = 0; i < BUFFERS; i++) {
        scene_fill(expected, buffer_bytes(i), i + 1);
        ck_assert_msg(memcmp(buffers[i], expected, buffer_bytes(i)) == 0,
                      "buffer %u has other contents", i);
    }
}

static void open_image(void)
{
    struct blkd_config config = {0};
    config.path = scene.image;
    LIBRARY_OK(blkd_open(connection, &config, &device));
}

static void connect_by_ring(void)
{
    struct blkd_options options = {0};
    options.socket_path = scene.daemon.socket_path;
    options.tier = BLKD_TIER_RING;
    LIBRARY_OK(blkd_connect(&options, &connection));
    open_image();
    fill_buffers();
}

static void buffers_begin(void)
{
    scene_begin_with(NULL);
    connect_by_ring();
}

static void buffers_end(void)
{
    for (unsigned int i = 0; i < BUFFERS; i++)
        blkd_buffer_free(connection, buffers[i]);
    blkd_disconnect(connection);
    if (scene.daemon.pid != 0) {
        scene_end();
        return;
    }
    peer_arena_unmap(&scene.arena);
    peer_disconnect(&scene.peer);
    peer_disconnect(&scene.bystander);
}

/* The library's, by what it is connected to. */
static int find_socket(void)
{
    int found = -1;
    for (int fd = 3; fd < 256; fd++) {
        int domain = 0;
        socklen_t size = sizeof(domain);
        if (fd != scene.peer.socket && fd != scene.bystander.socket &&
            getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX)
            found = fd;
    }
    ck_assert_int_ge(found, 0);
    return found;
}

static void expect_lost_with_contents(void)
{
    const struct iovec vector = {buffers[0], SCENE_PAGE};
    ck_assert_int_eq(blkd_write(device, 0, &vector, 1, 0), -ENOTCONN);
    check_buffers();
}

/* All that the daemon had made for the library's connection. */
static void expect_given_back(uint64_t available)
{
    AWAIT(scene_available() >= available + (uint64_t)BUFFERS * BUFFER_BYTES - MIB,
          PARTING_MS - 2000);
    check_buffers();
}

/* ---- the daemon ends it ---- */

START_TEST(contents_outlive_a_killed_daemon)
{
    (void)harness_daemon_end(&scene.daemon, SIGKILL);
    check_buffers();
    expect_lost_with_contents();
    harness_daemon_forget_log(&scene.daemon);
}
END_TEST

START_TEST(contents_outlive_a_stopped_daemon)
{
    harness_daemon_stop(&scene.daemon);
    check_buffers();
    expect_lost_with_contents();
}
END_TEST

/* A frame that no client may send. */
START_TEST(contents_outlive_a_daemon_that_refuses_to_go_on)
{
    static const char nonsense[] = "\xff\xff\xff\x7f\0\0\0";
    uint64_t available = scene_available();
    ck_assert_int_eq((int)send(find_socket(), nonsense, sizeof(nonsense), MSG_NOSIGNAL),
                     (int)sizeof(nonsense));
    expect_lost_with_contents();
    expect_given_back(available);
}
END_TEST

/* ---- the program ends it ---- */

START_TEST(contents_outlive_a_socket_that_is_shut_down)
{
    uint64_t available = scene_available();
    ck_assert_int_eq(shutdown(find_socket(), SHUT_RDWR), 0);
    /* The daemon has seen it, and waits with all but what is no program's. */
    AWAIT(scene_available() > available, OBSERVE_SOON_MS);
    ck_assert_uint_lt(scene_available(), available + BUFFER_BYTES);
    check_buffers();
    expect_lost_with_contents();
    expect_given_back(available);
}
END_TEST

START_TEST(contents_outlive_blkd_disconnect)
{
    uint64_t available = scene_available();
    blkd_disconnect(connection);
    connection = NULL;
    expect_given_back(available);
    for (unsigned int i = 0; i < BUFFERS; i++) {
        unsigned char resident = 0;
        blkd_buffer_free(NULL, buffers[i]);
        ck_assert_int_eq(mincore(buffers[i], SCENE_PAGE, &resident), -1);
        buffers[i] = NULL;
    }
}
END_TEST

/* ---- meanwhile ---- */

static atomic_bool storing;

/* Counts up in a word of each page of a buffer, and never sees one go back. ThreadSanitizer takes
 * the mmap that moves the buffer under it for a store. */
__attribute__((no_sanitize("thread"))) static void *store_and_check(void *user_data)
{
    uint8_t *bytes = user_data;
    for (uint64_t count = 1; atomic_load(&storing); count++) {
        for (size_t i = 0; i < BUFFER_BYTES; i += SCENE_PAGE) {
            uint64_t *word = (uint64_t *)(void *)(bytes + i);
            if (__atomic_load_n(word, __ATOMIC_RELAXED) != count - 1)
                return bytes + i;
            __atomic_store_n(word, count, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

/* Before it has its rings, a client cannot say that it has moved. */
static void await_rings(struct blkd *of)
{
    enum blkd_tier tier = BLKD_TIER_SOCKET;
    while (tier != BLKD_TIER_RING) {
        LIBRARY_OK(blkd_ping(of));
        LIBRARY_OK(blkd_get_tier(of, &tier));
    }
}

/* Many times, because it is a matter of moments. */
START_TEST(what_another_thread_stores_meanwhile_stays)
{
    void *lost = NULL;
    pthread_t thread;
    for (unsigned int round = 0; round < 40; round++) {
        struct blkd *other = harness_connect(&scene.daemon);
        void *memory = NULL;
        LIBRARY_OK(blkd_buffer_alloc(other, BUFFER_BYTES, &memory));
        await_rings(other);
        atomic_store(&storing, true);
        ck_assert_int_eq(pthread_create(&thread, NULL, store_and_check, memory), 0);
        blkd_disconnect(other);
        atomic_store(&storing, false);
        ck_assert_int_eq(pthread_join(thread, &lost), 0);
        ck_assert_ptr_null(lost);
        blkd_buffer_free(NULL, memory);
    }
}
END_TEST

/* Each has its own, and another connection's end is nothing to them. */
START_TEST(connections_keep_their_buffers_apart)
{
    struct blkd *other = harness_connect(&scene.daemon);
    const struct iovec vector = {buffers[0], SCENE_PAGE};
    void *memory = NULL;
    LIBRARY_OK(blkd_buffer_alloc(other, BUFFER_BYTES, &memory));
    await_rings(other);
    memset(memory, 'o', BUFFER_BYTES);
    blkd_disconnect(other);
    ck_assert_uint_eq(((uint8_t *)memory)[BUFFER_BYTES - 1], 'o');
    check_buffers();
    LIBRARY_OK(blkd_write(device, 0, &vector, 1, 0));
    blkd_buffer_free(connection, memory); /* any connection, or none */
    check_buffers();
}
END_TEST

static void on_any(void *user_data, int result)
{
    (void)result;
    ++*(unsigned int *)user_data;
}

/* Writes that are under way read what was there, and their memory is the program's afterwards. */
START_TEST(transfers_in_flight_do_no_harm)
{
    unsigned int done = 0;
    for (unsigned int i = 0; i < BUFFERS; i++) {
        const struct iovec vector = {buffers[i], MIB};
        LIBRARY_OK(blkd_write_async(device, (uint64_t)i * 1024, &vector, 1, 0, on_any, &done));
    }
    blkd_disconnect(connection);
    connection = NULL;
    ck_assert_uint_eq(done, BUFFERS);
    check_buffers();
}
END_TEST

/* It has no buffers of its parent's, and harms none. */
START_TEST(child_of_a_fork_frees_nothing)
{
    int status = 0;
    blkd_disconnect(connection);
    connection = NULL;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        unsigned char resident = 0;
        int mapped = mincore(buffers[0], SCENE_PAGE, &resident);
        blkd_buffer_free(NULL, buffers[0]);
        _exit(mapped == 0 ? 1 : 0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    check_buffers();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/ring/buffers");
    TCase *tests = tcase_create("buffers");
    (void)unsetenv("BLKD_TIER"); /* it would come before the options */
    tcase_set_timeout(tests, SCENE_TIMEOUT_S);
    tcase_add_checked_fixture(tests, buffers_begin, buffers_end);
    tcase_add_test(tests, contents_outlive_a_killed_daemon);
    tcase_add_test(tests, contents_outlive_a_stopped_daemon);
    tcase_add_test(tests, contents_outlive_a_daemon_that_refuses_to_go_on);
    tcase_add_test(tests, contents_outlive_a_socket_that_is_shut_down);
    tcase_add_test(tests, contents_outlive_blkd_disconnect);
    tcase_add_test(tests, what_another_thread_stores_meanwhile_stays);
    tcase_add_test(tests, connections_keep_their_buffers_apart);
    tcase_add_test(tests, transfers_in_flight_do_no_harm);
    tcase_add_test(tests, child_of_a_fork_frees_nothing);
    suite_add_tcase(suite, tests);
    return harness_main(suite);
}

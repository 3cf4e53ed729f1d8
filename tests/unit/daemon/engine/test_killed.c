/* SPDX-License-Identifier: MIT */
/*
 * A process that is killed while its direct writes are in flight (contract R3): whoever waits for
 * its lock, or for its end of a pipe, gets it after the last write has landed. The device is a loop
 * device on a FUSE file (nbdfuse) whose server takes its time for each write. The fixtures run in
 * the parent of the tests, so that nothing is left behind whatever becomes of them.
 */
#include "tests/unit/daemon/engine/fixture.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/unit/daemon/engine/nbdfuse.h"
#include "tests/unit/needs.h"
#include "tests/unit/suite.h"

enum {
    PAGE = 4096,
    WRITES = 4,      /* the server does not do them all at once */
    APART = 1 << 20, /* so that they are not merged */
};

#define WRITE_DELAY "delay-write=1"

enum wait_for {
    WAIT_FLOCK,
    WAIT_PIPE,
};

static const struct killed_case {
    const char *engine;
    enum {
        ENGINES_WAY,
        PUNTS,
        COPIES,
    } way;
    enum wait_for wait_for;
} cases[] = {
    {"io_uring", ENGINES_WAY, WAIT_FLOCK}, {"io_uring", ENGINES_WAY, WAIT_PIPE},
    {"io_uring", PUNTS, WAIT_FLOCK},       {"io_uring", PUNTS, WAIT_PIPE},
    {"io_uring", COPIES, WAIT_FLOCK},      {"io_uring", COPIES, WAIT_PIPE},
    {"threads", ENGINES_WAY, WAIT_FLOCK},  {"threads", ENGINES_WAY, WAIT_PIPE},
    {"threads", COPIES, WAIT_FLOCK},       {"threads", COPIES, WAIT_PIPE},
};

enum { CASES = sizeof(cases) / sizeof(*cases) };

static char device_path[64];
static int device_fd = -1; /* -1: there is no device */

/* ---- the slow device ---- */

static void device_start(void)
{
    static const char *const plugin[] = {"--filter=delay", "memory", "64M", WRITE_DELAY, NULL};
    const char *const what = "writes of a killed process";

    if (!have_loops(what) || !have_fuse(what) || !have_program(what, "nbdfuse") ||
        !have_program(what, "nbdkit"))
        return;
    if (!nbdfuse_start(plugin)) {
        skipped(what, "needs nbdfuse to mount, nbdkit with its delay filter");
        return;
    }
    const int file_fd = open(nbdfuse_file, O_RDWR | O_DIRECT | O_CLOEXEC);
    ck_assert_int_ge(file_fd, 0);
    device_fd = loop_attach(file_fd, 0, LO_FLAGS_DIRECT_IO, device_path, sizeof(device_path));
    ck_assert_msg(device_fd >= 0, "no loop device: %s", strerror(-device_fd));
    (void)close(file_fd);
}

static void device_end(void)
{
    if (device_fd >= 0)
        (void)close(device_fd);
    if (server != 0)
        nbdfuse_end();
}

/* How many writes the device is busy with, as sysfs tells. */
static unsigned int writes_in_flight(void)
{
    char path[96];
    unsigned int reads, writes;

    snprintf(path, sizeof(path), "/sys/block/%s/inflight", strrchr(device_path, '/') + 1);
    FILE *file = fopen(path, "re");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%u %u", &reads, &writes), 2);
    fclose(file);
    return writes;
}

static bool none_in_flight(void)
{
    return writes_in_flight() == 0;
}

static bool all_in_flight(void)
{
    return writes_in_flight() == WRITES;
}

static int device_open(int flags)
{
    int fd = open(device_path, O_RDWR | O_CLOEXEC | flags);

    ck_assert_msg(fd >= 0, "cannot open %s: %s", device_path, strerror(errno));
    return fd;
}

static unsigned char *page_make(int contents)
{
    unsigned char *page = aligned_alloc(PAGE, PAGE);

    ck_assert_ptr_nonnull(page);
    memset(page, contents, PAGE);
    return page;
}

/* ---- who is killed ---- */

static void writer_submit(const struct killed_case *killed, struct transfer *transfer,
                          struct engine_target *its_target, int fd, int contents, int where)
{
    *transfer = transfer_make(ENGINE_WRITE, fd, page_make(contents), PAGE, (uint64_t)where * APART);
    transfer->io.punts = killed->way == PUNTS;
    transfer->io.copies = killed->way == COPIES;
    transfer->io.target = its_target;
    transfer_submit(transfer);
}

/* Takes the lock, pins it and the pipe, and says so by closing `ready_fd` when the writes are with
 * the kernel. */
static _Noreturn void writer_run(const struct killed_case *killed, int contents, int pipe_fd,
                                 int ready_fd)
{
    static struct engine_target targets[WRITES]; /* or one thread would write one by one */
    static struct transfer transfers[2 * WRITES];
    struct engine_pin pin = {0};
    int guard = device_open(0);
    int fd = device_open(O_DIRECT);

    ck_assert_int_eq(flock(guard, LOCK_EX), 0);
    engine_start(killed->engine);
    ck_assert_int_eq(engine_pin(engine, &pin, (int[]){guard, pipe_fd}, 2), 0);
    for (int i = 0; i < WRITES; i++) {
        engine_target_init(&targets[i]);
        writer_submit(killed, &transfers[2 * i], &targets[i], fd, contents, i);
        if (killed->way == COPIES) /* a lone one would be a kernel worker's */
            writer_submit(killed, &transfers[2 * i + 1], &targets[i], fd, contents, WRITES + i);
    }
    engine_kick(engine);
    (void)close(ready_fd);
    for (;;)
        pause();
}

struct writer {
    pid_t pid;
    int pipe_fd; /* hangs up when nobody has its other end any more */
};

static struct writer writer_start(const struct killed_case *killed, int contents)
{
    int ends[2], ready[2];
    char none;

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        writer_run(killed, contents, ends[1], ready[1]);
    (void)close(ends[1]);
    (void)close(ready[1]);
    ck_assert_int_eq(read(ready[0], &none, 1), 0);
    (void)close(ready[0]);
    return (struct writer){.pid = pid, .pipe_fd = ends[0]};
}

/* ---- who comes after ---- */

static void wait_for_end(const struct killed_case *killed, const struct writer *writer, int guard)
{
    char none;

    if (killed->wait_for == WAIT_FLOCK)
        ck_assert_int_eq(flock(guard, LOCK_EX), 0);
    else
        ck_assert_int_eq(read(writer->pipe_fd, &none, 1), 0);
}

static void assert_all_landed(int contents)
{
    unsigned char *expected = page_make(contents);
    unsigned char *found = page_make(0);
    int fd = device_open(O_DIRECT);

    ck_assert_uint_eq(writes_in_flight(), 0);
    for (int i = 0; i < WRITES; i++) {
        ck_assert_int_eq(pread(fd, found, PAGE, (off_t)i * APART), PAGE);
        ck_assert_msg(memcmp(found, expected, PAGE) == 0, "write %d has not landed", i);
    }
    (void)close(fd);
    free(expected);
    free(found);
}

START_TEST(a_successor_comes_after_the_last_write)
{
    const struct killed_case *killed = &cases[_i];
    int contents = 'a' + _i; /* no other case's */
    int status;

    if (device_fd < 0)
        return;
    wait_until(none_in_flight); /* of a case before, if that has failed */
    struct writer writer = writer_start(killed, contents);
    int guard = device_open(0);
    wait_until(all_in_flight);
    ck_assert_int_eq(flock(guard, LOCK_EX | LOCK_NB), -1);
    ck_assert_int_eq(errno, EWOULDBLOCK);

    ck_assert_int_eq(kill(writer.pid, SIGKILL), 0);
    wait_for_end(killed, &writer, guard);
    assert_all_landed(contents);

    ck_assert_int_eq(waitpid(writer.pid, &status, 0), writer.pid);
    ck_assert(WIFSIGNALED(status));
    (void)close(guard);
    (void)close(writer.pipe_fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine killed");
    TCase *tests = tcase_create("engine killed");

    tcase_set_timeout(tests, 60);
    tcase_add_unchecked_fixture(tests, device_start, device_end);
    tcase_add_loop_test(tests, a_successor_comes_after_the_last_write, 0, CASES);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * A process that is killed while its direct writes are in flight (CONTRACT R3): whoever waits for
 * its lock, or for its end of a pipe, gets it after the last write has landed. The device is a loop
 * device on a FUSE file (nbdfuse) whose server takes its time for each write. The fixtures run in
 * the parent of the tests, so that nothing is left behind whatever becomes of them.
 */
#include "tests/unit/daemon/engine/fixture.h"

#include <linux/loop.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

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

static char directory[] = "/tmp/blkd-test-killed-XXXXXX";
static char mount_path[64], file_path[80], pid_path[80];
static char device_path[64];
static int device_fd = -1; /* -1: there is no device */
static pid_t server;       /* 0: there is none */

/* ---- the slow device ---- */

/* Until it is true, for what is shown but not announced. */
static bool wait_until(bool (*condition)(void))
{
    struct timespec pause = {.tv_nsec = 5000000};

    for (int i = 0; i < 2000; i++) {
        if (condition())
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

static bool server_is_up(void)
{
    return access(pid_path, F_OK) == 0 || waitpid(server, NULL, WNOHANG) != 0;
}

/* Takes a free loop device, which goes when the last descriptor of it is closed. 0 or an errno;
 * EBUSY: somebody else was faster. */
static int loop_take(int control_fd, int file_fd)
{
    const struct loop_config config = {
        .fd = (__u32)file_fd,
        .info.lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR,
    };
    int number = ioctl(control_fd, LOOP_CTL_GET_FREE);

    if (number < 0)
        return errno;
    snprintf(device_path, sizeof(device_path), "/dev/loop%d", number);
    device_fd = open(device_path, O_RDWR | O_CLOEXEC);
    if (device_fd < 0)
        return errno;
    if (ioctl(device_fd, LOOP_CONFIGURE, &config) == 0)
        return 0;
    int error = errno;
    (void)close(device_fd);
    device_fd = -1;
    return error;
}

static void loop_attach(void)
{
    int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int file_fd = open(file_path, O_RDWR | O_DIRECT | O_CLOEXEC);

    if (control_fd >= 0 && file_fd >= 0) {
        while (loop_take(control_fd, file_fd) == EBUSY)
            ;
    }
    if (control_fd >= 0)
        (void)close(control_fd);
    if (file_fd >= 0)
        (void)close(file_fd);
}

static void device_start(void)
{
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(mount_path, sizeof(mount_path), "%s/mnt", directory);
    snprintf(file_path, sizeof(file_path), "%s/disk", mount_path);
    snprintf(pid_path, sizeof(pid_path), "%s/pid", directory);
    ck_assert_int_eq(mkdir(mount_path, 0700), 0);

    server = fork();
    ck_assert_int_ge(server, 0);
    if (server == 0) {
        execlp("nbdfuse", "nbdfuse", "-P", pid_path, file_path, "[", "nbdkit", "--exit-with-parent",
               "--filter=delay", "memory", "64M", WRITE_DELAY, "]", NULL);
        _exit(127);
    }
    if (wait_until(server_is_up) && access(file_path, F_OK) == 0)
        loop_attach();
    if (device_fd < 0)
        fprintf(stderr, "skipped: there is no slow device: it takes root, nbdfuse, nbdkit with "
                        "its delay filter, /dev/fuse and loop devices\n");
}

static void device_end(void)
{
    if (device_fd >= 0)
        (void)close(device_fd);
    if (waitpid(server, NULL, WNOHANG) == 0) {
        kill(server, SIGTERM);
        waitpid(server, NULL, 0);
    }
    unlink(pid_path);
    rmdir(mount_path);
    rmdir(directory);
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
    ck_assert(wait_until(none_in_flight)); /* of a case before, if that has failed */
    struct writer writer = writer_start(killed, contents);
    int guard = device_open(0);
    ck_assert_msg(wait_until(all_in_flight), "%u writes are in flight", writes_in_flight());
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
    SRunner *runner;
    int failed;

    tcase_set_timeout(tests, 60);
    tcase_add_unchecked_fixture(tests, device_start, device_end);
    tcase_add_loop_test(tests, a_successor_comes_after_the_last_write, 0, CASES);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: MIT */
/*
 * A hung device delays nobody else. The device is a file on a FUSE server (nbdfuse) that is
 * stopped. The fixtures run in the parent of the tests, so that the server is let go whatever
 * becomes of them.
 */
#include "tests/unit/daemon/engine/fixture.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/unit/daemon/engine/nbdfuse.h"
#include "tests/unit/needs.h"
#include "tests/unit/suite.h"

static const char *const engines[] = {"io_uring", "threads"};

enum {
    ENGINES = sizeof(engines) / sizeof(*engines),
    HUNG_EACH = 3 * ENGINE_PER_DEVICE,
    /* As many devices as leave some workers to others. */
    HUNG_TARGETS = ENGINE_THREADS_MAX / ENGINE_PER_DEVICE - 1,
    PAGE = 4096,
    RELEASE_S = 15,
};

static pid_t releaser;

static void server_start(void)
{
    static const char *const plugin[] = {"memory", "512M", NULL};
    const char *const what = "a hung device";

    if (!have_fuse(what) || !have_program(what, "nbdfuse") || !have_program(what, "nbdkit"))
        return;
    if (!nbdfuse_start(plugin))
        skipped(what, "needs nbdfuse to mount");
}

static void server_end(void)
{
    if (server != 0)
        nbdfuse_end();
}

/* Lets the server go after a while: a process with hung transfers cannot be killed, so that a test
 * that fails would hang for ever. */
static void release_later(void)
{
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        for (unsigned int left = RELEASE_S; left > 0;)
            left = sleep(left);
        kill(server, SIGCONT);
        _exit(0);
    }
    releaser = child;
}

static bool is_stopped(const char *task)
{
    char path[300], state = '?';

    snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)server, task);
    FILE *file = fopen(path, "re");
    if (!file)
        return true;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = '?';
    fclose(file);
    return state == 'T';
}

/* A signal takes its time: until each thread has stopped, it may serve another request. */
static void await_stop(void)
{
    char path[64];
    bool stopped = false;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)server);
    while (!stopped) {
        DIR *tasks = opendir(path);
        ck_assert_ptr_nonnull(tasks);
        const struct dirent *entry;
        stopped = true;
        while ((entry = readdir(tasks)))
            stopped = stopped && (entry->d_name[0] == '.' || is_stopped(entry->d_name));
        closedir(tasks);
        sched_yield();
    }
}

/* Opened while the server runs, with nothing of it cached; it is stopped after that. */
static int hung_open(void)
{
    int fd = open(nbdfuse_file, O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    release_later();
    ck_assert_int_eq(kill(server, SIGSTOP), 0);
    await_stop();
    return fd;
}

static void hung_go_on(void)
{
    ck_assert_int_eq(kill(server, SIGCONT), 0);
    kill(releaser, SIGKILL);
    waitpid(releaser, NULL, 0);
}

static void run_beside(int fd)
{
    unsigned char data[SECTOR];

    for (uint32_t i = 0; i < 200; i++) {
        enum engine_op op = i % 2 ? ENGINE_READ : ENGINE_WRITE;
        fill_sector(data, i);
        struct transfer transfer = transfer_make(op, fd, data, SECTOR, i / 2 * SECTOR);

        transfer.io.copies = i % 4 == 0; /* some of the writes */
        ck_assert_int_eq(transfer_run(transfer), SECTOR);
    }
}

struct hung {
    struct engine_target target;
    struct transfer transfers[HUNG_EACH];
    unsigned char data[HUNG_EACH][PAGE];
};

enum hung_writes {
    NO_WRITES,
    WRITES,
    COPYING_WRITES,
};

/* Each for pages of its own. */
static void hung_submit(struct hung *hung, int fd, unsigned int which, enum hung_writes writes)
{
    engine_target_init(&hung->target);
    for (unsigned int i = 0; i < HUNG_EACH; i++) {
        enum engine_op op = writes != NO_WRITES && i % 2 ? ENGINE_WRITE : ENGINE_READ;
        uint64_t page = (uint64_t)(which * HUNG_EACH + i) * 40;

        hung->transfers[i] = transfer_make(op, fd, hung->data[i], PAGE, page * PAGE);
        hung->transfers[i].io.target = &hung->target;
        hung->transfers[i].io.copies = op == ENGINE_WRITE && writes == COPYING_WRITES;
        transfer_submit(&hung->transfers[i]);
    }
}

static void hung_check(const struct hung *hung, unsigned int done)
{
    for (unsigned int i = 0; i < HUNG_EACH; i++) {
        ck_assert_uint_eq(hung->transfers[i].done, done);
        if (done)
            ck_assert_int_eq(hung->transfers[i].result, PAGE);
    }
}

static void hang(int variant, unsigned int targets, enum hung_writes writes)
{
    struct hung *hung = calloc(targets, sizeof(*hung));

    if (server == 0)
        return;
    engine_start(engines[variant]);
    int fd = hung_open();
    int well_fd = file_make("/dev/shm", 200);
    for (unsigned int i = 0; i < targets; i++)
        hung_submit(&hung[i], fd, i, writes);
    run_beside(well_fd);
    for (unsigned int i = 0; i < targets; i++)
        hung_check(&hung[i], 0);

    hung_go_on();
    engine_finish_all();
    for (unsigned int i = 0; i < targets; i++) {
        hung_check(&hung[i], 1);
        engine_target_deinit(&hung[i].target);
    }
    free(hung);
    (void)close(fd);
    (void)close(well_fd);
    engine_stop();
}

START_TEST(a_hung_device_delays_no_other)
{
    hang(_i, 1, WRITES);
}
END_TEST

START_TEST(a_hung_device_with_writes_that_should_copy_delays_no_other)
{
    hang(_i, 1, COPYING_WRITES);
}
END_TEST

START_TEST(several_hung_devices_delay_no_other)
{
    hang(_i, HUNG_TARGETS, NO_WRITES);
}
END_TEST

/* How many of our tasks are threads of the kernel that work for a ring. */
static unsigned int count_ring_workers(void)
{
    DIR *tasks = opendir("/proc/self/task");
    unsigned int count = 0;
    const struct dirent *entry;

    ck_assert_ptr_nonnull(tasks);
    while ((entry = readdir(tasks))) {
        char path[300], name[32] = "";

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "re");
        if (!file)
            continue;
        if (fgets(name, sizeof(name), file) && strncmp(name, "iou-wrk", 7) == 0)
            count++;
        fclose(file);
    }
    closedir(tasks);
    return count;
}

START_TEST(a_hung_device_holds_its_part_of_the_kernel_workers)
{
    struct hung *hung = calloc(1, sizeof(*hung));

    if (server == 0)
        return;
    engine_start("io_uring");
    int fd = hung_open();
    int well_fd = file_make("/dev/shm", 200);
    hung_submit(hung, fd, 0, NO_WRITES);
    run_beside(well_fd);
    /* Some more may have served the other file. */
    ck_assert_uint_ge(count_ring_workers(), ENGINE_PER_DEVICE);
    ck_assert_uint_le(count_ring_workers(), ENGINE_PER_DEVICE + 2);

    hung_go_on();
    engine_finish_all();
    hung_check(hung, 1);
    engine_target_deinit(&hung->target);
    free(hung);
    (void)close(fd);
    (void)close(well_fd);
    engine_stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine isolation");
    TCase *tests = tcase_create("hung device");

    tcase_set_timeout(tests, 60);
    tcase_add_unchecked_fixture(tests, server_start, server_end);
    tcase_add_loop_test(tests, a_hung_device_delays_no_other, 0, ENGINES);
    tcase_add_loop_test(tests, a_hung_device_with_writes_that_should_copy_delays_no_other, 0,
                        ENGINES);
    tcase_add_loop_test(tests, several_hung_devices_delay_no_other, 0, ENGINES);
    tcase_add_test(tests, a_hung_device_holds_its_part_of_the_kernel_workers);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

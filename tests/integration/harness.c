/* SPDX-License-Identifier: MIT */
/*
 * Directories, and that nothing is left behind. All that the tests of a program make is under two
 * directories, one in /tmp, one in /dev/shm, with one below them for each test's process. What is
 * not a file leaves a file there that names it (harness_remember), so that the directories are all
 * that has to be known to give everything back.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

enum { PLACE_DISK, PLACE_MEMORY, PLACES };

static char program_directories[PLACES][HARNESS_PATH_MAX / 2] = {"/tmp/blkd-test.XXXXXX",
                                                                 "/dev/shm/blkd-test.XXXXXX"};
static char test_directories[PLACES][HARNESS_PATH_MAX / 2 + 16];
static pid_t test_process;
static const char note_name[] = "note.log";
static char note[256];
static atomic_uint *skipped; /* shared with the tests' processes */

/* ---- skipping, notes ---- */

void harness_skip(const char *format, ...)
{
    va_list arguments;
    (void)fputs("skipped: ", stderr);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "%s%s%s\n", *note != '\0' ? " (" : "", note, *note != '\0' ? ")" : "");
    atomic_fetch_add(skipped, 1);
}

bool harness_needs_root(void)
{
    if (geteuid() == 0)
        return true;
    harness_skip("this needs root");
    return false;
}

void harness_note(const char *format, ...)
{
    va_list arguments;
    char path[HARNESS_PATH_MAX];
    va_start(arguments, format);
    (void)vsnprintf(note, sizeof(note), format, arguments);
    va_end(arguments);
    /* Where harness_main finds it, as if it were a log: Check ends a failed test with _exit. */
    harness_join(harness_directory(), note_name, path);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(dprintf(fd, "%s\n", note), 0);
}

/* ---- directories ---- */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *position)
{
    (void)status;
    (void)type;
    (void)position;
    (void)remove(path);
    return 0; /* goes on with the others */
}

static void print_log(const char *path)
{
    char line[4096];
    FILE *log = fopen(path, "re");
    if (log == NULL)
        return;
    (void)fprintf(stderr, "---- %s\n", path);
    while (fgets(line, sizeof(line), log) != NULL)
        (void)fputs(line, stderr);
    (void)fputs("----\n", stderr);
    (void)fclose(log);
}

static int undo_entry(const char *path, const struct stat *status, int type, struct FTW *position)
{
    const char *name = path + position->base;
    const char *suffix = strrchr(name, '.');
    (void)status;
    if (type == FTW_D) /* before what is below it: of another file system, nothing is removed */
        (void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
    else if (type == FTW_F && suffix != NULL && strcmp(suffix, ".log") == 0)
        print_log(path);
    else if (type == FTW_F)
        harness_device_undo(name);
    return 0;
}

void harness_clean_up(const char *directory)
{
    (void)nftw(directory, undo_entry, 16, FTW_PHYS);
    (void)nftw(directory, remove_entry, 16, FTW_PHYS | FTW_DEPTH);
}

/* At the end of a test that has not failed. A process that it forked inherits this: then there is
 * nothing to do. */
static void on_exit_of_test(void)
{
    if (getpid() != test_process)
        return;
    harness_forget(note_name);
    harness_daemon_clean_up();
    harness_device_clean_up();
    for (int place = 0; place < PLACES; place++)
        if (*test_directories[place] != '\0')
            harness_clean_up(test_directories[place]);
}

static const char *own_directory(int place)
{
    char *path = test_directories[place];
    if (test_process == 0) {
        test_process = getpid();
        ck_assert_int_eq(atexit(on_exit_of_test), 0);
    }
    if (*path == '\0') {
        (void)snprintf(path, sizeof(test_directories[place]), "%s/%d", program_directories[place],
                       (int)getpid());
        ck_assert_msg(mkdir(path, 0755) == 0, "cannot make %s: %s", path, strerror(errno));
    }
    return path;
}

const char *harness_directory(void)
{
    return own_directory(PLACE_DISK);
}

const char *harness_memory_directory(void)
{
    return own_directory(PLACE_MEMORY);
}

static void remembered(const char *name, char path[HARNESS_PATH_MAX])
{
    (void)snprintf(path, HARNESS_PATH_MAX, "%s/%s", harness_directory(), name);
}

void harness_remember(const char *name)
{
    char path[HARNESS_PATH_MAX];
    remembered(name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
}

void harness_forget(const char *name)
{
    char path[HARNESS_PATH_MAX];
    remembered(name, path);
    (void)unlink(path);
}

/* ---- files ---- */

void harness_join(const char *directory, const char *name, char *ret_path)
{
    int length = snprintf(ret_path, HARNESS_PATH_MAX, "%s/%s", directory, name);
    ck_assert_int_lt(length, HARNESS_PATH_MAX);
}

void harness_make_file(const char *directory, const char *name, uint64_t size_bytes, char *ret_path)
{
    harness_join(directory, name, ret_path);
    int fd = open(ret_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_msg(fd >= 0, "cannot make %s: %s", ret_path, strerror(errno));
    ck_assert_int_eq(ftruncate(fd, (off_t)size_bytes), 0);
    (void)close(fd);
}

char *harness_read_text(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "re");
    ck_assert_msg(file != NULL, "cannot open %s: %s", path, strerror(errno));
    if (getdelim(&text, &size, '\0', file) < 0) {
        free(text);
        text = strdup("");
    }
    (void)fclose(file);
    ck_assert_ptr_nonnull(text);
    return text;
}

/* ---- the program ---- */

static void clean_up_program(void)
{
    for (int place = 0; place < PLACES; place++)
        harness_clean_up(program_directories[place]);
}

/* Waits for the end of every process that has the pipe's other end: of this program and its tests,
 * not of the daemons, which end with the test that started them. */
static _Noreturn void watch(int read_end)
{
    char byte = 0;
    int null = open("/dev/null", O_RDWR); /* or ctest would wait for its output to end */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && null >= 0; fd++)
        (void)dup2(null, fd);
    (void)setsid();
    while (read(read_end, &byte, sizeof(byte)) < 0 && errno == EINTR) {
    }
    clean_up_program();
    _exit(0);
}

/* What cleans up if this program is killed. It has lost its parent before: who kills a process with
 * all its children does not find it. */
static void start_watchdog(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[1]);
        if (fork() == 0)
            watch(ends[0]);
        _exit(0);
    }
    (void)waitpid(pid, NULL, 0);
    (void)close(ends[0]); /* the other one stays open until the end */
}

static void make_program_directories(void)
{
    for (int place = 0; place < PLACES; place++) {
        if (mkdtemp(program_directories[place]) == NULL ||
            chmod(program_directories[place], 0755) < 0) {
            (void)fprintf(stderr, "cannot make %s: %s\n", program_directories[place],
                          strerror(errno));
            exit(1);
        }
    }
}

int harness_main(Suite *suite)
{
    skipped =
        mmap(NULL, sizeof(*skipped), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (skipped == MAP_FAILED)
        return 1;
    harness_pace_begin();
    make_program_directories();
    start_watchdog();
    /* What a failed test leaves running becomes a child of this process, which can wait for its
     * end. */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    int run = srunner_ntests_run(runner);
    srunner_free(runner);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
    (void)signal(SIGPIPE,
                 SIG_IGN); /* nobody may read the logs, and it is cleaned up all the same */
    on_exit_of_test();     /* if the tests ran in this process (CK_FORK=no) */
    clean_up_program();
    if (failed > 0)
        return 1;
    return run > 0 && atomic_load(skipped) == (unsigned int)run ? HARNESS_SKIP : 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * The guard against other programs: their flock, their O_EXCL, QEMU, and what they are told and
 * what blkd says of them.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "common/cleanup.h"
#include "daemon/storage/posix/posix.h"
#include "tests/unit/daemon/storage/outside_fixture.h"

static char message[BACKEND_MESSAGE_MAX];

static struct posix *open_device(const char *path)
{
    const struct backend_open open_ = {.path = path, .fd = -1};
    struct backend *backend = NULL;
    struct backend_info info;
    int error = backend_posix_open(&open_, &backend, &info, message);
    ck_assert_msg(error == 0, "%s: %s", path, message);
    return posix_of(backend);
}

/* Changes the guard; *ret_kept is the mode that is said to be kept. */
static int change(struct posix *posix, enum guard_mode mode, enum guard_mode *ret_kept)
{
    struct io io = {.op = IO_GUARD, .guard_mode = mode, .message = message, .value = 77};
    message[0] = '\0';
    int error = posix_do_guard(posix, &io);
    *ret_kept = (enum guard_mode)io.value;
    return error;
}

static void take(struct posix *posix, enum guard_mode mode)
{
    enum guard_mode kept = GUARD_NONE;
    int error = change(posix, mode, &kept);
    ck_assert_msg(error == 0, "%s", message);
    ck_assert_int_eq(kept, mode);
}

static void refused(struct posix *posix, enum guard_mode mode, enum guard_mode expected)
{
    enum guard_mode kept = GUARD_NONE;
    ck_assert_int_eq(change(posix, mode, &kept), -EBUSY);
    ck_assert_int_eq(kept, expected);
}

static void said(const char *words)
{
    ck_assert_msg(strstr(message, words) != NULL, "\"%s\" is not in: %s", words, message);
}

static void said_pid(pid_t pid)
{
    char words[32];
    (void)snprintf(words, sizeof(words), "pid %d ", pid);
    said(words);
}

/* What another program's flock meets; a description of its own is another program to the kernel. */
static int try_flock(const char *path, int operation)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return flock(fd, operation | LOCK_NB) == 0 ? 0 : -errno;
}

static int try_exclusive(const char *path)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
    return fd >= 0 ? 0 : -errno;
}

static char loop_path[32];
static int loop_fd = -1;

static void loop_setup(void)
{
    fixture_setup();
    loop_fd =
        fixture_loop(fixture_file("disk", 16L * FIXTURE_MIB), 0, loop_path, sizeof(loop_path));
}

static void loop_teardown(void)
{
    (void)close(loop_fd);
    fixture_teardown();
}

/* ---- flock ---- */

START_TEST(each_mode_keeps_out_what_conflicts)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(try_flock(path, LOCK_SH), 0);
    ck_assert_int_eq(try_flock(path, LOCK_EX), -EWOULDBLOCK);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(try_flock(path, LOCK_SH), -EWOULDBLOCK);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(try_flock(path, LOCK_SH), 0);
    ck_assert_int_eq(try_flock(path, LOCK_EX), -EWOULDBLOCK);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(try_flock(path, LOCK_EX), 0);
    ck_assert_int_eq(posix->guard_fd, -1);
    backend_close(&posix->base);
}
END_TEST

START_TEST(closing_lets_go)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
    ck_assert_int_eq(try_flock(path, LOCK_EX), 0);
}
END_TEST

START_TEST(holder_of_a_flock_is_named)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, path);
    refused(posix, GUARD_SHARED, GUARD_NONE);
    said("flock");
    said_pid(child.pid);
    said("test_guard");
    ck_assert_int_eq(posix->guard_fd, -1);
    fixture_end(&child);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(failed_upgrade_keeps_the_shared_lock)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_SHARED);
    struct fixture_child child = fixture_hold(hold_flock_shared, path);
    refused(posix, GUARD_EXCLUSIVE, GUARD_SHARED);
    said("shared flock");
    said_pid(child.pid);
    fixture_end(&child);
    ck_assert_int_eq(try_flock(path, LOCK_EX), -EWOULDBLOCK);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(changes_are_made_on_one_description)
{
    struct posix *posix = open_device(fixture_file("a", FIXTURE_MIB));
    take(posix, GUARD_SHARED);
    int fd = posix->guard_fd;
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(posix->guard_fd, fd);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(posix->guard_fd, fd);
    backend_close(&posix->base);
}
END_TEST

static void *on_end_soon(void *context)
{
    const struct timespec moment = {.tv_nsec = 100000000L};
    (void)nanosleep(&moment, NULL);
    fixture_end(context);
    return NULL;
}

START_TEST(momentary_flock_is_waited_out)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, path);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, on_end_soon, &child), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    backend_close(&posix->base);
}
END_TEST

START_TEST(flock_of_util_linux_is_refused)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(fixture_run("flock -n -E 42 %s true", path), 42);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(fixture_run("flock -n -E 42 %s true", path), 42);
    ck_assert_int_eq(fixture_run("flock -n -s -E 42 %s true", path), 0);
    backend_close(&posix->base);
}
END_TEST

/* ---- QEMU ---- */

/* A qemu-io that has the image open until its input ends. */
static FILE *start_qemu_io(const char *options, const char *path)
{
    char command[256];
    const char *ready = fixture_path("ready");
    (void)unlink(ready);
    (void)snprintf(command, sizeof(command), "qemu-io %s -f raw %s >%s", options, path, ready);
    FILE *qemu = popen(command, "w"); /* NOLINT(cert-env33-c): a test's own words */
    ck_assert_ptr_nonnull(qemu);
    ck_assert_int_gt(fprintf(qemu, "read 0 512\n"), 0);
    ck_assert_int_eq(fflush(qemu), 0);
    const struct timespec step = {.tv_nsec = 10000000L};
    while (fixture_run("grep -q 'read 512/512' %s 2>/dev/null", ready) != 0)
        (void)nanosleep(&step, NULL); /* the test's time limit ends it */
    return qemu;
}

START_TEST(qemu_is_refused_what_conflicts)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(fixture_run("qemu-img info %s >/dev/null 2>&1", path), 0);
    ck_assert_int_eq(fixture_run("qemu-io -r -f raw -c 'read 0 512' %s >/dev/null 2>&1", path), 0);
    ck_assert_int_ne(fixture_run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
    ck_assert_int_ne(fixture_run("qemu-img resize -f raw %s 2M >/dev/null 2>&1", path), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_ne(fixture_run("qemu-img map -f raw %s >/dev/null 2>&1", path), 0);
    ck_assert_int_ne(fixture_run("qemu-io -r -f raw -c 'read 0 512' %s >/dev/null 2>&1", path), 0);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(fixture_run("qemu-io -r -f raw -c 'read 0 512' %s >/dev/null 2>&1", path), 0);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(fixture_run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
    backend_close(&posix->base);
}
END_TEST

/* Of a raw image it reads nothing, and so needs no permission; of others it does. */
START_TEST(qemu_img_info_is_refused_by_the_exclusive_lock)
{
    const char *path = fixture_path("a.qcow2");
    ck_assert_int_eq(fixture_run("qemu-img create -q -f qcow2 %s 1M", path), 0);
    struct posix *posix = open_device(path);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(fixture_run("qemu-img info %s >/dev/null 2>&1", path), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_ne(fixture_run("qemu-img info %s >/dev/null 2>&1", path), 0);
    ck_assert_int_eq(fixture_run("qemu-img info -U %s >/dev/null 2>&1", path), 0);
    backend_close(&posix->base);
}
END_TEST

START_TEST(qemu_that_writes_keeps_every_lock_out)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    FILE *qemu = start_qemu_io("", path);
    refused(posix, GUARD_SHARED, GUARD_NONE);
    said("fcntl lock on bytes 100-101");
    said("qemu-io");
    refused(posix, GUARD_EXCLUSIVE, GUARD_NONE);
    ck_assert_int_eq(pclose(qemu), 0);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(qemu_that_reads_keeps_the_exclusive_lock_out)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    FILE *qemu = start_qemu_io("-r", path);
    take(posix, GUARD_SHARED);
    refused(posix, GUARD_EXCLUSIVE, GUARD_SHARED);
    said("qemu-io");
    /* Nothing of the attempt is left. */
    ck_assert_int_eq(try_flock(path, LOCK_SH), 0);
    ck_assert_int_eq(fixture_run("qemu-img info %s >/dev/null 2>&1", path), 0);
    ck_assert_int_ne(fixture_run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
    ck_assert_int_eq(pclose(qemu), 0);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

/* ---- block devices ---- */

START_TEST(exclusive_open_is_kept_out_by_the_exclusive_lock_only)
{
    struct posix *posix = open_device(loop_path);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(try_exclusive(loop_path), -EBUSY);
    ck_assert_int_eq(fixture_run("mkfs.ext4 -q %s >/dev/null 2>&1", loop_path), 1);
    ck_assert_int_eq(try_flock(loop_path, LOCK_SH), -EWOULDBLOCK);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    ck_assert_int_eq(try_flock(loop_path, LOCK_EX), -EWOULDBLOCK);
    backend_close(&posix->base);
}
END_TEST

START_TEST(exclusive_open_of_another_keeps_the_exclusive_lock_out)
{
    struct posix *posix = open_device(loop_path);
    struct fixture_child child = fixture_hold(hold_exclusive_open, loop_path);
    take(posix, GUARD_SHARED);
    refused(posix, GUARD_EXCLUSIVE, GUARD_SHARED);
    said("O_EXCL");
    ck_assert_int_eq(try_flock(loop_path, LOCK_SH), 0);
    take(posix, GUARD_NONE);
    refused(posix, GUARD_EXCLUSIVE, GUARD_NONE);
    ck_assert_int_eq(try_flock(loop_path, LOCK_EX), 0);
    fixture_end(&child);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(attached_file_is_refused_and_its_loop_device_named)
{
    struct posix *posix = open_device(fixture_path("disk"));
    refused(posix, GUARD_SHARED, GUARD_NONE);
    said(loop_path);
    backend_close(&posix->base);
    posix = open_device(loop_path);
    take(posix, GUARD_EXCLUSIVE);
    backend_close(&posix->base);
}
END_TEST

START_TEST(lock_on_what_shares_the_bytes_keeps_out)
{
    const char *path = fixture_path("disk");
    struct posix *posix = open_device(loop_path);
    struct fixture_child child = fixture_hold(hold_flock_shared, path);
    take(posix, GUARD_SHARED);
    refused(posix, GUARD_EXCLUSIVE, GUARD_SHARED);
    said("its backing store ");
    said(path);
    said_pid(child.pid);
    fixture_end(&child);
    take(posix, GUARD_EXCLUSIVE);
    take(posix, GUARD_NONE);
    child = fixture_hold(hold_flock_exclusive, path);
    refused(posix, GUARD_SHARED, GUARD_NONE);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, on_end_soon, &child), 0);
    take(posix, GUARD_SHARED);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    backend_close(&posix->base);
}
END_TEST

START_TEST(attempt_without_a_message_is_refused_alike)
{
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct posix *posix = open_device(path);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, path);
    struct io io = {.op = IO_GUARD, .guard_mode = GUARD_SHARED};
    ck_assert_int_eq(posix_do_guard(posix, &io), -EBUSY);
    fixture_end(&child);
    backend_close(&posix->base);
}
END_TEST

/* ---- opening ---- */

static int try_open(const char *path, bool read_only, bool read_write)
{
    const struct backend_open open_ = {
        .path = path, .fd = -1, .read_only_asked = read_only, .read_write_asked = read_write};
    struct backend *backend = NULL;
    struct backend_info info;
    int error = backend_posix_open(&open_, &backend, &info, message);
    if (error == 0) {
        ck_assert_int_eq(info.read_write, !read_only);
        backend_close(backend);
    }
    return error;
}

START_TEST(mounted_device_opens_read_only_if_that_is_asked_for)
{
    const char *point = fixture_path("mnt");
    ck_assert_int_eq(mkdir(point, 0700), 0);
    ck_assert_int_eq(fixture_run("mkfs.ext4 -q %s 4M >/dev/null 2>&1", loop_path), 0);
    ck_assert_int_eq(mount(loop_path, point, "ext4", 0, NULL), 0);
    for (unsigned int i = 0; i < 2; i++) {
        const char *path = i == 0 ? loop_path : fixture_path("disk");
        ck_assert_int_eq(try_open(path, false, false), -EBUSY);
        said("mounted at ");
        said(point);
        ck_assert_int_eq(try_open(path, false, true), -EBUSY);
        ck_assert_int_eq(try_open(path, true, false), 0);
    }
    ck_assert_int_eq(umount(point), 0);
    ck_assert_int_eq(try_open(loop_path, false, false), 0);
}
END_TEST

START_TEST(opening_tells_key_relatives_and_whether_it_is_in_memory)
{
    const struct backend_open open_ = {.path = loop_path, .fd = -1};
    struct backend *backend = NULL;
    struct backend_info info;
    ck_assert_int_eq(backend_posix_open(&open_, &backend, &info, message), 0);
    const struct device_identity file = fixture_identity(fixture_path("disk"));
    ck_assert_uint_eq(info.related_count, 1);
    ck_assert_mem_eq(&info.related[0], &file, sizeof(file));
    ck_assert_ptr_eq(strstr(info.key.text, "diskseq-"), info.key.text);
    ck_assert(!info.volatile_storage);
    backend_close(backend);
}
END_TEST

START_TEST(how_a_file_is_discarded_is_known_at_open)
{
    const char *point = fixture_path("mnt");
    const char *path = fixture_file("a", FIXTURE_MIB);
    struct stat before;
    struct stat after;
    ck_assert_int_eq(stat(path, &before), 0);
    struct posix *posix = open_device(path);
    ck_assert_int_eq(posix->discard, DISCARD_PUNCH_HOLE);
    backend_close(&posix->base);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    ck_assert_int_eq(mkdir(point, 0700), 0);
    ck_assert_int_eq(mount("test", point, "ramfs", 0, NULL), 0);
    path = fixture_file("mnt/a", FIXTURE_MIB);
    posix = open_device(path);
    ck_assert_int_eq(posix->discard, DISCARD_WRITE);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_int_eq(after.st_size, FIXTURE_MIB);
    backend_close(&posix->base);
    ck_assert_int_eq(umount2(point, MNT_DETACH), 0);
}
END_TEST

/* ---- zeroing under the guard ---- */

static int zero(struct posix *posix, uint64_t offset_bytes, uint64_t length_bytes)
{
    const struct io io = {
        .op = IO_DISCARD, .offset_bytes = offset_bytes, .length_bytes = length_bytes};
    return posix_do_zero(posix, &io);
}

START_TEST(exclusive_holder_punches_holes)
{
    struct posix *posix = open_device(loop_path);
    struct stat before;
    struct stat after;
    ck_assert_int_eq(
        fixture_run("dd if=/dev/urandom of=%s bs=1M count=4 conv=fsync 2>/dev/null", loop_path), 0);
    ck_assert_int_eq(stat(fixture_path("disk"), &before), 0);
    take(posix, GUARD_EXCLUSIVE);
    ck_assert_int_eq(zero(posix, 0, 2UL * FIXTURE_MIB), 0);
    ck_assert_int_eq(posix->discard, DISCARD_PUNCH_HOLE);
    ck_assert_int_eq(stat(fixture_path("disk"), &after), 0);
    ck_assert_int_le(after.st_blocks, before.st_blocks - 2 * FIXTURE_MIB / 512);
    backend_close(&posix->base);
}
END_TEST

static atomic_bool stop_zeroing;

static void *on_zero_again(void *context)
{
    while (!stop_zeroing)
        ck_assert_int_eq(zero(context, 0, 65536), 0);
    return NULL;
}

/* Closed descriptor numbers are taken by another file at once here: a zeroing that used one would
 * empty it. */
START_TEST(zeroing_while_the_guard_changes_hits_nothing_else)
{
    const char *victim = fixture_file("victim", 65536);
    struct posix *posix = open_device(loop_path);
    pthread_t threads[2];
    ck_assert_int_eq(fixture_run("yes | dd of=%s bs=64k count=1 iflag=fullblock conv=notrunc "
                                 "2>/dev/null",
                                 victim),
                     0);
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, on_zero_again, posix), 0);
    for (unsigned int i = 0; i < 200; i++) {
        int fds[8];
        enum guard_mode kept = GUARD_NONE;
        (void)change(posix, GUARD_EXCLUSIVE, &kept);
        (void)change(posix, GUARD_NONE, &kept);
        for (unsigned int j = 0; j < 8; j++)
            fds[j] = open(victim, O_RDWR | O_CLOEXEC);
        for (unsigned int j = 0; j < 8; j++)
            ck_assert_int_eq(close(fds[j]), 0);
    }
    stop_zeroing = true;
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(fixture_run("yes | head -c 65536 | cmp -s - %s", victim), 0);
    backend_close(&posix->base);
}
END_TEST

START_TEST(duplicate_keeps_the_claim_until_it_is_closed)
{
    struct posix *posix = open_device(loop_path);
    ck_assert_int_eq(posix_dup_exclusive(posix), -1);
    take(posix, GUARD_EXCLUSIVE);
    int fd = posix_dup_exclusive(posix);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(try_exclusive(loop_path), -EBUSY);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    backend_close(&posix->base);
}
END_TEST

/* ---- pins ---- */

static struct engine *new_ring(void)
{
    struct engine *engine = NULL;
    int reason = 0;
    int error = engine_new("io_uring", &engine, &reason);
    if (error < 0)
        printf("skipped: pins: no io_uring here: %s\n", strerror(-error));
    return engine;
}

START_TEST(pinned_guard_outlives_its_descriptors)
{
    struct engine *engine = new_ring();
    if (engine == NULL)
        return;
    struct posix *posix = open_device(loop_path);
    take(posix, GUARD_EXCLUSIVE);
    backend_pin(&posix->base, engine);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(try_flock(loop_path, LOCK_SH), -EWOULDBLOCK);
    ck_assert_int_eq(try_exclusive(loop_path), -EBUSY);
    backend_unpin(&posix->base, engine);
    ck_assert_int_eq(try_flock(loop_path, LOCK_EX), 0);
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    backend_unpin(&posix->base, engine);
    backend_close(&posix->base);
    ck_assert_ptr_null(engine_free(engine));
}
END_TEST

START_TEST(pin_follows_the_guard)
{
    struct engine *engine = new_ring();
    struct engine *other = new_ring();
    if (engine == NULL || other == NULL)
        return;
    struct posix *posix = open_device(loop_path);
    backend_pin(&posix->base, engine);
    take(posix, GUARD_SHARED);
    backend_pin(&posix->base, engine);
    backend_pin(&posix->base, other);
    take(posix, GUARD_EXCLUSIVE);
    backend_pin(&posix->base, engine);
    take(posix, GUARD_NONE);
    ck_assert_int_eq(try_exclusive(loop_path), -EBUSY);
    backend_pin(&posix->base, engine); /* to nothing */
    ck_assert_int_eq(try_exclusive(loop_path), 0);
    ck_assert_int_eq(try_flock(loop_path, LOCK_SH), -EWOULDBLOCK); /* the other's */
    backend_unpin(&posix->base, other);
    ck_assert_int_eq(try_flock(loop_path, LOCK_EX), 0);
    backend_close(&posix->base);
    ck_assert_ptr_null(engine_free(engine));
    ck_assert_ptr_null(engine_free(other));
}
END_TEST

static TCase *everyones_tests(void)
{
    TCase *tests = tcase_create("files");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_test(tests, each_mode_keeps_out_what_conflicts);
    tcase_add_test(tests, closing_lets_go);
    tcase_add_test(tests, holder_of_a_flock_is_named);
    tcase_add_test(tests, failed_upgrade_keeps_the_shared_lock);
    tcase_add_test(tests, changes_are_made_on_one_description);
    tcase_add_test(tests, momentary_flock_is_waited_out);
    tcase_add_test(tests, flock_of_util_linux_is_refused);
    tcase_add_test(tests, attempt_without_a_message_is_refused_alike);
    return tests;
}

static TCase *qemu_tests(void)
{
    TCase *tests = tcase_create("qemu");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_test(tests, qemu_is_refused_what_conflicts);
    tcase_add_test(tests, qemu_img_info_is_refused_by_the_exclusive_lock);
    tcase_add_test(tests, qemu_that_writes_keeps_every_lock_out);
    tcase_add_test(tests, qemu_that_reads_keeps_the_exclusive_lock_out);
    return tests;
}

static TCase *roots_tests(void)
{
    TCase *tests = tcase_create("loop devices");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_add_test(tests, exclusive_open_is_kept_out_by_the_exclusive_lock_only);
    tcase_add_test(tests, exclusive_open_of_another_keeps_the_exclusive_lock_out);
    tcase_add_test(tests, attached_file_is_refused_and_its_loop_device_named);
    tcase_add_test(tests, lock_on_what_shares_the_bytes_keeps_out);
    tcase_add_test(tests, mounted_device_opens_read_only_if_that_is_asked_for);
    tcase_add_test(tests, opening_tells_key_relatives_and_whether_it_is_in_memory);
    tcase_add_test(tests, how_a_file_is_discarded_is_known_at_open);
    tcase_add_test(tests, exclusive_holder_punches_holes);
    tcase_add_test(tests, zeroing_while_the_guard_changes_hits_nothing_else);
    tcase_add_test(tests, duplicate_keeps_the_claim_until_it_is_closed);
    tcase_add_test(tests, pinned_guard_outlives_its_descriptors);
    tcase_add_test(tests, pin_follows_the_guard);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("guard");
    suite_add_tcase(suite, everyones_tests());
    if (fixture_run("command -v qemu-io qemu-img >/dev/null") != 0)
        printf("skipped: QEMU's locks: no qemu-io and qemu-img (qemu-utils) here\n");
    else
        suite_add_tcase(suite, qemu_tests());
    if (geteuid() != 0)
        printf("skipped: loop devices: they need root\n");
    else
        suite_add_tcase(suite, roots_tests());
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

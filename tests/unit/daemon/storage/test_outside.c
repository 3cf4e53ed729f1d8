/* SPDX-License-Identifier: MIT */
/*
 * Who else has a device: on real locks, loop devices, mounts and swap areas; and, for what this
 * machine does not have (device mapper, disks with serials), on directories that look like /sys and
 * /proc.
 */
#include "daemon/storage/outside/outside.h"

#include <linux/blkpg.h>
#include <signal.h>
#include <sys/swap.h>

#include "common/cleanup.h"
#include "daemon/storage/outside/identity.h"
#include "daemon/storage/outside/places.h"
#include "tests/unit/daemon/storage/outside_fixture.h"

static char message[BACKEND_MESSAGE_MAX];

static void check_is(const char *path, bool lock, const char *words)
{
    const struct device_identity identity = fixture_identity(path);
    (void)strcpy(message, "untouched");
    ck_assert_int_eq(outside_check(&identity, lock, message), words == NULL ? 0 : -EBUSY);
    if (words != NULL)
        ck_assert_msg(strstr(message, words) != NULL, "\"%s\" is not in: %s", words, message);
}

static struct outside_holders find(const char *path)
{
    const struct device_identity identity = fixture_identity(path);
    struct outside_holders holders;
    ck_assert_int_eq(outside_find_holders(&identity, &holders), 0);
    return holders;
}

/* The one holder of this kind, of the device itself or another (via). */
static struct outside_holder find_one(const char *path, enum outside_kind kind, bool via)
{
    struct outside_holders holders = find(path);
    struct outside_holder found = {.pid = -1};
    size_t count = 0;
    for (size_t i = 0; i < holders.count; i++) {
        if (holders.list[i].kind == kind && holders.list[i].via == via) {
            found = holders.list[i];
            count++;
        }
    }
    outside_holders_free(&holders);
    ck_assert_uint_eq(count, 1);
    return found;
}

static size_t count_holders(const char *path)
{
    struct outside_holders holders = find(path);
    size_t count = holders.count;
    outside_holders_free(&holders);
    return count;
}

static bool is_related(const char *path, const char *other)
{
    const struct device_identity identity = fixture_identity(path);
    const struct device_identity wanted = fixture_identity(other);
    struct device_identity related[BACKEND_RELATED_MAX];
    size_t count = 0;
    bool found = false;
    ck_assert_int_eq(outside_find_related(&identity, related, &count), 0);
    for (size_t i = 0; i < count; i++) {
        ck_assert(!identity_same(&related[i], &identity));
        found = found || identity_same(&related[i], &wanted);
    }
    return found;
}

/* ---- locks ---- */

static int record_lock(int fd, int command, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &lock);
}

static void hold_record_lock(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    fixture_must(fd >= 0 && record_lock(fd, F_SETLK, F_WRLCK, 10, 0) == 0);
}

static void hold_ofd_lock(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    fixture_must(fd >= 0 && record_lock(fd, F_OFD_SETLK, F_RDLCK, 100, 4) == 0);
}

static void hold_lease(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    fixture_must(fd >= 0 && fcntl(fd, F_SETLEASE, F_WRLCK) == 0);
}

static const struct {
    void (*hold)(const char *path);
    enum outside_kind kind;
    bool exclusive;
    const char *detail;
} lock_cases[] = {
    {hold_flock_exclusive, OUTSIDE_FLOCK, true, ""},
    {hold_flock_shared, OUTSIDE_FLOCK, false, ""},
    {hold_record_lock, OUTSIDE_RECORD_LOCK, true, "bytes from 10"},
    {hold_ofd_lock, OUTSIDE_RECORD_LOCK, false, "bytes 100-103"},
    {hold_lease, OUTSIDE_LEASE, true, ""},
};

START_TEST(holder_of_a_lock_is_found)
{
    const char *path = fixture_file("a", 4096);
    (void)fixture_file("b", 4096);
    struct fixture_child child = fixture_hold(lock_cases[_i].hold, path);
    struct outside_holder holder = find_one(path, lock_cases[_i].kind, false);
    ck_assert_int_eq(holder.pid, child.pid);
    ck_assert_uint_eq(holder.uid, geteuid());
    ck_assert_str_eq(holder.command, "test_outside");
    ck_assert_int_eq(holder.exclusive, lock_cases[_i].exclusive);
    ck_assert_str_eq(holder.detail, lock_cases[_i].detail);
    ck_assert(!holder.waits);
    ck_assert_uint_eq(count_holders(path), 1);
    ck_assert_uint_eq(count_holders(fixture_path("b")), 0);
    fixture_end(&child);
    ck_assert_uint_eq(count_holders(path), 0);
}
END_TEST

START_TEST(own_locks_are_not_the_worlds)
{
    const char *path = fixture_file("a", 4096);
    struct fixture_child child = fixture_hold(hold_ofd_lock, path);
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_SH), 0);
    ck_assert_int_eq(record_lock(fd, F_OFD_SETLK, F_RDLCK, 100, 4), 0);
    ck_assert_int_eq(find_one(path, OUTSIDE_RECORD_LOCK, false).pid, child.pid);
    fixture_end(&child);
    ck_assert_uint_eq(count_holders(path), 0);
}
END_TEST

static void hold_flock_in_a_grandchild(const char *path)
{
    int ready[2];
    char byte = 0;
    fixture_must(pipe(ready) == 0);
    pid_t middle = fork();
    fixture_must(middle >= 0);
    if (middle == 0) {
        /* The one that takes it dies; its child, this process' grandchild, keeps it. */
        hold_flock_exclusive(path);
        if (fork() != 0)
            _exit(0);
        (void)!write(ready[1], &byte, 1);
        (void)pause();
    }
    fixture_must(waitpid(middle, NULL, 0) == middle && read(ready[0], &byte, 1) == 1);
}

START_TEST(heir_of_a_lock_is_named_not_the_dead)
{
    const char *path = fixture_file("a", 4096);
    struct fixture_child child = fixture_hold(hold_flock_in_a_grandchild, path);
    struct outside_holder holder = find_one(path, OUTSIDE_FLOCK, false);
    ck_assert_int_gt(holder.pid, child.pid);
    ck_assert_int_eq(kill(holder.pid, SIGKILL), 0);
    fixture_end(&child);
}
END_TEST

static void *on_wait_for_flock(void *context)
{
    CLEANUP_CLOSE int fd = open(context, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    return NULL;
}

START_TEST(waiter_is_told_from_a_holder)
{
    const char *path = fixture_file("a", 4096);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, path);
    pid_t waiter = fork();
    ck_assert_int_ge(waiter, 0);
    if (waiter == 0) {
        (void)close(child.word);
        (void)on_wait_for_flock((void *)(uintptr_t)path);
        _exit(0);
    }
    while (count_holders(path) < 2) /* the test's time limit ends it */
        (void)sched_yield();
    struct outside_holders holders = find(path);
    for (size_t i = 0; i < holders.count; i++)
        ck_assert_int_eq(holders.list[i].pid, holders.list[i].waits ? waiter : child.pid);
    ck_assert(holders.list[0].waits != holders.list[1].waits);
    outside_holders_free(&holders);
    const struct device_identity identity = fixture_identity(path);
    char text[256];
    char words[64];
    outside_describe(&identity, text, sizeof(text));
    (void)snprintf(words, sizeof(words), "flock by pid %d (uid %u, test_outside)", child.pid,
                   geteuid());
    ck_assert_str_eq(text, words);
    fixture_end(&child);
    ck_assert_int_eq(waitpid(waiter, NULL, 0), waiter);
}
END_TEST

START_TEST(nobody_is_described_as_hidden)
{
    const struct device_identity identity = fixture_identity(fixture_file("a", 4096));
    char text[256];
    outside_describe(&identity, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "/proc does not show"));
}
END_TEST

START_TEST(lock_on_a_device_is_found_whatever_its_node)
{
    char loop[32];
    const char *node = fixture_path("node");
    CLEANUP_CLOSE int fd = fixture_loop(fixture_file("disk", FIXTURE_MIB), 0, loop, sizeof(loop));
    ck_assert_int_ge(fd, 0);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, loop);
    ck_assert_int_eq(find_one(loop, OUTSIDE_FLOCK, false).pid, child.pid);
    struct outside_holder holder = find_one(fixture_path("disk"), OUTSIDE_FLOCK, true);
    ck_assert_int_eq(holder.pid, child.pid);
    ck_assert_ptr_nonnull(strstr(holder.detail, loop));
    ck_assert_int_eq(mknod(node, S_IFBLK | 0600, fixture_identity(loop).dev), 0);
    ck_assert_int_eq(find_one(node, OUTSIDE_FLOCK, false).pid, child.pid);
    fixture_end(&child);
}
END_TEST

/* ---- loop devices ---- */

static char loop_path[32];
static int loop_fd = -1;

static void loop_setup(void)
{
    fixture_setup();
    loop_fd = fixture_loop(fixture_file("disk", 64L * FIXTURE_MIB), LO_FLAGS_PARTSCAN, loop_path,
                           sizeof(loop_path));
    ck_assert_int_eq(mkdir(fixture_path("mnt"), 0700), 0);
}

static void loop_teardown(void)
{
    (void)close(loop_fd);
    fixture_teardown();
}

START_TEST(file_of_a_loop_device_is_not_to_be_locked)
{
    const char *path = fixture_path("disk");
    check_is(path, false, NULL);
    check_is(path, true, loop_path);
    check_is(loop_path, false, NULL);
    check_is(loop_path, true, NULL);
    ck_assert_str_eq(find_one(path, OUTSIDE_LOOP, false).detail, loop_path);
    ck_assert_uint_eq(count_holders(loop_path), 0);
    ck_assert(is_related(path, loop_path));
    ck_assert(is_related(loop_path, path));
    ck_assert_int_eq(ioctl(loop_fd, LOOP_CLR_FD), 0);
    ck_assert_int_eq(close(loop_fd), 0);
    check_is(path, true, NULL);
    ck_assert(!is_related(path, loop_path));
    loop_fd = -1;
}
END_TEST

START_TEST(loop_device_of_a_deleted_file_is_found)
{
    CLEANUP_CLOSE int fd = open(fixture_path("disk"), O_RDWR | O_CLOEXEC);
    char path[32];
    ck_assert_int_eq(unlink(fixture_path("disk")), 0);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    check_is(path, true, loop_path);
    ck_assert(is_related(loop_path, path));
}
END_TEST

START_TEST(another_file_at_the_path_is_not_the_loop_devices)
{
    ck_assert_int_eq(rename(fixture_path("disk"), fixture_path("moved")), 0);
    const char *other = fixture_file("disk", FIXTURE_MIB);
    check_is(other, true, NULL);
    check_is(fixture_path("moved"), true, loop_path);
}
END_TEST

START_TEST(two_loop_devices_on_a_file_share_bytes)
{
    char second[32];
    CLEANUP_CLOSE int fd = fixture_loop(fixture_path("disk"), 0, second, sizeof(second));
    ck_assert_int_ge(fd, 0);
    ck_assert(is_related(loop_path, second));
    ck_assert(is_related(second, loop_path));
    check_is(loop_path, false, NULL);
    check_is(loop_path, true, second);
    check_is(second, true, loop_path);
}
END_TEST

START_TEST(loop_device_on_a_loop_device_is_found)
{
    char second[32];
    CLEANUP_CLOSE int fd = fixture_loop(loop_path, 0, second, sizeof(second));
    ck_assert_int_ge(fd, 0);
    ck_assert(is_related(second, fixture_path("disk")));
    ck_assert(is_related(fixture_path("disk"), second));
    check_is(loop_path, true, second);
    check_is(second, true, NULL);
}
END_TEST

/* ---- mounts, swap, partitions ---- */

static void make_filesystem(const char *device)
{
    ck_assert_int_eq(fixture_run("mkfs.ext4 -q -F %s 4M >/dev/null 2>&1", device), 0);
}

static void mount_on(const char *device, const char *point)
{
    make_filesystem(device);
    ck_assert_msg(mount(device, point, "ext4", 0, NULL) == 0, "%s", strerror(errno));
}

START_TEST(mounted_device_is_refused_with_its_mount_point)
{
    const char *point = fixture_path("mnt");
    mount_on(loop_path, point);
    for (unsigned int lock = 0; lock < 2; lock++) {
        check_is(loop_path, lock == 1, point);
        ck_assert_ptr_eq(strstr(message, "it is mounted at "), message);
        check_is(fixture_path("disk"), lock == 1, point);
        ck_assert_ptr_nonnull(strstr(message, "its loop device "));
        ck_assert_ptr_nonnull(strstr(message, loop_path));
    }
    struct outside_holder holder = find_one(loop_path, OUTSIDE_MOUNT, false);
    ck_assert_str_eq(holder.detail, point);
    ck_assert(holder.exclusive);
    ck_assert_int_eq(holder.pid, 0);
    (void)find_one(fixture_path("disk"), OUTSIDE_MOUNT, true);
    /* A file on it is reached by that mount, which is nothing against it. */
    check_is(fixture_file("mnt/inside", 4096), true, NULL);
    ck_assert_int_eq(umount(point), 0);
    check_is(loop_path, true, NULL);
}
END_TEST

START_TEST(mount_point_with_spaces_is_spelled_out)
{
    const char *point = fixture_path("a b\\c");
    ck_assert_int_eq(mkdir(point, 0700), 0);
    make_filesystem(loop_path);
    ck_assert_int_eq(mount(loop_path, point, "ext4", MS_RDONLY, NULL), 0);
    check_is(loop_path, false, point);
    ck_assert(!find_one(loop_path, OUTSIDE_MOUNT, false).exclusive);
    ck_assert_int_eq(umount(point), 0);
}
END_TEST

START_TEST(btrfs_is_found_by_its_source)
{
    const char *point = fixture_path("mnt");
    if (fixture_run("command -v mkfs.btrfs >/dev/null") != 0) {
        printf("skipped: btrfs: no mkfs.btrfs (btrfs-progs) here\n");
        return;
    }
    ck_assert_int_eq(ftruncate(open(fixture_path("disk"), O_RDWR | O_CLOEXEC), 256L * FIXTURE_MIB),
                     0);
    ck_assert_int_eq(ioctl(loop_fd, LOOP_SET_CAPACITY), 0);
    ck_assert_int_eq(fixture_run("mkfs.btrfs -q -f %s >/dev/null 2>&1", loop_path), 0);
    ck_assert_int_eq(mount(loop_path, point, "btrfs", 0, NULL), 0);
    check_is(loop_path, false, point);
    const char *inside = fixture_file("mnt/inside", 4096);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, inside);
    ck_assert_int_eq(find_one(inside, OUTSIDE_FLOCK, false).pid, child.pid);
    fixture_end(&child);
    char second[32];
    int fd = fixture_loop(inside, 0, second, sizeof(second));
    check_is(inside, true, second);
    (void)close(fd);
    ck_assert_int_eq(umount2(point, MNT_DETACH), 0);
}
END_TEST

START_TEST(swap_area_is_refused)
{
    ck_assert_int_eq(fixture_run("mkswap %s >/dev/null 2>&1", loop_path), 0);
    if (swapon(loop_path, 0) < 0) {
        printf("skipped: swap: %s\n", strerror(errno));
        return;
    }
    check_is(loop_path, false, "in use as swap");
    check_is(fixture_path("disk"), false, "in use as swap");
    struct outside_holder holder = find_one(loop_path, OUTSIDE_SWAP, false);
    ck_assert_str_eq(holder.detail, loop_path);
    ck_assert_int_eq(swapoff(loop_path), 0);
    check_is(loop_path, false, NULL);
}
END_TEST

START_TEST(swap_file_is_refused)
{
    const char *path = fixture_path("swap");
    ck_assert_int_eq(fixture_run("dd if=/dev/zero of=%s bs=1M count=1 2>/dev/null && chmod 600 %s "
                                 "&& mkswap %s >/dev/null 2>&1",
                                 path, path, path),
                     0);
    if (swapon(path, 0) < 0) {
        printf("skipped: a swap file: %s\n", strerror(errno));
        return;
    }
    check_is(path, false, "in use as swap");
    ck_assert_int_eq(swapoff(path), 0);
    check_is(path, false, NULL);
}
END_TEST

/* Two partitions of 16 MiB, told to the kernel as partx(8) does: it need not know any table. */
static void make_partitions(char paths[2][48])
{
    for (int i = 0; i < 2; i++) {
        struct blkpg_partition part = {
            .start = (1 + 16L * i) * FIXTURE_MIB, .length = 16L * FIXTURE_MIB, .pno = i + 1};
        struct blkpg_ioctl_arg argument = {
            .op = BLKPG_ADD_PARTITION, .datalen = sizeof(part), .data = &part};
        ck_assert_int_eq(ioctl(loop_fd, BLKPG, &argument), 0);
        (void)snprintf(paths[i], sizeof(paths[i]), "%sp%d", loop_path, i + 1);
    }
}

START_TEST(partitions_share_bytes_with_their_disk_not_with_each_other)
{
    char parts[2][48];
    make_partitions(parts);
    ck_assert(is_related(loop_path, parts[0]));
    ck_assert(is_related(parts[0], loop_path));
    ck_assert(is_related(parts[0], fixture_path("disk")));
    ck_assert(is_related(fixture_path("disk"), parts[1]));
    ck_assert(!is_related(parts[0], parts[1]));
    mount_on(parts[0], fixture_path("mnt"));
    check_is(parts[0], false, "it is mounted");
    check_is(loop_path, false, "its partition ");
    ck_assert_ptr_nonnull(strstr(message, parts[0]));
    check_is(fixture_path("disk"), false, parts[0]);
    check_is(parts[1], true, NULL);
    ck_assert_int_eq(umount(fixture_path("mnt")), 0);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, parts[0]);
    ck_assert_int_eq(find_one(loop_path, OUTSIDE_FLOCK, true).pid, child.pid);
    ck_assert_uint_eq(count_holders(parts[1]), 0);
    fixture_end(&child);
}
END_TEST

/* ---- directories that look like /sys and /proc ---- */

__attribute__((format(printf, 2, 3))) static void put(const char *path, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    const char *full = fixture_path(path);
    ck_assert_int_eq(fixture_run("mkdir -p $(dirname %s)", full), 0);
    CLEANUP_CLOSE int fd = open(full, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void put_device(const char *name, unsigned int major_number, unsigned int minor_number)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "sys/dev/block/%u:%u/uevent", major_number, minor_number);
    put(path, "MAJOR=%u\nDEVNAME=%s\nDEVTYPE=disk\n", major_number, name);
    (void)snprintf(path, sizeof(path), "sys/dev/block/%u:%u/dev", major_number, minor_number);
    put(path, "%u:%u\n", major_number, minor_number);
}

/* `upper` is made of `lower`. */
static void put_link(const char *upper, const char *lower)
{
    const char *root = fixture_path("sys/dev/block");
    ck_assert_int_eq(fixture_run("cd %s && mkdir -p %s/slaves %s/holders && "
                                 "ln -s ../../%s %s/slaves/%s && ln -s ../../%s %s/holders/%s",
                                 root, upper, lower, lower, upper, lower, upper, lower, upper),
                     0);
}

static void fake_setup_directories(void)
{
    static char sys[128];
    static char proc[128];
    (void)snprintf(sys, sizeof(sys), "%s", fixture_path("sys"));
    (void)snprintf(proc, sizeof(proc), "%s", fixture_path("proc"));
    ck_assert_int_eq(fixture_run("mkdir -p %s/block %s/self/ns %s/1/ns", sys, proc, proc), 0);
    put("proc/self/mountinfo", "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n");
    put("proc/locks", "%s", "");
    put("proc/swaps", "Filename\n");
    put("proc/sys/kernel/random/boot_id", "0f00-ba11\n");
    outside_sys = sys;
    outside_proc = proc;
}

static void fake_setup(void)
{
    fixture_setup();
    fake_setup_directories();
}

static struct device_identity block(unsigned int major_number, unsigned int minor_number)
{
    return (struct device_identity){.kind = DEVICE_BLOCK,
                                    .dev = makedev(major_number, minor_number)};
}

/* Two volumes on one disk, and a third on the first. */
static void put_volumes(void)
{
    put_device("sdz", 8, 400);
    put_device("dm-0", 253, 0);
    put_device("dm-1", 253, 1);
    put_device("dm-2", 253, 2);
    put_link("253:0", "8:400");
    put_link("253:1", "8:400");
    put_link("253:2", "253:0");
}

static bool fake_related(const struct device_identity *identity, struct device_identity other)
{
    struct device_identity related[BACKEND_RELATED_MAX];
    size_t count = 0;
    ck_assert_int_eq(outside_find_related(identity, related, &count), 0);
    for (size_t i = 0; i < count; i++) {
        if (identity_same(&related[i], &other))
            return true;
    }
    return false;
}

START_TEST(volumes_are_related_up_and_down_only)
{
    const struct device_identity disk = block(8, 400);
    const struct device_identity volume = block(253, 0);
    const struct device_identity other = block(253, 1);
    put_volumes();
    ck_assert(fake_related(&disk, block(253, 0)));
    ck_assert(fake_related(&disk, block(253, 2)));
    ck_assert(fake_related(&volume, disk));
    ck_assert(fake_related(&volume, block(253, 2)));
    ck_assert(!fake_related(&volume, other));
    ck_assert(fake_related(&other, disk));
    ck_assert(!fake_related(&other, block(253, 2)));
}
END_TEST

START_TEST(disk_below_a_volume_is_refused_and_the_volume_is_not)
{
    const struct device_identity disk = block(8, 400);
    const struct device_identity top = block(253, 2);
    const struct device_identity other = block(253, 1);
    put_volumes();
    ck_assert_int_eq(outside_check(&disk, false, message), -EBUSY);
    ck_assert_ptr_nonnull(strstr(message, "in use by the kernel for /dev/dm-"));
    ck_assert_int_eq(outside_check(&top, true, message), 0);
    ck_assert_int_eq(outside_check(&other, true, message), 0);
    struct outside_holders holders;
    ck_assert_int_eq(outside_find_holders(&disk, &holders), 0);
    ck_assert_uint_eq(holders.count, 3);
    for (size_t i = 0; i < holders.count; i++)
        ck_assert_int_eq(holders.list[i].kind, OUTSIDE_KERNEL);
    outside_holders_free(&holders);
    put("proc/self/mountinfo", "28 1 253:2 / /vol rw - xfs /dev/dm-2 rw\n");
    ck_assert_int_eq(outside_check(&disk, false, message), -EBUSY);
    ck_assert_ptr_nonnull(strstr(message, "/dev/dm-2 is mounted at /vol"));
    ck_assert_int_eq(outside_check(&other, true, message), 0);
}
END_TEST

START_TEST(claimed_disk_takes_its_partitions_along)
{
    const struct device_identity part = block(8, 401);
    put_device("sdz", 8, 400);
    put_device("dm-0", 253, 0);
    put_link("253:0", "8:400");
    put_device("sdz1", 8, 401);
    put("sys/dev/block/8:401/partition", "1\n");
    ck_assert_int_eq(fixture_run("cd %s && mv 8:401 8:400/sdz1 && ln -s 8:400/sdz1 8:401",
                                 fixture_path("sys/dev/block")),
                     0);
    ck_assert(fake_related(&part, block(8, 400)));
    ck_assert_int_eq(outside_check(&part, false, message), -EBUSY);
    ck_assert_ptr_nonnull(strstr(message, "its whole disk /dev/sdz is in use"));
}
END_TEST

START_TEST(longer_lists_keep_what_is_below)
{
    const struct device_identity disk = block(8, 400);
    const struct device_identity last = block(253, 99);
    struct device_identity related[BACKEND_RELATED_MAX];
    size_t count = 0;
    put_device("sdz", 8, 400);
    for (unsigned int i = 0; i < 100; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "dm-%u", i);
        put_device(name, 253, i);
        (void)snprintf(name, sizeof(name), "253:%u", i);
        put_link(name, "8:400");
    }
    ck_assert_int_eq(outside_find_related(&disk, related, &count), 0);
    ck_assert_uint_eq(count, BACKEND_RELATED_MAX);
    ck_assert(fake_related(&last, disk));
    struct outside_holders holders;
    ck_assert_int_eq(outside_find_holders(&disk, &holders), 0);
    ck_assert_uint_eq(holders.count, OUTSIDE_HOLDERS_MAX);
    outside_holders_free(&holders);
}
END_TEST

START_TEST(mounts_of_process_one_count)
{
    const struct device_identity disk = block(8, 400);
    put("proc/1/mountinfo", "28 1 8:400 / /srv rw shared:7 master:3 - xfs /dev/sdz rw\n");
    ck_assert_int_eq(outside_check(&disk, false, message), 0);
    ck_assert_int_eq(symlink("mnt:[1]", fixture_path("proc/1/ns/mnt")), 0);
    ck_assert_int_eq(symlink("mnt:[1]", fixture_path("proc/self/ns/mnt")), 0);
    ck_assert_int_eq(outside_check(&disk, false, message), 0);
    ck_assert_int_eq(unlink(fixture_path("proc/self/ns/mnt")), 0);
    ck_assert_int_eq(symlink("mnt:[2]", fixture_path("proc/self/ns/mnt")), 0);
    ck_assert_int_eq(outside_check(&disk, false, message), -EBUSY);
    ck_assert_ptr_nonnull(strstr(message, "/srv"));
}
END_TEST

START_TEST(unreadable_proc_is_an_error_with_a_sentence)
{
    const struct device_identity disk = block(8, 400);
    outside_proc = "/nonexistent";
    ck_assert_int_eq(outside_check(&disk, false, message), -ENOENT);
    ck_assert_ptr_nonnull(strstr(message, "cannot find out"));
}
END_TEST

START_TEST(same_inode_on_another_file_system_is_another_file)
{
    const char *points[] = {fixture_path("mnt"), fixture_path("other")};
    const char *paths[2];
    ck_assert_int_eq(mkdir(points[1], 0700), 0);
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(mount("test", points[i], "tmpfs", 0, NULL), 0);
    paths[0] = fixture_file("mnt/a", 4096);
    paths[1] = fixture_file("other/a", 4096);
    ck_assert_uint_eq(fixture_identity(paths[0]).inode, fixture_identity(paths[1]).inode);
    struct fixture_child child = fixture_hold(hold_flock_exclusive, paths[0]);
    ck_assert_uint_eq(count_holders(paths[0]), 1);
    ck_assert_uint_eq(count_holders(paths[1]), 0);
    fixture_end(&child);
    for (unsigned int i = 0; i < 2; i++)
        ck_assert_int_eq(umount2(points[i], MNT_DETACH), 0);
}
END_TEST

START_TEST(loop_device_on_a_disk_is_none_of_its_volumes)
{
    const struct device_identity disk = block(8, 400);
    const struct device_identity volume = block(253, 0);
    fake_setup_directories();
    put_volumes();
    const char *node = fixture_path("node"); /* good for 8 more paths */
    ck_assert_int_eq(mknod(node, S_IFBLK | 0600, disk.dev), 0);
    put("sys/block/loop77/dev", "7:77\n");
    put("sys/block/loop77/loop/backing_file", "%s\n", node);
    ck_assert_int_eq(symlink("../../block/loop77", fixture_path("sys/dev/block/7:77")), 0);
    ck_assert(fake_related(&disk, block(7, 77)));
    ck_assert(!fake_related(&volume, block(7, 77)));
    ck_assert_int_eq(outside_check(&volume, true, message), -EBUSY); /* for dm-2 */
    ck_assert_ptr_null(strstr(message, "7:77"));
}
END_TEST

/* A loop device on a FUSE file system whose server would be this process: whatever asks it for
 * something hangs, and the test's time is up. */
START_TEST(loop_device_on_a_hung_server_does_not_hang_others)
{
    static char sys[128];
    char options[80];
    CLEANUP_CLOSE int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0) {
        printf("skipped: a hung FUSE server: %s\n", strerror(errno));
        return;
    }
    put("sys/block/loop77/dev", "7:77\n");
    put("sys/block/loop77/loop/backing_file", "%s/mnt/image\n", fixture_directory);
    (void)snprintf(sys, sizeof(sys), "%s", fixture_path("sys"));
    (void)snprintf(options, sizeof(options),
                   "fd=%d,rootmode=40000,user_id=0,group_id=0,subtype=test", fuse);
    ck_assert_int_eq(mkdir(fixture_path("dev"), 0700), 0);
    ck_assert_int_eq(fixture_run("mkdir -p %s/dev/block && ln -s ../../block/loop77 "
                                 "%s/dev/block/7:77",
                                 sys, sys),
                     0);
    ck_assert_int_eq(mount("test", fixture_path("mnt"), "fuse", 0, options), 0);
    const char *path = fixture_file("a", 4096);
    outside_sys = sys;
    check_is(path, true, NULL);
    ck_assert(!is_related(path, path));
    ck_assert_uint_eq(count_holders(path), 0);
    ck_assert_int_eq(umount2(fixture_path("mnt"), MNT_DETACH), 0);
}
END_TEST

/* ---- keys ---- */

static const char *key_of(int fd, const struct device_identity *identity)
{
    static struct state_key keys[4];
    static unsigned int next;
    struct state_key *key = &keys[next++ % 4];
    (void)strcpy(key->text, "untouched");
    outside_key(fd, identity, key);
    ck_assert_uint_eq(strspn(key->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789._:-"),
                      strlen(key->text));
    return key->text;
}

static const char *key_of_path(const char *path)
{
    const struct device_identity identity = fixture_identity(path);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return key_of(fd, &identity);
}

START_TEST(file_has_a_key_that_its_successor_has_not)
{
    const char *path = fixture_file("a", 4096);
    char first[STATE_KEY_MAX];
    (void)strcpy(first, key_of_path(path));
    ck_assert_ptr_eq(strstr(first, "file-"), first);
    ck_assert_str_eq(key_of_path(path), first);
    for (unsigned int i = 0; i < 50; i++) { /* the inode is likely to come again */
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_str_ne(key_of_path(fixture_file("a", 4096)), first);
    }
}
END_TEST

START_TEST(what_has_no_birth_has_no_key)
{
    const struct device_identity identity = fixture_identity("/proc/self/status");
    CLEANUP_CLOSE int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ck_assert_str_eq(key_of(fd, &identity), "");
}
END_TEST

START_TEST(loop_device_attached_again_has_another_key)
{
    char first[STATE_KEY_MAX];
    const struct device_identity identity = fixture_identity(loop_path);
    (void)strcpy(first, key_of_path(loop_path));
    ck_assert_ptr_eq(strstr(first, "diskseq-"), first);
    ck_assert_str_eq(key_of_path(loop_path), first);
    ck_assert_int_eq(ioctl(loop_fd, LOOP_CLR_FD), 0);
    (void)close(loop_fd);
    loop_fd = fixture_loop(fixture_path("disk"), 0, loop_path, sizeof(loop_path));
    ck_assert_uint_eq(fixture_identity(loop_path).dev, identity.dev);
    ck_assert_str_ne(key_of_path(loop_path), first);
}
END_TEST

START_TEST(serials_make_the_key)
{
    const struct device_identity disk = block(8, 400);
    put_device("sdz", 8, 400);
    ck_assert_str_eq(key_of(-1, &disk), "");
    put("sys/dev/block/8:400/diskseq", "42\n");
    ck_assert_str_eq(key_of(-1, &disk), "diskseq-42-0f00-ba11");
    put("sys/dev/block/8:400/serial", "0000\n");
    ck_assert_str_eq(key_of(-1, &disk), "diskseq-42-0f00-ba11");
    put("sys/dev/block/8:400/serial", "%s", "\n");
    ck_assert_str_eq(key_of(-1, &disk), "diskseq-42-0f00-ba11");
    put("sys/dev/block/8:400/serial", "  S/N_7 x  \n");
    ck_assert_str_eq(key_of(-1, &disk), "serial-S_2fN_5f7_20x");
    put("sys/dev/block/8:400/device/wwid", "naa.5000c500\n");
    ck_assert_str_eq(key_of(-1, &disk), "wwid-naa.5000c500");
}
END_TEST

START_TEST(partition_has_its_disks_key_and_its_number)
{
    const struct device_identity part = block(8, 401);
    put_device("sdz", 8, 400);
    put_device("sdz1", 8, 401);
    put("sys/dev/block/8:400/serial", "abc\n");
    put("sys/dev/block/8:401/partition", "7\n");
    ck_assert_int_eq(fixture_run("cd %s && mv 8:401 8:400/sdz1 && ln -s 8:400/sdz1 8:401",
                                 fixture_path("sys/dev/block")),
                     0);
    ck_assert_str_eq(key_of(-1, &part), "serial-abc:p7");
}
END_TEST

/* ---- volatile ---- */

static bool is_volatile(const char *path)
{
    const struct device_identity identity = fixture_identity(path);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return outside_is_volatile(fd, &identity);
}

START_TEST(memory_is_volatile_whatever_is_built_on_it)
{
    char second[32];
    const char *point = fixture_path("mnt");
    ck_assert(!is_volatile(fixture_path("disk")));
    ck_assert(!is_volatile(loop_path));
    ck_assert_int_eq(mount("test", point, "tmpfs", 0, NULL), 0);
    const char *memory = fixture_file("mnt/memory", 16L * FIXTURE_MIB);
    ck_assert(is_volatile(memory));
    CLEANUP_CLOSE int fd = fixture_loop(memory, 0, second, sizeof(second));
    ck_assert_int_ge(fd, 0);
    ck_assert(is_volatile(second));
    const char *inner = fixture_path("inner");
    ck_assert_int_eq(mkdir(inner, 0700), 0);
    mount_on(second, inner);
    ck_assert(is_volatile(fixture_file("inner/file", 4096)));
    ck_assert_int_eq(umount(inner), 0);
    ck_assert_int_eq(umount2(point, MNT_DETACH), 0);
}
END_TEST

static TCase *everyones_tests(void)
{
    TCase *tests = tcase_create("files");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_add_loop_test(tests, holder_of_a_lock_is_found, 0,
                        sizeof(lock_cases) / sizeof(lock_cases[0]));
    tcase_add_test(tests, own_locks_are_not_the_worlds);
    tcase_add_test(tests, heir_of_a_lock_is_named_not_the_dead);
    tcase_add_test(tests, waiter_is_told_from_a_holder);
    tcase_add_test(tests, nobody_is_described_as_hidden);
    tcase_add_test(tests, file_has_a_key_that_its_successor_has_not);
    tcase_add_test(tests, what_has_no_birth_has_no_key);
    return tests;
}

static TCase *fake_tests(void)
{
    TCase *tests = tcase_create("sysfs");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, fake_setup, fixture_teardown);
    tcase_add_test(tests, volumes_are_related_up_and_down_only);
    tcase_add_test(tests, disk_below_a_volume_is_refused_and_the_volume_is_not);
    tcase_add_test(tests, claimed_disk_takes_its_partitions_along);
    tcase_add_test(tests, longer_lists_keep_what_is_below);
    tcase_add_test(tests, mounts_of_process_one_count);
    tcase_add_test(tests, unreadable_proc_is_an_error_with_a_sentence);
    tcase_add_test(tests, serials_make_the_key);
    tcase_add_test(tests, partition_has_its_disks_key_and_its_number);
    return tests;
}

static TCase *roots_tests(void)
{
    TCase *tests = tcase_create("loop devices");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_add_test(tests, lock_on_a_device_is_found_whatever_its_node);
    tcase_add_test(tests, file_of_a_loop_device_is_not_to_be_locked);
    tcase_add_test(tests, loop_device_of_a_deleted_file_is_found);
    tcase_add_test(tests, another_file_at_the_path_is_not_the_loop_devices);
    tcase_add_test(tests, two_loop_devices_on_a_file_share_bytes);
    tcase_add_test(tests, loop_device_on_a_loop_device_is_found);
    tcase_add_test(tests, mounted_device_is_refused_with_its_mount_point);
    tcase_add_test(tests, same_inode_on_another_file_system_is_another_file);
    tcase_add_test(tests, loop_device_on_a_disk_is_none_of_its_volumes);
    tcase_add_test(tests, loop_device_on_a_hung_server_does_not_hang_others);
    tcase_add_test(tests, mount_point_with_spaces_is_spelled_out);
    tcase_add_test(tests, btrfs_is_found_by_its_source);
    tcase_add_test(tests, swap_area_is_refused);
    tcase_add_test(tests, swap_file_is_refused);
    tcase_add_test(tests, partitions_share_bytes_with_their_disk_not_with_each_other);
    tcase_add_test(tests, loop_device_attached_again_has_another_key);
    tcase_add_test(tests, memory_is_volatile_whatever_is_built_on_it);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("outside");
    suite_add_tcase(suite, everyones_tests());
    suite_add_tcase(suite, fake_tests());
    if (geteuid() != 0)
        printf("skipped: loop devices, mounts and swap: they need root\n");
    else
        suite_add_tcase(suite, roots_tests());
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

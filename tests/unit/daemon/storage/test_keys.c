/* SPDX-License-Identifier: MIT */
/* What a device is called over restarts, and whether it keeps anything over one. */
#include "tests/unit/daemon/storage/outside_loop.h"
#include "tests/unit/daemon/storage/outside_sysfs.h"

/* ---- keys ---- */

static const char *key_of(int fd, const struct device_identity *identity)
{
    static struct backend_key keys[4];
    static unsigned int next;
    struct backend_key *key = &keys[next++ % 4];
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
    char first[BACKEND_KEY_MAX];
    (void)strcpy(first, key_of_path(path));
    ck_assert_ptr_eq(strstr(first, "file-"), first);
    ck_assert_str_eq(key_of_path(path), first);
    for (unsigned int i = 0; i < 50; i++) { /* the inode is likely to come again */
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_str_ne(key_of_path(fixture_file("a", 4096)), first);
    }
}
END_TEST

START_TEST(what_has_no_birth_is_known_until_the_next_boot)
{
    const struct device_identity identity = fixture_identity("/proc/self/status");
    char boot[64] = "";
    CLEANUP_CLOSE int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int boot_fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ck_assert_int_gt(read(boot_fd, boot, sizeof(boot) - 1), 30);
    boot[strcspn(boot, "\n")] = '\0';
    const char *key = key_of(fd, &identity);
    ck_assert_ptr_nonnull(strstr(key, boot));
    CLEANUP_CLOSE int other_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    const struct device_identity other = fixture_identity("/proc/self/maps");
    ck_assert_str_ne(key_of(other_fd, &other), key);
}
END_TEST

/* By whatever loop device the file system is mounted, and though a btrfs has another st_dev each
 * time. */
static void check_mounted_elsewhere(const char *image, const char *type, const char *point)
{
    char first[BACKEND_KEY_MAX];
    char device[2][32];
    char inner[160];
    CLEANUP_CLOSE int one = fixture_loop(image, 0, device[0], sizeof(device[0]));
    ck_assert_int_eq(mount(device[0], point, type, 0, NULL), 0);
    (void)snprintf(inner, sizeof(inner), "%s/file", point);
    CLEANUP_CLOSE int made = open(inner, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    (void)strcpy(first, key_of_path(inner));
    (void)close(TAKE_FD(made));
    ck_assert_int_eq(umount(point), 0);
    ck_assert_int_eq(close(TAKE_FD(one)), 0); /* its number is another's from now on */
    CLEANUP_CLOSE int taken = fixture_loop(fixture_path("disk"), 0, device[0], sizeof(device[0]));
    CLEANUP_CLOSE int two = fixture_loop(image, 0, device[1], sizeof(device[1]));
    ck_assert_int_ge(taken, 0);
    ck_assert_int_ge(two, 0);
    ck_assert_str_ne(device[0], device[1]);
    ck_assert_int_eq(mount(device[1], point, type, 0, NULL), 0);
    ck_assert_str_eq(key_of_path(inner), first);
    ck_assert_int_eq(umount(point), 0);
}

START_TEST(file_keeps_its_key_when_its_file_system_moves)
{
    static const char *const types[] = {"ext4", "btrfs"};
    const char *point = fixture_path("moved");
    ck_assert_int_eq(mkdir(point, 0700), 0);
    const char *image = fixture_file(types[_i], 200L * FIXTURE_MIB);
    if (fixture_run("mkfs.%s -q %s 2>/dev/null", types[_i], image) != 0)
        return; /* without its tools */
    check_mounted_elsewhere(image, types[_i], point);
}
END_TEST

START_TEST(places_differ_by_what_lies_there_not_by_its_number)
{
    static const char boot[] = "7:0 diskseq-5-11111111-2222-3333-4444-555555555555";
    ck_assert(outside_places_differ("7:0 file-a-1-1", "7:0 file-b-1-1"));
    ck_assert(!outside_places_differ("7:0 file-a-1-1", "7:4 file-a-1-1"));
    ck_assert(!outside_places_differ("", "7:4 file-a-1-1"));
    ck_assert(!outside_places_differ("7:4 file-a-1-1", ""));
    ck_assert(outside_places_differ(boot, "8:0 diskseq-6-11111111-2222-3333-4444-555555555555"));
    ck_assert(!outside_places_differ(boot, "8:0 diskseq-6-11111111-2222-3333-4444-666666666666"));
}
END_TEST

/* Whether the device has the old number again: another program's loop device may have taken it. */
static bool attach_again(void)
{
    const dev_t before = fixture_identity(loop_path).dev;
    ck_assert_int_eq(ioctl(loop_fd, LOOP_CLR_FD), 0);
    (void)close(loop_fd);
    loop_fd = fixture_loop(fixture_path("disk"), 0, loop_path, sizeof(loop_path));
    return fixture_identity(loop_path).dev == before;
}

START_TEST(loop_device_attached_again_has_another_key)
{
    enum { TRIES = 50 };
    char first[BACKEND_KEY_MAX];
    unsigned int tries = 0;
    do {
        ck_assert_uint_lt(tries++, TRIES);
        (void)strcpy(first, key_of_path(loop_path));
        ck_assert_ptr_eq(strstr(first, "diskseq-"), first);
        ck_assert_str_eq(key_of_path(loop_path), first);
    } while (!attach_again());
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

START_TEST(partition_has_its_disks_key_its_number_and_its_place)
{
    const struct device_identity part = block(8, 401);
    put_device("sdz", 8, 400);
    put_device("sdz1", 8, 401);
    put("sys/dev/block/8:400/serial", "abc\n");
    put("sys/dev/block/8:401/partition", "7\n");
    put("sys/dev/block/8:401/start", "2048\n");
    put("sys/dev/block/8:401/size", "4096\n");
    ck_assert_int_eq(fixture_run("cd %s && mv 8:401 8:400/sdz1 && ln -s 8:400/sdz1 8:401",
                                 fixture_path("sys/dev/block")),
                     0);
    ck_assert_str_eq(key_of(-1, &part), "serial-abc:p7-2048-4096");
    put("sys/dev/block/8:401/start", "4096\n"); /* another one with its number */
    ck_assert_str_eq(key_of(-1, &part), "serial-abc:p7-4096-4096");
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

static TCase *file_tests(void)
{
    TCase *tests = tcase_create("files");

    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, places_differ_by_what_lies_there_not_by_its_number);
    tcase_add_test(tests, file_has_a_key_that_its_successor_has_not);
    tcase_add_test(tests, what_has_no_birth_is_known_until_the_next_boot);
    return tests;
}

static TCase *sysfs_tests(void)
{
    TCase *tests = tcase_create("sysfs");

    tcase_add_checked_fixture(tests, fake_setup, fixture_teardown);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, serials_make_the_key);
    tcase_add_test(tests, partition_has_its_disks_key_its_number_and_its_place);
    return tests;
}

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, loop_device_attached_again_has_another_key);
    tcase_add_loop_test(tests, file_keeps_its_key_when_its_file_system_moves, 0, 2);
    tcase_add_test(tests, memory_is_volatile_whatever_is_built_on_it);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("outside, keys");

    suite_add_tcase(suite, file_tests());
    suite_add_tcase(suite, sysfs_tests());
    if (have_loops("loop devices and mounts") && have_mounts("loop devices and mounts") &&
        have_program("loop devices and mounts", "mkfs.ext4"))
        suite_add_tcase(suite, loop_tests());
    return suite_run(suite);
}

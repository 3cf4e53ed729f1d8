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

START_TEST(what_has_no_birth_has_no_key)
{
    const struct device_identity identity = fixture_identity("/proc/self/status");
    CLEANUP_CLOSE int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ck_assert_str_eq(key_of(fd, &identity), "");
}
END_TEST

START_TEST(loop_device_attached_again_has_another_key)
{
    char first[BACKEND_KEY_MAX];
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

static TCase *file_tests(void)
{
    TCase *tests = tcase_create("files");

    tcase_add_checked_fixture(tests, fixture_setup, fixture_teardown);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, file_has_a_key_that_its_successor_has_not);
    tcase_add_test(tests, what_has_no_birth_has_no_key);
    return tests;
}

static TCase *sysfs_tests(void)
{
    TCase *tests = tcase_create("sysfs");

    tcase_add_checked_fixture(tests, fake_setup, fixture_teardown);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, serials_make_the_key);
    tcase_add_test(tests, partition_has_its_disks_key_and_its_number);
    return tests;
}

static TCase *loop_tests(void)
{
    TCase *tests = tcase_create("loop devices");

    tcase_add_checked_fixture(tests, loop_setup, loop_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, loop_device_attached_again_has_another_key);
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

/* SPDX-License-Identifier: MIT */
/*
 * A client that punches shared memory out while the machine has none to fill it again. It changes
 * the machine's vm.overcommit_memory for a second, in which others get no memory either: not run by
 * ctest, but by hand, as root, where nothing else runs (bin/test_ring_scarce, with BLKD_BIN and
 * BLKD_ENGINE set).
 */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"

enum { ROOM_KIB = 100 * 1024, CHUNK_BYTES = 4 * 1024 * 1024 };

static char mode_before[16];
static char ratio_before[16];

static void setting_path(const char *name, char path[64])
{
    (void)snprintf(path, 64, "/proc/sys/vm/%s", name);
}

static void setting_read(const char *name, char text[16])
{
    char path[64];
    setting_path(name, path);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, text, 15);
    ck_assert_int_gt(length, 0);
    text[length] = '\0';
}

static void setting_write(const char *name, const char *text)
{
    char path[64];
    setting_path(name, path);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static unsigned long committed_kib(void)
{
    char line[256];
    unsigned long kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file) != NULL && kib == 0) {
        if (strncmp(line, "Committed_AS:", 13) == 0)
            kib = strtoul(line + 13, NULL, 10);
    }
    (void)fclose(file);
    ck_assert_uint_gt(kib, 0);
    return kib;
}

/* All that there is, in the counters of each CPU. */
static void take_memory(void)
{
    static const size_t steps[] = {CHUNK_BYTES, SCENE_PAGE};
    for (int cpu = 0; cpu < (int)sysconf(_SC_NPROCESSORS_CONF); cpu++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((unsigned int)cpu, &one);
        (void)sched_setaffinity(0, sizeof(one), &one);
        for (unsigned int i = 0; i < 2; i++) {
            while (mmap(NULL, steps[i], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0) != MAP_FAILED)
                continue;
        }
    }
}

static void make_scarce(void)
{
    char limit[16];
    (void)snprintf(limit, sizeof(limit), "%lu", committed_kib() + ROOM_KIB);
    setting_write("overcommit_kbytes", limit);
    setting_write("overcommit_memory", "2");
    take_memory();
}

static void read_settings(void)
{
    setting_read("overcommit_memory", mode_before);
    setting_read("overcommit_ratio", ratio_before);
}

static void end_scarcity(void)
{
    setting_write("overcommit_memory", mode_before);
    setting_write("overcommit_ratio", ratio_before); /* overcommit_kbytes ends by that */
}

static void punch(int fd, size_t size_bytes)
{
    ck_assert_int_eq(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size_bytes), 0);
    take_memory();
}

START_TEST(punched_rings_close_the_connection)
{
    make_scarce();
    punch(scene.peer.rings_fd, scene.peer.layout.size_bytes);
    peer_ring_doorbell(&scene.peer); /* the daemon looks, and nothing is there */
    int reason = peer_await_close(&scene.peer);
    end_scarcity();
    ck_assert_int_eq(reason, -EFAULT);
    scene_check_bystander();
}
END_TEST

START_TEST(punched_arena_fails_the_transfer)
{
    struct ring_submission read = scene_read();
    make_scarce();
    punch(scene.arena.fd, scene.arena.size_bytes);
    int result = peer_io(&scene.peer, &read);
    end_scarcity();
    ck_assert_int_eq(result, -EFAULT);
    ASSERT_DONE(peer_io(&scene.peer, &read));
    scene_check_bystander();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/ring/scarce");
    TCase *tests = scene_case(suite, "scarce");
    tcase_add_unchecked_fixture(tests, read_settings, end_scarcity); /* after a failure, too */
    tcase_add_test(tests, punched_rings_close_the_connection);
    tcase_add_test(tests, punched_arena_fails_the_transfer);
    return harness_main(suite);
}

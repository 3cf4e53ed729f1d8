/* SPDX-License-Identifier: MIT */
/*
 * Memory that an engine has been told of. Whether the kernel keeps it pinned is told by the
 * process's VmPin; whether a transfer makes use of that, by the submissions that the engine makes.
 */
#include "tests/unit/daemon/engine/fixture.h"

#include <dlfcn.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "daemon/engine/uring_memory.h"
#include "tests/unit/suite.h"

static const char *const engines[] = {"io_uring", "threads", "fault:io_uring:read@1000000=EIO"};

enum {
    IO_URING = 0,
    THREADS = 1,
    ENGINES = sizeof(engines) / sizeof(*engines),
    KIB = 1024,
    PAGE = 4 * KIB,
    MEMORY = 1024 * KIB,
    SECTORS = MEMORY / SECTOR,
    NOBODY = 65534,
};

static unsigned int fixed_submissions;

int io_uring_submit(struct io_uring *ring)
{
    int (*real)(struct io_uring *);

    for (unsigned int i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
        unsigned char opcode = ring->sq.sqes[i & *ring->sq.kring_mask].opcode;
        fixed_submissions += opcode == IORING_OP_READ_FIXED || opcode == IORING_OP_WRITE_FIXED;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit");
    return real(ring);
}

/* Of this process, in KiB. */
static unsigned long status_kib(const char *field)
{
    unsigned long value = 0;
    char line[256];
    FILE *status = fopen("/proc/self/status", "re");

    ck_assert_ptr_nonnull(status);
    while (fgets(line, sizeof(line), status))
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtoul(line + strlen(field), NULL, 10);
    (void)fclose(status);
    return value;
}

static unsigned char *memory_map(size_t size_bytes)
{
    int fd = memfd_create("blkd-test-engine", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)size_bytes), 0);
    void *map = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(map, MAP_FAILED);
    (void)close(fd);
    return map;
}

/* One transfer of a direct device. */
static ssize_t run_in(const struct engine_memory *memory, enum engine_op op, int fd, void *data,
                      size_t length, uint64_t offset_bytes)
{
    struct transfer transfer = transfer_make(op, fd, data, length, offset_bytes);

    transfer.io.punts = false;
    transfer.io.memory = memory;
    return transfer_run(transfer);
}

/* What is written from this memory is what is read back into it, whatever the engine does. */
static void assert_carries(const struct engine_memory *memory)
{
    unsigned char *data = memory->base;
    int fd = file_make("/tmp", SECTORS);

    ck_assert_int_eq(fcntl(fd, F_SETFL, O_DIRECT), 0);
    for (uint32_t i = 0; i < PAGE / SECTOR; i++)
        fill_sector(data + PAGE + (size_t)i * SECTOR, 1000 + i);
    ck_assert_int_eq(run_in(memory, ENGINE_WRITE, fd, data + PAGE, PAGE, 4 * PAGE), PAGE);
    ck_assert_int_eq(run_in(memory, ENGINE_READ, fd, data, 16 * PAGE, 0), 16 * PAGE);
    for (uint32_t i = 0; i < 16 * PAGE / SECTOR; i++) {
        uint32_t written = i - 4 * PAGE / SECTOR;
        assert_sector(data + (size_t)i * SECTOR, written < PAGE / SECTOR ? 1000 + written : i);
    }
    (void)close(fd);
}

START_TEST(transfers_in_registered_memory_are_right)
{
    unsigned char *map = memory_map(MEMORY);
    struct engine_memory memory = {0};

    engine_start(engines[_i]);
    engine_register(engine, &memory, map, MEMORY);
    ck_assert_ptr_eq(memory.base, map);
    ck_assert_uint_eq(memory.size_bytes, MEMORY);
    ck_assert_int_eq(memory.registered, _i != THREADS);
    assert_carries(&memory);
    ck_assert_uint_eq(fixed_submissions, _i == THREADS ? 0 : 2);
    engine_unregister(engine, &memory);
    ck_assert(!memory.registered);
    engine_stop();
    (void)munmap(map, MEMORY);
}
END_TEST

/* A registered buffer that the kernel takes for another one's would be EFAULT. */
START_TEST(each_memory_is_its_own)
{
    enum { COUNT = 100 };
    unsigned char *map = memory_map((size_t)COUNT * PAGE);
    struct engine_memory memories[COUNT] = {0};
    int fd = file_make("/tmp", SECTORS);

    ck_assert_int_eq(fcntl(fd, F_SETFL, O_DIRECT), 0);
    engine_start(engines[_i]);
    for (unsigned int round = 0; round < 2; round++) {
        for (unsigned int i = 0; i < COUNT; i++)
            engine_register(engine, &memories[i], map + (size_t)i * PAGE, PAGE);
        for (unsigned int i = 0; i < COUNT; i++)
            ck_assert_int_eq(run_in(&memories[i], ENGINE_READ, fd, memories[i].base, PAGE, PAGE),
                             PAGE);
        for (unsigned int i = 0; i < COUNT; i++) /* the second time in another order */
            engine_unregister(engine, &memories[(i * 37 + round) % COUNT]);
    }
    engine_stop();
    (void)close(fd);
    (void)munmap(map, (size_t)COUNT * PAGE);
}
END_TEST

START_TEST(what_is_unregistered_is_let_go_at_once)
{
    enum { BIG = 16 * MEMORY };
    unsigned char *map = memory_map(BIG);
    struct engine_memory memory = {0};
    int fd = file_make("/tmp", 1);

    engine_start(engines[_i]);
    unsigned long before = status_kib("VmPin:");
    engine_register(engine, &memory, map, BIG);
    ck_assert_uint_ge(status_kib("VmPin:"), before + BIG / KIB);
    ck_assert_int_eq(run_in(&memory, ENGINE_READ, fd, map, SECTOR, 0), SECTOR);
    engine_unregister(engine, &memory);
    ck_assert_uint_eq(status_kib("VmPin:"), before);
    engine_stop();
    (void)close(fd);
    (void)munmap(map, BIG);
}
END_TEST

START_TEST(a_full_table_registers_no_more_and_takes_no_harm)
{
    enum { COUNT = URING_MEMORY_MAX + 2 };
    unsigned char *map = memory_map(MEMORY);
    struct engine_memory *memories = calloc(COUNT, sizeof(*memories));

    ck_assert_ptr_nonnull(memories);
    engine_start(engines[IO_URING]);
    for (unsigned int i = 0; i < COUNT; i++) {
        engine_register(engine, &memories[i], map, i < COUNT - 2 ? PAGE : MEMORY);
        ck_assert_int_eq(memories[i].registered, i < URING_MEMORY_MAX);
    }
    assert_carries(&memories[COUNT - 1]);
    ck_assert_uint_eq(fixed_submissions, 0);

    engine_unregister(engine, &memories[100]);
    engine_unregister(engine, &memories[COUNT - 2]);
    engine_register(engine, &memories[COUNT - 2], map, MEMORY);
    ck_assert(memories[COUNT - 2].registered);
    assert_carries(&memories[COUNT - 2]);
    ck_assert_uint_eq(fixed_submissions, 2);
    for (unsigned int i = 0; i < COUNT; i++)
        engine_unregister(engine, &memories[i]);
    engine_stop();
    free(memories);
    (void)munmap(map, MEMORY);
}
END_TEST

/* The ring itself is counted too. */
static void run_beyond_the_memlock_limit(unsigned char *map)
{
    const struct rlimit limit = {.rlim_cur = MEMORY / 2, .rlim_max = MEMORY / 2};
    struct engine_memory small = {0}, large = {0};

    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    ck_assert_int_eq(setuid(NOBODY), 0);
    engine_start(engines[IO_URING]);
    engine_register(engine, &large, map, MEMORY);
    ck_assert(!large.registered);
    assert_carries(&large);
    engine_register(engine, &small, map, 4 * PAGE);
    ck_assert(small.registered);
    engine_unregister(engine, &large);
    engine_unregister(engine, &small);
    engine_stop();
    _exit(0);
}

START_TEST(memory_beyond_the_memlock_limit_is_used_unregistered)
{
    unsigned char *map = memory_map(MEMORY);
    int status;

    if (geteuid() != 0) {
        fprintf(stderr, "skipped: root makes itself a user with a limit\n");
        return;
    }
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        run_beyond_the_memlock_limit(map);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the user ended with %#x", status);
    (void)munmap(map, MEMORY);
}
END_TEST

START_TEST(what_punts_or_has_no_memory_or_many_buffers_is_an_ordinary_transfer)
{
    unsigned char *map = memory_map(MEMORY), *other = memory_map(PAGE);
    struct engine_memory memory = {0};
    int fd = file_make("/tmp", SECTORS);
    const struct iovec iov[] = {{map, PAGE}, {map + 4L * PAGE, PAGE}};

    engine_start(engines[IO_URING]);
    engine_register(engine, &memory, map, MEMORY);
    struct transfer transfer = transfer_make(ENGINE_WRITE, fd, map, PAGE, 0);
    transfer.io.memory = &memory;
    ck_assert_int_eq(transfer_run(transfer), PAGE);
    ck_assert_int_eq(run_in(NULL, ENGINE_READ, fd, other, PAGE, 0), PAGE);
    transfer = transfer_make(ENGINE_READ, fd, NULL, 0, 0);
    transfer.io.memory = &memory;
    transfer.io.punts = false;
    transfer.io.iov = iov;
    transfer.io.iov_count = 2;
    ck_assert_int_eq(transfer_run(transfer), 2 * PAGE);
    ck_assert_uint_eq(fixed_submissions, 0);
    engine_unregister(engine, &memory);
    engine_stop();
    (void)close(fd);
    (void)munmap(map, MEMORY);
    (void)munmap(other, PAGE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine memory");
    TCase *tests = tcase_create("engine memory");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, transfers_in_registered_memory_are_right, 0, ENGINES);
    tcase_add_loop_test(tests, each_memory_is_its_own, 0, ENGINES);
    tcase_add_test(tests, what_is_unregistered_is_let_go_at_once);
    tcase_add_test(tests, a_full_table_registers_no_more_and_takes_no_harm);
    tcase_add_test(tests, memory_beyond_the_memlock_limit_is_used_unregistered);
    tcase_add_test(tests, what_punts_or_has_no_memory_or_many_buffers_is_an_ordinary_transfer);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

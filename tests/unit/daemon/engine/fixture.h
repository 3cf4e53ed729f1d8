/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the engines share: an engine that is driven to its end, transfers that remember
 * how they ended, and files whose every sector carries its own number.
 */
#ifndef BLKD_TESTS_UNIT_DAEMON_ENGINE_FIXTURE_H
#define BLKD_TESTS_UNIT_DAEMON_ENGINE_FIXTURE_H

#include "daemon/engine/engine.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT_MS = 20000, SECTOR = 512 };

struct transfer {
    struct engine_io io;
    struct iovec iov;
    ssize_t result;
    unsigned int done; /* how often */
};

static struct engine *engine;
static struct engine_target target;
static bool in_process; /* completions may come now */

static inline void engine_start(const char *name)
{
    ck_assert_int_eq(engine_global_init(), 0);
    engine_target_init(&target);
    ck_assert_int_eq(engine_new(name, &engine, NULL), 0);
}

static inline void engine_stop(void)
{
    ck_assert_uint_eq(engine_in_flight(engine), 0);
    engine = engine_free(engine);
    engine_target_deinit(&target);
    engine_global_deinit();
}

static inline void on_transfer_done(struct engine_io *io, ssize_t result)
{
    struct transfer *transfer = (struct transfer *)(void *)io;

    ck_assert(in_process);
    transfer->result = result;
    transfer->done++;
}

static inline struct transfer transfer_make(enum engine_op op, int fd, void *data, size_t length,
                                            uint64_t offset_bytes)
{
    return (struct transfer){
        .io = {.op = op,
               .fd = fd,
               .iov_count = 1,
               .offset_bytes = offset_bytes,
               .punts = true,
               .target = &target,
               .on_done = on_transfer_done},
        .iov = {.iov_base = data, .iov_len = length},
    };
}

/* The transfer stays where it is until it is done. */
static inline void transfer_submit(struct transfer *transfer)
{
    if (!transfer->io.iov)
        transfer->io.iov = &transfer->iov;
    engine_submit(engine, &transfer->io);
}

static inline unsigned int engine_round(int timeout_ms)
{
    struct pollfd poll_fd = {.fd = engine_fd(engine), .events = POLLIN};

    engine_kick(engine);
    int readable = poll(&poll_fd, 1, timeout_ms);
    ck_assert_int_ge(readable, 0);
    ck_assert_msg(readable == 1 || timeout_ms == 0, "nothing in %d ms, %u in flight", timeout_ms,
                  engine_in_flight(engine));
    in_process = true;
    unsigned int done = readable == 1 ? engine_process(engine) : 0;
    in_process = false;
    engine_kick(engine);
    return done;
}

static inline void engine_finish_all(void)
{
    while (engine_in_flight(engine) > 0)
        engine_round(TIMEOUT_MS);
}

/* One transfer, from beginning to end. */
static inline ssize_t transfer_run(struct transfer transfer)
{
    transfer_submit(&transfer);
    while (!transfer.done)
        engine_round(TIMEOUT_MS);
    return transfer.result;
}

static inline void fill_sector(unsigned char *data, uint32_t number)
{
    memset(data, (int)(number & 0xff), SECTOR);
    memcpy(data, &number, sizeof(number));
}

static inline void assert_sector(const unsigned char *data, uint32_t number)
{
    unsigned char expected[SECTOR];

    fill_sector(expected, number);
    ck_assert_msg(memcmp(data, expected, SECTOR) == 0, "sector %u has other contents", number);
}

/* A nameless file in `directory` with that many sectors. */
static inline int file_make(const char *directory, uint32_t sectors)
{
    unsigned char data[SECTOR];
    int fd = open(directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

    ck_assert_msg(fd >= 0, "cannot make a file in %s: %s", directory, strerror(errno));
    for (uint32_t i = 0; i < sectors; i++) {
        fill_sector(data, i);
        ck_assert_int_eq(pwrite(fd, data, SECTOR, (off_t)i * SECTOR), SECTOR);
    }
    return fd;
}

#endif

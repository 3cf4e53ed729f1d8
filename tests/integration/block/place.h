/* SPDX-License-Identifier: MIT */
/*
 * The places that a device can be in, and how it is reached there: the matrix that the tests of the
 * block interface run over. A row is a number below PLACE_ROWS; files come first,
 * then, up to PLACE_LOOP_END, loop devices.
 */
#ifndef BLKD_TESTS_PLACE_H
#define BLKD_TESTS_PLACE_H

#include "harness.h"

enum place_kind {
    PLACE_FILE,        /* in /tmp: ext4, or what else a machine has there */
    PLACE_MEMORY_FILE, /* on a tmpfs */
    PLACE_LOOP_512,
    PLACE_LOOP_4096,
    PLACE_ZRAM,
};

/* ThreadSanitizer looks at the daemon's threads, which do the same on the other three kinds. */
#ifdef __SANITIZE_THREAD__
#define PLACE_KINDS PLACE_FILE, PLACE_LOOP_512
enum { PLACE_FILE_ROWS = 2, PLACE_LOOP_END = 4, PLACE_ROWS = 4 };
#else
#define PLACE_KINDS PLACE_FILE, PLACE_MEMORY_FILE, PLACE_LOOP_512, PLACE_LOOP_4096, PLACE_ZRAM
enum { PLACE_FILE_ROWS = 4, PLACE_LOOP_END = 8, PLACE_ROWS = 10 };
#endif

struct place {
    enum place_kind kind;
    bool used;
    bool direct;
    char path[HARNESS_PATH_MAX]; /* of the device */
    char file[HARNESS_PATH_MAX]; /* where its bytes are; empty for zram */
    uint64_t size_bytes;
    struct harness_loop loop;
    struct harness_zram zram;
};

/* Makes the row's device, all zeroes. False: it cannot be had here, and the test was skipped. */
bool place_begin(struct place *place, int row, uint64_t size_bytes);
/* The daemon must have closed it. Does nothing if the place was never begun. */
void place_end(struct place *place);

bool place_is_file(const struct place *place);

/* What another program sees, by a descriptor of its own and by the same kind of I/O. */
void place_read_outside(const struct place *place, uint64_t offset_bytes, void *buffer,
                        size_t length_bytes);

/* How many flushes the kernel has sent to the loop device (Documentation/block/stat.rst). */
uint64_t place_count_flushes(const struct place *place);

#endif

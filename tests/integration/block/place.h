/* SPDX-License-Identifier: MIT */
/*
 * The places that a device can be in, and how it is reached there: the matrix that the tests of the
 * block interface run over. A row is a number below place_rows(); files come
 * first, then, up to place_loop_end(), loop devices.
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

/* How many rows there are, those of loop devices end at, and those of files. They are fewer where
 * the places cannot matter: under ThreadSanitizer, which looks at the daemon's threads, and with
 * BLKD_PLACES=few in the environment, for pairs of an engine and a tier each of which has been on
 * all places with another. Then they are files in /tmp and loop devices of 512-byte blocks. */
int place_rows(void);
int place_loop_end(void);
int place_file_rows(void);

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

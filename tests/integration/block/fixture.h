/* SPDX-License-Identifier: MIT */
/*
 * What each test of the block interface starts with: a daemon, a connection to it, and a place for
 * a device. And the words that the tests are written in: assertions that print the library's
 * message, and buffers whose every sector says which sector it is and of which generation.
 */
#ifndef BLKD_TESTS_FIXTURE_H
#define BLKD_TESTS_FIXTURE_H

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "harness.h"
#include "place.h"

enum { MIB = 1024 * 1024 };

struct fixture {
    struct harness_daemon daemon;
    struct blkd *connection;
    struct place place;
};

extern struct fixture fixture;

void fixture_begin(void);
void fixture_end(void);

/* A test case whose tests have the fixture around them. */
TCase *fixture_case(Suite *suite, const char *name);
/* Of each test, on a busy machine and with a sanitizer: only what hangs takes longer. */
enum { FIXTURE_TIMEOUT_S = 600 };

#define ASSERT_OK(expression)                                                                      \
    do {                                                                                           \
        int result_ = (expression);                                                                \
        ck_assert_msg(result_ == 0, "%s: %d: %s", #expression, result_, blkd_error_message());     \
    } while (0)

#define ASSERT_FAILS(expression, error)                                                            \
    do {                                                                                           \
        int result_ = (expression);                                                                \
        ck_assert_msg(result_ == -(error), "%s: %d, not -" #error ": %s", #expression, result_,    \
                      result_ < 0 ? blkd_error_message() : "");                                    \
    } while (0)

/* The message of the last failure has these words in it. */
#define ASSERT_SAYS(words)                                                                         \
    ck_assert_msg(strstr(blkd_error_message(), (words)) != NULL, "\"%s\" is not in \"%s\"",        \
                  (words), blkd_error_message())

/* ---- devices ---- */

/* How the place is opened: its path and caching mode, else the defaults. */
struct blkd_config fixture_config(void);
/* Opens on the fixture's connection and must succeed. */
struct blkd_device *fixture_open(const struct blkd_config *config);
struct blkd_device *fixture_open_place(void);
struct blkd_info fixture_info(struct blkd_device *device);
/* The daemon's entry of this device. */
struct blkd_device_entry fixture_entry(struct blkd_device *device);
/* Of those that are open; one that was closed stays in the list until it is synced. */
size_t fixture_count_devices(void);

/* ---- data ---- */

/* Fills whole sectors: each word tells sector, generation and place in the sector. Generation 0 is
 * all zeroes. */
void data_fill(void *buffer, uint64_t sector, size_t count, uint32_t sector_size,
               unsigned int generation);
/* The buffer holds just that; `what` names it in the failure. */
void data_check(const void *buffer, uint64_t sector, size_t count, uint32_t sector_size,
                unsigned int generation, const char *what);

/* Memory for that many bytes; never NULL. */
uint8_t *data_new(size_t bytes);

/* Through the device: must succeed. */
void data_write(struct blkd_device *device, uint64_t sector, size_t count, unsigned int generation);
void data_expect(struct blkd_device *device, uint64_t sector, size_t count,
                 unsigned int generation);
/* Outside of it. */
void data_expect_outside(const struct place *place, uint64_t sector, size_t count,
                         uint32_t sector_size, unsigned int generation);

#endif

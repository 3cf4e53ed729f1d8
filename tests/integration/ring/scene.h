/* SPDX-License-Identifier: MIT */
/*
 * What the tests of rings start with: a daemon, an image, and a client with rings, an arena and a
 * session; beside it another client, that is to notice nothing.
 */
#ifndef BLKD_TESTS_SCENE_H
#define BLKD_TESTS_SCENE_H

#include <errno.h>

#include "common/limits.h"
#include "harness.h"
#include "observe.h"
#include "peer.h"

/* The daemon's limits. */
enum { SCENE_MIB_PER_CONNECTION = 64, SCENE_MIB_PER_UID = 256 };

enum {
    SCENE_ENTRIES = 16,
    SCENE_IMAGE_BYTES = 4 * 1024 * 1024,
    SCENE_ARENA_BYTES = 4 * 1024 * 1024,
    SCENE_PAGE = 4096,
    SCENE_TIMEOUT_S = 500,
};

struct scene {
    struct harness_daemon daemon;
    char image[HARNESS_PATH_MAX];
    char direct_image[HARNESS_PATH_MAX]; /* of the same contents; a device has one caching mode */
    struct peer peer;
    struct peer_arena arena;
    uint64_t session;
    struct peer bystander; /* with a ring, without an arena */
    uint64_t bystander_session;
    /* Of the daemon, before anybody came. */
    unsigned int descriptors;
    unsigned int mappings;
};

extern struct scene scene;

/* A test case whose tests have a scene around them: scene_begin before, scene_end after. */
TCase *scene_case(Suite *suite, const char *name);
/* The same with rules for the fault engine that lies over $BLKD_ENGINE (fault_rules.h), or NULL. */
void scene_begin_with(const char *fault_rules);
/* The bystander is served; everything is given back when all have gone; the daemon ends well. */
void scene_end(void);

/* Another client with rings. Its descriptors and mappings are peer_disconnect's. */
void scene_join(struct peer *peer);
uint64_t scene_open(struct peer *peer, bool direct, bool read_only);

/* All that the scene's clients have in the daemon is gone, but the bystander's. */
void scene_expect_reclaimed(void);
void scene_check_bystander(void);

/* How much shared memory this user can have at this moment, in bytes; it is all given back. */
uint64_t scene_available(void);

/* Of the scene's session: a page at the image's begin, read into the arena's. */
struct ring_submission scene_read(void);
struct ring_submission scene_submission(enum ring_operation operation);
void scene_fill(uint8_t *bytes, size_t length, unsigned int seed);

#define ASSERT_DONE(expression)                                                                    \
    do {                                                                                           \
        int result_ = (expression);                                                                \
        ck_assert_msg(result_ == 0, "%s: %d (%s)", #expression, result_, strerror(-result_));      \
    } while (0)

#define ASSERT_REFUSED(expression, error)                                                          \
    do {                                                                                           \
        int result_ = (expression);                                                                \
        ck_assert_msg(result_ == -(error), "%s: %d (%s), not -" #error, #expression, result_,      \
                      result_ < 0 ? strerror(-result_) : "done");                                  \
    } while (0)

#endif

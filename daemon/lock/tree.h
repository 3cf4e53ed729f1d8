/* SPDX-License-Identifier: MIT */
/*
 * Interval trees of locks: which lock touches these bytes? Private: lock.h includes it only because
 * locks and tables embed its types.
 *
 * A span is a lock's place in one tree. Where it stands (range, owner, rank) does not change while
 * it is in there; whether it is *strong* (what that means is the tree's user's: exclusive,
 * isolating) may. Each span sums up its subtree, all of it and the strong ones alone, so that a
 * search for a span that is not a certain owner's takes one way down.
 */
#ifndef BLKD_DAEMON_LOCK_TREE_H
#define BLKD_DAEMON_LOCK_TREE_H

#include <stdbool.h>
#include <stdint.h>
/* RB_AUGMENT: libbsd's, glibc has none */
#include <bsd/sys/tree.h>

struct lock;
struct lock_owner;

struct lock_range {
    uint64_t first_byte;
    uint64_t
        last_byte; /* included; UINT64_MAX with first_byte 0: the whole device, however it grows */
};

#define LOCK_WHOLE ((struct lock_range){0, UINT64_MAX})
#define LOCK_NOTHING ((struct lock_range){UINT64_MAX, 0})

/* Of a subtree's spans, or of its strong ones. */
struct lock_sum {
    const struct lock_owner *owner; /* whose span reaches furthest; NULL: there is none */
    const struct lock_owner *other; /* whose does, of all owners but that one; NULL: none */
    uint64_t last_byte;             /* how far the first one's reaches */
    uint64_t other_last_byte;
    uint64_t rank_min;
    uint64_t rank_max;
};

enum lock_kind {
    LOCK_KIND_ALL,
    LOCK_KIND_STRONG,
    LOCK_KINDS,
};

struct lock_span {
    RB_ENTRY(lock_span) link;
    struct lock *lock;
    uint64_t rank; /* no two in a tree have the same */
    bool strong;
    struct lock_sum sums[LOCK_KINDS];
    /* The last search to which this span, or everything below it as well, has nothing more to say.
     */
    uint64_t seen;
    uint64_t all_seen;
};

RB_HEAD(lock_tree, lock_span);

void lock_tree_add(struct lock_tree *tree, struct lock_span *span, struct lock *lock, uint64_t rank,
                   bool strong);
void lock_tree_remove(struct lock_tree *tree, struct lock_span *span);
void lock_tree_set_strong(struct lock_span *span, bool strong);

bool lock_tree_has(const struct lock_tree *tree, enum lock_kind kind);

/* A lock of that kind that overlaps the range and is not this owner's, or NULL. O(log n). */
struct lock *lock_tree_find_other(const struct lock_tree *tree, struct lock_range range,
                                  enum lock_kind kind, const struct lock_owner *owner);

/*
 * Walks over the spans of a kind that overlap a range and have a rank from rank_first to rank_last.
 * With a search other than 0, those whose `seen` is that search are passed by, whole subtrees at
 * once. The tree does not change meanwhile.
 */
struct lock_walk {
    struct lock_range range;
    enum lock_kind kind;
    uint64_t rank_first;
    uint64_t rank_last;
    uint64_t search;

    /* The walk's own. */
    uint64_t steps; /* since it was made, over all its starts */
    struct lock_span *at;
    enum lock_walk_step {
        LOCK_WALK_LEFT,
        LOCK_WALK_SELF,
        LOCK_WALK_RIGHT,
        LOCK_WALK_UP,
    } step;
};

void lock_walk_start(struct lock_walk *walk, const struct lock_tree *tree);
/* The next one, or NULL. */
struct lock_span *lock_walk_next(struct lock_walk *walk);

#endif

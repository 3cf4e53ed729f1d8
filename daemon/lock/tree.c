/* SPDX-License-Identifier: MIT */
/*
 * Interval trees of locks; tree.h says what they are for.
 *
 * A tree is sorted by first byte, then rank. libbsd's RB_AUGMENT is called for the spans that a
 * rotation moves, and for the parent of one that comes or goes, but not for all above: sum_up does
 * those. It is right after any number of rotations, because only what lies above the change was
 * wrong.
 */
#include "daemon/lock/tree.h"

#include "daemon/lock/lock.h"

#include <assert.h>
#include <stddef.h>

static void sum_add_owner(struct lock_sum *sum, const struct lock_owner *owner, uint64_t last_byte)
{
    if (owner == NULL)
        return;
    if (owner == sum->owner) {
        if (last_byte > sum->last_byte)
            sum->last_byte = last_byte;
    } else if (sum->owner == NULL || last_byte > sum->last_byte) {
        sum->other = sum->owner;
        sum->other_last_byte = sum->last_byte;
        sum->owner = owner;
        sum->last_byte = last_byte;
    } else if (sum->other == NULL || last_byte > sum->other_last_byte) {
        sum->other = owner;
        sum->other_last_byte = last_byte;
    }
}

static void sum_add(struct lock_sum *sum, const struct lock_span *below, enum lock_kind kind)
{
    const struct lock_sum *more;

    if (below == NULL)
        return;
    more = &below->sums[kind];
    sum_add_owner(sum, more->owner, more->last_byte);
    sum_add_owner(sum, more->other, more->other_last_byte);
    if (more->rank_min < sum->rank_min)
        sum->rank_min = more->rank_min;
    if (more->rank_max > sum->rank_max)
        sum->rank_max = more->rank_max;
}

static void sum_kind(struct lock_span *span, enum lock_kind kind)
{
    struct lock_sum sum = {.rank_min = UINT64_MAX};

    if (kind == LOCK_KIND_ALL || span->strong) {
        sum.owner = span->lock->owner;
        sum.last_byte = span->lock->range.last_byte;
        sum.rank_min = sum.rank_max = span->rank;
    }
    sum_add(&sum, RB_LEFT(span, link), kind);
    sum_add(&sum, RB_RIGHT(span, link), kind);
    span->sums[kind] = sum;
}

static void sum_both(struct lock_span *span)
{
    sum_kind(span, LOCK_KIND_ALL);
    sum_kind(span, LOCK_KIND_STRONG);
}

static void sum_up(struct lock_span *span)
{
    for (; span != NULL; span = RB_PARENT(span, link))
        sum_both(span);
}

static int compare(const struct lock_span *one, const struct lock_span *other)
{
    uint64_t first = one->lock->range.first_byte, other_first = other->lock->range.first_byte;

    if (first != other_first)
        return first < other_first ? -1 : 1;
    return one->rank < other->rank ? -1 : one->rank > other->rank;
}

#undef RB_AUGMENT
#define RB_AUGMENT(span) sum_both(span)
/* What the macro makes is libbsd's, and more than is used: compilers and linters need not like it.
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnull-dereference"
/* NOLINTNEXTLINE */
RB_GENERATE_INTERNAL(lock_tree, lock_span, link, compare, static __attribute__((unused)))
#pragma GCC diagnostic pop

void lock_tree_add(struct lock_tree *tree, struct lock_span *span, struct lock *lock, uint64_t rank,
                   bool strong)
{
    const struct lock_span *same;

    *span = (struct lock_span){.lock = lock, .rank = rank, .strong = strong};
    sum_both(span);
    same = RB_INSERT(lock_tree, tree, span);
    assert(same == NULL);
    sum_up(span);
}

void lock_tree_remove(struct lock_tree *tree, struct lock_span *span)
{
    struct lock_span *above = RB_PARENT(span, link);

    RB_REMOVE(lock_tree, tree, span);
    /* With two children another span took its place, and the macro has seen to all above that. */
    sum_up(above);
}

void lock_tree_set_strong(struct lock_span *span, bool strong)
{
    span->strong = strong;
    sum_up(span);
}

bool lock_tree_has(const struct lock_tree *tree, enum lock_kind kind)
{
    return !RB_EMPTY(tree) && RB_ROOT(tree)->sums[kind].owner != NULL;
}

/* Whether anything below (or the span itself) that is not the owner's ends at or behind the byte.
 */
static bool other_reaches(const struct lock_span *span, enum lock_kind kind,
                          const struct lock_owner *owner, uint64_t byte)
{
    const struct lock_sum *sum;

    if (span == NULL)
        return false;
    sum = &span->sums[kind];
    if (sum->owner == owner)
        return sum->other != NULL && sum->other_last_byte >= byte;
    return sum->owner != NULL && sum->last_byte >= byte;
}

static bool is_of_kind(const struct lock_span *span, enum lock_kind kind)
{
    return kind == LOCK_KIND_ALL || span->strong;
}

static bool overlaps(const struct lock_span *span, struct lock_range range)
{
    return span->lock->range.first_byte <= range.last_byte &&
           span->lock->range.last_byte >= range.first_byte;
}

struct lock *lock_tree_find_other(const struct lock_tree *tree, struct lock_range range,
                                  enum lock_kind kind, const struct lock_owner *owner)
{
    const struct lock_span *span = RB_ROOT(tree);

    while (other_reaches(span, kind, owner, range.first_byte)) {
        /* If one on the left reaches the range and yet begins behind it, all on the right do. */
        if (other_reaches(RB_LEFT(span, link), kind, owner, range.first_byte)) {
            span = RB_LEFT(span, link);
            continue;
        }
        if (is_of_kind(span, kind) && span->lock->owner != owner && overlaps(span, range))
            return span->lock;
        span = RB_RIGHT(span, link);
    }
    return NULL;
}

static bool all_seen(const struct lock_span *span, uint64_t search)
{
    return span == NULL || span->all_seen == search;
}

static bool is_promising(const struct lock_walk *walk, const struct lock_span *span)
{
    const struct lock_sum *sum;

    if (span == NULL || (walk->search != 0 && span->all_seen == walk->search))
        return false;
    sum = &span->sums[walk->kind];
    return sum->owner != NULL && sum->last_byte >= walk->range.first_byte &&
           sum->rank_min <= walk->rank_last && sum->rank_max >= walk->rank_first;
}

static bool is_match(const struct lock_walk *walk, const struct lock_span *span)
{
    return is_of_kind(span, walk->kind) && overlaps(span, walk->range) &&
           span->rank >= walk->rank_first && span->rank <= walk->rank_last &&
           (walk->search == 0 || span->seen != walk->search);
}

static void walk_down(struct lock_walk *walk, struct lock_span *child,
                      enum lock_walk_step otherwise)
{
    if (is_promising(walk, child)) {
        walk->at = child;
        walk->step = LOCK_WALK_LEFT;
    } else {
        walk->step = otherwise;
    }
}

static void walk_up(struct lock_walk *walk)
{
    struct lock_span *at = walk->at, *above = RB_PARENT(at, link);

    if (at->seen == walk->search && all_seen(RB_LEFT(at, link), walk->search) &&
        all_seen(RB_RIGHT(at, link), walk->search))
        at->all_seen = walk->search;
    walk->step = above != NULL && RB_LEFT(above, link) == at ? LOCK_WALK_SELF : LOCK_WALK_UP;
    walk->at = above;
}

void lock_walk_start(struct lock_walk *walk, const struct lock_tree *tree)
{
    walk->at = is_promising(walk, RB_ROOT(tree)) ? RB_ROOT(tree) : NULL;
    walk->step = LOCK_WALK_LEFT;
}

struct lock_span *lock_walk_next(struct lock_walk *walk)
{
    while (walk->at != NULL) {
        struct lock_span *at = walk->at;

        walk->steps++;
        switch (walk->step) {
        case LOCK_WALK_LEFT:
            walk_down(walk, RB_LEFT(at, link), LOCK_WALK_SELF);
            break;
        case LOCK_WALK_SELF:
            walk->step = at->lock->range.first_byte <= walk->range.last_byte ? LOCK_WALK_RIGHT
                                                                             : LOCK_WALK_UP;
            if (is_match(walk, at))
                return at;
            break;
        case LOCK_WALK_RIGHT:
            walk_down(walk, RB_RIGHT(at, link), LOCK_WALK_UP);
            break;
        case LOCK_WALK_UP:
            walk_up(walk);
            break;
        }
    }
    return NULL;
}

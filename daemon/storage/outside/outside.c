/* SPDX-License-Identifier: MIT */
/*
 * Puts together who has a device: for each member of its family the mounts, swap areas, kernel
 * devices, loop devices and locks. Of what lies below the device only that counts which takes all
 * of it: a volume group's other volumes are no holders of this one.
 */
#include "daemon/storage/outside/outside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/storage/outside/claims.h"
#include "daemon/storage/outside/holders.h"
#include "daemon/storage/outside/locks.h"
#include "daemon/storage/outside/related.h"
#include "daemon/storage/outside/uses.h"

#define CLAIMED                                                                                    \
    "claimed by the kernel or another program (a mount that is not visible here, or O_EXCL)"

/* ---- may it be touched? ---- */

struct outside_verdict {
    bool lock;
    bool refused;
    struct outside_use use;
};

static bool on_use_judged(void *context, const struct outside_use *use)
{
    struct outside_verdict *verdict = context;
    if (verdict->refused)
        return false;
    if (use->kind == OUTSIDE_LOOP && !verdict->lock)
        return true;
    verdict->refused = true;
    verdict->use = *use;
    return false;
}

/* By a use that no table shows. */
static bool outside_is_claimed(const struct outside_family *family,
                               char message[BACKEND_MESSAGE_MAX])
{
    char name[192];
    const struct outside_member *member = claims_find(family);
    if (member == NULL)
        return false;
    related_name_member(member, name, sizeof(name));
    (void)snprintf(
        message, BACKEND_MESSAGE_MAX,
        "%.160s is " CLAIMED ": find and stop that use, or open it read-only without a lock", name);
    return true;
}

/* The family's first member is the device itself. */
static enum refusal outside_refusal(const struct outside_family *family,
                                    const struct outside_use *use)
{
    if (use->member != &family->members[0])
        return REFUSAL_RELATED;
    if (use->kind == OUTSIDE_MOUNT)
        return REFUSAL_MOUNTED;
    return use->kind == OUTSIDE_SWAP ? REFUSAL_SWAP : REFUSAL_CLAIMED;
}

int outside_check(const struct device_identity *identity, bool lock,
                  char message[BACKEND_MESSAGE_MAX], enum refusal *ret_refusal)
{
    struct outside_family family;
    struct outside_verdict verdict = {.lock = lock};
    struct outside_uses uses = {.family = &family, .found = on_use_judged, .context = &verdict};
    int error = related_find_family(identity, &family);
    if (error == 0)
        error = uses_each(&uses);
    if (error < 0) {
        (void)snprintf(message, BACKEND_MESSAGE_MAX, "cannot find out who uses it: %s",
                       strerror(-error));
        return error;
    }
    enum refusal refusal = REFUSAL_CLAIMED;
    if (verdict.refused) {
        uses_say(&verdict.use, message);
        refusal = outside_refusal(&family, &verdict.use);
    } else if (!outside_is_claimed(&family, message)) {
        return 0;
    }
    *ret_refusal = refusal;
    return -EBUSY;
}

/* ---- who has it ---- */

/* One mount can stand in two tables (mounts.c): whether the last holder is there already. */
static bool outside_is_known(const struct outside_holders *holders)
{
    const struct outside_holder *last = &holders->list[holders->count - 1];
    for (const struct outside_holder *holder = holders->list; holder != last; holder++) {
        if (holder->kind == last->kind && strcmp(holder->detail, last->detail) == 0)
            return true;
    }
    return false;
}

static bool on_use_found(void *context, const struct outside_use *use)
{
    struct outside_holders *holders = context;
    struct outside_holder *holder = holders_add(holders, use->kind, use->member, use->what);
    if (holder == NULL)
        return false;
    holder->exclusive = use->exclusive;
    if (outside_is_known(holders))
        holders->count--;
    return true;
}

/* A claim that none of the holders explains. Locks are none. */
static void outside_add_claim(const struct outside_family *family, struct outside_holders *holders)
{
    for (size_t i = 0; i < holders->count; i++) {
        if (holders->list[i].kind != OUTSIDE_LOOP)
            return;
    }
    const struct outside_member *member = claims_find(family);
    if (member != NULL)
        (void)holders_add(holders, OUTSIDE_KERNEL, member, CLAIMED);
}

int outside_find_holders(const struct device_identity *identity,
                         struct outside_holders *ret_holders)
{
    struct outside_family family;
    struct outside_holders holders = {.list = NULL};
    struct outside_uses uses = {.family = &family, .found = on_use_found, .context = &holders};
    int error = related_find_family(identity, &family);
    if (error == 0)
        error = uses_each(&uses);
    if (error == 0)
        outside_add_claim(&family, &holders);
    if (error == 0)
        error = locks_find_holders(&family, &holders);
    if (error < 0) {
        outside_holders_free(&holders);
        return error;
    }
    *ret_holders = holders;
    return 0;
}

void outside_describe(const struct device_identity *identity, char *text, size_t size)
{
    struct outside_holders holders = {.list = NULL};
    text[0] = '\0';
    if (outside_find_holders(identity, &holders) == 0) {
        for (size_t i = 0; i < holders.count; i++) {
            if (!holders.list[i].waits && strlen(text) + 1 < size)
                holders_append_words(text, size, &holders.list[i]);
        }
    }
    outside_holders_free(&holders);
    if (text[0] == '\0')
        (void)snprintf(text, size, "/proc does not show the holder");
}

static bool is_lock_against(const struct outside_holder *holder, bool exclusive)
{
    return holder->via && !holder->waits && (exclusive || holder->exclusive) &&
           (holder->kind == OUTSIDE_FLOCK || holder->kind == OUTSIDE_RECORD_LOCK);
}

int outside_check_locks(const struct device_identity *identity, bool exclusive,
                        char message[BACKEND_MESSAGE_MAX])
{
    struct outside_family family;
    struct outside_holders holders = {.list = NULL};
    int error = related_find_family(identity, &family);
    if (error == 0 && family.count > 1)
        error = locks_find_holders(&family, &holders);
    if (error < 0)
        (void)snprintf(message, BACKEND_MESSAGE_MAX, "cannot find out who has locked it: %s",
                       strerror(-error));
    for (size_t i = 0; i < holders.count && error == 0; i++) {
        if (!is_lock_against(&holders.list[i], exclusive))
            continue;
        (void)snprintf(message, BACKEND_MESSAGE_MAX, "another program has locked bytes of it: ");
        holders_append_words(message, BACKEND_MESSAGE_MAX, &holders.list[i]);
        error = -EBUSY;
    }
    outside_holders_free(&holders);
    return error;
}

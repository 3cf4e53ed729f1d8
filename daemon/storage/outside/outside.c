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

#include "daemon/storage/outside/holders.h"
#include "daemon/storage/outside/locks.h"
#include "daemon/storage/outside/related.h"
#include "daemon/storage/outside/uses.h"

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

int outside_check(const struct device_identity *identity, bool lock,
                  char message[BACKEND_MESSAGE_MAX])
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
    if (!verdict.refused)
        return 0;
    uses_say(&verdict.use, message);
    return -EBUSY;
}

/* ---- who has it ---- */

static bool on_use_found(void *context, const struct outside_use *use)
{
    struct outside_holder *holder = holders_add(context, use->kind, use->member, use->what);
    if (holder != NULL)
        holder->exclusive = use->exclusive;
    return holder != NULL;
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

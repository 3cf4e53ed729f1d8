/* SPDX-License-Identifier: MIT */
/*
 * Puts together who has a device: for each member of its family the mounts, swap areas, kernel
 * devices, loop devices and locks. Of what lies below the device only that counts which takes all
 * of it: a volume group's other volumes are no holders of this one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "daemon/storage/outside/parts.h"

struct outside_holder *outside_add(struct outside_holders *holders, enum outside_kind kind,
                                   const struct outside_member *member, const char *detail)
{
    char name[192];
    if (holders->count == OUTSIDE_HOLDERS_MAX) {
        holders->more = true;
        return NULL;
    }
    if (holders->list == NULL)
        holders->list = calloc(OUTSIDE_HOLDERS_MAX, sizeof(*holders->list));
    if (holders->list == NULL) {
        holders->more = true;
        return NULL;
    }
    struct outside_holder *holder = &holders->list[holders->count++];
    *holder = (struct outside_holder){
        .kind = kind, .exclusive = true, .via = member->relation != OUTSIDE_SELF};
    outside_name_member(member, name, sizeof(name));
    if (!holder->via)
        (void)snprintf(holder->detail, sizeof(holder->detail), "%s", detail);
    else if (detail[0] == '\0')
        (void)snprintf(holder->detail, sizeof(holder->detail), "%s", name);
    else
        (void)snprintf(holder->detail, sizeof(holder->detail), "%.150s: %s", name, detail);
    text_make_utf8(holder->detail);
    return holder;
}

void outside_holders_free(struct outside_holders *holders)
{
    free(holders->list);
    *holders = (struct outside_holders){.list = NULL};
}

/* ---- uses: what makes a device untouchable, whoever asks ---- */

/* One use of a member by the kernel. */
struct outside_use {
    enum outside_kind kind;
    const struct outside_member *member;
    bool exclusive;
    char what[OUTSIDE_DETAIL_MAX]; /* mount point, swap area, name of a device */
};

struct outside_uses {
    const struct outside_family *family;
    bool (*found)(void *context, const struct outside_use *use);
    void *context;
};

static bool on_outside_mount(void *context, const struct outside_mount *mount)
{
    const struct outside_uses *uses = context;
    for (unsigned int i = 0; i < uses->family->count; i++) {
        const struct outside_member *member = &uses->family->members[i];
        if (!outside_is_mount_of(mount, &member->identity))
            continue;
        struct outside_use use = {
            .kind = OUTSIDE_MOUNT, .member = member, .exclusive = mount->read_write};
        (void)snprintf(use.what, sizeof(use.what), "%s", mount->point);
        return uses->found(uses->context, &use);
    }
    return true;
}

static bool on_outside_swap(void *context, const char *path)
{
    const struct outside_uses *uses = context;
    struct device_identity identity;
    if (!outside_identify(path, &identity))
        return true;
    for (unsigned int i = 0; i < uses->family->count; i++) {
        const struct outside_member *member = &uses->family->members[i];
        if (!outside_same(&member->identity, &identity))
            continue;
        struct outside_use use = {.kind = OUTSIDE_SWAP, .member = member, .exclusive = true};
        (void)snprintf(use.what, sizeof(use.what), "%s", path);
        return uses->found(uses->context, &use);
    }
    return true;
}

/* Kernel devices and loop devices are members themselves, found from what they are on. */
static bool outside_each_device_use(const struct outside_uses *uses)
{
    for (unsigned int i = 1; i < uses->family->count; i++) {
        const struct outside_member *member = &uses->family->members[i];
        struct outside_use use = {.exclusive = true,
                                  .member = &uses->family->members[member->parent]};
        if (member->relation == OUTSIDE_BUILT_ON)
            use.kind = OUTSIDE_KERNEL;
        else if (member->relation == OUTSIDE_LOOP_ON || member->relation == OUTSIDE_LOOP_SIBLING)
            use.kind = OUTSIDE_LOOP;
        else
            continue;
        (void)snprintf(use.what, sizeof(use.what), "%s", member->name);
        if (!uses->found(uses->context, &use))
            return false;
    }
    return true;
}

/* Calls `found` for each use until it returns false; mounts first, which say most to a person. */
static int outside_each_use(struct outside_uses *uses)
{
    int error = outside_each_mount(on_outside_mount, uses);
    if (error == 0)
        error = outside_each_swap(on_outside_swap, uses);
    if (error == 0)
        (void)outside_each_device_use(uses);
    return error;
}

/* ---- may it be touched? ---- */

struct outside_verdict {
    bool lock;
    bool refused;
    struct outside_use use;
};

static bool on_outside_verdict(void *context, const struct outside_use *use)
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

static void outside_say(const struct outside_use *use, char message[BACKEND_MESSAGE_MAX])
{
    char name[192];
    const char *it = use->member->relation == OUTSIDE_SELF ? "it" : "that";
    outside_name_member(use->member, name, sizeof(name));
    if (use->kind == OUTSIDE_MOUNT)
        (void)snprintf(
            message, BACKEND_MESSAGE_MAX,
            "%.160s is mounted at %.240s: unmount %s, or open it read-only without a lock", name,
            use->what, it);
    else if (use->kind == OUTSIDE_SWAP)
        (void)snprintf(
            message, BACKEND_MESSAGE_MAX,
            "%.160s is in use as swap space: end that (swapoff %.240s), or open it read-only "
            "without a lock",
            name, use->what);
    else if (use->kind == OUTSIDE_KERNEL)
        (void)snprintf(
            message, BACKEND_MESSAGE_MAX,
            "%.160s is in use by the kernel for %.120s: stop that device, use it instead, or "
            "open this one read-only without a lock",
            name, use->what);
    else
        (void)snprintf(
            message, BACKEND_MESSAGE_MAX,
            "the loop device %.100s is attached to %.150s: detach it (losetup -d %.100s), use it "
            "instead, or do without a lock",
            use->what, name, use->what);
    text_make_utf8(message);
}

int outside_check(const struct device_identity *identity, bool lock,
                  char message[BACKEND_MESSAGE_MAX])
{
    struct outside_family family;
    struct outside_verdict verdict = {.lock = lock};
    struct outside_uses uses = {
        .family = &family, .found = on_outside_verdict, .context = &verdict};
    int error = outside_find_family(identity, &family);
    if (error == 0)
        error = outside_each_use(&uses);
    if (error < 0) {
        (void)snprintf(message, BACKEND_MESSAGE_MAX, "it cannot be found out who uses it: %s",
                       strerror(-error));
        return error;
    }
    if (!verdict.refused)
        return 0;
    outside_say(&verdict.use, message);
    return -EBUSY;
}

/* ---- who has it ---- */

static bool on_outside_holder(void *context, const struct outside_use *use)
{
    struct outside_holder *holder = outside_add(context, use->kind, use->member, use->what);
    if (holder != NULL)
        holder->exclusive = use->exclusive;
    return holder != NULL;
}

int outside_find_holders(const struct device_identity *identity,
                         struct outside_holders *ret_holders)
{
    struct outside_family family;
    struct outside_holders holders = {.list = NULL};
    struct outside_uses uses = {.family = &family, .found = on_outside_holder, .context = &holders};
    int error = outside_find_family(identity, &family);
    if (error == 0)
        error = outside_each_use(&uses);
    if (error == 0)
        error = outside_find_locks(&family, &holders);
    if (error < 0) {
        outside_holders_free(&holders);
        return error;
    }
    *ret_holders = holders;
    return 0;
}

static const char *outside_kind_name(enum outside_kind kind)
{
    switch (kind) {
    case OUTSIDE_FLOCK:
        return "flock";
    case OUTSIDE_RECORD_LOCK:
        return "fcntl lock";
    case OUTSIDE_MOUNT:
        return "mount";
    case OUTSIDE_SWAP:
        return "swap";
    case OUTSIDE_KERNEL:
        return "kernel device";
    case OUTSIDE_LOOP:
        return "loop device";
    case OUTSIDE_LEASE:
        return "lease";
    }
    return "holder";
}

static void outside_append(char *text, size_t size, const struct outside_holder *holder)
{
    size_t length = strlen(text);
    const char *comma = length == 0 || text[length - 1] == ' ' ? "" : ", ";
    const char *mode = holder->exclusive ? "" : "shared ";
    const bool lock = holder->kind == OUTSIDE_FLOCK || holder->kind == OUTSIDE_RECORD_LOCK ||
                      holder->kind == OUTSIDE_LEASE;
    char who[128] = "";
    char detail[OUTSIDE_DETAIL_MAX + 8] = "";
    if (holder->pid > 0)
        (void)snprintf(who, sizeof(who), " by pid %d (uid %u, %s)", holder->pid, holder->uid,
                       holder->command);
    else if (lock)
        (void)snprintf(who, sizeof(who), " by a process that /proc does not show");
    if (holder->detail[0] != '\0')
        (void)snprintf(detail, sizeof(detail), lock ? " on %s" : " %s", holder->detail);
    (void)snprintf(text + length, size - length, "%s%s%s%s%s", comma, lock ? mode : "",
                   outside_kind_name(holder->kind), detail, who);
}

void outside_describe(const struct device_identity *identity, char *text, size_t size)
{
    struct outside_holders holders = {.list = NULL};
    text[0] = '\0';
    if (outside_find_holders(identity, &holders) == 0) {
        for (size_t i = 0; i < holders.count; i++) {
            if (!holders.list[i].waits && strlen(text) + 1 < size)
                outside_append(text, size, &holders.list[i]);
        }
    }
    outside_holders_free(&holders);
    if (text[0] == '\0')
        (void)snprintf(text, size, "another program holds it, which /proc does not show");
}

static bool outside_is_lock_against(const struct outside_holder *holder, bool exclusive)
{
    return holder->via && !holder->waits && (exclusive || holder->exclusive) &&
           (holder->kind == OUTSIDE_FLOCK || holder->kind == OUTSIDE_RECORD_LOCK);
}

int outside_check_locks(const struct device_identity *identity, bool exclusive,
                        char message[BACKEND_MESSAGE_MAX])
{
    struct outside_family family;
    struct outside_holders holders = {.list = NULL};
    int error = outside_find_family(identity, &family);
    if (error == 0 && family.count > 1)
        error = outside_find_locks(&family, &holders);
    if (error < 0)
        (void)snprintf(message, BACKEND_MESSAGE_MAX, "it cannot be found out who has locked it: %s",
                       strerror(-error));
    for (size_t i = 0; i < holders.count && error == 0; i++) {
        if (!outside_is_lock_against(&holders.list[i], exclusive))
            continue;
        (void)snprintf(message, BACKEND_MESSAGE_MAX, "another program has locked its bytes: ");
        outside_append(message, BACKEND_MESSAGE_MAX, &holders.list[i]);
        error = -EBUSY;
    }
    outside_holders_free(&holders);
    return error;
}

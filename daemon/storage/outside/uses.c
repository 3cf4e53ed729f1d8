/* SPDX-License-Identifier: MIT */
/* See uses.h. Mounts and swap areas are looked up in /proc; devices on devices are members of the
 * family themselves. */
#include "daemon/storage/outside/uses.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "daemon/storage/outside/identity.h"
#include "daemon/storage/outside/mounts.h"

static bool on_mount(void *context, const struct outside_mount *mount)
{
    const struct outside_uses *uses = context;
    for (unsigned int i = 0; i < uses->family->count; i++) {
        const struct outside_member *member = &uses->family->members[i];
        if (!mounts_is_of(mount, &member->identity))
            continue;
        struct outside_use use = {
            .kind = OUTSIDE_MOUNT, .member = member, .exclusive = mount->read_write};
        (void)snprintf(use.what, sizeof(use.what), "%s", mount->point);
        return uses->found(uses->context, &use);
    }
    return true;
}

static bool on_swap(void *context, const char *path)
{
    const struct outside_uses *uses = context;
    struct device_identity identity;
    if (!identity_of_path(path, &identity))
        return true;
    for (unsigned int i = 0; i < uses->family->count; i++) {
        const struct outside_member *member = &uses->family->members[i];
        if (!identity_same(&member->identity, &identity))
            continue;
        struct outside_use use = {.kind = OUTSIDE_SWAP, .member = member, .exclusive = true};
        (void)snprintf(use.what, sizeof(use.what), "%s", path);
        return uses->found(uses->context, &use);
    }
    return true;
}

/* Kernel devices and loop devices are members themselves, found from what they are on. */
static bool uses_each_device(const struct outside_uses *uses)
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

int uses_each(struct outside_uses *uses)
{
    int error = mounts_each(on_mount, uses);
    if (error == 0)
        error = mounts_each_swap(on_swap, uses);
    if (error == 0)
        (void)uses_each_device(uses);
    return error;
}

void uses_say(const struct outside_use *use, char message[BACKEND_MESSAGE_MAX])
{
    char name[192];
    const char *it = use->member->relation == OUTSIDE_SELF ? "it" : "that";
    related_name_member(use->member, name, sizeof(name));
    if (use->kind == OUTSIDE_MOUNT)
        (void)snprintf(
            message, BACKEND_MESSAGE_MAX,
            "%.160s is mounted at %.240s: unmount %s, or open it read-only without a lock", name,
            use->what, it);
    else if (use->kind == OUTSIDE_SWAP)
        (void)snprintf(message, BACKEND_MESSAGE_MAX,
                       "%.160s is in use as swap space: disable it (swapoff %.240s), or open it "
                       "read-only without a lock",
                       name, use->what);
    else if (use->kind == OUTSIDE_KERNEL)
        (void)snprintf(message, BACKEND_MESSAGE_MAX,
                       "%.160s is in use by the kernel for %.120s: stop that device, open that "
                       "device instead, or open this one read-only without a lock",
                       name, use->what);
    else
        (void)snprintf(message, BACKEND_MESSAGE_MAX,
                       "loop device %.100s is attached to %.150s: detach it (losetup -d %.100s), "
                       "open the loop device instead, or open this one without a lock",
                       use->what, name, use->what);
    text_make_utf8(message);
}

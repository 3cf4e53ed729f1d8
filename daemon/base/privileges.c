/* SPDX-License-Identifier: MIT */
#include "daemon/base/privileges.h"

#include <linux/capability.h>
#include <stdint.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The overflow uid: nobody's. */
enum { FS_NOBODY = 65534 };

static _Thread_local bool lends_none;

static void remove_capability(struct __user_cap_data_struct *sets, unsigned int capability)
{
    struct __user_cap_data_struct *set = &sets[capability / 32];
    const uint32_t bit = UINT32_C(1) << (capability % 32);
    set->effective &= ~bit;
    set->permitted &= ~bit;
    set->inheritable &= ~bit;
}

/* What is not held need not be given up: a failure is of a daemon that had nothing to give. */
void privileges_drop(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capget, &header, sets) < 0)
        return;
    remove_capability(sets, CAP_FSETID);
    remove_capability(sets, CAP_SYS_RESOURCE);
    (void)syscall(SYS_capset, &header, sets);
}

void privileges_lower(void)
{
    if (geteuid() == 0)
        (void)setfsuid(FS_NOBODY);
}

void privileges_restore(void)
{
    if (geteuid() == 0)
        (void)setfsuid(0);
}

/* setfsuid(2) tells only what it was before: a second call tells what became of the first. */
bool privileges_can_lower(void)
{
    if (geteuid() != 0)
        return true;
    privileges_lower();
    bool lowered = setfsuid(0) == FS_NOBODY;
    privileges_restore();
    return lowered;
}

void privileges_lend_none(void)
{
    if (lends_none)
        return;
    privileges_lower();
    lends_none = true;
}

/* SPDX-License-Identifier: MIT */
/* See holders.h. */
#include "daemon/storage/outside/holders.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "common/text.h"
#include "daemon/storage/outside/places.h"

struct outside_holder *holders_add(struct outside_holders *holders, enum outside_kind kind,
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
    related_name_member(member, name, sizeof(name));
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

void holders_read_command(pid_t pid, char *command, size_t size)
{
    char path[PATH_BYTES_MAX];
    command[0] = '\0';
    (void)snprintf(path, sizeof(path), "%s/%d/comm", outside_proc, pid);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, command, size - 1);
    if (length <= 0)
        return;
    command[length] = '\0';
    command[strcspn(command, "\n")] = '\0';
    text_make_utf8(command);
}

static const char *holders_kind_name(enum outside_kind kind)
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

void holders_append_words(char *text, size_t size, const struct outside_holder *holder)
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
                   holders_kind_name(holder->kind), detail, who);
}

/* SPDX-License-Identifier: MIT */
/*
 * A list of holders while it grows, and one of them in words. The list has room for
 * OUTSIDE_HOLDERS_MAX from its first holder on, so a holder stays where it is; for those beyond
 * that only `more` is set. All text in it is UTF-8.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_HOLDERS_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_HOLDERS_H

#include "daemon/storage/outside/outside.h"
#include "daemon/storage/outside/related.h"
#include <stddef.h>

/* Adds a holder, exclusive and of no process, whose members the caller may then change; NULL if
 * there is no more room. */
struct outside_holder *holders_add(struct outside_holders *holders, enum outside_kind kind,
                                   const struct outside_member *member, const char *detail);
/* The name of a process' command; "" if /proc does not tell. */
void holders_read_command(pid_t pid, char *command, size_t size);
/* Appends the holder to a list in words. */
void holders_append_words(char *text, size_t size, const struct outside_holder *holder);

#endif

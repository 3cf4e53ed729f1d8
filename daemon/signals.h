/* SPDX-License-Identifier: MIT */
/*
 * Signals whose default is to end the process, with I/O in flight and nothing synced. What has no
 * meaning for the daemon is ignored; libevent handles the others (main.c).
 */
#ifndef BLKD_DAEMON_SIGNALS_H
#define BLKD_DAEMON_SIGNALS_H

#include <stdbool.h>

/* Before there are threads. Ignores what would kill and asks for nothing. What somebody else has
 * set (a sanitizer, nohup(1)) stays. */
void signals_ignore_harmless(void);

/* Whether the signal is ignored, by nohup(1) for example. */
bool signals_is_ignored(int number);

/* Whether the process has a terminal, whose end SIGHUP would tell of. */
bool signals_have_terminal(void);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Where the kernel tells about itself. Tests of what a machine does not have put other directories
 * there before they ask anything; nobody else changes it.
 */
#ifndef BLKD_DAEMON_STORAGE_OUTSIDE_PLACES_H
#define BLKD_DAEMON_STORAGE_OUTSIDE_PLACES_H

extern const char *outside_sys;
extern const char *outside_proc;

#endif

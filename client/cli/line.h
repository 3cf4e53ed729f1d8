/* SPDX-License-Identifier: MIT */
/*
 * What a watcher is told, one line each: for people, or a JSON object. Pure.
 */
#ifndef BLKD_CLI_LINE_H
#define BLKD_CLI_LINE_H

#include <stdio.h>

#include "client/blkd.h"

/* "2026-01-31 23:59:59.123  lock-granted  device 3 /srv/a.img: exclusive, token 7, by session 5" */
void line_print_text(const struct blkd_happening *happening, FILE *out);

/* What does not apply to this kind of happening is left out. */
void line_print_json(const struct blkd_happening *happening, FILE *out);

#endif

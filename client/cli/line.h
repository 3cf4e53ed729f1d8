/* SPDX-License-Identifier: MIT */
/*
 * One event of `watch` as a line: for people, or as a JSON object. Pure.
 */
#ifndef BLKD_CLI_LINE_H
#define BLKD_CLI_LINE_H

#include <stdio.h>

#include "client/blkd.h"

/* "2026-01-31 23:59:59.123  lock-granted  device 3 /srv/a.img: exclusive, token 7, by session 5" */
void line_print_text(const struct blkd_happening *happening, FILE *out);

/* Members that do not apply to this kind of event are omitted. */
void line_print_json(const struct blkd_happening *happening, FILE *out);

#endif

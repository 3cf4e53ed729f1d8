/* SPDX-License-Identifier: MIT */
/*
 * Text from elsewhere (paths, commands): on its way to people, who must not be deceived by it, and
 * into the wire's strings, which must be UTF-8: a peer's protobuf library may refuse a whole
 * message otherwise.
 */
#ifndef BLKD_COMMON_TEXT_H
#define BLKD_COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* The bytes of the next character, at least 1; text is not empty. Plain is what may be shown as it
 * is: a well-formed UTF-8 sequence (RFC 3629) that is no control character (C0, DEL, C1), no mark
 * that turns the direction of writing or ends a line, and not invisible (a byte order mark, tags).
 * What is not plain is shown as \xNN for each byte, in the log and by blkd-cli. */
size_t text_next(const char *text, bool *ret_plain);

/* Replaces each byte that is no part of a well-formed UTF-8 sequence (RFC 3629), and each control
 * character, by '?'. */
void text_make_utf8(char *text);

#endif

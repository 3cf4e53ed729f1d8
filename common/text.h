/* SPDX-License-Identifier: MIT */
/*
 * Text from elsewhere (paths, commands) on its way into the wire's strings, which must be UTF-8: a
 * peer's protobuf library may refuse a whole message otherwise.
 */
#ifndef BLKD_COMMON_TEXT_H
#define BLKD_COMMON_TEXT_H

/* Replaces each byte that is no part of a well-formed UTF-8 sequence (RFC 3629), and each control
 * character, by '?'. */
void text_make_utf8(char *text);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Makes bytes that others chose (paths, commands, messages with paths in them) fit to be shown:
 * what leaves blkd-cli is UTF-8 and drives no terminal. Pure.
 */
#ifndef BLKD_CLI_TEXT_H
#define BLKD_CLI_TEXT_H

enum text_rule {
    TEXT_TERMINAL, /* nothing but what text_next calls plain: all else becomes \xNN */
    TEXT_JSON,     /* those below U+0020 stay, for JSON has its own escapes for them */
};

/* A copy for free(3), or NULL without memory. A backslash before an x becomes \x5c, so that the
 * copy tells what the text was. */
char *text_escape(const char *text, enum text_rule rule);

#endif

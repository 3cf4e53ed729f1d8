/* SPDX-License-Identifier: MIT */
/*
 * Makes bytes that others chose (paths, commands, messages with paths in them) fit to be shown:
 * what leaves blkd-cli is UTF-8 and drives no terminal. Pure.
 */
#ifndef BLKD_CLI_TEXT_H
#define BLKD_CLI_TEXT_H

enum text_rule {
    TEXT_TERMINAL, /* no control characters: they become \xNN, as bytes that are no UTF-8 do */
    TEXT_JSON,     /* control characters stay, for JSON has its own escapes for them */
};

/* A copy for free(3), or NULL without memory. A backslash before an x becomes \x5c, so that the
 * copy tells what the text was. */
char *text_escape(const char *text, enum text_rule rule);

#endif

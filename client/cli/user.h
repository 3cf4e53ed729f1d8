/* SPDX-License-Identifier: MIT */
/* Users as people know them. */
#ifndef BLKD_CLI_USER_H
#define BLKD_CLI_USER_H

#include <stdint.h>

enum {
    USER_TEXT_MAX = 64,
};

/* The user's name, or the number if there is none. */
void user_format(uint32_t uid, char ret_text[static USER_TEXT_MAX]);

#endif

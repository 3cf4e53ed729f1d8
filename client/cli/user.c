/* SPDX-License-Identifier: MIT */
#include "client/cli/user.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>

void user_format(uint32_t uid, char ret_text[static USER_TEXT_MAX])
{
    const struct passwd *user = getpwuid(uid);

    if (user)
        (void)snprintf(ret_text, USER_TEXT_MAX, "%s", user->pw_name);
    else
        (void)snprintf(ret_text, USER_TEXT_MAX, "%" PRIu32, uid);
}

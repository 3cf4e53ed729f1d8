/* SPDX-License-Identifier: MIT */
#include "client/blkd.h"

/* The header's version is the project's (CMakeLists.txt). */
_Static_assert(__builtin_strcmp(BLKD_VERSION, BLKD_PROJECT_VERSION) == 0,
               "BLKD_VERSION in blkd.h and the project's version differ");

const char *blkd_version(void)
{
    return BLKD_VERSION;
}

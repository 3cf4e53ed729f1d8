/* SPDX-License-Identifier: MIT */
/* See texts.h. */
#include "client/lib/base/texts.h"

#include <string.h>

const char *texts_put(char **position, const void *bytes, size_t length)
{
    char *text = *position;

    if (length > 0)
        memcpy(text, bytes, length);
    text[length] = '\0';
    *position += length + 1;
    return text;
}

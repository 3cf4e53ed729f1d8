/* SPDX-License-Identifier: MIT */
#include "client/lib/base/reserved.h"

#include <errno.h>

#include "client/lib/base/error.h"

int reserved_check(const char *struct_name, const uint64_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (words[i] != 0)
            return error_report(-EINVAL,
                                "%s.reserved[%zu] is not 0: initialise the struct with its INIT "
                                "macro (or the program was built for a newer libblkd)",
                                struct_name, i);
    }
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* See pages.h. */
#include "client/lib/api/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/base/error.h"
#include "client/lib/core/verb.h"

char *pages_add_text(struct pages *pages, size_t bytes)
{
    struct pages_text *text = malloc(sizeof(*text) + bytes);

    if (text == NULL)
        return NULL;
    text->next = pages->texts;
    pages->texts = text;
    return text->bytes;
}

void pages_free_texts(struct pages *pages)
{
    while (pages->texts != NULL) {
        struct pages_text *next = pages->texts->next;
        free(pages->texts);
        pages->texts = next;
    }
}

/* What is copied is a pointer to whatever the entries are. */
void *pages_point(void *old, const void *entries, size_t entry_bytes, size_t count)
{
    void *pointers = realloc(old, (count + 1) * sizeof(void *));

    for (size_t i = 0; pointers != NULL && i < count; i++) {
        const void *entry = (const char *)entries + i * entry_bytes;
        memcpy((char *)pointers + i * sizeof(entry), &entry, sizeof(entry));
    }
    return pointers;
}

int pages_get(struct blkd *connection, const struct operation *operation, uint64_t device_number,
              void *block)
{
    struct call *call;
    int r = verb_begin(connection, NULL, operation, CALL_WAITS, &call);

    if (r < 0)
        return r;
    call->asked.device_number = device_number;
    call->asked.ret = block;
    return verb_run(call);
}

int pages_check(const struct blkd *connection, const void *ret_list)
{
    if (connection != NULL && ret_list != NULL)
        return 0;
    return error_report(-EINVAL, "cannot get a list: %s is NULL",
                        connection == NULL ? "connection" : "the place for it");
}

/* SPDX-License-Identifier: MIT */
#include "daemon/verbs/page.h"

#include <stdlib.h>
#include <string.h>

#include "common/limits.h"
#include "daemon/device/session.h"
#include "daemon/link/access.h"

enum {
    PAGE_BYTES = FRAME_HEADER_MAX / 2,
    PAGE_ENTRY_BYTES = 768, /* all that is not a path, at most: a device's, with large numbers */
};

bool page_take(struct page *page, const char *path, size_t *ret_index)
{
    size_t bytes = PAGE_ENTRY_BYTES + strlen(path);
    bool fits = page->count == 0 || page->bytes + bytes <= PAGE_BYTES;
    char *copy = fits && page->count < PAGE_ENTRIES_MAX ? strdup(path) : NULL;
    if (copy == NULL) {
        page->more = true;
        return false;
    }
    page->bytes += bytes;
    page->paths[page->count] = copy;
    *ret_index = page->count++;
    return true;
}

void page_deinit(struct page *page)
{
    for (size_t i = 0; i < page->count; i++)
        free(page->paths[i]);
}

ProtobufCBinaryData page_path(const struct page *page, size_t index)
{
    char *path = page->paths[index];
    return (ProtobufCBinaryData){.data = (uint8_t *)path, .len = strlen(path)};
}

bool page_tells(const struct session *session, const struct peer *viewer)
{
    return access_is_trusted(viewer) || session->client.peer.uid == viewer->uid;
}

void page_fill_counters(Blkd__Counters *counters, const struct stats *stats)
{
    blkd__counters__init(counters);
    counters->reads = stats->reads;
    counters->writes = stats->writes;
    counters->flushes = stats->flushes;
    counters->discards = stats->discards;
    counters->zeroes = stats->zeroes;
    counters->read_bytes = stats->read_bytes;
    counters->written_bytes = stats->written_bytes;
    counters->errors = stats->errors;
}

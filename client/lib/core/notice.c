/* SPDX-License-Identifier: MIT */
/* See notice.h. */
#include "client/lib/core/notice.h"

#include <stdbool.h>

#include "client/lib/core/happening.h"
#include "common/status.h"

/* In sectors of its device. False: that is not open any more, nobody wants to know. */
static bool notice_fill_grant(const struct device_list *devices, uint64_t session,
                              const Blkd__LockGranted *granted, struct blkd_event *content)
{
    const struct blkd_device *device = device_find(devices, session);

    if (device == NULL)
        return false;
    content->type = BLKD_EVENT_LOCK_GRANTED;
    content->lock_mode = (enum blkd_lock_mode)granted->mode;
    content->token = granted->token;
    content->first_sector = granted->offset_bytes / device->session.sector_size;
    content->count_sectors = granted->length_bytes / device->session.sector_size;
    return true;
}

void notice_received(struct events *events, const struct device_list *devices,
                     const Blkd__Event *message)
{
    struct blkd_event content = {.sequence = message->sequence};

    switch (message->what_case) {
    case BLKD__EVENT__WHAT_RESIZED:
        content.type = BLKD_EVENT_RESIZED;
        content.size_sectors = message->resized->size_sectors;
        content.generation = message->resized->generation;
        break;
    case BLKD__EVENT__WHAT_SHUTTING_DOWN:
        content.type = BLKD_EVENT_SHUTTING_DOWN;
        break;
    case BLKD__EVENT__WHAT_SYNC_FAILED:
        content.type = BLKD_EVENT_SYNC_FAILED;
        content.error = status_to_errno(message->sync_failed->status);
        break;
    case BLKD__EVENT__WHAT_LOCK_GRANTED:
        if (!notice_fill_grant(devices, message->session, message->lock_granted, &content))
            return;
        break;
    case BLKD__EVENT__WHAT_LOCK_LOST:
        content.type = BLKD_EVENT_LOCK_LOST;
        content.lost_reason = (enum blkd_lost_reason)message->lock_lost->reason;
        content.lost_locks = message->lock_lost->locks;
        break;
    case BLKD__EVENT__WHAT_EVICTED:
        content.type = BLKD_EVENT_EVICTED;
        break;
    case BLKD__EVENT__WHAT_HAPPENING:
        happening_received(events, message);
        return;
    default:
        return;
    }
    event_put(events, message->session, &content);
}

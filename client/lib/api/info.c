/* SPDX-License-Identifier: MIT */
/* See info.h. */
#include "client/lib/api/info.h"

#include "common/status.h"

_Static_assert((int)BLKD_LOCK_SHARED == (int)BLKD__LOCK_MODE__LOCK_MODE_SHARED &&
                   (int)BLKD_LOCK_EXCLUSIVE == (int)BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE,
               "enum blkd_lock_mode is the wire's LockMode");
_Static_assert((int)BLKD_DEVICE_FILE == (int)BLKD__DEVICE_KIND__DEVICE_KIND_FILE &&
                   (int)BLKD_DEVICE_BLOCK == (int)BLKD__DEVICE_KIND__DEVICE_KIND_BLOCK,
               "enum blkd_device_kind is the wire's DeviceKind");
_Static_assert((int)BLKD_DISCARD_PUNCH_HOLE ==
                       (int)BLKD__DISCARD_METHOD__DISCARD_METHOD_PUNCH_HOLE &&
                   (int)BLKD_DISCARD_ZERO_RANGE ==
                       (int)BLKD__DISCARD_METHOD__DISCARD_METHOD_ZERO_RANGE &&
                   (int)BLKD_DISCARD_WRITE == (int)BLKD__DISCARD_METHOD__DISCARD_METHOD_WRITE,
               "enum blkd_discard_method is the wire's DiscardMethod");

void info_from_wire(const Blkd__Info *message, struct blkd_info *ret_info)
{
    *ret_info = (struct blkd_info){
        .read_write = message->read_write,
        .direct = message->direct,
        .asked_direct = message->asked_direct,
        .asked_lock = message->asked_lock,
        .failed = message->failed,
        .elision_own_writes_only = message->elision_own_writes_only,
        .sector_size = message->sector_size,
        .granule_bytes = message->granule_bytes,
        .size_sectors = message->size_sectors,
        .generation = message->generation,
        .device_number = message->device,
        .sync = (enum blkd_sync)message->sync,
        .lock = (enum blkd_lock_mode)message->lock,
        .discard = (enum blkd_discard_method)message->discard,
        .kind = (enum blkd_device_kind)message->kind,
        .asked_access = (enum blkd_access)message->asked_access,
        .asked_sync = (enum blkd_sync)message->asked_sync,
        .asked_discard = message->asked_discard,
        .asked_sector_size = message->asked_sector_size,
        .unsynced_changes = message->unsynced_changes,
        .token = message->token,
        .lock_lost = message->lock_lost,
        .volatile_storage = message->volatile_storage,
        .forgets_failure = message->forgets_failure,
    };
}

struct blkd_counters info_counters(const Blkd__Counters *message)
{
    if (message == NULL)
        return (struct blkd_counters){0};
    return (struct blkd_counters){
        .reads = message->reads,
        .writes = message->writes,
        .flushes = message->flushes,
        .discards = message->discards,
        .zeroes = message->zeroes,
        .read_bytes = message->read_bytes,
        .written_bytes = message->written_bytes,
        .errors = message->errors,
        .syncs_issued = message->syncs_issued,
        .flushes_elided = message->flushes_elided,
        .flushes_shared = message->flushes_shared,
    };
}

struct blkd_sync_state info_sync_state(const Blkd__SyncState *message)
{
    if (message == NULL)
        return (struct blkd_sync_state){0};
    return (struct blkd_sync_state){
        .level = (enum blkd_sync)message->level,
        .unsynced_changes = message->unsynced_changes,
        .unsynced_since_unix_ms = message->unsynced_since_unix_ms,
        .last_sync_unix_ms = message->last_sync_unix_ms,
        .last_sync_us = message->last_sync_us,
        .longest_sync_us = message->longest_sync_us,
        .flushes_asked = message->flushes_asked,
        .running = message->running,
        .waiting = message->waiting,
        .failed = status_to_errno(message->failed),
        .failed_unix_ms = message->failed_unix_ms,
        .volatile_storage = message->volatile_storage,
    };
}

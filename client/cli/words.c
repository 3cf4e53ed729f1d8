/* SPDX-License-Identifier: MIT */
#include "client/cli/words.h"

#include <stddef.h>

/* A newer daemon may know more than this program. */
static const char WORDS_UNKNOWN[] = "unknown";

const char *words_access(enum blkd_access access)
{
    switch (access) {
    case BLKD_ACCESS_AUTO:
        return "auto";
    case BLKD_ACCESS_READ_ONLY:
        return "ro";
    case BLKD_ACCESS_READ_WRITE:
        return "rw";
    }
    return WORDS_UNKNOWN;
}

const char *words_caching(bool direct)
{
    return direct ? "direct" : "buffered";
}

const char *words_discard(enum blkd_discard_method discard)
{
    switch (discard) {
    case BLKD_DISCARD_PUNCH_HOLE:
        return "punch-hole";
    case BLKD_DISCARD_ZERO_RANGE:
        return "zero-range";
    case BLKD_DISCARD_WRITE:
        return "write";
    case BLKD_DISCARD_UNKNOWN:
        break;
    }
    return WORDS_UNKNOWN;
}

const char *words_kind(enum blkd_device_kind kind)
{
    switch (kind) {
    case BLKD_DEVICE_FILE:
        return "file";
    case BLKD_DEVICE_BLOCK:
        return "block";
    case BLKD_DEVICE_UNKNOWN:
        break;
    }
    return WORDS_UNKNOWN;
}

const char *words_lock(enum blkd_lock_mode lock)
{
    switch (lock) {
    case BLKD_LOCK_NONE:
        return "none";
    case BLKD_LOCK_SHARED:
        return "shared";
    case BLKD_LOCK_EXCLUSIVE:
        return "exclusive";
    }
    return WORDS_UNKNOWN;
}

const char *words_mode(bool read_write)
{
    return read_write ? "rw" : "ro";
}

const char *words_tier(bool ring)
{
    return ring ? "ring" : "socket";
}

const char *words_sync(enum blkd_sync sync)
{
    switch (sync) {
    case BLKD_SYNC_OS:
        return "os";
    case BLKD_SYNC_NONE:
        return "none";
    case BLKD_SYNC_DRIVE:
        return "drive";
    }
    return WORDS_UNKNOWN;
}

const char *words_happening(enum blkd_happening_what what)
{
    static const char *const words[] = {
        [BLKD_HAPPENING_SESSION_OPENED] = "session-opened",
        [BLKD_HAPPENING_SESSION_CLOSED] = "session-closed",
        [BLKD_HAPPENING_LOCK_GRANTED] = "lock-granted",
        [BLKD_HAPPENING_LOCK_RELEASED] = "lock-released",
        [BLKD_HAPPENING_LOCK_WAITS] = "lock-waits",
        [BLKD_HAPPENING_LOCK_LOST] = "lock-lost",
        [BLKD_HAPPENING_RESIZED] = "resized",
        [BLKD_HAPPENING_SYNC_FAILED] = "sync-failed",
        [BLKD_HAPPENING_RECOVERED] = "recovered",
        [BLKD_HAPPENING_EVICTED] = "evicted",
        [BLKD_HAPPENING_DEVICE_CLOSED] = "device-closed",
    };
    size_t index = (size_t)what;

    return index < sizeof(words) / sizeof(words[0]) && words[index] ? words[index] : WORDS_UNKNOWN;
}

const char *words_holder(enum blkd_holder_kind kind)
{
    static const char *const words[] = {
        [BLKD_HOLDER_SESSION] = "session",
        [BLKD_HOLDER_FLOCK] = "flock",
        [BLKD_HOLDER_RECORD_LOCK] = "record-lock",
        [BLKD_HOLDER_MOUNT] = "mount",
        [BLKD_HOLDER_SWAP] = "swap",
        [BLKD_HOLDER_KERNEL] = "kernel",
        [BLKD_HOLDER_LOOP] = "loop",
        [BLKD_HOLDER_LEASE] = "lease",
    };
    size_t index = (size_t)kind;

    return index < sizeof(words) / sizeof(words[0]) && words[index] ? words[index] : WORDS_UNKNOWN;
}

const char *words_lost(enum blkd_lost_reason reason)
{
    switch (reason) {
    case BLKD_LOST_BROKEN:
        return "broken by an administrator";
    case BLKD_LOST_OUTSIDE:
        return "it could not be kept against other programs";
    case BLKD_LOST_UNKNOWN:
        break;
    }
    return "the daemon gave no reason";
}

const char *words_reason(enum blkd_reason reason)
{
    static const char *const words[] = {
        [BLKD_REASON_LOCKED_SESSION] = "locked-session",
        [BLKD_REASON_LOCKED_OUTSIDE] = "locked-outside",
        [BLKD_REASON_MOUNTED] = "mounted",
        [BLKD_REASON_SWAP] = "swap",
        [BLKD_REASON_RELATED] = "related",
        [BLKD_REASON_CLAIMED] = "claimed",
        [BLKD_REASON_ISOLATED] = "isolated",
        [BLKD_REASON_OPEN] = "open",
        [BLKD_REASON_FAILED] = "failed",
        [BLKD_REASON_STALE] = "stale",
        [BLKD_REASON_NO_RULE] = "no-rule",
    };

    return (size_t)reason < sizeof(words) / sizeof(words[0]) ? words[reason] : NULL;
}

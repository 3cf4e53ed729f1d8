/* SPDX-License-Identifier: MIT */
#include "client/cli/words.h"

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

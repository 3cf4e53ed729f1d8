/* SPDX-License-Identifier: MIT */
/*
 * The block interface's configuration string:
 *
 *   file://<path>?sync=(none|os|drive)&buffered=(0|1)&lock=(0|1)&prefered_sector_size=N
 *                &mode=(auto|ro|rw)&strict=(0|1)&discard=(0|1)&purpose=TEXT
 *
 * The spelling of `prefered_sector_size` is mirage-block-unix's own. Paths and values are
 * percent-encoded. blkd's own keys are
 * mode, strict, discard and purpose. Parsed by hand, because URI libraries refuse spellings that
 * the interface has always taken (`file:/path`, `file:C:%5Ccygwin`, the prefix `buffered:`).
 * `file://localhost/path` is /path; any other host is refused.
 */
#ifndef BLKD_COMMON_CONFIG_URI_H
#define BLKD_COMMON_CONFIG_URI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/limits.h"

enum config_sync {
    CONFIG_SYNC_OS,
    CONFIG_SYNC_NONE,
    CONFIG_SYNC_DRIVE,
};

enum config_access {
    CONFIG_ACCESS_AUTO,
    CONFIG_ACCESS_READ_ONLY,
    CONFIG_ACCESS_READ_WRITE,
};

struct config_uri {
    char path[PATH_BYTES_MAX];     /* NUL-terminated, not empty; any other bytes */
    bool buffered;                 /* default true */
    enum config_sync sync;         /* default os */
    bool lock;                     /* default false */
    uint32_t sector_size;          /* 0: the device's own */
    enum config_access access;     /* key `mode`: auto (the default), ro, rw */
    bool strict;                   /* default false */
    bool discard;                  /* default false */
    char purpose[PURPOSE_MAX + 1]; /* default empty */
};

/* Why a text was refused, for a person. */
struct config_uri_error {
    char message[256];
};

/* All defaults and an empty path. */
void config_uri_init(struct config_uri *config);

/* Whether the text starts with a scheme that config_uri_parse knows (`file:`, `buffered:`). */
bool config_uri_has_scheme(const char *text);

/*
 * Parses `text`. Returns 0, or -EINVAL (no scheme, a host, a bare `#`, bad escape, an encoded NUL,
 * empty path, a key or a value that is not known, a key given twice) or -ENAMETOOLONG, with
 * *ret_config untouched and the reason, naming the offending part, in *ret_error (may be NULL).
 * `sync` may also be 0 (none) or 1 (drive). After `buffered:` stands a plain path.
 */
int config_uri_parse(const char *text, struct config_uri *ret_config,
                     struct config_uri_error *ret_error);

/*
 * Formats all fields: `file://` and an absolute path, or `file:` and a relative one, then
 * `?sync=…&buffered=…&lock=…`, then the other keys where they are not at their defaults.
 * config_uri_parse gives the same fields back. Returns the length without the NUL, also when it
 * exceeds `size - 1` and the text was cut (as snprintf); `buffer` may be NULL if size is 0.
 */
size_t config_uri_format(const struct config_uri *config, char *buffer, size_t size);

#endif

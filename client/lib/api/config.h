/* SPDX-License-Identifier: MIT */
/*
 * struct blkd_config in its three forms: the public struct, the configuration string, the wire.
 */
#ifndef BLKD_CLIENT_LIB_API_CONFIG_H
#define BLKD_CLIENT_LIB_API_CONFIG_H

#include "client/blkd.h"
#include "proto/blkd.pb-c.h"

/* One allocation that holds struct, path and values->purpose; NULL: no memory. `path` need not end
 * in NUL. */
struct blkd_config *config_new(const struct blkd_config *values, const char *path,
                               size_t path_bytes);

/* 0, or -EINVAL (with the thread's message) when a member has no meaning. Does not look at the
 * path. */
int config_check(const struct blkd_config *config);

/* Whether a session or a lock may have this purpose: 0, or -EINVAL with the thread's message. */
int config_check_purpose(const char *purpose);

/* `message` points into `config`. */
void config_to_wire(const struct blkd_config *config, Blkd__Config *message);

/* NULL: no memory. */
struct blkd_config *config_from_wire(const Blkd__Config *message);

/* What a path is called in lists and messages: absolute by the working directory, without looking
 * at symbolic links; as it is, if that directory has no path or the whole is too long for a path.
 * *ret_name is the caller's to free. 0, -EINVAL (no path), -ENAMETOOLONG (of the path itself) or
 * -ENOMEM, with the thread's message. */
int config_path_name(const char *path, char **ret_name);

#endif

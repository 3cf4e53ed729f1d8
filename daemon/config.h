/* SPDX-License-Identifier: MIT */
/*
 * What the daemon was told: defaults, then the configuration file, then the command line.
 */
#ifndef BLKD_DAEMON_CONFIG_H
#define BLKD_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/limits.h"
#include "daemon/base/log.h"
#include "daemon/link/limits.h"

#define CONFIG_DEFAULT_FILE "/etc/blkd/blkd.conf"

enum { CONFIG_MESSAGE_MAX = 512, CONFIG_SOCKET_MAX = 108, CONFIG_STATE_MAX = 256 };

struct config {
    char socket_path[CONFIG_SOCKET_MAX]; /* empty: the default of config_default_socket */
    char state_dir[CONFIG_STATE_MAX];    /* empty: the default of config_default_state */
    char engine[256];                    /* as engine_new takes it */
    unsigned int workers;                /* 0: max(1, cores / 2) */
    enum log_level log_level;
    struct limits limits;
};

void config_init(struct config *config);

/*
 * Sets one key as `[section] key = value` does. Returns 0, or -EINVAL with the reason, naming key,
 * value and what is allowed, in message.
 */
int config_set(struct config *config, const char *section, const char *key, const char *value,
               char message[CONFIG_MESSAGE_MAX]);

/*
 * Reads the file over what `config` has. A missing file is an error only if `required`. Returns 0
 * or a negative errno, with the reason (file, line, key) in message.
 */
int config_read_file(struct config *config, const char *path, bool required,
                     char message[CONFIG_MESSAGE_MAX]);

/* $BLKD_SOCKET, else /run/blkd/blkd.sock for root, else $XDG_RUNTIME_DIR/blkd.sock. Returns 0,
 * -ENOENT if none of them applies, or -ENAMETOOLONG. */
int config_default_socket(char path[CONFIG_SOCKET_MAX]);

/* $STATE_DIRECTORY (systemd sets it; the first of several), else /var/lib/blkd for root, else
 * $XDG_STATE_HOME/blkd, else $HOME/.local/state/blkd. Returns 0, -ENOENT if none of them applies,
 * or -ENAMETOOLONG. */
int config_default_state(char path[CONFIG_STATE_MAX]);

/* config->workers with its default filled in. */
unsigned int config_worker_count(const struct config *config);

#endif

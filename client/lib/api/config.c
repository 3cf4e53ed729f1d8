/* SPDX-License-Identifier: MIT */
/* See config.h. */
#include "client/lib/api/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/base/error.h"
#include "client/lib/base/reserved.h"
#include "common/cleanup.h"
#include "common/config_uri.h"
#include "common/limits.h"
#include "common/range.h"

/* The public numbers are the wire's; config_uri's differ by nothing either. */
_Static_assert((int)BLKD_SYNC_OS == (int)BLKD__SYNC__SYNC_OS &&
                   (int)BLKD_SYNC_NONE == (int)BLKD__SYNC__SYNC_NONE &&
                   (int)BLKD_SYNC_DRIVE == (int)BLKD__SYNC__SYNC_DRIVE,
               "enum blkd_sync is the wire's Sync");
_Static_assert((int)BLKD_SYNC_OS == (int)CONFIG_SYNC_OS &&
                   (int)BLKD_SYNC_NONE == (int)CONFIG_SYNC_NONE &&
                   (int)BLKD_SYNC_DRIVE == (int)CONFIG_SYNC_DRIVE,
               "enum blkd_sync is enum config_sync");
_Static_assert((int)BLKD_ACCESS_READ_ONLY == (int)BLKD__ACCESS__ACCESS_READ_ONLY &&
                   (int)BLKD_ACCESS_READ_WRITE == (int)BLKD__ACCESS__ACCESS_READ_WRITE,
               "enum blkd_access is the wire's Access");
_Static_assert((int)BLKD_ACCESS_READ_ONLY == (int)CONFIG_ACCESS_READ_ONLY &&
                   (int)BLKD_ACCESS_READ_WRITE == (int)CONFIG_ACCESS_READ_WRITE,
               "enum blkd_access is enum config_access");

/* A config and the texts that it points to: path, then purpose. */
struct config_block {
    struct blkd_config config;
    char texts[];
};

struct blkd_config *config_new(const struct blkd_config *values, const char *path,
                               size_t path_bytes)
{
    bool has_purpose = values->purpose != NULL && values->purpose[0] != '\0';
    size_t purpose_bytes = has_purpose ? strlen(values->purpose) + 1 : 0;
    struct config_block *block = malloc(sizeof(*block) + path_bytes + 1 + purpose_bytes);

    if (block == NULL)
        return NULL;
    block->config = *values;
    if (path_bytes > 0)
        memcpy(block->texts, path, path_bytes);
    block->texts[path_bytes] = '\0';
    block->config.path = block->texts;
    block->config.purpose = NULL;
    if (has_purpose)
        block->config.purpose =
            memcpy(block->texts + path_bytes + 1, values->purpose, purpose_bytes);
    return &block->config;
}

void blkd_config_free(struct blkd_config *config)
{
    free(config); /* the first member of its block */
}

int config_check_purpose(const char *purpose)
{
    if (purpose != NULL && strlen(purpose) > PURPOSE_MAX)
        return error_report(-EINVAL, "the purpose is %zu bytes long; the maximum is %d",
                            strlen(purpose), PURPOSE_MAX);
    return 0;
}

int config_check(const struct blkd_config *config)
{
    if ((unsigned int)config->sync > BLKD_SYNC_DRIVE)
        return error_report(-EINVAL,
                            "blkd_config.sync is %d, which is not a value of enum blkd_sync",
                            (int)config->sync);
    if ((unsigned int)config->access > BLKD_ACCESS_READ_WRITE)
        return error_report(-EINVAL,
                            "blkd_config.access is %d, which is not a value of enum blkd_access",
                            (int)config->access);
    if (config->sector_size != 0 && !range_is_sector_size(config->sector_size))
        return error_report(-EINVAL,
                            "the sector size is %u bytes; it must be a power of two from %d "
                            "to %d, or 0 for the device's own",
                            config->sector_size, SECTOR_SIZE_MIN, SECTOR_SIZE_MAX);
    int error = RESERVED_CHECK("blkd_config", config);
    return error < 0 ? error : config_check_purpose(config->purpose);
}

void config_to_wire(const struct blkd_config *config, Blkd__Config *message)
{
    blkd__config__init(message);
    message->path.data = (uint8_t *)(uintptr_t)config->path; /* only read */
    message->path.len = config->path != NULL ? strlen(config->path) : 0;
    message->direct = config->direct;
    message->sync = (Blkd__Sync)config->sync;
    message->lock = config->lock;
    message->sector_size = config->sector_size;
    message->access = (Blkd__Access)config->access;
    message->strict = config->strict;
    message->discard = config->discard;
    if (config->purpose != NULL)
        message->purpose = (char *)(uintptr_t)config->purpose; /* only read */
}

struct blkd_config *config_from_wire(const Blkd__Config *message)
{
    const struct blkd_config values = {
        .direct = message->direct,
        .sync = (enum blkd_sync)message->sync,
        .lock = message->lock,
        .sector_size = message->sector_size,
        .access = (enum blkd_access)message->access,
        .strict = message->strict,
        .discard = message->discard,
        .purpose = message->purpose,
    };

    return config_new(&values, (const char *)message->path.data, message->path.len);
}

int config_path_name(const char *path, char **ret_name)
{
    CLEANUP_FREE char *directory = NULL;
    char *name = NULL;

    if (path == NULL || path[0] == '\0')
        return error_report(-EINVAL, "no path given");
    if (strlen(path) >= PATH_BYTES_MAX)
        return error_report(-ENAMETOOLONG, "the path is %zu bytes long; the maximum is %d",
                            strlen(path), PATH_BYTES_MAX - 1);
    if (path[0] != '/')
        directory = getcwd(NULL, 0);
    /* Outside of the process's root directory Linux gives "(unreachable)/...". */
    bool absolute = directory != NULL && directory[0] == '/' &&
                    strlen(directory) + 1 + strlen(path) < PATH_BYTES_MAX;
    if (asprintf(&name, "%s%s%s", absolute && directory[1] != '\0' ? directory : "",
                 absolute ? "/" : "", path) < 0)
        return error_report(-ENOMEM, "not enough memory for the path %s", path);
    *ret_name = name;
    return 0;
}

static int config_from_uri(const char *text, struct blkd_config **ret_config)
{
    struct config_uri uri;
    struct config_uri_error error;
    struct blkd_config values = {0};
    struct blkd_config *config;
    int r = config_uri_parse(text, &uri, &error);

    if (r < 0)
        return error_report(r, "the configuration string \"%s\" is invalid: %s", text,
                            error.message);
    values.direct = !uri.buffered;
    values.sync = (enum blkd_sync)uri.sync;
    values.lock = uri.lock;
    values.sector_size = uri.sector_size;
    values.access = (enum blkd_access)uri.access;
    values.strict = uri.strict;
    values.discard = uri.discard;
    values.purpose = uri.purpose;
    config = config_new(&values, uri.path, strlen(uri.path));
    if (config == NULL)
        return error_report(-ENOMEM, "not enough memory for a configuration");
    *ret_config = config;
    return 0;
}

int blkd_config_parse(const char *text, struct blkd_config **ret_config)
{
    if (text == NULL)
        return error_report(-EINVAL, "no configuration string given");
    return config_from_uri(text, ret_config);
}

int blkd_config_from_argument(const char *text, struct blkd_config **ret_config)
{
    const struct blkd_config values = {0};
    struct blkd_config *config;

    if (text == NULL || text[0] == '\0')
        return error_report(-EINVAL, "no path or configuration string given");
    if (config_uri_has_scheme(text))
        return config_from_uri(text, ret_config);
    if (strlen(text) >= PATH_BYTES_MAX)
        return error_report(-ENAMETOOLONG, "the path is %zu bytes long; the maximum is %d",
                            strlen(text), PATH_BYTES_MAX - 1);
    config = config_new(&values, text, strlen(text));
    if (config == NULL)
        return error_report(-ENOMEM, "not enough memory for a configuration");
    *ret_config = config;
    return 0;
}

static int config_to_uri(const struct blkd_config *config, struct config_uri *uri)
{
    int r = config_check(config);

    if (r < 0)
        return r;
    if (config->path == NULL || config->path[0] == '\0')
        return error_report(-EINVAL, "cannot format a configuration without a path");
    if (strlen(config->path) >= sizeof(uri->path))
        return error_report(-ENAMETOOLONG, "the path is %zu bytes long; the maximum is %zu",
                            strlen(config->path), sizeof(uri->path) - 1);
    config_uri_init(uri);
    memcpy(uri->path, config->path, strlen(config->path) + 1);
    uri->buffered = !config->direct;
    uri->sync = (enum config_sync)config->sync;
    uri->lock = config->lock;
    uri->sector_size = config->sector_size;
    uri->access = (enum config_access)config->access;
    uri->strict = config->strict;
    uri->discard = config->discard;
    if (config->purpose != NULL)
        memcpy(uri->purpose, config->purpose, strlen(config->purpose) + 1);
    return 0;
}

int blkd_config_format(const struct blkd_config *config, char **ret_text)
{
    struct config_uri uri;
    char *text;
    size_t size;
    int r;

    if (config == NULL)
        return error_report(-EINVAL, "no configuration given");
    r = config_to_uri(config, &uri);
    if (r < 0)
        return r;
    size = config_uri_format(&uri, NULL, 0) + 1;
    text = malloc(size);
    if (text == NULL)
        return error_report(-ENOMEM, "not enough memory for a configuration string");
    (void)config_uri_format(&uri, text, size);
    *ret_text = text;
    return 0;
}

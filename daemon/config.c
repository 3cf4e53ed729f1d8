/* SPDX-License-Identifier: MIT */
#include "daemon/config.h"

#include <errno.h>
#include <ini.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct config_key {
    const char *section;
    const char *name;
    size_t offset;
    unsigned int min;
    unsigned int max;
};

#define NUMBER(section, name, member, min, max)                                                    \
    {                                                                                              \
        section, name, offsetof(struct config, member), min, max                                   \
    }

static const struct config_key config_numbers[] = {
    NUMBER("daemon", "workers", workers, 1, WORKERS_MAX),
    NUMBER("daemon", "busy-poll-us", limits.busy_poll_us, 0, BUSY_POLL_US_MAX),
    NUMBER("daemon", "drain-timeout-ms", limits.drain_timeout_ms, 0, 600000),
    NUMBER("limits", "connections", limits.connections, 1, 1000000),
    NUMBER("limits", "connections-per-uid", limits.connections_per_uid, 1, 1000000),
    NUMBER("limits", "sessions-per-uid", limits.sessions_per_uid, 1, 1000000),
    NUMBER("limits", "locks-per-uid", limits.locks_per_uid, 1, 10000000),
    NUMBER("limits", "sessions-per-connection", limits.sessions_per_connection, 1, 65536),
    NUMBER("limits", "requests-per-connection", limits.requests_per_connection, 1, 65536),
    NUMBER("limits", "arena-mib-per-connection", limits.arena_mib_per_connection, 0, 1048576),
    NUMBER("limits", "arena-mib-per-uid", limits.arena_mib_per_uid, 0, 16777216),
    NUMBER("limits", "hello-timeout-ms", limits.hello_timeout_ms, 100, 600000),
    NUMBER("limits", "frame-timeout-ms", limits.frame_timeout_ms, 100, 600000),
    NUMBER("limits", "unread-timeout-ms", limits.unread_timeout_ms, 100, 3600000),
};

/* ARENA_MIB_PER_UID, or a quarter of the machine's memory. */
static unsigned int config_arena_mib(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page_bytes <= 0)
        return ARENA_MIB_PER_UID;
    uint64_t quarter_mib = (uint64_t)pages * (uint64_t)page_bytes / 4 >> 20;
    return quarter_mib < ARENA_MIB_PER_UID ? (unsigned int)quarter_mib : ARENA_MIB_PER_UID;
}

void config_init(struct config *config)
{
    *config = (struct config){
        .engine = "auto",
        .limits.busy_poll_us = BUSY_POLL_US_DEFAULT,
        .log_level = LOG_LEVEL_INFO,
        .limits.connections = CONNECTIONS_MAX,
        .limits.connections_per_uid = CONNECTIONS_PER_UID_MAX,
        .limits.sessions_per_uid = SESSIONS_PER_UID_MAX,
        .limits.locks_per_uid = LOCKS_PER_UID_MAX,
        .limits.sessions_per_connection = CONN_SESSIONS_MAX,
        .limits.requests_per_connection = CONN_REQUESTS_MAX,
        .limits.arena_mib_per_connection = ARENA_MIB_PER_CONNECTION,
        .limits.arena_mib_per_uid = config_arena_mib(),
        .limits.hello_timeout_ms = CONN_HELLO_MS,
        .limits.frame_timeout_ms = CONN_FRAME_MS,
        .limits.unread_timeout_ms = CONN_UNREAD_MS,
        .limits.drain_timeout_ms = DRAIN_MS,
    };
}

static int config_set_number(struct config *config, const struct config_key *key, const char *value,
                             char message[CONFIG_MESSAGE_MAX])
{
    char *end = NULL;
    errno = 0;
    unsigned long number = strtoul(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || *value == '-' || number < key->min ||
        number > key->max) {
        (void)snprintf(message, CONFIG_MESSAGE_MAX, "%s = %s: expected a number from %u to %u",
                       key->name, value, key->min, key->max);
        return -EINVAL;
    }
    *(unsigned int *)(void *)((uint8_t *)config + key->offset) = (unsigned int)number;
    return 0;
}

static int config_set_text(char *target, size_t size, const char *key, const char *value,
                           char message[CONFIG_MESSAGE_MAX])
{
    if (*value == '\0' || strlen(value) >= size) {
        (void)snprintf(message, CONFIG_MESSAGE_MAX, "%s: must be 1 to %zu bytes long, is %zu", key,
                       size - 1, strlen(value));
        return -EINVAL;
    }
    (void)strcpy(target, value);
    return 0;
}

static int config_set_engine(struct config *config, const char *value,
                             char message[CONFIG_MESSAGE_MAX])
{
    if (strcmp(value, "auto") != 0 && strcmp(value, "io_uring") != 0 &&
        strcmp(value, "threads") != 0 && strncmp(value, "fault:", 6) != 0) {
        (void)snprintf(message, CONFIG_MESSAGE_MAX,
                       "engine = %s: expected auto, io_uring or threads", value);
        return -EINVAL;
    }
    return config_set_text(config->engine, sizeof(config->engine), "engine", value, message);
}

static int config_set_log_level(struct config *config, const char *value,
                                char message[CONFIG_MESSAGE_MAX])
{
    if (log_level_parse(value, &config->log_level) < 0) {
        (void)snprintf(message, CONFIG_MESSAGE_MAX,
                       "log-level = %s: expected error, warning, notice, info or debug", value);
        return -EINVAL;
    }
    return 0;
}

int config_set(struct config *config, const char *section, const char *key, const char *value,
               char message[CONFIG_MESSAGE_MAX])
{
    for (size_t i = 0; i < sizeof(config_numbers) / sizeof(config_numbers[0]); i++) {
        if (strcmp(section, config_numbers[i].section) == 0 &&
            strcmp(key, config_numbers[i].name) == 0)
            return config_set_number(config, &config_numbers[i], value, message);
    }
    if (strcmp(section, "daemon") == 0 && strcmp(key, "socket") == 0)
        return config_set_text(config->socket_path, sizeof(config->socket_path), key, value,
                               message);
    if (strcmp(section, "daemon") == 0 && strcmp(key, "state-dir") == 0)
        return config_set_text(config->state_dir, sizeof(config->state_dir), key, value, message);
    if (strcmp(section, "daemon") == 0 && strcmp(key, "engine") == 0)
        return config_set_engine(config, value, message);
    if (strcmp(section, "daemon") == 0 && strcmp(key, "log-level") == 0)
        return config_set_log_level(config, value, message);
    (void)snprintf(message, CONFIG_MESSAGE_MAX, "[%s] %s: unknown key", section, key);
    return -EINVAL;
}

struct config_reading {
    struct config *config;
    char *message;
};

static int on_config_key(void *user, const char *section, const char *name, const char *value)
{
    struct config_reading *reading = user;
    return config_set(reading->config, section, name, value, reading->message) == 0;
}

int config_read_file(struct config *config, const char *path, bool required,
                     char message[CONFIG_MESSAGE_MAX])
{
    char reason[CONFIG_MESSAGE_MAX] = "expected 'key = value' or '[section]'";
    struct config_reading reading = {.config = config, .message = reason};

    FILE *file = fopen(path, "re");
    if (file == NULL) {
        int error = errno;
        if (error == ENOENT && !required)
            return 0;
        (void)snprintf(message, CONFIG_MESSAGE_MAX, "%s: %s", path, strerror(error));
        return -error;
    }
    int line = ini_parse_file(file, on_config_key, &reading);
    (void)fclose(file);
    if (line != 0) {
        (void)snprintf(message, CONFIG_MESSAGE_MAX, "%.200s:%d: %.290s", path, line, reason);
        return -EINVAL;
    }
    return 0;
}

int config_default_socket(char path[CONFIG_SOCKET_MAX])
{
    const char *named = getenv("BLKD_SOCKET");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int length = 0;
    if (named != NULL && *named != '\0')
        length = snprintf(path, CONFIG_SOCKET_MAX, "%s", named);
    else if (geteuid() == 0)
        length = snprintf(path, CONFIG_SOCKET_MAX, "/run/blkd/blkd.sock");
    else if (runtime != NULL && *runtime != '\0')
        length = snprintf(path, CONFIG_SOCKET_MAX, "%s/blkd.sock", runtime);
    else
        return -ENOENT;
    return length < CONFIG_SOCKET_MAX ? 0 : -ENAMETOOLONG;
}

static bool config_is_set(const char *value)
{
    return value != NULL && *value != '\0';
}

int config_default_state(char path[CONFIG_STATE_MAX])
{
    const char *service = getenv("STATE_DIRECTORY");
    const char *state_home = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int length = 0;
    if (config_is_set(service))
        length = snprintf(path, CONFIG_STATE_MAX, "%.*s", (int)strcspn(service, ":"), service);
    else if (geteuid() == 0)
        length = snprintf(path, CONFIG_STATE_MAX, "/var/lib/blkd");
    else if (config_is_set(state_home))
        length = snprintf(path, CONFIG_STATE_MAX, "%s/blkd", state_home);
    else if (config_is_set(home))
        length = snprintf(path, CONFIG_STATE_MAX, "%s/.local/state/blkd", home);
    else
        return -ENOENT;
    return length < CONFIG_STATE_MAX ? 0 : -ENAMETOOLONG;
}

unsigned int config_worker_count(const struct config *config)
{
    if (config->workers > 0)
        return config->workers;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 4)
        return 1;
    return cores / 2 > WORKERS_MAX ? WORKERS_MAX : (unsigned int)(cores / 2);
}

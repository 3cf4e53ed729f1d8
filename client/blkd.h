/* SPDX-License-Identifier: MIT */
/*
 * libblkd: block devices and disk images through the daemon blkd.
 *
 * A connection (struct blkd) reaches one daemon; devices (struct blkd_device) are opened on it, any
 * number. Threads may share both. Every verb has a form that waits and a form that calls back
 * (`_async`); the callbacks run only in blkd_dispatch.
 *
 * Functions return 0 (or what they say) or a negative errno. After a failure of a waiting call,
 * blkd_error_message tells the calling thread what was tried, on what, and why it failed.
 *
 * Offsets and lengths are in sectors of the device's session (blkd_info.sector_size).
 */
#ifndef BLKD_H
#define BLKD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BLKD_API __attribute__((visibility("default")))

struct blkd;
struct blkd_device;

enum blkd_sync {
    BLKD_SYNC_OS = 0,    /* blkd_flush brings the data to stable storage; the default */
    BLKD_SYNC_NONE = 1,  /* blkd_flush succeeds and does nothing */
    BLKD_SYNC_DRIVE = 2, /* the same as BLKD_SYNC_OS on Linux */
};

enum blkd_access {
    BLKD_ACCESS_AUTO = 0,
    BLKD_ACCESS_READ_ONLY = 1,
    BLKD_ACCESS_READ_WRITE = 2,
};

enum blkd_lock_mode {
    BLKD_LOCK_NONE = 0,
    BLKD_LOCK_SHARED = 1,
    BLKD_LOCK_EXCLUSIVE = 2,
};

enum blkd_device_kind {
    BLKD_DEVICE_UNKNOWN = 0,
    BLKD_DEVICE_FILE = 1,
    BLKD_DEVICE_BLOCK = 2,
};

enum blkd_discard_method {
    BLKD_DISCARD_UNKNOWN = 0,
    BLKD_DISCARD_PUNCH_HOLE = 1,
    BLKD_DISCARD_ZERO_RANGE = 2,
    BLKD_DISCARD_WRITE = 3,
};

enum blkd_write_flags {
    BLKD_WRITE_FUA = 1, /* on stable storage before the call succeeds */
};

/* How a device is opened. Start from BLKD_CONFIG_INIT; the reserved members stay 0. */
struct blkd_config {
    const char *path;
    bool buffered;
    enum blkd_sync sync;
    bool lock;
    uint32_t sector_size; /* bytes; 0: the device's own */
    enum blkd_access access;
    uint64_t reserved[8];
};

#define BLKD_CONFIG_INIT                                                                           \
    {                                                                                              \
        NULL, true, BLKD_SYNC_OS, false, 0, BLKD_ACCESS_AUTO,                                      \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

struct blkd_info {
    bool read_write;
    bool direct;
    bool asked_direct;
    bool asked_lock;
    bool failed;
    bool elision_own_writes_only;
    uint32_t sector_size;
    uint32_t granule_bytes;
    uint64_t size_sectors;
    uint64_t generation;
    uint64_t device_number;
    enum blkd_sync sync;
    enum blkd_lock_mode lock;
    enum blkd_discard_method discard;
    enum blkd_device_kind kind;
    enum blkd_access asked_access;
    uint64_t reserved[8];
};

enum { BLKD_BUSY_POLL_DEFAULT = -1 };

/* How to connect. Start from BLKD_OPTIONS_INIT. */
struct blkd_options {
    const char *socket_path; /* NULL: $BLKD_SOCKET, else $XDG_RUNTIME_DIR/blkd.sock if there, else
                                /run/blkd/blkd.sock */
    const char *client_name; /* NULL: the program's name; shown in lists and logs */
    int busy_poll_us;        /* microseconds; 0: never poll; BLKD_BUSY_POLL_DEFAULT */
    int connect_timeout_ms;  /* for connecting and the first exchange; -1: no limit */
    uint64_t reserved[8];
};

#define BLKD_OPTIONS_INIT                                                                          \
    {                                                                                              \
        NULL, NULL, BLKD_BUSY_POLL_DEFAULT, 10000,                                                 \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* ---- connections ---- */

BLKD_API int blkd_connect(const struct blkd_options *options, struct blkd **ret_connection);
BLKD_API void blkd_disconnect(struct blkd *connection);

struct blkd_server_info {
    const char *version; /* lives as long as the connection */
    const char *engine;
    uint32_t workers;
    uint32_t pid;
    uint32_t max_io_bytes;
    uint32_t max_requests;
    uint32_t max_sessions;
    uint32_t busy_poll_us;
    uint64_t session_epoch;
    uint64_t connection_number;
    uint8_t instance[16];
    uint64_t reserved[8];
};

BLKD_API int blkd_get_server_info(struct blkd *connection, struct blkd_server_info *ret_info);
BLKD_API int blkd_ping(struct blkd *connection);

/* ---- devices ---- */

BLKD_API int blkd_open(struct blkd *connection, const struct blkd_config *config,
                       struct blkd_device **ret_device);
BLKD_API int blkd_open_fd(struct blkd *connection, int fd, const struct blkd_config *config,
                          struct blkd_device **ret_device);
BLKD_API void blkd_close(struct blkd_device *device);

BLKD_API int blkd_get_info(struct blkd_device *device, struct blkd_info *ret_info);
BLKD_API int blkd_get_config(struct blkd_device *device, struct blkd_config **ret_config);

BLKD_API int blkd_read(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
                       size_t count);
BLKD_API int blkd_write(struct blkd_device *device, uint64_t sector, const struct iovec *buffers,
                        size_t count, unsigned int flags);
BLKD_API int blkd_flush(struct blkd_device *device);
BLKD_API int blkd_discard(struct blkd_device *device, uint64_t sector, uint64_t count_sectors);
BLKD_API int blkd_write_zeroes(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                               unsigned int flags);
BLKD_API int blkd_resize(struct blkd_device *device, uint64_t size_sectors);
BLKD_API int blkd_seek_mapped(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector);
BLKD_API int blkd_seek_unmapped(struct blkd_device *device, uint64_t sector, uint64_t *ret_sector);

/* ---- the same without waiting ---- */

/* `result` is what the waiting form would have returned. */
typedef void blkd_callback(void *user_data, int result);

BLKD_API int blkd_ping_async(struct blkd *connection, blkd_callback *callback, void *user_data);
BLKD_API int blkd_open_async(struct blkd *connection, const struct blkd_config *config,
                             struct blkd_device **ret_device, blkd_callback *callback,
                             void *user_data);
BLKD_API int blkd_open_fd_async(struct blkd *connection, int fd, const struct blkd_config *config,
                                struct blkd_device **ret_device, blkd_callback *callback,
                                void *user_data);
BLKD_API int blkd_close_async(struct blkd_device *device, blkd_callback *callback, void *user_data);
BLKD_API int blkd_get_info_async(struct blkd_device *device, struct blkd_info *ret_info,
                                 blkd_callback *callback, void *user_data);
BLKD_API int blkd_get_config_async(struct blkd_device *device, struct blkd_config **ret_config,
                                   blkd_callback *callback, void *user_data);
BLKD_API int blkd_read_async(struct blkd_device *device, uint64_t sector,
                             const struct iovec *buffers, size_t count, blkd_callback *callback,
                             void *user_data);
BLKD_API int blkd_write_async(struct blkd_device *device, uint64_t sector,
                              const struct iovec *buffers, size_t count, unsigned int flags,
                              blkd_callback *callback, void *user_data);
BLKD_API int blkd_flush_async(struct blkd_device *device, blkd_callback *callback, void *user_data);
BLKD_API int blkd_discard_async(struct blkd_device *device, uint64_t sector, uint64_t count_sectors,
                                blkd_callback *callback, void *user_data);
BLKD_API int blkd_write_zeroes_async(struct blkd_device *device, uint64_t sector,
                                     uint64_t count_sectors, unsigned int flags,
                                     blkd_callback *callback, void *user_data);
BLKD_API int blkd_resize_async(struct blkd_device *device, uint64_t size_sectors,
                               blkd_callback *callback, void *user_data);
BLKD_API int blkd_seek_mapped_async(struct blkd_device *device, uint64_t sector,
                                    uint64_t *ret_sector, blkd_callback *callback, void *user_data);
BLKD_API int blkd_seek_unmapped_async(struct blkd_device *device, uint64_t sector,
                                      uint64_t *ret_sector, blkd_callback *callback,
                                      void *user_data);

/* A descriptor for poll(2), epoll, libevent and the like, the same for the connection's whole life.
 * When it is readable, blkd_dispatch has something to do. It is only to be polled. */
BLKD_API int blkd_get_fd(const struct blkd *connection);

/* Sends what waits to be sent, receives what has come, runs the callbacks of what is done. Waits up
 * to timeout_ms (-1: for ever; 0: not at all) if nothing is done yet. Returns the number of
 * callbacks run or a negative errno. */
BLKD_API int blkd_dispatch(struct blkd *connection, int timeout_ms);

/* ---- events ---- */

enum blkd_event_type {
    BLKD_EVENT_RESIZED = 1,
    BLKD_EVENT_SHUTTING_DOWN = 2,
    BLKD_EVENT_SYNC_FAILED = 3,
    BLKD_EVENT_DISCONNECTED = 4,
};

struct blkd_event {
    enum blkd_event_type type;
    struct blkd_device *device; /* NULL: the whole connection */
    uint64_t sequence;
    uint64_t size_sectors; /* RESIZED */
    uint64_t generation;   /* RESIZED */
    int error;             /* SYNC_FAILED, DISCONNECTED: a negative errno */
    uint64_t reserved[4];
};

/* Runs in blkd_dispatch. `event` is valid during the call. */
typedef void blkd_event_callback(void *user_data, const struct blkd_event *event);

BLKD_API int blkd_set_event_callback(struct blkd *connection, blkd_event_callback *callback,
                                     void *user_data);

/* ---- configuration strings ---- */

BLKD_API int blkd_config_parse(const char *text, struct blkd_config **ret_config);
/* A configuration string if it has a scheme, else a path with all defaults. */
BLKD_API int blkd_config_from_argument(const char *text, struct blkd_config **ret_config);
BLKD_API int blkd_config_format(const struct blkd_config *config, char **ret_text);
BLKD_API void blkd_config_free(struct blkd_config *config);

/* ---- errors ---- */

BLKD_API const char *blkd_strerror(int error);
BLKD_API const char *blkd_error_message(void);

/* ---- queries ---- */

struct blkd_counters {
    uint64_t reads, writes, flushes, discards, zeroes;
    uint64_t read_bytes, written_bytes, errors;
    uint64_t syncs_issued, flushes_elided, flushes_shared;
};

struct blkd_device_entry {
    uint64_t device_number;
    const char *path;
    enum blkd_device_kind kind;
    uint32_t major, minor;
    uint64_t inode;
    uint64_t size_bytes;
    bool read_write, direct, failed, unsynced;
    uint32_t sessions;
    uint32_t in_flight;
    uint32_t granule_bytes;
    enum blkd_lock_mode lock;
    enum blkd_discard_method discard;
    uint64_t generation;
    const char *io_policy;
    struct blkd_counters counters;
};

struct blkd_session_entry {
    uint64_t session_number;
    uint64_t connection_number;
    uint64_t device_number;
    const char *path;
    uint32_t pid, uid, gid;
    const char *command;
    const char *client_name;
    bool read_write, direct;
    enum blkd_sync sync;
    enum blkd_lock_mode lock;
    uint32_t sector_size;
    uint32_t in_flight;
    uint64_t opened_unix_ms;
    struct blkd_counters counters;
};

struct blkd_device_list {
    size_t count;
    const struct blkd_device_entry *entries;
};

struct blkd_session_list {
    size_t count;
    const struct blkd_session_entry *entries;
};

BLKD_API int blkd_list_devices(struct blkd *connection, struct blkd_device_list **ret_list);
BLKD_API void blkd_device_list_free(struct blkd_device_list *list);
/* device_number 0: the sessions of all devices. */
BLKD_API int blkd_list_sessions(struct blkd *connection, uint64_t device_number,
                                struct blkd_session_list **ret_list);
BLKD_API void blkd_session_list_free(struct blkd_session_list *list);

/* ---- helpers on a plain descriptor of one's own ---- */

BLKD_API int blkd_really_read(int fd, void *buffer, size_t length_bytes);
BLKD_API int blkd_really_write(int fd, const void *buffer, size_t length_bytes);
BLKD_API int blkd_blkgetsize(const char *path, int fd, uint64_t *ret_size_bytes);
BLKD_API int blkd_ftruncate(int fd, uint64_t size_bytes);

#ifdef __cplusplus
}
#endif

#endif

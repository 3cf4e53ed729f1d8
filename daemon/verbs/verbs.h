/* SPDX-License-Identifier: MIT */
/*
 * The handlers of dispatch's table: for each operation, what copies its fields from the message,
 * and what carries it out.
 */
#ifndef BLKD_DAEMON_VERBS_VERBS_H
#define BLKD_DAEMON_VERBS_VERBS_H

#include <stdbool.h>

#include "proto/blkd.pb-c.h"

struct request;

/* handle_admin.c */
int hello_prepare(struct request *request, const Blkd__Request *message);
void hello_run(struct request *request);
int ping_prepare(struct request *request, const Blkd__Request *message);
void ping_run(struct request *request);

/* handle_list.c */
int list_devices_prepare(struct request *request, const Blkd__Request *message);
void list_devices_run(struct request *request);
int list_sessions_prepare(struct request *request, const Blkd__Request *message);
void list_sessions_run(struct request *request);

/* handle_device.c */
int open_prepare(struct request *request, const Blkd__Request *message);
void open_run(struct request *request);
int close_prepare(struct request *request, const Blkd__Request *message);
void close_run(struct request *request);
int get_info_prepare(struct request *request, const Blkd__Request *message);
void get_info_run(struct request *request);
int get_config_prepare(struct request *request, const Blkd__Request *message);
void get_config_run(struct request *request);
int seek_prepare(struct request *request, const Blkd__Request *message);
void seek_run(struct request *request);

/* handle_resize.c */
int resize_prepare(struct request *request, const Blkd__Request *message);
void resize_run(struct request *request);

/* handle_io.c */
int read_prepare(struct request *request, const Blkd__Request *message);
void read_run(struct request *request);
int write_prepare(struct request *request, const Blkd__Request *message);
void write_run(struct request *request);
int discard_prepare(struct request *request, const Blkd__Request *message);
void discard_run(struct request *request);
int write_zeroes_prepare(struct request *request, const Blkd__Request *message);
void zero_run(struct request *request);

/* handle_lock.c */
int lock_prepare(struct request *request, const Blkd__Request *message);
void lock_run(struct request *request);
int unlock_prepare(struct request *request, const Blkd__Request *message);
void unlock_run(struct request *request);

/* handle_list_locks.c */
int list_locks_prepare(struct request *request, const Blkd__Request *message);
void list_locks_run(struct request *request);

/* handle_break.c */
int break_lock_prepare(struct request *request, const Blkd__Request *message);
void break_lock_run(struct request *request);
int evict_prepare(struct request *request, const Blkd__Request *message);
void evict_run(struct request *request);
/* Whether the request comes from an administrator; if not, it is refused. */
bool admin_may(struct request *request);

/* handle_recover.c */
int recover_prepare(struct request *request, const Blkd__Request *message);
void recover_run(struct request *request);

/* handle_who.c */
int who_prepare(struct request *request, const Blkd__Request *message);
void who_run(struct request *request);

/* handle_watch.c */
int watch_prepare(struct request *request, const Blkd__Request *message);
void watch_run(struct request *request);

/* handle_ring.c */
int setup_ring_prepare(struct request *request, const Blkd__Request *message);
void setup_ring_run(struct request *request);
int add_arena_prepare(struct request *request, const Blkd__Request *message);
void add_arena_run(struct request *request);
int remove_arena_prepare(struct request *request, const Blkd__Request *message);
void remove_arena_run(struct request *request);

/* handle_sync.c */
int flush_prepare(struct request *request, const Blkd__Request *message);
void flush_run(struct request *request);

#endif

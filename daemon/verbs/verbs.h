/* SPDX-License-Identifier: MIT */
/*
 * The verbs: for each operation, what copies its fields from the message, and what carries it out.
 * One file a verb; all of them stand in one table.
 */
#ifndef BLKD_DAEMON_VERBS_VERBS_H
#define BLKD_DAEMON_VERBS_VERBS_H

#include <stdbool.h>

#include "proto/blkd.pb-c.h"

struct operation_table;
struct request;

/* table.c: what the server dispatches by. */
extern const struct operation_table verbs_table;

/* admin.c */
int hello_prepare(struct request *request, const Blkd__Request *message);
void hello_run(struct request *request);
int ping_prepare(struct request *request, const Blkd__Request *message);
void ping_run(struct request *request);

/* list.c */
int list_devices_prepare(struct request *request, const Blkd__Request *message);
void list_devices_run(struct request *request);
int list_sessions_prepare(struct request *request, const Blkd__Request *message);
void list_sessions_run(struct request *request);

/* open.c, info.c, seek.c */
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

/* resize.c */
int resize_prepare(struct request *request, const Blkd__Request *message);
void resize_run(struct request *request);

/* io.c */
int read_prepare(struct request *request, const Blkd__Request *message);
void read_run(struct request *request);
int write_prepare(struct request *request, const Blkd__Request *message);
void write_run(struct request *request);
int discard_prepare(struct request *request, const Blkd__Request *message);
void discard_run(struct request *request);
int write_zeroes_prepare(struct request *request, const Blkd__Request *message);
void zero_run(struct request *request);

/* lock.c */
int lock_prepare(struct request *request, const Blkd__Request *message);
void lock_run(struct request *request);
int unlock_prepare(struct request *request, const Blkd__Request *message);
void unlock_run(struct request *request);

/* list_locks.c */
int list_locks_prepare(struct request *request, const Blkd__Request *message);
void list_locks_run(struct request *request);

/* break.c */
int break_lock_prepare(struct request *request, const Blkd__Request *message);
void break_lock_run(struct request *request);
int evict_prepare(struct request *request, const Blkd__Request *message);
void evict_run(struct request *request);
/* Whether the request comes from an administrator; if not, it is refused. */
bool admin_may(struct request *request);

/* recover.c */
int recover_prepare(struct request *request, const Blkd__Request *message);
void recover_run(struct request *request);

/* who.c */
int who_prepare(struct request *request, const Blkd__Request *message);
void who_run(struct request *request);

/* watch.c */
int watch_prepare(struct request *request, const Blkd__Request *message);
void watch_run(struct request *request);

/* ring.c */
int setup_ring_prepare(struct request *request, const Blkd__Request *message);
void setup_ring_run(struct request *request);
int add_arena_prepare(struct request *request, const Blkd__Request *message);
void add_arena_run(struct request *request);
int remove_arena_prepare(struct request *request, const Blkd__Request *message);
void remove_arena_run(struct request *request);

/* flush.c */
int flush_prepare(struct request *request, const Blkd__Request *message);
void flush_run(struct request *request);

#endif

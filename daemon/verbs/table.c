/* SPDX-License-Identifier: MIT */
/* Every verb that a client may ask for: where a new one is added. */
#include "daemon/link/dispatch.h"
#include "daemon/verbs/verbs.h"

static const struct operation operations[] = {
    [BLKD__REQUEST__OP_HELLO] = {"hello", OP_HELLO, hello_prepare, hello_run},
    [BLKD__REQUEST__OP_PING] = {"ping", 0, ping_prepare, ping_run},
    [BLKD__REQUEST__OP_OPEN] = {"open", 0, open_prepare, open_run},
    [BLKD__REQUEST__OP_CLOSE] = {"close", OP_SESSION, close_prepare, close_run},
    [BLKD__REQUEST__OP_GET_INFO] = {"get_info", OP_SESSION, get_info_prepare, get_info_run},
    [BLKD__REQUEST__OP_GET_CONFIG] = {"get_config", OP_SESSION, get_config_prepare, get_config_run},
    [BLKD__REQUEST__OP_READ] = {"read", OP_SESSION | OP_ALIGNED, read_prepare, read_run},
    [BLKD__REQUEST__OP_WRITE] = {"write", OP_SESSION | OP_PAYLOAD | OP_CHANGES | OP_ALIGNED,
                                 write_prepare, write_run},
    [BLKD__REQUEST__OP_FLUSH] = {"flush", OP_SESSION, flush_prepare, flush_run},
    [BLKD__REQUEST__OP_DISCARD] = {"discard", OP_SESSION | OP_CHANGES | OP_ALIGNED, discard_prepare,
                                   discard_run},
    [BLKD__REQUEST__OP_WRITE_ZEROES] = {"write_zeroes", OP_SESSION | OP_CHANGES | OP_ALIGNED,
                                        write_zeroes_prepare, zero_run},
    [BLKD__REQUEST__OP_RESIZE] = {"resize", OP_SESSION | OP_CHANGES, resize_prepare, resize_run},
    [BLKD__REQUEST__OP_SEEK] = {"seek", OP_SESSION, seek_prepare, seek_run},
    [BLKD__REQUEST__OP_LIST_DEVICES] = {"list_devices", 0, list_devices_prepare, list_devices_run},
    [BLKD__REQUEST__OP_LOCK] = {"lock", OP_SESSION, lock_prepare, lock_run},
    [BLKD__REQUEST__OP_UNLOCK] = {"unlock", OP_SESSION, unlock_prepare, unlock_run},
    [BLKD__REQUEST__OP_BREAK_LOCK] = {"break_lock", 0, break_lock_prepare, break_lock_run},
    [BLKD__REQUEST__OP_EVICT] = {"evict", 0, evict_prepare, evict_run},
    [BLKD__REQUEST__OP_RECOVER] = {"recover", 0, recover_prepare, recover_run},
    [BLKD__REQUEST__OP_WATCH] = {"watch", 0, watch_prepare, watch_run},
    [BLKD__REQUEST__OP_LIST_SESSIONS] = {"list_sessions", 0, list_sessions_prepare,
                                         list_sessions_run},
    [BLKD__REQUEST__OP_WHO] = {"who", 0, who_prepare, who_run},
    [BLKD__REQUEST__OP_SETUP_RING] = {"setup_ring", 0, setup_ring_prepare, setup_ring_run},
    [BLKD__REQUEST__OP_ADD_ARENA] = {"add_arena", 0, add_arena_prepare, add_arena_run},
    [BLKD__REQUEST__OP_REMOVE_ARENA] = {"remove_arena", 0, remove_arena_prepare, remove_arena_run},
    [BLKD__REQUEST__OP_LIST_LOCKS] = {"list_locks", 0, list_locks_prepare, list_locks_run},
};

const struct operation_table verbs_table = {
    .operations = operations,
    .count = sizeof(operations) / sizeof(operations[0]),
};

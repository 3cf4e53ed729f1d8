/* SPDX-License-Identifier: MIT */
/*
 * What differs between the verbs of the interface: how a request is filled in, what is taken out of
 * the reply, and how it is called in messages. A verb is one constant `struct operation`.
 */
#ifndef BLKD_CLIENT_LIB_CALL_OPERATION_H
#define BLKD_CLIENT_LIB_CALL_OPERATION_H

#include <stdbool.h>
#include <stddef.h>

#include "client/blkd.h"
#include "common/ring.h"
#include "proto/blkd.pb-c.h"

struct call;
struct request;

/* Room for any operation's message while it is packed. */
union call_body {
    Blkd__Hello hello;
    Blkd__Ping ping;
    struct {
        Blkd__Open open;
        Blkd__Config config;
    } open;
    Blkd__Close close;
    Blkd__GetInfo get_info;
    Blkd__GetConfig get_config;
    Blkd__Read read;
    Blkd__Write write;
    Blkd__Flush flush;
    Blkd__Discard discard;
    Blkd__WriteZeroes write_zeroes;
    Blkd__Resize resize;
    Blkd__Seek seek;
    Blkd__ListDevices list_devices;
    Blkd__ListSessions list_sessions;
    Blkd__Lock lock;
    Blkd__Unlock unlock;
    Blkd__ListLocks list_locks;
    Blkd__Who who;
    Blkd__Watch watch;
    Blkd__BreakLock break_lock;
    Blkd__Evict evict;
    Blkd__Recover recover;
    Blkd__SetupRing setup_ring;
    Blkd__AddArena add_arena;
    Blkd__RemoveArena remove_arena;
};

enum call_payload {
    CALL_PAYLOAD_NONE,
    CALL_PAYLOAD_OUT, /* the request carries the buffers */
    CALL_PAYLOAD_IN,  /* the reply fills them */
};

/* What differs between operations. */
struct operation {
    enum call_payload payload;
    bool changes;             /* refused on a read-only session, even if there is nothing to do */
    enum ring_operation ring; /* 0: always goes through the socket */
    /* Fills in the message of one part; everything it points to outlives the packing. */
    void (*build)(const struct call *call, const struct request *part, Blkd__Request *message,
                  union call_body *body);
    /* Takes the results out of a reply that reports success; NULL: there are none. Returns 0, or a
     * negative errno that becomes the result. */
    int (*on_reply)(struct call *call, const Blkd__Reply *reply);
    /* "read of 512 bytes at sector 3 (offset 1536) of /srv/a.img" */
    void (*describe)(const struct call *call, char *text, size_t size);
    /* The call is done, and its owner not told yet; mutex held. May be NULL. */
    void (*on_done)(struct call *call);
    /* Runs without the mutex, on the thread that is about to hand over the result. True: the call
     * has been changed and is to be submitted again. May be NULL. */
    bool (*retry)(struct call *call);
    /* Frees what the verb has put into call->asked.context; may be NULL. */
    void (*release)(void *context);
};

#endif

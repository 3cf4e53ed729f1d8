/* SPDX-License-Identifier: MIT */
/*
 * A connection to the daemon. One mutex guards all of it but what is constant after blkd_connect
 * (descriptors, the server's description, forkguard) and what belongs to the thread that reads
 * (`receiver`, `spin`, `rings.completions`, while `reading`).
 *
 * A connection is lost once and for good: `lost` never goes back, and with it no call is active.
 */
#ifndef BLKD_CLIENT_LIB_CORE_CONNECTION_H
#define BLKD_CLIENT_LIB_CORE_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/blkd.h"
#include "client/lib/base/forkguard.h"
#include "client/lib/call/call.h"
#include "client/lib/call/request.h"
#include "client/lib/core/device.h"
#include "client/lib/core/event.h"
#include "client/lib/core/wait.h"
#include "client/lib/link/receiver.h"
#include "client/lib/link/sender.h"
#include "client/lib/ring/buffers.h"
#include "client/lib/ring/rings.h"
#include "common/spin.h"

enum { HANDLE_REASON_MAX = 512 };

struct blkd {
    pthread_mutex_t mutex;
    struct forkguard forkguard;
    int socket;
    int epoll_fd; /* what the user polls: holds `socket` and `event_fd` */
    int event_fd; /* readable while `announced` */
    int kick_fd;  /* wakes the thread that reads out of poll(2) */

    bool lost;
    char lost_reason[HANDLE_REASON_MAX];

    bool reading; /* a thread leads (wait.h) */
    enum wait_role reader_role;
    struct waiter_list waiters;
    struct spin spin;
    uint64_t looked_ns; /* when the socket was last looked at; the reading thread's */

    struct call_table calls;
    struct request_table requests;
    struct sender sender;
    struct receiver receiver;
    struct device_list devices;
    struct rings rings;
    struct arena_set arenas; /* the program's shared buffers are in them */
    struct buffers buffers;

    bool announced;
    struct event_queue events;
    uint32_t happenings_queued;   /* of those events */
    uint64_t happenings_left_out; /* since the last one that was queued */
    blkd_event_callback *event_callback;
    void *event_user_data;

    bool send_on_dispatch; /* constant */
    char client_name[65];
    struct blkd_server_info server;
    char server_version[64];
    char server_engine[32];
};

/* The connection is of no more use; the reason is for a person. Every active call ends with
 * -ENOTCONN. Only by the thread that reads, or while nobody reads: a call that ends gives up
 * buffers that a reader may be filling. Mutex held. */
void handle_lose(struct blkd *connection, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A worker: a thread with a loop, an engine, and the connections it was given, for their whole
 * life. Everything in it but the loop's mailbox is the thread's own.
 *
 * One round of the loop: what is ready is received or taken out of rings, checked and carried out;
 * then the engine is handed what was submitted, and the replies that are ready leave, a
 * connection's in one message. While rings are busy, everything else (sockets, mailbox, timers),
 * which costs a system call to find, is looked at only now and then.
 */
#ifndef BLKD_DAEMON_LINK_WORKER_H
#define BLKD_DAEMON_LINK_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/spin.h"
#include "common/wire.h"
#include "daemon/base/buffer.h"
#include "daemon/engine/engine.h"
#include "daemon/link/channel.h"
#include "daemon/link/parting.h"
#include "daemon/link/server.h"
#include "daemon/storage/backend.h"

struct conn;
struct event;
struct request;

LIST_HEAD(conn_list, conn);
TAILQ_HEAD(conn_touched_list, conn);
STAILQ_HEAD(request_list, request);

enum { WORKER_RECEIVE_BYTES = 128 * 1024, WORKER_SPARE_REQUESTS = 256 };

/* The channels (channel.h) that need the worker. */
struct worker_rings {
    struct channel_list awake; /* looked at again and again */
    unsigned int awake_count;
    struct channel_list dirty; /* with completions to publish */
    struct channel_list due;   /* whose clients may have to be woken */
    unsigned int since_look;   /* submissions taken since everything else was looked at */
    uint64_t looked_ns;        /* when that was */
};

struct worker_polling {
    struct spin clients;   /* with nothing in the engine */
    struct spin devices;   /* for what is in the engine */
    unsigned int activity; /* grows with everything that is worth polling for */
};

/* What the worker keeps so that a request allocates nothing. */
struct worker_memory {
    struct buffer_pool buffers;
    struct wire_arena arena;
    uint8_t *receive_buffer;
    struct request_list spare_requests;
    unsigned int spare_count;
};

struct worker {
    struct io_loop io;
    struct server *server; /* constant, as index and thread */
    unsigned int index;
    pthread_t thread;

    struct event *engine_event;
    struct event *mailbox_event;
    struct event *look_timer;    /* the first worker's: size_check_all */
    struct engine_pin state_pin; /* the state directory's lock stays with the engine's last I/O */
    struct conn_list conns;
    struct parting_list partings;
    struct conn_touched_list touched; /* to be looked at at the end of the round */
    struct worker_rings rings;
    struct worker_polling polling;
    struct worker_memory memory;
    unsigned int losses; /* of shared memory (sigbus.h), that were heeded */
    bool stopping;
    struct letter stop_letter;
    struct letter ended_letter; /* to the server's mailbox */
};

/* 0 or a negative errno. `engine` is one that engine_new made; it becomes the worker's. */
int worker_init(struct worker *worker, struct server *server, unsigned int index,
                struct engine *engine);
/* When the thread has ended, ended_letter is posted to the server's mailbox. */
int worker_start(struct worker *worker);

/* From the main thread: the connections are closed, what is in flight is waited for, the thread
 * ends. */
void worker_stop(struct worker *worker);
void worker_join(struct worker *worker);
void worker_deinit(struct worker *worker);

#endif

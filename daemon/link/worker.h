/* SPDX-License-Identifier: MIT */
/*
 * A worker: a thread with an event loop, an engine, and the connections it was given, for their
 * whole life. Everything in it but the mailbox is the thread's own.
 *
 * One round of the loop: what is ready is received or taken out of rings, checked and carried out;
 * then the engine is handed what was submitted, and the replies that are ready leave, a
 * connection's in one message. While rings are busy, everything else (sockets, mailbox, timers),
 * which costs a system call to find, is looked at only now and then.
 */
#ifndef BLKD_DAEMON_LINK_WORKER_H
#define BLKD_DAEMON_LINK_WORKER_H

#include <event2/event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/spin.h"
#include "common/wire.h"
#include "daemon/base/buffer.h"
#include "daemon/base/mailbox.h"
#include "daemon/engine/engine.h"
#include "daemon/link/channel.h"
#include "daemon/link/server.h"

struct conn;
struct request;

LIST_HEAD(conn_list, conn);
TAILQ_HEAD(conn_touched_list, conn);
STAILQ_HEAD(request_list, request);

enum { WORKER_RECEIVE_BYTES = 128 * 1024, WORKER_SPARE_REQUESTS = 256 };

struct worker {
    struct server *server;
    unsigned int index;
    pthread_t thread;
    struct event_base *base;
    struct engine *engine;
    struct event *engine_event;
    struct engine_pin state_pin; /* the state directory's lock stays with the engine's last I/O */
    struct mailbox mailbox;
    struct event *mailbox_event;
    struct event *look_timer; /* the first worker's: device_look_all */
    struct conn_list conns;
    struct conn_touched_list touched; /* to be looked at at the end of the round */
    struct buffer_pool buffers;
    struct wire_arena arena;
    uint8_t *receive_buffer;
    struct request_list spare_requests;
    unsigned int spare_count;
    /* Channels (channel.h): those that are looked at again and again; those with completions to
     * publish; those whose clients may have to be woken. */
    struct channel_list awake;
    struct channel_list dirty;
    struct channel_list due;
    unsigned int awake_count;
    unsigned int since_look; /* submissions taken since everything else was looked at */
    uint64_t looked_ns;      /* when that was */
    struct spin spin;        /* for clients, with nothing in the engine */
    struct spin device_spin; /* for what is in the engine */
    unsigned int activity;   /* grows with everything that is worth polling for */
    unsigned int pending;    /* closings and the like that must end before the thread does */
    unsigned int losses;     /* of shared memory (sigbus.h), that were heeded */
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

/* CLOCK_MONOTONIC_COARSE in milliseconds: cheap, and good to a few of them. */
uint64_t worker_now_ms(void);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t worker_now_ns(void);

/* The wall clock in milliseconds, good to a few of them. */
uint64_t worker_unix_ms(void);

/* A request, zeroed as request.h says. NULL: no memory. */
struct request *worker_get_request(struct worker *worker);
void worker_put_request(struct worker *worker, struct request *request);

/* Runs a job on the helper pool that comes back to this worker. */
void worker_submit_job(struct worker *worker, struct helper_job *job);

#endif

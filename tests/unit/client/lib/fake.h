/* SPDX-License-Identifier: MIT */
/*
 * A daemon for the client library's tests: a thread that serves one connection from a piece of
 * memory and misbehaves as it is told. Built on common/wire, so that it shares no code with the
 * client's own sending and receiving.
 *
 * Members above the line are set before fake_start; those below it are read after fake_stop, or
 * from `on_request`, which runs on the daemon's thread.
 */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/blkd.h"
#include "common/fdpass.h"
#include "common/frame.h"
#include "common/status.h"
#include "common/wire.h"

/* A file that is there. */
#define FAKE_FILE "/proc/self/exe"

enum { FAKE_SECTOR = 512, FAKE_HELD_MAX = 1024, FAKE_INPUT_BYTES = 4 * 1024 * 1024 };

/* protobuf-c's own initialisers cast const away, which is refused in our code. */
#define FAKE_MESSAGE(type, init)                                                                   \
    ({                                                                                             \
        type message_;                                                                             \
        init(&message_);                                                                           \
        message_;                                                                                  \
    })

struct fake;

/* True: the request is dealt with. */
typedef bool fake_handler(struct fake *fake, const Blkd__Request *request, const uint8_t *payload);

struct fake_reply {
    uint8_t *bytes;
    size_t length;
};

struct fake {
    size_t disk_bytes;
    uint32_t max_io_bytes;
    uint32_t max_requests;
    size_t split_bytes; /* 0: replies are sent whole; else in pieces of this size */
    unsigned int hold;  /* this many replies are gathered and then sent, the last first */
    bool deny_bare;     /* EACCES for descriptors that show no right to read (O_PATH) */
    fake_handler *on_request;
    bool (*on_wait)(struct fake *fake); /* until there is something to receive; false: no more */
    uint64_t features;                  /* that the daemon has */
    void *user_data;
    /* ------------------------------------------------------------------ */
    char directory[32];
    char path[64];
    int listener;
    int socket;
    pthread_t thread;
    uint8_t *disk;
    uint8_t *input;
    size_t input_bytes;
    struct fdpass fds;
    struct wire_arena arena;
    struct fake_reply held[FAKE_HELD_MAX];
    unsigned int held_count;
    bool hung_up;
    char opened_path[4096];
    char client_name[128];
    uint64_t client_features;
    bool opened_strict, opened_discard;
    char opened_purpose[128];
    uint64_t last_token;
    int opened_flags;
    ino_t opened_inode;
    uint64_t transfer_ends[64];
    unsigned int reads, writes, closes, flushes;
    unsigned int frames_in_receive, most_frames_in_receive;
};

static inline void fake_send_bytes(struct fake *fake, const uint8_t *bytes, size_t length)
{
    size_t piece = fake->split_bytes != 0 ? fake->split_bytes : length;

    while (length > 0 && !fake->hung_up) {
        ssize_t n = send(fake->socket, bytes, piece < length ? piece : length, MSG_NOSIGNAL);
        if (n < 0) {
            fake->hung_up = true;
            return;
        }
        bytes += n;
        length -= (size_t)n;
    }
}

static inline void fake_release(struct fake *fake)
{
    while (fake->held_count > 0) {
        struct fake_reply *reply = &fake->held[--fake->held_count];
        fake_send_bytes(fake, reply->bytes, reply->length);
        free(reply->bytes);
    }
}

static inline void fake_reply(struct fake *fake, const Blkd__Reply *reply, const uint8_t *payload,
                              uint32_t payload_bytes)
{
    size_t size = wire_reply_size(reply);
    uint8_t *bytes = malloc(size + payload_bytes);

    if (bytes == NULL)
        abort();
    wire_pack_reply(reply, payload_bytes, bytes);
    if (payload_bytes > 0)
        memcpy(bytes + size, payload, payload_bytes);
    fake->held[fake->held_count++] = (struct fake_reply){bytes, size + payload_bytes};
    if (fake->held_count >= fake->hold)
        fake_release(fake);
}

static inline void fake_answer(struct fake *fake, uint64_t id, int error, const char *text)
{
    Blkd__Reply reply = FAKE_MESSAGE(Blkd__Reply, blkd__reply__init);
    char message[256];

    (void)snprintf(message, sizeof(message), "%s", text);
    reply.id = id;
    reply.status = status_from_errno(error);
    reply.message = message;
    fake_reply(fake, &reply, NULL, 0);
}

static inline void fake_hang_up(struct fake *fake)
{
    fake->hung_up = true;
}

#endif

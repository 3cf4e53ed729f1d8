/* SPDX-License-Identifier: MIT */
/*
 * fuzz_seeds DIRECTORY: writes good frames into it, for fuzz_wire to begin with. Made when they are
 * needed, so that they follow blkd.proto.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/limits.h"
#include "common/wire.h"

static char path[] = "/dev/disk";
static char text[] = "text";

static void write_file(const char *directory, const char *name, const uint8_t *bytes, size_t size)
{
    char file_name[4096];

    (void)snprintf(file_name, sizeof(file_name), "%s/%s", directory, name);
    FILE *file = fopen(file_name, "we");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(file_name);
        exit(EXIT_FAILURE);
    }
}

static void write_request(const char *directory, const char *name, Blkd__Request__OpCase op_case,
                          void *operation)
{
    uint8_t bytes[512];
    Blkd__Request request = BLKD__REQUEST__INIT;

    request.id = 1;
    request.op_case = op_case;
    request.read = (Blkd__Read *)operation; /* the union's members are all pointers */
    wire_pack_request(&request, 0, bytes);
    write_file(directory, name, bytes, wire_request_size(&request));
}

static void write_reply(const char *directory, const char *name, Blkd__Reply__BodyCase body_case,
                        void *body)
{
    uint8_t bytes[1024];
    Blkd__Reply reply;

    blkd__reply__init(&reply);
    reply.id = 1;
    reply.message = text;
    reply.body_case = body_case;
    reply.info = (Blkd__Info *)body;
    wire_pack_reply(&reply, 0, bytes);
    write_file(directory, name, bytes, wire_reply_size(&reply));
}

static void write_requests(const char *directory)
{
    Blkd__Hello hello;
    Blkd__Ping ping = BLKD__PING__INIT;
    Blkd__Config config = BLKD__CONFIG__INIT;
    Blkd__Open open = BLKD__OPEN__INIT;
    Blkd__Read read = BLKD__READ__INIT;
    Blkd__Discard discard = BLKD__DISCARD__INIT;

    blkd__hello__init(&hello);
    hello.version = PROTOCOL_VERSION;
    hello.client_name = text;
    write_request(directory, "hello", BLKD__REQUEST__OP_HELLO, &hello);
    write_request(directory, "ping", BLKD__REQUEST__OP_PING, &ping);
    config.path = (ProtobufCBinaryData){strlen(path), (uint8_t *)path};
    config.sector_size = 4096;
    open.config = &config;
    write_request(directory, "open", BLKD__REQUEST__OP_OPEN, &open);
    read.session = 1;
    read.length_bytes = 4096;
    write_request(directory, "read", BLKD__REQUEST__OP_READ, &read);
    discard.session = 1;
    discard.length_bytes = 1ULL << 40;
    write_request(directory, "discard", BLKD__REQUEST__OP_DISCARD, &discard);
}

static void write_session_list(const char *directory)
{
    Blkd__Counters counters = BLKD__COUNTERS__INIT;
    Blkd__SessionEntry entry;
    Blkd__SessionEntry *entries[] = {&entry, &entry};
    Blkd__SessionList list = BLKD__SESSION_LIST__INIT;

    blkd__session_entry__init(&entry);
    entry.session = entry.pid = 77;
    entry.path = (ProtobufCBinaryData){strlen(path), (uint8_t *)path};
    entry.command = entry.client_name = text;
    counters.reads = 1;
    entry.counters = &counters;
    list.n_sessions = sizeof(entries) / sizeof(entries[0]);
    list.sessions = entries;
    write_reply(directory, "sessions", BLKD__REPLY__BODY_SESSIONS, &list);
}

static void write_replies(const char *directory)
{
    Blkd__Info info = BLKD__INFO__INIT;
    Blkd__Resized resized = BLKD__RESIZED__INIT;
    Blkd__Event event = BLKD__EVENT__INIT;

    info.size_sectors = 2048;
    info.sector_size = 512;
    write_reply(directory, "info", BLKD__REPLY__BODY_INFO, &info);
    event.sequence = 1;
    event.what_case = BLKD__EVENT__WHAT_RESIZED;
    event.resized = &resized;
    write_reply(directory, "event", BLKD__REPLY__BODY_EVENT, &event);
    write_session_list(directory);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: fuzz_seeds DIRECTORY\n");
        return EXIT_FAILURE;
    }
    (void)mkdir(argv[1], 0777); /* if it is not there afterwards, the first file says why */
    write_requests(argv[1]);
    write_replies(argv[1]);
    return EXIT_SUCCESS;
}

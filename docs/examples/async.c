/* SPDX-License-Identifier: MIT */
/*
 * Reads a whole device or disk image with 16 reads in flight, in a poll(2) loop.
 *
 * The loop could watch other descriptors too. With libevent, make one event,
 * event_new(base, blkd_get_fd(connection), EV_READ | EV_PERSIST, ...), whose callback calls
 * blkd_dispatch(connection, 0).
 *
 *   cc async.c $(pkg-config --cflags --libs blkd) -o async && ./async disk.img
 */
#include <blkd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEPTH = 16, BLOCK_BYTES = 65536 };

static struct blkd_device *device;
static struct blkd_info info;
static uint64_t next_sector;
static int in_flight, failed;

struct block {
    char bytes[BLOCK_BYTES];
};

static void on_read(void *user_data, int result);

/* Submits the next read, into `block`, unless everything is read. */
static void read_next(struct block *block)
{
    uint64_t count = BLOCK_BYTES / info.sector_size;
    struct iovec buffer = {block->bytes, 0};

    if (failed || next_sector == info.size_sectors)
        return;
    if (count > info.size_sectors - next_sector)
        count = info.size_sectors - next_sector;
    buffer.iov_len = count * info.sector_size;
    if (blkd_read_async(device, next_sector, &buffer, 1, on_read, block) < 0) {
        fprintf(stderr, "%s\n", blkd_error_message());
        failed = 1;
        return;
    }
    next_sector += count;
    in_flight++;
}

/* Called by blkd_dispatch when a read is done. It may submit further calls but must not block. */
static void on_read(void *user_data, int result)
{
    in_flight--;
    if (result < 0) {
        fprintf(stderr, "%s\n", blkd_error_message());
        failed = 1;
    }
    read_next(user_data);
}

static void read_all(struct blkd *connection)
{
    static struct block blocks[DEPTH];
    struct pollfd poll_fd = {.fd = blkd_get_fd(connection), .events = POLLIN};

    for (int i = 0; i < DEPTH; i++)
        read_next(&blocks[i]);
    while (in_flight > 0) {
        if (poll(&poll_fd, 1, -1) < 0)
            continue; /* EINTR */
        if (blkd_dispatch(connection, 0) < 0)
            break; /* the connection is lost; all callbacks have run */
    }
}

int main(int argc, char **argv)
{
    struct blkd_config config = {0};
    struct blkd *connection;

    config.path = argc > 1 ? argv[1] : "disk.img";
    config.access = BLKD_ACCESS_READ_ONLY;
    if (blkd_connect(NULL, &connection) < 0 || blkd_open(connection, &config, &device) < 0 ||
        blkd_get_info(device, &info) < 0) {
        fprintf(stderr, "%s\n", blkd_error_message());
        return EXIT_FAILURE;
    }
    read_all(connection);
    printf("%llu sectors of %u bytes\n", (unsigned long long)next_sector, info.sector_size);
    blkd_close(device);
    blkd_disconnect(connection);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

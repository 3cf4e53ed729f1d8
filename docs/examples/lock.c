/* SPDX-License-Identifier: MIT */
/*
 * Changes a device that other programs use too: waits for an exclusive lock, reads, writes and
 * flushes. Says so if the lock was lost meanwhile.
 *
 *   cc lock.c $(pkg-config --cflags --libs blkd) -o lock && ./lock disk.img
 */
#include <blkd.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Needs the lock: nobody else may write between the read and the write. */
static int change(struct blkd_device *device)
{
    char bytes[4096]; /* a multiple of both usual sector sizes, 512 and 4096 */
    struct iovec buffer = {bytes, sizeof(bytes)};
    int r = blkd_read(device, 0, &buffer, 1);

    if (r == 0) {
        bytes[0]++;
        r = blkd_write(device, 0, &buffer, 1, 0);
    }
    return r == 0 ? blkd_flush(device) : r;
}

int main(int argc, char **argv)
{
    struct blkd_config config = {0};
    struct blkd_lock_request request = {0};
    struct blkd *connection = NULL;
    struct blkd_device *device = NULL;
    uint64_t token;
    int r;

    config.path = argc > 1 ? argv[1] : "disk.img";
    config.access = BLKD_ACCESS_READ_WRITE;
    config.purpose = "example"; /* shown to those that the lock keeps out */
    request.wait_ms = 10000;    /* 10 seconds */
    r = blkd_connect(NULL, &connection);
    if (r == 0)
        r = blkd_open(connection, &config, &device);
    if (r == 0)
        r = blkd_lock(device, &request, &token);
    if (r == 0) {
        printf("locked, token %" PRIu64 "\n", token);
        r = change(device);
    }
    if (r < 0)
        fprintf(stderr, "%s\n", blkd_error_message());
    if (r == -ESTALE)
        fprintf(stderr, "The lock was lost: somebody else may have written.\n");
    blkd_close(device); /* releases the lock as well */
    blkd_disconnect(connection);
    return r < 0 ? 1 : 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * The smallest program: prints the first bytes of a device or disk image.
 *
 *   cc read.c $(pkg-config --cflags --libs blkd) -o read && ./read disk.img
 */
#include <blkd.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct blkd_config config = {0};
    struct blkd *connection;
    struct blkd_device *device;
    char bytes[4096]; /* a multiple of both usual sector sizes, 512 and 4096 */
    struct iovec buffer = {bytes, sizeof(bytes)};

    config.path = argc > 1 ? argv[1] : "disk.img";
    if (blkd_connect(NULL, &connection) < 0 || blkd_open(connection, &config, &device) < 0 ||
        blkd_read(device, 0, &buffer, 1) < 0) {
        fprintf(stderr, "%s\n", blkd_error_message());
        return 1;
    }
    printf("%.16s\n", bytes);
    blkd_close(device);
    blkd_disconnect(connection);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Adds up the bytes of a device or disk image, without copying them: the daemon reads the device
 * directly into memory that it shares with the program.
 *
 *   cc buffer.c $(pkg-config --cflags --libs blkd) -o buffer && ./buffer disk.img
 */
#include <blkd.h>
#include <stdint.h>
#include <stdio.h>

enum { BUFFER_BYTES = 256 * 1024 };

/* Returns 0 or a negative errno. */
static int add_up(struct blkd_device *device, const struct blkd_info *info, uint8_t *bytes,
                  uint64_t *sum)
{
    uint64_t step = BUFFER_BYTES / info->sector_size;
    int r = 0;

    for (uint64_t sector = 0; sector < info->size_sectors && r == 0; sector += step) {
        uint64_t left = info->size_sectors - sector;
        struct iovec buffer = {bytes, (left < step ? left : step) * info->sector_size};

        r = blkd_read(device, sector, &buffer, 1);
        for (size_t i = 0; i < buffer.iov_len && r == 0; i++)
            *sum += bytes[i];
    }
    return r;
}

int main(int argc, char **argv)
{
    struct blkd_config config = {0};
    struct blkd *connection;
    struct blkd_device *device;
    struct blkd_info info;
    void *bytes;
    uint64_t sum = 0;

    config.path = argc > 1 ? argv[1] : "disk.img";
    if (blkd_connect(NULL, &connection) < 0 || blkd_open(connection, &config, &device) < 0 ||
        blkd_get_info(device, &info) < 0 ||
        blkd_buffer_alloc(connection, BUFFER_BYTES, &bytes) < 0 ||
        add_up(device, &info, bytes, &sum) < 0) {
        fprintf(stderr, "%s\n", blkd_error_message());
        return 1;
    }
    printf("%llu\n", (unsigned long long)sum);
    blkd_buffer_free(connection, bytes);
    blkd_close(device);
    blkd_disconnect(connection);
    return 0;
}

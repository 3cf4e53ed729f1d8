/* SPDX-License-Identifier: MIT */
#include "client/cli/format.h"

#include <string.h>

#define FORMAT_CONVERT "convert it first (qemu-img convert -O raw)"

struct format_magic {
    struct format format;
    size_t offset;
    const char *bytes;
    size_t length;
};

#define MAGIC(bytes_) .bytes = (bytes_), .length = sizeof(bytes_) - 1

/* A VHD of fixed size is not here: it is the disk's bytes, with a footer behind them. */
static const struct format_magic FORMAT_MAGICS[] = {
    {{"qcow2", FORMAT_CONVERT}, 0, MAGIC("QFI\xfb\0\0\0\2")},
    {{"qcow2", FORMAT_CONVERT}, 0, MAGIC("QFI\xfb\0\0\0\3")},
    {{"qcow", FORMAT_CONVERT}, 0, MAGIC("QFI\xfb\0\0\0\1")},
    {{"vmdk", FORMAT_CONVERT}, 0, MAGIC("KDMV")},
    {{"vmdk", FORMAT_CONVERT}, 0, MAGIC("COWD")},
    {{"vmdk", FORMAT_CONVERT}, 0, MAGIC("# Disk DescriptorFile")},
    {{"vdi", FORMAT_CONVERT}, 64, MAGIC("\x7f\x10\xda\xbe")},
    {{"vhdx", FORMAT_CONVERT}, 0, MAGIC("vhdxfile")},
    {{"vhd", FORMAT_CONVERT}, 0, MAGIC("conectix")},
    {{"gzip", "decompress it first (gzip -d)"}, 0, MAGIC("\x1f\x8b\x08")},
    {{"xz", "decompress it first (xz -d)"},
     0,
     MAGIC("\xfd"
           "7zXZ\0")},
    {{"zstd", "decompress it first (zstd -d)"}, 0, MAGIC("\x28\xb5\x2f\xfd")},
};

const struct format *format_find(const void *bytes, size_t length)
{
    for (size_t i = 0; i < sizeof(FORMAT_MAGICS) / sizeof(FORMAT_MAGICS[0]); i++) {
        const struct format_magic *magic = &FORMAT_MAGICS[i];

        if (length >= magic->offset + magic->length &&
            memcmp((const char *)bytes + magic->offset, magic->bytes, magic->length) == 0)
            return &magic->format;
    }
    return NULL;
}

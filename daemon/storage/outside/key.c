/* SPDX-License-Identifier: MIT */
/*
 * The name of a device across restarts (contract L8). Numbers are reused: of inodes, so the birth
 * time goes with them; of loop devices and disks, so a serial does, or else the disk's sequence
 * number, which never comes again until the machine is booted again.
 */
#include "daemon/storage/outside/outside.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "daemon/storage/outside/places.h"
#include "daemon/storage/outside/sysfs.h"

static void key_of_file(int fd, struct backend_key *ret_key)
{
    struct statx status;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO | STATX_BTIME, &status) < 0 ||
        (status.stx_mask & STATX_BTIME) == 0)
        return;
    (void)snprintf(ret_key->text, sizeof(ret_key->text), "file-%u:%u-%llu-%lld.%09u",
                   status.stx_dev_major, status.stx_dev_minor, (unsigned long long)status.stx_ino,
                   (long long)status.stx_btime.tv_sec, status.stx_btime.tv_nsec);
}

/* Letters and digits stay; anything else is spelled out, so that two serials are not made one. */
static bool key_append_escaped(char *text, size_t size, const char *from)
{
    size_t length = strlen(text);
    for (; *from != '\0'; from++) {
        unsigned char c = (unsigned char)*from;
        bool plain = isalnum(c) || c == '.' || c == '-';
        if (length + 4 > size)
            return false;
        length += (size_t)snprintf(text + length, size - length, plain ? "%c" : "_%02x", c);
    }
    return true;
}

/* Without the spaces that SCSI serials are padded with; false if nothing is left, or only zeroes,
 * which is what makers fill in who have none. */
static bool key_trim(char *serial)
{
    size_t begin = strspn(serial, " \t\n");
    (void)memmove(serial, serial + begin, strlen(serial + begin) + 1);
    size_t length = strlen(serial);
    while (length > 0 && isspace((unsigned char)serial[length - 1]))
        serial[--length] = '\0';
    return serial[strspn(serial, "0")] != '\0';
}

static bool key_of_serial(dev_t disk, char *text, size_t size)
{
    static const char *const names[] = {"wwid", "device/wwid", "device/serial", "serial"};
    for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char serial[BACKEND_KEY_MAX] = "";
        if (sysfs_read_attribute(disk, names[i], serial, sizeof(serial)) < 0 || !key_trim(serial))
            continue;
        (void)snprintf(text, size, "%s-", strstr(names[i], "wwid") != NULL ? "wwid" : "serial");
        return key_append_escaped(text, size, serial);
    }
    return false;
}

static bool key_of_sequence(dev_t disk, char *text, size_t size)
{
    char sequence[32];
    char path[PATH_BYTES_MAX];
    char boot[64] = "";
    (void)snprintf(path, sizeof(path), "%s/sys/kernel/random/boot_id", outside_proc);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, boot, sizeof(boot) - 1);
    if (length <= 0 || sysfs_read_attribute(disk, "diskseq", sequence, sizeof(sequence)) < 0)
        return false;
    boot[strcspn(boot, "\n")] = '\0';
    (void)snprintf(text, size, "diskseq-%s-%s", sequence, boot);
    return true;
}

static void key_of_device(dev_t device, struct backend_key *ret_key)
{
    char disk_key[BACKEND_KEY_MAX - 16];
    char partition[12] = "";
    dev_t disk = device;
    if (sysfs_find_disk(device, &disk) &&
        sysfs_read_attribute(device, "partition", partition, sizeof(partition)) < 0)
        return;
    if (!key_of_serial(disk, disk_key, sizeof(disk_key)) &&
        !key_of_sequence(disk, disk_key, sizeof(disk_key)))
        return;
    (void)snprintf(ret_key->text, sizeof(ret_key->text), "%s%s%s", disk_key,
                   partition[0] == '\0' ? "" : ":p", partition);
}

void outside_key(int fd, const struct device_identity *identity, struct backend_key *ret_key)
{
    ret_key->text[0] = '\0';
    if (identity->kind == DEVICE_BLOCK)
        key_of_device(identity->dev, ret_key);
    else
        key_of_file(fd, ret_key);
}

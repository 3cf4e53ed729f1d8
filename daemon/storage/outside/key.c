/* SPDX-License-Identifier: MIT */
/*
 * The name of a device across restarts (contract L8). Numbers are reused: of inodes, so the birth
 * time goes with them, or the inode's generation; of partitions, so their start and size do; of
 * loop devices and disks, so a serial does, or else the disk's sequence number, which never comes
 * again until the machine is booted again.
 *
 * A file system has its UUID, not st_dev: that is another number on another loop device, and of
 * btrfs after each mount. Where none is to be had, or all zeroes, st_dev it is; and if the file has
 * neither a birth time nor a generation (FUSE), only until the machine is booted again, for then
 * such numbers are handed out anew.
 */
#include "daemon/storage/outside/outside.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "daemon/storage/outside/places.h"
#include "daemon/storage/outside/sysfs.h"

/* linux/fs.h of Linux 6.9 has the first as FS_IOC_GETFSUUID; the second is ext4's alone, and in no
 * header for programs (fs/ext4/ext4.h, Linux 6.0). */
struct key_uuid {
    uint8_t length;
    uint8_t bytes[16];
};

struct key_ext4_uuid {
    uint32_t length;
    uint32_t flags;
    uint8_t bytes[16];
};

#define KEY_GET_UUID _IOR(0x15, 0, struct key_uuid)
#define KEY_GET_EXT4_UUID _IOC(_IOC_READ, 'f', 44, 2 * sizeof(uint32_t))

/* False: it is all zeroes, which is none. */
static bool key_append_hex(char *text, size_t size, const uint8_t *bytes, size_t count)
{
    static const uint8_t none[16];
    size_t length = strlen(text);
    if (memcmp(bytes, none, count) == 0)
        return false;
    for (size_t i = 0; i < count && length + 3 <= size; i++)
        length += (size_t)snprintf(text + length, size - length, "%02x", bytes[i]);
    return true;
}

/* Each subvolume numbers its inodes anew. */
static bool key_of_btrfs(int fd, char *text, size_t size)
{
    struct btrfs_ioctl_fs_info_args filesystem = {0};
    struct btrfs_ioctl_ino_lookup_args subvolume = {.objectid = BTRFS_FIRST_FREE_OBJECTID};
    if (ioctl(fd, BTRFS_IOC_FS_INFO, &filesystem) < 0 ||
        ioctl(fd, BTRFS_IOC_INO_LOOKUP, &subvolume) < 0)
        return false;
    text[0] = '\0';
    if (!key_append_hex(text, size, filesystem.fsid, sizeof(filesystem.fsid)))
        return false;
    size_t length = strlen(text);
    (void)snprintf(text + length, size - length, "-%llu", (unsigned long long)subvolume.treeid);
    return true;
}

static bool key_of_uuid(int fd, char *text, size_t size)
{
    struct key_uuid any = {0};
    struct key_ext4_uuid ext4 = {.length = sizeof(ext4.bytes)};
    text[0] = '\0';
    if (ioctl(fd, KEY_GET_UUID, &any) == 0 && any.length == sizeof(any.bytes))
        return key_append_hex(text, size, any.bytes, sizeof(any.bytes));
    if (ioctl(fd, KEY_GET_EXT4_UUID, &ext4) == 0 && ext4.length == sizeof(ext4.bytes))
        return key_append_hex(text, size, ext4.bytes, sizeof(ext4.bytes));
    return false;
}

/* Whether the file system has a name of its own. */
static bool key_of_filesystem(int fd, char *text, size_t size)
{
    struct statfs filesystem;
    if (fstatfs(fd, &filesystem) < 0)
        return false;
    if (filesystem.f_type == BTRFS_SUPER_MAGIC)
        return key_of_btrfs(fd, text, size);
    return key_of_uuid(fd, text, size);
}

/* This boot of the machine. */
static bool key_of_boot(char *text, size_t size)
{
    char path[PATH_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s/sys/kernel/random/boot_id", outside_proc);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
    if (length <= 0)
        return false;
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return true;
}

/* What tells the inode from others that have its number at another time; false: nothing does. */
static bool key_of_life(int fd, const struct statx *status, char *text, size_t size)
{
    int generation = 0;
    if ((status->stx_mask & STATX_BTIME) != 0)
        (void)snprintf(text, size, "%lld.%09u", (long long)status->stx_btime.tv_sec,
                       status->stx_btime.tv_nsec);
    else if (ioctl(fd, FS_IOC_GETVERSION, &generation) == 0)
        (void)snprintf(text, size, "g%u", (unsigned int)generation);
    else
        return false;
    return true;
}

/* A file system's ioctls want more than O_PATH. -1: `fd` will do, or nothing can be done. */
static int key_open(int fd)
{
    char path[64];
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_PATH) == 0)
        return -1;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void key_of_file(int looked, struct backend_key *ret_key)
{
    struct statx status;
    char filesystem[80];
    char life[64] = "";
    CLEANUP_CLOSE int opened = key_open(looked);
    int fd = opened >= 0 ? opened : looked;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO | STATX_BTIME, &status) < 0)
        return;
    if (!key_of_filesystem(fd, filesystem, sizeof(filesystem)))
        (void)snprintf(filesystem, sizeof(filesystem), "dev%u:%u", status.stx_dev_major,
                       status.stx_dev_minor);
    if (!key_of_life(fd, &status, life, sizeof(life)) && !key_of_boot(life, sizeof(life)))
        return;
    (void)snprintf(ret_key->text, sizeof(ret_key->text), "file-%s-%llu-%s", filesystem,
                   (unsigned long long)status.stx_ino, life);
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
    char boot[64] = "";
    if (!key_of_boot(boot, sizeof(boot)) ||
        sysfs_read_attribute(disk, "diskseq", sequence, sizeof(sequence)) < 0)
        return false;
    (void)snprintf(text, size, "diskseq-%s-%s", sequence, boot);
    return true;
}

/* A partition that is made anew has the old one's number, and hardly ever its place. */
static bool key_of_partition(dev_t partition, char *text, size_t size)
{
    char number[12];
    char start[24];
    char sectors[24];
    if (sysfs_read_attribute(partition, "partition", number, sizeof(number)) < 0 ||
        sysfs_read_attribute(partition, "start", start, sizeof(start)) < 0 ||
        sysfs_read_attribute(partition, "size", sectors, sizeof(sectors)) < 0)
        return false;
    (void)snprintf(text, size, ":p%s-%s-%s", number, start, sectors);
    return true;
}

static void key_of_device(dev_t device, struct backend_key *ret_key)
{
    char partition[64] = "";
    char disk_key[BACKEND_KEY_MAX - sizeof(partition)];
    dev_t disk = device;
    if (sysfs_find_disk(device, &disk) && !key_of_partition(device, partition, sizeof(partition)))
        return;
    if (!key_of_serial(disk, disk_key, sizeof(disk_key)) &&
        !key_of_sequence(disk, disk_key, sizeof(disk_key)))
        return;
    (void)snprintf(ret_key->text, sizeof(ret_key->text), "%s%s", disk_key, partition);
}

void outside_key(int fd, const struct device_identity *identity, struct backend_key *ret_key)
{
    ret_key->text[0] = '\0';
    if (identity->kind == DEVICE_BLOCK)
        key_of_device(identity->dev, ret_key);
    else
        key_of_file(fd, ret_key);
}

/* ---- places ---- */

/* The file that a loop device is attached to, else the device itself: it is attached to another
 * number the next time. */
static void place_key(dev_t device, struct backend_key *ret_key)
{
    char path[PATH_BYTES_MAX];
    ret_key->text[0] = '\0';
    if (sysfs_read_attribute(device, "loop/backing_file", path, sizeof(path)) == 0) {
        CLEANUP_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);
        struct stat status;
        if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
            key_of_file(fd, ret_key);
            return;
        }
    }
    key_of_device(device, ret_key);
}

void outside_place(const struct device_identity *identity, struct backend_place *ret_place)
{
    struct backend_key key;
    ret_place->text[0] = '\0';
    if (identity->kind != DEVICE_FILE)
        return;
    place_key(identity->dev, &key);
    if (key.text[0] != '\0')
        (void)snprintf(ret_place->text, sizeof(ret_place->text), "%u:%u %s", major(identity->dev),
                       minor(identity->dev), key.text);
}

/* "diskseq-NUMBER-BOOT...": of two boots, such keys cannot be compared. */
static bool place_boots_differ(const char *one, const char *other)
{
    static const char prefix[] = "diskseq-";
    if (strncmp(one, prefix, strlen(prefix)) != 0 || strncmp(other, prefix, strlen(prefix)) != 0)
        return false;
    const char *boot = strchr(one + strlen(prefix), '-');
    const char *other_boot = strchr(other + strlen(prefix), '-');
    enum { BOOT_ID_LENGTH = 36 };
    return boot == NULL || other_boot == NULL ||
           strncmp(boot + 1, other_boot + 1, BOOT_ID_LENGTH) != 0;
}

bool outside_places_differ(const char *one, const char *other)
{
    one = strchr(one, ' ');
    other = strchr(other, ' ');
    return one != NULL && other != NULL && strcmp(one, other) != 0 &&
           !place_boots_differ(one + 1, other + 1);
}

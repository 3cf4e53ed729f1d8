/* SPDX-License-Identifier: MIT */
/* See sysfs.h. Everything of a device is found below /sys/dev/block/MAJOR:MINOR. */
#include "daemon/storage/outside/sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "daemon/storage/outside/places.h"

static int sysfs_read(const char *path, char *text, size_t size)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
    if (length < 0)
        return -1;
    if (length > 0 && text[length - 1] == '\n')
        length--;
    text[length] = '\0';
    return 0;
}

static void sysfs_path(dev_t device, const char *name, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/dev/block/%u:%u/%s", outside_sys, major(device), minor(device),
                   name);
}

int sysfs_read_attribute(dev_t device, const char *name, char *text, size_t size)
{
    char path[PATH_BYTES_MAX];
    sysfs_path(device, name, path, sizeof(path));
    return sysfs_read(path, text, size);
}

void sysfs_name_device(dev_t device, char *text, size_t size)
{
    char event[1024] = "";
    (void)sysfs_read_attribute(device, "uevent", event, sizeof(event));
    const char *name = strstr(event, "DEVNAME=");
    if (name == NULL) {
        (void)snprintf(text, size, "block device %u:%u", major(device), minor(device));
        return;
    }
    name += strlen("DEVNAME=");
    (void)snprintf(text, size, "/dev/%.*s", (int)strcspn(name, "\n"), name);
}

static bool sysfs_parse_device(const char *text, dev_t *ret_device)
{
    unsigned int major_number = 0;
    unsigned int minor_number = 0;
    char end = '\0';
    if (sscanf(text, "%u:%u%c", &major_number, &minor_number, &end) != 2) /* NOLINT(cert-err34-c) */
        return false;
    *ret_device = makedev(major_number, minor_number);
    return true;
}

static bool sysfs_read_device(const char *path, dev_t *ret_device)
{
    char text[32];
    return sysfs_read(path, text, sizeof(text)) == 0 && sysfs_parse_device(text, ret_device);
}

/* Each entry of a directory that is a block device; `needs` is an attribute that it must have. */
static void sysfs_each(const char *path, const char *needs,
                       void (*found)(void *context, dev_t device), void *context)
{
    CLEANUP_CLOSEDIR DIR *directory = opendir(path);
    if (directory == NULL)
        return;
    for (const struct dirent *entry = readdir(directory); entry != NULL;
         entry = readdir(directory)) {
        char name[PATH_BYTES_MAX];
        struct stat status;
        dev_t device = 0;
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof(name), "%s/%s", entry->d_name, needs);
        if (fstatat(dirfd(directory), name, &status, 0) < 0)
            continue;
        (void)snprintf(name, sizeof(name), "%s/%s/dev", path, entry->d_name);
        if (sysfs_read_device(name, &device))
            found(context, device);
    }
}

void sysfs_each_device(dev_t device, const char *directory,
                       void (*found)(void *context, dev_t device), void *context)
{
    char path[PATH_BYTES_MAX];
    sysfs_path(device, directory == NULL ? "" : directory, path, sizeof(path));
    sysfs_each(path, directory == NULL ? "partition" : "dev", found, context);
}

void sysfs_each_loop(void (*found)(void *context, dev_t device), void *context)
{
    char path[PATH_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s/block", outside_sys);
    sysfs_each(path, "loop/backing_file", found, context);
}

static bool sysfs_is_partition(dev_t device)
{
    char text[16];
    return sysfs_read_attribute(device, "partition", text, sizeof(text)) == 0;
}

bool sysfs_find_disk(dev_t device, dev_t *ret_disk)
{
    char text[32];
    return sysfs_is_partition(device) &&
           sysfs_read_attribute(device, "../dev", text, sizeof(text)) == 0 &&
           sysfs_parse_device(text, ret_disk);
}

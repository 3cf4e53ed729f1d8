/* SPDX-License-Identifier: MIT */
/*
 * A file system of one disk image that knows what a power cut would leave of it: crashfs MOUNTPOINT
 * SIZE, in the foreground, as root.
 *
 *   disk      the image. What is written is in a volatile cache until an fsync succeeds; one that
 *             fails loses it, as Linux does: the old bytes are there again, and the next fsync
 *             succeeds.
 *   stable    read it: what a power cut would leave now.
 *   control   write a word: `hold` (fsyncs wait), `release` (those that wait go on), `fail ERRNO`
 *             (those that are released, and later ones, fail), `fail 0`.
 *   status    read it: "fsyncs N waiting N writes N".
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROWTH = 4, CONTROL_MAX = 64, STATUS_MAX = 128 };

enum file { FILE_DISK, FILE_STABLE, FILE_CONTROL, FILE_STATUS, FILES };

static const char *const names[FILES] = {"disk", "stable", "control", "status"};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t released;
    char *bytes;
    char *stable;
    size_t size, stable_size, capacity;
    bool hold;
    int error;
    unsigned int fsyncs, waiting, writes;
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER, .released = PTHREAD_COND_INITIALIZER};

static enum file find(const char *path)
{
    enum file file = FILE_DISK;
    while (file < FILES && strcmp(path + 1, names[file]) != 0)
        file++;
    return file;
}

static int on_getattr(const char *path, struct stat *ret_status, struct fuse_file_info *info)
{
    (void)info;
    enum file file = find(path);
    *ret_status = (struct stat){.st_mode = S_IFDIR | 0755, .st_nlink = 2};
    if (strcmp(path, "/") == 0)
        return 0;
    if (file == FILES)
        return -ENOENT;
    pthread_mutex_lock(&disk.mutex);
    *ret_status = (struct stat){.st_mode = S_IFREG | 0600,
                                .st_nlink = 1,
                                .st_ino = (ino_t)file + 2,
                                .st_size = file == FILE_DISK ? (off_t)disk.size : 0};
    pthread_mutex_unlock(&disk.mutex);
    return 0;
}

static int on_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset,
                      struct fuse_file_info *info, enum fuse_readdir_flags flags)
{
    (void)path;
    (void)offset;
    (void)info;
    (void)flags;
    for (enum file file = FILE_DISK; file < FILES; file++)
        (void)fill(buffer, names[file], NULL, 0, 0);
    return 0;
}

static int on_open(const char *path, struct fuse_file_info *info)
{
    info->fh = find(path);
    info->direct_io = info->fh != FILE_DISK;
    return 0;
}

static int copy_out(const char *from, size_t size, char *buffer, size_t length, off_t offset)
{
    if (offset < 0 || (size_t)offset >= size)
        return 0;
    if (length > size - (size_t)offset)
        length = size - (size_t)offset;
    memcpy(buffer, from + offset, length);
    return (int)length;
}

static int on_read(const char *path, char *buffer, size_t length, off_t offset,
                   struct fuse_file_info *info)
{
    (void)path;
    char status[STATUS_MAX];
    int count = 0;
    pthread_mutex_lock(&disk.mutex);
    if (info->fh == FILE_DISK) {
        count = copy_out(disk.bytes, disk.size, buffer, length, offset);
    } else if (info->fh == FILE_STABLE) {
        count = copy_out(disk.stable, disk.stable_size, buffer, length, offset);
    } else if (info->fh == FILE_STATUS) {
        int size = snprintf(status, sizeof(status), "fsyncs %u waiting %u writes %u\n", disk.fsyncs,
                            disk.waiting, disk.writes);
        count = copy_out(status, (size_t)size, buffer, length, offset);
    }
    pthread_mutex_unlock(&disk.mutex);
    return count;
}

static int control(const char *text)
{
    int error = 0;
    if (strcmp(text, "hold") == 0)
        disk.hold = true;
    else if (strcmp(text, "release") == 0)
        disk.hold = false;
    else if (sscanf(text, "fail %d", &error) == 1)
        disk.error = error;
    else
        return -EINVAL;
    pthread_cond_broadcast(&disk.released);
    return 0;
}

static int on_write(const char *path, const char *buffer, size_t length, off_t offset,
                    struct fuse_file_info *info)
{
    (void)path;
    char text[CONTROL_MAX] = "";
    int result = (int)length;
    pthread_mutex_lock(&disk.mutex);
    if (info->fh == FILE_CONTROL) {
        memcpy(text, buffer, length < sizeof(text) ? length : sizeof(text) - 1);
        int error = control(text);
        result = error < 0 ? error : result;
    } else if (info->fh != FILE_DISK || offset < 0 || (size_t)offset + length > disk.capacity) {
        result = -ENOSPC;
    } else {
        memcpy(disk.bytes + offset, buffer, length);
        disk.writes++;
        if ((size_t)offset + length > disk.size)
            disk.size = (size_t)offset + length;
    }
    pthread_mutex_unlock(&disk.mutex);
    return result;
}

/* What had been written when it began is covered: a later write may be, or not, so it is not. */
static int on_fsync(const char *path, int data_only, struct fuse_file_info *info)
{
    (void)path;
    (void)data_only;
    (void)info;
    char *covered = malloc(disk.capacity);
    if (covered == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&disk.mutex);
    memcpy(covered, disk.bytes, disk.capacity);
    size_t size = disk.size;
    disk.fsyncs++;
    disk.waiting++;
    while (disk.hold)
        pthread_cond_wait(&disk.released, &disk.mutex);
    disk.waiting--;
    int error = disk.error;
    if (error == 0) {
        memcpy(disk.stable, covered, disk.capacity);
        disk.stable_size = size;
    } else {
        memcpy(disk.bytes, disk.stable, disk.capacity);
    }
    pthread_mutex_unlock(&disk.mutex);
    free(covered);
    return -error;
}

static int on_fallocate(const char *path, int mode, off_t offset, off_t length,
                        struct fuse_file_info *info)
{
    (void)path;
    (void)info;
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&disk.mutex);
    size_t end =
        (size_t)offset + (size_t)length < disk.size ? (size_t)offset + (size_t)length : disk.size;
    if (end > (size_t)offset)
        memset(disk.bytes + offset, 0, end - (size_t)offset);
    disk.writes++;
    pthread_mutex_unlock(&disk.mutex);
    return 0;
}

static int on_truncate(const char *path, off_t size, struct fuse_file_info *info)
{
    (void)info;
    if (find(path) != FILE_DISK)
        return 0; /* O_TRUNC of `control` */
    if ((size_t)size > disk.capacity)
        return -EFBIG;
    pthread_mutex_lock(&disk.mutex);
    if ((size_t)size < disk.size)
        memset(disk.bytes + size, 0, disk.size - (size_t)size);
    disk.size = (size_t)size;
    pthread_mutex_unlock(&disk.mutex);
    return 0;
}

static int on_statfs(const char *path, struct statvfs *ret_status)
{
    (void)path;
    *ret_status = (struct statvfs){.f_bsize = 4096};
    return 0;
}

static int on_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *info)
{
    (void)path;
    (void)times;
    (void)info;
    return 0;
}

/* The image stays the same device whatever is done to it. */
static void *on_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    config->use_ino = 1;
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct fuse_operations operations = {
        .init = on_init,
        .getattr = on_getattr,
        .readdir = on_readdir,
        .open = on_open,
        .read = on_read,
        .write = on_write,
        .fsync = on_fsync,
        .fallocate = on_fallocate,
        .truncate = on_truncate,
        .statfs = on_statfs,
        .utimens = on_utimens,
    };
    char options[] = "fsname=crashfs,attr_timeout=0,max_threads=8";
    char *arguments[] = {argv[0], (char[]){"-f"}, (char[]){"-o"}, options, argv[1]};
    if (argc != 3) {
        (void)fprintf(stderr, "usage: crashfs MOUNTPOINT SIZE\n");
        return 2;
    }
    disk.size = disk.stable_size = strtoull(argv[2], NULL, 0);
    disk.capacity = disk.size * GROWTH;
    disk.bytes = calloc(1, disk.capacity);
    disk.stable = calloc(1, disk.capacity);
    if (disk.bytes == NULL || disk.stable == NULL)
        return 1;
    return fuse_main(5, arguments, &operations, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * The kernel is asked, the device's name is never looked at: what a descriptor is open on can be
 * renamed, be a link, or come from another mount namespace.
 */
#include "common/devprobe.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"

int devprobe_size(int fd, uint64_t *ret_size_bytes)
{
    struct stat status;
    uint64_t size_bytes;

    if (fstat(fd, &status) < 0)
        return -errno;
    if (S_ISREG(status.st_mode)) {
        *ret_size_bytes = (uint64_t)status.st_size;
        return 0;
    }
    if (!S_ISBLK(status.st_mode))
        return -ENOTBLK;
    if (ioctl(fd, BLKGETSIZE64, &size_bytes) < 0)
        return -errno;
    *ret_size_bytes = size_bytes;
    return 0;
}

int devprobe_logical_block(int fd, uint32_t *ret_bytes)
{
    int bytes;

    if (ioctl(fd, BLKSSZGET, &bytes) < 0)
        return -errno;
    if (bytes <= 0)
        return -EIO;
    *ret_bytes = (uint32_t)bytes;
    return 0;
}

int devprobe_read_only(int fd, bool *ret_read_only)
{
    int read_only;

    if (ioctl(fd, BLKROGET, &read_only) < 0)
        return -errno;
    *ret_read_only = read_only != 0;
    return 0;
}

/* ---- direct I/O ---- */

/* The logical block size of a disk or partition, by its device number. 0: not told. */
static uint32_t sysfs_logical_block(uint32_t major_number, uint32_t minor_number)
{
    /* A partition's directory lies in its disk's, and only that has a queue. */
    static const char *const files[] = {"queue/logical_block_size", "../queue/logical_block_size"};
    char path[96];
    uint32_t bytes = 0;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major_number, minor_number,
                       files[i]);
        CLEANUP_FCLOSE FILE *file = fopen(path, "re");
        if (file && fscanf(file, "%u", &bytes) == 1 && bytes > 0)
            return bytes;
    }
    return 0;
}

static uint32_t page_size(void)
{
    return (uint32_t)sysconf(_SC_PAGESIZE);
}

/* What is safe to assume when STATX_DIOALIGN is not answered. */
static uint32_t guess_granule(int fd, const struct statx *status)
{
    uint32_t bytes = 0;

    if (S_ISBLK(status->stx_mode)) {
        if (devprobe_logical_block(fd, &bytes) < 0)
            bytes = 0;
    } else {
        bytes = sysfs_logical_block(status->stx_dev_major, status->stx_dev_minor);
    }
    return bytes ? bytes : page_size();
}

/*
 * The kernel's answer, but never less than the granule: zram says 512 where its sector is a page,
 * and then a direct read to memory that is not on a page's border overwrites the whole of both
 * pages that it touches (seen on Linux 6.18).
 */
static uint32_t memory_alignment(const struct statx *status)
{
    if (status->stx_dio_mem_align < status->stx_dio_offset_align)
        return status->stx_dio_offset_align;
    return status->stx_dio_mem_align;
}

int devprobe_direct(int fd, struct devprobe_direct *ret_direct)
{
    struct statx status;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_DIOALIGN, &status) < 0)
        return -errno;
    if (!S_ISREG(status.stx_mode) && !S_ISBLK(status.stx_mode))
        return -ENOTBLK;
    if (status.stx_mask & STATX_DIOALIGN) {
        if (status.stx_dio_offset_align == 0)
            return -EOPNOTSUPP;
        *ret_direct = (struct devprobe_direct){
            .offset_align_bytes = status.stx_dio_offset_align,
            .memory_align_bytes = memory_alignment(&status),
        };
        return 0;
    }
    const uint32_t granule = guess_granule(fd, &status);
    *ret_direct = (struct devprobe_direct){granule, granule};
    return 0;
}

/* ---- file systems ---- */

/* One line of mountinfo (proc(5)): `36 35 98:0 /root /mount rw,noatime master:1 - ext4 /dev/sda
 * rw`. */
struct mount_line {
    int mount_id;
    unsigned int major_number;
    unsigned int minor_number;
    const char *type; /* in the line, NUL-terminated */
};

static bool parse_mount_line(char *line, struct mount_line *ret_mount)
{
    struct mount_line mount;
    char *separator = strstr(line, " - "); /* blanks in names are written \040 */

    if (!separator)
        return false;
    if (sscanf(line, "%d %*d %u:%u", &mount.mount_id, &mount.major_number, &mount.minor_number) !=
        3)
        return false;
    char *type = separator + strlen(" - ");
    type[strcspn(type, " \n")] = '\0';
    mount.type = type;
    *ret_mount = mount;
    return true;
}

/* What is looked for: a mount by its number, or any mount of a device. */
struct mount_wanted {
    int mount_id; /* -1: by device */
    unsigned int major_number;
    unsigned int minor_number;
};

static bool is_wanted(const struct mount_line *mount, const struct mount_wanted *wanted)
{
    if (wanted->mount_id >= 0)
        return mount->mount_id == wanted->mount_id;
    return mount->major_number == wanted->major_number &&
           mount->minor_number == wanted->minor_number;
}

static int find_mount(const char *mountinfo, const struct mount_wanted *wanted, char *ret_type,
                      size_t size)
{
    CLEANUP_FCLOSE FILE *file = fopen(mountinfo, "re");
    CLEANUP_FREE char *line = NULL;
    size_t line_size = 0;
    struct mount_line mount;

    if (!file)
        return -errno;
    while (getline(&line, &line_size, file) >= 0) {
        if (!parse_mount_line(line, &mount) || !is_wanted(&mount, wanted))
            continue;
        if (strlen(mount.type) >= size)
            return -ENAMETOOLONG;
        strcpy(ret_type, mount.type);
        return 0;
    }
    return ferror(file) ? -EIO : -ENOENT;
}

/* -ENOENT if fdinfo does not tell. */
static int mount_id_of(int fd, int *ret_mount_id)
{
    char path[48];
    CLEANUP_FREE char *line = NULL;
    size_t line_size = 0;

    (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT ? -EBADF : -errno;
    while (getline(&line, &line_size, file) >= 0) {
        if (sscanf(line, "mnt_id: %d", ret_mount_id) == 1)
            return 0;
    }
    return -ENOENT;
}

int devprobe_filesystem_there(int fd, pid_t pid, char *ret_type, size_t size)
{
    struct mount_wanted wanted = {.mount_id = -1};
    char mountinfo[48];
    int r = mount_id_of(fd, &wanted.mount_id);

    (void)snprintf(mountinfo, sizeof(mountinfo), "/proc/%d/mountinfo", (int)pid);
    return r < 0 ? r : find_mount(mountinfo, &wanted, ret_type, size);
}

int devprobe_filesystem(int fd, char *ret_type, size_t size)
{
    struct mount_wanted wanted = {.mount_id = -1};
    struct statx status;
    int r;

    r = mount_id_of(fd, &wanted.mount_id);
    if (r == 0)
        r = find_mount("/proc/self/mountinfo", &wanted, ret_type, size);
    if (r != -ENOENT)
        return r;

    /* The descriptor may come from another mount namespace: its file system can be mounted here
     * too. */
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) < 0)
        return -errno;
    wanted = (struct mount_wanted){-1, status.stx_dev_major, status.stx_dev_minor};
    return find_mount("/proc/self/mountinfo", &wanted, ret_type, size);
}

bool devprobe_filesystem_is_remote(const char *type)
{
    static const char *const patterns[] = {
        "fuse",     "fuse.*", "fuseblk", "fuseblk.*", "virtiofs",  "nfs",   "nfs4",
        "cifs",     "smb3",   "smbfs",   "9p",        "ceph",      "afs",   "coda",
        "orangefs", "pvfs2",  "lustre",  "gpfs",      "beegfs",    "gfs2",  "ocfs2",
        "autofs",   "vboxsf", "prl_fs",  "vmhgfs*",   "glusterfs", "ncpfs",
    };

    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        if (fnmatch(patterns[i], type, 0) == 0)
            return true;
    }
    return false;
}

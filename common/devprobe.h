/* SPDX-License-Identifier: MIT */
/*
 * What a descriptor of a file or block device can tell about itself. Every function here can block
 * as long as the device or its file system does: in the daemon, only the helper pool calls them,
 * except where it is said otherwise.
 */
#ifndef BLKD_COMMON_DEVPROBE_H
#define BLKD_COMMON_DEVPROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The size in bytes: BLKGETSIZE64 of a block device (ioctl_list(2)), st_size of a regular file.
 * Returns 0, -ENOTBLK for anything else, or the error of fstat or ioctl. */
int devprobe_size(int fd, uint64_t *ret_size_bytes);

/* A block device's logical block size (BLKSSZGET). 0 or a negative errno. */
int devprobe_logical_block(int fd, uint32_t *ret_bytes);

/* Whether the device says that it is read-only (BLKROGET). 0 or a negative errno. */
int devprobe_read_only(int fd, bool *ret_read_only);

struct devprobe_direct {
    uint32_t offset_align_bytes; /* of offsets and lengths */
    uint32_t memory_align_bytes; /* of buffers; at least as much */
};

/*
 * The granule of direct I/O on this file or device: statx(2)'s STATX_DIOALIGN where the kernel and
 * the file system answer it, else BLKSSZGET for a block device, else the logical block size of the
 * disk below the file system (from /sys/dev/block), else the page size, which is enough for every
 * disk. Returns 0, -EOPNOTSUPP if the file says that it cannot do direct I/O, -ENOTBLK if it is
 * neither a file nor a block device, or a negative errno.
 */
int devprobe_direct(int fd, struct devprobe_direct *ret_direct);

/*
 * The type of the file system that `fd` is on, as /proc/self/mountinfo spells it ("ext4",
 * "fuse.nbdfuse"). Does not touch the file system itself and so cannot hang: the mount is found by
 * the mount number of /proc/self/fdinfo, or by the device number of statx with AT_STATX_DONT_SYNC.
 * Returns 0, -ENOENT if no mount of that file system is seen from here, -ENAMETOOLONG if `size` is
 * too small, or a negative errno.
 */
int devprobe_filesystem(int fd, char *ret_type, size_t size);

/* The same by the mounts that another process sees: of a descriptor that comes from there. By the
 * mount's number only. */
int devprobe_filesystem_there(int fd, pid_t pid, char *ret_type, size_t size);

/* Whether a file system of this type asks another program or machine for its data, so that any call
 * on it can hang (fuse*, nfs*, cifs, smb3, 9p, ceph, afs, …). */
bool devprobe_filesystem_is_remote(const char *type);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * One table, in the order of the wire's numbers; both directions read it. Linux's errno numbers
 * differ between architectures, the wire's do not.
 */
#include "common/status.h"

#include <errno.h>
#include <stddef.h>

#define ROW(name) [BLKD__STATUS__STATUS_##name] = {name, #name}

static const struct {
    int number;
    const char *name;
} errnos[] = {
    [BLKD__STATUS__STATUS_OK] = {0, "OK"},
    ROW(EIO),
    ROW(EINVAL),
    ROW(ENOENT),
    ROW(EACCES),
    ROW(EPERM),
    ROW(EBUSY),
    ROW(EROFS),
    ROW(ENOSPC),
    ROW(EBADF),
    ROW(EOPNOTSUPP),
    ROW(ENOTBLK),
    ROW(EDQUOT),
    ROW(EPROTO),
    ROW(EMSGSIZE),
    ROW(EBADMSG),
    ROW(E2BIG),
    ROW(ETIMEDOUT),
    ROW(ESTALE),
    ROW(EDEADLK),
    ROW(EFAULT),
    ROW(ENOTCONN),
    ROW(ESHUTDOWN),
    ROW(ENOMEM),
    ROW(ENODEV),
    ROW(ENXIO),
    ROW(ENOTDIR),
    ROW(ELOOP),
    ROW(ENAMETOOLONG),
    ROW(EFBIG),
    ROW(ENFILE),
    ROW(EMFILE),
    ROW(ENOLCK),
    ROW(ECANCELED),
    ROW(ENOMEDIUM),
    ROW(EISDIR),
    ROW(EEXIST),
    ROW(EOVERFLOW),
    ROW(EAGAIN),
    ROW(EREMOTEIO),
    ROW(ETXTBSY),
    ROW(EDOM),
    ROW(EALREADY),
    ROW(EOWNERDEAD),
};

enum { STATUSES = sizeof(errnos) / sizeof(errnos[0]) };

_Static_assert((int)STATUSES == (int)BLKD__STATUS__STATUS_EOWNERDEAD + 1,
               "a row for each status of blkd.proto");

Blkd__Status status_from_errno(int error)
{
    /* Success is what is asked for most; and row 0 must match nothing else. */
    if (error == 0)
        return BLKD__STATUS__STATUS_OK;
    for (int status = 1; status < STATUSES; status++) {
        if (errnos[status].number == -error)
            return (Blkd__Status)status;
    }
    return BLKD__STATUS__STATUS_EIO;
}

int status_to_errno(Blkd__Status status)
{
    const unsigned int index = (unsigned int)status;

    return index < STATUSES ? -errnos[index].number : -EIO;
}

const char *status_name(int error)
{
    return errnos[status_from_errno(error)].name;
}

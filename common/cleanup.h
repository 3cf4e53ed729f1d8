/* SPDX-License-Identifier: MIT */
/*
 * Scope-bound cleanup: a local variable that owns something gives it back when it goes out of
 * scope. `TAKE_PTR` and `TAKE_FD` hand the ownership on.
 */
#ifndef BLKD_COMMON_CLEANUP_H
#define BLKD_COMMON_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

/* Closes *fd unless it is negative. For descriptors whose close cannot block for long. */
static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void cleanup_free(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}

/* Of what was only read: nothing is lost that a failure could tell of. */
static inline void cleanup_fclose(FILE **file)
{
    if (*file != NULL)
        (void)fclose(*file);
}

static inline void cleanup_closedir(DIR **directory)
{
    if (*directory != NULL)
        (void)closedir(*directory);
}

#define CLEANUP_FREE CLEANUP(cleanup_free)
#define CLEANUP_CLOSE CLEANUP(cleanup_close)
#define CLEANUP_FCLOSE CLEANUP(cleanup_fclose)
#define CLEANUP_CLOSEDIR CLEANUP(cleanup_closedir)

#define TAKE_PTR(pointer)                                                                          \
    ({                                                                                             \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })

#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int taken_ = (fd);                                                                         \
        (fd) = -1;                                                                                 \
        taken_;                                                                                    \
    })

#endif

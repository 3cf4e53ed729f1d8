/* SPDX-License-Identifier: MIT */
/*
 * Descriptors 0, 1 and 2 may be closed when a program starts. The next ones that it makes would
 * take their numbers, and what the program prints would go into a socket or a disk.
 */
#ifndef BLKD_COMMON_STANDARD_H
#define BLKD_COMMON_STANDARD_H

enum { STANDARD_COUNT = 3 };

/* For a program, before it opens anything: those that are closed become /dev/null. 0 or a negative
 * errno. */
int standard_occupy(void);

/* For a library, whose program may have them closed: the same open file under a number above 2,
 * with FD_CLOEXEC. The old number is closed if it was one of the three. -1 with errno (EMFILE):
 * `fd` is closed. -1 stays -1 and leaves errno alone. */
int standard_lift(int fd);

/* For what must not have such a number for a moment either, because another thread could print into
 * it: between begin and end, what is opened gets a number above 2. */
struct standard_hold {
    int fds[STANDARD_COUNT];
    int count;
};

void standard_hold_begin(struct standard_hold *hold);
void standard_hold_end(const struct standard_hold *hold); /* leaves errno alone */

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Messages of clients, on stderr. What goes wrong with one of them goes wrong with hundreds, each a
 * thread or a process: the first few say what it was, the others are counted.
 */
#ifndef BLKD_BENCH_COMPLAINT_H
#define BLKD_BENCH_COMPLAINT_H

/* Before there are threads or further processes. 0 or a negative errno. */
int complaint_init(void);

/* As warnx(3). Each message is one write, so that those of several clients do not mix. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says how many were left out, if any. */
void complaint_end(void);

#endif

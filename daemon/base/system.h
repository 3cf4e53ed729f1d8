/* SPDX-License-Identifier: MIT */
/* What a sandbox (a seccomp filter) may refuse to this process although the kernel has it. */
#ifndef BLKD_DAEMON_BASE_SYSTEM_H
#define BLKD_DAEMON_BASE_SYSTEM_H

/* 0, or the negative errno with which pwritev2(2) is refused, whatever is asked of it. */
int system_check_pwritev2(void);

#endif

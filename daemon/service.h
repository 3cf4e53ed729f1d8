/* SPDX-License-Identifier: MIT */
/*
 * The daemon as a systemd service: readiness and status (sd_notify(3)), and a socket that systemd
 * has opened (sd_listen_fds(3)). Without systemd these do nothing.
 */
#ifndef BLKD_DAEMON_SERVICE_H
#define BLKD_DAEMON_SERVICE_H

/* The listening socket that systemd passed, -ENOENT if it passed none, or -EINVAL if what it passed
 * is not one listening Unix stream socket. */
int service_socket(void);

void service_ready(const char *status);
void service_stopping(void);

#endif

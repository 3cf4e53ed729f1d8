/* SPDX-License-Identifier: MIT */
/* Requests that have ended are kept for the next ones; on their worker. */
#ifndef BLKD_DAEMON_LINK_SPARE_H
#define BLKD_DAEMON_LINK_SPARE_H

struct request;
struct worker_memory;

/* A request, zeroed but for its work (request.h). NULL: no memory. */
struct request *spare_get(struct worker_memory *memory);
void spare_put(struct worker_memory *memory, struct request *request);
/* Frees those that are kept. */
void spare_deinit(struct worker_memory *memory);

#endif

/* SPDX-License-Identifier: MIT */
/* Requests that have ended are kept for the next ones; on their worker. */
#ifndef BLKD_DAEMON_LINK_REQUEST_POOL_H
#define BLKD_DAEMON_LINK_REQUEST_POOL_H

struct request;
struct worker_memory;

/* A request, zeroed but for its work (request.h). NULL: no memory. */
struct request *request_pool_get(struct worker_memory *memory);
void request_pool_put(struct worker_memory *memory, struct request *request);
/* Frees those that are kept. */
void request_pool_deinit(struct worker_memory *memory);

#endif

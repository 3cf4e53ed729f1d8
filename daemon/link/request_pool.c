/* SPDX-License-Identifier: MIT */
#include "daemon/link/request_pool.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/link/request.h"
#include "daemon/link/worker.h"

struct request *request_pool_get(struct worker_memory *memory)
{
    struct request *request = STAILQ_FIRST(&memory->spare_requests);
    if (request == NULL)
        return calloc(1, sizeof(*request));
    STAILQ_REMOVE_HEAD(&memory->spare_requests, spare_link);
    memory->spare_count--;
    (void)memset(request, 0, offsetof(struct request, work));
    return request;
}

void request_pool_put(struct worker_memory *memory, struct request *request)
{
    if (memory->spare_count >= WORKER_SPARE_REQUESTS) {
        free(request);
        return;
    }
    STAILQ_INSERT_HEAD(&memory->spare_requests, request, spare_link);
    memory->spare_count++;
}

void request_pool_deinit(struct worker_memory *memory)
{
    while (!STAILQ_EMPTY(&memory->spare_requests)) {
        struct request *request = STAILQ_FIRST(&memory->spare_requests);
        STAILQ_REMOVE_HEAD(&memory->spare_requests, spare_link);
        free(request);
    }
}

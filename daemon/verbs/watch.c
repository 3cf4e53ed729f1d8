/* SPDX-License-Identifier: MIT */
/* Watch: the connection is told of what happens in the daemon, or not any more (watch.h). */
#include <errno.h>

#include "common/limits.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/verbs/verbs.h"

int watch_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.flags = message->watch->stop ? 1 : 0;
    return 0;
}

void watch_run(struct request *request)
{
    struct conn *conn = request->conn;
    struct watch_hub *hub = &conn->worker->server->watch;
    int error = 0;
    if (request->asked.flags != 0)
        watch_stop(hub, conn);
    else
        error = watch_start(hub, conn);
    if (error == -EDQUOT)
        request_fail(request, error,
                     "watch: the limit is reached: uid %u already watches on %d connections; stop "
                     "one of them first",
                     (unsigned int)conn->peer.uid, (int)WATCHERS_PER_UID_MAX);
    else
        request_finish(request, error);
}

/* SPDX-License-Identifier: MIT */
/* Running callbacks, and waiting for some to run. */
#include <errno.h>

#include "client/lib/base/clock.h"
#include "client/lib/base/error.h"
#include "client/lib/core/connection.h"
#include "client/lib/core/dispatch.h"
#include "client/lib/core/traffic.h"
#include "client/lib/core/verb.h"
#include "client/lib/core/wait.h"

/* Until there are callbacks to run or there is no more to wait for. A look at the socket is taken
 * in any case, if the last is not just over, so that a program that submits in every callback also
 * receives. */
static void dispatch_wait(struct blkd *connection, uint64_t deadline_ns)
{
    int r = 0;

    if (!connection->lead.reading) {
        rings_wake(&connection->rings);
        traffic_advance(connection);
    }
    if (dispatch_pending(connection)) {
        if (!connection->lead.reading && !connection_lost(connection) &&
            wait_socket_due(connection))
            (void)wait_step(connection, NULL, LEAD_TO_DISPATCH, 0);
        return;
    }
    while (r == 0 && !connection_lost(connection) && !dispatch_pending(connection))
        r = wait_step(connection, NULL, LEAD_TO_DISPATCH, deadline_ns);
}

int blkd_dispatch(struct blkd *connection, int timeout_ms)
{
    int r = verb_check(connection, CALL_WAITS);
    int count;

    if (r < 0)
        return r;
    pthread_mutex_lock(&connection->mutex);
    traffic_push(connection);
    dispatch_wait(connection, clock_deadline_ns(timeout_ms));
    lead_hand_over(&connection->lead);
    count = dispatch_run(connection);
    traffic_push(connection);
    wait_leave(connection);
    if (count == 0 && connection_lost(connection) && !dispatch_pending(connection))
        r = error_report(-ENOTCONN, "not connected to blkd any more: %s",
                         connection->calls.lost_reason);
    pthread_mutex_unlock(&connection->mutex);
    return r < 0 ? r : count;
}

/* SPDX-License-Identifier: MIT */
/* See traffic.h. */
#include "client/lib/core/traffic.h"

#include "client/lib/core/connection.h"

/* Only the thread that reads may lose the connection, if there is one. */
static void traffic_break(struct blkd *connection)
{
    if (connection->lead.reading)
        lead_kick(&connection->lead);
    else
        rings_reap(&connection->rings);
}

static void traffic_push_socket(struct blkd *connection)
{
    const struct sender *sender = &connection->sender;

    sender_push(&connection->sender);
    if (readiness_set_sending(&connection->readiness, connection->socket, sender->blocked) &&
        connection->lead.reading)
        lead_kick(&connection->lead);
}

void traffic_push(struct blkd *connection)
{
    if (rings_push(&connection->rings) < 0)
        traffic_break(connection);
    traffic_push_socket(connection);
}

void traffic_advance(struct blkd *connection)
{
    rings_reap(&connection->rings);
    if (!connection_lost(connection) && call_table_waits(&connection->calls))
        traffic_push(connection);
}

void traffic_rest(struct blkd *connection)
{
    const struct rings_memory *memory = &connection->rings.memory;

    if (!rings_ready(&connection->rings) || connection->lead.reading)
        return;
    while (memory->in_flight > 0 && !memory->asleep && !connection_lost(connection)) {
        if (rings_sleep(&connection->rings))
            return;
        traffic_advance(connection);
    }
}

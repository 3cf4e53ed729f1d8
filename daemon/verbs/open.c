/* SPDX-License-Identifier: MIT */
/* Open and Close: a session begins and ends. How an open goes on is in opening.c. */
#include "common/cleanup.h"
#include "daemon/link/conn.h"
#include "daemon/link/request.h"
#include "daemon/link/sessions.h"
#include "daemon/verbs/opening.h"
#include "daemon/verbs/verbs.h"

int open_prepare(struct request *request, const Blkd__Request *message)
{
    struct opening *opening = NULL;
    int error = opening_new(request, message->open, &opening);
    request->extra = opening;
    request->free_extra = opening_free_extra;
    return error;
}

void open_run(struct request *request)
{
    struct opening *opening = request->extra;
    opening->on_claimed = opening_make_session;
    opening_start(opening);
}

int close_prepare(struct request *request, const Blkd__Request *message)
{
    request->asked.session = message->close->session;
    return 0;
}

/* The session outlives its last other request; the close itself is not one of them. */
void close_run(struct request *request)
{
    struct session *session = TAKE_PTR(request->session);
    sessions_close(session, request);
    session_drop(session);
}

/* SPDX-License-Identifier: MIT */
/*
 * An open on its way from request to session:
 *
 *   opening_start -> (helper) backend_posix_open -> claim the device -> session -> lock
 *
 * The connection stays until it has ended. A failure at any step takes back the steps before it.
 */
#ifndef BLKD_DAEMON_VERBS_OPENING_H
#define BLKD_DAEMON_VERBS_OPENING_H

#include "daemon/device/registry.h"
#include "daemon/device/session.h"
#include "daemon/storage/backend.h"
#include "proto/blkd.pb-c.h"

struct request;

struct opening {
    struct request *request;
    struct worker *worker;
    struct claim claim;
    struct session_config config;
    char *path; /* never NULL, may be empty for a passed descriptor */
    size_t path_bytes;
    bool descriptor;
    int fd; /* the peer's, or -1 */

    /* From the helper. */
    struct helper_job job;
    struct backend *backend; /* until a device has it, or it is disposed of */
    struct backend_info info;
    bool verified; /* the path leads to it */
    int result;
    char message[BACKEND_MESSAGE_MAX];

    struct device *device; /* claimed */
    struct session *session;
    char purpose[PURPOSE_MAX + 1];

    /* Set before opening_start: what to do with the claimed device. The opening ends by it. */
    void (*on_claimed)(struct opening *opening);
};

/* Copies what is asked; 0 or a negative errno. */
int opening_new(struct request *request, const Blkd__Open *message, struct opening **ret_opening);
/* Takes NULL; returns NULL. */
struct opening *opening_free(struct opening *opening);
/* The same, of a request's extra. */
void opening_free_extra(void *opening);

/* opening_check.c: 0, or the negative errno that it is refused with; *ret_reason is static memory.
 */
int opening_check(const struct opening *opening, const char **ret_reason);

/* opening_session.c, to be on_claimed: makes a session of the device, or fails. */
void opening_make_session(struct opening *opening);

/* Ends the request, now or later. */
void opening_start(struct opening *opening);

/* The same of a device that the daemon has open, whatever its path leads to by now. */
void opening_start_number(struct opening *opening, uint64_t number);

/* Ends an opening that on_claimed has taken over: what it holds is given back, the request is left
 * to the caller to answer. */
void opening_end(struct opening *opening);

/* ---- for opening*.c only ---- */

/* What the opening is called in messages and lists. */
const char *opening_name(const struct opening *opening);

/* Ends the opening: what it still holds is given back, the request is answered. */
void opening_fail(struct opening *opening, int error, const char *reason);

/* The backend is not needed: it is closed. */
void opening_dispose_backend(struct opening *opening);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * An open on its way from request to session:
 *
 *   opening_start -> (helper) backend_posix_open -> claim the device -> lock -> session
 *
 * The connection stays until it has ended. A failure at any step takes back the steps before it.
 */
#ifndef BLKD_DAEMON_VERBS_OPENING_H
#define BLKD_DAEMON_VERBS_OPENING_H

#include "daemon/device/device.h"
#include "daemon/device/session.h"
#include "daemon/storage/backend.h"
#include "proto/blkd.pb-c.h"

struct request;

struct opening {
    struct request *request;
    struct worker *worker;
    struct session_config config;
    char *path; /* never NULL, may be empty for a passed descriptor */
    size_t path_bytes;
    bool descriptor;
    int fd; /* the peer's, or -1 */

    /* From the helper. */
    struct helper_job job;
    struct backend *backend; /* until a device has it, or it is disposed of */
    struct backend_info info;
    uint64_t resized; /* registry_resized before it looked */
    int result;
    char message[BACKEND_MESSAGE_MAX];

    struct device *device; /* claimed */
    struct session *session;
    STAILQ_ENTRY(opening) reopen_link;
    struct letter letter;
    char purpose[PURPOSE_MAX + 1];

    /* Instead of a session: what to do with the claimed device (handle_recover.c); the opening ends
     * by it. */
    void (*on_claimed)(struct opening *opening);
    uint64_t recover_device; /* only if the device has this number; 0: any */
};

/* Copies what is asked; 0 or a negative errno. */
int opening_new(struct request *request, const Blkd__Open *message, struct opening **ret_opening);
/* Takes NULL; returns NULL. */
struct opening *opening_free(struct opening *opening);

/* opening_check.c: 0, or the negative errno that it is refused with; *ret_reason is static memory.
 */
int opening_check(const struct opening *opening, const char **ret_reason);

/* Ends the request, now or later. */
void opening_start(struct opening *opening);

/* Ends an opening that on_claimed has taken over: what it holds is given back, the request is left
 * to the caller to answer. */
void opening_end(struct opening *opening);

/* From the registry: the device that it waited for is closed. */
void opening_retry(struct opening *opening);

#endif

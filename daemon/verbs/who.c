/* SPDX-License-Identifier: MIT */
/*
 * Who has a file or block device (contract L4): the world outside is looked at on a helper thread,
 * where that may block, then the sessions of the device, and of what shares bytes with it, on the
 * worker. Nothing is opened but by O_PATH: to ask changes nothing, and wakes no tape.
 *
 * The answer has room for so many (page.c): sessions with locks come first, then the outside
 * world, then sessions that just have it open.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/container.h"
#include "common/limits.h"
#include "daemon/device/session.h"
#include "daemon/link/access.h"
#include "daemon/link/conn.h"
#include "daemon/link/disposal.h"
#include "daemon/link/request.h"
#include "daemon/storage/outside/outside.h"
#include "daemon/verbs/page.h"
#include "daemon/verbs/verbs.h"

struct who {
    struct request *request;
    bool descriptor;
    int fd; /* the peer's, or -1 */

    /* From the helper. */
    struct helper_job job;
    struct device_identity identities[1 + BACKEND_RELATED_MAX]; /* its own, and what shares bytes */
    size_t identity_count;
    struct outside_holders outside;
    bool marked; /* it failed in an earlier life of the daemon */
    int result;
    char message[BACKEND_MESSAGE_MAX];

    size_t path_bytes;
    char path[];
};

int who_prepare(struct request *request, const Blkd__Request *message)
{
    const Blkd__Who *asked = message->who;
    struct who *who = calloc(1, sizeof(*who) + asked->path.len + 1);
    if (who == NULL)
        return -ENOMEM;
    who->request = request;
    who->descriptor = asked->descriptor != 0;
    who->fd = -1;
    who->path_bytes = asked->path.len;
    if (asked->path.len > 0)
        (void)memcpy(who->path, asked->path.data, asked->path.len);
    request->extra = who;
    conn_charge(request->conn, request, sizeof(*who) + asked->path.len + 1);
    return 0;
}

/* ---- the helper's part ---- */

static int who_say(struct who *who, int error, const char *what)
{
    (void)snprintf(who->message, sizeof(who->message), "%s: %s", what, strerror(-error));
    return error;
}

/* A descriptor that is good for nothing but looking at it. */
static int who_locate(struct who *who)
{
    char reason[ACCESS_MESSAGE_MAX];
    const struct peer *peer = &who->request->conn->peer;
    int error = who->descriptor ? access_check_question(who->fd, peer, reason)
                                : access_check_view(peer, reason);
    if (error < 0) {
        (void)snprintf(who->message, sizeof(who->message), "%s", reason);
        return error;
    }
    int fd =
        who->descriptor ? fcntl(who->fd, F_DUPFD_CLOEXEC, 3) : open(who->path, O_PATH | O_CLOEXEC);
    return fd < 0 ? who_say(who, -errno, "cannot open it") : fd;
}

static int who_identify(struct who *who, int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return who_say(who, -errno, "cannot examine it (fstat)");
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
        (void)snprintf(who->message, sizeof(who->message),
                       "neither a regular file nor a block device");
        return -ENOTBLK;
    }
    who->identities[0] = S_ISBLK(status.st_mode)
                             ? (struct device_identity){.kind = DEVICE_BLOCK, .dev = status.st_rdev}
                             : (struct device_identity){.kind = DEVICE_FILE,
                                                        .dev = status.st_dev,
                                                        .inode = status.st_ino};
    return 0;
}

static int who_look(struct who *who)
{
    struct backend_key named;
    struct state_key key;
    struct state_failure failure;
    CLEANUP_CLOSE int fd = who_locate(who);
    if (fd < 0)
        return fd;
    int error = who_identify(who, fd);
    if (error < 0)
        return error;
    outside_key(fd, &who->identities[0], &named);
    device_state_key(&named, &key);
    who->marked = state_find_failure(who->request->conn->worker->server->state, &key, &failure);
    error = outside_find_related(&who->identities[0], &who->identities[1], &who->identity_count);
    who->identity_count++;
    if (error == 0)
        error = outside_find_holders(&who->identities[0], &who->outside);
    return error < 0 ? who_say(who, error, "cannot find out who uses it") : 0;
}

static void on_who_run(struct helper_job *job)
{
    struct who *who = CONTAINER_OF(job, struct who, job);
    who->result = who_look(who);
}

/* ---- the answer ---- */

struct who_text {
    char command[PEER_COMMAND_MAX];
    char purpose[PURPOSE_MAX + 1];
};

struct who_answer {
    struct page page;
    const struct peer *viewer;
    Blkd__WhoReply body;
    Blkd__Holder entries[PAGE_ENTRIES_MAX];
    struct who_text texts[PAGE_ENTRIES_MAX];
    Blkd__Holder *pointers[PAGE_ENTRIES_MAX];
};

static Blkd__Holder *who_add(struct who_answer *answer, const char *detail, size_t *ret_index)
{
    if (!page_take(&answer->page, detail, ret_index))
        return NULL;
    Blkd__Holder *holder = &answer->entries[*ret_index];
    blkd__holder__init(holder);
    holder->detail = page_path(&answer->page, *ret_index);
    answer->pointers[*ret_index] = holder;
    return holder;
}

static void who_add_outside(struct who_answer *answer, const struct outside_holder *from)
{
    size_t i = 0;
    Blkd__Holder *holder = who_add(answer, from->detail, &i);
    if (holder == NULL)
        return;
    holder->kind = (Blkd__HolderKind)from->kind;
    holder->exclusive = from->exclusive;
    holder->pid = (uint32_t)from->pid;
    holder->uid = from->uid;
    (void)snprintf(answer->texts[i].command, sizeof(answer->texts[i].command), "%s", from->command);
    holder->command = answer->texts[i].command;
    holder->via = from->via;
    holder->waiting = from->waits;
}

/* The session's strongest lock, or else the one that it has waited for longest; NULL: neither. With
 * the lock domain's mutex held. */
static const struct session_lock *who_lock(const struct session *session)
{
    const struct lock *best = NULL;
    const struct lock *lock = NULL;
    TAILQ_FOREACH (lock, &session->lock.locks, owner_link) {
        bool counts = lock->held != LOCK_NONE || lock->phase != LOCK_SETTLED;
        if (counts && (best == NULL || lock->held > best->held))
            best = lock;
    }
    return best == NULL ? NULL : CONTAINER_OF_CONST(best, struct session_lock, lock);
}

static void who_fill_lock(const struct session_lock *held, bool tells, Blkd__Holder *holder,
                          struct who_text *text)
{
    const struct lock *lock = &held->lock;
    holder->waiting = lock->held == LOCK_NONE;
    holder->lock = (Blkd__LockMode)(holder->waiting ? lock->wanted : lock->held);
    holder->exclusive = holder->lock == BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE;
    holder->since_unix_ms = held->since_unix_ms;
    if (tells)
        (void)memcpy(text->purpose, held->purpose, sizeof(text->purpose));
}

/* With the lock domain's mutex held. */
static void who_add_session(struct who_answer *answer, const struct session *session, bool via)
{
    size_t i = 0;
    const struct session_lock *held = who_lock(session);
    bool tells = page_tells(session, answer->viewer);
    Blkd__Holder *holder = who_add(answer, tells ? session->path : "", &i);
    if (holder == NULL)
        return;
    struct who_text *text = &answer->texts[i];
    (void)memcpy(text->command, session->client.peer.command, sizeof(text->command));
    if (tells)
        (void)memcpy(text->purpose, session->purpose, sizeof(text->purpose));
    holder->kind = BLKD__HOLDER_KIND__HOLDER_KIND_SESSION;
    holder->session = session->number;
    holder->pid = (uint32_t)session->client.peer.pid;
    holder->uid = session->client.peer.uid;
    holder->command = text->command;
    holder->purpose = text->purpose;
    holder->via = via;
    holder->read_write = session->read_write;
    holder->since_unix_ms = session->opened_unix_ms;
    if (held != NULL)
        who_fill_lock(held, tells, holder, text);
}

/* Those with locks, or those without, of the device and what shares bytes with it. With the
 * mutexes of the registry and the lock domain held. */
static void who_add_sessions(struct who_answer *answer, const struct who *who,
                             struct registry *registry, bool with_locks)
{
    for (size_t i = 0; i < who->identity_count; i++) {
        const struct session *session = NULL;
        struct device *device = registry_look_up(registry, &who->identities[i]);
        if (device == NULL)
            continue;
        pthread_mutex_lock(&device->mutex);
        TAILQ_FOREACH (session, &device->sessions, device_link) {
            if ((who_lock(session) != NULL) == with_locks)
                who_add_session(answer, session, i > 0);
        }
        pthread_mutex_unlock(&device->mutex);
    }
}

/* With the registry's mutex held. */
static void who_fill_device(struct who_answer *answer, const struct who *who,
                            struct registry *registry)
{
    struct device *device = registry_look_up(registry, &who->identities[0]);
    answer->body.failed = who->marked;
    answer->body.safe = !who->marked;
    if (device == NULL)
        return;
    pthread_mutex_lock(&device->mutex);
    answer->body.device = device->number;
    answer->body.failed = device->sync.ledger.failed != 0;
    answer->body.safe = device->sync.ledger.failed == 0 && !sync_unsynced(&device->sync.ledger);
    pthread_mutex_unlock(&device->mutex);
}

static void who_collect(struct who_answer *answer, const struct who *who, struct registry *registry)
{
    pthread_mutex_lock(&registry->mutex);
    pthread_mutex_lock(&registry->commons.locks.mutex);
    who_fill_device(answer, who, registry);
    who_add_sessions(answer, who, registry, true);
    for (size_t i = 0; i < who->outside.count; i++)
        who_add_outside(answer, &who->outside.list[i]);
    who_add_sessions(answer, who, registry, false);
    pthread_mutex_unlock(&registry->commons.locks.mutex);
    pthread_mutex_unlock(&registry->mutex);
}

static void who_reply(struct who *who)
{
    struct request *request = who->request;
    Blkd__Reply reply = BLKD__REPLY__INIT;
    struct who_answer *answer = calloc(1, sizeof(*answer));
    if (answer == NULL) {
        outside_holders_free(&who->outside);
        request_finish(request, -ENOMEM);
        return;
    }
    blkd__who_reply__init(&answer->body);
    answer->viewer = &request->conn->peer;
    who_collect(answer, who, &request->conn->worker->server->registry);
    answer->body.n_holders = answer->page.count;
    answer->body.holders = answer->pointers;
    answer->body.more = answer->page.more || who->outside.more;
    reply.body_case = BLKD__REPLY__BODY_WHO;
    reply.who = &answer->body;
    outside_holders_free(&who->outside);
    request_reply(request, &reply);
    page_deinit(&answer->page);
    free(answer);
}

static void who_dispose(struct who *who)
{
    struct conn *conn = who->request->conn;
    if (who->fd >= 0)
        disposal_descriptor(conn->worker, conn->user, TAKE_FD(who->fd));
}

static void on_who_done(struct helper_job *job)
{
    struct who *who = CONTAINER_OF(job, struct who, job);
    who_dispose(who);
    if (who->result < 0)
        request_fail(who->request, who->result, "who of %s: %s",
                     *who->path != '\0' ? who->path : "(passed descriptor)", who->message);
    else
        who_reply(who);
}

/* ---- the beginning ---- */

/* As opening_check has it: before anything is touched. */
static int who_check(const struct who *who, const char **ret_reason)
{
    *ret_reason = "the path is not absolute, contains a NUL byte, or is longer than 4095 bytes";
    if (who->path_bytes >= PATH_BYTES_MAX || memchr(who->path, '\0', who->path_bytes) != NULL)
        return -EINVAL;
    if (who->descriptor) {
        *ret_reason = "the request came without a descriptor";
        return who->fd < 0 ? -EINVAL : 0;
    }
    if (*who->path != '/')
        return -EINVAL;
    *ret_reason = "the daemon looks up paths only for root: open the file and pass the descriptor "
                  "(libblkd does this)";
    return access_is_trusted(&who->request->conn->peer) ? 0 : -EACCES;
}

void who_run(struct request *request)
{
    struct who *who = request->extra;
    struct conn *conn = request->conn;
    const char *reason = NULL;
    if (who->descriptor)
        who->fd = conn_take_descriptor(conn);
    int error = who_check(who, &reason);
    if (error < 0) {
        who_dispose(who);
        request_fail(request, error, "who: %s", reason);
        return;
    }
    who->job = (struct helper_job){.run = on_who_run, .on_done = on_who_done};
    who->job.shares[0] = &conn->helper_share;
    who->job.shares[1] = &conn->user->helper_share;
    loop_submit(&conn->worker->io.base, &who->job);
}

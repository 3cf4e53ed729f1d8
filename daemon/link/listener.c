/* SPDX-License-Identifier: MIT */
#include "daemon/link/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/status.h"
#include "daemon/base/log.h"
#include "daemon/link/conn.h"
#include "daemon/link/disposal.h"

enum {
    LISTENER_BACKLOG = 4096,
    LISTENER_BACK_OFF_MIN_MS = 50,
    LISTENER_BACK_OFF_MAX_MS = 1000,
    LISTENER_TURN = 256, /* then signals and timers get theirs */
    LISTENER_SEND_BUFFER = 512 * 1024,
};

static int listener_say(char message[LISTENER_MESSAGE_MAX], int error, const char *what,
                        const char *path)
{
    (void)snprintf(message, LISTENER_MESSAGE_MAX, "%s %s: %s", what, path, strerror(-error));
    return error;
}

/* The lock is on a file of its own because a socket cannot be locked, and the socket's name comes
 * and goes. */
static int listener_lock(const char *path, char message[LISTENER_MESSAGE_MAX])
{
    char lock_path[LISTENER_PATH_MAX + 8];
    (void)snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
    CLEANUP_CLOSE int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return listener_say(message, -errno, "cannot open the lock file", lock_path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int error = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
        (void)snprintf(message, LISTENER_MESSAGE_MAX,
                       "another daemon is already serving %s (it has locked %s): stop it, or use "
                       "another socket (--socket)",
                       path, lock_path);
        return error;
    }
    return TAKE_FD(fd);
}

/* A socket that answers belongs to a program that does not know of the lock file. */
static int listener_check_stale(const struct sockaddr_un *address,
                                char message[LISTENER_MESSAGE_MAX])
{
    struct stat status;
    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode)) {
        (void)snprintf(message, LISTENER_MESSAGE_MAX,
                       "%s exists but is not a socket: remove it, or use another path (--socket)",
                       address->sun_path);
        return -EEXIST;
    }
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
        errno == ECONNREFUSED)
        return unlink(address->sun_path) < 0 ? -errno : 0;
    (void)snprintf(message, LISTENER_MESSAGE_MAX,
                   "another program is listening on %s: stop it, or use another socket (--socket)",
                   address->sun_path);
    return -EADDRINUSE;
}

static int listener_bind(const char *path, char message[LISTENER_MESSAGE_MAX])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int error = listener_check_stale(&address, message);
    if (error < 0)
        return error;
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return listener_say(message, -errno, "cannot create a socket for", path);
    /* Nobody but the daemon's own user until an administrator says so. */
    mode_t saved = umask(0177);
    int bound = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    (void)umask(saved);
    if (bound < 0)
        return listener_say(message, bound, "cannot bind", path);
    if (listen(fd, LISTENER_BACKLOG) < 0)
        return listener_say(message, -errno, "cannot listen on", path);
    return TAKE_FD(fd);
}

int listener_open(struct listener *listener, const char *path, int passed_fd,
                  char message[LISTENER_MESSAGE_MAX])
{
    *listener = (struct listener){.fd = -1, .lock_fd = -1};
    if (passed_fd >= 0) {
        (void)fcntl(passed_fd, F_SETFL, fcntl(passed_fd, F_GETFL) | O_NONBLOCK);
        listener->fd = passed_fd;
        return 0;
    }
    listener->lock_fd = listener_lock(path, message);
    if (listener->lock_fd < 0)
        return listener->lock_fd;
    listener->fd = listener_bind(path, message);
    if (listener->fd < 0)
        return listener->fd;
    (void)snprintf(listener->path, sizeof(listener->path), "%s", path);
    return 0;
}

/* ---- accepting ---- */

/* Refused before it has a connection: the reason is sent if the socket takes it, which a new one
 * does. */
static void listener_refuse(struct listener *listener, int fd, const struct peer *peer, int error,
                            const char *reason)
{
    struct log_line line;
    log_begin(&line, LOG_LEVEL_WARNING, "connection-refused");
    peer_log(peer, &line);
    log_errno(&line, error);
    log_text(&line, "reason", reason);
    log_end(&line);

    Blkd__Reply reply = BLKD__REPLY__INIT;
    reply.status = status_from_errno(error);
    reply.message = (char *)(uintptr_t)reason;
    struct outgoing *outgoing = outgoing_new(&reply);
    if (outgoing != NULL) {
        (void)send(fd, outgoing->head, outgoing->head_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        outgoing->release(outgoing);
    }
    disposal_socket(listener->server, peer->uid, fd);
}

static int listener_admit(struct server *server, struct user *user, const char **ret_reason)
{
    if (user == NULL) {
        *ret_reason = "out of memory";
        return -ENOMEM;
    }
    if (atomic_load(&server->connections) >= server->limits.connections) {
        *ret_reason = "the limit on connections is reached ([limits] connections in blkd.conf)";
        return -EDQUOT;
    }
    if (disposal_is_crowded(user)) {
        *ret_reason = "too many files of this user wait to be closed, and do not";
        return -EDQUOT;
    }
    *ret_reason =
        "this user's limit on connections is reached ([limits] connections-per-uid in blkd.conf)";
    return user_add_connection(&server->users, user, server->limits.connections_per_uid);
}

static void listener_take(struct listener *listener, int fd)
{
    struct server *server = listener->server;
    struct peer peer = {.command = "?"};
    struct conn *conn = NULL;
    const char *reason = NULL;
    int size = LISTENER_SEND_BUFFER;
    int on = 1;

    /* Or else the kernel closes descriptors beside out-of-band bytes when it skips those. */
    (void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
    int error = peer_get(fd, &peer);
    if (error < 0) {
        listener_refuse(listener, fd, &peer, error, "cannot get the credentials of the client");
        return;
    }
    /* As root beyond wmem_max (socket(7)): a large read's reply leaves in fewer pieces. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));

    struct user *user = user_ref(&server->users, peer.uid);
    error = listener_admit(server, user, &reason);
    if (error == 0) {
        struct worker *worker = &server->workers[listener->next_worker];
        error = conn_new(worker, user, &peer, fd, &conn);
        if (error < 0) {
            user_remove_connection(&server->users, user);
            reason = "out of memory";
        }
    }
    if (error < 0) {
        (void)user_unref(&server->users, user);
        listener_refuse(listener, fd, &peer, error, reason);
        return;
    }
    listener->next_worker = (listener->next_worker + 1) % server->worker_count;
    atomic_fetch_add(&server->connections, 1);
    conn_start(conn);
}

/* Out of descriptors or memory: nothing is accepted for a while, because the socket would stay
 * readable. */
static void listener_back_off(struct listener *listener, int error)
{
    if (listener->back_off_ms == 0) {
        listener->back_off_ms = LISTENER_BACK_OFF_MIN_MS;
        log_message(LOG_LEVEL_ERROR, "accept-failed",
                    "cannot accept connections: %s; new clients have to wait, connected ones are "
                    "still served",
                    strerror(-error));
    } else if (listener->back_off_ms < LISTENER_BACK_OFF_MAX_MS) {
        listener->back_off_ms *= 2;
    }
    struct timeval delay = {.tv_usec = (suseconds_t)listener->back_off_ms * 1000};
    if (delay.tv_usec >= 1000000)
        delay = (struct timeval){.tv_sec = delay.tv_usec / 1000000};
    (void)event_del(listener->accept_event);
    (void)event_add(listener->retry_event, &delay);
}

static void on_listener_retry(evutil_socket_t fd, short what, void *user_data)
{
    struct listener *listener = user_data;
    (void)fd;
    (void)what;
    (void)event_add(listener->accept_event, NULL);
}

static bool listener_is_peers_fault(int error)
{
    return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM;
}

static void on_listener_accept(evutil_socket_t fd, short what, void *user_data)
{
    struct listener *listener = user_data;
    (void)what;
    for (unsigned int i = 0; i < LISTENER_TURN; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client >= 0) {
            listener->back_off_ms = 0;
            listener_take(listener, client);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (listener_is_peers_fault(errno))
            continue;
        listener_back_off(listener, -errno);
        return;
    }
}

int listener_start(struct listener *listener, struct server *server, struct event_base *base)
{
    listener->server = server;
    listener->accept_event =
        event_new(base, listener->fd, EV_READ | EV_PERSIST, on_listener_accept, listener);
    listener->retry_event = event_new(base, -1, 0, on_listener_retry, listener);
    if (listener->accept_event == NULL || listener->retry_event == NULL ||
        event_add(listener->accept_event, NULL) < 0)
        return -ENOMEM;
    return 0;
}

void listener_stop(struct listener *listener)
{
    (void)event_del(listener->accept_event);
    (void)event_del(listener->retry_event);
}

void listener_close(struct listener *listener)
{
    if (listener->accept_event != NULL)
        event_free(listener->accept_event);
    if (listener->retry_event != NULL)
        event_free(listener->retry_event);
    listener->accept_event = NULL;
    listener->retry_event = NULL;
    /* While the lock is still held: a successor's socket is not removed. */
    if (listener->path[0] != '\0' && listener->fd >= 0)
        (void)unlink(listener->path);
    if (listener->fd >= 0)
        (void)close(TAKE_FD(listener->fd));
    if (listener->lock_fd >= 0)
        (void)close(TAKE_FD(listener->lock_fd));
}

/* SPDX-License-Identifier: MIT */
/*
 * A session's locks on their way from request to release. lock/lock.h decides who gets what; this
 * is what happens around it:
 *
 *   session_lock_ask -> (waits its turn) -> reserved -> the outside world is kept out
 * (guard.h)
 *     -> a fencing token, if exclusive -> held -> others' I/O in flight ends
 *     -> the caches of those that share its bytes are refreshed, if exclusive -> on_done
 *
 * While the outside world stands in the way, a request that may wait stays reserved and looks again
 * from time to time. Everything of a session lock belongs to its session's loop; only what
 * lock/lock.h keeps in it is touched by others, under the mutexes that lock.h names.
 */
#ifndef BLKD_DAEMON_DEVICE_SESSION_LOCK_H
#define BLKD_DAEMON_DEVICE_SESSION_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/limits.h"
#include "daemon/base/loop.h"
#include "daemon/device/guard.h"
#include "daemon/device/refresh.h"
#include "daemon/lock/lock.h"

struct device;
struct session;

enum session_lock_state {
    SESSION_LOCK_IDLE,    /* held, or nothing */
    SESSION_LOCK_QUEUED,  /* for other sessions */
    SESSION_LOCK_GUARD,   /* the guard is being changed */
    SESSION_LOCK_OUTSIDE, /* for the outside world: looks again when the timer fires */
    SESSION_LOCK_TOKEN,   /* a block of tokens is being reserved */
    SESSION_LOCK_DRAIN,   /* held; others' I/O ends */
    SESSION_LOCK_REFRESH, /* held; reads become what was written through related devices */
    SESSION_LOCK_UNDO,    /* refused; the guard is being put back */
    SESSION_LOCK_WEAKEN,  /* is made shared */
};

enum { SESSION_LOCK_WAIT_FOREVER = -1, SESSION_LOCK_MESSAGE_MAX = 640 };

struct lock_drains;

struct session_lock {
    struct lock lock;
    struct session *session;
    uint64_t number;               /* of its first request; constant */
    uint64_t since_unix_ms;        /* when it was granted, or asked for; under the device's mutex */
    uint64_t token;                /* under the device's mutex */
    char purpose[PURPOSE_MAX + 1]; /* constant while a request is under way or the lock held */
    uint64_t doomed; /* under the domain's mutex: by which break it is taken away, when the I/O in
                        flight has ended; 0: by none */
    atomic_bool outside;            /* for lists: it waits for a program outside */
    TAILQ_ENTRY(session_lock) link; /* the session's */

    /* The request that is under way. */
    enum session_lock_state state;
    void (*on_done)(struct session_lock *held, int result);
    void *user_data;
    enum lock_mode asked;
    bool counted;    /* its owner has been told of it (on_locks_changed) */
    uint64_t losses; /* the session's when it was asked for */
    bool waited;     /* it was not granted at once */
    bool may_wait;
    bool abandoned; /* the session is closing: take it back at the next step */
    int result;
    unsigned int retry_ms;
    struct loop_timer deadline; /* not set: no limit */
    struct loop_timer retry;
    struct letter letter; /* it was reserved */
    struct guard_wait guard;
    struct helper_job token_job;
    struct lock_drains *drains; /* while in SESSION_LOCK_DRAIN */
    struct refresh refresh;
    enum lock_mode before;                  /* what was held when it was asked for */
    char message[SESSION_LOCK_MESSAGE_MAX]; /* why it was refused */
    enum refusal refusal;
};

TAILQ_HEAD(session_lock_list, session_lock);

struct session_lock_ask {
    enum lock_mode mode; /* not LOCK_NONE */
    struct lock_range range;
    bool isolates;
    int wait_ms;         /* 0: refuse at once; SESSION_LOCK_WAIT_FOREVER */
    const char *purpose; /* copied; NULL or empty: the session's */
    void (*on_done)(struct session_lock *held, int result);
    void *user_data; /* held->user_data */
};

/*
 * The session asks for a lock, or for another mode of one that it holds on exactly this range.
 * `on_done` follows, perhaps before this returns: 0, with the lock held in the mode; or -EBUSY,
 * -ETIMEDOUT, -EDEADLK, -ECANCELED (the session closes), -ESTALE (broken meanwhile), -EDQUOT,
 * -ENOMEM, -EIO (no fencing token can be made durable), or what the kernel refused the guard with,
 * with the reason in held->message. After a refusal a lock that was not held before is freed when
 * on_done returns. -EALREADY, without on_done: a request for this very range is under way.
 */
int session_lock_ask(struct session *session, const struct session_lock_ask *ask);

/* Takes back what the session asks for and does not have yet; each such request is told -ECANCELED,
 * now or later. */
void session_lock_cancel_all(struct session *session);

/* Whether session_unlock would do it now: 0, or what it returns. */
int session_unlock_check(struct session *session, struct lock_range range, const char **ret_reason);

/*
 * Lets go of the locks that lie in the range (no request on them may be under way, no I/O that
 * relies on them in flight), hands them on, and settles the guard; `wait` is told then. Takes
 * notice of lost locks. Returns 0; -EINVAL (one lies partly in it) or -EALREADY (a request is under
 * way), with the reason, static memory, and nothing changed.
 */
int session_unlock(struct session *session, struct lock_range range, struct guard_wait *wait,
                   const char **ret_reason);

/*
 * The session's exclusive lock of exactly this range, on which no request is under way, taken for
 * being made shared: none begins until session_lock_release_use, and it is not freed. NULL: there
 * is none.
 */
struct session_lock *session_lock_take_use(struct session *session, struct lock_range range);
void session_lock_release_use(struct session_lock *held);

/* Makes it shared; as session_unlock. */
void session_lock_weaken(struct session_lock *held, struct guard_wait *wait);

/* Frees what others have taken away (broken or lost locks); on the session's loop. */
void session_lock_sweep(struct session *session);

/* Whether the session holds a lock or asks for one. */
bool session_has_locks(const struct session *session);

/* The strongest mode that the session holds of any range. Takes the device's mutex. */
enum lock_mode session_lock_strongest(struct session *session);

/* Whether the session holds one exclusive lock on all of the range. With the device's mutex, on the
 * session's loop. */
bool session_lock_covers(const struct session *session, struct lock_range range);

/* What is held now. Takes the device's mutex. */
enum lock_mode session_lock_mode(const struct session_lock *held);

/* For session_lock_*.c, under the device's mutex: the session takes notice of what it lost, if all
 * that lay in this range and it is not being broken just now. */
void session_lock_forgive(struct session *session, struct lock_range range);

/* With the domain's mutex held: requests that a call of lock.h has reserved go on, on their
 * loops. */
void session_lock_wake(struct lock_list *reserved);

/*
 * Takes locks away from their sessions, whatever those do meanwhile: those that this break has
 * doomed, or with 0 all that are held. The sessions are told `event` (of enum session_event), and
 * their changes fail with -ESTALE. Returns how many locks. Without the domain's mutex.
 */
unsigned int session_locks_revoke(struct device *device, uint64_t doomed, unsigned int event);

/* A break begins: from now on the changes of sessions that hold locks are refused, of one (its
 * number) or of all (0), and those locks are doomed by the break *ret_break, unless another has
 * doomed them already. Returns how many are. With what relations_enter takes. */
unsigned int session_locks_doom(struct device *device, uint64_t number, uint64_t *ret_break);

/* "session 7 (pid 123, uid 0, qemu) holds the exclusive lock since 12:03:04: nightly backup". With
 * the mutexes of lock_may_*. */
void session_lock_describe(const struct lock *lock, char *text, size_t size);

#endif

/* SPDX-License-Identifier: MIT */
/* See thread.h. The mask is set before the thread begins, so no signal can find it unprepared. */
#include "daemon/base/thread.h"

#include <signal.h>

int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *), void *user_data)
{
    sigset_t blocked;
    sigset_t saved;
    (void)sigfillset(&blocked);
    (void)sigdelset(&blocked, SIGBUS);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, &saved);
    int error = pthread_create(ret_thread, NULL, run, user_data);
    (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
    if (error == 0)
        (void)pthread_setname_np(*ret_thread, name);
    return -error;
}

/* SPDX-License-Identifier: MIT */
#include "daemon/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

/* SIGPIPE: a client that is gone is found by EPIPE. SIGXFSZ: a write beyond RLIMIT_FSIZE fails with
 * EFBIG. SIGQUIT and what tells of a bug stay: who sends them wants a core dump. */
static const int harmless[] = {SIGPIPE,   SIGXFSZ, SIGUSR1, SIGUSR2,   SIGALRM,
                               SIGVTALRM, SIGPROF, SIGPOLL, SIGSTKFLT, SIGPWR};

static void ignore_default(int number)
{
    struct sigaction action;

    if (sigaction(number, NULL, &action) < 0 || action.sa_handler != SIG_DFL)
        return;
    action = (struct sigaction){.sa_handler = SIG_IGN};
    (void)sigaction(number, &action, NULL);
}

void signals_ignore_harmless(void)
{
    for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
        ignore_default(harmless[i]);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        ignore_default(number);
}

bool signals_is_ignored(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

bool signals_have_terminal(void)
{
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

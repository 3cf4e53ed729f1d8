/* SPDX-License-Identifier: MIT */
/* See lead.h. */
#include "client/lib/core/lead.h"

#include <sys/eventfd.h>

void lead_init(struct lead *lead, uint64_t spin_max_ns)
{
    lead->reading = false;
    lead->kick_fd = -1;
    TAILQ_INIT(&lead->waiters);
    spin_init(&lead->polling.spin, spin_max_ns);
    lead->polling.looked_ns = 0;
}

void lead_kick(struct lead *lead)
{
    (void)eventfd_write(lead->kick_fd, 1);
}

void lead_hand_over(struct lead *lead)
{
    struct waiter *first = TAILQ_FIRST(&lead->waiters);

    if (!lead->reading && first != NULL)
        pthread_cond_signal(&first->wake);
}

void lead_wake_dispatchers(struct lead *lead)
{
    struct waiter *waiter;

    TAILQ_FOREACH (waiter, &lead->waiters, link)
        if (waiter->dispatches)
            pthread_cond_signal(&waiter->wake);
    if (lead->reading && lead->role == LEAD_TO_DISPATCH)
        lead_kick(lead);
}

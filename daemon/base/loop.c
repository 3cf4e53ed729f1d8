/* SPDX-License-Identifier: MIT */
#include "daemon/base/loop.h"

#include <errno.h>
#include <event2/event.h>

int loop_init(struct loop *loop, struct helper_pool *helpers)
{
    *loop = (struct loop){.helpers = helpers};
    int error = mailbox_init(&loop->mailbox);
    if (error < 0)
        return error;
    loop->events = event_base_new();
    if (loop->events != NULL)
        return 0;
    mailbox_deinit(&loop->mailbox);
    return -ENOMEM;
}

/* Another thread may have posted a letter about something that has ended here meanwhile; the letter
 * is all that is left of it. */
void loop_deinit(struct loop *loop)
{
    event_base_free(loop->events);
    (void)mailbox_drain(&loop->mailbox);
    mailbox_deinit(&loop->mailbox);
}

void loop_submit(struct loop *loop, struct helper_job *job)
{
    job->reply_to = &loop->mailbox;
    helper_submit(loop->helpers, job);
}

static void on_loop_time(evutil_socket_t fd, short what, void *user_data)
{
    struct loop_timer *timer = user_data;
    (void)fd;
    (void)what;
    timer->on_time(timer);
}

int loop_timer_set(struct loop_timer *timer, struct loop *loop, unsigned int delay_ms)
{
    const struct timeval delay = {.tv_sec = (time_t)(delay_ms / 1000),
                                  .tv_usec = (suseconds_t)(delay_ms % 1000 * 1000)};
    if (timer->event == NULL)
        timer->event = evtimer_new(loop->events, on_loop_time, timer);
    return timer->event == NULL || event_add(timer->event, &delay) < 0 ? -ENOMEM : 0;
}

void loop_timer_cancel(struct loop_timer *timer)
{
    if (timer->event != NULL)
        (void)event_del(timer->event);
}

void loop_timer_deinit(struct loop_timer *timer)
{
    if (timer->event != NULL)
        event_free(timer->event);
    timer->event = NULL;
}

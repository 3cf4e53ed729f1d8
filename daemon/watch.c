/* SPDX-License-Identifier: MIT */
#include "daemon/watch.h"

void watch_hub_init(struct watch_hub *hub)
{
    (void)hub;
}

void watch_hub_deinit(struct watch_hub *hub)
{
    (void)hub;
}

void watch_publish(struct watch_hub *hub, enum watch_what what, const struct device *device,
                   const struct session *session, const struct watch_detail *detail)
{
    (void)hub;
    (void)what;
    (void)device;
    (void)session;
    (void)detail;
}

/* SPDX-License-Identifier: MIT */
/* See places.h: constant, except in tests. */
#include "daemon/storage/outside/places.h"

const char *outside_sys = "/sys";
const char *outside_proc = "/proc";

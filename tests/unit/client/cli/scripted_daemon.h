/* SPDX-License-Identifier: MIT */
/*
 * Answers lists, locks and administration for the tests of blkd-cli, and notes what was asked for.
 */
#ifndef BLKD_TESTS_UNIT_CLIENT_CLI_SCRIPTED_DAEMON_H
#define BLKD_TESTS_UNIT_CLIENT_CLI_SCRIPTED_DAEMON_H

#include "tests/unit/client/lib/fake_daemon.h"

#define TEXT(literal) ((char[]){literal})
#define BYTES(literal) ((ProtobufCBinaryData){sizeof(literal) - 1, (uint8_t[]){literal}})

extern char image[];            /* open in the daemon as device 3 */
extern int lock_refusal;        /* a negative errno: for every lock */
extern bool held, failed, safe; /* what it answers to `why` */

/* What the last request of its kind asked for. */
extern uint64_t asked_break_device, asked_break_session, asked_evict, asked_recover;
extern uint32_t asked_wait_ms, asked_break_wait_ms;
extern uint64_t asked_offset, asked_length;
extern bool asked_isolate, asked_lock_at_open;
extern char asked_recover_path[64];

/* A fake_handler. */
bool serve(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload);

/* Make and remove the image. */
void scripted_setup(void);
void scripted_teardown(void);

#endif

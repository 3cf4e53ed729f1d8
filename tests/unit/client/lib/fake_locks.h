/* SPDX-License-Identifier: MIT */
/* What tests of libblkd's locks share: a daemon that notes what is asked for, or lets a lock wait.
 */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_LOCKS_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_LOCKS_H

#include <sched.h>

#include "tests/unit/client/lib/fake_scene.h"

/* What the last Lock or Unlock asked for. */
static struct {
    uint32_t mode;
    uint64_t offset_bytes, length_bytes;
    uint32_t wait_ms;
    bool isolate;
    char purpose[128];
    uint64_t unlock_offset_bytes, unlock_length_bytes;
    unsigned int locks, unlocks;
} asked;

static uint64_t parked_id; /* of a Lock that is not answered yet */

static inline bool note_request(struct fake *daemon, const Blkd__Request *request,
                                const uint8_t *payload)
{
    (void)daemon;
    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_LOCK) {
        asked.locks++;
        asked.mode = request->lock->mode;
        asked.offset_bytes = request->lock->offset_bytes;
        asked.length_bytes = request->lock->length_bytes;
        asked.wait_ms = request->lock->wait_ms;
        asked.isolate = request->lock->isolate;
        (void)snprintf(asked.purpose, sizeof(asked.purpose), "%s", request->lock->purpose);
    } else if (request->op_case == BLKD__REQUEST__OP_UNLOCK) {
        asked.unlocks++;
        asked.unlock_offset_bytes = request->unlock->offset_bytes;
        asked.unlock_length_bytes = request->unlock->length_bytes;
    }
    return false;
}

static inline void setup(void)
{
    fake_init(&fake);
    fake.on_request = note_request;
    memset(&asked, 0, sizeof(asked));
    parked_id = 0;
}

/* A Lock that waits is answered at the next Unlock, whoever asks for that. */
static inline bool park(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    Blkd__Request lock_request = FAKE_MESSAGE(Blkd__Request, blkd__request__init);
    Blkd__Lock lock = FAKE_MESSAGE(Blkd__Lock, blkd__lock__init);

    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_LOCK && request->lock->wait_ms != 0) {
        __atomic_store_n(&parked_id, request->id, __ATOMIC_RELEASE);
        return true;
    }
    if (request->op_case == BLKD__REQUEST__OP_UNLOCK && parked_id != 0) {
        lock.mode = BLKD__LOCK_MODE__LOCK_MODE_EXCLUSIVE;
        lock_request.id = parked_id;
        lock_request.lock = &lock;
        fake_lock(daemon, &lock_request);
        parked_id = 0;
    }
    return false;
}

static inline void wait_parked(void)
{
    while (__atomic_load_n(&parked_id, __ATOMIC_ACQUIRE) == 0)
        (void)sched_yield();
}

static inline void *lock_and_wait(void *argument)
{
    struct blkd_lock_request request = {0};
    uint64_t token = 0;
    int r;

    request.wait_ms = BLKD_WAIT_FOREVER;
    r = blkd_lock(device, &request, &token);
    *(int *)argument = r;
    return r == 0 && token == 1 ? NULL : argument;
}

static int results[4];

static inline void on_result(void *user_data, int result)
{
    *(int *)user_data = result;
}

#endif

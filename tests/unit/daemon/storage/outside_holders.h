/* SPDX-License-Identifier: MIT */
/* What tests of who else has a device ask: may it be used, who holds it, what shares its bytes. */
#ifndef BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_HOLDERS_H
#define BLKD_TESTS_UNIT_DAEMON_STORAGE_OUTSIDE_HOLDERS_H

#include "daemon/storage/outside/outside.h"

#include "common/cleanup.h"
#include "daemon/storage/outside/identity.h"
#include "daemon/storage/outside/places.h"
#include "tests/unit/daemon/storage/outside_fixture.h"
#include "tests/unit/suite.h"

static char message[BACKEND_MESSAGE_MAX];

static inline void check_is(const char *path, bool lock, const char *words)
{
    enum refusal refusal = REFUSAL_NONE;
    const struct device_identity identity = fixture_identity(path);
    (void)strcpy(message, "untouched");
    ck_assert_int_eq(outside_check(&identity, lock, message, &refusal), words == NULL ? 0 : -EBUSY);
    if (words != NULL)
        ck_assert_msg(strstr(message, words) != NULL, "\"%s\" is not in: %s", words, message);
}

static inline struct outside_holders find(const char *path)
{
    const struct device_identity identity = fixture_identity(path);
    struct outside_holders holders;
    ck_assert_int_eq(outside_find_holders(&identity, &holders), 0);
    return holders;
}

/* The one holder of this kind, of the device itself or another (via). */
static inline struct outside_holder find_one(const char *path, enum outside_kind kind, bool via)
{
    struct outside_holders holders = find(path);
    struct outside_holder found = {.pid = -1};
    size_t count = 0;
    for (size_t i = 0; i < holders.count; i++) {
        if (holders.list[i].kind == kind && holders.list[i].via == via) {
            found = holders.list[i];
            count++;
        }
    }
    outside_holders_free(&holders);
    ck_assert_uint_eq(count, 1);
    return found;
}

static inline size_t count_holders(const char *path)
{
    struct outside_holders holders = find(path);
    size_t count = holders.count;
    outside_holders_free(&holders);
    return count;
}

static inline bool is_related(const char *path, const char *other)
{
    const struct device_identity identity = fixture_identity(path);
    const struct device_identity wanted = fixture_identity(other);
    struct device_identity related[BACKEND_RELATED_MAX];
    size_t count = 0;
    bool found = false;
    ck_assert_int_eq(outside_find_related(&identity, related, &count), 0);
    for (size_t i = 0; i < count; i++) {
        ck_assert(!identity_same(&related[i], &identity));
        found = found || identity_same(&related[i], &wanted);
    }
    return found;
}

#endif

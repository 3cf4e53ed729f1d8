/* SPDX-License-Identifier: MIT */
/* What tests of configuration strings share. */
#ifndef BLKD_TESTS_UNIT_COMMON_CONFIG_URI_FIXTURE_H
#define BLKD_TESTS_UNIT_COMMON_CONFIG_URI_FIXTURE_H

#include "common/config_uri.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"

/* Room for the longest path with each byte escaped, and the keys. */
#define TEXT_MAX ((size_t)3 * PATH_BYTES_MAX + 512)

static inline struct config_uri parse(const char *text)
{
    struct config_uri config;
    struct config_uri_error error = {""};

    ck_assert_msg(config_uri_parse(text, &config, &error) == 0, "%s: %s", text, error.message);
    return config;
}

static inline void check_same(const struct config_uri *a, const struct config_uri *b)
{
    ck_assert_str_eq(a->path, b->path);
    ck_assert_int_eq(a->buffered, b->buffered);
    ck_assert_int_eq(a->sync, b->sync);
    ck_assert_int_eq(a->lock, b->lock);
    ck_assert_uint_eq(a->sector_size, b->sector_size);
    ck_assert_int_eq(a->access, b->access);
    ck_assert_int_eq(a->strict, b->strict);
    ck_assert_int_eq(a->discard, b->discard);
    ck_assert_str_eq(a->purpose, b->purpose);
}

static inline void check_round_trip(const struct config_uri *config)
{
    char text[TEXT_MAX];

    ck_assert_uint_lt(config_uri_format(config, text, sizeof(text)), sizeof(text));
    const struct config_uri again = parse(text);
    check_same(config, &again);
}

#endif

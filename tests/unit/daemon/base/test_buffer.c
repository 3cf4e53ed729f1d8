/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/limits.h"
#include "daemon/base/buffer.h"
#include "tests/unit/suite.h"

static struct buffer_pool pool;

static void setup(void)
{
    buffer_pool_init(&pool);
}

static void teardown(void)
{
    buffer_pool_deinit(&pool);
}

static const size_t sizes[] = {1, 512, 4096, 4097, 65536, 65537, 262144, IO_BYTES_MAX};

START_TEST(a_buffer_is_aligned_for_direct_io_and_large_enough)
{
    struct buffer *buffer = buffer_get(&pool, sizes[_i]);
    ck_assert_ptr_nonnull(buffer);
    ck_assert_uint_ge(buffer->size_bytes, sizes[_i]);
    ck_assert_uint_eq((uintptr_t)buffer->data % 4096, 0);
    (void)memset(buffer->data, 1, buffer->size_bytes);
    ck_assert_ptr_null(buffer_put(&pool, buffer));
}
END_TEST

START_TEST(a_buffer_is_used_again_for_its_size_class_only)
{
    struct buffer *first = buffer_get(&pool, 4096);
    (void)buffer_put(&pool, first);
    struct buffer *larger = buffer_get(&pool, 4097);
    ck_assert_ptr_ne(larger, first);
    struct buffer *again = buffer_get(&pool, 100);
    ck_assert_ptr_eq(again, first);
    (void)buffer_put(&pool, larger);
    (void)buffer_put(&pool, again);
}
END_TEST

START_TEST(the_pool_keeps_no_more_than_its_bound)
{
    enum { COUNT = 32 };
    struct buffer *buffers[COUNT];
    for (unsigned int i = 0; i < COUNT; i++)
        buffers[i] = buffer_get(&pool, IO_BYTES_MAX);
    for (unsigned int i = 0; i < COUNT; i++)
        (void)buffer_put(&pool, buffers[i]);
    ck_assert_uint_le(pool.spare_bytes, BUFFER_POOL_KEEP_BYTES);
    ck_assert_uint_gt(pool.spare_bytes, 0);
}
END_TEST

START_TEST(nothing_can_be_put_back)
{
    ck_assert_ptr_null(buffer_put(&pool, NULL));
    ck_assert_uint_eq(pool.spare_bytes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buffer");
    TCase *tcase = tcase_create("buffer");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_buffer_is_aligned_for_direct_io_and_large_enough, 0,
                        sizeof(sizes) / sizeof(sizes[0]));
    tcase_add_test(tcase, a_buffer_is_used_again_for_its_size_class_only);
    tcase_add_test(tcase, the_pool_keeps_no_more_than_its_bound);
    tcase_add_test(tcase, nothing_can_be_put_back);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}

/* SPDX-License-Identifier: MIT */
/* libblkd's waiting reads and writes against a scripted daemon: buffers, limits, parts, errors. */
#include "tests/unit/client/lib/fake_scene.h"

static void setup(void)
{
    fake_init(&fake);
}

START_TEST(what_is_written_is_read)
{
    uint8_t out[2048], in[2048];
    struct iovec iov = {out, sizeof(out)};

    begin();
    memset(out, 0xa5, sizeof(out));
    memset(in, 0, sizeof(in));
    ck_assert_int_eq(blkd_write(device, 100, &iov, 1, BLKD_WRITE_FUA), 0);
    iov.iov_base = in;
    ck_assert_int_eq(blkd_read(device, 100, &iov, 1), 0);
    ck_assert_mem_eq(in, out, sizeof(in));
    ck_assert_int_eq(blkd_read(device, 104, &iov, 1), 0);
    fake_assert_content(in, 104 * FAKE_SECTOR, sizeof(in));
    end();
    ck_assert_uint_eq(fake.closes, 1);
    ck_assert_uint_eq(fake.transfer_ends[0], 0);
}
END_TEST

START_TEST(odd_buffer_is_named)
{
    uint8_t bytes[1024];
    struct iovec iov[3] = {{bytes, 512}, {bytes, 512}, {bytes, 511}};

    begin();
    ck_assert_int_eq(blkd_write(device, 7, iov, 3, 0), -EINVAL);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "buffer 2"));
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "511 bytes"));
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "/srv/a.img"));
    ck_assert_int_eq(blkd_read(device, 7, iov, 3), -EINVAL);
    iov[2] = (struct iovec){NULL, 512};
    ck_assert_int_eq(blkd_read(device, 7, iov, 3), -EFAULT);
    end();
    ck_assert_uint_eq(fake.writes + fake.reads, 0);
}
END_TEST

START_TEST(nothing_to_transfer_succeeds)
{
    struct iovec iov[2] = {{NULL, 0}, {NULL, 0}};

    begin();
    ck_assert_int_eq(blkd_read(device, 0, NULL, 0), 0);
    ck_assert_int_eq(blkd_write(device, 0, iov, 2, 0), 0);
    ck_assert_int_eq(blkd_discard(device, 0, 0), 0);
    end();
    ck_assert_uint_eq(fake.writes + fake.reads, 0);
}
END_TEST

START_TEST(overflowing_ranges_are_refused)
{
    uint8_t bytes[512];
    struct iovec iov[2] = {{bytes, 512}, {bytes, SIZE_MAX - 511}};
    uint64_t sector;

    begin();
    ck_assert_int_eq(blkd_read(device, UINT64_MAX / 512 + 1, iov, 1), -EINVAL);
    ck_assert_int_eq(blkd_read(device, INT64_MAX / 512, iov, 1), -EINVAL);
    ck_assert_int_eq(blkd_read(device, 0, iov, 2), -EINVAL);
    ck_assert_int_eq(blkd_discard(device, 1, UINT64_MAX), -EINVAL);
    ck_assert_int_eq(blkd_write_zeroes(device, UINT64_MAX, 1, 0), -EINVAL);
    ck_assert_int_eq(blkd_write_zeroes(device, 0, 1, 0x80), -EINVAL);
    ck_assert_int_eq(blkd_write(device, 0, iov, 1, 2), -EINVAL);
    ck_assert_int_eq(blkd_resize(device, UINT64_MAX / 4), -EINVAL);
    ck_assert_int_eq(blkd_seek_mapped(device, UINT64_MAX, &sector), -EINVAL);
    end();
}
END_TEST

START_TEST(failure_message_tells_all)
{
    uint8_t bytes[4096];
    struct iovec iov = {bytes, sizeof(bytes)};

    begin();
    ck_assert_int_eq(blkd_write(device, 1 << 20, &iov, 1, 0), -ENOSPC);
    ck_assert_str_eq(blkd_error_message(),
                     "write of 4096 bytes at sector 1048576 (offset 536870912) of /srv/a.img "
                     "failed: No space left on device: past the end of the device");
    end();
}
END_TEST

enum { MANY = 5000 };

START_TEST(five_thousand_buffers_go_in_order)
{
    uint8_t *out = malloc((size_t)MANY * FAKE_SECTOR);
    uint8_t *in = calloc(MANY, FAKE_SECTOR);
    struct iovec *iov = calloc(MANY, sizeof(*iov));
    uint64_t end_bytes = (uint64_t)(10 + MANY) * FAKE_SECTOR;

    begin();
    /* The buffers lie in memory in the opposite order of the disk's. */
    for (size_t i = 0; i < MANY; i++) {
        iov[i] = (struct iovec){out + (MANY - 1 - i) * FAKE_SECTOR, FAKE_SECTOR};
        memset(iov[i].iov_base, (int)(i * 31 % 251), FAKE_SECTOR);
    }
    ck_assert_int_eq(blkd_write(device, 10, iov, MANY, 0), 0);
    for (size_t i = 0; i < MANY; i++)
        iov[i].iov_base = in + i * FAKE_SECTOR;
    ck_assert_int_eq(blkd_read(device, 10, iov, MANY), 0);
    for (size_t i = 0; i < MANY; i++)
        ck_assert_uint_eq(in[i * FAKE_SECTOR + i % FAKE_SECTOR], i * 31 % 251);
    end();
    ck_assert_uint_eq(fake.writes, 3);
    ck_assert_uint_eq(fake.reads, 3);
    for (unsigned int i = 0; i < 3; i++)
        ck_assert_uint_eq(fake.transfer_ends[i], end_bytes);
    free(out);
    free(in);
    free(iov);
}
END_TEST

/* Parts fail with an error that tells their place; the later ones are answered first. */
static bool fail_parts(struct fake *daemon, const Blkd__Request *request, const uint8_t *payload)
{
    (void)payload;
    if (request->op_case != BLKD__REQUEST__OP_READ)
        return false;
    daemon->hold = 4;
    if (request->read->offset_bytes == 0)
        return false;
    fake_answer(daemon, request->id, request->read->offset_bytes == 1 << 20 ? -EIO : -EBUSY, "");
    return true;
}

START_TEST(first_error_by_offset_is_the_result)
{
    uint8_t *bytes = malloc(4 << 20);
    struct iovec iov = {bytes, 4 << 20};

    fake.on_request = fail_parts;
    fake_start(&fake);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
    ck_assert_int_eq(blkd_read(device, 0, &iov, 1), -EIO);
    fake.hold = 0;
    end();
    free(bytes);
}
END_TEST

/* Answers only when as many requests have come as may be in flight, or the last has. */
static bool count_in_flight(struct fake *daemon, const Blkd__Request *request,
                            const uint8_t *payload)
{
    (void)payload;
    if (request->op_case == BLKD__REQUEST__OP_READ)
        daemon->hold = daemon->max_requests;
    return false;
}

START_TEST(large_transfer_keeps_the_limits)
{
    size_t length = (size_t)6 << 20;
    uint8_t *bytes = calloc(1, length);
    struct iovec iov = {bytes, length};

    fake.max_io_bytes = 65536 + 100; /* not whole sectors: parts are smaller */
    fake.max_requests = 4;           /* 96 parts: a multiple of it */
    fake.on_request = count_in_flight;
    fake_start(&fake);
    connection = fake_connect(&fake);
    device = fake_open_device(connection);
    ck_assert_int_eq(blkd_read(device, 3, &iov, 1), 0);
    fake_assert_content(bytes, 3 * FAKE_SECTOR, length);
    fake.hold = 0;
    end();
    ck_assert_uint_eq(fake.reads, 96);
    ck_assert_uint_eq(fake.most_frames_in_receive <= 4, 1);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_transfer");
    TCase *tests = tcase_create("transfers");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, what_is_written_is_read);
    tcase_add_test(tests, odd_buffer_is_named);
    tcase_add_test(tests, nothing_to_transfer_succeeds);
    tcase_add_test(tests, overflowing_ranges_are_refused);
    tcase_add_test(tests, failure_message_tells_all);
    tcase_add_test(tests, five_thousand_buffers_go_in_order);
    tcase_add_test(tests, first_error_by_offset_is_the_result);
    tcase_add_test(tests, large_transfer_keeps_the_limits);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

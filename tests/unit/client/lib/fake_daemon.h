/* SPDX-License-Identifier: MIT */
/* The scripted daemon of fake.h at work: it receives, serves and ends; and a client of it. */
#ifndef BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_DAEMON_H
#define BLKD_TESTS_UNIT_CLIENT_LIB_FAKE_DAEMON_H

#include "tests/unit/client/lib/fake_replies.h"

static inline void fake_request(struct fake *fake, const Blkd__Request *request,
                                const uint8_t *payload, uint32_t payload_bytes)
{
    if (fake->on_request != NULL && fake->on_request(fake, request, payload))
        return;
    switch (request->op_case) {
    case BLKD__REQUEST__OP_HELLO:
        fake_hello(fake, request);
        break;
    case BLKD__REQUEST__OP_OPEN:
        fake_open(fake, request);
        break;
    case BLKD__REQUEST__OP_READ:
        fake_read(fake, request);
        break;
    case BLKD__REQUEST__OP_WRITE:
        fake_write(fake, request, payload, payload_bytes);
        break;
    case BLKD__REQUEST__OP_GET_INFO:
        fake_get_info(fake, request);
        break;
    case BLKD__REQUEST__OP_GET_CONFIG:
        fake_get_config(fake, request);
        break;
    case BLKD__REQUEST__OP_LOCK:
        fake_lock(fake, request);
        break;
    case BLKD__REQUEST__OP_SEEK:
        fake_seek(fake, request);
        break;
    default:
        fake->closes += request->op_case == BLKD__REQUEST__OP_CLOSE;
        fake->flushes += request->op_case == BLKD__REQUEST__OP_FLUSH;
        fake_answer(fake, request->id, 0, "");
    }
}

/* Serves the first frame of the input; false: it is not whole yet. */
static inline bool fake_serve_frame(struct fake *fake)
{
    struct frame_prefix prefix;
    const Blkd__Request *request;
    size_t whole;

    if (fake->input_bytes < FRAME_PREFIX_BYTES || frame_decode(fake->input, &prefix) < 0)
        return false;
    whole = FRAME_PREFIX_BYTES + prefix.header_bytes + (size_t)prefix.payload_bytes;
    if (fake->input_bytes < whole)
        return false;
    if (wire_unpack_request(&fake->arena, fake->input + FRAME_PREFIX_BYTES, prefix.header_bytes,
                            &request) < 0)
        abort();
    fake->frames_in_receive++;
    fake_request(fake, request, fake->input + FRAME_PREFIX_BYTES + prefix.header_bytes,
                 prefix.payload_bytes);
    fake->input_bytes -= whole;
    memmove(fake->input, fake->input + whole, fake->input_bytes);
    return true;
}

static inline bool fake_receive(struct fake *fake)
{
    struct iovec iov = {fake->input + fake->input_bytes, FAKE_INPUT_BYTES - fake->input_bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct fdpass fds;
    ssize_t n = fdpass_receive(fake->socket, &message, 0, &fds);

    if (n <= 0)
        return false;
    if (fds.count > 0)
        fake->fds = fds;
    fake->input_bytes += (size_t)n;
    return true;
}

static inline void *fake_main(void *argument)
{
    struct fake *fake = argument;

    fake->socket = accept(fake->listener, NULL, NULL);
    while (fake->socket >= 0 && !fake->hung_up && (fake->on_wait == NULL || fake->on_wait(fake)) &&
           fake_receive(fake)) {
        fake->frames_in_receive = 0;
        while (!fake->hung_up && fake_serve_frame(fake))
            ;
        if (fake->frames_in_receive > fake->most_frames_in_receive)
            fake->most_frames_in_receive = fake->frames_in_receive;
    }
    if (fake->socket >= 0)
        (void)close(fake->socket);
    fake->socket = -1;
    return NULL;
}

static inline void fake_init(struct fake *fake)
{
    *fake = (struct fake){.disk_bytes = 8 * 1024 * 1024,
                          .max_io_bytes = 1024 * 1024,
                          .max_requests = 64,
                          .socket = -1};
}

static inline void fake_listen(struct fake *fake)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)strcpy(fake->directory, "/tmp/blkd-fake-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fake->directory));
    (void)snprintf(fake->path, sizeof(fake->path), "%s/sock", fake->directory);
    (void)strcpy(address.sun_path, fake->path);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fake->listener, 0);
    ck_assert_int_eq(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(fake->listener, 4), 0);
}

static inline void fake_start(struct fake *fake)
{
    fake_listen(fake);
    fake->disk = malloc(fake->disk_bytes);
    fake->input = malloc(FAKE_INPUT_BYTES);
    ck_assert(fake->disk != NULL && fake->input != NULL);
    for (size_t i = 0; i < fake->disk_bytes; i++)
        fake->disk[i] = (uint8_t)(i / FAKE_SECTOR * 7 + i);
    ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
}

static inline void fake_unlisten(struct fake *fake)
{
    (void)close(fake->listener);
    (void)unlink(fake->path);
    (void)rmdir(fake->directory);
}

/* After the connection has ended on either side. */
static inline void fake_stop(struct fake *fake)
{
    (void)pthread_join(fake->thread, NULL);
    fake_unlisten(fake);
    while (fake->held_count > 0)
        free(fake->held[--fake->held_count].bytes);
    wire_arena_deinit(&fake->arena);
    free(fake->disk);
    free(fake->input);
}

static inline struct blkd *fake_connect(struct fake *fake)
{
    struct blkd_options options = {0};
    struct blkd *connection = NULL;

    options.socket_path = fake->path;
    ck_assert_msg(blkd_connect(&options, &connection) == 0, "%s", blkd_error_message());
    return connection;
}

static inline struct blkd_device *fake_open_device(struct blkd *connection)
{
    struct blkd_config config = {0};
    struct blkd_device *device = NULL;
    int fd = memfd_create("image", MFD_CLOEXEC);

    config.path = "/srv/a.img";
    ck_assert_msg(blkd_open_fd(connection, fd, &config, &device) == 0, "%s", blkd_error_message());
    ck_assert_int_eq(close(fd), 0);
    return device;
}

/* Whether the connection's descriptor becomes readable; -1: it must, or the test's time is up. */
static inline bool fake_is_readable(struct blkd *connection, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = blkd_get_fd(connection), .events = POLLIN};

    return poll(&poll_fd, 1, timeout_ms) == 1;
}

/* What the disk holds at first. */
static inline uint8_t fake_byte(uint64_t offset)
{
    return (uint8_t)(offset / FAKE_SECTOR * 7 + offset);
}

static inline void fake_assert_content(const uint8_t *bytes, uint64_t offset, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != fake_byte(offset + i))
            ck_abort_msg("byte %zu (of the disk: %llu) is wrong", i,
                         (unsigned long long)(offset + i));
}

#endif

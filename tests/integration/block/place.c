/* SPDX-License-Identifier: MIT */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

enum { DIRECT_ALIGN = 4096 };

static const char *place_name(enum place_kind kind)
{
    static const char *const names[] = {"a file in /tmp", "a file on tmpfs",
                                        "a loop device of 512-byte blocks",
                                        "a loop device of 4096-byte blocks", "a zram device"};
    return names[kind];
}

struct place_matrix {
    enum place_kind kinds[5];
    int file_rows, loop_end, rows; /* two of each kind: buffered and direct */
};

static const struct place_matrix *place_matrix(void)
{
    static const struct place_matrix all = {
        .kinds = {PLACE_FILE, PLACE_MEMORY_FILE, PLACE_LOOP_512, PLACE_LOOP_4096, PLACE_ZRAM},
        .file_rows = 4,
        .loop_end = 8,
        .rows = 10,
    };
    static const struct place_matrix few = {
        .kinds = {PLACE_FILE, PLACE_LOOP_512},
        .file_rows = 2,
        .loop_end = 4,
        .rows = 4,
    };
#ifdef __SANITIZE_THREAD__
    const char *places = "few";
#else
    const char *places = getenv("BLKD_PLACES");
#endif
    return places != NULL && strcmp(places, "few") == 0 ? &few : &all;
}

int place_rows(void)
{
    return place_matrix()->rows;
}

int place_loop_end(void)
{
    return place_matrix()->loop_end;
}

int place_file_rows(void)
{
    return place_matrix()->file_rows;
}

/* Whether it can be made here; of zram, this shows when it is tried. */
static bool place_exists(enum place_kind kind)
{
    if (kind == PLACE_FILE || kind == PLACE_MEMORY_FILE)
        return true;
    return kind == PLACE_ZRAM || harness_needs_loop();
}

/* False: the test has been skipped. */
static bool place_make(struct place *place)
{
    switch (place->kind) {
    case PLACE_FILE:
        harness_make_file(harness_directory(), "image", place->size_bytes, place->path);
        memcpy(place->file, place->path, sizeof(place->file));
        break;
    case PLACE_MEMORY_FILE:
        harness_make_file(harness_memory_directory(), "image", place->size_bytes, place->path);
        memcpy(place->file, place->path, sizeof(place->file));
        break;
    case PLACE_LOOP_512:
    case PLACE_LOOP_4096:
        harness_make_file(harness_directory(), "backing", place->size_bytes, place->file);
        harness_loop_attach(&place->loop, place->file, place->kind == PLACE_LOOP_512 ? 512 : 4096,
                            false);
        (void)snprintf(place->path, sizeof(place->path), "%s", place->loop.path);
        break;
    case PLACE_ZRAM:
        if (!harness_zram_add(&place->zram, place->size_bytes))
            return false;
        (void)snprintf(place->path, sizeof(place->path), "%s", place->zram.path);
        break;
    }
    return true;
}

bool place_begin(struct place *place, int row, uint64_t size_bytes)
{
    *place = (struct place){
        .kind = place_matrix()->kinds[row / 2],
        .direct = row % 2 == 1,
        .size_bytes = size_bytes,
    };
    harness_note("%s, %s", place_name(place->kind), place->direct ? "direct" : "buffered");
    if (!place_exists(place->kind) || !place_make(place))
        return false;
    place->used = true;
    return true;
}

void place_end(struct place *place)
{
    if (!place->used)
        return;
    if (place->kind == PLACE_ZRAM)
        harness_zram_remove(&place->zram);
    else if (!place_is_file(place))
        harness_loop_detach(&place->loop);
    place->used = false;
}

bool place_is_file(const struct place *place)
{
    return place->kind == PLACE_FILE || place->kind == PLACE_MEMORY_FILE;
}

void place_read_outside(const struct place *place, uint64_t offset_bytes, void *buffer,
                        size_t length_bytes)
{
    int flags = O_RDONLY | O_CLOEXEC | (place->direct ? O_DIRECT : 0);
    CLEANUP_FREE void *aligned = NULL;
    CLEANUP_CLOSE int fd = open(place->path, flags);
    if (fd < 0 && errno == EINVAL) /* a file system without direct I/O */
        fd = open(place->path, O_RDONLY | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "cannot open %s: %s", place->path, strerror(errno));
    ck_assert_int_eq(posix_memalign(&aligned, DIRECT_ALIGN, length_bytes), 0);
    ssize_t got = pread(fd, aligned, length_bytes, (off_t)offset_bytes);
    ck_assert_int_eq(got, (ssize_t)length_bytes);
    memcpy(buffer, aligned, length_bytes);
}

uint64_t place_count_flushes(const struct place *place)
{
    enum { FLUSHES_FIELD = 15 };
    char path[64];
    char *rest = NULL;
    uint64_t value = 0;
    (void)snprintf(path, sizeof(path), "/sys/block/loop%u/stat", place->loop.number);
    CLEANUP_FREE char *text = harness_read_text(path);
    rest = text;
    for (int field = 0; field <= FLUSHES_FIELD; field++)
        value = strtoull(rest, &rest, 10);
    return value;
}

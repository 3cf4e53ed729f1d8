/* SPDX-License-Identifier: MIT */
/*
 * Thousands of random writes, discards, zeroings, reads and flushes against a model that says of
 * which generation each sector is (0: zeroes). After each step, what it touched and its neighbours
 * are compared; now and then, and at the end, everything is.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>

enum {
#ifdef __SANITIZE_ADDRESS__ /* sanitizers take longer, and look for something else */
    STEPS = 3000,
#elif defined(__SANITIZE_THREAD__)
    STEPS = 2000,
#else
    STEPS = 4000,
#endif
    MODEL_SECTORS = 1024,
    LENGTH_MAX = 40,
    NEIGHBOURS = 9, /* more than a file system's block of 8 sectors has */
    GENERATIONS = 4095,
    FULL_EVERY = 1000,
    MODEL_TIMEOUT_S = 1000,
};

struct model {
    struct blkd_device *device;
    uint32_t sector_size;
    uint64_t sectors;
    uint64_t random;
    unsigned int step;
    unsigned int generation[MODEL_SECTORS];
    uint8_t *buffer;
};

/* xorshift64*: the same steps in each run, so that a failure can be repeated. */
static uint64_t model_random(struct model *model, uint64_t below)
{
    model->random ^= model->random >> 12;
    model->random ^= model->random << 25;
    model->random ^= model->random >> 27;
    return model->random * UINT64_C(0x2545f4914f6cdd1d) % below;
}

static void model_compare(const struct model *model, const uint8_t *buffer, uint64_t first,
                          uint64_t count, const char *what)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "step %u, %s", model->step, what);
    for (uint64_t i = 0; i < count; i++)
        data_check(buffer + i * model->sector_size, first + i, 1, model->sector_size,
                   model->generation[first + i], text);
}

static void model_read(const struct model *model, uint64_t first, uint64_t end)
{
    const struct iovec vector = {model->buffer, (end - first) * model->sector_size};
    memset(model->buffer, 0xee, vector.iov_len);
    ASSERT_OK(blkd_read(model->device, first, &vector, 1));
    model_compare(model, model->buffer, first, end - first, "read through blkd");
}

static void model_check_around(const struct model *model, uint64_t first, uint64_t count)
{
    uint64_t from = first > NEIGHBOURS ? first - NEIGHBOURS : 0;
    uint64_t to = first + count + NEIGHBOURS;
    model_read(model, from, to < model->sectors ? to : model->sectors);
}

static void model_check_all(const struct model *model)
{
    model_read(model, 0, model->sectors);
}

static void model_mark(struct model *model, uint64_t first, uint64_t count, unsigned int generation)
{
    for (uint64_t i = first; i < first + count; i++)
        model->generation[i] = generation;
}

/* In one to four buffers. */
static void model_write(struct model *model, uint64_t first, uint64_t count)
{
    struct iovec vectors[4];
    size_t used = 0;
    unsigned int generation = 1 + model->step % GENERATIONS;
    unsigned int flags = model_random(model, 50) == 0 ? BLKD_WRITE_FUA : 0;
    data_fill(model->buffer, first, count, model->sector_size, generation);
    for (uint64_t at = 0; at < count; used++) {
        uint64_t part = used == 3 ? count - at : 1 + model_random(model, count - at);
        vectors[used] =
            (struct iovec){model->buffer + at * model->sector_size, part * model->sector_size};
        at += part;
    }
    ASSERT_OK(blkd_write(model->device, first, vectors, used, flags));
    model_mark(model, first, count, generation);
}

static void model_step(struct model *model)
{
    uint64_t first = model_random(model, model->sectors);
    uint64_t longest = model->sectors - first < LENGTH_MAX ? model->sectors - first : LENGTH_MAX;
    uint64_t count = 1 + model_random(model, longest);
    uint64_t choice = model_random(model, 1000);
    if (choice < 600) {
        model_write(model, first, count);
    } else if (choice < 800) {
        ASSERT_OK(blkd_discard(model->device, first, count));
        model_mark(model, first, count, 0);
    } else if (choice < 990) {
        ASSERT_OK(blkd_write_zeroes(model->device, first, count, 0));
        model_mark(model, first, count, 0);
    } else {
        ASSERT_OK(blkd_flush(model->device));
    }
    model_check_around(model, first, count);
}

static void model_check_outside(const struct model *model)
{
    size_t bytes = model->sectors * model->sector_size;
    place_read_outside(&fixture.place, 0, model->buffer, bytes);
    model_compare(model, model->buffer, 0, model->sectors, "read by another program");
}

START_TEST(random_changes_do_as_the_model_does)
{
    static struct model model = {.random = UINT64_C(0x9e3779b97f4a7c15)};
    if (!place_begin(&fixture.place, _i, MODEL_SECTORS * 4096))
        return;
    model.device = fixture_open_place();
    model.sector_size = fixture_info(model.device).sector_size;
    model.sectors = MODEL_SECTORS;
    CLEANUP_FREE uint8_t *buffer = data_new((size_t)MODEL_SECTORS * model.sector_size);
    model.buffer = buffer;
    for (model.step = 1; model.step <= STEPS; model.step++) {
        model_step(&model);
        if (model.step % FULL_EVERY == 0)
            model_check_all(&model);
    }
    model_check_outside(&model);
    blkd_close(model.device);
    model.device = fixture_open_place();
    model_check_all(&model);
    model_check_outside(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integration/block/model");
    TCase *tests = fixture_case(suite, "model");
    tcase_set_timeout(tests, MODEL_TIMEOUT_S);
    tcase_add_loop_test(tests, random_changes_do_as_the_model_does, 0, place_rows());
    return harness_main(suite);
}

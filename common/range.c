/* SPDX-License-Identifier: MIT */
/*
 * Every offset and length that a client names passes here before it is used: the one place where
 * overflow is thought about. Ends are bounded by INT64_MAX because off_t, in which Linux takes
 * them, is.
 */
#include "common/range.h"

#include <assert.h>

#include "common/limits.h"

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

bool range_end(uint64_t offset_bytes, uint64_t length_bytes, uint64_t *ret_end_bytes)
{
    uint64_t end;

    if (__builtin_add_overflow(offset_bytes, length_bytes, &end) || end > INT64_MAX)
        return false;
    *ret_end_bytes = end;
    return true;
}

bool range_within(uint64_t offset_bytes, uint64_t length_bytes, uint64_t size_bytes)
{
    uint64_t end;

    return range_end(offset_bytes, length_bytes, &end) && end <= size_bytes;
}

bool range_overlap(uint64_t offset_a, uint64_t length_a, uint64_t offset_b, uint64_t length_b)
{
    if (length_a == 0 || length_b == 0)
        return false;
    /* Distances instead of ends: they cannot overflow. */
    if (offset_a <= offset_b)
        return offset_b - offset_a < length_a;
    return offset_a - offset_b < length_b;
}

bool range_is_aligned(uint64_t value, uint64_t granule)
{
    assert(is_power_of_two(granule));
    return (value & (granule - 1)) == 0;
}

uint64_t range_round_down(uint64_t value, uint64_t granule)
{
    assert(is_power_of_two(granule));
    return value & ~(granule - 1);
}

bool range_round_up(uint64_t value, uint64_t granule, uint64_t *ret_value)
{
    uint64_t raised;

    assert(is_power_of_two(granule));
    if (__builtin_add_overflow(value, granule - 1, &raised))
        return false;
    *ret_value = raised & ~(granule - 1);
    return true;
}

bool range_is_sector_size(uint64_t value)
{
    return is_power_of_two(value) && value >= SECTOR_SIZE_MIN && value <= SECTOR_SIZE_MAX;
}

/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic on byte ranges [offset, offset + length) that cannot overflow unnoticed, and rounding
 * to sectors. Pure.
 */
#ifndef BLKD_COMMON_RANGE_H
#define BLKD_COMMON_RANGE_H

#include <stdbool.h>
#include <stdint.h>

/* Sets *ret_end to offset + length; false, and *ret_end untouched, if that exceeds INT64_MAX, the
 * largest offset that Linux knows (off_t). */
bool range_end(uint64_t offset_bytes, uint64_t length_bytes, uint64_t *ret_end_bytes);

/* Whether the range is in order and ends at or before size_bytes. */
bool range_within(uint64_t offset_bytes, uint64_t length_bytes, uint64_t size_bytes);

bool range_overlap(uint64_t offset_a, uint64_t length_a, uint64_t offset_b, uint64_t length_b);

/* `granule` is a power of two, not 0. */
bool range_is_aligned(uint64_t value, uint64_t granule);
uint64_t range_round_down(uint64_t value, uint64_t granule);
/* False, *ret_value untouched, when the rounded value does not fit. */
bool range_round_up(uint64_t value, uint64_t granule, uint64_t *ret_value);

/* A sector size that blkd serves: a power of two from SECTOR_SIZE_MIN to SECTOR_SIZE_MAX. */
bool range_is_sector_size(uint64_t value);

#endif

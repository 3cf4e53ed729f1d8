/* SPDX-License-Identifier: MIT */
/*
 * `map`: which parts of a device are allocated, and which are holes, certain to read as zeroes.
 */
#include <errno.h>
#include <inttypes.h>

#include "client/cli/cli.h"
#include "client/cli/report.h"
#include "client/cli/size.h"
#include "client/cli/target.h"
#include "common/cleanup.h"

enum map_column {
    MAP_START_SECTOR,
    MAP_COUNT_SECTORS,
    MAP_START_BYTES,
    MAP_LENGTH_BYTES,
    MAP_LENGTH,
    MAP_STATE,
    MAP_MAPPED,
    MAP_COLUMNS,
};

static const struct table_column MAP_TABLE[MAP_COLUMNS] = {
    [MAP_START_SECTOR] = {"start_sector", "SECTOR", TABLE_NUMBER},
    [MAP_COUNT_SECTORS] = {"count_sectors", "SECTORS", TABLE_NUMBER},
    [MAP_START_BYTES] = {"offset_bytes", "OFFSET", TABLE_NUMBER},
    [MAP_LENGTH_BYTES] = {"length_bytes", "BYTES", TABLE_NUMBER},
    [MAP_LENGTH] = {NULL, "SIZE", TABLE_BYTES},
    [MAP_STATE] = {NULL, "STATE", TABLE_TEXT},
    [MAP_MAPPED] = {"mapped", NULL, TABLE_BOOL},
};

enum total_column {
    TOTAL_MAPPED,
    TOTAL_UNMAPPED,
    TOTAL_SIZE,
    TOTAL_EXTENTS,
    TOTAL_COLUMNS,
};

static const struct table_column TOTAL_TABLE[TOTAL_COLUMNS] = {
    [TOTAL_MAPPED] = {"mapped_bytes", "allocated", TABLE_BYTES},
    [TOTAL_UNMAPPED] = {"unmapped_bytes", "holes", TABLE_BYTES},
    [TOTAL_SIZE] = {"size_bytes", "size", TABLE_BYTES},
    [TOTAL_EXTENTS] = {"extents", "extents", TABLE_NUMBER},
};

enum {
    MAP_TRIES = 16, /* at one sector, while others change the file */
};

struct mapper {
    struct cli *cli;
    struct target target;
    struct table *extents;
    uint64_t sectors[2]; /* unmapped and mapped */
    uint64_t extent_count;
};

static void mapper_deinit(struct mapper *mapper)
{
    mapper->extents = table_free(mapper->extents);
    target_close(&mapper->target);
}

static void mapper_add(struct mapper *mapper, uint64_t start, uint64_t end, bool mapped)
{
    uint64_t sector_size = mapper->target.info.sector_size;

    table_add_row(mapper->extents);
    table_set_number(mapper->extents, MAP_START_SECTOR, start);
    table_set_number(mapper->extents, MAP_COUNT_SECTORS, end - start);
    table_set_number(mapper->extents, MAP_START_BYTES, start * sector_size);
    table_set_number(mapper->extents, MAP_LENGTH_BYTES, (end - start) * sector_size);
    table_set_number(mapper->extents, MAP_LENGTH, (end - start) * sector_size);
    table_set_text(mapper->extents, MAP_STATE, mapped ? "allocated" : "hole");
    table_set_bool(mapper->extents, MAP_MAPPED, mapped);
    mapper->sectors[mapped] += end - start;
    mapper->extent_count++;
}

/* The extent that starts at `start`: its end and its kind. */
static int mapper_find(struct mapper *mapper, uint64_t start, uint64_t *ret_end, bool *ret_mapped)
{
    for (int i = 0; i < MAP_TRIES; i++) {
        bool mapped = i % 2 != 0;
        uint64_t end = 0;
        int error = mapped ? blkd_seek_unmapped(mapper->target.device, start, &end)
                           : blkd_seek_mapped(mapper->target.device, start, &end);

        if (error)
            return report_library(mapper->cli, error);
        if (end > start) {
            *ret_end = end;
            *ret_mapped = mapped;
            return CLI_OK;
        }
    }
    return report_failure(mapper->cli,
                          "%s: allocation keeps changing at sector %" PRIu64 "; try again",
                          mapper->target.config->path, start);
}

static int mapper_walk(struct mapper *mapper)
{
    uint64_t size = mapper->target.info.size_sectors;
    uint64_t end = 0;
    bool mapped = false;

    for (uint64_t start = 0; start < size; start = end) {
        int code = mapper_find(mapper, start, &end, &mapped);

        if (code != CLI_OK)
            return code;
        if (end > size)
            end = size; /* it has grown meanwhile; only the original part is shown */
        mapper_add(mapper, start, end, mapped);
    }
    return CLI_OK;
}

static int mapper_print_totals(struct mapper *mapper)
{
    uint64_t sector_size = mapper->target.info.sector_size;
    CLEANUP_TABLE struct table *table =
        cli_table_new(mapper->cli, "totals", TOTAL_TABLE, TOTAL_COLUMNS, TABLE_RECORD);

    if (!table)
        return CLI_FAILED;
    table_add_row(table);
    table_set_number(table, TOTAL_MAPPED, mapper->sectors[true] * sector_size);
    table_set_number(table, TOTAL_UNMAPPED, mapper->sectors[false] * sector_size);
    table_set_number(table, TOTAL_SIZE, target_size_bytes(&mapper->target));
    table_set_number(table, TOTAL_EXTENTS, mapper->extent_count);
    return cli_table_print(mapper->cli, table);
}

/* One line below the table. */
static int mapper_print_summary(const struct mapper *mapper)
{
    uint64_t sector_size = mapper->target.info.sector_size;
    char mapped[SIZE_TEXT_MAX];
    char unmapped[SIZE_TEXT_MAX];

    size_format(mapper->sectors[true] * sector_size, mapped);
    size_format(mapper->sectors[false] * sector_size, unmapped);
    (void)printf("%s%s allocated, %s in holes, %" PRIu64 " extent%s\n",
                 mapper->extent_count > 0 ? "\n" : "", mapped, unmapped, mapper->extent_count,
                 mapper->extent_count == 1 ? "" : "s");
    return CLI_OK;
}

int cmd_map(struct cli *cli)
{
    CLEANUP(mapper_deinit) struct mapper mapper = {.cli = cli};
    int code = target_open(cli, BLKD_ACCESS_READ_ONLY, &mapper.target);

    if (code != CLI_OK)
        return code;
    mapper.extents = cli_table_new(cli, "map", MAP_TABLE, MAP_COLUMNS, TABLE_ROWS);
    if (!mapper.extents)
        return CLI_FAILED;
    code = mapper_walk(&mapper);
    if (code == CLI_OK && cli->options.total)
        return mapper_print_totals(&mapper);
    if (code == CLI_OK)
        code = cli_table_print(cli, mapper.extents);
    if (code == CLI_OK && !cli->options.json)
        code = mapper_print_summary(&mapper);
    return code;
}

/* SPDX-License-Identifier: MIT */
/*
 * blkd-cli: its commands and what they share. A command is an entry in the table of commands.c and
 * a function that runs it, reports its failures and returns the exit code.
 */
#ifndef BLKD_CLI_CLI_H
#define BLKD_CLI_CLI_H

#include "client/blkd.h"
#include "client/cli/options.h"
#include "client/cli/table.h"

/* Documented in help.c and in docs/blkd-cli.1.scd. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_UNREACHABLE = 3,
    CLI_BUSY = 4,
};

struct cli;

struct command {
    const char *name;
    const char *operands;
    const char *summary;
    const char *details;
    const char *examples;
    unsigned int groups; /* of options */
    size_t operands_min, operands_max;
    int (*run)(struct cli *cli);
};

struct cli {
    const struct command *command; /* NULL before it is known */
    const char *group;             /* the first word of a command that is not known; may be NULL */
    struct options options;
    struct blkd *connection; /* NULL until cli_connect */
    bool daemon_stops;       /* an event said so */
};

/* Connects to the daemon, once. Returns CLI_OK, or reports why not and returns the exit code. */
int cli_connect(struct cli *cli);

/* `form` is how the table is printed without --json. Returns NULL after reporting a failure. */
struct table *cli_table_new(struct cli *cli, const char *name, const struct table_column *columns,
                            size_t count, enum table_form form);

/* Prints the table to stdout. Returns CLI_OK, or reports why not and returns the exit code. */
int cli_table_print(struct cli *cli, const struct table *table);

extern const struct command COMMANDS[];
extern const size_t COMMAND_COUNT;

int cmd_config(struct cli *cli);
int cmd_discard(struct cli *cli);
int cmd_flush(struct cli *cli);
int cmd_info(struct cli *cli);
int cmd_lock_break(struct cli *cli);
int cmd_lock_ls(struct cli *cli);
int cmd_lock_take(struct cli *cli);
int cmd_lock_wait(struct cli *cli);
int cmd_ls(struct cli *cli);
int cmd_map(struct cli *cli);
int cmd_ping(struct cli *cli);
int cmd_read(struct cli *cli);
int cmd_recover(struct cli *cli);
int cmd_resize(struct cli *cli);
int cmd_session_evict(struct cli *cli);
int cmd_sessions(struct cli *cli);
int cmd_sync_status(struct cli *cli);
int cmd_watch(struct cli *cli);
int cmd_why(struct cli *cli);
int cmd_write(struct cli *cli);
int cmd_zero(struct cli *cli);

static inline void cleanup_config(struct blkd_config **config)
{
    blkd_config_free(*config);
}

#define CLEANUP_CONFIG CLEANUP(cleanup_config)

static inline void cleanup_holders(struct blkd_holders **holders)
{
    blkd_who_free(*holders);
}

#define CLEANUP_HOLDERS CLEANUP(cleanup_holders)

static inline void cleanup_table(struct table **table)
{
    *table = table_free(*table);
}

#define CLEANUP_TABLE CLEANUP(cleanup_table)

#endif

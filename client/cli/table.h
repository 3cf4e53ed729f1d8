/* SPDX-License-Identifier: MIT */
/*
 * What a command prints: rows of typed cells, described once and shown as a table, as a list of
 * "title: value" lines, or as JSON. A column without a title is for JSON only, one without a key is
 * for people only.
 *
 * Setting a cell cannot fail: a lack of memory is remembered and comes out of table_print.
 */
#ifndef BLKD_CLI_TABLE_H
#define BLKD_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum table_type {
    TABLE_TEXT,
    TABLE_NUMBER,
    TABLE_BYTES, /* a number of bytes: with its unit for people, a number in JSON */
    TABLE_BOOL,  /* yes or no */
};

enum table_form {
    TABLE_ROWS,   /* a line for each row, under headings */
    TABLE_RECORD, /* a line for each cell, for tables of one row */
    TABLE_JSON,   /* {"name": [{"key": value, …}, …]} */
};

struct table_column {
    const char *key;
    const char *title;
    enum table_type type;
};

struct table;

/* `name` and `columns` outlive the table. NULL without memory. */
struct table *table_new(const char *name, const struct table_column *columns, size_t count,
                        enum table_form form);
struct table *table_free(struct table *table);

/* The cells set next are this new row's. A cell that is not set is empty, null in JSON. */
void table_add_row(struct table *table);

/* Copies the text; NULL leaves the cell empty. */
void table_set_text(struct table *table, size_t column, const char *text);
__attribute__((format(printf, 3, 4))) void table_set_format(struct table *table, size_t column,
                                                            const char *format, ...);
void table_set_number(struct table *table, size_t column, uint64_t number);
/* A number with one digit after the point. */
void table_set_decimal(struct table *table, size_t column, double number);
void table_set_bool(struct table *table, size_t column, bool value);

/* Returns 0, or -ENOMEM if the table or an earlier cell lacked memory. Errors of `out` stay in it.
 */
int table_print(const struct table *table, FILE *out);

#endif

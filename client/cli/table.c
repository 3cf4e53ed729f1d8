/* SPDX-License-Identifier: MIT */
#include "client/cli/table.h"

#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <stdarg.h>
#include <stdlib.h>

#include "client/cli/size.h"
#include "client/cli/text.h"
#include "common/cleanup.h"

struct table {
    const char *name;
    const struct table_column *columns;
    size_t column_count;
    enum table_form form;
    char **cells; /* row_count rows of column_count */
    size_t row_count;
    size_t row_room;
    bool out_of_memory;
};

struct table *table_new(const char *name, const struct table_column *columns, size_t count,
                        enum table_form form)
{
    struct table *table = calloc(1, sizeof(*table));

    if (table)
        *table =
            (struct table){.name = name, .columns = columns, .column_count = count, .form = form};
    return table;
}

struct table *table_free(struct table *table)
{
    if (!table)
        return NULL;
    for (size_t i = 0; i < table->row_count * table->column_count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
    return NULL;
}

void table_add_row(struct table *table)
{
    if (table->row_count == table->row_room) {
        size_t room = table->row_room == 0 ? 16 : table->row_room * 2;
        char **cells = reallocarray(table->cells, room * table->column_count, sizeof(*cells));

        if (!cells) {
            table->out_of_memory = true;
            return;
        }
        table->cells = cells;
        table->row_room = room;
    }
    for (size_t i = 0; i < table->column_count; i++)
        table->cells[table->row_count * table->column_count + i] = NULL;
    table->row_count++;
}

/* Takes `text`, which is NULL if there was no memory for it. */
static void table_put(struct table *table, size_t column, char *text)
{
    char **cell;

    if (!text || table->out_of_memory) {
        table->out_of_memory = true;
        free(text);
        return;
    }
    cell = &table->cells[(table->row_count - 1) * table->column_count + column];
    free(*cell);
    *cell = text;
}

void table_set_text(struct table *table, size_t column, const char *text)
{
    if (text)
        table_put(table, column,
                  text_escape(text, table->form == TABLE_JSON ? TEXT_JSON : TEXT_TERMINAL));
}

void table_set_format(struct table *table, size_t column, const char *format, ...)
{
    CLEANUP_FREE char *text = NULL;
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0) {
        text = NULL; /* unspecified after a failure */
        table->out_of_memory = true;
        return;
    }
    table_set_text(table, column, text);
}

void table_set_number(struct table *table, size_t column, uint64_t number)
{
    char size[SIZE_TEXT_MAX];

    if (table->columns[column].type != TABLE_BYTES || table->form == TABLE_JSON) {
        table_set_format(table, column, "%" PRIu64, number);
        return;
    }
    size_format(number, size);
    table_set_text(table, column, size);
}

void table_set_decimal(struct table *table, size_t column, double number)
{
    table_set_format(table, column, "%.1f", number);
}

void table_set_bool(struct table *table, size_t column, bool value)
{
    const char *text = table->form == TABLE_JSON ? (value ? "1" : "0") : (value ? "yes" : "no");

    table_set_text(table, column, text);
}

/* The heading of a column, NULL if this form does not show it. */
static const char *table_heading(const struct table *table, size_t column)
{
    return table->form == TABLE_JSON ? table->columns[column].key : table->columns[column].title;
}

static int table_json_type(enum table_type type)
{
    switch (type) {
    case TABLE_NUMBER:
    case TABLE_BYTES:
        return SCOLS_JSON_NUMBER;
    case TABLE_BOOL:
        return SCOLS_JSON_BOOLEAN;
    case TABLE_TEXT:
        break;
    }
    return SCOLS_JSON_STRING;
}

static int table_fill_columns(const struct table *table, struct libscols_table *out)
{
    for (size_t i = 0; i < table->column_count; i++) {
        enum table_type type = table->columns[i].type;
        bool right = type == TABLE_NUMBER || type == TABLE_BYTES;
        struct libscols_column *column;

        if (!table_heading(table, i))
            continue;
        column =
            scols_table_new_column(out, table_heading(table, i), 0, right ? SCOLS_FL_RIGHT : 0);
        if (!column)
            return -ENOMEM;
        (void)scols_column_set_json_type(column, table_json_type(type));
    }
    return 0;
}

static int table_fill_rows(const struct table *table, struct libscols_table *out)
{
    for (size_t row = 0; row < table->row_count; row++) {
        struct libscols_line *line = scols_table_new_line(out, NULL);
        size_t cell = 0;

        if (!line)
            return -ENOMEM;
        for (size_t i = 0; i < table->column_count; i++) {
            if (!table_heading(table, i))
                continue;
            if (scols_line_set_data(line, cell++, table->cells[row * table->column_count + i]) != 0)
                return -ENOMEM;
        }
    }
    return 0;
}

/* A line of title and value for each cell that has both. */
static int table_fill_record(const struct table *table, struct libscols_table *out)
{
    scols_table_enable_noheadings(out, 1);
    /* One letter: a heading makes its column at least as wide, also where it is not shown. */
    if (!scols_table_new_column(out, "t", 0, 0) || !scols_table_new_column(out, "v", 0, 0))
        return -ENOMEM;
    for (size_t i = 0; i < table->row_count * table->column_count; i++) {
        const char *title = table->columns[i % table->column_count].title;
        struct libscols_line *line;

        if (!title || !table->cells[i])
            continue;
        line = scols_table_new_line(out, NULL);
        if (!line || scols_line_set_data(line, 0, title) != 0 ||
            scols_line_set_data(line, 1, table->cells[i]) != 0)
            return -ENOMEM;
    }
    return 0;
}

static int table_fill(const struct table *table, struct libscols_table *out)
{
    int error;

    if (table->form == TABLE_RECORD)
        return table_fill_record(table, out);
    error = table_fill_columns(table, out);
    return error ? error : table_fill_rows(table, out);
}

int table_print(const struct table *table, FILE *out)
{
    struct libscols_table *scols;
    int error = -ENOMEM;

    if (table->out_of_memory)
        return -ENOMEM;
    scols = scols_new_table();
    if (!scols)
        return -ENOMEM;
    if (scols_table_set_name(scols, table->name) == 0) {
        (void)scols_table_set_stream(scols, out);
        (void)scols_table_enable_json(scols, table->form == TABLE_JSON);
        /* Cells are escaped already, by our own rules. */
        (void)scols_table_enable_noencoding(scols, 1);
        /* Cutting or wrapping what does not fit the terminal would hide half of a path. */
        (void)scols_table_enable_nowrap(scols, 1);
        error = table_fill(table, scols);
    }
    if (!error && (table->row_count > 0 || table->form == TABLE_JSON))
        error = scols_print_table(scols);
    scols_unref_table(scols);
    return error;
}

/* SPDX-License-Identifier: MIT */
/*
 * See fault_rules.h. The parsers take a cursor, advance it behind what they have read, and say
 * whether it was there.
 */
#include "daemon/engine/fault_rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    HALF_GRANULE = 512,
    ERRNO_MAX = 134,
    ERRNO_NAME_MAX = 32,
};

/* Any number but 0 will do. */
#define RANDOM_SEED UINT64_C(0x9e3779b97f4a7c15)

static bool skip_char(const char **cursor, char c)
{
    if (**cursor != c)
        return false;
    (*cursor)++;
    return true;
}

static bool skip_word(const char **cursor, const char *word)
{
    size_t length = strlen(word);

    if (strncmp(*cursor, word, length) != 0)
        return false;
    *cursor += length;
    return true;
}

static bool parse_number(const char **cursor, uint64_t *ret_number)
{
    char *end;

    if (!isdigit((unsigned char)**cursor))
        return false;
    errno = 0;
    uint64_t number = strtoull(*cursor, &end, 10);
    if (errno != 0)
        return false;

    *cursor = end;
    *ret_number = number;
    return true;
}

/* A number times the unit behind it. `units` is a list of words; without one of them the factor is
 * `bare`, or the number is refused if that is 0. */
struct unit {
    const char *word;
    uint64_t factor;
};

static bool parse_quantity(const char **cursor, const struct unit *units, uint64_t bare,
                           uint64_t *ret_quantity)
{
    uint64_t number;
    uint64_t factor = bare;

    if (!parse_number(cursor, &number))
        return false;
    for (; units->word; units++) {
        if (skip_word(cursor, units->word)) {
            factor = units->factor;
            break;
        }
    }
    return factor > 0 && !__builtin_mul_overflow(number, factor, ret_quantity);
}

static const struct unit size_units[] = {
    {"K", UINT64_C(1) << 10}, {"M", UINT64_C(1) << 20}, {"G", UINT64_C(1) << 30}, {NULL, 0}};
static const struct unit time_units[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {NULL, 0}};

static bool parse_op(const char **cursor, struct fault_rule *rule)
{
    if (skip_word(cursor, "read"))
        rule->ops = FAULT_READ;
    else if (skip_word(cursor, "write"))
        rule->ops = FAULT_WRITE;
    else if (skip_word(cursor, "any"))
        rule->ops = FAULT_READ | FAULT_WRITE;
    else if (skip_word(cursor, "sync"))
        rule->ops = FAULT_SYNC;
    else
        return false;
    return true;
}

static bool parse_range(const char **cursor, struct fault_rule *rule)
{
    rule->first_byte = 0;
    rule->last_byte = UINT64_MAX;
    if (rule->ops == FAULT_SYNC || !skip_char(cursor, '['))
        return true;
    return parse_quantity(cursor, size_units, 1, &rule->first_byte) && skip_char(cursor, '-') &&
           parse_quantity(cursor, size_units, 1, &rule->last_byte) && skip_char(cursor, ']') &&
           rule->first_byte <= rule->last_byte;
}

static bool parse_when(const char **cursor, struct fault_rule *rule)
{
    if (skip_char(cursor, '@'))
        rule->when = FAULT_AT;
    else if (skip_char(cursor, '%'))
        rule->when = FAULT_EACH;
    else if (skip_char(cursor, '~'))
        rule->when = FAULT_PERCENT;
    else
        return true;

    if (!parse_number(cursor, &rule->number) || rule->number == 0)
        return false;
    if (rule->when == FAULT_AT && skip_char(cursor, '+'))
        rule->when = FAULT_FROM;
    return rule->when != FAULT_PERCENT || rule->number <= 100;
}

static bool parse_errno(const char **cursor, int *ret_error)
{
    size_t length = strcspn(*cursor, ",");

    for (int number = 1; number < ERRNO_MAX; number++) {
        const char *name = strerrorname_np(number);

        if (name && strlen(name) == length && strncmp(*cursor, name, length) == 0) {
            *cursor += length;
            *ret_error = -number;
            return true;
        }
    }
    return false;
}

static bool parse_outcome(const char **cursor, struct fault_rule *rule)
{
    uint64_t limit;

    if (skip_word(cursor, "delay:"))
        return parse_quantity(cursor, time_units, 0, &rule->outcome.delay_us);
    if (rule->ops != FAULT_SYNC && skip_word(cursor, "short:")) {
        if (!parse_quantity(cursor, size_units, 1, &limit) || limit == 0)
            return false;
        rule->outcome.limit_bytes = limit;
        return true;
    }
    if (rule->ops != FAULT_SYNC && skip_word(cursor, "short")) {
        rule->half = true;
        return true;
    }
    return parse_errno(cursor, &rule->outcome.error);
}

static bool parse_rule(const char **cursor, struct fault_rule *ret_rule)
{
    struct fault_rule rule = {.when = FAULT_ALWAYS};

    if (!parse_op(cursor, &rule) || !parse_range(cursor, &rule) || !parse_when(cursor, &rule) ||
        !skip_char(cursor, '=') || !parse_outcome(cursor, &rule))
        return false;
    *ret_rule = rule;
    return true;
}

int fault_rules_parse(const char *text, struct fault_rules *ret_rules)
{
    struct fault_rules rules = {.random = RANDOM_SEED};

    do {
        if (rules.count == FAULT_RULES_MAX)
            return -E2BIG;
        if (!parse_rule(&text, &rules.rules[rules.count]))
            return -EINVAL;
        rules.count++;
    } while (skip_char(&text, ','));
    if (*text != '\0')
        return -EINVAL;

    *ret_rules = rules;
    return 0;
}

/* xorshift64 (Marsaglia, "Xorshift RNGs", 2003). */
static bool rules_chance(struct fault_rules *rules, uint64_t percent)
{
    rules->random ^= rules->random << 13;
    rules->random ^= rules->random >> 7;
    rules->random ^= rules->random << 17;
    return rules->random % 100 < percent;
}

static bool rule_covers(const struct fault_rule *rule, enum fault_op op, uint64_t offset_bytes,
                        size_t length_bytes)
{
    if (op == FAULT_SYNC || !(rule->ops & op))
        return rule->ops & op;
    return length_bytes > 0 && offset_bytes <= rule->last_byte &&
           offset_bytes + (length_bytes - 1) >= rule->first_byte;
}

static bool rule_strikes(struct fault_rules *rules, struct fault_rule *rule)
{
    rule->seen++;
    switch (rule->when) {
    case FAULT_ALWAYS:
        return true;
    case FAULT_AT:
        return rule->seen == rule->number;
    case FAULT_FROM:
        return rule->seen >= rule->number;
    case FAULT_EACH:
        return rule->seen % rule->number == 0;
    case FAULT_PERCENT:
        return rules_chance(rules, rule->number);
    }
    return false;
}

static size_t rule_limit(const struct fault_rule *rule, size_t length_bytes)
{
    if (rule->half)
        return length_bytes / 2 / HALF_GRANULE * HALF_GRANULE;
    return rule->outcome.limit_bytes < length_bytes ? rule->outcome.limit_bytes : 0;
}

struct fault_outcome fault_rules_next(struct fault_rules *rules, enum fault_op op,
                                      uint64_t offset_bytes, size_t length_bytes)
{
    struct fault_outcome outcome = {0};

    for (unsigned int i = 0; i < rules->count; i++) {
        struct fault_rule *rule = &rules->rules[i];

        if (!rule_covers(rule, op, offset_bytes, length_bytes) || !rule_strikes(rules, rule))
            continue;
        outcome.delay_us += rule->outcome.delay_us;
        if (outcome.error != 0 || outcome.limit_bytes != 0)
            continue;
        outcome.error = rule->outcome.error;
        outcome.limit_bytes = rule_limit(rule, length_bytes);
    }
    return outcome;
}

/* Expressions of a grammar, as they are put together. */
#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *grammar_grow(void *items, size_t size, size_t used, size_t *cap, size_t n) {
    if (items != NULL && used + n <= *cap)
        return items;
    size_t more = *cap < 64 ? 64 : *cap * 2;
    while (more < used + n)
        more *= 2;
    void *grown = realloc(items, more * size);
    if (grown != NULL)
        *cap = more;
    return grown;
}

static uint32_t fail(struct grammar_builder *b, int status, const char *why) {
    if (b->status == 0) {
        b->status = status;
        b->why = why;
    }
    return GRAMMAR_NONE;
}

static uint32_t no_memory(struct grammar_builder *b) {
    return fail(b, -ENOMEM, "Not enough memory for the grammar.");
}

struct grammar_builder *grammar_builder_create(void) {
    struct grammar_builder *b = calloc(1, sizeof *b);
    if (b != NULL)
        b->character = GRAMMAR_NONE;
    return b;
}

void grammar_builder_destroy(struct grammar_builder *b) {
    if (b == NULL)
        return;
    free(b->expressions);
    free(b->items);
    free(b->bytes);
    free(b->rules);
    free(b);
}

static uint32_t add(struct grammar_builder *b, struct grammar_expression e) {
    if (b->status != 0)
        return GRAMMAR_NONE;
    if (b->n_expressions >= GRAMMAR_EXPRESSIONS_MAX)
        return fail(b, -E2BIG, "The grammar has more than 1,048,576 expressions.");
    void *grown =
        grammar_grow(b->expressions, sizeof *b->expressions, b->n_expressions, &b->expressions_cap, 1);
    if (grown == NULL)
        return no_memory(b);
    b->expressions = grown;
    b->expressions[b->n_expressions] = e;
    return (uint32_t)b->n_expressions++;
}

static bool is_expression(struct grammar_builder *b, uint32_t item) {
    if (item < b->n_expressions)
        return true;
    (void)fail(b, -EINVAL, "The grammar uses an expression that does not exist.");
    return false;
}

uint32_t grammar_literal(struct grammar_builder *b, const char *text, size_t len) {
    if (b->status != 0)
        return GRAMMAR_NONE;
    if (len > GRAMMAR_INSTRUCTIONS_MAX || b->n_bytes > UINT32_MAX - GRAMMAR_INSTRUCTIONS_MAX)
        return fail(b, -E2BIG, "The texts of the grammar are too long.");
    void *grown = grammar_grow(b->bytes, 1, b->n_bytes, &b->bytes_cap, len);
    if (grown == NULL)
        return no_memory(b);
    b->bytes = grown;
    if (len > 0)
        memcpy(b->bytes + b->n_bytes, text, len);
    b->n_bytes += len;
    return add(b,
               (struct grammar_expression){GRAMMAR_LITERAL, (uint32_t)(b->n_bytes - len), (uint32_t)len, 0});
}

uint32_t grammar_byte(struct grammar_builder *b, unsigned char first, unsigned char last) {
    return add(b, (struct grammar_expression){GRAMMAR_RANGE, first, last, 0});
}

static uint32_t add_list(struct grammar_builder *b, enum grammar_kind kind, const uint32_t *items, size_t n) {
    if (b->status != 0)
        return GRAMMAR_NONE;
    for (size_t i = 0; i < n; i++)
        if (!is_expression(b, items[i]))
            return GRAMMAR_NONE;
    if (n == 1)
        return items[0];
    if (b->n_items + n > 4u * GRAMMAR_EXPRESSIONS_MAX)
        return fail(b, -E2BIG, "The grammar has more than 4,194,304 parts of expressions.");
    void *grown = grammar_grow(b->items, sizeof *b->items, b->n_items, &b->items_cap, n);
    if (grown == NULL)
        return no_memory(b);
    b->items = grown;
    if (n > 0)
        memcpy(b->items + b->n_items, items, n * sizeof *items);
    b->n_items += n;
    return add(b, (struct grammar_expression){kind, (uint32_t)(b->n_items - n), (uint32_t)n, 0});
}

uint32_t grammar_sequence(struct grammar_builder *b, const uint32_t *items, size_t n) {
    return add_list(b, GRAMMAR_SEQUENCE, items, n);
}

uint32_t grammar_choice(struct grammar_builder *b, const uint32_t *items, size_t n) {
    return add_list(b, GRAMMAR_CHOICE, items, n);
}

static uint32_t add_repeat(struct grammar_builder *b, enum grammar_kind kind, uint32_t item, uint32_t min,
                           uint32_t max) {
    if (b->status != 0 || !is_expression(b, item))
        return GRAMMAR_NONE;
    if (min > GRAMMAR_COUNT_MAX || (max > GRAMMAR_COUNT_MAX && max != GRAMMAR_FOREVER))
        return fail(b, -E2BIG, "A repetition of the grammar has more than 1,073,741,823 rounds.");
    if (min > max)
        return grammar_choice(b, NULL, 0);
    return add(b, (struct grammar_expression){kind, item, min, max});
}

uint32_t grammar_repeat(struct grammar_builder *b, uint32_t item, uint32_t min, uint32_t max) {
    return add_repeat(b, GRAMMAR_REPEAT, item, min, max);
}

/* ---- characters ---- */

static size_t encode(uint32_t c, unsigned char *out) {
    if (c < 0x80) {
        out[0] = (unsigned char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (unsigned char)(0xC0 | c >> 6);
        out[1] = (unsigned char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (unsigned char)(0xE0 | c >> 12);
        out[1] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (unsigned char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | c >> 18);
    out[1] = (unsigned char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (unsigned char)(0x80 | (c & 0x3F));
    return 4;
}

struct parts {
    uint32_t *v;
    size_t n, cap;
};

static void push(struct grammar_builder *b, struct parts *list, uint32_t item) {
    uint32_t *grown = grammar_grow(list->v, sizeof *list->v, list->n, &list->cap, 1);
    if (grown == NULL) {
        (void)no_memory(b);
        return;
    }
    list->v = grown;
    list->v[list->n++] = item;
}

/* first … last have encodings of one length that differ only where whole ranges of continuation bytes follow,
 * or are cut until they do. The cuts are those of Russ Cox's utf8-ranges. */
static void add_utf8(struct grammar_builder *b, uint32_t first, uint32_t last, struct parts *out) {
    static const uint32_t ends[] = {0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF, 0x10FFFF};
    if (first > last || b->status != 0)
        return;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (first <= ends[i] && last > ends[i]) {
            add_utf8(b, first, ends[i], out);
            add_utf8(b, ends[i] + 1, last, out);
            return;
        }
    if (first >= 0xD800 && first <= 0xDFFF)
        return;
    for (uint32_t shift = 6; shift <= 18 && last > 0x7F; shift += 6) {
        uint32_t low = ((uint32_t)1 << shift) - 1;
        if ((first & ~low) == (last & ~low))
            break;
        if ((first & low) != 0) {
            add_utf8(b, first, first | low, out);
            add_utf8(b, (first | low) + 1, last, out);
            return;
        }
        if ((last & low) != low) {
            add_utf8(b, first, (last & ~low) - 1, out);
            add_utf8(b, last & ~low, last, out);
            return;
        }
    }
    unsigned char low[4], high[4];
    uint32_t items[4];
    size_t n = encode(first, low);
    (void)encode(last, high);
    for (size_t i = 0; i < n; i++)
        items[i] = grammar_byte(b, low[i], high[i]);
    push(b, out, grammar_sequence(b, items, n));
}

uint32_t grammar_chars(struct grammar_builder *b, const struct grammar_range *ranges, size_t n) {
    struct parts list = {0};
    for (size_t i = 0; i < n; i++)
        add_utf8(b, ranges[i].first, ranges[i].last < 0x10FFFF ? ranges[i].last : 0x10FFFF, &list);
    uint32_t whole = grammar_choice(b, list.v, list.n);
    free(list.v);
    return whole;
}

/* ---- strings ---- */

/* One byte of these ranges: "09af" is 0 … 9 and a … f. */
static uint32_t one_of(struct grammar_builder *b, const char *ranges) {
    uint32_t items[8];
    size_t n = 0;
    for (const char *p = ranges; *p != '\0'; p += 2)
        items[n++] = grammar_byte(b, (unsigned char)p[0], (unsigned char)p[1]);
    return grammar_choice(b, items, n);
}

/* Behind \u: four digits that are no surrogate and not 0000, or the two halves of a character beyond U+FFFF.
 */
static uint32_t unicode_escape(struct grammar_builder *b) {
    uint32_t any = one_of(b, "09afAF"), some = one_of(b, "19afAF"), zero = grammar_literal(b, "0", 1);
    uint32_t d = one_of(b, "ddDD");
    uint32_t plain[] = {one_of(b, "19acefACEF"), any, any, any};
    uint32_t below[] = {d, one_of(b, "07"), any, any};
    uint32_t small1[] = {zero, some, any, any};
    uint32_t small2[] = {zero, zero, some, any};
    uint32_t small3[] = {zero, zero, zero, some};
    uint32_t pair[] = {d, one_of(b, "89abAB"), any, any, grammar_literal(b, "\\u", 2),
                       d, one_of(b, "cfCF"),   any, any};
    uint32_t codes[] = {grammar_sequence(b, plain, 4),  grammar_sequence(b, below, 4),
                        grammar_sequence(b, small1, 4), grammar_sequence(b, small2, 4),
                        grammar_sequence(b, small3, 4), grammar_sequence(b, pair, 9)};
    return grammar_choice(b, codes, 6);
}

/* A character of a string: what is long is in rules, because each string has this. */
static uint32_t string_character(struct grammar_builder *b) {
    static const struct grammar_range beyond[] = {{0x80, 0x10FFFF}};
    uint32_t wide = grammar_rule(b, false), escape = grammar_rule(b, false);
    grammar_define(b, wide, grammar_chars(b, beyond, 1));
    uint32_t unicode[] = {grammar_literal(b, "u", 1), unicode_escape(b)};
    uint32_t codes[] = {one_of(b, "\"\"\\\\//bbffnnrrtt"), grammar_sequence(b, unicode, 2)};
    uint32_t whole[] = {grammar_literal(b, "\\", 1), grammar_choice(b, codes, 2)};
    grammar_define(b, escape, grammar_sequence(b, whole, 2));
    uint32_t items[] = {one_of(b, " !#[]\x7f"), grammar_call(b, escape), grammar_call(b, wide)};
    return grammar_choice(b, items, 3);
}

uint32_t grammar_string(struct grammar_builder *b, uint32_t min, uint32_t max) {
    if (b->character == GRAMMAR_NONE)
        b->character = string_character(b);
    return add_repeat(b, GRAMMAR_STRING, b->character, min, max);
}

uint32_t grammar_open(struct grammar_builder *b, uint32_t item) {
    if (b->status != 0 || !is_expression(b, item))
        return GRAMMAR_NONE;
    return add(b, (struct grammar_expression){GRAMMAR_OPEN, item, 0, 0});
}

/* ---- rules and tags ---- */

uint32_t grammar_rule(struct grammar_builder *b, bool nested) {
    if (b->status != 0)
        return GRAMMAR_NONE;
    void *grown = grammar_grow(b->rules, sizeof *b->rules, b->n_rules, &b->rules_cap, 1);
    if (grown == NULL)
        return no_memory(b);
    b->rules = grown;
    b->rules[b->n_rules] = (struct grammar_rule_source){GRAMMAR_NONE, nested, false};
    return (uint32_t)b->n_rules++;
}

void grammar_define(struct grammar_builder *b, uint32_t rule, uint32_t expression) {
    if (b->status != 0 || !is_expression(b, expression))
        return;
    if (rule >= b->n_rules || b->rules[rule].expression != GRAMMAR_NONE)
        (void)fail(b, -EINVAL, "A rule of the grammar is defined twice, or does not exist.");
    else
        b->rules[rule].expression = expression;
}

uint32_t grammar_unique_names(struct grammar_builder *b, uint32_t item) {
    uint32_t rule = grammar_rule(b, false);
    if (rule == GRAMMAR_NONE)
        return GRAMMAR_NONE;
    b->rules[rule].names = true;
    grammar_define(b, rule, item);
    return grammar_call(b, rule);
}

uint32_t grammar_call(struct grammar_builder *b, uint32_t rule) {
    if (b->status == 0 && rule >= b->n_rules)
        return fail(b, -EINVAL, "The grammar calls a rule that does not exist.");
    return add(b, (struct grammar_expression){GRAMMAR_CALL, rule, 0, 0});
}

static uint32_t add_tag(struct grammar_builder *b, enum grammar_kind kind, const char *text) {
    size_t len = strlen(text), i = 0;
    if (b->status != 0)
        return GRAMMAR_NONE;
    while (i < b->n_tags && strcmp(b->tags[i].text, text) != 0)
        i++;
    if (i == GRAMMAR_TAGS_MAX || len == 0 || len >= sizeof b->tags[0].text)
        return fail(b, -E2BIG, "A tag of the grammar is longer than 31 bytes, or there are more than 64.");
    if (i == b->n_tags) {
        memcpy(b->tags[i].text, text, len + 1);
        b->tags[i].len = len;
        b->n_tags++;
    }
    return add(b, (struct grammar_expression){kind, (uint32_t)i, 0, 0});
}

uint32_t grammar_tag(struct grammar_builder *b, const char *text) {
    return add_tag(b, GRAMMAR_TAG, text);
}

uint32_t grammar_text_until(struct grammar_builder *b, const char *tag) {
    return add_tag(b, GRAMMAR_UNTIL, tag);
}

uint32_t grammar_text_without(struct grammar_builder *b, const char *tag) {
    return add_tag(b, GRAMMAR_WITHOUT, tag);
}

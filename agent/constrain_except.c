/* Arguments that must not come again: the grammar of a tool's arguments less every spelling of certain ones.
 *
 * What is left out is written as an expression of its own, members in the
 * grammar's order, where it leaves that free in any and more than once, numbers by value, strings by
 * characters. So that it costs little, two things more than asked are left out where the arguments are the
 * same up to there: in a string a \u escape that is not needed, and instead of a number any with an exponent.
 * No string is lost by the first, and by the second only numbers that cannot be written without. */
#include "agent/constrain_inner.h"

#include "engine/grammar_except.h"
#include "tools/value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANY_ORDER_MAX 10 /* members of one object whose order is free */
#define DIGITS_MAX    40
#define POINT_MAX     40 /* digits before a number's point, or zeros behind it: more than is ever written */
#define ONCE          128

struct same {
    struct grammar_builder *b;
    uint32_t powered;     /* a number with an exponent, and all behind it */
    uint32_t needless;    /* a \u escape that is not needed, and all behind it */
    uint32_t ascii[ONCE]; /* characters; GRAMMAR_NONE: not made yet */
    int status;           /* -ENOTSUP: cannot be said */
};

static uint32_t text(struct same *s, const char *t) {
    return grammar_literal(s->b, t, strlen(t));
}

static uint32_t sequence(struct same *s, uint32_t x, uint32_t y) {
    return grammar_sequence(s->b, (uint32_t[]){x, y}, 2);
}

static uint32_t either(struct same *s, uint32_t x, uint32_t y) {
    return grammar_choice(s->b, (uint32_t[]){x, y}, 2);
}

static uint32_t any_number_of(struct same *s, uint32_t x) {
    return grammar_repeat(s->b, x, 0, GRAMMAR_FOREVER);
}

static uint32_t perhaps(struct same *s, uint32_t x) {
    return grammar_repeat(s->b, x, 0, 1);
}

/* ---- strings ---- */

/* A hexadecimal digit of these, in either case: "09af" is 0 … 9 and a … f. */
static uint32_t digit(struct same *s, const char *ranges) {
    uint32_t items[8];
    size_t n = 0;
    for (const char *p = ranges; *p != '\0'; p += 2) {
        items[n++] = grammar_byte(s->b, (unsigned char)p[0], (unsigned char)p[1]);
        if (p[0] >= 'a')
            items[n++] = grammar_byte(s->b, (unsigned char)(p[0] - 32), (unsigned char)(p[1] - 32));
    }
    return grammar_choice(s->b, items, n);
}

/* All but those below U+0020 without a short form, and those that others here write so: \b, \f, DEL. */
static uint32_t needless_escape(struct same *s) {
    uint32_t codes[] = {
        digit(s, "19af"),
        sequence(s, text(s, "0"), digit(s, "19af")),
        sequence(s, text(s, "00"), digit(s, "2689af")),
        sequence(s, text(s, "007"), digit(s, "09ae")),
        sequence(s, text(s, "000"), digit(s, "99aadd")),
    };
    uint32_t code = grammar_choice(s->b, codes, sizeof codes / sizeof *codes);
    return grammar_sequence(s->b, (uint32_t[]){text(s, "\\u"), code, grammar_anything(s->b)}, 3);
}

static uint32_t low_escape(struct same *s, unsigned c) {
    char high[8], low[3] = {0};
    (void)snprintf(high, sizeof high, "\\u00%u", c >> 4);
    low[0] = low[1] = "0123456789abcdef"[c & 15];
    return sequence(s, text(s, high), digit(s, low));
}

static uint32_t ascii(struct same *s, unsigned char c) {
    static const char shorts[] = "\"\\/\b\f\n\r\t", letters[] = "\"\\/bfnrt";
    uint32_t ways[4];
    size_t n = 0;
    if (s->ascii[c] != GRAMMAR_NONE)
        return s->ascii[c];
    const char *at = c != '\0' ? strchr(shorts, c) : NULL;
    if (c >= 0x20 && c != '"' && c != '\\')
        ways[n++] = grammar_literal(s->b, (const char *)&c, 1);
    if (at != NULL)
        ways[n++] = text(s, (char[]){'\\', letters[at - shorts], '\0'});
    if (c == '\b' || c == '\f' || c == 0x7F || (at == NULL && c < 0x20))
        ways[n++] = low_escape(s, c);
    ways[n++] = s->needless;
    s->ascii[c] = grammar_choice(s->b, ways, n);
    return s->ascii[c];
}

static uint32_t string(struct same *s, const char *t, size_t len) {
    uint32_t *items = calloc(len + 2, sizeof *items);
    size_t n = 0;
    if (items == NULL) {
        s->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    uint32_t quote = text(s, "\"");
    items[n++] = quote;
    for (size_t at = 0; at < len; at++) {
        unsigned char c = (unsigned char)t[at];
        if (c < ONCE)
            items[n++] = ascii(s, c);
        else if (c < 0xC0) /* behind the first byte of a character there is no choice */
            items[n++] = grammar_byte(s->b, c, c);
        else
            items[n++] = either(s, grammar_byte(s->b, c, c), s->needless);
    }
    items[n++] = quote;
    uint32_t e = grammar_sequence(s->b, items, n);
    free(items);
    return e;
}

/* ---- numbers ---- */

/* The digits with the point behind `point` of them, zeros where there are none. */
static uint32_t plain(struct same *s, const struct decimal *d, long point) {
    char whole[DIGITS_MAX + POINT_MAX + 2], behind[DIGITS_MAX + POINT_MAX + 2];
    size_t n_whole = 0, n_behind = 0;
    long n = (long)d->n_digits;
    for (long i = 0; i < point; i++)
        whole[n_whole++] = i < n ? d->digits[i] : '0';
    if (n_whole == 0)
        whole[n_whole++] = '0';
    for (long i = point; i < n; i++)
        behind[n_behind++] = i < 0 ? '0' : d->digits[i];
    whole[n_whole] = behind[n_behind] = '\0';
    uint32_t zeros = any_number_of(s, text(s, "0")), dot = text(s, ".");
    if (n_behind > 0)
        return grammar_sequence(s->b, (uint32_t[]){text(s, whole), dot, text(s, behind), zeros}, 4);
    uint32_t nothing = grammar_sequence(s->b, (uint32_t[]){dot, text(s, "0"), zeros}, 3);
    return sequence(s, text(s, whole), perhaps(s, nothing));
}

/* Any number with an exponent, and all behind it. */
static uint32_t powered(struct same *s) {
    uint32_t any = grammar_byte(s->b, '0', '9'), digits = grammar_repeat(s->b, any, 1, GRAMMAR_FOREVER);
    uint32_t behind = sequence(s, text(s, "."), digits), e = either(s, text(s, "e"), text(s, "E"));
    return grammar_sequence(
        s->b, (uint32_t[]){perhaps(s, text(s, "-")), digits, perhaps(s, behind), e, grammar_anything(s->b)},
        5);
}

static uint32_t number(struct same *s, const struct value *v) {
    const struct decimal *d = &v->number;
    uint32_t ways[3], n = 0;
    long point = (long)d->n_digits + d->exponent; /* digits before the point */
    if (d->n_digits > DIGITS_MAX) {
        s->status = -ENOTSUP;
        return GRAMMAR_NONE;
    }
    if (d->n_digits == 0)
        ways[n++] = sequence(s, perhaps(s, text(s, "-")), plain(s, d, 1));
    else if (point >= -POINT_MAX && point <= POINT_MAX)
        ways[n++] = sequence(s, text(s, d->negative ? "-" : ""), plain(s, d, point));
    ways[n++] = s->powered;
    ways[n++] = grammar_literal(s->b, v->text, v->text_len); /* also as it was written then */
    return grammar_choice(s->b, ways, n);
}

/* ---- values ---- */

static uint32_t same(struct same *s, const struct constrain_nodes *nodes, const struct value *v);

static uint32_t same_child(struct same *s, const struct constrain_nodes *parent, const struct value *v,
                           size_t index) {
    struct constrain_nodes *nodes = malloc(sizeof *nodes);
    if (nodes == NULL) {
        s->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    constrain_nodes_child(nodes, parent, v, v->name, index);
    uint32_t e = same(s, nodes, v);
    free(nodes);
    return e;
}

static uint32_t array(struct same *s, const struct constrain_nodes *nodes, const struct value *v) {
    uint32_t *items = calloc(2 * v->count + 2, sizeof *items);
    size_t n = 0, index = 0;
    if (items == NULL) {
        s->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    items[n++] = text(s, "[");
    for (const struct value *i = v->child; i != NULL && s->status == 0; i = i->next) {
        if (i != v->child)
            items[n++] = text(s, ", ");
        items[n++] = same_child(s, nodes, i, index++);
    }
    items[n++] = text(s, "]");
    uint32_t e = s->status == 0 ? grammar_sequence(s->b, items, n) : GRAMMAR_NONE;
    free(items);
    return e;
}

/* These entries in any order, and any of them again, then the end: one rule for each set of those that stand
 * there already. `first`: nothing stands before. */
static uint32_t any_order(struct same *s, const uint32_t *entries, size_t n, bool first) {
    uint32_t rules[1 << ANY_ORDER_MAX], ways[ANY_ORDER_MAX + 1], begin = GRAMMAR_NONE;
    uint32_t comma = text(s, ", "), none = text(s, ""), all = (1u << n) - 1;
    if (n > ANY_ORDER_MAX) {
        s->status = -ENOTSUP;
        return GRAMMAR_NONE;
    }
    for (uint32_t there = 1; there <= all; there++)
        rules[there] = grammar_rule(s->b, false);
    for (uint32_t there = 0; there <= all; there++) {
        size_t count = 0;
        for (uint32_t i = 0; i < n; i++)
            ways[count++] = grammar_sequence(s->b,
                                             (uint32_t[]){there == 0 && first ? none : comma, entries[i],
                                                          grammar_call(s->b, rules[there | 1u << i])},
                                             3);
        if (there == all)
            ways[count++] = text(s, "}");
        if (there == 0)
            begin = grammar_choice(s->b, ways, count);
        else
            grammar_define(s->b, rules[there], grammar_choice(s->b, ways, count));
    }
    return begin;
}

/* Declared members in their order, then the others in any. */
static uint32_t object(struct same *s, const struct constrain_nodes *nodes, const struct value *v) {
    const struct value **members = calloc(v->count + 1, sizeof *members);
    uint32_t *entries = calloc(2 * v->count + 3, sizeof *entries), *items = entries, e = GRAMMAR_NONE;
    if (members == NULL || entries == NULL) {
        s->status = -ENOMEM;
    } else {
        size_t declared = constrain_nodes_order(nodes, v, members), n = 0;
        declared = nodes->several ? 0 : declared;
        entries = calloc(v->count + 1, sizeof *entries);
        s->status = entries == NULL ? -ENOMEM : s->status;
        for (size_t i = 0; i < v->count && s->status == 0; i++) {
            uint32_t name = string(s, members[i]->name, strlen(members[i]->name));
            uint32_t value = same_child(s, nodes, members[i], 0);
            entries[i] = grammar_sequence(s->b, (uint32_t[]){name, text(s, ": "), value}, 3);
        }
        items[n++] = text(s, "{");
        for (size_t i = 0; i < declared && s->status == 0; i++) {
            if (i > 0)
                items[n++] = text(s, ", ");
            items[n++] = entries[i];
        }
        if (s->status == 0)
            items[n++] = any_order(s, entries + declared, v->count - declared, declared == 0);
        if (s->status == 0)
            e = grammar_sequence(s->b, items, n);
        free(entries);
    }
    free(items);
    free(members);
    return e;
}

static uint32_t same(struct same *s, const struct constrain_nodes *nodes, const struct value *v) {
    switch (v->kind) {
    case VALUE_NULL:
        return text(s, "null");
    case VALUE_FALSE:
        return text(s, "false");
    case VALUE_TRUE:
        return text(s, "true");
    case VALUE_NUMBER:
        return number(s, v);
    case VALUE_STRING:
        return string(s, v->text, v->text_len);
    case VALUE_ARRAY:
        return array(s, nodes, v);
    case VALUE_OBJECT:
        return object(s, nodes, v);
    }
    return GRAMMAR_NONE;
}

static uint32_t same_root(struct same *s, const struct schema *schema, const struct value *v) {
    struct constrain_nodes *nodes = malloc(sizeof *nodes);
    if (nodes == NULL) {
        s->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    constrain_nodes_root(nodes, schema, v);
    uint32_t e = same(s, nodes, v);
    free(nodes);
    return e;
}

/* All spellings of one of the tool's forbidden arguments. */
static uint32_t same_as_one(struct same *s, const struct constrain_tool *tool) {
    uint32_t *ways = calloc(tool->n_forbidden, sizeof *ways);
    if (ways == NULL) {
        s->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    for (size_t i = 0; i < tool->n_forbidden && s->status == 0; i++) {
        struct value_document *document = NULL;
        int rc = value_parse(tool->forbidden[i], strlen(tool->forbidden[i]), &json_limits_default, &document,
                             NULL, 0);
        if (rc == 0)
            ways[i] = same_root(s, tool->schema, value_root(document));
        else
            s->status = rc == -ENOMEM ? rc : -ENOTSUP;
        value_destroy(document);
    }
    uint32_t e = s->status == 0 ? grammar_choice(s->b, ways, tool->n_forbidden) : GRAMMAR_NONE;
    free(ways);
    return e;
}

uint32_t constrain_except(struct constrain *c, uint32_t arguments, const struct constrain_tool *tool) {
    struct same s = {.b = grammar_builder_create()};
    uint32_t left = GRAMMAR_NONE;
    if (s.b == NULL || c->status != 0) {
        c->status = c->status != 0 ? c->status : -ENOMEM;
        grammar_builder_destroy(s.b);
        return GRAMMAR_NONE;
    }
    for (size_t i = 0; i < ONCE; i++)
        s.ascii[i] = GRAMMAR_NONE;
    s.needless = needless_escape(&s);
    s.powered = powered(&s);
    uint32_t forbidden = same_as_one(&s, tool);
    int rc = s.status != 0 ? s.status : grammar_except(c->b, arguments, s.b, forbidden, &left);
    grammar_builder_destroy(s.b);
    if (rc == -ENOMEM)
        c->status = rc;
    if (rc == 0)
        return left;
    if (tool->left_out != NULL)
        *tool->left_out = true;
    return constrain_nothing(c);
}

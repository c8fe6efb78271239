/* The grammars of turns, calls and values. */
#include "agent/constrain_inner.h"

#include "base/json.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NESTING_MAX 60 /* JSON readers here go to 64; a call has two levels of its own */

void constrain_note(struct constrain *c, const char *what) {
    struct constrain_report *r = c->report;
    if (!r->exact)
        return;
    r->exact = false;
    (void)snprintf(r->why, sizeof r->why, "%s%s%s: %s", c->tool != NULL ? c->tool : "",
                   c->tool != NULL ? ": " : "", c->place != NULL && *c->place != '\0' ? c->place : "/", what);
}

void *constrain_grow(struct constrain *c, void *items, size_t size, size_t used, size_t *cap, size_t n) {
    if (items != NULL && used + n <= *cap)
        return items;
    size_t more = *cap < 32 ? 32 : *cap * 2;
    while (more < used + n)
        more *= 2;
    void *grown = realloc(items, more * size);
    if (grown == NULL)
        c->status = -ENOMEM;
    else
        *cap = more;
    return grown;
}

uint32_t constrain_text(struct constrain *c, const char *text) {
    return grammar_literal(c->b, text, strlen(text));
}

uint32_t constrain_quoted(struct constrain *c, const char *text) {
    struct buf quoted;
    buf_init(&quoted, 16u << 20);
    uint32_t e = GRAMMAR_NONE;
    int rc = json_quote(&quoted, text, strlen(text), false);
    if (rc == 0)
        e = grammar_literal(c->b, quoted.data, quoted.len);
    else
        c->status = rc == -ENOBUFS ? -E2BIG : rc;
    buf_finish(&quoted);
    return e;
}

uint32_t constrain_two(struct constrain *c, uint32_t x, uint32_t y) {
    return grammar_sequence(c->b, (uint32_t[]){x, y}, 2);
}

uint32_t constrain_three(struct constrain *c, uint32_t x, uint32_t y, uint32_t z) {
    return grammar_sequence(c->b, (uint32_t[]){x, y, z}, 3);
}

uint32_t constrain_either(struct constrain *c, uint32_t x, uint32_t y) {
    return grammar_choice(c->b, (uint32_t[]){x, y}, 2);
}

uint32_t constrain_nothing(struct constrain *c) {
    return grammar_choice(c->b, NULL, 0);
}

uint32_t constrain_once(struct constrain *c, uint32_t expression) {
    uint32_t rule = grammar_rule(c->b, false);
    grammar_define(c->b, rule, expression);
    return grammar_call(c->b, rule);
}

/* ---- the three grammars ---- */

int constrain_begin(struct constrain *c, bool whole, struct constrain_report *report) {
    *report = (struct constrain_report){.exact = true};
    *c = (struct constrain){.whole = whole, .report = report};
    c->name_rest = c->escaped_rest = c->odd_rest = GRAMMAR_NONE;
    for (size_t i = 0; i < sizeof c->formats / sizeof *c->formats; i++)
        c->formats[i] = GRAMMAR_NONE;
    c->b = grammar_builder_create();
    return c->b == NULL ? -ENOMEM : 0;
}

/* Units belong to one schema. */
static void forget_units(struct constrain *c) {
    free(c->known);
    free(c->slots);
    free(c->ids);
    c->known = NULL;
    c->slots = NULL;
    c->ids = NULL;
    c->n_known = c->known_cap = c->n_slots = c->n_ids = c->ids_cap = 0;
}

int constrain_end(struct constrain *c, uint32_t root, struct grammar **out, char *err, size_t errlen) {
    int rc = c->status;
    if (rc == 0)
        rc = grammar_compile(c->b, root, NESTING_MAX, out, err, errlen);
    else
        rc = err_set(err, errlen, rc,
                     rc == -E2BIG ? "The schema is too large to be made a grammar of."
                                  : "Not enough memory for the grammar of a schema.");
    forget_units(c);
    grammar_builder_destroy(c->b);
    return rc;
}

uint32_t constrain_root(struct constrain *c, const struct schema *schema) {
    struct unit unit = {.n = 0};
    c->place = "";
    (void)constrain_add(c, &unit, schema_root(schema));
    return constrain_unit(c, &unit);
}

uint32_t constrain_unique(struct constrain *c, uint32_t value) {
    bool free_names = c->free_names;
    c->free_names = false;
    forget_units(c);
    return free_names && c->status == 0 ? grammar_unique_names(c->b, value) : value;
}

uint32_t constrain_calls(struct constrain *c, const struct constrain_tool *tools, size_t n) {
    uint32_t *each = calloc(n, sizeof *each);
    if (each == NULL) {
        c->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    for (size_t i = 0; i < n && c->status == 0; i++) {
        c->tool = tools[i].name;
        uint32_t name = constrain_quoted(c, tools[i].name), infix = constrain_text(c, ", \"arguments\": ");
        uint32_t arguments = constrain_root(c, tools[i].schema);
        if (tools[i].n_forbidden > 0)
            arguments = constrain_except(c, arguments, &tools[i]);
        each[i] = constrain_three(c, name, infix, constrain_unique(c, arguments));
    }
    uint32_t any = c->status == 0 ? grammar_choice(c->b, each, n) : GRAMMAR_NONE;
    free(each);
    uint32_t close = constrain_two(c, constrain_text(c, "}\n"), grammar_tag(c->b, "</tool_call>"));
    return constrain_three(c, constrain_text(c, "\n{\"name\": "), any, close);
}

static int make_calls(const struct constrain_tool *tools, size_t n, bool turn, struct grammar **out,
                      struct constrain_report *report, char *err, size_t errlen) {
    struct constrain c;
    if (n == 0)
        return err_set(err, errlen, -EINVAL, "There are no tools to make a grammar of.");
    if (constrain_begin(&c, false, report) < 0)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the grammar of the tools.");
    uint32_t root = constrain_calls(&c, tools, n);
    if (turn) {
        uint32_t called = constrain_two(&c, grammar_text_until(c.b, "<tool_call>"), root);
        root = constrain_two(&c, grammar_repeat(c.b, called, 0, GRAMMAR_FOREVER),
                             grammar_text_without(c.b, "<tool_call>"));
    }
    return constrain_end(&c, root, out, err, errlen);
}

int constrain_turn(const struct constrain_tool *tools, size_t n, struct grammar **out,
                   struct constrain_report *report, char *err, size_t errlen) {
    return make_calls(tools, n, true, out, report, err, errlen);
}

int constrain_call(const struct constrain_tool *tools, size_t n, struct grammar **out,
                   struct constrain_report *report, char *err, size_t errlen) {
    return make_calls(tools, n, false, out, report, err, errlen);
}

int constrain_value(const struct schema *schema, bool whole, struct grammar **out,
                    struct constrain_report *report, char *err, size_t errlen) {
    struct constrain c;
    if (constrain_begin(&c, whole, report) < 0)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the grammar of a schema.");
    uint32_t value = constrain_root(&c, schema);
    return constrain_end(&c, constrain_unique(&c, value), out, err, errlen);
}

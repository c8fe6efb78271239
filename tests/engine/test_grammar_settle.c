/* Distances and heights against a slow way to find them; and that compiling takes as many looks as a program
 * is long, whatever its shape. */
#include "engine/grammar.h"
#include "engine/grammar_program.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct grammar *compile(struct grammar_builder *b, uint32_t root) {
    struct grammar *g = NULL;
    char err[300] = "";
    if (grammar_compile(b, root, 16, &g, err, sizeof err) != 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    return g;
}

/* ---- against going around until nothing changes ---- */

static uint64_t sum(uint64_t a, uint64_t b) {
    return a == GRAMMAR_FOREVER || b == GRAMMAR_FOREVER ? GRAMMAR_FOREVER : a + b;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t slow_value(const struct grammar *g, const uint64_t *v, uint32_t pc, bool height) {
    const struct grammar_instruction *i = &g->code[pc];
    uint64_t value = GRAMMAR_FOREVER;
    switch ((enum grammar_op)i->op) {
    case GRAMMAR_OP_RETURN:
    case GRAMMAR_OP_LOOP_END:
        return 0;
    case GRAMMAR_OP_FAIL:
        return GRAMMAR_FOREVER;
    case GRAMMAR_OP_BYTES:
        return sum(height ? 0 : 1, v[i->next]);
    case GRAMMAR_OP_SYMBOL:
        return sum(height ? 0 : i->arg == 0 ? 1 : g->tags[i->arg - 1].len, v[i->next]);
    case GRAMMAR_OP_JUMP:
    case GRAMMAR_OP_STRING:
    case GRAMMAR_OP_TEXT:
        return v[i->next];
    case GRAMMAR_OP_SPLIT:
        return least(v[i->next], v[i->arg]);
    case GRAMMAR_OP_EDGES:
        for (uint32_t k = 0; k < i->low + 256u * i->high; k++)
            value = least(value, sum(height ? 0 : 1, v[g->edges[i->arg + k].next]));
        return i->next != GRAMMAR_NONE ? least(value, v[i->next]) : value;
    case GRAMMAR_OP_CALL:
        value = v[g->rules[i->arg].entry];
        return height ? most(sum(g->rules[i->arg].nested, value), v[i->next]) : sum(value, v[i->next]);
    case GRAMMAR_OP_LOOP:
        value = g->loops[i->arg].min > 0 ? v[g->loops[i->arg].body] : 0;
        if (height)
            return most(value, v[g->loops[i->arg].exit]);
        value = value == GRAMMAR_FOREVER ? value : value * g->loops[i->arg].min;
        return sum(value, v[g->loops[i->arg].exit]);
    }
    return value;
}

static void check_values(const struct grammar *g, bool height) {
    uint64_t *v = malloc(g->n_code * sizeof *v);
    assert_non_null(v);
    for (uint32_t pc = 0; pc < g->n_code; pc++)
        v[pc] = GRAMMAR_FOREVER;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t pc = 0; pc < g->n_code; pc++) {
            uint64_t value = slow_value(g, v, pc, height);
            changed = changed || value != v[pc];
            v[pc] = value;
        }
    }
    for (uint32_t pc = 0; pc < g->n_code; pc++) {
        uint64_t wanted = height ? least(v[pc], GRAMMAR_HEIGHT_MAX) : v[pc];
        uint64_t found = height ? g->code[pc].height : g->code[pc].distance;
        if (wanted != found)
            fail_msg("instruction %u has %s %llu, not %llu", pc, height ? "height" : "distance",
                     (unsigned long long)found, (unsigned long long)wanted);
    }
    free(v);
}

static uint64_t random_state;

static uint32_t below(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

#define RULES 6u

static uint32_t random_expression(struct grammar_builder *b, const uint32_t *rules, int depth) {
    uint32_t items[4], n = 1 + below(4);
    switch (below(depth > 0 ? 9 : 5)) {
    case 0:
        return grammar_literal(b, "abcdef", 1 + below(6));
    case 1:
        return grammar_byte(b, 'a', (unsigned char)('a' + below(26)));
    case 2:
        return grammar_string(b, below(3), 3 + below(3));
    case 3: /* behind a byte, so that no rule calls itself at once */
        items[0] = grammar_literal(b, "<", 1);
        items[1] = grammar_call(b, rules[below(RULES)]);
        return grammar_sequence(b, items, 2);
    case 4:
        return grammar_text_until(b, "<t>");
    case 5:
    case 6:
        for (uint32_t i = 0; i < n; i++)
            items[i] = random_expression(b, rules, depth - 1);
        return grammar_sequence(b, items, n);
    case 7:
        for (uint32_t i = 0; i < n; i++)
            items[i] = random_expression(b, rules, depth - 1);
        return grammar_choice(b, items, n);
    default:
        items[0] = random_expression(b, rules, depth - 1);
        n = below(4);
        return grammar_repeat(b, items[0], n, below(3) == 0 ? GRAMMAR_FOREVER : n + below(5));
    }
}

static void test_values(void **state) {
    (void)state;
    int compiled = 0;
    for (int i = 0; i < 400; i++) {
        random_state = 0x9E3779B97F4A7C15u * (uint64_t)(i + 1);
        struct grammar_builder *b = grammar_builder_create();
        struct grammar *g = NULL;
        uint32_t rules[RULES];
        for (uint32_t r = 0; r < RULES; r++)
            rules[r] = grammar_rule(b, below(2) == 0);
        for (uint32_t r = 0; r < RULES; r++)
            grammar_define(b, rules[r], random_expression(b, rules, 3));
        uint32_t root[] = {grammar_call(b, rules[0]), random_expression(b, rules, 4)};
        int rc = grammar_compile(b, grammar_sequence(b, root, 2), 16, &g, NULL, 0);
        grammar_builder_destroy(b);
        if (rc < 0)
            continue;
        check_values(g, false);
        check_values(g, true);
        compiled++;
        grammar_unref(g);
    }
    assert_in_range(compiled, 200, 400);
}

/* ---- shapes ---- */

/* n rules; each is long, or short behind the one before, which is written later: a better way to the first is
 * one for all. */
static struct grammar *waves(uint32_t n) {
    static char text[4000];
    struct grammar_builder *b = grammar_builder_create();
    uint32_t *rules = calloc(n, sizeof *rules);
    assert_non_null(rules);
    memset(text, 'a', sizeof text);
    for (uint32_t i = 0; i < n; i++)
        rules[i] = grammar_rule(b, false);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t more[] = {grammar_literal(b, "x", 1), grammar_call(b, rules[i > 0 ? i - 1 : 0])};
        uint32_t ways[] = {grammar_literal(b, text, i == 0 ? 1 : 3 * n), grammar_sequence(b, more, 2)};
        grammar_define(b, rules[i], grammar_choice(b, ways, 2));
    }
    uint32_t root = grammar_call(b, rules[n - 1]);
    free(rules);
    return compile(b, root);
}

/* n rules, each may be empty and begins with the next. */
static struct grammar *optional_rules(uint32_t n) {
    struct grammar_builder *b = grammar_builder_create();
    uint32_t *rules = calloc(n, sizeof *rules);
    assert_non_null(rules);
    for (uint32_t i = 0; i < n; i++)
        rules[i] = grammar_rule(b, false);
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        int len = snprintf(name, sizeof name, "m%u,", i);
        uint32_t own = grammar_repeat(b, grammar_literal(b, name, (size_t)len), 0, 1);
        uint32_t both[] = {i + 1 < n ? grammar_call(b, rules[i + 1]) : own, own};
        grammar_define(b, rules[i], grammar_sequence(b, both, i + 1 < n ? 2 : 1));
    }
    uint32_t root[] = {grammar_call(b, rules[0]), grammar_literal(b, "}", 1)};
    uint32_t whole = grammar_sequence(b, root, 2);
    free(rules);
    return compile(b, whole);
}

/* n members, of which any may be left out; each is a rule that goes on with the rest. */
static struct grammar *members(uint32_t n) {
    struct grammar_builder *b = grammar_builder_create();
    uint32_t rest = grammar_literal(b, "}", 1);
    for (uint32_t i = n; i-- > 0;) {
        char name[16];
        int len = snprintf(name, sizeof name, "m%u,", i);
        uint32_t own[] = {grammar_literal(b, name, (size_t)len), rest};
        uint32_t ways[] = {grammar_sequence(b, own, 2), rest};
        uint32_t rule = grammar_rule(b, false);
        grammar_define(b, rule, grammar_choice(b, ways, 2));
        rest = grammar_call(b, rule);
    }
    return compile(b, rest);
}

static void check_shape(const char *what, struct grammar *g, size_t parts) {
    uint64_t ways = 2 * ((uint64_t)g->n_code + g->n_edges) + 4 * g->n_loops;
    if (g->n_looks > 4 * ways)
        fail_msg("%s: %llu looks at %llu ways", what, (unsigned long long)g->n_looks,
                 (unsigned long long)ways);
    if (g->n_code + g->n_edges > 16 * parts)
        fail_msg("%s: %u instructions and %u edges for %zu parts", what, g->n_code, g->n_edges, parts);
    grammar_unref(g);
}

static void test_shapes(void **state) {
    (void)state;
    check_shape("waves", waves(300), 4 * 300);
    check_shape("waves", waves(1200), 4 * 1200);
    check_shape("optional rules", optional_rules(4000), 4000);
    check_shape("members", members(4000), 4000);
}

/* Words with a common end, said in two places, have one end; a choice among bytes is one instruction. */
static void test_folded(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t ways[13];
    for (uint32_t i = 0; i < 13; i++) {
        char word[] = "?-with-a-long-and-common-end";
        word[0] = (char)('a' + 2 * i);
        ways[i] = grammar_literal(b, word, sizeof word - 1);
    }
    uint32_t choice = grammar_choice(b, ways, 13);
    uint32_t items[] = {choice, grammar_literal(b, ", ", 2), choice};
    struct grammar *g = compile(b, grammar_sequence(b, items, 3));
    assert_in_range(g->n_code, 50, 65);
    assert_int_equal(g->n_edges, 2 * 13);
    grammar_unref(g);
}

/* What nothing leads to is not there: its loops, too, which would be refused. */
static void test_unused(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t unused = grammar_rule(b, false), used = grammar_rule(b, false);
    grammar_define(b, unused, grammar_string(b, 0, 3000));
    grammar_define(b, used, grammar_repeat(b, grammar_literal(b, "ab", 2), 2, 9));
    struct grammar *g = compile(b, grammar_call(b, used));
    struct grammar_matcher m;
    assert_int_equal(g->n_loops, 1);
    assert_in_range(g->n_code, 3, 8);
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    assert_int_equal(grammar_matcher_distance(&m), 4);
    assert_int_equal(grammar_matcher_bytes(&m, "ababababababababab", 18), 1);
    assert_int_equal(grammar_matcher_bytes(&m, "a", 1), 0);
    grammar_matcher_finish(&m);
    grammar_unref(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_folded),
        cmocka_unit_test(test_unused),
    };
    return cmocka_run_group_tests_name("what is known of a grammar", tests, NULL, NULL);
}

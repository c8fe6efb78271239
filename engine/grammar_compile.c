/* What has to be known about a program before it runs, and the life of a grammar. */
#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PASSES_MAX          4096
#define EMPTY_ITERATION_MAX 1024

static uint32_t plus(uint32_t a, uint32_t b) {
    if (a == GRAMMAR_FOREVER || b == GRAMMAR_FOREVER)
        return GRAMMAR_FOREVER;
    uint64_t sum = (uint64_t)a + b;
    return sum < GRAMMAR_FOREVER ? (uint32_t)sum : GRAMMAR_FOREVER - 1;
}

static uint32_t times(uint32_t n, uint32_t a) {
    if (n == 0 || a == 0)
        return 0;
    if (a == GRAMMAR_FOREVER)
        return GRAMMAR_FOREVER;
    uint64_t product = (uint64_t)n * a;
    return product < GRAMMAR_FOREVER ? (uint32_t)product : GRAMMAR_FOREVER - 1;
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static uint32_t most(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static uint32_t distance_of(const struct grammar *g, uint32_t pc) {
    const struct grammar_instruction *i = &g->code[pc];
    const uint32_t *d = g->distances;
    switch ((enum grammar_op)i->op) {
    case GRAMMAR_OP_RETURN:
    case GRAMMAR_OP_LOOP_END:
        return 0;
    case GRAMMAR_OP_BYTES:
        return plus(1, d[i->next]);
    case GRAMMAR_OP_SYMBOL: /* as long as it is in bytes, because a tokenizer need not have it */
        return plus(i->arg == GRAMMAR_SYMBOL_OTHER ? 1 : (uint32_t)g->tags[i->arg - GRAMMAR_SYMBOL_TAG].len,
                    d[i->next]);
    case GRAMMAR_OP_SPLIT:
        return least(d[i->next], d[i->arg]);
    case GRAMMAR_OP_JUMP:
    case GRAMMAR_OP_STRING:
        return d[i->next];
    case GRAMMAR_OP_FAIL:
        return GRAMMAR_FOREVER;
    case GRAMMAR_OP_CALL:
        return plus(d[g->rules[i->arg].entry], d[i->next]);
    case GRAMMAR_OP_LOOP:
        return plus(times(g->loops[i->arg].min, d[g->loops[i->arg].body]), d[g->loops[i->arg].exit]);
    }
    return GRAMMAR_FOREVER;
}

static uint32_t height_of(const struct grammar *g, uint32_t pc) {
    const struct grammar_instruction *i = &g->code[pc];
    const uint32_t *h = g->heights;
    switch ((enum grammar_op)i->op) {
    case GRAMMAR_OP_RETURN:
    case GRAMMAR_OP_LOOP_END:
        return 0;
    case GRAMMAR_OP_SPLIT:
        return least(h[i->next], h[i->arg]);
    case GRAMMAR_OP_BYTES:
    case GRAMMAR_OP_SYMBOL:
    case GRAMMAR_OP_JUMP:
    case GRAMMAR_OP_STRING:
        return h[i->next];
    case GRAMMAR_OP_FAIL:
        return GRAMMAR_FOREVER;
    case GRAMMAR_OP_CALL:
        return most(plus(g->rules[i->arg].nested, h[g->rules[i->arg].entry]), h[i->next]);
    case GRAMMAR_OP_LOOP:
        return most(g->loops[i->arg].min > 0 ? h[g->loops[i->arg].body] : 0, h[g->loops[i->arg].exit]);
    }
    return GRAMMAR_FOREVER;
}

/* Least values that agree with each other: from above, until nothing changes. False when that takes too long.
 */
static bool settle(struct grammar *g, uint32_t *values,
                   uint32_t (*value_of)(const struct grammar *, uint32_t)) {
    memset(values, 0xFF, g->n_code * sizeof *values);
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        bool changed = false;
        for (uint32_t pc = 0; pc < g->n_code; pc++) {
            uint32_t value = value_of(g, pc);
            changed = changed || value != values[pc];
            values[pc] = value;
        }
        if (!changed)
            return true;
    }
    return false;
}

/* ---- rules that call themselves before anything is taken ---- */

struct walk {
    const struct grammar *g;
    uint32_t *stamps; /* by instruction: the rule that was there last, + 1 */
    uint32_t *stack;
    uint32_t n_stack;
    uint32_t *edges; /* rules called at the beginning, rule by rule */
    size_t n_edges, edges_cap;
    size_t *from; /* n_rules + 1: where the edges of each begin */
    bool failed;
};

static void go(struct walk *w, uint32_t pc, uint32_t stamp) {
    if (w->stamps[pc] == stamp)
        return;
    w->stamps[pc] = stamp;
    w->stack[w->n_stack++] = pc;
}

static void add_edge(struct walk *w, uint32_t rule) {
    uint32_t *grown = grammar_grow(w->edges, sizeof *w->edges, w->n_edges, &w->edges_cap, 1);
    if (grown == NULL) {
        w->failed = true;
        return;
    }
    w->edges = grown;
    w->edges[w->n_edges++] = rule;
}

static void visit(struct walk *w, uint32_t pc, uint32_t stamp) {
    const struct grammar_instruction *i = &w->g->code[pc];
    const struct grammar_loop *loop;
    switch ((enum grammar_op)i->op) {
    case GRAMMAR_OP_SPLIT:
        go(w, i->arg, stamp);
        go(w, i->next, stamp);
        break;
    case GRAMMAR_OP_JUMP:
    case GRAMMAR_OP_STRING:
        go(w, i->next, stamp);
        break;
    case GRAMMAR_OP_CALL:
        add_edge(w, i->arg);
        if (w->g->distances[w->g->rules[i->arg].entry] == 0)
            go(w, i->next, stamp);
        break;
    case GRAMMAR_OP_LOOP:
    case GRAMMAR_OP_LOOP_END: /* reached without a byte: after an empty round */
        loop = &w->g->loops[i->arg];
        go(w, loop->body, stamp);
        if (i->op == GRAMMAR_OP_LOOP_END || loop->min == 0)
            go(w, loop->exit, stamp);
        break;
    case GRAMMAR_OP_RETURN:
    case GRAMMAR_OP_BYTES:
    case GRAMMAR_OP_SYMBOL:
    case GRAMMAR_OP_FAIL:
        break;
    }
}

/* Whether the edges have a cycle: depth first, without recursion. */
static bool has_cycle(const struct walk *w, uint8_t *colour, uint32_t *path, size_t *at) {
    for (uint32_t root = 0; root < w->g->n_rules; root++) {
        if (colour[root] != 0)
            continue;
        uint32_t n = 0;
        path[n++] = root;
        colour[root] = 1;
        at[root] = w->from[root];
        while (n > 0) {
            uint32_t rule = path[n - 1];
            if (at[rule] == w->from[rule + 1]) {
                colour[rule] = 2;
                n--;
                continue;
            }
            uint32_t to = w->edges[at[rule]++];
            if (colour[to] == 1)
                return true;
            if (colour[to] == 0) {
                colour[to] = 1;
                at[to] = w->from[to];
                path[n++] = to;
            }
        }
    }
    return false;
}

static int check_left_recursion(const struct grammar *g, char *err, size_t errlen) {
    size_t rules = (size_t)g->n_rules + 1;
    struct walk w = {.g = g};
    w.stamps = calloc(g->n_code, sizeof *w.stamps);
    w.stack = calloc(g->n_code, sizeof *w.stack);
    w.from = calloc(rules, sizeof *w.from);
    uint8_t *colour = calloc(rules, 1);
    uint32_t *path = calloc(rules, sizeof *path);
    size_t *at = calloc(rules, sizeof *at);
    w.failed =
        w.stamps == NULL || w.stack == NULL || w.from == NULL || colour == NULL || path == NULL || at == NULL;
    for (uint32_t rule = 0; rule < g->n_rules && !w.failed; rule++) {
        w.from[rule] = w.n_edges;
        go(&w, g->rules[rule].entry, rule + 1);
        while (w.n_stack > 0)
            visit(&w, w.stack[--w.n_stack], rule + 1);
    }
    int rc = 0;
    if (w.failed) {
        rc = err_set(err, errlen, -ENOMEM, "Not enough memory for the grammar.");
    } else {
        w.from[g->n_rules] = w.n_edges;
        if (has_cycle(&w, colour, path, at))
            rc = err_set(err, errlen, -EINVAL, "A rule of the grammar calls itself before it takes a byte.");
    }
    free(w.stamps);
    free(w.stack);
    free(w.edges);
    free(w.from);
    free(colour);
    free(path);
    free(at);
    return rc;
}

int grammar_analyse(struct grammar *g, char *err, size_t errlen) {
    g->distances = malloc(g->n_code * sizeof *g->distances);
    g->heights = malloc(g->n_code * sizeof *g->heights);
    if (g->distances == NULL || g->heights == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the grammar.");
    if (!settle(g, g->distances, distance_of))
        return err_set(err, errlen, -E2BIG, "The rules of the grammar are too deep inside each other.");
    if (g->distances[g->root] == GRAMMAR_FOREVER)
        return err_set(err, errlen, -EINVAL, "No text matches the grammar.");
    for (uint32_t l = 0; l < g->n_loops; l++) {
        struct grammar_loop *loop = &g->loops[l];
        if (g->distances[loop->body] > 0)
            continue;
        /* Rounds may be empty, so every number of them can be made. */
        loop->min = 0;
        if (loop->max != GRAMMAR_FOREVER && loop->max > EMPTY_ITERATION_MAX)
            return err_set(err, errlen, -EINVAL,
                           "The grammar repeats what may be empty up to %u times; %d is the most.", loop->max,
                           EMPTY_ITERATION_MAX);
    }
    if (!settle(g, g->heights, height_of))
        return err_set(err, errlen, -E2BIG, "The rules of the grammar are too deep inside each other.");
    if (g->heights[g->root] > g->max_nesting)
        return err_set(err, errlen, -E2BIG, "Every text of the grammar is nested deeper than %u levels.",
                       g->max_nesting);
    return check_left_recursion(g, err, errlen);
}

static void destroy(struct grammar *g) {
    grammar_automaton_finish(g);
    free(g->code);
    free(g->distances);
    free(g->heights);
    free(g->loops);
    free(g->rules);
    free(g);
}

int grammar_compile(struct grammar_builder *b, uint32_t root, uint32_t max_nesting, struct grammar **out,
                    char *err, size_t errlen) {
    if (b->status != 0)
        return err_set(err, errlen, b->status, "%s", b->why);
    struct grammar *g = calloc(1, sizeof *g);
    if (g == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the grammar.");
    atomic_init(&g->references, 1);
    g->max_nesting = max_nesting;
    int rc = grammar_emit(b, root, g, err, errlen);
    rc = rc ? rc : grammar_analyse(g, err, errlen);
    if (rc == 0 && (rc = grammar_automaton_start(g)) < 0)
        rc = err_set(err, errlen, rc, "The beginning of the grammar has too many ways to go, or no memory.");
    if (rc < 0) {
        destroy(g);
        return rc;
    }
    *out = g;
    return 0;
}

struct grammar *grammar_ref(struct grammar *g) {
    atomic_fetch_add_explicit(&g->references, 1, memory_order_relaxed);
    return g;
}

void grammar_unref(struct grammar *g) {
    if (g != NULL && atomic_fetch_sub_explicit(&g->references, 1, memory_order_acq_rel) == 1)
        destroy(g);
}

void grammar_info(const struct grammar *g, struct grammar_info *info) {
    const struct grammar_automaton *a = &g->automaton;
    *info = (struct grammar_info){
        .n_rules = g->n_rules,
        .n_instructions = g->n_code,
        .program_bytes = g->n_code * (sizeof *g->code + sizeof *g->distances + sizeof *g->heights) +
                         g->n_loops * sizeof *g->loops + g->n_rules * sizeof *g->rules,
        .n_states = a->n_states,
        .state_bytes = grammar_automaton_bytes(g),
        .mask_bytes = a->mask_bytes,
    };
}

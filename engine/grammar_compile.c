/* What has to be known about a program before it runs, and the life of a grammar. */
#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS_MAX           256 /* at each instruction, on average */
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

static uint32_t distance_of(const struct grammar *g, const uint32_t *d, uint32_t pc) {
    const struct grammar_instruction *i = &g->code[pc];
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
    case GRAMMAR_OP_TEXT:
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

static uint32_t height_of(const struct grammar *g, const uint32_t *h, uint32_t pc) {
    const struct grammar_instruction *i = &g->code[pc];
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
    case GRAMMAR_OP_TEXT:
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

/* Instructions whose values another one's value goes into; at most 3 of them. */
static int inputs_of(const struct grammar *g, uint32_t pc, uint32_t *inputs) {
    const struct grammar_instruction *i = &g->code[pc];
    switch ((enum grammar_op)i->op) {
    case GRAMMAR_OP_RETURN:
    case GRAMMAR_OP_LOOP_END:
    case GRAMMAR_OP_FAIL:
        return 0;
    case GRAMMAR_OP_BYTES:
    case GRAMMAR_OP_SYMBOL:
    case GRAMMAR_OP_JUMP:
    case GRAMMAR_OP_STRING:
    case GRAMMAR_OP_TEXT:
        inputs[0] = i->next;
        return 1;
    case GRAMMAR_OP_SPLIT:
        inputs[0] = i->next;
        inputs[1] = i->arg;
        return 2;
    case GRAMMAR_OP_CALL:
        inputs[0] = i->next;
        inputs[1] = g->rules[i->arg].entry;
        return 2;
    case GRAMMAR_OP_LOOP:
        inputs[0] = g->loops[i->arg].body;
        inputs[1] = g->loops[i->arg].exit;
        return 2;
    }
    return 0;
}

/* Who must be looked at again when a value changes. */
struct users {
    uint32_t *values;
    uint32_t *from; /* n_code + 1: where the users of each begin */
    uint32_t *list;
    uint32_t *queue; /* a ring of those to look at; each is in it once */
    uint8_t *queued;
};

static void users_finish(struct users *u) {
    free(u->values);
    free(u->from);
    free(u->list);
    free(u->queue);
    free(u->queued);
}

static int users_init(struct users *u, const struct grammar *g) {
    uint32_t inputs[3];
    size_t total = 0, n = g->n_code;
    *u = (struct users){.values = malloc((n + 1) * sizeof *u->values),
                        .from = calloc(n + 2, sizeof *u->from),
                        .queue = malloc((n + 1) * sizeof *u->queue),
                        .queued = calloc(n + 1, 1)};
    if (u->values == NULL || u->from == NULL || u->queue == NULL || u->queued == NULL)
        return -ENOMEM;
    for (uint32_t pc = 0; pc < n; pc++)
        for (int i = inputs_of(g, pc, inputs); i-- > 0; total++)
            u->from[inputs[i] + 2]++;
    for (size_t pc = 2; pc < n + 2; pc++)
        u->from[pc] += u->from[pc - 1];
    u->list = malloc((total + 1) * sizeof *u->list);
    if (u->list == NULL)
        return -ENOMEM;
    for (uint32_t pc = 0; pc < n; pc++)
        for (int i = inputs_of(g, pc, inputs); i-- > 0;)
            u->list[u->from[inputs[i] + 1]++] = pc;
    return 0;
}

/* Least values that agree with each other, from above. Code is written from its end, so one pass finds nearly
 * all; after it only what a change goes into is looked at again. -ENOMEM; -E2BIG when it takes too long. */
static int settle(const struct grammar *g, struct users *u,
                  uint32_t (*value_of)(const struct grammar *, const uint32_t *, uint32_t)) {
    uint32_t *values = u->values;
    uint32_t n = g->n_code, head = 0, waiting = n;
    uint64_t looks = (uint64_t)n * LOOKS_MAX;
    memset(values, 0xFF, n * sizeof *values);
    for (uint32_t pc = 0; pc < n; pc++) {
        u->queue[pc] = pc;
        u->queued[pc] = 1;
    }
    while (waiting > 0) {
        if (looks-- == 0)
            return -E2BIG;
        uint32_t pc = u->queue[head], value;
        head = head + 1 < n ? head + 1 : 0;
        waiting--;
        u->queued[pc] = 0;
        value = value_of(g, values, pc);
        if (value == values[pc])
            continue;
        values[pc] = value;
        for (uint32_t i = u->from[pc]; i < u->from[pc + 1]; i++) {
            uint32_t user = u->list[i];
            if (u->queued[user])
                continue;
            u->queued[user] = 1;
            u->queue[(head + waiting) % n] = user;
            waiting++;
        }
    }
    return 0;
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
    case GRAMMAR_OP_TEXT:
        go(w, i->next, stamp);
        break;
    case GRAMMAR_OP_CALL:
        add_edge(w, i->arg);
        if (w->g->code[w->g->rules[i->arg].entry].distance == 0)
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

static int say_unsettled(int rc, char *err, size_t errlen) {
    return err_set(err, errlen, rc,
                   rc == -E2BIG ? "The rules of the grammar are too deep inside each other."
                                : "Not enough memory for the grammar.");
}

static int analyse(struct grammar *g, struct users *u, char *err, size_t errlen) {
    int rc = settle(g, u, distance_of);
    if (rc < 0)
        return say_unsettled(rc, err, errlen);
    for (uint32_t pc = 0; pc < g->n_code; pc++)
        g->code[pc].distance = u->values[pc];
    if (g->code[g->root].distance == GRAMMAR_FOREVER)
        return err_set(err, errlen, -EINVAL, "No text matches the grammar.");
    for (uint32_t l = 0; l < g->n_loops; l++) {
        struct grammar_loop *loop = &g->loops[l];
        if (g->code[loop->body].distance > 0)
            continue;
        /* Rounds may be empty, so every number of them can be made. */
        loop->min = 0;
        if (loop->max != GRAMMAR_FOREVER && loop->max > EMPTY_ITERATION_MAX)
            return err_set(err, errlen, -EINVAL,
                           "The grammar repeats what may be empty up to %u times; %d is the most.", loop->max,
                           EMPTY_ITERATION_MAX);
    }
    rc = settle(g, u, height_of);
    if (rc < 0)
        return say_unsettled(rc, err, errlen);
    for (uint32_t pc = 0; pc < g->n_code; pc++)
        g->code[pc].height = u->values[pc];
    if (g->code[g->root].height > g->max_nesting)
        return err_set(err, errlen, -E2BIG, "Every text of the grammar is nested deeper than %u levels.",
                       g->max_nesting);
    return 0;
}

int grammar_analyse(struct grammar *g, char *err, size_t errlen) {
    struct users u = {0};
    int rc = users_init(&u, g);
    if (rc < 0)
        rc = say_unsettled(rc, err, errlen);
    rc = rc ? rc : analyse(g, &u, err, errlen);
    users_finish(&u);
    return rc ? rc : check_left_recursion(g, err, errlen);
}

static void destroy(struct grammar *g) {
    grammar_automaton_finish(g);
    free(g->code);
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
        .program_bytes =
            g->n_code * sizeof *g->code + g->n_loops * sizeof *g->loops + g->n_rules * sizeof *g->rules,
        .n_states = a->n_states,
        .state_bytes = grammar_automaton_bytes(g),
        .mask_bytes = a->mask_bytes,
        .n_cut = g->n_cut,
    };
}

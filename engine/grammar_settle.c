/* How far it is from each instruction to the end, and how high rules stand inside each other on the way. */
#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static uint32_t most(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* ---- what goes into what ---- */

/* Instructions whose values go into that of another. */
static uint32_t n_inputs(const struct grammar *g, uint32_t pc) {
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
        return 1;
    case GRAMMAR_OP_SPLIT:
    case GRAMMAR_OP_CALL:
    case GRAMMAR_OP_LOOP:
        return 2;
    case GRAMMAR_OP_EDGES:
        return i->low + 256u * i->high + (i->next != GRAMMAR_NONE);
    }
    return 0;
}

/* Input number k. *inner: it is behind a byte that is taken, a called rule, or the body of a loop. */
static uint32_t input_of(const struct grammar *g, uint32_t pc, uint32_t k, bool *inner) {
    const struct grammar_instruction *i = &g->code[pc];
    *inner = false;
    switch ((enum grammar_op)i->op) {
    case GRAMMAR_OP_SPLIT:
        return k == 0 ? i->next : i->arg;
    case GRAMMAR_OP_CALL:
        *inner = k == 1;
        return k == 0 ? i->next : g->rules[i->arg].entry;
    case GRAMMAR_OP_LOOP:
        *inner = k == 1;
        return k == 0 ? g->loops[i->arg].exit : g->loops[i->arg].body;
    case GRAMMAR_OP_EDGES:
        *inner = k < i->low + 256u * i->high;
        return *inner ? g->edges[i->arg + k].next : i->next;
    default:
        return i->next;
    }
}

/* ---- settling ---- */

/* Values grow along every way, so the least that is open is final: each instruction is settled once (D. E.
 * Knuth, A generalization of Dijkstra's algorithm, 1977). */
struct settle {
    struct grammar *g;
    bool heights;     /* else distances */
    uint32_t *values; /* GRAMMAR_FOREVER: not settled */
    uint32_t *from;   /* n_code + 1: where the users of each begin */
    uint32_t *users;  /* instruction * 2 + inner */
    uint8_t *missing; /* inputs that are not settled, of which all are needed */
    uint64_t *heap;   /* value << 32 | instruction */
    size_t n_heap;
};

static void settle_finish(struct settle *s) {
    free(s->values);
    free(s->from);
    free(s->users);
    free(s->missing);
    free(s->heap);
}

static int settle_init(struct settle *s, struct grammar *g) {
    size_t total = 0, n = g->n_code;
    bool inner;
    *s = (struct settle){.g = g,
                         .values = malloc((n + 1) * sizeof *s->values),
                         .from = calloc(n + 2, sizeof *s->from),
                         .missing = calloc(n + 1, 1)};
    if (s->values == NULL || s->from == NULL || s->missing == NULL)
        return -ENOMEM;
    for (uint32_t pc = 0; pc < n; pc++)
        for (uint32_t k = n_inputs(g, pc); k-- > 0; total++)
            s->from[input_of(g, pc, k, &inner) + 2]++;
    for (size_t pc = 2; pc < n + 2; pc++)
        s->from[pc] += s->from[pc - 1];
    s->users = malloc((total + 1) * sizeof *s->users);
    s->heap = malloc((total + n + 1) * sizeof *s->heap);
    if (s->users == NULL || s->heap == NULL)
        return -ENOMEM;
    for (uint32_t pc = 0; pc < n; pc++)
        for (uint32_t k = n_inputs(g, pc); k-- > 0;) {
            uint32_t input = input_of(g, pc, k, &inner);
            s->users[s->from[input + 1]++] = pc * 2 + inner;
        }
    return 0;
}

static void heap_push(struct settle *s, uint32_t value, uint32_t pc) {
    uint64_t item = (uint64_t)value << 32 | pc;
    size_t i = s->n_heap++;
    for (; i > 0 && s->heap[(i - 1) / 2] > item; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = item;
}

static uint64_t heap_pop(struct settle *s) {
    uint64_t least = s->heap[0], item = s->heap[--s->n_heap];
    size_t i = 0;
    for (size_t kid = 1; kid < s->n_heap; kid = 2 * i + 1) {
        kid += kid + 1 < s->n_heap && s->heap[kid + 1] < s->heap[kid];
        if (s->heap[kid] >= item)
            break;
        s->heap[i] = s->heap[kid];
        i = kid;
    }
    s->heap[i] = item;
    return least;
}

/* Of an instruction all of whose inputs are needed, and settled. */
static uint32_t whole_value(const struct settle *s, uint32_t pc) {
    const struct grammar *g = s->g;
    const struct grammar_instruction *i = &g->code[pc];
    const uint32_t *v = s->values;
    uint32_t own = 0;
    if (i->op == GRAMMAR_OP_CALL) {
        const struct grammar_rule_code *rule = &g->rules[i->arg];
        return s->heights ? most(plus(rule->nested, v[rule->entry]), v[i->next])
                          : plus(v[rule->entry], v[i->next]);
    }
    if (i->op == GRAMMAR_OP_LOOP) {
        const struct grammar_loop *loop = &g->loops[i->arg];
        return s->heights ? most(loop->min > 0 ? v[loop->body] : 0, v[loop->exit])
                          : plus(times(loop->min, v[loop->body]), v[loop->exit]);
    }
    if (i->op == GRAMMAR_OP_BYTES)
        own = 1;
    else if (i->op == GRAMMAR_OP_SYMBOL) /* as long as it is in bytes: a tokenizer need not have it */
        own = i->arg == GRAMMAR_SYMBOL_OTHER ? 1 : (uint32_t)g->tags[i->arg - GRAMMAR_SYMBOL_TAG].len;
    return plus(s->heights ? 0 : own, v[i->next]);
}

/* An input of the user is settled at `value`. */
static void tell(struct settle *s, uint32_t user, bool inner, uint32_t value) {
    const struct grammar_instruction *i = &s->g->code[user];
    s->g->n_looks++;
    if (s->values[user] != GRAMMAR_FOREVER)
        return;
    if (i->op == GRAMMAR_OP_SPLIT || i->op == GRAMMAR_OP_EDGES) { /* one input is enough */
        bool byte = i->op == GRAMMAR_OP_EDGES && inner && !s->heights;
        heap_push(s, plus(byte, value), user);
        return;
    }
    if (i->op == GRAMMAR_OP_LOOP && inner && s->g->loops[i->arg].min == 0)
        return; /* the body is not needed */
    if (--s->missing[user] == 0)
        heap_push(s, whole_value(s, user), user);
}

static void settle(struct settle *s, bool heights) {
    const struct grammar *g = s->g;
    s->heights = heights;
    s->n_heap = 0;
    for (uint32_t pc = 0; pc < g->n_code; pc++) {
        const struct grammar_instruction *i = &g->code[pc];
        bool two = i->op == GRAMMAR_OP_CALL || (i->op == GRAMMAR_OP_LOOP && g->loops[i->arg].min > 0);
        s->missing[pc] = two ? 2 : 1;
        s->values[pc] = GRAMMAR_FOREVER;
        if (i->op == GRAMMAR_OP_RETURN || i->op == GRAMMAR_OP_LOOP_END)
            heap_push(s, 0, pc);
    }
    while (s->n_heap > 0) {
        uint64_t item = heap_pop(s);
        uint32_t pc = (uint32_t)item, value = (uint32_t)(item >> 32);
        if (s->values[pc] != GRAMMAR_FOREVER)
            continue;
        s->values[pc] = value;
        for (uint32_t i = s->from[pc]; i < s->from[pc + 1]; i++)
            tell(s, s->users[i] / 2, s->users[i] % 2 != 0, value);
    }
}

/* ---- all of it ---- */

static int settle_all(struct grammar *g, struct settle *s, char *err, size_t errlen) {
    settle(s, false);
    for (uint32_t pc = 0; pc < g->n_code; pc++)
        g->code[pc].distance = s->values[pc];
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
    settle(s, true);
    for (uint32_t pc = 0; pc < g->n_code; pc++)
        g->code[pc].height =
            (uint8_t)(s->values[pc] < GRAMMAR_HEIGHT_MAX ? s->values[pc] : GRAMMAR_HEIGHT_MAX);
    if (g->code[g->root].height > g->max_nesting)
        return err_set(err, errlen, -E2BIG, "Every text of the grammar is nested deeper than %u levels.",
                       g->max_nesting);
    return 0;
}

int grammar_analyse(struct grammar *g, char *err, size_t errlen) {
    struct settle s = {0};
    int rc = settle_init(&s, g);
    rc = rc < 0 ? err_set(err, errlen, rc, "Not enough memory for the grammar.")
                : settle_all(g, &s, err, errlen);
    settle_finish(&s);
    return rc;
}

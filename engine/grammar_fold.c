/* Smaller programs: what stands in it several times is written once, choices among bytes become one
 * instruction, and what nothing leads to is left out. */
#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EDGES_MAX  4096u /* of one instruction */
#define SHARED_MAX 8u    /* bytes of a choice that is written out wherever one comes to it */

struct fold {
    struct grammar *g;
    struct grammar_instruction *code; /* the new program */
    uint32_t n_code;
    size_t code_cap;
    struct grammar_edge *edges;
    uint32_t n_edges;
    size_t edges_cap;
    uint32_t *moved;  /* by old instruction: where it is now; GRAMMAR_NONE: nowhere yet */
    uint32_t *comers; /* by old instruction: from how many places one comes to it; more than 1 is 2 */
    uint32_t *todo;   /* old instructions that have a new place, but no content there yet */
    size_t n_todo, todo_cap;
    /* of the choice being folded */
    uint32_t *open, *others; /* old instructions */
    size_t n_open, open_cap, n_others, others_cap;
    struct grammar_edge *ways;
    size_t n_ways, ways_cap;
    uint32_t *numbers;        /* by old loop */
    uint32_t *slots, n_slots; /* table of the choices among others that were made: new instruction, or 0 */
    int status;
};

/* What comes when an instruction does nothing but go on. A rule that only calls itself goes on forever: after
 * some steps its jump stays one. */
static uint32_t target_of(const struct grammar *g, uint32_t pc) {
    for (int i = 0; i < 64 && g->code[pc].op == GRAMMAR_OP_JUMP; i++)
        pc = g->code[pc].next;
    return pc;
}

static void come(struct fold *f, uint32_t pc) {
    pc = target_of(f->g, pc);
    f->comers[pc] += f->comers[pc] < 2;
}

static void count_comers(struct fold *f) {
    const struct grammar *g = f->g;
    for (uint32_t pc = 0; pc < g->n_code; pc++) {
        const struct grammar_instruction *i = &g->code[pc];
        switch ((enum grammar_op)i->op) {
        case GRAMMAR_OP_RETURN:
        case GRAMMAR_OP_LOOP_END:
        case GRAMMAR_OP_FAIL:
        case GRAMMAR_OP_LOOP: /* its ends are counted below */
        case GRAMMAR_OP_JUMP: /* nobody stops there */
        case GRAMMAR_OP_EDGES:
            break;
        case GRAMMAR_OP_SPLIT:
            come(f, i->arg);
            come(f, i->next);
            break;
        case GRAMMAR_OP_BYTES:
        case GRAMMAR_OP_SYMBOL:
        case GRAMMAR_OP_STRING:
        case GRAMMAR_OP_TEXT:
        case GRAMMAR_OP_CALL:
            come(f, i->next);
            break;
        }
    }
    for (uint32_t r = 0; r < g->n_rules; r++)
        come(f, g->rules[r].entry);
    for (uint32_t l = 0; l < g->n_loops; l++) {
        come(f, g->loops[l].body);
        come(f, g->loops[l].exit);
    }
    come(f, g->root);
}

static bool push(struct fold *f, uint32_t **items, size_t *n, size_t *cap, uint32_t pc) {
    uint32_t *grown = grammar_grow(*items, sizeof pc, *n, cap, 1);
    if (grown == NULL) {
        f->status = -ENOMEM;
        return false;
    }
    *items = grown;
    grown[(*n)++] = pc;
    return true;
}

static uint32_t put(struct fold *f, struct grammar_instruction i) {
    struct grammar_instruction *grown = grammar_grow(f->code, sizeof i, f->n_code, &f->code_cap, 1);
    if (grown == NULL) {
        f->status = -ENOMEM;
        return 0;
    }
    f->code = grown;
    f->code[f->n_code] = i;
    return f->n_code++;
}

/* The new place of an old instruction; its content follows later. */
static uint32_t move(struct fold *f, uint32_t pc) {
    pc = target_of(f->g, pc);
    if (f->moved[pc] == GRAMMAR_NONE && f->status == 0) {
        f->moved[pc] = put(f, (struct grammar_instruction){.op = GRAMMAR_OP_FAIL});
        (void)push(f, &f->todo, &f->n_todo, &f->todo_cap, pc);
    }
    return f->moved[pc];
}

/* ---- choices ---- */

/* Whether it is a choice among SHARED_MAX ranges of bytes at most, and nothing else. */
static bool is_short(const struct grammar *g, uint32_t pc) {
    uint32_t open[SHARED_MAX] = {target_of(g, pc)}, n_open = 1, leaves = 0;
    while (n_open > 0) {
        const struct grammar_instruction *i = &g->code[open[--n_open]];
        if (i->op != GRAMMAR_OP_SPLIT) {
            if (i->op != GRAMMAR_OP_BYTES || ++leaves > SHARED_MAX)
                return false;
            continue;
        }
        if (n_open + 2 > SHARED_MAX)
            return false;
        open[n_open++] = target_of(g, i->next);
        open[n_open++] = target_of(g, i->arg);
    }
    return true;
}

/* The bytes that a choice takes into `ways`, and what else it leads to into `others`. Choices that one comes
 * to from elsewhere, too, are others unless they are short: so little is written out twice. */
static void gather(struct fold *f, uint32_t pc) {
    const struct grammar *g = f->g;
    f->n_open = f->n_others = f->n_ways = 0;
    bool ok = push(f, &f->open, &f->n_open, &f->open_cap, g->code[pc].arg) &&
              push(f, &f->open, &f->n_open, &f->open_cap, g->code[pc].next);
    while (ok && f->n_open > 0) {
        uint32_t at = target_of(g, f->open[--f->n_open]);
        const struct grammar_instruction *i = &g->code[at];
        bool alone = i->op == GRAMMAR_OP_SPLIT && (f->comers[at] < 2 || is_short(g, at));
        if (alone && f->n_ways < EDGES_MAX) {
            ok = push(f, &f->open, &f->n_open, &f->open_cap, i->arg) &&
                 push(f, &f->open, &f->n_open, &f->open_cap, i->next);
        } else if (i->op == GRAMMAR_OP_BYTES && f->n_ways < EDGES_MAX) {
            struct grammar_edge *grown = grammar_grow(f->ways, sizeof *f->ways, f->n_ways, &f->ways_cap, 1);
            ok = grown != NULL;
            f->status = ok ? f->status : -ENOMEM;
            if (ok) {
                f->ways = grown;
                f->ways[f->n_ways++] = (struct grammar_edge){i->low, i->high, i->next};
            }
        } else if (i->op != GRAMMAR_OP_FAIL) {
            ok = push(f, &f->others, &f->n_others, &f->others_cap, at);
        }
    }
}

static int compare_edges(const void *a, const void *b) {
    const struct grammar_edge *x = a, *y = b;
    if (x->next != y->next)
        return (x->next > y->next) - (x->next < y->next);
    return (x->low > y->low) - (x->low < y->low);
}

static int compare_numbers(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The ways to new places, those that touch as one. */
static void settle_ways(struct fold *f) {
    size_t n = 0;
    for (size_t i = 0; i < f->n_ways; i++)
        f->ways[i].next = move(f, f->ways[i].next);
    if (f->n_ways > 1)
        qsort(f->ways, f->n_ways, sizeof *f->ways, compare_edges);
    for (size_t i = 0; i < f->n_ways; i++) {
        struct grammar_edge *last = n > 0 ? &f->ways[n - 1] : NULL;
        if (last != NULL && last->next == f->ways[i].next && f->ways[i].low <= last->high + 1)
            last->high = f->ways[i].high > last->high ? f->ways[i].high : last->high;
        else
            f->ways[n++] = f->ways[i];
    }
    f->n_ways = n;
}

/* A choice between two new instructions: the one that was made already, if any. */
static uint32_t put_split(struct fold *f, uint32_t a, uint32_t b) {
    uint64_t h = ((uint64_t)a << 32 | b) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    for (; f->slots[h & (f->n_slots - 1)] != 0; h++) {
        const struct grammar_instruction *i = &f->code[f->slots[h & (f->n_slots - 1)]];
        if (i->next == a && i->arg == b)
            return f->slots[h & (f->n_slots - 1)];
    }
    uint32_t made = put(f, (struct grammar_instruction){.op = GRAMMAR_OP_SPLIT, .next = a, .arg = b});
    f->slots[h & (f->n_slots - 1)] = made;
    return made;
}

/* What a choice leads to beside bytes, as one new instruction; GRAMMAR_NONE: nothing. */
static uint32_t put_others(struct fold *f) {
    uint32_t whole = GRAMMAR_NONE;
    for (size_t i = 0; i < f->n_others; i++)
        f->others[i] = move(f, f->others[i]);
    if (f->n_others > 1)
        qsort(f->others, f->n_others, sizeof *f->others, compare_numbers);
    for (size_t i = 0; i < f->n_others && f->status == 0; i++)
        if (i == 0 || f->others[i] != f->others[i - 1])
            whole = whole == GRAMMAR_NONE ? f->others[i] : put_split(f, whole, f->others[i]);
    return whole;
}

static struct grammar_instruction fold_split(struct fold *f, uint32_t pc) {
    struct grammar_instruction i = {.op = GRAMMAR_OP_FAIL};
    gather(f, pc);
    settle_ways(f);
    uint32_t others = f->status == 0 ? put_others(f) : GRAMMAR_NONE;
    if (f->status != 0 || (f->n_ways == 0 && others == GRAMMAR_NONE))
        return i;
    if (f->n_ways == 0)
        return (struct grammar_instruction){.op = GRAMMAR_OP_JUMP, .next = others};
    if (f->n_ways == 1 && others == GRAMMAR_NONE)
        return (struct grammar_instruction){
            .op = GRAMMAR_OP_BYTES, .low = f->ways[0].low, .high = f->ways[0].high, .next = f->ways[0].next};
    struct grammar_edge *grown =
        grammar_grow(f->edges, sizeof *f->edges, f->n_edges, &f->edges_cap, f->n_ways);
    if (grown == NULL) {
        f->status = -ENOMEM;
        return i;
    }
    f->edges = grown;
    memcpy(f->edges + f->n_edges, f->ways, f->n_ways * sizeof *f->ways);
    i = (struct grammar_instruction){.op = GRAMMAR_OP_EDGES,
                                     .low = (uint8_t)(f->n_ways & 255),
                                     .high = (uint8_t)(f->n_ways >> 8),
                                     .next = others,
                                     .arg = f->n_edges};
    f->n_edges += (uint32_t)f->n_ways;
    return i;
}

/* ---- all of it ---- */

static struct grammar_instruction fold_one(struct fold *f, uint32_t pc) {
    struct grammar_instruction i = f->g->code[pc];
    struct grammar_loop *loop;
    switch ((enum grammar_op)i.op) {
    case GRAMMAR_OP_SPLIT:
        return fold_split(f, pc);
    case GRAMMAR_OP_CALL: /* the rule's entry is moved with it */
        (void)move(f, f->g->rules[i.arg].entry);
        i.next = move(f, i.next);
        break;
    case GRAMMAR_OP_LOOP:
        loop = &f->g->loops[i.arg];
        (void)move(f, loop->body);
        (void)move(f, loop->exit);
        (void)move(f, loop->end);
        break;
    case GRAMMAR_OP_BYTES:
    case GRAMMAR_OP_SYMBOL:
    case GRAMMAR_OP_STRING:
    case GRAMMAR_OP_TEXT:
    case GRAMMAR_OP_JUMP:
        i.next = move(f, i.next);
        break;
    case GRAMMAR_OP_RETURN:
    case GRAMMAR_OP_LOOP_END:
    case GRAMMAR_OP_FAIL:
    case GRAMMAR_OP_EDGES:
        break;
    }
    return i;
}

/* Where an old instruction is now; that of one that is nowhere is a RETURN nobody comes to. */
static uint32_t place_of(const struct fold *f, uint32_t pc) {
    uint32_t at = f->moved[target_of(f->g, pc)];
    return at != GRAMMAR_NONE ? at : 0;
}

/* The loops that one comes to, with new numbers. */
static void keep_loops(struct fold *f) {
    struct grammar *g = f->g;
    uint32_t kept = 0;
    for (uint32_t l = 0; l < g->n_loops; l++) {
        struct grammar_loop loop = g->loops[l];
        f->numbers[l] = kept;
        loop.end = f->moved[loop.end];
        if (loop.end == GRAMMAR_NONE)
            continue;
        loop.body = place_of(f, loop.body);
        loop.exit = place_of(f, loop.exit);
        g->loops[kept++] = loop;
    }
    for (uint32_t pc = 0; pc < f->n_code; pc++) {
        struct grammar_instruction *i = &f->code[pc];
        bool string = i->op == GRAMMAR_OP_STRING && i->arg != GRAMMAR_NONE;
        if (i->op == GRAMMAR_OP_LOOP || i->op == GRAMMAR_OP_LOOP_END || string)
            i->arg = f->numbers[i->arg];
    }
    g->n_loops = kept;
}

static void replace(struct fold *f) {
    struct grammar *g = f->g;
    g->root = place_of(f, g->root);
    for (uint32_t r = 0; r < g->n_rules; r++)
        g->rules[r].entry = place_of(f, g->rules[r].entry);
    keep_loops(f);
    free(g->code);
    void *fitted = realloc(f->code, f->n_code * sizeof *f->code);
    g->code = fitted != NULL ? fitted : f->code;
    g->n_code = f->n_code;
    fitted = f->n_edges > 0 ? realloc(f->edges, f->n_edges * sizeof *f->edges) : NULL;
    g->edges = fitted != NULL ? fitted : f->edges;
    g->n_edges = f->n_edges;
    f->code = NULL;
    f->edges = NULL;
}

static void classify_bytes(struct grammar *g) {
    bool begins[257] = {true};
    struct grammar_edge own;
    uint32_t n;
    for (uint32_t i = 0; i < g->n_code; i++)
        for (const struct grammar_edge *e = grammar_edges(g, i, &own, &n); n > 0; n--, e++)
            begins[e->low] = begins[e->high + 1] = true;
    g->n_classes = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        if (begins[byte]) {
            g->class_byte[g->n_classes] = (uint8_t)byte;
            g->class_single[g->n_classes++] = byte == 255 || begins[byte + 1];
        }
        g->classes[byte] = (uint8_t)(g->n_classes - 1);
    }
    g->width = g->n_classes + GRAMMAR_SYMBOL_TAG + g->n_tags;
}

/* Of rules that take a byte at once. */
static void find_beginnings(struct grammar *g) {
    struct grammar_edge own;
    uint32_t n;
    for (uint32_t r = 0; r < g->n_rules; r++) {
        const struct grammar_instruction *i = &g->code[g->rules[r].entry];
        if (i->op != GRAMMAR_OP_BYTES && (i->op != GRAMMAR_OP_EDGES || i->next != GRAMMAR_NONE))
            continue;
        g->rules[r].begins = 0;
        for (const struct grammar_edge *e = grammar_edges(g, g->rules[r].entry, &own, &n); n > 0; n--, e++)
            g->rules[r].begins |= (uint16_t)((2u << (e->high >> 4)) - (1u << (e->low >> 4)));
    }
}

int grammar_fold(struct grammar *g) {
    struct fold f = {.g = g, .n_slots = 64};
    while (f.n_slots < 4 * g->n_code)
        f.n_slots *= 2;
    f.moved = malloc(g->n_code * sizeof *f.moved);
    f.comers = calloc(g->n_code, sizeof *f.comers);
    f.slots = calloc(f.n_slots, sizeof *f.slots);
    f.numbers = calloc((size_t)g->n_loops + 1, sizeof *f.numbers);
    if (f.numbers == NULL || f.moved == NULL || f.comers == NULL || f.slots == NULL) {
        f.status = -ENOMEM;
    } else {
        memset(f.moved, 0xFF, g->n_code * sizeof *f.moved);
        count_comers(&f);
        (void)move(&f, 0); /* the RETURN stays where it is */
        (void)move(&f, g->root);
    }
    while (f.n_todo > 0 && f.status == 0) {
        uint32_t pc = f.todo[--f.n_todo];
        struct grammar_instruction i = fold_one(&f, pc);
        f.code[f.moved[pc]] = i;
    }
    if (f.status == 0) {
        replace(&f);
        classify_bytes(g);
        find_beginnings(g);
    }
    free(f.code);
    free(f.edges);
    free(f.moved);
    free(f.comers);
    free(f.slots);
    free(f.numbers);
    free(f.todo);
    free(f.open);
    free(f.others);
    free(f.ways);
    return f.status;
}

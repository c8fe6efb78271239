/* Rules that call themselves before anything is taken: following them would not end. */
#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>

/* Where instructions lead without a byte is a graph. A rule calls itself so exactly where a call and the
 * entry of its rule are in one strongly connected part of it. The parts are found by R. Tarjan's algorithm
 * (Depth-first search and linear graph algorithms, 1972), without recursion; each instruction is visited
 * once. */
struct search {
    struct grammar *g;
    uint32_t *index; /* in the order of the first visit, from 1; 0: not visited */
    uint32_t *low;   /* the least index that is reached, of the part that is open */
    uint32_t *part;  /* number, from 1; 0: open */
    uint8_t *at;     /* the next way out */
    uint32_t *path, *open;
    uint32_t n_path, n_open, n_visited, n_parts;
};

/* Way out number k, or GRAMMAR_NONE when there are no more. */
static uint32_t way_out(const struct grammar *g, uint32_t pc, unsigned k) {
    const struct grammar_instruction *i = &g->code[pc];
    const struct grammar_loop *loop;
    switch ((enum grammar_op)i->op) {
    case GRAMMAR_OP_SPLIT:
        return k == 0 ? i->next : k == 1 ? i->arg : GRAMMAR_NONE;
    case GRAMMAR_OP_JUMP:
    case GRAMMAR_OP_STRING:
    case GRAMMAR_OP_TEXT:
    case GRAMMAR_OP_EDGES:
        return k == 0 ? i->next : GRAMMAR_NONE;
    case GRAMMAR_OP_CALL:
        if (k == 1 && g->code[g->rules[i->arg].entry].distance == 0)
            return i->next;
        return k == 0 ? g->rules[i->arg].entry : GRAMMAR_NONE;
    case GRAMMAR_OP_LOOP:
    case GRAMMAR_OP_LOOP_END: /* reached without a byte: after an empty round */
        loop = &g->loops[i->arg];
        if (k == 1 && (i->op == GRAMMAR_OP_LOOP_END || loop->min == 0))
            return loop->exit;
        return k == 0 ? loop->body : GRAMMAR_NONE;
    case GRAMMAR_OP_RETURN:
    case GRAMMAR_OP_BYTES:
    case GRAMMAR_OP_SYMBOL:
    case GRAMMAR_OP_FAIL:
        break;
    }
    return GRAMMAR_NONE;
}

static void enter(struct search *s, uint32_t pc) {
    s->index[pc] = s->low[pc] = ++s->n_visited;
    s->path[s->n_path++] = pc;
    s->open[s->n_open++] = pc;
}

/* All ways out of the last of the path are followed. */
static void leave(struct search *s) {
    uint32_t pc = s->path[--s->n_path];
    if (s->n_path > 0) {
        uint32_t *outer = &s->low[s->path[s->n_path - 1]];
        *outer = s->low[pc] < *outer ? s->low[pc] : *outer;
    }
    if (s->low[pc] != s->index[pc])
        return;
    s->n_parts++;
    do
        s->part[s->open[--s->n_open]] = s->n_parts;
    while (s->open[s->n_open] != pc);
}

static void search_from(struct search *s, uint32_t root) {
    enter(s, root);
    while (s->n_path > 0) {
        uint32_t pc = s->path[s->n_path - 1], to = way_out(s->g, pc, s->at[pc]);
        if (to == GRAMMAR_NONE) {
            leave(s);
            continue;
        }
        s->at[pc]++;
        s->g->n_looks++;
        if (s->index[to] == 0)
            enter(s, to);
        else if (s->part[to] == 0 && s->index[to] < s->low[pc])
            s->low[pc] = s->index[to];
    }
}

int grammar_check_recursion(struct grammar *g, char *err, size_t errlen) {
    struct search s = {.g = g};
    uint32_t *room = calloc(5 * (size_t)g->n_code, sizeof *room);
    s.at = calloc(g->n_code, 1);
    int rc = 0;
    if (room == NULL || s.at == NULL) {
        rc = err_set(err, errlen, -ENOMEM, "Not enough memory for the grammar.");
    } else {
        s.index = room;
        s.low = room + g->n_code;
        s.part = room + 2 * (size_t)g->n_code;
        s.path = room + 3 * (size_t)g->n_code;
        s.open = room + 4 * (size_t)g->n_code;
    }
    for (uint32_t pc = 0; pc < g->n_code && rc == 0; pc++)
        if (s.index[pc] == 0)
            search_from(&s, pc);
    for (uint32_t pc = 0; pc < g->n_code && rc == 0; pc++)
        if (g->code[pc].op == GRAMMAR_OP_CALL && s.part[pc] == s.part[g->rules[g->code[pc].arg].entry])
            rc = err_set(err, errlen, -EINVAL, "A rule of the grammar calls itself before it takes a byte.");
    free(room);
    free(s.at);
    return rc;
}

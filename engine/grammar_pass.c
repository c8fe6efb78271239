/* Several bytes at once. Only the state behind them is kept, none on the way: most of those would never be
 * seen again, and a state costs several times what its threads do. */
#include "engine/grammar_threads.h"

#include <errno.h>
#include <string.h>

#define CHAIN_MAX  8  /* instructions that are looked at one after the other without being listed */
#define LIST_SHORT 16 /* threads among which looking for one is faster than sorting them */

/* A thread behind the byte, once. */
static void push(struct grammar_automaton *a, uint32_t pc, uint32_t frame) {
    uint32_t first = a->first_passed;
    for (uint32_t i = first; a->n_passed - first <= LIST_SHORT && i < a->n_passed; i++)
        if (a->passed[i].pc == pc && a->passed[i].frame == frame)
            return;
    void *grown = grammar_grow(a->passed, sizeof *a->passed, a->n_passed, &a->passed_cap, 1);
    if (grown == NULL) {
        grammar_threads_fail(a, -ENOMEM);
        return;
    }
    a->passed = grown;
    a->passed[a->n_passed++] = (struct grammar_thread){pc, frame};
}

/* Those behind the byte take the place of those before it, less doubles that were not seen by looking. */
static void move_up(struct grammar_automaton *a) {
    struct grammar_thread *t = a->passed;
    uint32_t n = 0, first = a->first_passed;
    if (a->n_passed - first > LIST_SHORT)
        grammar_threads_sort(t + first, a->n_passed - first);
    for (uint32_t i = first; i < a->n_passed; i++)
        if (n == 0 || t[n - 1].pc != t[i].pc || t[n - 1].frame != t[i].frame)
            t[n++] = t[i];
    a->n_passed = n;
}

/* Pushes what the instruction leads to after the byte. */
static void take(struct grammar *g, uint32_t pc, uint32_t frame, unsigned char byte) {
    struct grammar_edge own;
    uint32_t n;
    const struct grammar_edge *e = grammar_edges(g, pc, &own, &n);
    g->automaton.work += n / GRAMMAR_SCANNED;
    for (; n > 0; n--, e++)
        if (e->low <= byte && byte <= e->high)
            push(&g->automaton, e->next, frame);
}

/* Takes the byte there, as far as that goes without the list; lists the rest. */
static void visit(struct grammar *g, uint32_t pc, uint32_t frame, unsigned char byte) {
    for (int steps = 0; grammar_threads_may(g, pc, frame); steps++) {
        const struct grammar_instruction *i = &g->code[pc];
        bool ends = i->op == GRAMMAR_OP_BYTES || (i->op == GRAMMAR_OP_EDGES && i->next == GRAMMAR_NONE);
        bool goes_on = i->op == GRAMMAR_OP_EDGES || i->op == GRAMMAR_OP_JUMP;
        if (i->op == GRAMMAR_OP_CALL && (g->rules[i->arg].begins >> (byte >> 4) & 1) == 0)
            return;
        if (!ends && (!goes_on || steps >= CHAIN_MAX)) {
            grammar_threads_add(g, pc, frame);
            return;
        }
        g->automaton.work += GRAMMAR_WORK_THREAD;
        take(g, pc, frame, byte);
        if (ends)
            return;
        pc = i->next;
    }
}

/* Takes the byte behind a thread of the list. */
static void visit_behind(struct grammar *g, struct grammar_thread t, unsigned char byte) {
    const struct grammar_instruction *i = &g->code[t.pc];
    struct grammar_state none;
    uint32_t frame;
    switch ((enum grammar_op)i->op) {
    case GRAMMAR_OP_SPLIT:
        visit(g, i->next, t.frame, byte);
        visit(g, i->arg, t.frame, byte);
        break;
    case GRAMMAR_OP_CALL:
        frame = grammar_threads_call(g, t.frame, i->next, i->arg);
        if (frame != GRAMMAR_BOTTOM)
            visit(g, g->rules[i->arg].entry, frame, byte);
        break;
    case GRAMMAR_OP_BYTES:
    case GRAMMAR_OP_EDGES:
    case GRAMMAR_OP_JUMP:
        take(g, t.pc, t.frame, byte);
        if (i->op != GRAMMAR_OP_BYTES && i->next != GRAMMAR_NONE)
            visit(g, i->next, t.frame, byte);
        break;
    default:
        grammar_threads_follow(g, t, &none);
        break;
    }
}

/* From the threads that were pushed to those behind one more byte. */
static void pass_byte(struct grammar *g, unsigned char byte) {
    struct grammar_automaton *a = &g->automaton;
    uint32_t n = a->n_passed;
    a->first_passed = n;
    for (uint32_t i = 0; i < n; i++)
        visit(g, a->passed[i].pc, a->passed[i].frame, byte);
    for (uint32_t i = 0; i < a->n_list && a->status == 0; i++)
        visit_behind(g, a->list[i], byte);
    a->work += GRAMMAR_WORK_STEP + a->n_list * GRAMMAR_WORK_THREAD;
    grammar_threads_clear(a);
    move_up(a);
}

/* ---- few threads ---- */

/* Nearly always there are few, and none comes to what needs the list. */
#define FEW 12

struct few {
    struct grammar_thread t[FEW];
    uint32_t n;
};

/* Adds a thread, once. False: there are too many. */
static inline bool add_few(struct few *f, uint32_t pc, uint32_t frame) {
    for (uint32_t i = 0; i < f->n; i++)
        if (f->t[i].pc == pc && f->t[i].frame == frame)
            return true;
    if (f->n == FEW)
        return false;
    f->t[f->n++] = (struct grammar_thread){pc, frame};
    return true;
}

/* Adds what the instruction leads to after the byte. False: that are too many. */
static inline bool take_few(const struct grammar *g, const struct grammar_instruction *i, uint32_t frame,
                            unsigned char byte, struct few *to, uint32_t *work) {
    if (i->op == GRAMMAR_OP_BYTES)
        return byte < i->low || byte > i->high || add_few(to, i->next, frame);
    if (i->op != GRAMMAR_OP_EDGES)
        return true;
    uint32_t n = i->low + 256u * i->high;
    const struct grammar_edge *e = g->edges + i->arg;
    *work += n / GRAMMAR_SCANNED;
    for (; n > 0; n--, e++)
        if (e->low <= byte && byte <= e->high && !add_few(to, e->next, frame))
            return false;
    return true;
}

/* As visit() does. False: it cannot be done here. */
static inline bool visit_few(const struct grammar *g, struct grammar_thread t, unsigned char byte,
                             struct few *to, uint32_t *work) {
    uint32_t levels = g->max_nesting - g->automaton.frames[t.frame].depth, pc = t.pc;
    for (int steps = 0;; steps++) {
        const struct grammar_instruction *i = &g->code[pc];
        if (i->height > levels || i->distance == GRAMMAR_FOREVER)
            return true;
        if (i->op == GRAMMAR_OP_CALL && (g->rules[i->arg].begins >> (byte >> 4) & 1) == 0)
            return true;
        bool goes_on = i->op == GRAMMAR_OP_EDGES || i->op == GRAMMAR_OP_BYTES || i->op == GRAMMAR_OP_JUMP ||
                       i->op == GRAMMAR_OP_STRING || i->op == GRAMMAR_OP_TEXT;
        if (!goes_on || steps >= CHAIN_MAX)
            return false;
        *work += GRAMMAR_WORK_THREAD;
        if (!take_few(g, i, t.frame, byte, to, work))
            return false;
        if (i->op == GRAMMAR_OP_BYTES || i->next == GRAMMAR_NONE)
            return true;
        pc = i->next;
    }
}

/* From few threads to few. False: it cannot be done here, and nothing was. */
static bool pass_few(struct grammar *g, const struct few *from, struct few *to, unsigned char byte) {
    uint32_t work = GRAMMAR_WORK_STEP;
    to->n = 0;
    for (uint32_t i = 0; i < from->n; i++)
        if (!visit_few(g, from->t[i], byte, to, &work))
            return false;
    g->automaton.work += work;
    return true;
}

/* The first byte. */
static bool pass_first(struct grammar *g, struct grammar_state state, struct few *to, unsigned char byte) {
    const struct grammar_thread *t = g->automaton.threads + state.first;
    uint32_t work = GRAMMAR_WORK_STEP + state.n / GRAMMAR_SCANNED;
    to->n = 0;
    for (uint32_t i = 0; i < state.n; i++)
        if (!take_few(g, &g->code[t[i].pc], t[i].frame, byte, to, &work))
            return false;
    g->automaton.work += work;
    return true;
}

/* ---- all of it ---- */

static void pass_first_of_many(struct grammar *g, struct grammar_state state, unsigned char byte) {
    struct grammar_automaton *a = &g->automaton;
    for (uint32_t i = 0; i < state.n; i++) {
        struct grammar_thread t = a->threads[state.first + i];
        take(g, t.pc, t.frame, byte);
    }
    a->work += GRAMMAR_WORK_STEP + state.n / GRAMMAR_SCANNED;
}

/* Few threads become those that were pushed. */
static void push_few(struct grammar_automaton *a, const struct few *f) {
    a->n_passed = a->first_passed = 0;
    for (uint32_t i = 0; i < f->n; i++)
        push(a, f->t[i].pc, f->t[i].frame);
}

/* Bytes of which not even the first was taken there before. */
static uint32_t pass(struct grammar *g, uint32_t from, const char *bytes, size_t n, uint32_t most) {
    struct grammar_automaton *a = &g->automaton;
    struct few few[2];
    uint32_t now = 0;
    a->n_passed = a->first_passed = 0;
    bool is_few = pass_first(g, a->states[from], &few[0], (unsigned char)bytes[0]);
    if (!is_few)
        pass_first_of_many(g, a->states[from], (unsigned char)bytes[0]);
    for (size_t i = 1; i < n && a->status == 0 && (is_few ? few[now].n : a->n_passed) > 0; i++) {
        if (is_few && pass_few(g, &few[now], &few[now ^ 1], (unsigned char)bytes[i])) {
            now ^= 1;
        } else {
            if (is_few)
                push_few(a, &few[now]);
            is_few = false;
            pass_byte(g, (unsigned char)bytes[i]);
        }
        if (a->work > most && i + 1 < n)
            grammar_threads_fail(a, -E2BIG);
    }
    if (a->status != 0)
        return GRAMMAR_STATE_DEAD;
    const struct grammar_thread *t = is_few ? few[now].t : a->passed;
    uint32_t n_threads = is_few ? few[now].n : a->n_passed;
    for (uint32_t i = 0; i < n_threads; i++)
        grammar_threads_add(g, t[i].pc, t[i].frame);
    return grammar_automaton_listed(g);
}

uint32_t grammar_automaton_over(struct grammar *g, uint32_t state, const char *bytes, size_t n,
                                uint32_t most) {
    for (size_t i = 0; i < n && state != GRAMMAR_STATE_DEAD; i++) {
        uint32_t column = g->classes[(unsigned char)bytes[i]];
        uint32_t next = g->automaton.rows[(size_t)state * g->width + column];
        if (next == GRAMMAR_STATE_NEW && i + 1 < n)
            return pass(g, state, bytes + i, n - i, most);
        state = next != GRAMMAR_STATE_NEW ? next : grammar_automaton_step(g, state, column);
    }
    return state;
}

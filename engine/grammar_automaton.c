/* States of a grammar, made when they are first reached: sets of threads, each an instruction and a stack. */
#include "engine/grammar_threads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state_hash(const struct grammar_thread *t, uint32_t n, bool complete) {
    uint64_t h = grammar_threads_mix(n, complete);
    for (uint32_t i = 0; i < n; i++)
        h = grammar_threads_mix(grammar_threads_mix(h, t[i].pc), t[i].frame);
    return h;
}

static bool rehash_states(struct grammar_automaton *a) {
    uint32_t size = a->state_mask == 0 ? 256 : (a->state_mask + 1) * 2;
    uint32_t *slots = calloc(size, sizeof *slots);
    if (slots == NULL)
        return false;
    for (uint32_t s = 2; s < a->n_states; s++) {
        const struct grammar_state *state = &a->states[s];
        uint64_t h = state_hash(a->threads + state->first, state->n, state->complete);
        while (slots[h & (size - 1)] != 0)
            h++;
        slots[h & (size - 1)] = s;
    }
    free(a->state_slots);
    a->state_slots = slots;
    a->state_mask = size - 1;
    return true;
}

/* Appends a state with these threads. */
static uint32_t new_state(struct grammar *g, struct grammar_state state, const struct grammar_thread *t) {
    struct grammar_automaton *a = &g->automaton;
    size_t row = g->width * sizeof *a->rows;
    if (grammar_automaton_bytes(g) > GRAMMAR_STATE_BYTES_MAX) {
        grammar_threads_fail(a, -E2BIG);
        return GRAMMAR_STATE_DEAD;
    }
    void *states = grammar_grow(a->states, sizeof state, a->n_states, &a->states_cap, 1);
    a->states = states != NULL ? states : a->states;
    void *rows = grammar_grow(a->rows, row, a->n_states, &a->rows_cap, 1);
    a->rows = rows != NULL ? rows : a->rows;
    void *threads = grammar_grow(a->threads, sizeof *t, a->n_threads, &a->threads_cap, state.n);
    a->threads = threads != NULL ? threads : a->threads;
    if (states == NULL || rows == NULL || threads == NULL) {
        grammar_threads_fail(a, -ENOMEM);
        return GRAMMAR_STATE_DEAD;
    }
    state.first = a->n_threads;
    if (state.n > 0)
        memcpy(a->threads + a->n_threads, t, state.n * sizeof *t);
    a->n_threads += state.n;
    memset(a->rows + (size_t)a->n_states * g->width, 0, row);
    a->states[a->n_states] = state;
    return a->n_states++;
}

uint32_t grammar_automaton_listed(struct grammar *g) {
    struct grammar_automaton *a = &g->automaton;
    struct grammar_state state = {.distance = GRAMMAR_FOREVER};
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_list && a->status == 0; i++)
        grammar_threads_follow(g, a->list[i], &state);
    uint32_t n_list = a->n_list;
    a->work += n_list * GRAMMAR_WORK_THREAD;
    struct grammar_thread *kept = a->list;
    /* The list is emptied before it is overwritten, because that looks at its threads. */
    grammar_threads_clear(a);
    if (a->status != 0)
        return GRAMMAR_STATE_DEAD;
    for (uint32_t i = 0; i < n_list; i++) {
        struct grammar_thread t = kept[i];
        uint32_t way = grammar_threads_plus(g->code[t.pc].distance, a->frames[t.frame].rest);
        state.distance = way < state.distance ? way : state.distance;
        uint8_t op = g->code[t.pc].op;
        if (op == GRAMMAR_OP_BYTES || op == GRAMMAR_OP_SYMBOL || op == GRAMMAR_OP_EDGES) {
            state.names = state.names || a->frames[t.frame].names;
            kept[n++] = t;
        }
    }
    if (n == 0 && !state.complete)
        return GRAMMAR_STATE_DEAD;
    grammar_threads_sort(kept, n);
    state.n = n;
    if ((a->n_states + 1) * 2 > a->state_mask && !rehash_states(a)) {
        grammar_threads_fail(a, -ENOMEM);
        return GRAMMAR_STATE_DEAD;
    }
    uint64_t h = state_hash(kept, n, state.complete);
    for (; a->state_slots[h & a->state_mask] != 0; h++) {
        uint32_t s = a->state_slots[h & a->state_mask];
        const struct grammar_state *other = &a->states[s];
        if (other->n == n && other->complete == state.complete && other->plain == state.plain &&
            other->text == state.text &&
            (n == 0 || memcmp(a->threads + other->first, kept, n * sizeof *kept) == 0))
            return s;
    }
    uint32_t s = new_state(g, state, kept);
    if (s != GRAMMAR_STATE_DEAD)
        a->state_slots[h & a->state_mask] = s;
    return s;
}

/* Adds what the state's threads lead to after a symbol. False: no thread takes any symbol. */
static bool take_symbol(struct grammar *g, struct grammar_state state, uint32_t symbol) {
    struct grammar_automaton *a = &g->automaton;
    bool any = false;
    for (uint32_t i = 0; i < state.n; i++) {
        struct grammar_thread t = a->threads[state.first + i];
        const struct grammar_instruction *ins = &g->code[t.pc];
        if (ins->op != GRAMMAR_OP_SYMBOL)
            continue;
        any = true;
        if (ins->arg == symbol)
            grammar_threads_add(g, ins->next, t.frame);
    }
    return any;
}

/* The same after a byte class; first … last become the classes around it that the same threads take. */
static void take_byte(struct grammar *g, struct grammar_state state, uint32_t column, uint32_t *first,
                      uint32_t *last) {
    struct grammar_automaton *a = &g->automaton;
    struct grammar_edge own;
    uint32_t from = 0, to = g->n_classes - 1, n;
    for (uint32_t i = 0; i < state.n; i++) {
        struct grammar_thread t = a->threads[state.first + i];
        const struct grammar_edge *e = grammar_edges(g, t.pc, &own, &n);
        a->work += n / GRAMMAR_SCANNED;
        for (; n > 0; n--, e++) {
            uint32_t low = g->classes[e->low], high = g->classes[e->high];
            if (high < column) {
                from = high + 1 > from ? high + 1 : from;
            } else if (low > column) {
                to = low - 1 < to ? low - 1 : to;
            } else {
                from = low > from ? low : from;
                to = high < to ? high : to;
                grammar_threads_add(g, e->next, t.frame);
            }
        }
    }
    *first = from;
    *last = to;
}

uint32_t grammar_automaton_step(struct grammar *g, uint32_t from, uint32_t column) {
    struct grammar_automaton *a = &g->automaton;
    uint32_t *cell = &a->rows[(size_t)from * g->width + column];
    if (*cell != GRAMMAR_STATE_NEW)
        return *cell;
    if (a->status != 0)
        return GRAMMAR_STATE_DEAD;
    struct grammar_state state = a->states[from];
    uint32_t first = column, last = column;
    if (column < g->n_classes) {
        take_byte(g, state, column, &first, &last);
    } else if (!take_symbol(g, state, column - g->n_classes)) {
        first = g->n_classes;
        last = g->width - 1;
    }
    a->work += GRAMMAR_WORK_STEP + state.n / GRAMMAR_SCANNED;
    uint32_t next = grammar_automaton_listed(g);
    for (; a->status == 0 && first <= last; first++)
        a->rows[(size_t)from * g->width + first] = next;
    return next;
}

/* ---- life ---- */

size_t grammar_automaton_bytes(const struct grammar *g) {
    const struct grammar_automaton *a = &g->automaton;
    return a->n_states * (sizeof *a->states + g->width * sizeof *a->rows) +
           a->n_threads * sizeof *a->threads + a->n_frames * sizeof *a->frames +
           ((size_t)a->state_mask + a->frame_mask) * sizeof(uint32_t) + sizeof a->hops;
}

void grammar_automaton_forget_masks(struct grammar *g) {
    struct grammar_automaton *a = &g->automaton;
    for (uint32_t s = 0; s < a->n_states; s++) {
        free(a->states[s].mask);
        a->states[s].mask = NULL;
    }
    a->mask_bytes = 0;
}

void grammar_automaton_thin_masks(struct grammar *g) {
    struct grammar_automaton *a = &g->automaton;
    if (a->mask_bytes <= grammar_mask_room(g))
        return;
    for (uint32_t s = 0; s < a->n_states; s++) {
        struct grammar_mask *mask = a->states[s].mask;
        if (mask != NULL && !mask->used) {
            a->mask_bytes -= mask->bytes;
            a->states[s].mask = NULL;
            free(mask);
        } else if (mask != NULL) {
            mask->used = false;
        }
    }
    if (a->mask_bytes > grammar_mask_room(g) / 4 * 3)
        grammar_automaton_forget_masks(g);
}

void grammar_automaton_finish(struct grammar *g) {
    struct grammar_automaton *a = &g->automaton;
    grammar_automaton_forget_masks(g);
    free(a->states);
    free(a->rows);
    free(a->state_slots);
    free(a->threads);
    free(a->frames);
    free(a->frame_slots);
    free(a->list);
    free(a->passed);
    free(a->seen);
    *a = (struct grammar_automaton){0};
}

int grammar_automaton_start(struct grammar *g) {
    struct grammar_automaton *a = &g->automaton;
    a->frames = grammar_grow(NULL, sizeof *a->frames, 0, &a->frames_cap, 1);
    if (a->frames == NULL)
        return -ENOMEM;
    a->frames[a->n_frames++] = (struct grammar_frame){0};
    struct grammar_state none = {.distance = GRAMMAR_FOREVER};
    for (int i = 0; i < 2; i++) /* "not made yet", and dead */
        (void)new_state(g, none, NULL);
    grammar_threads_add(g, g->root, GRAMMAR_BOTTOM);
    a->start = grammar_automaton_listed(g);
    return a->status;
}

/* The same frame in the new automaton. `moved`: where each old one went; 0: not yet. An outer frame is always
 * older than those inside it. */
static uint32_t move_frame(struct grammar *g, const struct grammar_frame *old, uint32_t frame,
                           uint32_t *moved, uint32_t *stack) {
    uint32_t n = 0;
    for (; frame != GRAMMAR_BOTTOM && moved[frame] == 0; frame = old[frame].parent)
        stack[n++] = frame;
    uint32_t outer = frame != GRAMMAR_BOTTOM ? moved[frame] : GRAMMAR_BOTTOM;
    while (n > 0 && g->automaton.status == 0) {
        struct grammar_frame copy = old[stack[--n]];
        copy.parent = outer;
        outer = moved[stack[n]] = grammar_threads_frame(g, copy);
    }
    return outer;
}

static uint32_t move_state(struct grammar *g, const struct grammar_automaton *old, uint32_t from,
                           uint32_t *moved, uint32_t *stack) {
    struct grammar_automaton *a = &g->automaton;
    struct grammar_state state = old->states[from];
    struct grammar_thread *threads = calloc((size_t)state.n + 1, sizeof *threads);
    if (threads == NULL) {
        grammar_threads_fail(a, -ENOMEM);
        return GRAMMAR_STATE_DEAD;
    }
    for (uint32_t i = 0; i < state.n; i++) {
        struct grammar_thread t = old->threads[state.first + i];
        threads[i] = (struct grammar_thread){t.pc, move_frame(g, old->frames, t.frame, moved, stack)};
    }
    state.mask = NULL;
    grammar_threads_sort(threads, state.n);
    uint32_t s = a->status == 0 ? new_state(g, state, threads) : GRAMMAR_STATE_DEAD;
    free(threads);
    return s;
}

/* Builds the states anew where the matchers are. */
static int move_matchers(struct grammar *g, const struct grammar_automaton *old) {
    uint32_t *moved = calloc((size_t)old->n_frames + 1, sizeof *moved);
    uint32_t *stack = calloc((size_t)old->n_frames + 1, sizeof *stack);
    int rc = moved == NULL || stack == NULL ? -ENOMEM : grammar_automaton_start(g);
    for (struct grammar_matcher *m = g->matchers; m != NULL && rc == 0; m = m->next) {
        uint32_t s = move_state(g, old, m->state, moved, stack);
        rc = g->automaton.status;
        if (rc == 0)
            m->moved = s;
    }
    free(moved);
    free(stack);
    return rc;
}

/* Builds the states anew. */
static int begin_anew(struct grammar *g) {
    struct grammar_automaton old = g->automaton;
    g->automaton = (struct grammar_automaton){0};
    int rc = move_matchers(g, &old);
    g->automaton.moved_bytes = grammar_automaton_bytes(g);
    g->automaton.work = (g->automaton.n_threads + g->automaton.n_frames) * (GRAMMAR_WORK_THREAD / 4);
    struct grammar_automaton dropped = rc == 0 ? old : g->automaton;
    struct grammar_automaton kept = rc == 0 ? g->automaton : old;
    for (struct grammar_matcher *m = g->matchers; m != NULL && rc == 0; m = m->next)
        m->state = m->moved;
    g->automaton = dropped;
    grammar_automaton_finish(g);
    g->automaton = kept;
    return rc;
}

int grammar_automaton_begin(struct grammar *g, size_t most) {
    g->automaton.status = 0;
    g->automaton.work = 0;
    /* Where the matchers' own states take most of it, building them anew each time would be no help. */
    return grammar_automaton_bytes(g) <= most + 2 * g->automaton.moved_bytes ? 0 : begin_anew(g);
}

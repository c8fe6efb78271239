/* Threads of a grammar: their stacks, and what they lead to before a byte is taken. */
#include "engine/grammar_threads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- frames ---- */

static uint64_t frame_hash(uint32_t parent, uint32_t pc, uint32_t count) {
    return grammar_threads_mix(grammar_threads_mix(grammar_threads_mix(0, parent), pc), count);
}

static bool rehash_frames(struct grammar_automaton *a) {
    uint32_t size = a->frame_mask == 0 ? 256 : (a->frame_mask + 1) * 2;
    uint32_t *slots = calloc(size, sizeof *slots);
    if (slots == NULL)
        return false;
    for (uint32_t f = 1; f < a->n_frames; f++) {
        const struct grammar_frame *frame = &a->frames[f];
        uint64_t h = frame_hash(frame->parent, frame->pc, frame->count);
        while (slots[h & (size - 1)] != 0)
            h++;
        slots[h & (size - 1)] = f;
    }
    free(a->frame_slots);
    a->frame_slots = slots;
    a->frame_mask = size - 1;
    return true;
}

uint32_t grammar_threads_frame(struct grammar *g, struct grammar_frame frame) {
    struct grammar_automaton *a = &g->automaton;
    if ((a->n_frames + 1) * 2 > a->frame_mask && !rehash_frames(a)) {
        grammar_threads_fail(a, -ENOMEM);
        return GRAMMAR_BOTTOM;
    }
    uint64_t h = frame_hash(frame.parent, frame.pc, frame.count);
    for (;; h++) {
        uint32_t f = a->frame_slots[h & a->frame_mask];
        if (f == 0)
            break;
        const struct grammar_frame *x = &a->frames[f];
        if (x->parent == frame.parent && x->pc == frame.pc && x->count == frame.count &&
            x->depth == frame.depth && x->names == frame.names)
            return f;
    }
    void *grown = grammar_grow(a->frames, sizeof frame, a->n_frames, &a->frames_cap, 1);
    if (grown == NULL) {
        grammar_threads_fail(a, -ENOMEM);
        return GRAMMAR_BOTTOM;
    }
    a->frames = grown;
    a->frames[a->n_frames] = frame;
    a->frame_slots[h & a->frame_mask] = a->n_frames;
    return a->n_frames++;
}

uint32_t grammar_threads_call(struct grammar *g, uint32_t parent, uint32_t pc, uint32_t rule) {
    const struct grammar_rule_code *called = &g->rules[rule];
    struct grammar_frame p = g->automaton.frames[parent];
    return grammar_threads_frame(
        g, (struct grammar_frame){.parent = parent,
                                  .pc = pc,
                                  .depth = (uint16_t)(p.depth + called->nested),
                                  .names = p.names || called->names,
                                  .rest = grammar_threads_plus(g->code[pc].distance, p.rest)});
}

/* Inside the loop, `count` rounds being complete. */
static uint32_t loop_frame(struct grammar *g, uint32_t parent, const struct grammar_loop *loop,
                           uint32_t count) {
    struct grammar_frame p = g->automaton.frames[parent];
    uint32_t left = loop->min > count + 1 ? loop->min - count - 1 : 0, body = g->code[loop->body].distance;
    uint64_t rounds = (uint64_t)left * body;
    uint32_t after = grammar_threads_plus(g->code[loop->exit].distance, p.rest);
    return grammar_threads_frame(
        g, (struct grammar_frame){
               .parent = parent,
               .pc = loop->end,
               .count = count,
               .depth = p.depth,
               .names = p.names,
               .rest = grammar_threads_plus(rounds < GRAMMAR_FOREVER ? (uint32_t)rounds : GRAMMAR_FOREVER - 1,
                                            after)});
}

/* ---- the state being made ---- */

/* Up to so many threads looking through them is faster than a table. */
#define LIST_SHORT 16

/* Puts all of the list into the table, which grows with it. */
static bool index_list(struct grammar_automaton *a) {
    if (a->n_list * 2 > a->seen_mask) {
        uint32_t size = a->seen_mask == 0 ? 256 : (a->seen_mask + 1) * 2;
        uint32_t *seen = calloc(size, sizeof *seen);
        if (seen == NULL) {
            a->n_list = 0; /* what the table has of it is not to be trusted */
            if (a->seen != NULL)
                memset(a->seen, 0, ((size_t)a->seen_mask + 1) * sizeof *a->seen);
            return false;
        }
        free(a->seen);
        a->seen = seen;
        a->seen_mask = size - 1;
    }
    for (uint32_t i = 0; i < a->n_list; i++) {
        uint64_t h = grammar_threads_mix(grammar_threads_mix(1, a->list[i].pc), a->list[i].frame);
        while (a->seen[h & a->seen_mask] != 0)
            h++;
        a->seen[h & a->seen_mask] = i + 1;
    }
    return true;
}

/* Whether the list has the thread; *slot: where it belongs in the table, if there is one. */
static bool is_listed(const struct grammar_automaton *a, uint32_t pc, uint32_t frame, uint64_t *slot) {
    if (a->n_list <= LIST_SHORT) {
        for (uint32_t i = 0; i < a->n_list; i++)
            if (a->list[i].pc == pc && a->list[i].frame == frame)
                return true;
        return false;
    }
    uint64_t h = grammar_threads_mix(grammar_threads_mix(1, pc), frame);
    for (; a->seen[h & a->seen_mask] != 0; h++) {
        const struct grammar_thread *t = &a->list[a->seen[h & a->seen_mask] - 1];
        if (t->pc == pc && t->frame == frame)
            return true;
    }
    *slot = h & a->seen_mask;
    return false;
}

void grammar_threads_add(struct grammar *g, uint32_t pc, uint32_t frame) {
    struct grammar_automaton *a = &g->automaton;
    uint64_t slot = 0;
    if (!grammar_threads_may(g, pc, frame) || is_listed(a, pc, frame, &slot))
        return;
    if (a->n_list >= GRAMMAR_THREADS_MAX) {
        grammar_threads_fail(a, -E2BIG);
        return;
    }
    void *grown = grammar_grow(a->list, sizeof *a->list, a->n_list, &a->list_cap, 1);
    if (grown == NULL) {
        grammar_threads_fail(a, -ENOMEM);
        return;
    }
    a->list = grown;
    a->list[a->n_list++] = (struct grammar_thread){pc, frame};
    if (a->n_list <= LIST_SHORT)
        return;
    if (a->n_list > LIST_SHORT + 1 && a->n_list * 2 <= a->seen_mask)
        a->seen[slot] = a->n_list;
    else if (!index_list(a)) /* all of it anew */
        grammar_threads_fail(a, -ENOMEM);
}

void grammar_threads_clear(struct grammar_automaton *a) {
    for (uint32_t i = 0; a->n_list > LIST_SHORT && i < a->n_list; i++) {
        uint64_t h = grammar_threads_mix(grammar_threads_mix(1, a->list[i].pc), a->list[i].frame);
        /* All of a run of slots is emptied from its first thread on. */
        for (; a->seen[h & a->seen_mask] != 0; h++)
            a->seen[h & a->seen_mask] = 0;
    }
    a->n_list = 0;
}

static void end_round(struct grammar *g, const struct grammar_loop *loop, uint32_t frame) {
    struct grammar_frame f = g->automaton.frames[frame];
    uint32_t count = f.count + 1;
    if (count >= loop->min)
        grammar_threads_add(g, loop->exit, f.parent);
    if (loop->max == GRAMMAR_FOREVER && count > loop->min)
        count = loop->min; /* no need to count on */
    if (count < loop->max) {
        uint32_t again = loop_frame(g, f.parent, loop, count);
        if (again != GRAMMAR_BOTTOM)
            grammar_threads_add(g, loop->body, again);
    }
}

void grammar_threads_follow(struct grammar *g, struct grammar_thread t, struct grammar_state *state) {
    struct grammar_automaton *a = &g->automaton;
    const struct grammar_instruction *i = &g->code[t.pc];
    const struct grammar_loop *loop;
    uint32_t frame, left;
    switch ((enum grammar_op)i->op) {
    case GRAMMAR_OP_RETURN:
        if (t.frame == GRAMMAR_BOTTOM)
            state->complete = true;
        else
            grammar_threads_add(g, a->frames[t.frame].pc, a->frames[t.frame].parent);
        break;
    case GRAMMAR_OP_SPLIT:
        grammar_threads_add(g, i->next, t.frame);
        grammar_threads_add(g, i->arg, t.frame);
        break;
    case GRAMMAR_OP_TEXT:
        state->text = (uint16_t)(i->arg * GRAMMAR_TAG_BYTES + i->low + 1);
        grammar_threads_add(g, i->next, t.frame);
        break;
    case GRAMMAR_OP_JUMP:
        grammar_threads_add(g, i->next, t.frame);
        break;
    case GRAMMAR_OP_STRING:
        left = i->arg == GRAMMAR_NONE || g->loops[i->arg].max == GRAMMAR_FOREVER
                   ? GRAMMAR_FOREVER
                   : g->loops[i->arg].max - a->frames[t.frame].count;
        state->plain = left > state->plain ? left : state->plain;
        grammar_threads_add(g, i->next, t.frame);
        break;
    case GRAMMAR_OP_CALL:
        frame = grammar_threads_call(g, t.frame, i->next, i->arg);
        if (frame != GRAMMAR_BOTTOM)
            grammar_threads_add(g, g->rules[i->arg].entry, frame);
        break;
    case GRAMMAR_OP_LOOP:
        loop = &g->loops[i->arg];
        if (loop->min == 0)
            grammar_threads_add(g, loop->exit, t.frame);
        if (loop->max > 0 && (frame = loop_frame(g, t.frame, loop, 0)) != GRAMMAR_BOTTOM)
            grammar_threads_add(g, loop->body, frame);
        break;
    case GRAMMAR_OP_LOOP_END:
        end_round(g, &g->loops[i->arg], t.frame);
        break;
    case GRAMMAR_OP_EDGES:
        if (i->next != GRAMMAR_NONE)
            grammar_threads_add(g, i->next, t.frame);
        break;
    case GRAMMAR_OP_BYTES:
    case GRAMMAR_OP_SYMBOL:
    case GRAMMAR_OP_FAIL:
        break;
    }
}

/* ---- order ---- */

static uint64_t key_of(struct grammar_thread t) {
    return (uint64_t)t.pc << 32 | t.frame;
}

/* Nearly all are in order as they come, so what moves moves a little: shell sort, with the gaps of M. Ciura
 * (2001). */
void grammar_threads_sort(struct grammar_thread *t, uint32_t n) {
    static const uint32_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    for (size_t k = n > 24 ? 0 : sizeof gaps / sizeof *gaps - 1; k < sizeof gaps / sizeof *gaps; k++)
        for (uint32_t gap = gaps[k], i = gap; i < n; i++) {
            struct grammar_thread moving = t[i];
            uint64_t key = key_of(moving);
            uint32_t j = i;
            for (; j >= gap && key_of(t[j - gap]) > key; j -= gap)
                t[j] = t[j - gap];
            t[j] = moving;
        }
}

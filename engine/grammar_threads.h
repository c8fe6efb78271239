/* The threads of which the states of a grammar are made: an instruction each, and a stack of interned frames.
 * The list of those that a state is being made of belongs to the automaton. Private to engine/. */
#ifndef ENGINE_GRAMMAR_THREADS_H
#define ENGINE_GRAMMAR_THREADS_H

#include "engine/grammar_program.h"

#define GRAMMAR_BOTTOM 0u /* the frame below all */

/* Distances; GRAMMAR_FOREVER stays what it is. */
static inline uint32_t grammar_threads_plus(uint32_t a, uint32_t b) {
    uint64_t sum = (uint64_t)a + b;
    return a == GRAMMAR_FOREVER || b == GRAMMAR_FOREVER ? GRAMMAR_FOREVER
           : sum < GRAMMAR_FOREVER                      ? (uint32_t)sum
                                                        : GRAMMAR_FOREVER - 1;
}

static inline uint64_t grammar_threads_mix(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

/* The first failure of an operation stands in automaton.status. */
static inline void grammar_threads_fail(struct grammar_automaton *a, int status) {
    if (a->status == 0)
        a->status = status;
}

/* The frame with these members; a new one gets this `rest`. GRAMMAR_BOTTOM after a failure. */
uint32_t grammar_threads_frame(struct grammar *g, struct grammar_frame frame);
/* Inside a rule that was called and goes back to pc. */
uint32_t grammar_threads_call(struct grammar *g, uint32_t parent, uint32_t pc, uint32_t rule);
/* Whether the end can be reached from there, below the nesting limit. */
static inline bool grammar_threads_may(const struct grammar *g, uint32_t pc, uint32_t frame) {
    return g->code[pc].distance != GRAMMAR_FOREVER &&
           g->code[pc].height <= g->max_nesting - g->automaton.frames[frame].depth;
}
/* Adds a thread to the list, once, unless nothing can come of it. */
void grammar_threads_add(struct grammar *g, uint32_t pc, uint32_t frame);
/* Adds what a thread of the list leads to without taking anything; sets what it says of the state. */
void grammar_threads_follow(struct grammar *g, struct grammar_thread t, struct grammar_state *state);
/* Empties the list, which must be as it was made. */
void grammar_threads_clear(struct grammar_automaton *a);
void grammar_threads_sort(struct grammar_thread *t, uint32_t n);

#endif

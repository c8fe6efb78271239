#include "engine/grammar_reach.h"

#include <string.h>

#define CHAIN_MAX 16 /* characters that are followed */

#define THREADS_MAX 100 /* of a state whose chain is followed; more take longer than it saves */
#define WORK_MOST   (GRAMMAR_WORK_MAX / 32)

#define LETTERS (1u << GRAMMAR_KIND_LOWER | 1u << GRAMMAR_KIND_UPPER)
/* Never of whole kinds: what ends or escapes in a string. */
#define SPECIAL                                                                                              \
    (1u << GRAMMAR_KIND_QUOTE | 1u << GRAMMAR_KIND_BACKSLASH | 1u << GRAMMAR_KIND_CONTROL |                  \
     1u << GRAMMAR_KIND_BROKEN)

struct grammar_reach grammar_reach_nothing(void) {
    return (struct grammar_reach){.look = GRAMMAR_KINDS_ALL};
}

/* ---- strings that count ---- */

static bool takes_quote_only(const struct grammar_instruction *i) {
    return i->op == GRAMMAR_OP_BYTES && i->low == '"' && i->high == '"';
}

/* The loop of a string that a frame is a round of, or NULL. */
static const struct grammar_loop *string_loop(const struct grammar *g, uint32_t frame) {
    const struct grammar_instruction *end = &g->code[g->automaton.frames[frame].pc];
    if (frame == 0 || end->op != GRAMMAR_OP_LOOP_END)
        return NULL;
    const struct grammar_loop *loop = &g->loops[end->arg];
    return g->code[loop->body].op == GRAMMAR_OP_STRING ? loop : NULL;
}

/* Whether all threads are inside one round of the loop of a string, or take the quote behind it: then no more
 * characters can come than are left of it. */
static bool is_one_string(const struct grammar *g, const struct grammar_state *state) {
    const struct grammar_frame *frames = g->automaton.frames;
    const struct grammar_loop *loop = NULL;
    uint32_t round = 0, quotes = 0, around = 0;
    for (uint32_t i = 0; i < state->n; i++) {
        struct grammar_thread t = g->automaton.threads[state->first + i];
        if (takes_quote_only(&g->code[t.pc])) {
            if (quotes++ > 0)
                return false;
            around = t.frame;
            continue;
        }
        /* A round calls rules for some characters, which come back to its end, as itself does. */
        const struct grammar_loop *own = string_loop(g, frames[t.frame].parent);
        uint32_t frame = own != NULL ? frames[t.frame].parent : t.frame;
        own = own != NULL ? own : string_loop(g, frame);
        if (own == NULL || (loop != NULL && frame != round))
            return false;
        loop = own;
        round = frame;
    }
    return loop != NULL && takes_quote_only(&g->code[loop->exit]) &&
           loop->max - frames[round].count == state->plain && (quotes == 0 || frames[round].parent == around);
}

struct grammar_reach grammar_reach_string(const struct grammar *g, uint32_t state, uint32_t most) {
    const struct grammar_state *s = &g->automaton.states[state];
    const uint32_t broken = 1u << GRAMMAR_KIND_BROKEN;
    struct grammar_reach r = {GRAMMAR_KINDS_ALL & ~broken, broken, s->plain, GRAMMAR_FOREVER};
    if (s->plain > most || !is_one_string(g, s)) {
        r.chars = s->plain < most ? s->plain : most;
        r.chars = r.chars < GRAMMAR_CHARS_MAX ? r.chars : GRAMMAR_CHARS_MAX - 1;
        r.known = r.chars + 1;
    }
    return r;
}

/* ---- any state ---- */

struct search {
    struct grammar *g;
    const struct grammar_vocab *v;
};

static uint32_t next_of(const struct search *s, uint32_t state, unsigned byte) {
    return grammar_automaton_next(s->g, state, s->g->classes[byte]);
}

/* Kinds of which no thread takes any byte. */
static uint32_t dead_kinds(const struct search *s, uint32_t state) {
    struct grammar_automaton *a = &s->g->automaton;
    const struct grammar_thread *t = a->threads + a->states[state].first;
    int32_t begun[257] = {0}; /* ranges that begin at each byte, less those that ended before it */
    uint32_t alive = 0;
    for (uint32_t i = 0; i < a->states[state].n; i++) {
        struct grammar_edge own;
        uint32_t n;
        const struct grammar_edge *e = grammar_edges(s->g, t[i].pc, &own, &n);
        a->work += 1 + n / GRAMMAR_SCANNED;
        for (; n > 0; n--, e++) {
            begun[e->low]++;
            begun[e->high + 1]--;
        }
    }
    int32_t open = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        open += begun[byte];
        alive |= (uint32_t)(open > 0) << s->v->byte_kinds[byte];
    }
    return GRAMMAR_KINDS_ALL & ~alive & ~(1u << GRAMMAR_KIND_BROKEN);
}

/* Of `kinds`, those of which each ASCII byte leads to `to`. */
static uint32_t kinds_to(const struct search *s, uint32_t state, uint32_t kinds, uint32_t to) {
    for (unsigned byte = 0; byte < 0x80; byte++) {
        uint32_t kind = 1u << s->v->byte_kinds[byte];
        if ((kinds & kind) != 0 && next_of(s, state, byte) != to)
            kinds &= ~kind;
    }
    return kinds;
}

/* Whether all bytes of the range lead to one state. */
static bool leads(const struct search *s, uint32_t state, unsigned first, unsigned last, uint32_t to) {
    for (unsigned byte = first; byte <= last; byte++)
        if (next_of(s, state, byte) != to)
            return false;
    return true;
}

/* Whether the whole of UTF-8 beyond ASCII leads from the state to another one, and nothing else from 0x80 on
 * leads anywhere. The ranges are those of table 3-7 of the Unicode standard. */
static bool is_wide(const struct search *s, uint32_t state, uint32_t to) {
    const uint32_t dead = GRAMMAR_STATE_DEAD;
    uint32_t one = next_of(s, state, 0xC2), two = next_of(s, state, 0xE1), three = next_of(s, state, 0xF1);
    uint32_t e0 = next_of(s, state, 0xE0), ed = next_of(s, state, 0xED);
    uint32_t f0 = next_of(s, state, 0xF0), f4 = next_of(s, state, 0xF4);
    struct {
        uint32_t from;
        unsigned first, last; /* of 0x80 … 0xBF */
        uint32_t to;
    } steps[] = {{one, 0x80, 0xBF, to}, {two, 0x80, 0xBF, one}, {three, 0x80, 0xBF, two},
                 {e0, 0xA0, 0xBF, one}, {ed, 0x80, 0x9F, one},  {f0, 0x90, 0xBF, two},
                 {f4, 0x80, 0x8F, two}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i].from == dead || !leads(s, steps[i].from, steps[i].first, steps[i].last, steps[i].to) ||
            !leads(s, steps[i].from, 0x00, steps[i].first - 1, dead) ||
            !leads(s, steps[i].from, steps[i].last + 1, 0xFF, dead))
            return false;
    return leads(s, state, 0x80, 0xC1, dead) && leads(s, state, 0xC2, 0xDF, one) &&
           leads(s, state, 0xE1, 0xEC, two) && leads(s, state, 0xEE, 0xEF, two) &&
           leads(s, state, 0xF1, 0xF3, three) && leads(s, state, 0xF5, 0xFF, dead);
}

/* A letter with which the chain is followed, or 0. */
static unsigned letter_of(const struct search *s, uint32_t state) {
    static const unsigned char letters[] = "gG";
    for (size_t i = 0; i < 2; i++)
        if (next_of(s, state, letters[i]) != GRAMMAR_STATE_DEAD)
            return letters[i];
    return 0;
}

/* From the state on, one character of the kinds inside after the other leads along a chain of states, to its
 * end or around. */
static void follow(const struct search *s, uint32_t state, unsigned letter, struct grammar_reach *r,
                   uint32_t *dead) {
    const struct grammar_automaton *a = &s->g->automaton;
    uint32_t first = state, second = next_of(s, state, letter), next = second, most = a->work + WORK_MOST;
    bool whole = false; /* known to the end */
    for (r->chars = 0; r->chars <= CHAIN_MAX && a->status == 0; r->chars++) {
        if (a->states[state].n > THREADS_MAX || a->work > most)
            break;
        next = next_of(s, state, letter);
        r->inside = kinds_to(s, state, r->inside, next);
        *dead &= dead_kinds(s, state);
        whole = next == GRAMMAR_STATE_DEAD || next == state;
        if (whole)
            break;
        state = next;
    }
    if (!whole) {
        r->known = r->chars + 1;
        return;
    }
    if (next != state)
        return;
    r->chars = GRAMMAR_FOREVER;
    bool near = state == first || state == second;
    if (near && (*dead >> GRAMMAR_KIND_WIDE & 1) == 0 && is_wide(s, state, state) &&
        (state == first || is_wide(s, first, state)))
        r->inside |= 1u << GRAMMAR_KIND_WIDE;
}

struct grammar_reach grammar_reach_of(struct grammar *g, const struct grammar_vocab *v, uint32_t state) {
    struct search s = {g, v};
    struct grammar_reach r = {.known = GRAMMAR_FOREVER};
    uint32_t dead = dead_kinds(&s, state);
    unsigned letter = (~dead & LETTERS) != 0 ? letter_of(&s, state) : 0;
    if (letter != 0 && g->automaton.states[state].n <= THREADS_MAX) {
        uint32_t kind = 1u << v->byte_kinds[letter];
        r.inside = kinds_to(&s, state, ~dead & ~SPECIAL & ((1u << GRAMMAR_KIND_WIDE) - 1),
                            next_of(&s, state, letter));
        if ((r.inside & kind) != 0)
            follow(&s, state, letter, &r, &dead);
        /* Without the letter's kind the others were not followed. */
        if ((r.inside & kind) == 0) {
            r = (struct grammar_reach){.known = GRAMMAR_FOREVER};
            dead = dead_kinds(&s, state);
        }
    }
    if (g->automaton.status != 0)
        return grammar_reach_nothing();
    r.look = GRAMMAR_KINDS_ALL & ~r.inside & ~dead;
    if ((r.look >> GRAMMAR_KIND_WIDE & 1) == 0)
        r.look &= ~(1u << GRAMMAR_KIND_BROKEN);
    return r;
}

/* ---- masks ---- */

static void clear_longer(const struct grammar_vocab *v, bool spaced, uint32_t chars, uint32_t *mask) {
    for (uint32_t i = 0; i < v->n_longs; i++) {
        uint32_t id = v->longs[i].id, bit = (uint32_t)1 << id % 32;
        if (((v->spaced[id / 32] & bit) != 0) == spaced && v->longs[i].chars - spaced > chars)
            mask[id / 32] &= ~bit;
    }
}

void grammar_reach_add_string(const struct grammar_reach *r, const struct grammar_vocab *v, bool spaced,
                              uint32_t *mask) {
    const uint32_t *base = r->chars < GRAMMAR_CHARS_MAX ? v->up_to[r->chars] : v->slices[GRAMMAR_SLICE_PLAIN];
    const uint32_t turned = spaced ? 0 : ~(uint32_t)0;
    for (size_t w = 0; w < v->words; w++)
        mask[w] |= base[w] & (v->spaced[w] ^ turned);
    clear_longer(v, spaced, r->chars, mask);
}

/* Tokens that hold kinds of words only. */
static void add_words(const struct grammar_reach *r, const struct grammar_vocab *v, bool spaced,
                      uint32_t *mask) {
    const uint32_t *base = r->chars < GRAMMAR_CHARS_MAX ? v->up_to[r->chars] : v->slices[GRAMMAR_SLICE_PLAIN];
    const uint32_t *without[GRAMMAR_KINDS];
    const uint32_t turned = spaced ? 0 : ~(uint32_t)0;
    size_t n = 0;
    for (unsigned kind = 0; kind < GRAMMAR_KINDS; kind++)
        if (((GRAMMAR_WORDS & ~r->inside) >> kind & 1) != 0)
            without[n++] = v->kinds_held[kind];
    enum { BLOCK = 512 }; /* words; they stay near while all kinds pass */
    uint32_t kept[BLOCK];
    for (size_t from = 0; from < v->words; from += BLOCK) {
        size_t m = v->words - from < BLOCK ? v->words - from : BLOCK;
        for (size_t w = 0; w < m; w++)
            kept[w] = v->words_only[from + w] & base[from + w] & (v->spaced[from + w] ^ turned);
        for (size_t k = 0; k < n; k++)
            for (size_t w = 0; w < m; w++)
                kept[w] &= ~without[k][from + w];
        for (size_t w = 0; w < m; w++)
            mask[from + w] |= kept[w];
    }
}

void grammar_reach_add(const struct grammar_reach *r, const struct grammar_vocab *v, bool spaced,
                       uint32_t *mask) {
    uint32_t space = v->byte_tokens[' '];
    if (spaced)
        mask[space / 32] |= (uint32_t)1 << space % 32;
    if (r->inside == 0)
        return;
    add_words(r, v, spaced, mask);
    for (uint32_t k = 0; k < v->n_marks; k++) {
        uint32_t others = v->marks[k].others & GRAMMAR_KINDS_ALL;
        uint32_t to = k + 1 < v->n_marks ? v->marks[k + 1].from : v->n_marked;
        if ((others & ~r->inside) != 0 || ((v->marks[k].others & GRAMMAR_MARKS_SPACED) != 0) != spaced)
            continue;
        for (uint32_t i = v->marks[k].from; i < to; i++) {
            uint32_t holds = v->marked[i].holds, id = v->marked[i].id;
            bool near = holds >> GRAMMAR_KINDS <= r->chars || r->chars >= GRAMMAR_CHARS_MAX;
            if ((holds & GRAMMAR_KINDS_ALL & ~r->inside) == 0 && near)
                mask[id / 32] |= (uint32_t)1 << id % 32;
        }
    }
    clear_longer(v, spaced, r->chars, mask);
}

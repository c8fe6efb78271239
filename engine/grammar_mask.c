/* Which tokens may come next: a slice of the vocabulary where the state allows one, the others one by one. */
#include "engine/grammar_names.h"
#include "engine/grammar_program.h"
#include "engine/grammar_reach.h"
#include "engine/grammar_vocab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_TOKENS 2048 /* a mask with no more tokens other than its slice is kept as a list */
/* When a walk ends, so that something is left for the single bytes. */
#define WORK_WALK (GRAMMAR_WORK_MAX / 4 * 3)

struct search {
    struct grammar *g;
    const struct grammar_vocab *v;
    uint32_t within;
    uint32_t *mask;
    uint32_t *path; /* states by depth in the trie */
};

static void set_bit(uint32_t *mask, uint32_t id) {
    mask[id / 32] |= (uint32_t)1 << id % 32;
}

static void clear_bit(uint32_t *mask, uint32_t id) {
    mask[id / 32] &= ~((uint32_t)1 << id % 32);
}

/* Whether a token that leads to the state may be taken. */
static bool is_near(const struct search *s, uint32_t state) {
    const struct grammar_state *to = &s->g->automaton.states[state];
    return s->within == GRAMMAR_FOREVER || to->complete || to->distance < s->within;
}

/* enum grammar_loops; after a failure not. */
static bool find_loops(struct grammar *g, uint32_t state) {
    bool all = g->automaton.states[state].plain == GRAMMAR_FOREVER;
    for (unsigned byte = 0; byte < 0x80 && all; byte++) {
        if (byte == '"' || byte == '\\')
            continue;
        uint32_t next = grammar_automaton_next(g, state, g->classes[byte]);
        all = next == (byte < 0x20 ? GRAMMAR_STATE_DEAD : state) && g->automaton.status == 0;
    }
    g->automaton.states[state].loops = all ? GRAMMAR_LOOPS_ALL : GRAMMAR_LOOPS_NOT;
    return all;
}

static bool is_loop(struct grammar *g, uint32_t state) {
    uint8_t known = g->automaton.states[state].loops;
    return known == GRAMMAR_LOOPS_UNKNOWN ? find_loops(g, state) : known == GRAMMAR_LOOPS_ALL;
}

/* The nodes up to `end` that are not known; path[] has the states down to the first. False when it was cut:
 * by the work, or a failure. */
static bool walk(struct search *s, const struct grammar_node *node, const struct grammar_node *end,
                 struct grammar_reach reach) {
    struct grammar *g = s->g;
    uint32_t *path = s->path, *mask = s->mask;
    bool all = s->within == GRAMMAR_FOREVER;
    while (node < end) {
        if (grammar_reach_knows(&reach, node->holds)) {
            node += grammar_node_size(node);
            continue;
        }
        uint32_t depth = grammar_node_depth(node), from = path[depth];
        uint32_t column = g->classes[node->token_byte & 255];
        uint32_t next = g->automaton.rows[(size_t)from * g->width + column];
        if (g->automaton.work++ >= WORK_WALK)
            return false;
        if (next == GRAMMAR_STATE_NEW) {
            next = grammar_automaton_step(g, from, column);
            if (g->automaton.status != 0)
                return false;
        }
        if (next == GRAMMAR_STATE_DEAD) {
            node += grammar_node_size(node);
            continue;
        }
        path[depth + 1] = next;
        uint32_t token = node->token_byte >> 8;
        if (token != GRAMMAR_NO_TOKEN && (all || is_near(s, next)))
            set_bit(mask, token);
        bool breaks = (node->size_depth & GRAMMAR_NODE_BREAKS) != 0 && is_loop(g, next);
        node += breaks ? grammar_node_size(node) : 1;
    }
    return true;
}

/* All of a trie from path[0] on that is not known there, or behind a space. Where its two first levels lead
 * nowhere, nothing below is touched. */
static bool walk_trie(struct search *s, const struct grammar_trie *trie,
                      const struct grammar_reach reach[2]) {
    struct grammar *g = s->g;
    for (uint32_t t = 0; t < trie->n_tops; t++) {
        const struct grammar_reach *r = &reach[trie->tops[t].byte == ' '];
        if (grammar_reach_knows(r, trie->tops[t].holds))
            continue;
        uint32_t next = grammar_automaton_next(g, s->path[0], g->classes[trie->tops[t].byte]);
        if (g->automaton.status != 0 || g->automaton.work++ >= WORK_WALK)
            return false;
        if (next == GRAMMAR_STATE_DEAD)
            continue;
        const struct grammar_node *top = trie->nodes + trie->tops[t].node;
        if (!walk(s, top, top + 1, *r))
            return false;
        if ((top->size_depth & GRAMMAR_NODE_BREAKS) != 0 && is_loop(g, next))
            continue;
        for (uint32_t k = trie->kids_from[t]; k < trie->kids_from[t + 1]; k++) {
            if (grammar_reach_knows(r, trie->kids[k].holds))
                continue;
            uint32_t kid = grammar_automaton_next(g, next, g->classes[trie->kids[k].byte]);
            if (g->automaton.status != 0 || g->automaton.work++ >= WORK_WALK)
                return false;
            const struct grammar_node *node = trie->nodes + trie->kids[k].node;
            if (kid != GRAMMAR_STATE_DEAD && !walk(s, node, node + grammar_node_size(node), *r))
                return false;
        }
    }
    return true;
}

static bool reaches(const struct search *s, uint32_t state, uint32_t symbol) {
    uint32_t next = grammar_automaton_next(s->g, state, s->g->n_classes + symbol);
    return next != GRAMMAR_STATE_DEAD && is_near(s, next);
}

/* Added tokens, and those that end the turn. */
static void allow_added(struct search *s, uint32_t state) {
    const struct grammar_vocab *v = s->v;
    if (reaches(s, state, GRAMMAR_SYMBOL_OTHER))
        for (size_t w = 0; w < v->words; w++)
            s->mask[w] |= v->added[w];
    for (uint32_t i = 0; i < s->g->n_tags; i++) {
        if (s->g->tag_tokens[i] < 0)
            continue;
        uint32_t id = (uint32_t)s->g->tag_tokens[i];
        if (reaches(s, state, GRAMMAR_SYMBOL_TAG + i))
            set_bit(s->mask, id);
        else
            clear_bit(s->mask, id);
    }
    if (s->g->automaton.states[state].complete)
        for (size_t w = 0; w < v->words; w++)
            s->mask[w] |= v->ends[w];
}

/* ---- slices ---- */

/* Characters of a string that may be accepted one by one: a token of the slice must not take more work then
 * than a token may. */
static uint32_t light_chars(const struct search *s, uint32_t state) {
    uint64_t work = GRAMMAR_WORK_STEP + (uint64_t)s->g->automaton.states[state].n * (GRAMMAR_WORK_THREAD + 1);
    return (uint32_t)(GRAMMAR_WORK_MAX / work);
}

/* What the state allows without a look. */
static enum grammar_slice slice_of(const struct search *s, uint32_t state) {
    const struct grammar_state *from = &s->g->automaton.states[state];
    if (s->within != GRAMMAR_FOREVER)
        return GRAMMAR_SLICE_NONE;
    if (from->text != 0 && s->g->tags[(from->text - 1) / GRAMMAR_TAG_BYTES].text[0] == GRAMMAR_TEXT_BYTE)
        return GRAMMAR_SLICE_TEXT;
    if (from->plain >= s->v->longest && light_chars(s, state) >= s->v->longest)
        return GRAMMAR_SLICE_PLAIN;
    return GRAMMAR_SLICE_NONE;
}

/* All that the slice lacks. */
static bool walk_all(struct search *s, enum grammar_slice base) {
    const struct grammar_reach nothing[2] = {grammar_reach_nothing(), grammar_reach_nothing()};
    return walk_trie(s, &s->v->rest[base], nothing);
}

/* What tokens that the slice lacks have when they end a string, or escape oddly: without it they are not
 * allowed in a string. */
#define ENDS_STRING (1u << GRAMMAR_KIND_QUOTE | 1u << GRAMMAR_KIND_BACKSLASH)

/* In a string that counts. */
static bool walk_counted(struct search *s, uint32_t state) {
    const struct grammar_trie *trie = &s->v->rest[GRAMMAR_SLICE_NONE];
    struct grammar_reach reach[2];
    reach[0] = reach[1] = grammar_reach_string(s->g, state, light_chars(s, state));
    reach[1].chars--;
    reach[1].known -= reach[1].known != GRAMMAR_FOREVER;
    grammar_reach_add_string(&reach[0], s->v, false, s->mask);
    grammar_reach_add_string(&reach[1], s->v, true, s->mask);
    if (reach[0].known == GRAMMAR_FOREVER) {
        trie = &s->v->rest[GRAMMAR_SLICE_PLAIN]; /* all of the slice is known */
        reach[0].look = reach[1].look = ENDS_STRING;
    }
    return walk_trie(s, trie, reach);
}

/* Sets the tokens that are known by their kinds, and walks the others. */
static bool walk_by_kinds(struct search *s, uint32_t state) {
    struct grammar *g = s->g;
    uint32_t behind = grammar_automaton_next(g, state, g->classes[' ']);
    struct grammar_reach reach[2] = {grammar_reach_of(g, s->v, state), grammar_reach_nothing()};
    grammar_reach_add(&reach[0], s->v, false, s->mask);
    if (behind != GRAMMAR_STATE_DEAD) {
        reach[1] = grammar_reach_of(g, s->v, behind);
        grammar_reach_add(&reach[1], s->v, true, s->mask);
    }
    return walk_trie(s, &s->v->rest[GRAMMAR_SLICE_NONE], reach);
}

/* As many characters may follow as any token has: the slice is set. What is known of the state is known of
 * the tokens that the slice lacks, too. */
static bool walk_string(struct search *s, uint32_t state) {
    bool counted = s->g->automaton.states[state].plain != GRAMMAR_FOREVER;
    struct grammar_reach reach[2];
    reach[0] =
        counted ? grammar_reach_string(s->g, state, GRAMMAR_FOREVER) : grammar_reach_of(s->g, s->v, state);
    if (counted)
        reach[0].look = ENDS_STRING;
    bool known =
        reach[0].known == GRAMMAR_FOREVER && (counted || (reach[0].inside >> GRAMMAR_KIND_SPACE & 1) != 0);
    if (!known)
        reach[0] = grammar_reach_nothing();
    reach[1] = reach[0];
    return walk_trie(s, &s->v->rest[GRAMMAR_SLICE_PLAIN], reach);
}

/* Where some bytes of a tag were seen just now, tokens that begin with all the others end it: they are in the
 * slice, but what they lead to must be looked at. No others of the slice can end it, because the tag would
 * have to begin again in them. */
static bool walk_end_of_tag(struct search *s, uint32_t mark) {
    const struct grammar_trie *trie = &s->v->rest[GRAMMAR_SLICE_NONE];
    const struct grammar_tag_text *tag = &s->g->tags[mark / GRAMMAR_TAG_BYTES];
    const struct grammar_node *node = trie->nodes, *end = node + trie->n;
    size_t seen = mark % GRAMMAR_TAG_BYTES;
    if (seen == 0)
        return true;
    for (size_t i = seen; i < tag->len; i++) {
        uint32_t from = s->path[i - seen];
        while (node < end && (node->token_byte & 255) != (unsigned char)tag->text[i])
            node += grammar_node_size(node);
        if (node >= end)
            return true;
        end = node + grammar_node_size(node);
        s->path[i - seen + 1] = grammar_automaton_next(s->g, from, s->g->classes[node->token_byte & 255]);
        if (i + 1 < tag->len)
            node++;
    }
    for (const struct grammar_node *n = node; n < end; n++)
        if (n->token_byte >> 8 != GRAMMAR_NO_TOKEN)
            clear_bit(s->mask, n->token_byte >> 8);
    return s->g->automaton.status == 0 && walk(s, node, end, grammar_reach_nothing());
}

static bool walk_text(struct search *s, uint32_t mark) {
    bool whole = walk_all(s, GRAMMAR_SLICE_TEXT);
    return walk_end_of_tag(s, mark) && whole; /* in any case: it takes tokens out of the mask */
}

/* ---- masks that were cut ---- */

/* A byte that leads nearer to the end, by the thread whose way is the shortest; -1: none takes bytes. */
static int nearest_byte(const struct grammar *g, uint32_t state) {
    const struct grammar_automaton *a = &g->automaton;
    const struct grammar_state *from = &a->states[state];
    uint64_t least = UINT64_MAX;
    int byte = -1;
    for (uint32_t i = 0; i < from->n; i++) {
        struct grammar_thread t = a->threads[from->first + i];
        struct grammar_edge own;
        uint32_t n;
        for (const struct grammar_edge *e = grammar_edges(g, t.pc, &own, &n); n > 0; n--, e++) {
            uint64_t way = (uint64_t)g->code[e->next].distance + a->frames[t.frame].rest;
            if (way < least) {
                least = way;
                byte = e->low;
            }
        }
    }
    return byte;
}

/* The single bytes, as far as the work goes, and in any case one that leads nearer to the end. */
static int allow_bytes(struct search *s, uint32_t state) {
    struct grammar *g = s->g;
    struct grammar_automaton *a = &g->automaton;
    int nearest = nearest_byte(g, state);
    a->status = 0;
    if (nearest >= 0) {
        uint32_t next = grammar_automaton_next(g, state, g->classes[nearest]);
        if (a->status != 0)
            return a->status;
        if (next != GRAMMAR_STATE_DEAD && is_near(s, next))
            set_bit(s->mask, s->v->byte_tokens[nearest]);
    }
    for (unsigned byte = 0; byte < 256 && a->work < GRAMMAR_WORK_MAX; byte++) {
        uint32_t next = grammar_automaton_next(g, state, g->classes[byte]);
        if (a->status == -E2BIG) /* that one byte is too much work */
            a->status = 0;
        else if (next != GRAMMAR_STATE_DEAD && is_near(s, next))
            set_bit(s->mask, s->v->byte_tokens[byte]);
    }
    return a->status;
}

/* ---- kept masks ---- */

/* The tokens in which the mask is other than the slice, up to KEPT_TOKENS. Returns how many there are; more
 * than KEPT_TOKENS when they are more than that. */
static uint32_t list_others(const struct search *s, const uint32_t *slice, uint32_t *ids) {
    enum { BLOCK = 8 }; /* words; nearly all blocks are equal */
    uint32_t n = 0;
    for (size_t from = 0; from < s->v->words; from += BLOCK) {
        size_t to = from + BLOCK < s->v->words ? from + BLOCK : s->v->words;
        uint32_t other = 0;
        for (size_t w = from; w < to; w++)
            other |= s->mask[w] ^ slice[w];
        for (size_t w = from; w < to && other != 0; w++)
            for (uint32_t bits = s->mask[w] ^ slice[w]; bits != 0; bits &= bits - 1) {
                if (n == KEPT_TOKENS)
                    return n + 1;
                ids[n++] = (uint32_t)w * 32 + (uint32_t)__builtin_ctz(bits);
            }
    }
    return n;
}

/* Keeps the mask with its state; memory being out is no failure, it is computed again then. */
static void keep(struct search *s, uint32_t state, enum grammar_slice base) {
    uint32_t ids[KEPT_TOKENS];
    uint32_t n = list_others(s, s->v->slices[base], ids);
    if (n > KEPT_TOKENS && base == GRAMMAR_SLICE_NONE) {
        base = GRAMMAR_SLICE_PLAIN;
        n = list_others(s, s->v->slices[base], ids);
    }
    bool list = n <= KEPT_TOKENS;
    size_t room = list ? n : s->v->words;
    size_t bytes = sizeof(struct grammar_mask) + room * sizeof(uint32_t);
    struct grammar_mask *kept = malloc(bytes);
    if (kept == NULL)
        return;
    *kept = (struct grammar_mask){
        .base = base, .n = list ? n : GRAMMAR_NONE, .bytes = (uint32_t)bytes, .used = true};
    if (room > 0)
        memcpy(kept->data, list ? ids : s->mask, room * sizeof(uint32_t));
    s->g->automaton.states[state].mask = kept;
    s->g->automaton.mask_bytes += bytes;
}

static void copy_kept(struct grammar_mask *kept, const struct grammar_vocab *v, uint32_t *mask) {
    kept->used = true;
    memcpy(mask, kept->n == GRAMMAR_NONE ? kept->data : v->slices[kept->base], v->words * sizeof *mask);
    for (uint32_t i = 0; kept->n != GRAMMAR_NONE && i < kept->n; i++)
        mask[kept->data[i] / 32] ^= (uint32_t)1 << kept->data[i] % 32;
}

static void use_vocab(struct grammar *g, const struct grammar_vocab *v) {
    if (g->vocab == v->fingerprint)
        return;
    grammar_automaton_forget_masks(g);
    g->vocab = v->fingerprint;
    for (uint32_t i = 0; i < g->n_tags; i++)
        g->tag_tokens[i] = grammar_vocab_find_added(v, g->tags[i].text, g->tags[i].len);
}

/* ---- one state ---- */

static bool is_empty(const struct search *s) {
    for (size_t w = 0; w < s->v->words; w++)
        if (s->mask[w] != 0)
            return false;
    return true;
}

static int compute(struct search *s, uint32_t state) {
    struct grammar_automaton *a = &s->g->automaton;
    enum grammar_slice base = slice_of(s, state);
    uint32_t text = a->states[state].text;
    memcpy(s->mask, s->v->slices[base], s->v->words * sizeof *s->mask);
    s->path[0] = state;
    uint32_t plain = a->states[state].plain;
    bool whole;
    if (base == GRAMMAR_SLICE_TEXT)
        whole = walk_text(s, text - 1);
    else if (base == GRAMMAR_SLICE_PLAIN)
        whole = walk_string(s, state);
    else if (s->within != GRAMMAR_FOREVER)
        whole = walk_all(s, base);
    else if (plain > 0 && light_chars(s, state) > 0)
        whole = walk_counted(s, state);
    else
        whole = walk_by_kinds(s, state);
    int rc = a->status == -E2BIG ? 0 : a->status;
    if (rc == 0 && !whole) {
        s->g->n_cut++;
        rc = allow_bytes(s, state);
    }
    if (rc < 0)
        return rc;
    allow_added(s, state);
    if (a->status == -E2BIG)
        whole = false;
    else if (a->status < 0)
        return a->status;
    if (whole && s->within == GRAMMAR_FOREVER)
        keep(s, state, base);
    return is_empty(s) ? -ENODATA : 0;
}

/* ---- the whole ---- */

static int mask_of_state(struct grammar_matcher *m, const struct grammar_vocab *vocab, uint32_t within,
                         uint32_t *mask) {
    struct grammar *g = m->grammar;
    int rc = grammar_automaton_begin(g, grammar_state_room(g));
    if (rc < 0)
        return rc;
    grammar_automaton_thin_masks(g);
    use_vocab(g, vocab);
    struct grammar_mask *kept = g->automaton.states[m->state].mask;
    if (within == GRAMMAR_FOREVER && kept != NULL) {
        copy_kept(kept, vocab, mask);
        return 0;
    }
    struct search s = {.g = g, .v = vocab, .within = within, .mask = mask};
    s.path = malloc(((size_t)vocab->max_bytes + GRAMMAR_TAG_BYTES) * sizeof *s.path);
    if (s.path == NULL)
        return -ENOMEM;
    rc = compute(&s, m->state);
    free(s.path);
    return rc;
}

int grammar_matcher_mask(struct grammar_matcher *m, const struct grammar_vocab *vocab, uint32_t within,
                         uint32_t *mask) {
    int rc = mask_of_state(m, vocab, within, mask);
    if (rc < 0 || grammar_names_count(&m->names) == 0)
        return rc;
    rc = grammar_names_drop_repeats(m, vocab, mask);
    return rc < 0 || within == GRAMMAR_FOREVER ? rc : grammar_names_drop_far(m, vocab, within, mask);
}

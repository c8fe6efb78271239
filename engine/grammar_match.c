/* Matchers: a place in a grammar, and what may come next there. */
#include "engine/grammar_program.h"
#include "engine/grammar_vocab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_TOKENS 2048 /* a mask of no more tokens beside its slice is kept as a list */

/* ---- life ---- */

static void register_matcher(struct grammar_matcher *m, struct grammar *g, uint32_t state) {
    m->grammar = grammar_ref(g);
    m->state = state;
    m->next = g->matchers;
    m->link = &g->matchers;
    if (m->next != NULL)
        m->next->link = &m->next;
    g->matchers = m;
}

int grammar_matcher_init(struct grammar_matcher *m, struct grammar *g) {
    register_matcher(m, g, g->automaton.start);
    return 0;
}

int grammar_matcher_clone(struct grammar_matcher *m, const struct grammar_matcher *from) {
    register_matcher(m, from->grammar, from->state);
    return 0;
}

void grammar_matcher_finish(struct grammar_matcher *m) {
    if (m->grammar == NULL)
        return;
    *m->link = m->next;
    if (m->next != NULL)
        m->next->link = m->link;
    grammar_unref(m->grammar);
    *m = (struct grammar_matcher){0};
}

/* ---- taking ---- */

/* Goes over the bytes from the matcher's place. 1 and *state, 0, or the failure. */
static int take(const struct grammar_matcher *m, const char *bytes, size_t n, uint32_t *state) {
    struct grammar *g = m->grammar;
    uint32_t s = m->state;
    for (size_t i = 0; i < n && s != GRAMMAR_STATE_DEAD; i++)
        s = grammar_automaton_next(g, s, g->classes[(unsigned char)bytes[i]]);
    if (g->automaton.status != 0)
        return g->automaton.status;
    *state = s;
    return s != GRAMMAR_STATE_DEAD;
}

int grammar_matcher_bytes(struct grammar_matcher *m, const char *bytes, size_t n) {
    int rc = grammar_automaton_begin(m->grammar);
    uint32_t state = m->state;
    rc = rc < 0 ? rc : take(m, bytes, n, &state);
    if (rc == 1)
        m->state = state;
    return rc;
}

int grammar_matcher_byte(struct grammar_matcher *m, unsigned char byte) {
    char c = (char)byte;
    return grammar_matcher_bytes(m, &c, 1);
}

/* The symbol of an added token. */
static uint32_t symbol_of(const struct grammar *g, const char *text, size_t len) {
    for (uint32_t i = 0; i < g->n_tags; i++)
        if (g->tags[i].len == len && memcmp(g->tags[i].text, text, len) == 0)
            return GRAMMAR_SYMBOL_TAG + i;
    return GRAMMAR_SYMBOL_OTHER;
}

int grammar_matcher_token(struct grammar_matcher *m, const struct grammar_vocab *vocab, int32_t token) {
    if (token < 0 || token >= vocab->n_tokens || vocab->kinds[token] == GRAMMAR_TOKEN_UNUSED)
        return 0;
    if (vocab->kinds[token] == GRAMMAR_TOKEN_END)
        return grammar_matcher_is_complete(m);
    const char *text = vocab->bytes + vocab->offsets[token];
    size_t len = vocab->offsets[token + 1] - vocab->offsets[token];
    if (vocab->kinds[token] == GRAMMAR_TOKEN_BYTES)
        return grammar_matcher_bytes(m, text, len);
    struct grammar *g = m->grammar;
    int rc = grammar_automaton_begin(g);
    if (rc < 0)
        return rc;
    uint32_t next = grammar_automaton_next(g, m->state, g->n_classes + symbol_of(g, text, len));
    if (g->automaton.status != 0)
        return g->automaton.status;
    if (next == GRAMMAR_STATE_DEAD)
        return 0;
    m->state = next;
    return 1;
}

/* ---- looking ---- */

bool grammar_matcher_is_complete(const struct grammar_matcher *m) {
    return m->grammar->automaton.states[m->state].complete;
}

uint32_t grammar_matcher_distance(const struct grammar_matcher *m) {
    const struct grammar_state *s = &m->grammar->automaton.states[m->state];
    return s->complete ? 0 : s->distance;
}

/* The only byte that may follow the state, or -1. */
static int only_byte(struct grammar *g, uint32_t state, uint32_t *next) {
    int byte = -1;
    if (g->automaton.states[state].complete)
        return -1;
    for (uint32_t column = 0; column < g->width; column++) {
        uint32_t s = grammar_automaton_next(g, state, column);
        if (s == GRAMMAR_STATE_DEAD)
            continue;
        if (byte >= 0 || column >= g->n_classes || !g->class_single[column])
            return -1;
        byte = g->class_byte[column];
        *next = s;
    }
    return byte;
}

long grammar_matcher_forced(const struct grammar_matcher *m, char *bytes, size_t size) {
    struct grammar *g = m->grammar;
    int rc = grammar_automaton_begin(g);
    uint32_t state = m->state;
    size_t n = 0;
    while (rc == 0 && n < size) {
        int byte = only_byte(g, state, &state);
        rc = g->automaton.status;
        if (byte < 0)
            break;
        bytes[n++] = (char)byte;
    }
    return rc < 0 ? rc : (long)n;
}

/* ---- masks ---- */

/* The tokens found, beside the mask itself, while there are few. */
struct found {
    uint32_t *mask;
    uint32_t n;
    uint32_t ids[KEPT_TOKENS];
};

static void allow(struct found *f, uint32_t id) {
    f->mask[id / 32] |= (uint32_t)1 << id % 32;
    if (f->n < KEPT_TOKENS)
        f->ids[f->n] = id;
    f->n++;
}

static void walk(struct grammar *g, const struct grammar_trie *trie, uint32_t *path, uint32_t within,
                 struct found *f) {
    const struct grammar_node *node = trie->nodes, *end = node + trie->n;
    while (node < end) {
        uint32_t from = path[node->depth];
        uint32_t column = g->classes[node->token_byte & 255];
        uint32_t next = g->automaton.rows[(size_t)from * g->width + column];
        if (next == GRAMMAR_STATE_NEW)
            next = grammar_automaton_step(g, from, column);
        if (next == GRAMMAR_STATE_DEAD) {
            node += node->size;
            continue;
        }
        path[node->depth + 1] = next;
        uint32_t token = node->token_byte >> 8;
        if (token != GRAMMAR_NO_TOKEN && (within == GRAMMAR_FOREVER || g->automaton.states[next].complete ||
                                          g->automaton.states[next].distance < within))
            allow(f, token);
        node++;
    }
}

static bool reaches(struct grammar *g, uint32_t state, uint32_t symbol, uint32_t within) {
    uint32_t next = grammar_automaton_next(g, state, g->n_classes + symbol);
    const struct grammar_state *s = &g->automaton.states[next];
    return next != GRAMMAR_STATE_DEAD && (within == GRAMMAR_FOREVER || s->complete || s->distance < within);
}

/* Added tokens, and those that end the turn. */
static void allow_added(struct grammar *g, const struct grammar_vocab *v, uint32_t state, uint32_t within,
                        struct found *f) {
    if (reaches(g, state, GRAMMAR_SYMBOL_OTHER, within)) {
        for (size_t w = 0; w < v->words; w++)
            for (uint32_t bits = v->added[w]; bits != 0; bits &= bits - 1) {
                uint32_t id = (uint32_t)w * 32 + (uint32_t)__builtin_ctz(bits);
                uint32_t at = v->offsets[id];
                if (symbol_of(g, v->bytes + at, v->offsets[id + 1] - at) == GRAMMAR_SYMBOL_OTHER)
                    allow(f, id);
            }
    }
    for (uint32_t i = 0; i < g->n_tags; i++) {
        int32_t id = grammar_vocab_find_added(v, g->tags[i].text, g->tags[i].len);
        if (id >= 0 && reaches(g, state, GRAMMAR_SYMBOL_TAG + i, within))
            allow(f, (uint32_t)id);
    }
    if (g->automaton.states[state].complete)
        for (size_t w = 0; w < v->words; w++)
            for (uint32_t bits = v->ends[w]; bits != 0; bits &= bits - 1)
                allow(f, (uint32_t)w * 32 + (uint32_t)__builtin_ctz(bits));
}

/* Keeps the mask with its state; memory being out is no failure, it is computed again then. */
static void keep(struct grammar *g, const struct grammar_vocab *v, uint32_t state, enum grammar_slice base,
                 const struct found *f) {
    bool list = f->n <= KEPT_TOKENS;
    size_t n = list ? f->n : v->words;
    size_t bytes = sizeof(struct grammar_mask) + n * sizeof(uint32_t);
    struct grammar_mask *kept = malloc(bytes);
    if (kept == NULL)
        return;
    *kept = (struct grammar_mask){.base = base, .n = list ? f->n : GRAMMAR_NONE, .bytes = bytes};
    memcpy(kept->data, list ? f->ids : f->mask, n * sizeof(uint32_t));
    g->automaton.states[state].mask = kept;
    g->automaton.mask_bytes += bytes;
}

static void copy_kept(const struct grammar_mask *kept, const struct grammar_vocab *v, uint32_t *mask) {
    if (kept->n == GRAMMAR_NONE) {
        memcpy(mask, kept->data, v->words * sizeof *mask);
        return;
    }
    memcpy(mask, v->slices[kept->base], v->words * sizeof *mask);
    for (uint32_t i = 0; i < kept->n; i++)
        mask[kept->data[i] / 32] |= (uint32_t)1 << kept->data[i] % 32;
}

int grammar_matcher_mask(struct grammar_matcher *m, const struct grammar_vocab *vocab, uint32_t within,
                         uint32_t *mask) {
    struct grammar *g = m->grammar;
    int rc = grammar_automaton_begin(g);
    if (rc < 0)
        return rc;
    if (g->automaton.vocab != vocab->fingerprint) {
        grammar_automaton_forget_masks(g);
        g->automaton.vocab = vocab->fingerprint;
    }
    const struct grammar_state *state = &g->automaton.states[m->state];
    if (within == GRAMMAR_FOREVER && state->mask != NULL) {
        copy_kept(state->mask, vocab, mask);
        return 0;
    }
    enum grammar_slice base = GRAMMAR_SLICE_NONE;
    if (within == GRAMMAR_FOREVER && state->plain >= vocab->longest)
        base = GRAMMAR_SLICE_PLAIN;
    else if (within == GRAMMAR_FOREVER && state->plain >= GRAMMAR_SHORT_CHARS)
        base = GRAMMAR_SLICE_SHORT;
    uint32_t *path = malloc(((size_t)vocab->max_bytes + 1) * sizeof *path);
    struct found *f = malloc(sizeof *f);
    if (path == NULL || f == NULL) {
        free(path);
        free(f);
        return -ENOMEM;
    }
    f->mask = mask;
    f->n = 0;
    memcpy(mask, vocab->slices[base], vocab->words * sizeof *mask);
    path[0] = m->state;
    walk(g, &vocab->rest[base], path, within, f);
    allow_added(g, vocab, m->state, within, f);
    rc = g->automaton.status;
    if (rc == 0 && within == GRAMMAR_FOREVER)
        keep(g, vocab, m->state, base, f);
    else if (rc == 0 && f->n == 0)
        rc = -ENODATA;
    free(path);
    free(f);
    return rc;
}

/* The tokens of a vocabulary that can end the name of a member. */
#include "engine/grammar_program.h"
#include "engine/grammar_vocab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where the first quote that is not escaped stands, or len. */
static size_t find_end(const char *text, size_t len, bool *escapes) {
    size_t i = 0;
    *escapes = false;
    for (; i < len && text[i] != '"'; i++)
        if (text[i] == '\\') {
            *escapes = true;
            i++;
        }
    return i < len ? i : len;
}

static int compare(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t n = a_len < b_len ? a_len : b_len;
    int order = n > 0 ? memcmp(a, b, n) : 0;
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static int compare_closers(const struct grammar_vocab *v, const struct grammar_closer *a,
                           const struct grammar_closer *b) {
    size_t len;
    const char *x = grammar_vocab_text(v, a->id, &len), *y = grammar_vocab_text(v, b->id, &len);
    return compare(x, a->len, y, b->len);
}

/* Sorts by the text before the quote, bottom up: each run is merged with the next one. */
static void merge(const struct grammar_vocab *v, const struct grammar_closer *from, struct grammar_closer *to,
                  uint32_t n, uint32_t run) {
    for (uint32_t at = 0; at < n; at += 2 * run) {
        uint32_t x = at, y = at + run < n ? at + run : n, middle = y,
                 end = at + 2 * run < n ? at + 2 * run : n;
        for (uint32_t k = at; k < end; k++) {
            bool second = x == middle || (y < end && compare_closers(v, &from[y], &from[x]) < 0);
            to[k] = from[second ? y++ : x++];
        }
    }
}

static int sort_closers(struct grammar_vocab *v) {
    struct grammar_vocab_quotes *q = &v->quotes;
    struct grammar_closer *other = calloc((size_t)q->n_closers + 1, sizeof *other);
    if (other == NULL)
        return -ENOMEM;
    for (uint32_t run = 1; run < q->n_closers; run *= 2) {
        struct grammar_closer *sorted = other;
        merge(v, q->closers, other, q->n_closers, run);
        other = q->closers;
        q->closers = sorted;
    }
    free(other);
    return 0;
}

static int mark(struct grammar_vocab *v, uint32_t id, size_t caps[2]) {
    struct grammar_vocab_quotes *q = &v->quotes;
    size_t len, quotes = 0;
    const char *text = grammar_vocab_text(v, id, &len);
    bool escapes;
    for (size_t i = 0; i < len; i++)
        quotes += text[i] == '"';
    if (quotes == 0)
        return 0;
    q->all[id / 32] |= (uint32_t)1 << id % 32;
    size_t end = find_end(text, len, &escapes);
    if (quotes > 1 || (end < len && escapes)) {
        void *grown = grammar_grow(q->odd, sizeof *q->odd, q->n_odd, &caps[0], 1);
        if (grown == NULL)
            return -ENOMEM;
        q->odd = grown;
        q->odd[q->n_odd++] = id;
    }
    if (end == len || escapes)
        return 0;
    void *grown = grammar_grow(q->closers, sizeof *q->closers, q->n_closers, &caps[1], 1);
    if (grown == NULL)
        return -ENOMEM;
    q->closers = grown;
    q->closers[q->n_closers++] = (struct grammar_closer){id, (uint32_t)end};
    q->longest = end > q->longest ? (uint32_t)end : q->longest;
    return 0;
}

int grammar_vocab_quotes_init(struct grammar_vocab *v) {
    size_t caps[2] = {0};
    v->quotes.all = calloc(v->words, sizeof *v->quotes.all);
    int rc = v->quotes.all == NULL ? -ENOMEM : 0;
    for (uint32_t id = 0; id < (uint32_t)v->n_tokens && rc == 0; id++)
        rc = v->tokens[id].kind == GRAMMAR_TOKEN_BYTES ? mark(v, id, caps) : 0;
    return rc == 0 ? sort_closers(v) : rc;
}

void grammar_vocab_quotes_finish(struct grammar_vocab_quotes *q) {
    free(q->all);
    free(q->closers);
    free(q->odd);
    *q = (struct grammar_vocab_quotes){0};
}

/* The first closer whose text is not below this one; `above`: is above it. */
static uint32_t find(const struct grammar_vocab *v, const char *text, size_t len, bool above) {
    const struct grammar_vocab_quotes *q = &v->quotes;
    uint32_t low = 0, high = q->n_closers;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct grammar_closer *c = &q->closers[middle];
        size_t whole;
        int order = compare(grammar_vocab_text(v, c->id, &whole), c->len, text, len);
        if (order < 0 || (above && order == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct grammar_closer *grammar_vocab_closers(const struct grammar_vocab *v, const char *text,
                                                   size_t len, uint32_t *n) {
    *n = 0;
    if (len > v->quotes.longest)
        return NULL;
    uint32_t first = find(v, text, len, false);
    *n = find(v, text, len, true) - first;
    return v->quotes.closers + first;
}

#include "tests/agent/forced_writer.h"

#include "engine/forced.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX_BYTES ((size_t)1 << 20)

static void must(bool ok, const char *why) {
    if (ok)
        return;
    (void)fprintf(stderr, "forced_writer: %s\n", why);
    abort();
}

static uint64_t draw(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static size_t piece_len(const struct tokenizer *t, int32_t id) {
    size_t len = 0;
    return tokenizer_piece(t, id, &len) != NULL ? len : 0;
}

static bool may_come(const struct forced_writer *w, int32_t id) {
    return (w->mask[id / 32] >> id % 32 & 1) != 0;
}

static int32_t drawn(const struct forced_writer *w, uint64_t *random) {
    size_t n = 0, words = grammar_vocab_words(w->vocab);
    for (size_t i = 0; i < words; i++)
        n += (size_t)__builtin_popcount(w->mask[i]);
    must(n > 0, "nothing may come");
    size_t at = (size_t)(draw(random) % n);
    for (size_t i = 0;; i++)
        for (uint32_t bits = w->mask[i]; bits != 0; bits &= bits - 1)
            if (at-- == 0)
                return (int32_t)i * 32 + __builtin_ctz(bits);
}

/* The token of the target at this byte. */
static int32_t wanted(const struct token_list *target, const struct tokenizer *t, size_t at) {
    size_t from = 0, i = 0;
    for (; i < target->n && from < at; i++)
        from += piece_len(t, target->v[i]);
    must(from == at && i < target->n, "what was forced is no beginning of the text");
    return target->v[i];
}

/* The bytes behind `from` were not chosen. */
static void mark(struct forced_text *out, size_t from, size_t to) {
    must(to < TEXT_MAX_BYTES, "the text is too long");
    for (size_t i = from; i < to; i++)
        out->forced[i] = true;
}

/* What forced_follow() returned becomes the text. */
static void take(const struct forced_writer *w, struct forced_text *out, const struct forced *f, size_t sure,
                 bool chosen) {
    size_t had = out->ids.n - sure, same = 0, old = out->text.len, len;
    while (same < had && same < f->ids.n && out->ids.v[sure + same] == f->ids.v[same])
        same++;
    out->n_replaced += chosen && same < had;
    out->n_rerun += had - same;
    out->ids.n = sure;
    must(token_list_append(&out->ids, f->ids.v, f->ids.n) == 0, "no memory");
    struct buf text;
    buf_init(&text, TEXT_MAX_BYTES);
    for (size_t i = 0; i < out->ids.n; i++) {
        const char *piece = tokenizer_piece(w->tokenizer, out->ids.v[i], &len);
        must(buf_append(&text, piece, len) == 0, "no memory");
    }
    must(text.len >= old && (old == 0 || memcmp(text.data, out->text.data, old) == 0),
         "the text is another one");
    buf_finish(&out->text);
    out->text = text;
}

void forced_writer_run(const struct forced_writer *w, struct grammar *g, struct forced_text *out) {
    struct grammar_matcher m = {0};
    struct forced f = {0};
    struct token_list target = {0};
    uint64_t random = w->random;
    size_t sure = 0;
    int32_t token = FORCED_BEGIN;
    *out = (struct forced_text){.forced = calloc(TEXT_MAX_BYTES, sizeof *out->forced)};
    buf_init(&out->text, TEXT_MAX_BYTES);
    must(out->forced != NULL && grammar_matcher_init(&m, g) == 0, "no memory");
    if (w->target != NULL)
        must(tokenizer_encode_template(w->tokenizer, w->target, strlen(w->target), &target) == 0, "encode");
    for (;;) {
        char held[64];
        size_t chosen = token >= 0 ? piece_len(w->tokenizer, token) : 0, old = out->text.len;
        uint32_t left = w->max_tokens - (uint32_t)out->ids.n;
        must(forced_follow(&f, w->tokenizer, w->vocab, &m, out->ids.v + sure, out->ids.n - sure, token,
                           left) == 0,
             "forced_follow() failed");
        take(w, out, &f, sure, token >= 0);
        mark(out, old + chosen, out->text.len);
        sure += f.n_sure;
        if (f.over || token == FORCED_END || out->ids.n >= w->max_tokens)
            break;
        long n = grammar_matcher_forced(&m, held, sizeof held);
        mark(out, out->text.len, out->text.len + (size_t)n);
        left = w->max_tokens - (uint32_t)out->ids.n;
        int rc = grammar_matcher_mask(&m, w->vocab, left, w->mask);
        must(rc == 0 || rc == -ENODATA, "no mask");
        if (rc != 0) /* too late */
            must(grammar_matcher_mask(&m, w->vocab, GRAMMAR_FOREVER, w->mask) == 0, "no mask");
        token = w->target != NULL ? wanted(&target, w->tokenizer, out->text.len) : drawn(w, &random);
        must(may_come(w, token), "the wanted token may not come");
        must(grammar_matcher_token(&m, w->vocab, token) == 1, "the mask is wrong");
        out->n_choices++;
        out->last = out->text.len;
        if (w->vocab->tokens[token].kind == GRAMMAR_TOKEN_END)
            token = FORCED_END;
    }
    out->complete = grammar_matcher_is_complete(&m);
    grammar_matcher_finish(&m);
    forced_finish(&f);
    token_list_finish(&target);
}

void forced_text_free(struct forced_text *t) {
    token_list_finish(&t->ids);
    buf_finish(&t->text);
    free(t->forced);
}

/* ---- checking ---- */

/* Whether the ids from *i on, the first of which begins at *at, have exactly these tokens in from … to-1. */
static bool same_tokens(const struct forced_text *t, const struct tokenizer *k, size_t from, size_t to,
                        size_t *i, size_t *at) {
    struct token_list word = {0};
    must(tokenizer_encode_text(k, t->text.data + from, to - from, &word) == 0, "encode");
    while (*i < t->ids.n && *at < from)
        *at += piece_len(k, t->ids.v[(*i)++]);
    bool same =
        *at == from && t->ids.n - *i >= word.n && memcmp(t->ids.v + *i, word.v, word.n * sizeof *word.v) == 0;
    token_list_finish(&word);
    return same;
}

/* The words of one text between added tokens. */
static size_t others_in(const struct forced_text *t, const struct tokenizer *k, size_t from, size_t to,
                        size_t *i, size_t *at, size_t *n) {
    size_t others = 0, end;
    for (size_t word = 0; word < to - from; word = end) {
        must(tokenizer_word(k, t->text.data + from, to - from, word, &end) >= 0, "split");
        bool forced = false;
        for (size_t b = word; b < end; b++)
            forced = forced || t->forced[from + b];
        if (!forced)
            continue;
        ++*n;
        others += !same_tokens(t, k, from + word, from + end, i, at);
    }
    return others;
}

size_t forced_text_others(const struct forced_text *t, const struct tokenizer *k, size_t *n) {
    size_t others = 0, from = 0, to = 0, i = 0, at = 0;
    *n = 0;
    for (size_t id = 0; id < t->ids.n; id++) {
        size_t len = piece_len(k, t->ids.v[id]);
        if (tokenizer_is_added(k, t->ids.v[id])) {
            others += others_in(t, k, from, to, &i, &at, n);
            from = to + len;
        }
        to += len;
    }
    return others + others_in(t, k, from, to, &i, &at, n);
}

bool forced_text_is_canonical(const struct forced_text *t, const struct tokenizer *k) {
    struct token_list ids = {0};
    must(tokenizer_encode_template(k, t->text.data, t->text.len, &ids) == 0, "encode");
    bool same = ids.n == t->ids.n && memcmp(ids.v, t->ids.v, ids.n * sizeof *ids.v) == 0;
    token_list_finish(&ids);
    return same;
}

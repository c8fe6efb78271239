#include "engine/forced.h"

#include "base/buf.h"

#include <errno.h>
#include <string.h>

/* Bytes of a word that the model chose: a longer one (a line of characters without a space) is let go as it
 * is, so that its text need not wait for its end. */
#define WORD_MAX 256
/* Such a word, a token at its end and the forced bytes behind: a ceiling, not a size. */
#define TEXT_MAX ((size_t)1 << 20)

void forced_finish(struct forced *f) {
    token_list_finish(&f->ids);
    *f = (struct forced){0};
}

/* A call of forced_follow(). */
struct work {
    struct forced *f;
    const struct tokenizer *t;
    const struct grammar_vocab *v;
    struct grammar_matcher *m; /* behind the bytes of f->ids */
    size_t n_before;           /* tokens before the call, the chosen one included */
    size_t n_most;             /* that there may be */
    size_t n_free;             /* bytes that were forced: so many tokens more are always in time */
};

/* ---- what must come ---- */

static int allows_byte(const struct grammar_matcher *m, unsigned char byte) {
    struct grammar_matcher probe = {0};
    int rc = grammar_matcher_clone(&probe, m);
    rc = rc < 0 ? rc : grammar_matcher_byte(&probe, byte);
    grammar_matcher_finish(&probe);
    return rc;
}

static int allows_token(const struct grammar_matcher *m, const struct grammar_vocab *v, int32_t token) {
    struct grammar_matcher probe = {0};
    int rc = grammar_matcher_clone(&probe, m);
    rc = rc < 0 ? rc : grammar_matcher_token(&probe, v, token);
    grammar_matcher_finish(&probe);
    return rc;
}

/* How many bytes may come next, 2 for more than one; *byte is the first of them. */
static int count_bytes(const struct grammar_matcher *m, unsigned char *byte) {
    int n = 0;
    for (int b = 255; b >= 0 && n < 2; b--) {
        int rc = allows_byte(m, (unsigned char)b);
        if (rc < 0)
            return rc;
        if (rc == 1 && n++ == 0)
            *byte = (unsigned char)b;
    }
    return n;
}

/* The same for added tokens that do not end the turn. */
static int count_added(const struct grammar_matcher *m, const struct grammar_vocab *v, int32_t *token) {
    int n = 0;
    for (size_t w = 0; w < grammar_vocab_words(v); w++)
        for (uint32_t bits = v->added[w]; bits != 0 && n < 2; bits &= bits - 1) {
            int32_t id = (int32_t)w * 32 + __builtin_ctz(bits);
            int rc = allows_token(m, v, id);
            if (rc < 0)
                return rc;
            if (rc == 1 && n++ == 0)
                *token = id;
        }
    return n;
}

struct ahead {
    int32_t tag; /* the added token behind the bytes, or -1 */
    bool over;   /* nothing may follow the bytes */
};

/* Whether the grammar forces the whole text of the added token, of which `byte` is the only way to begin. */
static int forces_text(const struct grammar_matcher *m, const struct tokenizer *t, int32_t token,
                       unsigned char byte) {
    char rest[256];
    size_t len = 0;
    const char *text = tokenizer_piece(t, token, &len);
    if (text == NULL || len == 0 || len > sizeof rest || (unsigned char)text[0] != byte)
        return 0;
    struct grammar_matcher probe = {0};
    int rc = grammar_matcher_clone(&probe, m);
    rc = rc < 0 ? rc : grammar_matcher_byte(&probe, byte);
    long n = rc == 1 ? grammar_matcher_forced(&probe, rest, len - 1) : rc;
    grammar_matcher_finish(&probe);
    return n < 0 ? (int)n : (size_t)n == len - 1 && memcmp(rest, text + 1, len - 1) == 0;
}

/* The grammar knows tags as an added token and as bytes. Here one of the two is no choice: the added token
 * where the vocabulary has one (that is how the tokenizer writes the tag), else the bytes. 1 when *byte or
 * ahead->tag must come. */
static int force_tag(const struct grammar_matcher *m, const struct tokenizer *t,
                     const struct grammar_vocab *v, struct ahead *ahead, unsigned char *byte) {
    int32_t token = -1;
    int rc = count_bytes(m, byte);
    if (rc != 1)
        return rc < 0 ? rc : 0;
    rc = count_added(m, v, &token);
    if (rc != 1)
        return rc < 0 ? rc : rc == 0;
    rc = forces_text(m, t, token, *byte);
    if (rc == 1)
        ahead->tag = token;
    return rc;
}

static int is_over(const struct grammar_matcher *m, const struct grammar_vocab *v) {
    unsigned char byte;
    int32_t token;
    int rc = count_bytes(m, &byte);
    rc = rc == 0 ? count_added(m, v, &token) : rc;
    return rc < 0 ? rc : rc == 0;
}

/* Appends the bytes that must come after `m`, and moves it behind them. */
static int look_ahead(struct grammar_matcher *m, const struct tokenizer *t, const struct grammar_vocab *v,
                      struct buf *text, struct ahead *ahead) {
    size_t from = text->len;
    *ahead = (struct ahead){.tag = -1};
    while (text->len - from < FORCED_BYTES) {
        char bytes[256];
        long n = grammar_matcher_forced(m, bytes, sizeof bytes);
        int rc = 0;
        if (n == 0 && grammar_matcher_is_complete(m)) {
            rc = is_over(m, v);
            ahead->over = rc == 1;
            return rc < 0 ? rc : 0;
        }
        if (n == 0) {
            unsigned char byte = 0;
            n = force_tag(m, t, v, ahead, &byte);
            if (n == 0 || ahead->tag >= 0)
                return 0;
            bytes[0] = (char)byte;
        }
        rc = n < 0 ? (int)n : grammar_matcher_bytes(m, bytes, (size_t)n);
        rc = rc < 0 ? rc : buf_append(text, bytes, (size_t)n);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- words ---- */

/* The end of the last word that is sure. */
static int sure_end(const struct tokenizer *t, const struct buf *text, size_t *end) {
    size_t to = 0;
    *end = 0;
    while (*end < text->len) {
        int rc = tokenizer_word(t, text->data, text->len, *end, &to);
        if (rc <= 0)
            return rc;
        *end = to;
    }
    return 0;
}

/* Whether the bytes from `at` on are a word that none of the characters that the grammar lets follow can
 * change (an added token would be a boundary). Asked only of ASCII: where others may follow there is text,
 * and anything may follow. */
static int ends_before_any(const struct grammar_matcher *m, const struct tokenizer *t, struct buf *text,
                           size_t at) {
    size_t end = 0, len = text->len;
    int rc = tokenizer_word(t, text->data, len, at, &end);
    if (rc < 0 || end != len)
        return rc < 0 ? rc : 0;
    for (int b = 255; b >= 0; b--) {
        rc = allows_byte(m, (unsigned char)b);
        if (rc == 0)
            continue;
        if (rc < 0 || b >= 128)
            return rc < 0 ? rc : 0;
        rc = buf_putc(text, (char)b);
        rc = rc < 0 ? rc : tokenizer_word(t, text->data, text->len, at, &end);
        text->len = len;
        if (rc <= 0 || end != len)
            return rc < 0 ? rc : 0;
    }
    return 1;
}

/* Tokens of ids that make up the first `bytes` bytes exactly, or -1. */
static long tokens_of(const struct tokenizer *t, const int32_t *ids, size_t n, size_t bytes) {
    size_t at = 0, len = 0, i = 0;
    while (at < bytes && i < n) {
        (void)tokenizer_piece(t, ids[i++], &len);
        at += len;
    }
    return at == bytes ? (long)i : -1;
}

/* Goes on behind the sure words that the model has chosen. They stay as they were sampled. */
static int skip_words(struct forced *f, const struct tokenizer *t, struct buf *text, size_t *chosen) {
    size_t at = 0, to = 0, skipped = 0;
    long n_skipped = 0;
    while (at < *chosen) {
        int rc = tokenizer_word(t, text->data, text->len, at, &to);
        if (rc < 0)
            return rc;
        if (rc == 0 || to > *chosen)
            break;
        at = to;
        long n = tokens_of(t, f->ids.v + f->n_sure, f->ids.n - f->n_sure, at);
        if (n >= 0) { /* no token reaches over the end */
            skipped = at;
            n_skipped = n;
        }
    }
    f->n_sure += (size_t)n_skipped;
    *chosen -= skipped;
    if (skipped > 0)
        buf_consume(text, skipped);
    return 0;
}

/* ---- tokens ---- */

static int append_pieces(const struct tokenizer *t, const int32_t *ids, size_t n, struct buf *text) {
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        size_t len = 0;
        const char *piece = tokenizer_piece(t, ids[i], &len);
        rc = piece != NULL ? buf_append(text, piece, len) : 0;
    }
    return rc;
}

/* The tokens of the text up to `end`, where a word ends; behind them those of ids, or others, for the rest up
 * to `chosen`. *n_sure: how many are of the first kind. */
static int write_tokens(const struct tokenizer *t, const struct buf *text, size_t end, size_t chosen,
                        const int32_t *ids, size_t n, struct token_list *out, size_t *n_sure) {
    int rc = end > 0 ? tokenizer_encode_text(t, text->data, text->len, out) : 0;
    long used = rc == 0 ? tokens_of(t, out->v, out->n, end) : 0;
    if (rc < 0 || used < 0)
        return rc < 0 ? rc : -EIO;
    out->n = *n_sure = (size_t)used;
    if (end >= chosen)
        return 0;
    long kept = tokens_of(t, ids, n, end);
    return kept >= 0 ? token_list_append(out, ids + kept, n - (size_t)kept)
                     : tokenizer_encode_text(t, text->data + end, chosen - end, out);
}

/* A text whose tokens are no more than its bytes leaves room for the rest of the grammar as the chosen token
 * did. Healing alone may make more tokens of it than there were. */
static bool has_room(const struct work *w, size_t n) {
    return n <= w->n_most &&
           (n <= w->n_before + w->n_free || w->n_most - n >= (size_t)grammar_matcher_distance(w->m));
}

/* How the tail is written anew. */
struct change {
    size_t end, chosen; /* bytes of the text: to here as the tokenizer does, to there as it was */
    bool hard;   /* the text is at its end there: nothing merges over an added token or the turn's end */
    int32_t tag; /* the added token behind it, or -1 */
};

/* The tokens behind the sure ones become those of the change. False in *done where there is no room. */
static int replace(const struct work *w, const struct buf *text, const struct change *c, bool *done) {
    struct forced *f = w->f;
    struct token_list made = {0};
    size_t n_sure = 0;
    int rc = write_tokens(w->t, text, c->end, c->chosen, f->ids.v + f->n_sure, f->ids.n - f->n_sure, &made,
                          &n_sure);
    if (rc == 0 && c->tag >= 0)
        rc = token_list_push(&made, c->tag);
    *done = rc == 0 && has_room(w, f->n_sure + made.n);
    if (*done) {
        f->ids.n = f->n_sure;
        rc = token_list_append(&f->ids, made.v, made.n);
        f->n_sure += c->hard ? made.n : n_sure;
    }
    token_list_finish(&made);
    return rc;
}

/* The text of the tail ends here, because of what the model chose. */
static int close_text(const struct work *w) {
    struct forced *f = w->f;
    int rc = 0;
    if (f->owed) {
        struct buf text;
        bool done;
        buf_init(&text, TEXT_MAX);
        rc = append_pieces(w->t, f->ids.v, f->ids.n, &text);
        struct change change = {text.len, text.len, true, -1};
        rc = rc ? rc : replace(w, &text, &change, &done);
        buf_finish(&text);
    }
    f->n_sure = f->ids.n;
    f->owed = false;
    return rc;
}

/* ---- one text ---- */

/* Takes the added bytes and the tag. */
static int move(const struct work *w, const char *bytes, size_t n, int32_t tag) {
    int rc = n > 0 ? grammar_matcher_bytes(w->m, bytes, n) : 1;
    rc = rc == 1 && tag >= 0 ? grammar_matcher_token(w->m, w->v, tag) : rc;
    return rc < 0 ? rc : rc == 1 ? 0 : -EPROTO;
}

/* `owed`: the last word, `n_chosen` bytes of which are there, has forced bytes. */
static void keep_debt(struct forced *f, size_t n_chosen, bool owed) {
    f->owed = owed && n_chosen <= WORD_MAX;
    if (n_chosen > WORD_MAX)
        f->n_sure = f->ids.n;
}

/* The end of the words that are sure, at the end of the text where `ahead` is a boundary. */
static int find_end(const struct work *w, const struct grammar_matcher *after, const struct ahead *ahead,
                    size_t chosen, struct buf *text, size_t *end) {
    *end = text->len;
    if (ahead->tag >= 0 || ahead->over)
        return 0;
    int rc = sure_end(w->t, text, end);
    if (rc == 0 && *end < text->len && text->len > chosen) {
        rc = ends_before_any(after, w->t, text, *end);
        *end = rc == 1 ? text->len : *end;
    }
    return rc < 0 && rc != -E2BIG ? rc : 0;
}

/* Writes what must come after the tail. The first `chosen` bytes of the text are there, the others come and
 * are followed by `ahead`; `after` is behind them. 1 when an added token was written. */
static int write_ahead(struct work *w, const struct grammar_matcher *after, const struct ahead *ahead,
                       size_t chosen, struct buf *text) {
    struct forced *f = w->f;
    struct change c = {.hard = ahead->tag >= 0 || ahead->over, .tag = ahead->tag};
    size_t tag_len = 0;
    bool done = false;
    int rc = f->owed ? 0 : skip_words(f, w->t, text, &chosen);
    rc = rc ? rc : find_end(w, after, ahead, chosen, text, &c.end);
    if (rc < 0)
        return rc;
    size_t n_bytes = c.end > chosen ? c.end - chosen : 0;
    bool more = n_bytes > 0 || c.hard;
    if (ahead->tag >= 0)
        (void)tokenizer_piece(w->t, ahead->tag, &tag_len);
    w->n_free += n_bytes + tag_len;
    c.chosen = chosen;
    if (n_bytes == 0 && !f->owed)
        c.end = 0; /* all of it is as the model chose it */
    rc = more || f->owed ? replace(w, text, &c, &done) : 0;
    if (rc < 0)
        return rc;
    if (!done || !more) {
        size_t written = done ? c.end : 0;
        keep_debt(f, chosen - written, text->len > chosen || (f->owed && written == 0));
        return 0;
    }
    f->owed = !c.hard && c.end < text->len;
    f->over = ahead->over;
    rc = move(w, n_bytes > 0 ? text->data + chosen : "", n_bytes, ahead->tag);
    return rc < 0 ? rc : ahead->tag >= 0;
}

/* 1 when an added token was written, after which more may be forced. */
static int go_on(struct work *w) {
    struct forced *f = w->f;
    struct buf text;
    struct grammar_matcher after = {0};
    struct ahead ahead = {.tag = -1};
    buf_init(&text, TEXT_MAX);
    int rc = grammar_matcher_clone(&after, w->m);
    rc = rc ? rc : append_pieces(w->t, f->ids.v + f->n_sure, f->ids.n - f->n_sure, &text);
    size_t chosen = text.len;
    rc = rc ? rc : look_ahead(&after, w->t, w->v, &text, &ahead);
    if (rc == -E2BIG) { /* the grammar has no room to look ahead; the model can go on */
        ahead = (struct ahead){.tag = -1};
        text.len = chosen;
        rc = 0;
    }
    rc = rc ? rc : write_ahead(w, &after, &ahead, chosen, &text);
    grammar_matcher_finish(&after);
    buf_finish(&text);
    return rc;
}

int forced_follow(struct forced *f, const struct tokenizer *t, const struct grammar_vocab *v,
                  struct grammar_matcher *m, const int32_t *tail, size_t n_tail, int32_t token,
                  uint32_t most) {
    struct work w = {f, t, v, m, n_tail, n_tail + most, 0};
    f->ids.n = f->n_sure = 0;
    f->over = false;
    int rc = token_list_append(&f->ids, tail, n_tail);
    bool added = token >= 0 && tokenizer_is_added(t, token);
    if (rc == 0 && (added || token == FORCED_END)) {
        w.n_most -= added && most > 0; /* for itself */
        rc = close_text(&w);
        w.n_most = n_tail + most;
    }
    if (rc == 0 && token >= 0)
        rc = token_list_push(&f->ids, token);
    if (rc < 0 || token == FORCED_END)
        return rc;
    w.n_before += token >= 0;
    f->n_sure = added ? f->ids.n : 0;
    do
        rc = go_on(&w);
    while (rc == 1);
    return rc;
}

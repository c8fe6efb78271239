#include "engine/model_verify.h"

#include "base/json.h"
#include "engine/fit.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/pool.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NOTES      100
#define CHUNK_ELEMENTS 65536 /* of one task of a compute thread, and at least a row */

struct note {
    char where[264], what[400];
};

struct notes {
    struct note v[MAX_NOTES];
    int n; /* also those that found no room */
};

struct check {
    struct model *m;
    struct pool *pool;
    struct notes *problems, *warnings;
    uint64_t n_tensors, n_numbers;
    char *err;
    size_t errlen;
};

HX_PRINTF(3, 4) static void note(struct notes *notes, const char *where, const char *fmt, ...) {
    if (notes->n < MAX_NOTES) {
        va_list args;
        va_start(args, fmt);
        (void)snprintf(notes->v[notes->n].where, sizeof notes->v[0].where, "%s", where);
        (void)vsnprintf(notes->v[notes->n].what, sizeof notes->v[0].what, fmt, args);
        va_end(args);
    }
    notes->n++;
}

/* ---- numbers ---- */

struct scan {
    const struct tensor *t;
    int64_t rows_per_chunk;
    float *rows;     /* n_threads x cols */
    uint64_t *bad;   /* per chunk: numbers that are not finite */
    int64_t *first;  /* and the place of the first: row * cols + column */
    bool *something; /* a number that is not zero */
};

static void scan_chunk(void *arg, int chunk, int thread) {
    struct scan *s = arg;
    const struct tensor *t = s->t;
    size_t bytes = convert_row_bytes(t->type, t->cols);
    float *row = s->rows + (size_t)thread * (size_t)t->cols;
    int64_t first = (int64_t)chunk * s->rows_per_chunk, last = first + s->rows_per_chunk;
    for (int64_t r = first; r < last && r < t->rows; r++) {
        float factor = t->row_scales != NULL ? t->row_scales[r] : 1;
        convert_row(t->type, (const uint8_t *)t->data + bytes * (size_t)r, t->cols, row);
        for (int64_t c = 0; c < t->cols; c++) {
            float x = row[c] * factor;
            s->something[chunk] = s->something[chunk] || x != 0;
            if (isfinite(x))
                continue;
            if (s->bad[chunk]++ == 0)
                s->first[chunk] = r * t->cols + c;
        }
    }
}

static void judge(struct check *k, const char *name, const struct scan *s, int n) {
    uint64_t bad = 0;
    int64_t first = -1;
    bool something = false;
    for (int c = 0; c < n; c++) {
        bad += s->bad[c];
        something = something || s->something[c];
        first = first < 0 && s->bad[c] > 0 ? s->first[c] : first;
    }
    if (bad > 0)
        note(k->problems, name,
             "%llu of %llu numbers are not finite, the first in row %lld, column %lld (%s)",
             (unsigned long long)bad, (unsigned long long)(s->t->rows * s->t->cols),
             (long long)(first / s->t->cols), (long long)(first % s->t->cols), dtype_info(s->t->type)->name);
    else if (!something)
        note(k->warnings, name, "all numbers are zero");
}

static int check_tensor(void *arg, const char *name, const struct tensor *t) {
    struct check *k = arg;
    struct scan s = {.t = t, .rows_per_chunk = t->cols < CHUNK_ELEMENTS ? CHUNK_ELEMENTS / t->cols : 1};
    int64_t chunks = (t->rows + s.rows_per_chunk - 1) / s.rows_per_chunk;
    int n = (int)chunks; /* at most 2^30 rows */
    s.rows = malloc((size_t)pool_n_threads(k->pool) * (size_t)t->cols * sizeof *s.rows);
    s.bad = calloc((size_t)n, sizeof *s.bad);
    s.first = calloc((size_t)n, sizeof *s.first);
    s.something = calloc((size_t)n, sizeof *s.something);
    int rc = 0;
    if (s.rows == NULL || s.bad == NULL || s.first == NULL || s.something == NULL) {
        rc = err_set(k->err, k->errlen, -ENOMEM, "Not enough memory to look at tensor %s.", name);
    } else {
        pool_run(k->pool, scan_chunk, &s, n);
        judge(k, name, &s, n);
        k->n_tensors++;
        k->n_numbers += (uint64_t)t->rows * (uint64_t)t->cols;
    }
    free(s.rows);
    free(s.bad);
    free(s.first);
    free(s.something);
    return rc;
}

/* ---- the tokenizer ---- */

/* Whether the tokens of `text` spell it again. Negative: memory is out. */
static int comes_back(const struct tokenizer *t, const char *text, size_t len) {
    struct token_list ids = {0};
    size_t at = 0;
    int rc = tokenizer_encode_text(t, text, len, &ids);
    bool same = rc >= 0;
    for (size_t i = 0; i < ids.n && same; i++) {
        size_t n = 0;
        const char *piece = tokenizer_piece(t, ids.v[i], &n);
        same = piece != NULL && n <= len - at && memcmp(piece, text + at, n) == 0;
        at += n;
    }
    token_list_finish(&ids);
    return rc == -ENOMEM ? rc : same && at == len ? 1 : 0;
}

static int finds_itself(const struct tokenizer *t, int32_t id, const char *text, size_t len) {
    struct token_list ids = {0};
    int rc = tokenizer_encode_template(t, text, len, &ids);
    int found = rc == -ENOMEM ? rc : rc >= 0 && ids.n == 1 && ids.v[0] == id ? 1 : 0;
    token_list_finish(&ids);
    return found;
}

static int check_bytes(struct check *k) {
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        int rc = comes_back(k->m->tokenizer, &byte, 1);
        if (rc < 0)
            return rc;
        if (rc == 0)
            note(k->problems, "tokenizer", "no tokens spell the byte 0x%02X", (unsigned)b);
    }
    return 0;
}

static int check_vocabulary(struct check *k) {
    const struct tokenizer *t = k->m->tokenizer;
    for (int32_t id = 0; id < tokenizer_n_vocab(t); id++) {
        size_t len = 0;
        const char *piece = tokenizer_piece(t, id, &len);
        if (piece == NULL || len == 0)
            continue; /* an id without a token */
        bool added = tokenizer_is_added(t, id);
        int rc = added ? finds_itself(t, id, piece, len) : comes_back(t, piece, len);
        if (rc < 0)
            return rc;
        if (rc == 0)
            note(k->problems, "tokenizer",
                 added ? "added token %d is not found by its text" : "the bytes of token %d do not come back",
                 id);
    }
    return 0;
}

static void check_special(struct check *k) {
    static const struct {
        const char *text;
        bool needed;
    } all[] = {{"<|im_start|>", true},  {"<|im_end|>", true},       {"<tool_call>", false},
               {"</tool_call>", false}, {"<tool_response>", false}, {"</tool_response>", false}};
    const struct model *m = k->m;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (tokenizer_find_added(m->tokenizer, all[i].text) >= 0)
            continue;
        if (all[i].needed)
            note(k->problems, "tokenizer", "there is no added token %s, which every prompt is made of",
                 all[i].text);
        else
            note(k->warnings, "tokenizer", "%s is no token of its own: several spell it", all[i].text);
    }
    if (m->n_eog_ids == 0)
        note(k->problems, "tokenizer", "no token ends a generation");
    int empty = m->n_vocab - tokenizer_n_vocab(m->tokenizer);
    if (empty > 0)
        note(k->warnings, "tokenizer", "%d of %d rows of the embedding have no token", empty, m->n_vocab);
}

static int check_tokenizer(struct check *k) {
    int rc = check_bytes(k);
    rc = rc ? rc : check_vocabulary(k);
    if (rc < 0)
        return err_set(k->err, k->errlen, rc, "Not enough memory to look at the tokenizer.");
    check_special(k);
    return 0;
}

/* ---- the whole ---- */

static void notes_json(struct json_writer *w, const char *key, const struct notes *notes) {
    json_key(w, key);
    json_array_begin(w);
    for (int i = 0; i < notes->n && i < MAX_NOTES; i++) {
        json_object_begin(w);
        json_key(w, "where");
        json_string(w, notes->v[i].where);
        json_key(w, "what");
        json_string(w, notes->v[i].what);
        json_object_end(w);
    }
    json_array_end(w);
}

static void key_int(struct json_writer *w, const char *key, uint64_t value) {
    json_key(w, key);
    json_int(w, (int64_t)value);
}

static int write_json(const struct check *k, const char *path, struct buf *out) {
    struct json_writer w;
    json_writer_begin(&w, out);
    json_object_begin(&w);
    json_key(&w, "path");
    json_string(&w, path);
    json_key(&w, "ok");
    json_bool(&w, k->problems->n == 0);
    if (k->m != NULL) {
        json_key(&w, "format");
        json_string(&w, k->m->format);
        key_int(&w, "tensors", k->n_tensors);
        key_int(&w, "numbers", k->n_numbers);
        key_int(&w, "tokens", k->m->tokenizer != NULL ? (uint64_t)tokenizer_n_vocab(k->m->tokenizer) : 0);
    }
    notes_json(&w, "problems", k->problems);
    notes_json(&w, "warnings", k->warnings);
    json_object_end(&w);
    int rc = json_writer_end(&w);
    return rc ? rc : buf_putc(out, '\n');
}

static int notes_text(struct buf *out, const char *label, const struct notes *notes) {
    int rc = 0;
    for (int i = 0; i < notes->n && i < MAX_NOTES && rc == 0; i++) {
        rc = buf_printf(out, "%s: ", label); /* a file's own words: no control characters */
        rc = rc ? rc : json_quote(out, notes->v[i].where, strlen(notes->v[i].where), false);
        rc = rc ? rc : buf_printf(out, ": %s\n", notes->v[i].what);
    }
    return rc == 0 && notes->n > MAX_NOTES ? buf_printf(out, "%s: and %d more\n", label, notes->n - MAX_NOTES)
                                           : rc;
}

static int write_text(const struct check *k, const char *path, struct buf *out) {
    int rc = notes_text(out, "problem", k->problems);
    rc = rc ? rc : notes_text(out, "warning", k->warnings);
    rc = rc || k->m == NULL
             ? rc
             : buf_printf(out, "%s: %s, %llu tensors with %llu numbers, %d tokens\n", path, k->m->format,
                          (unsigned long long)k->n_tensors, (unsigned long long)k->n_numbers,
                          k->m->tokenizer != NULL ? tokenizer_n_vocab(k->m->tokenizer) : 0);
    return rc ? rc
              : buf_printf(out, "%s: %s, %d problems, %d warnings\n", path,
                           k->problems->n == 0 ? "good" : "not good", k->problems->n, k->warnings->n);
}

/* Opens what can be opened; what cannot is a problem. */
static void open_model(struct check *k, const char *path) {
    char why[400] = "", tokenizer[400] = "";
    if (model_open(path, &k->m, tokenizer, sizeof tokenizer) == 0)
        return;
    if (model_open_weights(path, &k->m, why, sizeof why) < 0)
        note(k->problems, "structure", "%s", why);
    else
        note(k->problems, "tokenizer", "%s", tokenizer);
}

int model_verify(const char *path, bool json, int n_threads, struct buf *out, int *n_problems, char *err,
                 size_t errlen) {
    struct check k = {.err = err, .errlen = errlen};
    k.problems = calloc(1, sizeof *k.problems);
    k.warnings = calloc(1, sizeof *k.warnings);
    int rc = k.problems == NULL || k.warnings == NULL
                 ? err_set(err, errlen, -ENOMEM, "Not enough memory to look at '%s'.", path)
                 : pool_create(n_threads, 0, &k.pool, err, errlen);
    if (rc == 0) {
        open_model(&k, path);
        rc = k.m != NULL ? fit_each_tensor(k.m, check_tensor, &k) : 0;
    }
    if (rc == 0 && k.m != NULL && k.m->tokenizer != NULL)
        rc = check_tokenizer(&k);
    if (rc == 0) {
        rc = json ? write_json(&k, path, out) : write_text(&k, path, out);
        if (rc < 0)
            (void)err_set(err, errlen, rc, "What was found does not fit into the output: %s.", strerror(-rc));
        *n_problems = k.problems->n;
    }
    free(k.problems);
    free(k.warnings);
    pool_destroy(k.pool);
    model_close(k.m);
    return rc;
}

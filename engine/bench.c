#include "engine/bench.h"

#include "base/clock.h"
#include "engine/fit.h"
#include "engine/forward.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
    const struct model *m;
    struct forward *forward;
    size_t kv_bytes_per_token;
    uint64_t layer_bytes, layer_elements; /* of the matrices of all layers */
    uint64_t head_bytes, head_elements;   /* of the output head */
    struct kernels_row *rows;             /* max_rows */
    int32_t *outputs;                     /* max_rows */
    int32_t *pages;                       /* n_pages: 0, 1, 2, … */
    int max_rows, n_pages;
};

/* Where a repetition stands. */
struct position {
    int pages_per_session;
    unsigned salt; /* other tokens in every repetition */
};

const char *bench_name(const struct bench_test *t, char out[64]) {
    if (t->prompt > 0)
        (void)snprintf(out, 64, "pp%d", t->prompt);
    else if (t->depth > 0)
        (void)snprintf(out, 64, "tg%d @ d%d", t->new_tokens, t->depth);
    else
        (void)snprintf(out, 64, "tg%d", t->new_tokens);
    return out;
}

int bench_context(const struct bench_test *t) {
    return t->prompt > 0 ? t->prompt : t->depth + t->new_tokens;
}

static int pages_per_session(const struct bench_test *t) {
    return (bench_context(t) + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
}

static int sessions_of(const struct bench_test *t) {
    return t->prompt > 0 ? 1 : t->batch;
}

uint64_t bench_kv_tokens(const struct bench_test *t) {
    return (uint64_t)pages_per_session(t) * KERNELS_PAGE_TOKENS * (uint64_t)sessions_of(t);
}

/* ---- opening ---- */

static void count_weights(struct bench *b) {
    for (int l = 0; l < b->m->n_layers; l++) {
        const struct model_layer *y = &b->m->layers[l];
        const struct tensor *all[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            b->layer_bytes += dtype_row_bytes(all[i]->type, all[i]->cols) * (uint64_t)all[i]->rows;
            b->layer_elements += (uint64_t)all[i]->rows * (uint64_t)all[i]->cols;
        }
    }
    const struct tensor *head = &b->m->output;
    b->head_bytes = dtype_row_bytes(head->type, head->cols) * (uint64_t)head->rows;
    b->head_elements = (uint64_t)head->rows * (uint64_t)head->cols;
}

static int largest_batch(const struct bench_config *c) {
    int most = 1;
    for (int i = 0; i < c->n_tests; i++)
        most = sessions_of(&c->tests[i]) > most ? sessions_of(&c->tests[i]) : most;
    return most;
}

/* But for the pages. */
static struct forward_config configure(const struct bench_config *c, int context) {
    return (struct forward_config){.max_outputs = largest_batch(c),
                                   .max_context = context,
                                   .kv_type = c->kv_type,
                                   .n_threads = c->n_threads,
                                   .gpu_module = c->gpu_module,
                                   .gpus = c->gpus};
}

/* The longest session and the most tokens of all tests, or why there are none. */
static int size_up(const struct bench_config *c, int *context, uint64_t *tokens, char *err, size_t errlen) {
    const struct model *m = c->model;
    for (int i = 0; i < c->n_tests; i++) {
        char name[64];
        int wanted = bench_context(&c->tests[i]);
        if (wanted > m->n_ctx_train)
            return err_set(err, errlen, -E2BIG, "%s does not fit: the model's context is %d tokens.",
                           bench_name(&c->tests[i], name), m->n_ctx_train);
        *context = wanted > *context ? wanted : *context;
        uint64_t held = bench_kv_tokens(&c->tests[i]);
        *tokens = held > *tokens ? held : *tokens;
    }
    if (c->gpu_module != NULL)
        return 0; /* the device knows its memory */
    struct fit fit;
    char needed[32], left[32];
    const struct forward_config forward = configure(c, *context);
    fit_of(m, c->kv_type, fit_memory_bytes(), forward_scratch_bytes(m, &forward), &fit);
    fit.where = fit_memory_where();
    int rc = fit_check(m, &fit, err, errlen);
    uint64_t bytes = *tokens * fit.kv_bytes_per_token;
    if (rc == 0 && bytes > fit.left_bytes)
        rc = err_set(err, errlen, -ENOMEM,
                     "The tests hold %llu tokens at once, which is %s of keys and values; beside the weights "
                     "there are %s of memory.",
                     (unsigned long long)*tokens, fit_size(needed, bytes), fit_size(left, fit.left_bytes));
    return rc;
}

static int allocate(struct bench *b, const struct bench_config *c, int context, uint64_t tokens, char *err,
                    size_t errlen) {
    b->n_pages = (int)(tokens / KERNELS_PAGE_TOKENS);
    struct forward_config forward = configure(c, context);
    forward.n_pages = b->n_pages;
    if (fit_copies_weights(c->model, (uint64_t)b->n_pages * forward_page_bytes(c->model, c->kv_type),
                           forward_scratch_bytes(c->model, &forward)))
        forward.copy_weights = KERNELS_COPY_FIRST;
    int rc = forward_open(c->model, &forward, &b->forward, err, errlen);
    if (rc < 0)
        return rc;
    b->max_rows = forward_max_rows(b->forward);
    b->rows = calloc((size_t)b->max_rows, sizeof *b->rows);
    b->outputs = calloc((size_t)b->max_rows, sizeof *b->outputs);
    b->pages = calloc((size_t)b->n_pages, sizeof *b->pages);
    if (b->rows == NULL || b->outputs == NULL || b->pages == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the lists of %d KV pages.", b->n_pages);
    for (int i = 0; i < b->n_pages; i++)
        b->pages[i] = i;
    return 0;
}

int bench_open(const struct bench_config *c, struct bench **out, char *err, size_t errlen) {
    int context = 1;
    uint64_t tokens = KERNELS_PAGE_TOKENS;
    int rc = size_up(c, &context, &tokens, err, errlen);
    if (rc < 0)
        return rc;
    struct bench *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the benchmark.");
    b->m = c->model;
    b->kv_bytes_per_token = forward_page_bytes(c->model, c->kv_type) / KERNELS_PAGE_TOKENS;
    count_weights(b);
    rc = allocate(b, c, context, tokens, err, errlen);
    if (rc < 0) {
        bench_close(b);
        return rc;
    }
    *out = b;
    return 0;
}

void bench_close(struct bench *b) {
    if (b == NULL)
        return;
    forward_close(b->forward);
    free(b->rows);
    free(b->outputs);
    free(b->pages);
    free(b);
}

const char *bench_device(const struct bench *b) {
    return forward_device(b->forward);
}

/* ---- running ---- */

static int32_t token_at(const struct bench *b, int session, int position, unsigned salt) {
    unsigned n = (unsigned)position * 2654435761u + (unsigned)session * 40503u + salt * 69069u;
    return (int32_t)((n >> 8) % (unsigned)b->m->n_vocab);
}

static int step(struct bench *b, const struct position *at, int n_rows, int n_outputs, char *err,
                size_t errlen) {
    struct kernels_batch batch = {.rows = b->rows,
                                  .n_rows = n_rows,
                                  .pages = b->pages,
                                  .pages_stride = at->pages_per_session,
                                  .outputs = b->outputs,
                                  .n_outputs = n_outputs};
    return forward_run(b->forward, &batch, err, errlen);
}

/* Tokens 0 … n-1 of a session, with the logits of the last one where they are wanted. */
static int prefill(struct bench *b, const struct position *at, int session, int n, bool logits, char *err,
                   size_t errlen) {
    int rc = 0;
    for (int first = 0; first < n && rc == 0; first += b->max_rows) {
        int rows = n - first < b->max_rows ? n - first : b->max_rows;
        for (int i = 0; i < rows; i++)
            b->rows[i] = (struct kernels_row){
                .token = token_at(b, session, first + i, at->salt), .position = first + i, .table = session};
        b->outputs[0] = rows - 1;
        rc = step(b, at, rows, logits && first + rows == n ? 1 : 0, err, errlen);
    }
    return rc;
}

/* `n` tokens of every session, one after the other, behind `depth` that are there. */
static int generate(struct bench *b, const struct position *at, const struct bench_test *t, int n, char *err,
                    size_t errlen) {
    int rc = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        for (int s = 0; s < t->batch; s++) {
            b->rows[s] = (struct kernels_row){
                .token = token_at(b, s, t->depth + i, at->salt), .position = t->depth + i, .table = s};
            b->outputs[s] = s;
        }
        rc = step(b, at, t->batch, t->batch, err, errlen);
    }
    return rc;
}

/* What one repetition reads and works out. */
static void count_work(const struct bench *b, const struct bench_test *t, struct bench_result *r) {
    const struct model *m = b->m;
    double per_pair = 4.0 * m->n_layers * m->n_heads * m->head_dim; /* a query with a position it sees */
    double linear = 2.0 * (double)b->layer_elements, head = 2.0 * (double)b->head_elements;
    double kv = (double)b->kv_bytes_per_token;
    if (t->prompt > 0) {
        double n = t->prompt;
        r->operations = n * linear + head + per_pair * n * (n + 1) / 2;
        r->bytes = (double)b->head_bytes;
        for (int first = 0; first < t->prompt; first += b->max_rows) {
            int end = first + b->max_rows < t->prompt ? first + b->max_rows : t->prompt;
            r->bytes += (double)b->layer_bytes + kv * end;
        }
        return;
    }
    double n = t->new_tokens, seen = n * t->depth + n * (n + 1) / 2; /* positions, all steps of a session */
    r->operations = t->batch * (n * (linear + head) + per_pair * seen);
    r->bytes = n * (double)(b->layer_bytes + b->head_bytes) + t->batch * kv * seen;
}

static void summarise(struct bench_result *r) {
    double sum = 0, squares = 0;
    for (int i = 0; i < r->n_seconds; i++)
        sum += r->tokens / r->seconds[i];
    r->tokens_per_s = sum / r->n_seconds;
    for (int i = 0; i < r->n_seconds; i++)
        squares += pow(r->tokens / r->seconds[i] - r->tokens_per_s, 2);
    r->deviation = r->n_seconds > 1 ? sqrt(squares / (r->n_seconds - 1)) : 0;
}

/* Fills the sessions up to the depth of the test, and lets threads and caches see what comes. */
static int warm_up(struct bench *b, const struct position *at, const struct bench_test *t, char *err,
                   size_t errlen) {
    if (t->prompt > 0)
        return prefill(b, at, 0, t->prompt < b->max_rows ? t->prompt : b->max_rows, true, err, errlen);
    int rc = 0;
    for (int s = 0; s < t->batch && rc == 0; s++)
        rc = prefill(b, at, s, t->depth, false, err, errlen);
    return rc ? rc : generate(b, at, t, t->new_tokens < 4 ? t->new_tokens : 4, err, errlen);
}

int bench_run(struct bench *b, const struct bench_test *t, int repetitions, struct bench_result *r, char *err,
              size_t errlen) {
    struct position at = {.pages_per_session = pages_per_session(t)};
    int rc = 0;
    if (repetitions < 1 || repetitions > BENCH_MAX_REPETITIONS)
        return err_set(err, errlen, -EINVAL, "A test is repeated 1 to %d times, not %d.",
                       BENCH_MAX_REPETITIONS, repetitions);
    if (bench_kv_tokens(t) > (uint64_t)b->n_pages * KERNELS_PAGE_TOKENS)
        return err_set(err, errlen, -EINVAL, "This test is larger than those the benchmark was opened for.");
    *r = (struct bench_result){.tokens = t->prompt > 0 ? t->prompt : t->new_tokens * t->batch};
    rc = warm_up(b, &at, t, err, errlen);
    for (int i = 0; i < repetitions && rc == 0; i++) {
        at.salt = (unsigned)i + 1;
        uint64_t begun = clock_mono_ns();
        rc = t->prompt > 0 ? prefill(b, &at, 0, t->prompt, true, err, errlen)
                           : generate(b, &at, t, t->new_tokens, err, errlen);
        uint64_t took = clock_mono_ns() - begun;
        r->seconds[r->n_seconds++] = (double)(took > 0 ? took : 1) * 1e-9;
    }
    if (rc < 0)
        return rc;
    count_work(b, t, r);
    summarise(r);
    return 0;
}

#include "tests/gpu/bench_plan.h"

#include <stdio.h>

/* Copies and products as measured on an H200, and what is expected of them. */
#define BYTES_PER_SECOND (4.3e12 * 0.75)
#define FLOP_PER_SECOND  (790e12 * 0.5)
#define OPEN_SECONDS     2.0  /* memory for three models (two of them of one and two layers), drawing */
#define CASE_SECONDS     0.15 /* recording and preparing a graph */
#define REPETITIONS      5    /* at least, of a step that is shorter than all of them together */

static const struct bench_case goals[] = {{1, 0},     {1, 8192}, {1, 32768}, {1, 131071},
                                          {64, 1024}, {0, 512},  {0, 2048},  {0, 8192}};
static const struct bench_case more[] = {{4, 0},      {16, 0},     {64, 0},      {4, 8192},
                                         {16, 8192},  {64, 8192},  {4, 32768},   {16, 32768},
                                         {64, 32768}, {4, 131071}, {16, 131071}, {64, 131071}};
static const struct bench_case few[] = {{1, 0}, {64, 1024}, {0, 2048}};
static const struct bench_case rest[] = {{0, 512},     {0, 8192},   {1, 8192},   {1, 32768},  {1, 131071},
                                         {4, 0},       {16, 0},     {64, 0},     {4, 8192},   {16, 8192},
                                         {64, 8192},   {4, 32768},  {16, 32768}, {64, 32768}, {4, 131071},
                                         {16, 131071}, {64, 131071}};
static const struct bench_case tiny_cases[] = {{1, 0}, {3, 300}, {64, 300}, {0, 80}}; /* one does not fit */

#define CASES(list) list, (int)(sizeof(list) / sizeof(list)[0])

static const struct bench_entry entries[] = {
    {&synthetic_8b, SYNTHETIC_BF16, CASES(goals)},
    {&synthetic_8b, SYNTHETIC_Q4_K_M, CASES(goals)},
    {&synthetic_8b, SYNTHETIC_FP8, CASES(goals)},
    {&synthetic_8b, SYNTHETIC_Q8_0, CASES(goals)},
    {&synthetic_70b, SYNTHETIC_FP8, CASES(goals)},
    {&synthetic_70b, SYNTHETIC_Q4_K_M, CASES(goals)},
    {&synthetic_8b, SYNTHETIC_BF16, CASES(more)},
    {&synthetic_8b, SYNTHETIC_Q4_K_M, CASES(more)},
    {&synthetic_8b, SYNTHETIC_FP8, CASES(more)},
    {&synthetic_8b, SYNTHETIC_Q8_0, CASES(more)},
    {&synthetic_70b, SYNTHETIC_FP8, CASES(more)},
    {&synthetic_70b, SYNTHETIC_Q4_K_M, CASES(more)},
    {&synthetic_8b, SYNTHETIC_Q6_K, CASES(few)},
    {&synthetic_8b, SYNTHETIC_F16, CASES(few)},
    {&synthetic_8b, SYNTHETIC_Q5_K, CASES(few)},
    {&synthetic_8b, SYNTHETIC_Q4_0, CASES(few)},
    {&synthetic_70b, SYNTHETIC_Q8_0, CASES(few)},
    {&synthetic_70b, SYNTHETIC_Q6_K, CASES(few)},
    /* where time is left */
    {&synthetic_8b, SYNTHETIC_F16, CASES(rest)},
    {&synthetic_8b, SYNTHETIC_Q6_K, CASES(rest)},
    {&synthetic_8b, SYNTHETIC_Q5_K, CASES(rest)},
    {&synthetic_8b, SYNTHETIC_Q4_0, CASES(rest)},
    {&synthetic_70b, SYNTHETIC_Q8_0, CASES(rest)},
    {&synthetic_70b, SYNTHETIC_Q6_K, CASES(rest)},
};
#define SPARE_ENTRIES 6
static const struct bench_entry tiny_entries[] = {
    {&synthetic_tiny, SYNTHETIC_BF16, CASES(tiny_cases)},
    {&synthetic_tiny, SYNTHETIC_Q4_K_M, CASES(tiny_cases)},
    {&synthetic_tiny, SYNTHETIC_FP8, CASES(tiny_cases)},
    {&synthetic_tiny, SYNTHETIC_Q8_0, CASES(tiny_cases)},
    {&synthetic_tiny, SYNTHETIC_Q6_K, CASES(tiny_cases)},
    {&synthetic_tiny, SYNTHETIC_F16, CASES(tiny_cases)},
    {&synthetic_tiny, SYNTHETIC_Q5_K, CASES(tiny_cases)},
    {&synthetic_tiny, SYNTHETIC_Q4_0, CASES(tiny_cases)},
};

const struct bench_entry *bench_entries(bool tiny, int *n, int *needed) {
    *n = (int)(tiny ? sizeof tiny_entries / sizeof tiny_entries[0] : sizeof entries / sizeof entries[0]);
    *needed = tiny ? *n : *n - SPARE_ENTRIES;
    return tiny ? tiny_entries : entries;
}

void bench_case_name(const struct bench_case *c, char *out, size_t size) {
    if (c->rows > 0)
        (void)snprintf(out, size, "decode batch %d, context %d", c->rows, c->context);
    else
        (void)snprintf(out, size, "prefill %d", c->context);
}

double bench_bytes(const struct kernels_model *m, const struct bench_case *c) {
    double kv = (double)kernels_page_bytes(m, DTYPE_F16) / KERNELS_PAGE_TOKENS;
    return synthetic_bytes(m) + kv * (c->rows > 0 ? (double)c->rows * (c->context + 1) : c->context);
}

/* Two for each weight and token, of the head for tokens whose logits are wanted; attention, causal in a
 * prompt. */
double bench_flop(const struct synthetic_shape *h, const struct bench_case *c) {
    double head = (double)h->dim * h->n_vocab, layers = synthetic_weights(h) - head;
    double tokens = c->rows > 0 ? c->rows : c->context, wanted = c->rows > 0 ? c->rows : 1;
    double pairs = c->rows > 0 ? (double)c->rows * (c->context + 1) : tokens * tokens / 2;
    return 2 * layers * tokens + 2 * head * wanted + 4 * pairs * h->n_heads * h->head_dim * h->n_layers;
}

double bench_seconds(const struct kernels_model *m, const struct synthetic_shape *h,
                     const struct bench_case *c) {
    double read = bench_bytes(m, c) / BYTES_PER_SECOND, computed = bench_flop(h, c) / FLOP_PER_SECOND;
    double step = read > computed ? read : computed, all = step * REPETITIONS;
    double least = (double)BENCH_STEP_NS / 1e9;
    return CASE_SECONDS + step + (all > least ? all : least);
}

double bench_reckon(const struct bench_entry *e) {
    const struct synthetic_format *f = &synthetic_formats[e->format];
    struct synthetic s;
    double seconds = OPEN_SECONDS;
    if (synthetic_init(&s, e->shape, f, e->shape->n_layers) < 0)
        return -1;
    for (int i = 0; i < e->n_cases; i++)
        seconds += bench_seconds(&s.model, e->shape, &e->cases[i]);
    printf("  %-4s %-7s %6.1f GB to draw, %2d cases: %5.1f s\n", e->shape->name, f->name,
           synthetic_all_bytes(&s.model) / 1e9, e->n_cases, seconds);
    synthetic_finish(&s);
    return seconds;
}

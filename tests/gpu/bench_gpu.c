/* How fast the CUDA device runs models of true shapes: decoding by batch and context, prefill by length.
 * Prints a table as it goes, and one JSON object a line to a file.
 *
 *   bench_gpu [--tiny] [--plan] [--seconds N] [--json FILE]
 *
 * --plan measures nothing: it says how long the list should take on an H200, and fails where that is more
 * than N seconds. Without it, what would not end within N seconds is left out, and named.
 *
 * A step is what the engine does for one: the batch goes up, all layers run (decoding: a recorded graph), the
 * chosen tokens come back; times are medians of such steps by the host's clock. Bytes of a step are the
 * stored weights that it reads and the keys and values of its sessions. They are compared with a copy within
 * the GPU's memory (bytes read and written), and operations with a large product by the library, both
 * measured in the same run. No step finds weights in the GPU's cache that the one before left there: they
 * are gigabytes in as many matrices as the model has, the cache is 50 or 60 MB. */
#include "base/clock.h"
#include "kernels/cuda/cuda.h"
#include "tests/gpu/bench_plan.h"
#include "tests/gpu/draw.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS  200
#define SPARE      ((size_t)2 << 30) /* device memory that stays free */
#define TINY_PAGES 64

struct bench {
    bool tiny;
    uint64_t until; /* nothing should end later */
    FILE *json;
    double copy;      /* bytes per second */
    double bf16, fp8; /* operations per second of a large product; 0: there is no library for it */
};

struct model {
    const struct synthetic_shape *shape;
    const struct synthetic_format *format;
    struct synthetic weights;
    struct kernels_device *device;
    int n_pages, max_rows, max_context;
};

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    (void)fflush(stdout);
}

/* One line; it is there even when the program is stopped. */
__attribute__((format(printf, 2, 3))) static void write_json(const struct bench *b, const char *fmt, ...) {
    va_list args;
    if (b->json == NULL)
        return;
    va_start(args, fmt);
    (void)vfprintf(b->json, fmt, args);
    va_end(args);
    (void)fflush(b->json);
}

static bool ends_in_time(const struct bench *b, double seconds) {
    return b->tiny || clock_mono_ns() + (uint64_t)(seconds * 1e9) <= b->until;
}

/* ---- the ceilings ---- */

static int measure_copy(struct bench *b) {
    size_t bytes = b->tiny ? (size_t)1 << 20 : (size_t)4 << 30;
    void *from = gpu_alloc(bytes, GPU_KEPT), *to = gpu_alloc(bytes, GPU_KEPT);
    struct gpu_stream *s = NULL;
    int rc = from == NULL || to == NULL ? -ENOMEM : gpu_stream_create(&s);
    rc = rc ? rc : gpu_fill(s, from, 0x35, bytes);
    for (int i = 0; rc == 0 && i < 8; i++) {
        rc = gpu_sync(s);
        uint64_t began = clock_mono_ns();
        rc = rc ? rc : gpu_copy(s, to, from, bytes);
        rc = rc ? rc : gpu_sync(s);
        double rate = 2e9 * (double)bytes / (double)(clock_mono_ns() - began + 1);
        b->copy = i > 0 && rate > b->copy ? rate : b->copy;
    }
    gpu_stream_destroy(s);
    gpu_free(from);
    gpu_free(to);
    return rc;
}

struct square {
    struct gpu_stream *s;
    struct gpu_blas *blas;
    int32_t n;
    void *w, *x, *out, *scales;
};

static int multiply_square(const struct square *q, bool f8) {
    const struct gpu_gemm g = {.w = q->w,
                               .x = q->x,
                               .out = q->out,
                               .w_stride = q->n,
                               .x_stride = q->n,
                               .out_stride = q->n,
                               .w_rows = q->n,
                               .x_rows = q->n,
                               .cols = q->n};
    const struct gpu_gemm_f8 g8 = {.w = q->w,
                                   .x = q->x,
                                   .w_scales = q->scales,
                                   .x_scales = q->scales,
                                   .out = q->out,
                                   .w_stride = q->n,
                                   .x_stride = q->n,
                                   .out_stride = q->n,
                                   .w_rows = q->n,
                                   .x_rows = q->n,
                                   .cols = q->n};
    int rc = f8 ? gpu_blas_product_f8(q->blas, &g8) : gpu_blas_product(q->blas, &g);
    return rc ? rc : gpu_sync(q->s);
}

/* Operations per second of the best of a few; 0 where there is no library for it. */
static double time_square(const struct square *q, bool f8) {
    double best = 0;
    const struct gpu_gemm_f8 shape = {
        .w_stride = q->n, .x_stride = q->n, .out_stride = q->n, .w_rows = q->n, .x_rows = q->n, .cols = q->n};
    if (f8 && gpu_blas_begin_f8(q->blas, &shape, 1, GPU_F8_SCALED) == GPU_F8_NOT)
        return 0;
    int64_t elements = (int64_t)q->n * q->n;
    int type = f8 ? CUDA_F8 : CUDA_BF16, rc = draw_plain(q->s, q->w, type, elements, 1);
    rc = rc ? rc : draw_plain(q->s, q->x, type, elements, 2);
    rc = rc ? rc : gpu_fill(q->s, q->scales, 0, (size_t)q->n * sizeof(float));
    for (int i = 0; i < 8 && rc == 0; i++) {
        uint64_t began = clock_mono_ns();
        rc = multiply_square(q, f8);
        double rate = 2e9 * (double)elements * q->n / (double)(clock_mono_ns() - began + 1);
        best = i > 0 && rate > best ? rate : best;
    }
    return rc == 0 ? best : 0;
}

static void measure_products(struct bench *b) {
    struct square q = {.n = b->tiny ? 128 : 8192};
    size_t elements = (size_t)q.n * (size_t)q.n;
    char why[64] = "no memory";
    q.w = gpu_alloc(elements * 2, GPU_KEPT);
    q.x = gpu_alloc(elements * 2, GPU_KEPT);
    q.out = gpu_alloc(elements * 4, GPU_KEPT);
    q.scales = gpu_alloc((size_t)q.n * sizeof(float), GPU_KEPT);
    bool room = q.w != NULL && q.x != NULL && q.out != NULL && q.scales != NULL;
    if (room && gpu_stream_create(&q.s) == 0 && gpu_blas_open(q.s, &q.blas, why, sizeof why) == 0) {
        b->bf16 = time_square(&q, false);
        b->fp8 = time_square(&q, true);
        say("the library multiplies %d x %d in BF16 at %.1f TFLOP/s, in FP8 at %.1f\n", q.n, q.n,
            b->bf16 / 1e12, b->fp8 / 1e12);
    } else {
        say("nothing multiplies large matrices: %s\n", why);
    }
    gpu_blas_close(q.blas);
    gpu_stream_destroy(q.s);
    void *all[] = {q.w, q.x, q.out, q.scales};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        gpu_free(all[i]);
}

/* ---- models ---- */

static struct kernels_config config_of(const struct model *m, int n_pages) {
    return (struct kernels_config){.model = m->weights.model,
                                   .max_rows = m->max_rows,
                                   .max_outputs = BENCH_MAX_ROWS,
                                   .max_context = m->max_context,
                                   .n_pages = n_pages,
                                   .kv_type = DTYPE_F16};
}

/* Device memory that a model of `n_layers` takes with one page; 0 when it cannot be opened. */
static size_t taken(struct model *m, int n_layers, char *err, size_t errlen) {
    size_t before = 0, after = 0, total = 0;
    if (synthetic_init(&m->weights, m->shape, m->format, n_layers) < 0)
        return 0;
    struct kernels_config config = config_of(m, 1);
    struct kernels_device *d = NULL;
    bool opened = gpu_memory_left(&before, &total) == 0 &&
                  hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, errlen) == 0 &&
                  gpu_memory_left(&after, &total) == 0;
    if (d != NULL)
        d->ops->close(d);
    synthetic_finish(&m->weights);
    return opened && before > after ? before - after : 0;
}

/* Weights; keys and values that are numbers, which those of fresh memory need not be. */
static int draw_all(struct model *m) {
    struct cuda_device *d = (struct cuda_device *)(void *)m->device;
    int64_t bytes = d->cache.page_bytes * m->n_pages;
    int rc = synthetic_draw(d);
    rc = rc ? rc : draw_plain(d->stream, d->cache.memory, CUDA_F16, bytes / 2, 7);
    return rc ? rc : gpu_sync(d->stream);
}

/* Opens the model with as many pages as fit beside it, `wanted` at most. False with the sentence. */
static bool open_model(struct model *m, int wanted, char *err, size_t errlen) {
    size_t one = taken(m, 1, err, errlen), two = one > 0 ? taken(m, 2, err, errlen) : 0;
    size_t left = 0, total = 0;
    if (two == 0 || gpu_memory_left(&left, &total) < 0)
        return false;
    size_t all = one + (two - one) * (size_t)(m->shape->n_layers - 1);
    size_t spare = left > SPARE * 4 ? SPARE : 0;
    if (all + spare >= left) {
        (void)err_set(err, errlen, -ENOMEM, "%zu GiB are needed, %zu are there", all >> 30, left >> 30);
        return false;
    }
    if (synthetic_init(&m->weights, m->shape, m->format, m->shape->n_layers) < 0)
        return false;
    size_t pages = (left - spare - all) / kernels_page_bytes(&m->weights.model, DTYPE_F16);
    m->n_pages = pages < (size_t)wanted ? (int)pages : wanted;
    struct kernels_config config = config_of(m, m->n_pages);
    uint64_t began = clock_mono_ns();
    if (hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &m->device, err, errlen) < 0) {
        synthetic_finish(&m->weights);
        return false;
    }
    if (draw_all(m) < 0) {
        (void)err_set(err, errlen, -EIO, "the weights cannot be drawn: %s", gpu_failure());
        m->device->ops->close(m->device);
        synthetic_finish(&m->weights);
        return false;
    }
    say("\n%s %s: %.1f GB, opened and drawn in %.1f s; %d pages; %s\n", m->shape->name, m->format->name,
        synthetic_all_bytes(&m->weights.model) / 1e9, (double)(clock_mono_ns() - began) / 1e9, m->n_pages,
        m->device->ops->describe(m->device));
    return true;
}

static void close_model(struct model *m) {
    m->device->ops->close(m->device);
    synthetic_finish(&m->weights);
}

/* ---- steps ---- */

static int run(struct model *m, const struct kernels_batch *batch, char *err, size_t errlen) {
    struct kernels_device *d = m->device;
    const struct kernels_ops *ops = d->ops;
    ops->begin(d, batch);
    ops->embed(d);
    for (int l = 0; l < m->shape->n_layers; l++) {
        ops->attn_in(d, l);
        ops->attention(d, l);
        ops->attn_out(d, l);
        ops->ffn_in(d, l);
        ops->ffn_out(d, l);
    }
    ops->logits(d);
    return ops->sync(d, err, errlen);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Median seconds of a batch's step, after one that records its graph; negative when it fails. */
static double time_step(struct model *m, const struct kernels_batch *batch, int *n_steps) {
    double seconds[MAX_STEPS];
    char err[300] = "";
    uint64_t began = clock_mono_ns();
    int rc = run(m, batch, err, sizeof err), n = 0;
    bool slow = clock_mono_ns() - began > 4 * BENCH_STEP_NS; /* once is enough then */
    if (rc == 0 && slow)
        seconds[n++] = (double)(clock_mono_ns() - began) / 1e9;
    began = clock_mono_ns();
    int most = m->shape == &synthetic_tiny ? 1 : MAX_STEPS;
    while (rc == 0 && !slow && n < most && (n < 3 || clock_mono_ns() - began < BENCH_STEP_NS)) {
        uint64_t step = clock_mono_ns();
        rc = run(m, batch, err, sizeof err);
        seconds[n++] = (double)(clock_mono_ns() - step) / 1e9;
    }
    if (rc < 0) {
        say("  %s\n", err);
        return -1;
    }
    qsort(seconds, (size_t)n, sizeof seconds[0], by_size);
    *n_steps = n;
    return seconds[n / 2];
}

/* Seconds of a step of sessions that all have `context` positions. */
static double time_decode(struct model *m, int rows, int context, const int32_t *pages, int each, int *n) {
    struct kernels_row row[BENCH_MAX_ROWS];
    struct kernels_sample how[BENCH_MAX_ROWS];
    int32_t outputs[BENCH_MAX_ROWS];
    for (int i = 0; i < rows; i++) {
        row[i] = (struct kernels_row){.token = i * 37 % m->shape->n_vocab, .position = context, .table = i};
        how[i] = (struct kernels_sample){.wanted = true, .top_p = 1, .repeat_penalty = 1}; /* greedy */
        outputs[i] = i;
    }
    const struct kernels_batch batch = {.rows = row,
                                        .n_rows = rows,
                                        .pages = pages,
                                        .pages_stride = each,
                                        .outputs = outputs,
                                        .n_outputs = rows,
                                        .samples = how};
    return time_step(m, &batch, n);
}

/* Seconds of a prompt, in batches as large as they may be. */
static double time_prefill(struct model *m, int tokens, const int32_t *pages, int each, int *n) {
    struct kernels_row *rows = malloc((size_t)m->max_rows * sizeof *rows);
    double s = rows != NULL ? 0 : -1;
    for (int done = 0, take; done < tokens && s >= 0; done += take) {
        take = tokens - done < m->max_rows ? tokens - done : m->max_rows;
        for (int i = 0; i < take; i++)
            rows[i] =
                (struct kernels_row){.token = (done + i) * 31 % m->shape->n_vocab, .position = done + i};
        const int32_t output = take - 1;
        const struct kernels_batch batch = {.rows = rows,
                                            .n_rows = take,
                                            .pages = pages,
                                            .pages_stride = each,
                                            .outputs = &output,
                                            .n_outputs = 1};
        double part = time_step(m, &batch, n);
        s = part < 0 ? -1 : s + part;
    }
    free(rows);
    return s;
}

/* ---- cases ---- */

static void report(const struct bench *b, const struct model *m, const struct bench_case *c, double s,
                   int n) {
    char name[40];
    double tokens = c->rows > 0 ? c->rows : c->context, bytes = bench_bytes(&m->weights.model, c) / s;
    double flop = bench_flop(m->shape, c) / s, peak = m->format->type == DTYPE_F8_E4M3 ? b->fp8 : b->bf16;
    double of_copy = 100 * bytes / b->copy, of_peak = peak > 0 ? 100 * flop / peak : 0;
    bench_case_name(c, name, sizeof name);
    say("  %-32s %9.3f ms  %9.1f tok/s  %7.1f GB/s  %5.1f %% of a copy  %7.1f TFLOP/s  %5.1f %% of a product "
        " "
        "(%d steps)\n",
        name, s * 1e3, tokens / s, bytes / 1e9, of_copy, flop / 1e12, of_peak, n);
    write_json(
        b,
        "{\"model\": \"%s\", \"format\": \"%s\", \"phase\": \"%s\", \"batch\": %d, \"context\": %d, "
        "\"ms\": %.4f, \"tokens_per_second\": %.2f, \"gb_per_second\": %.2f, \"percent_of_copy\": %.2f, "
        "\"tflop_per_second\": %.3f, \"percent_of_product\": %.2f, \"steps\": %d}\n",
        m->shape->name, m->format->name, c->rows > 0 ? "decode" : "prefill", c->rows > 0 ? c->rows : 1,
        c->context, s * 1e3, tokens / s, bytes / 1e9, of_copy, flop / 1e12, of_peak, n);
}

static void measure(const struct bench *b, struct model *m, const struct bench_case *c) {
    int sessions = c->rows > 0 ? c->rows : 1, last = c->rows > 0 ? c->context : c->context - 1, n = 0;
    int each = last / KERNELS_PAGE_TOKENS + 1;
    char name[40];
    bench_case_name(c, name, sizeof name);
    if (last >= m->max_context || (int64_t)each * sessions > m->n_pages) {
        say("  %-32s skipped: %lld pages are needed, %d are there\n", name, (long long)each * sessions,
            m->n_pages);
        write_json(b, "{\"model\": \"%s\", \"format\": \"%s\", \"does_not_fit\": \"%s\"}\n", m->shape->name,
                   m->format->name, name);
        return;
    }
    int32_t *pages = malloc((size_t)each * (size_t)sessions * sizeof *pages);
    if (pages == NULL)
        return;
    for (int i = 0; i < each * sessions; i++)
        pages[i] = i;
    double s = c->rows > 0 ? time_decode(m, c->rows, c->context, pages, each, &n)
                           : time_prefill(m, c->context, pages, each, &n);
    free(pages);
    if (s > 0)
        report(b, m, c, s, n);
}

/* ---- the plan ---- */

/* What there is no time for any more. */
static void leave_out(const struct bench *b, const struct bench_entry *e, int first) {
    char name[40];
    const char *format = synthetic_formats[e->format].name;
    say("  left out of %s %s, there is no time for it:", e->shape->name, format);
    for (int i = first; i < e->n_cases; i++) {
        bench_case_name(&e->cases[i], name, sizeof name);
        say("%s %s", i > first ? ";" : "", name);
        write_json(b, "{\"model\": \"%s\", \"format\": \"%s\", \"left_out\": \"%s\"}\n", e->shape->name,
                   format, name);
    }
    say("\n");
}

static void measure_entry(const struct bench *b, const struct bench_entry *e) {
    char err[400] = "out of memory";
    struct model m = {.shape = e->shape,
                      .format = &synthetic_formats[e->format],
                      .max_rows = b->tiny ? 80 : 2048,
                      .max_context = b->tiny ? 512 : 131072};
    int wanted = b->tiny ? TINY_PAGES : 2049 * BENCH_MAX_ROWS, i = 0;
    if (!ends_in_time(b, 5)) {
        leave_out(b, e, 0);
        return;
    }
    if (!open_model(&m, wanted, err, sizeof err)) {
        say("\n%s %s: skipped: %s\n", e->shape->name, m.format->name, err);
        return;
    }
    while (i < e->n_cases && ends_in_time(b, bench_seconds(&m.weights.model, e->shape, &e->cases[i]))) {
        measure(b, &m, &e->cases[i]);
        i++;
    }
    if (i < e->n_cases)
        leave_out(b, e, i);
    close_model(&m);
}

/* 0 when the first `needed` entries fit `seconds`. */
static int show_plan(const struct bench_entry *entries, int n, int needed, double seconds) {
    double all = 2, most = 0; /* copy and products */
    for (int i = 0; i < n; i++) {
        if (i == needed)
            say("where time is left:\n");
        *(i < needed ? &all : &most) += bench_reckon(&entries[i]);
    }
    say("the list should take %.0f s on an H200, and %.0f more with what gets the time that is left; there "
        "are "
        "%.0f\n",
        all, most, seconds);
    return all <= seconds ? 0 : 1;
}

static int measure_all(struct bench *b, const struct bench_entry *entries, int n) {
    char describe[96] = "", err[300] = "";
    if (gpu_open(0, describe, sizeof describe, err, sizeof err) < 0 || measure_copy(b) < 0) {
        say("%s%s\n", err, gpu_failure());
        return 1;
    }
    say("%s: a copy within its memory reads and writes %.1f GB/s\n", describe, b->copy / 1e9);
    measure_products(b);
    write_json(b,
               "{\"device\": \"%s\", \"copy_gb_per_second\": %.2f, \"bf16_tflop_per_second\": %.2f, "
               "\"fp8_tflop_per_second\": %.2f}\n",
               describe, b->copy / 1e9, b->bf16 / 1e12, b->fp8 / 1e12);
    for (int i = 0; i < n && gpu_failure()[0] == '\0'; i++)
        measure_entry(b, &entries[i]);
    return gpu_failure()[0] != '\0' ? 1 : 0;
}

static int usage(void) {
    (void)fprintf(stderr, "usage: bench_gpu [--tiny] [--plan] [--seconds N] [--json FILE]\n");
    return 64;
}

int main(int argc, char **argv) {
    struct bench b = {0};
    uint64_t seconds = 300;
    bool plan = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--tiny") == 0)
            b.tiny = true;
        else if (strcmp(argv[i], "--plan") == 0)
            plan = true;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc)
            b.json = fopen(argv[++i], "w");
        else
            return usage();
    }
    int n = 0, needed = 0;
    const struct bench_entry *entries = bench_entries(b.tiny, &n, &needed);
    b.until = clock_mono_ns() + seconds * 1000000000;
    int rc = plan ? show_plan(entries, n, needed, (double)seconds) : measure_all(&b, entries, n);
    if (b.json != NULL)
        (void)fclose(b.json);
    return rc;
}

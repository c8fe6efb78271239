/* How fast the CUDA device runs models of true shapes: decoding by batch and context, prefill by length.
 * Prints a table as it goes, and one JSON object a line to a file.
 *
 *   bench_gpu [--tiny] [--seconds N] [--json FILE]
 *
 * A step is what the engine does for one: the batch goes up, all layers run (decoding: a recorded graph), the
 * logits come back; times are medians of such steps by the host's clock. Bytes of a step are the stored
 * weights that it reads and the keys and values of its sessions; they are compared with a copy within the
 * GPU's memory, measured in the same run (bytes read and written). */
#include "base/clock.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.h"
#include "tests/gpu/synthetic.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BATCH  64
#define MAX_STEPS  200
#define CASE_NS    (uint64_t)500000000 /* of repetitions, where one is shorter */
#define SPARE      ((size_t)2 << 30)   /* device memory that stays free */
#define TINY_PAGES 64

struct bench {
    bool tiny;
    uint64_t until; /* no further case begins then */
    FILE *json;
    double copy; /* bytes per second */
};

static const struct {
    const char *name;
    enum dtype type;
} formats[] = {{"bf16", DTYPE_BF16}, {"q4_k", DTYPE_Q4_K}, {"q8_0", DTYPE_Q8_0}, {"fp8", DTYPE_F8_E4M3}};
#define N_FORMATS (sizeof formats / sizeof formats[0])

struct model {
    const struct synthetic_shape *shape;
    const char *format;
    enum dtype type;
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

static bool over(const struct bench *b) {
    return clock_mono_ns() >= b->until;
}

/* ---- the ceiling ---- */

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

/* ---- models ---- */

static struct kernels_config config_of(const struct model *m, int n_pages) {
    return (struct kernels_config){.model = m->weights.model,
                                   .max_rows = m->max_rows,
                                   .max_outputs = MAX_BATCH,
                                   .max_context = m->max_context,
                                   .n_pages = n_pages,
                                   .kv_type = DTYPE_F16};
}

/* Device memory that a model of `n_layers` takes with one page; 0 when it cannot be opened. */
static size_t taken(struct model *m, int n_layers, char *err, size_t errlen) {
    size_t before = 0, after = 0, total = 0;
    if (synthetic_init(&m->weights, m->shape, m->type, n_layers) < 0)
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
    if (synthetic_init(&m->weights, m->shape, m->type, m->shape->n_layers) < 0)
        return false;
    size_t pages = (left - spare - all) / kernels_page_bytes(&m->weights.model, DTYPE_F16);
    m->n_pages = pages < (size_t)wanted ? (int)pages : wanted;
    struct kernels_config config = config_of(m, m->n_pages);
    uint64_t began = clock_mono_ns();
    if (hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &m->device, err, errlen) < 0) {
        synthetic_finish(&m->weights);
        return false;
    }
    double seconds = (double)(clock_mono_ns() - began) / 1e9;
    say("\n%s %s: %.1f GB stored, uploaded in %.1f s; %d pages\n", m->shape->name, m->format,
        synthetic_bytes(m->shape, m->type) / 1e9, seconds, m->n_pages);
    return true;
}

static void close_model(struct model *m) {
    m->device->ops->close(m->device);
    synthetic_finish(&m->weights);
}

/* Keys and values that are numbers: those of fresh memory need not be. */
static int fill_cache(struct model *m) {
    struct cuda_device *d = (struct cuda_device *)(void *)m->device;
    size_t bytes = (size_t)d->cache.page_bytes;
    uint16_t *page = malloc(bytes);
    uint64_t random = 7;
    if (page == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < bytes / 2; i++) { /* +-0.25 … 1 */
        random = random * 6364136223846793005u + 1442695040888963407u;
        page[i] = (uint16_t)(0x3400u + (random >> 48 & 0x87FFu));
    }
    int rc = gpu_upload_now(d->cache.memory, page, bytes);
    for (int i = 1; i < m->n_pages && rc == 0; i++)
        rc = gpu_copy(d->stream, d->cache.memory + (size_t)i * bytes, d->cache.memory, bytes);
    rc = rc ? rc : gpu_sync(d->stream);
    free(page);
    return rc;
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
    static double seconds[MAX_STEPS];
    char err[300] = "";
    uint64_t began = clock_mono_ns();
    int rc = run(m, batch, err, sizeof err), n = 0;
    bool slow = clock_mono_ns() - began > 4 * CASE_NS; /* once is enough then */
    if (rc == 0 && slow)
        seconds[n++] = (double)(clock_mono_ns() - began) / 1e9;
    began = clock_mono_ns();
    int most = m->shape == &synthetic_tiny ? 1 : MAX_STEPS;
    while (rc == 0 && !slow && n < most && (n < 3 || clock_mono_ns() - began < CASE_NS)) {
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

static void decode(struct bench *b, struct model *m, int rows, int context) {
    int each = context / KERNELS_PAGE_TOKENS + 1, n = 0;
    if (context >= m->max_context || (int64_t)each * rows > m->n_pages) {
        say("  decode  batch %2d, context %6d: skipped: %lld pages are needed, %d are there\n", rows, context,
            (long long)each * rows, m->n_pages);
        return;
    }
    struct kernels_row row[MAX_BATCH];
    int32_t outputs[MAX_BATCH], *pages = malloc((size_t)each * (size_t)rows * sizeof *pages);
    if (pages == NULL)
        return;
    for (int i = 0; i < rows; i++) {
        row[i] = (struct kernels_row){.token = i * 37 % m->shape->n_vocab, .position = context, .table = i};
        outputs[i] = i;
    }
    for (int i = 0; i < each * rows; i++)
        pages[i] = i;
    const struct kernels_batch batch = {.rows = row,
                                        .n_rows = rows,
                                        .pages = pages,
                                        .pages_stride = each,
                                        .outputs = outputs,
                                        .n_outputs = rows};
    double s = time_step(m, &batch, &n);
    free(pages);
    if (s <= 0)
        return;
    double kv = (double)kernels_page_bytes(&m->weights.model, DTYPE_F16) / KERNELS_PAGE_TOKENS;
    double bytes = synthetic_bytes(m->shape, m->type) + kv * rows * (context + 1), rate = bytes / s;
    say("  decode  batch %2d, context %6d: %9.3f ms  %9.1f tok/s  %7.1f GB/s  %5.1f %% of a copy  (%d "
        "steps)\n",
        rows, context, s * 1e3, rows / s, rate / 1e9, 100 * rate / b->copy, n);
    if (b->json != NULL)
        (void)fprintf(
            b->json,
            "{\"model\": \"%s\", \"format\": \"%s\", \"phase\": \"decode\", \"batch\": %d, \"context\": "
            "%d, \"ms\": %.4f, \"tokens_per_second\": %.2f, \"gb_per_second\": %.2f, "
            "\"percent_of_copy\": %.2f, \"steps\": %d}\n",
            m->shape->name, m->format, rows, context, s * 1e3, rows / s, rate / 1e9, 100 * rate / b->copy, n);
}

/* Floating-point operations of a prompt: two for each weight and token, of the head for the last token only;
 * causal attention. */
static double prefill_flop(const struct synthetic_shape *h, double tokens) {
    double head = (double)h->dim * h->n_vocab, layers = synthetic_weights(h) - head;
    double attention = 2 * tokens * tokens * h->n_heads * h->head_dim * h->n_layers;
    return 2 * layers * tokens + 2 * head + attention;
}

static void prefill(struct bench *b, struct model *m, int tokens) {
    int each = (tokens + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS, n = 0, done = 0;
    int32_t *pages = malloc((size_t)each * sizeof *pages);
    struct kernels_row *rows = malloc((size_t)m->max_rows * sizeof *rows);
    double s = 0;
    if (pages == NULL || rows == NULL || each > m->n_pages || tokens > m->max_context) {
        say("  prefill %d: skipped: there is not enough memory\n", tokens);
        free(pages);
        free(rows);
        return;
    }
    for (int i = 0; i < each; i++)
        pages[i] = i;
    for (int take; done < tokens && s >= 0; done += take) {
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
        double part = time_step(m, &batch, &n);
        s = part < 0 ? -1 : s + part;
    }
    free(pages);
    free(rows);
    if (s <= 0)
        return;
    double flops = prefill_flop(m->shape, tokens) / s;
    say("  prefill %6d: %9.1f ms  %9.1f tok/s  %7.1f TFLOP/s  (%d steps)\n", tokens, s * 1e3, tokens / s,
        flops / 1e12, n);
    if (b->json != NULL)
        (void)fprintf(
            b->json,
            "{\"model\": \"%s\", \"format\": \"%s\", \"phase\": \"prefill\", \"tokens\": %d, \"ms\": "
            "%.4f, \"tokens_per_second\": %.2f, \"tflop_per_second\": %.3f, \"steps\": %d}\n",
            m->shape->name, m->format, tokens, s * 1e3, tokens / s, flops / 1e12, n);
}

/* ---- the plan ---- */

/* The numbers that goals are set for come first. */
static void measure(struct bench *b, struct model *m) {
    static const int contexts[] = {0, 8192, 32768, 131071}, batches[] = {1, 4, 16, 64};
    static const int prompts[] = {512, 2048, 8192};
    for (int c = 0; c < 4 && !over(b); c++)
        decode(b, m, 1, contexts[c]);
    if (!over(b))
        decode(b, m, MAX_BATCH, 1024);
    for (int i = 0; i < 3 && !over(b); i++)
        prefill(b, m, prompts[i]);
    for (int i = 1; i < 4 && !over(b); i++)
        for (int c = 0; c < 4 && !over(b); c++)
            decode(b, m, batches[i], contexts[c]);
}

static void measure_tiny(struct bench *b, struct model *m) {
    decode(b, m, 1, 0);
    decode(b, m, 3, 300);
    decode(b, m, MAX_BATCH, 300); /* does not fit */
    prefill(b, m, 80);
}

static void bench_model(struct bench *b, const struct synthetic_shape *shape, size_t format) {
    char err[400] = "out of memory";
    struct model m = {.shape = shape,
                      .format = formats[format].name,
                      .type = formats[format].type,
                      .max_rows = b->tiny ? 64 : 2048,
                      .max_context = b->tiny ? 512 : 131072};
    int wanted = b->tiny ? TINY_PAGES : 2049 * MAX_BATCH;
    if (over(b)) {
        say("\n%s %s: skipped: the time is over\n", shape->name, m.format);
        return;
    }
    if (!open_model(&m, wanted, err, sizeof err)) {
        say("\n%s %s: skipped: %s\n", shape->name, m.format, err);
        return;
    }
    if (fill_cache(&m) < 0)
        say("  %s\n", gpu_failure());
    else if (b->tiny)
        measure_tiny(b, &m);
    else
        measure(b, &m);
    close_model(&m);
}

static int usage(void) {
    (void)fprintf(stderr, "usage: bench_gpu [--tiny] [--seconds N] [--json FILE]\n");
    return 64;
}

int main(int argc, char **argv) {
    struct bench b = {.until = clock_mono_ns() + (uint64_t)300 * 1000000000};
    char describe[96] = "", err[300] = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--tiny") == 0)
            b.tiny = true;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            b.until = clock_mono_ns() + strtoull(argv[++i], NULL, 10) * 1000000000;
        else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc)
            b.json = fopen(argv[++i], "w");
        else
            return usage();
    }
    if (gpu_open(0, describe, sizeof describe, err, sizeof err) < 0 || measure_copy(&b) < 0) {
        say("%s%s\n", err, gpu_failure());
        return 1;
    }
    say("%s: a copy within its memory reads and writes %.1f GB/s\n", describe, b.copy / 1e9);
    if (b.json != NULL)
        (void)fprintf(b.json, "{\"device\": \"%s\", \"copy_gb_per_second\": %.2f}\n", describe, b.copy / 1e9);
    if (b.tiny) {
        for (size_t i = 0; i < N_FORMATS; i++)
            bench_model(&b, &synthetic_tiny, i);
    } else {
        static const size_t order[] = {0, 1, 3, 2};
        for (size_t i = 0; i < N_FORMATS; i++)
            bench_model(&b, &synthetic_8b, order[i]);
        bench_model(&b, &synthetic_70b, 1);
        bench_model(&b, &synthetic_70b, 3);
        bench_model(&b, &synthetic_70b, 2);
    }
    if (b.json != NULL)
        (void)fclose(b.json);
    return gpu_failure()[0] != '\0' ? 1 : 0;
}

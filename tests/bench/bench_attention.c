/* How fast the CPU device's attention reads keys and values while sessions decode.
 *
 *   bench_attention [-t THREADS] [-g KV_HEADS] [-q HEADS] [-e HEAD_DIM] [-n DEPTH] [-s SECONDS] [-i ISA]
 *
 * One, four and sixteen sessions, each of which writes the token behind DEPTH - 1 others (default 512); 16
 * layers; keys and values in so many places that they do not fit into a cache (between two steps the weights
 * would have passed through it). GB/s of keys and values, median and best of
 * the runs that fit into SECONDS, and percent of what the machine reads at most, which is measured again
 * before each line: a shared machine's memory is not the same twice. The default shape is that of a Llama of
 * one billion parameters: 32 heads of 64 that share 8. -i takes other instructions than the best this machine
 * has (avx512, avx2, portable). */
#include "base/clock.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/device.h"
#include "kernels/cpu/limits.h"
#include "kernels/dtype.h"
#include "tests/kernels/random_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_SESSIONS 16
#define MAX_RUNS     4096
#define N_LAYERS     16
#define WORKING_SET  ((size_t)768 << 20)

struct options {
    int threads, heads, kv_heads, head_dim, depth;
    double seconds;
    const char *isa; /* NULL: the best */
};

static void fail(const char *sentence) {
    (void)fprintf(stderr, "bench_attention: %s\n", sentence);
    exit(1);
}

/* A device whose pages hold numbers. */
struct subject {
    struct kernels_model model;
    struct kernels_device *device;
    int32_t *pages;
    int pages_each; /* of a session */
    int n_pages;
};

static void open_subject(struct subject *s, const struct options *o, enum dtype kv) {
    char err[300] = "";
    struct random_shape shape = {.n_layers = N_LAYERS,
                                 .n_heads = o->heads,
                                 .n_kv_heads = o->kv_heads,
                                 .head_dim = o->head_dim,
                                 .dim = 64,
                                 .ffn_dim = 64,
                                 .n_vocab = 256,
                                 .type = DTYPE_F32,
                                 .seed = 1};
    *s = (struct subject){.pages_each = (o->depth + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS};
    random_model_init(&s->model, &shape);
    size_t page = kernels_page_bytes(&s->model, kv);
    s->n_pages = (int)(WORKING_SET / page);
    if (s->n_pages < MAX_SESSIONS * s->pages_each)
        s->n_pages = MAX_SESSIONS * s->pages_each;
    struct kernels_config config = {.model = s->model,
                                    .max_rows = MAX_SESSIONS,
                                    .max_outputs = 1,
                                    .max_context = o->depth,
                                    .n_pages = s->n_pages,
                                    .kv_type = kv,
                                    .n_threads = o->threads};
    if (cpu_open(&config, o->isa, &s->device, err, sizeof err) < 0)
        fail(err);
    s->pages = malloc((size_t)MAX_SESSIONS * (size_t)s->pages_each * sizeof *s->pages);
    if (s->pages == NULL)
        fail("no memory");
    struct cpu_device *d = (struct cpu_device *)(void *)s->device;
    memset(d->kv, 0x11, d->kv_bytes); /* small numbers in each of the types */
}

static void close_subject(struct subject *s) {
    s->device->ops->close(s->device);
    free(s->pages);
    random_model_finish(&s->model);
}

/* Nanoseconds of the attention of all layers, for sessions that lie from page `first` on. */
static uint64_t run(struct subject *s, const struct options *o, int n_sessions, int first) {
    struct kernels_row rows[MAX_SESSIONS];
    char err[300] = "";
    int32_t output = 0;
    for (int r = 0; r < n_sessions; r++)
        rows[r] = (struct kernels_row){.token = r, .position = o->depth - 1, .table = r};
    for (int i = 0; i < n_sessions * s->pages_each; i++)
        s->pages[i] = (first + i) % s->n_pages;
    struct kernels_batch batch = {.rows = rows,
                                  .n_rows = n_sessions,
                                  .pages = s->pages,
                                  .pages_stride = s->pages_each,
                                  .outputs = &output,
                                  .n_outputs = 1};
    const struct kernels_ops *ops = s->device->ops;
    ops->begin(s->device, &batch);
    ops->embed(s->device);
    ops->attn_in(s->device, 0);
    uint64_t start = clock_mono_ns();
    for (int layer = 0; layer < N_LAYERS; layer++)
        ops->attention(s->device, layer);
    uint64_t took = clock_mono_ns() - start;
    if (ops->sync(s->device, err, sizeof err) < 0)
        fail(err);
    return took;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_sessions(struct subject *s, const struct options *o, enum dtype kv, int n_sessions) {
    static uint64_t took[MAX_RUNS];
    char err[300] = "";
    double limit = 0;
    int n = 0, first = 0;
    if (limits_read(o->threads, (size_t)512 << 20, 3, &limit, err, sizeof err) < 0)
        fail(err);
    uint64_t start = clock_mono_ns();
    while (n < 3 || (n < MAX_RUNS && (double)(clock_mono_ns() - start) * 1e-9 < o->seconds)) {
        took[n++] = run(s, o, n_sessions, first);
        first = (first + n_sessions * s->pages_each) % s->n_pages;
    }
    qsort(took, (size_t)n, sizeof *took, by_size);
    double bytes = (double)kernels_kv_block_bytes(kv, o->head_dim) / KERNELS_PAGE_TOKENS * 2 * o->kv_heads *
                   N_LAYERS * o->depth * n_sessions;
    printf("%-5s %5d %8.1f %4.0f %% %8.1f %8.1f\n", dtype_info(kv)->name, n_sessions,
           bytes / (double)took[n / 2], 100 * bytes / (double)took[n / 2] / (limit * 1e-9),
           bytes / (double)took[0], limit * 1e-9);
    (void)fflush(stdout);
}

static int usage(void) {
    (void)fprintf(stderr, "usage: bench_attention [-t THREADS] [-g KV_HEADS] [-q HEADS] [-e HEAD_DIM] "
                          "[-n DEPTH] [-s SECONDS] [-i ISA]\n");
    return 2;
}

static bool parse(int argc, char **argv, struct options *o) {
    static const char letters[] = "tgqens";
    double value[] = {0, 8, 32, 64, 512, 0.5}; /* in their order */
    *o = (struct options){0};
    for (int c; (c = getopt(argc, argv, "t:g:q:e:n:s:i:")) != -1;) {
        const char *letter = strchr(letters, c);
        if (c == 'i')
            o->isa = optarg;
        else if (letter == NULL)
            return false;
        else
            value[letter - letters] = strtod(optarg, NULL);
    }
    for (int i = 0; i < 6; i++) {
        double least = i == 0 ? 0 : i == 5 ? 1e-3 : 1;
        if (!(value[i] >= least && value[i] <= 1 << 17))
            return false;
    }
    o->threads = (int)value[0];
    o->kv_heads = (int)value[1];
    o->heads = (int)value[2];
    o->head_dim = (int)value[3];
    o->depth = (int)value[4];
    o->seconds = value[5];
    return optind == argc && o->heads % o->kv_heads == 0 && o->head_dim % 2 == 0;
}

int main(int argc, char **argv) {
    static const enum dtype types[] = {DTYPE_F16, DTYPE_F32, DTYPE_Q8_0};
    static const int sessions[] = {1, 4, MAX_SESSIONS};
    struct options o;
    if (!parse(argc, argv, &o))
        return usage();
    printf("%d heads of %d share %d, %d positions, %d threads; GB/s of keys and values\n", o.heads,
           o.head_dim, o.kv_heads, o.depth, pool_threads(o.threads));
    printf("kv    sessions median of limit     best    limit\n");
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        struct subject s;
        open_subject(&s, &o, types[t]);
        for (size_t i = 0; i < sizeof sessions / sizeof sessions[0]; i++)
            print_sessions(&s, &o, types[t], sessions[i]);
        close_subject(&s);
    }
    return 0;
}

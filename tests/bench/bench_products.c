/* Products of stored weights with 1 to 256 rows of activations, ours beside OpenBLAS.
 *
 *   bench_products [-t THREADS] [-n ROWS] [-k COLUMNS] [-s SECONDS] [-p] [-i ISA] [TYPE …]
 *
 * One matrix of 8192 x 2048 (the feed-forward part of a Llama of one billion parameters) of each type, in so
 * many copies that they do not fit into a cache. Three ways, GFLOP/s (a multiplication and an addition are
 * two), best of the runs that fit into SECONDS:
 *
 *   ours       the product of the CPU device as a step runs it, activations rounded to 8 bits where it does
 *   panels     64 rows at a time made F32, then cblas_sgemm, on the same threads: what a device could do
 *              instead
 *   sgemm      cblas_sgemm alone on weights that are F32 already: what panels can be at most
 *
 * With -p our weights lie side by side (kernels/cpu/pack.h), in large pages, as copies do, where the products
 * want that; otherwise as in a file. -i takes other instructions than the best this machine has (avx512,
 * avx2, portable). Beside the ways stands what the machine does at most in F32 and in 8-bit integers. Without
 * OpenBLAS only ours are measured. */
#include "base/clock.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/device.h"
#include "kernels/cpu/limits.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/pool.h"
#include "kernels/dtype.h"
#include "tests/kernels/random_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

#define MAX_ROWS    256
#define MAX_COPIES  128
#define PANEL_ROWS  64
#define WORKING_SET ((size_t)256 << 20)
#define LARGE_PAGE  ((size_t)2 << 20)

struct options {
    int threads, rows, cols;
    double seconds;
    bool packed;
    const char *isa; /* NULL: the best */
};

/* One type: a device, and its matrix in several places. */
struct subject {
    const struct options *o;
    enum dtype type;
    struct kernels_model model;
    struct kernels_device *device;
    struct tensor w[MAX_COPIES];
    int n_copies;
    uint8_t *copies; /* their data */
    float *x, *out;  /* MAX_ROWS x cols, MAX_ROWS x rows */
    struct pool *pool;
    float *panels; /* of each thread: PANEL_ROWS x cols */
    float *f32;    /* the matrix in F32, n_f32 times */
    int n_f32;
};

static void *memory_at(size_t multiple, size_t bytes) {
    void *p = aligned_alloc(multiple, (bytes + multiple - 1) / multiple * multiple);
    if (p == NULL)
        abort();
    return p;
}

static void *memory(size_t bytes) {
    return memory_at(64, bytes);
}

static void fail(const char *sentence) {
    (void)fprintf(stderr, "bench_products: %s\n", sentence);
    exit(1);
}

/* So many that a cache of 260 MB, as there are, does not hold them either. */
static int copies(size_t bytes) {
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t wanted = cache > 0 && (size_t)cache * 4 > WORKING_SET ? (size_t)cache * 4 : WORKING_SET;
    size_t n = (wanted + bytes - 1) / bytes;
    return n > MAX_COPIES ? MAX_COPIES : (int)n;
}

/* The copies, which the device takes for its own where they lie side by side. */
static void place_copies(struct subject *s, const struct tensor *w) {
    struct cpu_device *d = (struct cpu_device *)(void *)s->device;
    bool packed = s->o->packed && d->ops->product_packed != NULL;
    size_t bytes =
        packed ? pack_bytes(s->type, w->rows, w->cols) : dtype_row_bytes(s->type, w->cols) * (size_t)w->rows;
    size_t total = bytes * (size_t)s->n_copies;
    s->copies = memory_at(LARGE_PAGE, total);
    if (packed) {
        (void)madvise(s->copies, total, MADV_HUGEPAGE);
        d->weights = s->copies;
        d->weight_bytes = total;
    }
    for (int i = 0; i < s->n_copies; i++) {
        s->w[i] = *w;
        s->w[i].data = s->copies + bytes * (size_t)i;
        if (packed)
            pack_rows(s->type, w->data, w->rows, w->cols, s->copies + bytes * (size_t)i);
        else
            memcpy(s->copies + bytes * (size_t)i, w->data, bytes);
    }
}

#ifdef HAVE_OPENBLAS
static void place_f32(struct subject *s, const struct tensor *w) {
    size_t cols = (size_t)w->cols, row_bytes = dtype_row_bytes(s->type, w->cols);
    size_t matrix = (size_t)w->rows * cols;
    s->n_f32 = copies(matrix * sizeof(float));
    s->f32 = memory(matrix * sizeof(float) * (size_t)s->n_f32);
    for (int i = 0; i < s->n_f32; i++)
        for (size_t r = 0; r < (size_t)w->rows; r++)
            convert_row(s->type, (const uint8_t *)w->data + row_bytes * r, (int)cols,
                        s->f32 + matrix * (size_t)i + r * cols);
}
#endif

static void open_subject(struct subject *s, const struct options *o, enum dtype type) {
    struct random_shape shape = {.n_layers = 1,
                                 .n_heads = 4,
                                 .n_kv_heads = 4,
                                 .head_dim = 64,
                                 .dim = o->cols,
                                 .ffn_dim = o->rows,
                                 .n_vocab = 256,
                                 .type = type,
                                 .seed = 1};
    char err[300] = "";
    *s = (struct subject){.o = o, .type = type};
    random_model_init(&s->model, &shape);
    struct kernels_config config = {.model = s->model,
                                    .max_rows = MAX_ROWS,
                                    .max_outputs = 1,
                                    .max_context = MAX_ROWS,
                                    .n_pages = MAX_ROWS / KERNELS_PAGE_TOKENS,
                                    .kv_type = DTYPE_F16,
                                    .n_threads = o->threads};
    if (cpu_open(&config, o->isa, &s->device, err, sizeof err) < 0 ||
        pool_create(o->threads, 0, &s->pool, err, sizeof err) < 0)
        fail(err);
    const struct tensor *w = &s->model.layers[0].w_gate;
    s->n_copies = copies(dtype_row_bytes(type, o->cols) * (size_t)o->rows);
    place_copies(s, w);
#ifdef HAVE_OPENBLAS
    place_f32(s, w);
#endif
    s->x = memory((size_t)MAX_ROWS * (size_t)(o->cols + 16) * sizeof *s->x);
    s->out = memory((size_t)MAX_ROWS * (size_t)o->rows * sizeof *s->out);
    s->panels = memory((size_t)pool_n_threads(s->pool) * PANEL_ROWS * (size_t)o->cols * sizeof *s->panels);
    uint64_t seed = 7;
    for (size_t i = 0; i < (size_t)MAX_ROWS * (size_t)(o->cols + 16); i++)
        s->x[i] = random_float(&seed);
}

static void close_subject(struct subject *s) {
    ((struct cpu_device *)(void *)s->device)->weights = NULL;
    free(s->copies);
    free(s->f32);
    free(s->x);
    free(s->out);
    free(s->panels);
    pool_destroy(s->pool);
    s->device->ops->close(s->device);
    random_model_finish(&s->model);
}

/* ---- the three ways ---- */

typedef void way_fn(struct subject *s, int n_rows, int i);

static void ours(struct subject *s, int n_rows, int i) {
    struct cpu_device *d = (struct cpu_device *)(void *)s->device;
    struct products p = {.d = d,
                         .w = {&s->w[i % s->n_copies]},
                         .out = {s->out},
                         .out_stride = {(size_t)s->o->rows},
                         .n = 1,
                         .input = s->x,
                         .input_stride = (size_t)s->o->cols + 16, /* as the device's rows */
                         .n_cols = n_rows,
                         .k = s->o->cols};
    cpu_run_products(&p);
}

#ifdef HAVE_OPENBLAS
struct panel_job {
    struct subject *s;
    const struct tensor *w;
    int n_rows;
};

static void panel_chunk(void *arg, int chunk, int thread) {
    const struct panel_job *job = arg;
    struct subject *s = job->s;
    int cols = s->o->cols, first = chunk * PANEL_ROWS;
    int rows = s->o->rows - first < PANEL_ROWS ? s->o->rows - first : PANEL_ROWS;
    size_t row_bytes = dtype_row_bytes(s->type, cols);
    float *panel = s->panels + (size_t)thread * PANEL_ROWS * (size_t)cols;
    for (int r = 0; r < rows; r++)
        convert_row(s->type, (const uint8_t *)job->w->data + row_bytes * (size_t)(first + r), cols,
                    panel + (size_t)r * (size_t)cols);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, job->n_rows, rows, cols, 1, s->x, cols, panel, cols,
                0, s->out + first, s->o->rows);
}

static void panels(struct subject *s, int n_rows, int i) {
    struct panel_job job = {s, &s->w[i % s->n_copies], n_rows};
    openblas_set_num_threads(1);
    pool_run(s->pool, panel_chunk, &job, (s->o->rows + PANEL_ROWS - 1) / PANEL_ROWS);
}

static void sgemm(struct subject *s, int n_rows, int i) {
    const float *w = s->f32 + (size_t)(i % s->n_f32) * (size_t)s->o->rows * (size_t)s->o->cols;
    openblas_set_num_threads(pool_n_threads(s->pool));
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n_rows, s->o->rows, s->o->cols, 1, s->x, s->o->cols,
                w, s->o->cols, 0, s->out, s->o->rows);
}
#endif

/* GFLOP/s, the best of all runs. */
static double measure(struct subject *s, way_fn *way, int n_rows) {
    uint64_t best = UINT64_MAX, start = clock_mono_ns();
    way(s, n_rows, 0);
    for (int i = 1; i < 4 || (double)(clock_mono_ns() - start) * 1e-9 < s->o->seconds; i++) {
        uint64_t from = clock_mono_ns();
        way(s, n_rows, i);
        uint64_t took = clock_mono_ns() - from;
        best = took < best ? took : best;
    }
    return 2.0 * n_rows * s->o->rows * s->o->cols / (double)best;
}

static void print_type(const struct options *o, enum dtype type, double f32, double integers) {
    static const int counts[] = {1, 4, 16, 64, 256};
    struct subject s;
    open_subject(&s, o, type);
    bool rounded = dtype_info(type)->block_elements > 1 && integers > 0;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        double own = measure(&s, ours, counts[i]);
        printf("%-5s %5d %8.1f %4.0f %%", dtype_info(type)->name, counts[i], own,
               100 * own / (rounded ? integers : f32));
#ifdef HAVE_OPENBLAS
        double panel = measure(&s, panels, counts[i]), alone = measure(&s, sgemm, counts[i]);
        printf(" %9.1f %4.0f %% %9.1f %4.0f %% %7.2f", panel, 100 * panel / f32, alone, 100 * alone / f32,
               own / panel);
#endif
        printf("\n");
        (void)fflush(stdout);
    }
    close_subject(&s);
}

static int usage(void) {
    (void)fprintf(stderr,
                  "usage: bench_products [-t THREADS] [-n ROWS] [-k COLUMNS] [-s SECONDS] [-p] [-i ISA] "
                  "[TYPE …]\n");
    return 2;
}

static bool parse(int argc, char **argv, struct options *o) {
    *o = (struct options){.rows = 8192, .cols = 2048, .seconds = 0.2};
    for (int c; (c = getopt(argc, argv, "t:n:k:s:pi:")) != -1;) {
        if (c == 'p' || c == 'i') {
            o->packed = o->packed || c == 'p';
            o->isa = c == 'i' ? optarg : o->isa;
            continue;
        }
        double value = c == '?' ? 0 : strtod(optarg, NULL);
        if (!(value > 0 && value <= 1 << 20))
            return false;
        if (c == 't')
            o->threads = (int)value;
        else if (c == 's')
            o->seconds = value;
        else
            *(c == 'n' ? &o->rows : &o->cols) = (int)value;
    }
    return o->cols % 256 == 0 && o->rows % 256 == 0;
}

int main(int argc, char **argv) {
    struct options o;
    double f32 = 0, integers = 0;
    char err[300] = "";
    if (!parse(argc, argv, &o))
        return usage();
    for (int i = 0; i < 9; i++) { /* one is short, and other work makes it smaller */
        double f = 0, n = 0;
        if (limits_f32(o.threads, &f, err, sizeof err) < 0)
            fail(err);
        if (limits_int8(o.threads, &n, err, sizeof err) < 0)
            n = 0;
        f32 = f > f32 ? f : f32;
        integers = n > integers ? n : integers;
    }
    printf("%d x %d, %d threads; at most %.1f GFLOP/s in F32 (%s), %.1f in 8-bit integers (%s)\n", o.rows,
           o.cols, pool_threads(o.threads), f32 * 1e-9, limits_f32_name(), integers * 1e-9,
           limits_int8_name());
#ifdef HAVE_OPENBLAS
    printf("%s, kernels for %s\n", openblas_get_config(), openblas_get_corename());
    printf("type   rows     ours          panels           sgemm           ours/panels\n");
#else
    printf("OpenBLAS is not there (apt-get install libopenblas-dev, then cmake again): only ours are "
           "measured.\n");
    printf("type   rows     ours\n");
#endif
    for (int i = 0; i < DTYPE_COUNT; i++) {
        bool wanted = optind == argc;
        for (int a = optind; a < argc; a++)
            wanted = wanted || strcasecmp(argv[a], dtype_info((enum dtype)i)->name) == 0;
        if (wanted)
            print_type(&o, (enum dtype)i, f32 * 1e-9, integers * 1e-9);
    }
    return 0;
}

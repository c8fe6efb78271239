/* Prefill and decode speed of the engine, through its public calls.
 *
 *   bench_engine -m FILE | -r tiny|small|100m|1b  model file, or random weights of that shape
 *                [-k q8_0|q4_k|f16|…]         element type of random weights (q8_0)
 *                [-t THREADS] [-p PROMPT] [-n NEW] [-s SESSIONS] [-x RUNS]
 *                [-b MIB]                     memory to measure the read bandwidth with (512; 0: do not)
 *
 * Prints one line of JSON: medians over the runs, memory, and how much of the machine's read bandwidth
 * decoding reached (weights, keys and values read per step, times steps per second; above 100 % when they
 * stay in a cache).
 * The bandwidth is the median of readings before the first run and after each: on a machine shared with
 * others it changes from second to second, and a run is compared with what it had. Every run has other
 * tokens, so no prefix is found. */
#include "base/clock.h"
#include "engine/local.h"
#include "engine/model.h"
#include "kernels/cpu/limits.h"
#include "kernels/dtype.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_RUNS 64
#define READINGS 5 /* of the bandwidth, at a time */

struct options {
    const char *file, *random, *type;
    int threads, prompt, new_tokens, sessions, runs, bandwidth_mib;
};

static int usage(void) {
    (void)fprintf(stderr,
                  "usage: bench_engine -m FILE | -r tiny|small|100m|1b [-k TYPE] [-t THREADS] [-p PROMPT] "
                  "[-n NEW] [-s SESSIONS] [-x RUNS] [-b MIB]\n");
    return 2;
}

/* A positive number, or 0 (which no option takes but -t and -b). */
static int number(const char *text) {
    char *end;
    long n = strtol(text, &end, 10);
    return *end == '\0' && n > 0 && n <= 1000000 ? (int)n : 0;
}

static int parse(int argc, char **argv, struct options *o) {
    *o = (struct options){
        .type = "q8_0", .prompt = 512, .new_tokens = 128, .sessions = 1, .runs = 5, .bandwidth_mib = 512};
    int c;
    while ((c = getopt(argc, argv, "m:r:k:t:p:n:s:x:b:")) != -1) {
        switch (c) {
        case 'm':
            o->file = optarg;
            break;
        case 'r':
            o->random = optarg;
            break;
        case 'k':
            o->type = optarg;
            break;
        case 't':
            o->threads = number(optarg);
            break;
        case 'p':
            o->prompt = number(optarg);
            break;
        case 'n':
            o->new_tokens = number(optarg);
            break;
        case 's':
            o->sessions = number(optarg);
            break;
        case 'x':
            o->runs = number(optarg);
            break;
        case 'b':
            o->bandwidth_mib = number(optarg);
            break;
        default:
            return -1;
        }
    }
    bool fits = o->prompt > 0 && o->new_tokens > 0 && o->sessions > 0 && o->sessions <= HARNESS_SESSIONS &&
                o->runs > 0 && o->runs <= MAX_RUNS;
    return (o->file != NULL) != (o->random != NULL) && fits ? 0 : -1;
}

static struct random_shape shape_of(const struct options *o) {
    struct random_shape tiny = {.n_layers = 6,
                                .n_heads = 8,
                                .n_kv_heads = 2,
                                .head_dim = 32,
                                .dim = 256,
                                .ffn_dim = 704,
                                .n_vocab = 2048,
                                .seed = 1};
    struct random_shape small = {.n_layers = 4,
                                 .n_heads = 8,
                                 .n_kv_heads = 2,
                                 .head_dim = 32,
                                 .dim = 256,
                                 .ffn_dim = 640,
                                 .n_vocab = 2048,
                                 .seed = 1};
    struct random_shape llama_100m = {.n_layers = 12,
                                      .n_heads = 12,
                                      .n_kv_heads = 4,
                                      .head_dim = 64,
                                      .dim = 768,
                                      .ffn_dim = 2048,
                                      .n_vocab = 16384,
                                      .seed = 1};
    struct random_shape llama_1b = {.n_layers = 16,
                                    .n_heads = 32,
                                    .n_kv_heads = 8,
                                    .head_dim = 64,
                                    .dim = 2048,
                                    .ffn_dim = 8192,
                                    .n_vocab = 32768,
                                    .seed = 1};
    struct random_shape shape = strcmp(o->random, "1b") == 0      ? llama_1b
                                : strcmp(o->random, "100m") == 0  ? llama_100m
                                : strcmp(o->random, "small") == 0 ? small
                                                                  : tiny;
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (strcasecmp(o->type, dtype_info((enum dtype)i)->name) == 0)
            shape.type = (enum dtype)i;
    return shape;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

/* One run of all sessions; tokens per second of both parts. */
static void run(struct harness *h, const struct options *o, int n_vocab, int salt, double *prefill,
                double *decode) {
    struct engine_session *s[HARNESS_SESSIONS];
    int32_t *ids = malloc((size_t)o->prompt * sizeof *ids);
    if (ids == NULL)
        abort();
    uint64_t from = clock_mono_ns();
    for (int i = 0; i < o->sessions; i++) {
        for (int j = 0; j < o->prompt; j++)
            ids[j] = (int32_t)(((unsigned)j * 2654435761u + (unsigned)(salt * 64 + i) * 40503u) %
                               (unsigned)n_vocab);
        s[i] = harness_session(h);
        harness_append_tokens(s[i], ids, (size_t)o->prompt);
        harness_generate(h, s[i], NULL, 1);
    }
    for (int i = 0; i < o->sessions; i++)
        harness_wait(h, s[i]);
    *prefill = (double)o->prompt * o->sessions / ((double)(clock_mono_ns() - from) * 1e-9);
    from = clock_mono_ns();
    int made = 0;
    for (int i = 0; i < o->sessions; i++)
        harness_generate(h, s[i], NULL, o->new_tokens);
    for (int i = 0; i < o->sessions; i++)
        made += harness_wait(h, s[i])->n_tokens;
    *decode = made / ((double)(clock_mono_ns() - from) * 1e-9);
    for (int i = 0; i < o->sessions; i++)
        harness_destroy(h, s[i]);
    free(ids);
}

/* Most memory this program has held since it began or since forget_peak(), in MiB. Not getrusage(): its
 * figure begins with that of whoever started the program. */
static double peak_mib(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (f != NULL)
        (void)fclose(f);
    return (double)kib / 1024;
}

/* clear_refs: proc(5). */
static void forget_peak(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f != NULL) {
        (void)fputs("5", f);
        (void)fclose(f);
    }
}

/* Readings of the bandwidth: READINGS more behind the n there are. The memory they take is not in *peak. */
static int read_bandwidth(const struct options *o, double *reads, int n, double *peak) {
    char err[200] = "";
    double now = peak_mib();
    *peak = now > *peak ? now : *peak;
    for (int i = 0; i < READINGS && o->bandwidth_mib > 0; i++, n++)
        if (limits_read(o->threads, (size_t)o->bandwidth_mib << 20, 1, &reads[n], err, sizeof err) < 0) {
            (void)fprintf(stderr, "bench_engine: %s\n", err);
            reads[n] = 0;
        }
    forget_peak();
    return n;
}

static size_t bytes_of(const struct tensor *t) {
    return dtype_row_bytes(t->type, t->cols) * (size_t)t->rows;
}

/* Bytes of weights that one decode step reads: all but the embedding, of which it reads one row (a tied one
 * is read as the head). */
static size_t bytes_per_step(const struct model *m) {
    size_t n = bytes_of(&m->output);
    for (int l = 0; l < m->n_layers; l++) {
        const struct model_layer *y = &m->layers[l];
        const struct tensor *all[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            n += bytes_of(all[i]);
    }
    return n;
}

static void print(const struct options *o, const struct engine_info *info, const struct model *m,
                  double prefill, double decode, double read, double peak) {
    double mib = 1024.0 * 1024.0, step = (double)bytes_per_step(m);
    /* Keys and values of the prompt and of half of what is written, of each session. */
    double kv = (double)info->kv_bytes_per_token * (o->prompt + 0.5 * o->new_tokens);
    printf(
        "{\"model\": \"%s\", \"format\": \"%s\", \"device\": \"%s\", \"prompt\": %d, \"new\": %d, "
        "\"sessions\": %d, "
        "\"prefill_tokens_per_s\": %.1f, \"decode_tokens_per_s\": %.1f, \"weights_read_per_step_mib\": %.1f, "
        "\"kv_bytes_per_token\": %zu, \"peak_memory_mib\": %.1f",
        o->file != NULL ? o->file : o->random, info->format, info->device, o->prompt, o->new_tokens,
        o->sessions, prefill, decode, step / mib, info->kv_bytes_per_token, peak);
    if (o->bandwidth_mib > 0) {
        double reached = (step / o->sessions + kv) * decode;
        printf(
            ", \"read_bandwidth_gb_per_s\": %.1f, \"decode_gb_per_s\": %.2f, \"percent_of_bandwidth\": %.0f",
            read * 1e-9, reached * 1e-9, read > 0 ? 100 * reached / read : 0);
    }
    printf("}\n");
}

int main(int argc, char **argv) {
    struct options o;
    if (parse(argc, argv, &o) < 0)
        return usage();
    struct harness h;
    harness_init(&h);
    struct engine_config config = {.n_threads = o.threads,
                                   .weights_first = true,
                                   .max_context = o.prompt + o.new_tokens + 8,
                                   .wake = harness_wake,
                                   .wake_arg = &h};
    struct random_engine weights;
    struct model *m = &weights.model;
    char err[300] = "";
    int rc = 0;
    if (o.random != NULL) {
        struct random_shape shape = shape_of(&o);
        random_engine_init(&weights, &shape, 131072);
    } else {
        rc = model_open_weights(o.file, &m, err, sizeof err);
    }
    if (rc == 0) {
        m->n_eog_ids = 0; /* every run is to its full length */
        rc = local_open_model(&config, m, false, &h.engine, err, sizeof err);
    }
    if (rc < 0) {
        (void)fprintf(stderr, "bench_engine: %s\n", err);
        return 1;
    }
    struct engine_info info;
    engine_info(h.engine, &info);
    double prefill[MAX_RUNS], decode[MAX_RUNS], reads[(MAX_RUNS + 1) * READINGS] = {0}, peak = 0;
    int n_reads = read_bandwidth(&o, reads, 0, &peak);
    for (int i = 0; i < o.runs; i++) {
        run(&h, &o, info.n_vocab, i, &prefill[i], &decode[i]);
        n_reads = read_bandwidth(&o, reads, n_reads, &peak);
    }
    print(&o, &info, m, median(prefill, o.runs), median(decode, o.runs),
          n_reads > 0 ? median(reads, n_reads) : 0, peak);
    harness_finish(&h);
    if (o.random != NULL)
        random_engine_finish(&weights);
    else
        model_close(m);
    return 0;
}

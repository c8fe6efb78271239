/* Prefill and decode speed of the engine, through its public calls.
 *
 *   bench_engine -m FILE | -r tiny|small|100m|1b  model file, or random weights of that shape
 *                [-k q8_0|q4_k|f16|…]         element type of random weights (q8_0)
 *                [-t THREADS] [-p PROMPT] [-n NEW] [-s SESSIONS] [-x RUNS]
 *                [-b MIB]                     memory to measure the read bandwidth with (512; 0: do not)
 *                [-i ISA]                     avx512, avx2 or portable; else the best this machine has
 *                [-c]                         sessions in turns with one alone
 *
 * Prints one line of JSON: medians over the runs, memory, how much of the machine's read bandwidth decoding
 * reached (weights, keys and values read per step, times steps per second; above 100 % when they stay in a
 * cache), and with -c how many times as fast as one session all of them are together.
 * On a machine shared with others the bandwidth changes within seconds, to half and back. So decoding stops
 * every PIECE tokens: for the bandwidth to be read, and for the session alone to take its turn. What is
 * printed of both is the median of what each piece was beside its neighbours. Every run has other tokens, so
 * no prefix is found. */
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

#define MAX_RUNS   64
#define MAX_TOKENS 4096
#define PIECE      16 /* tokens of a session */
#define MAX_PIECES (MAX_TOKENS / PIECE)

struct options {
    const char *file, *random, *type, *isa;
    int threads, prompt, new_tokens, sessions, runs, bandwidth_mib;
    bool company;
};

/* Of all runs. A piece's rates are those of all sessions, of the one alone and of reading before and behind
 * it; the last two are there when they are wanted. */
struct result {
    double prefill[MAX_RUNS], decode[MAX_RUNS], alone[MAX_RUNS]; /* tokens/s */
    double reads[MAX_RUNS * (MAX_PIECES + 1)];                   /* bytes/s */
    double shares[MAX_RUNS * MAX_PIECES];                        /* bytes of a piece per byte of reading */
    double times[MAX_RUNS * MAX_PIECES];                         /* of the one alone */
    int n_reads, n_shares, n_times;
    double peak; /* MiB */
};

static int usage(void) {
    (void)fprintf(stderr,
                  "usage: bench_engine -m FILE | -r tiny|small|100m|1b [-k TYPE] [-t THREADS] [-p PROMPT] "
                  "[-n NEW] [-s SESSIONS] [-x RUNS] [-b MIB] [-i ISA] [-c]\n");
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
    while ((c = getopt(argc, argv, "m:r:k:t:p:n:s:x:b:i:c")) != -1) {
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
        case 'i':
            o->isa = optarg;
            break;
        case 'c':
            o->company = true;
            break;
        default:
            return -1;
        }
    }
    bool fits = o->prompt > 0 && o->new_tokens > 0 && o->new_tokens <= MAX_TOKENS && o->sessions > 0 &&
                o->sessions + (o->company ? 1 : 0) <= HARNESS_SESSIONS && o->runs > 0 && o->runs <= MAX_RUNS;
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

/* Bytes per second; 0 when it is not to be measured, or cannot be. The memory it takes is not in the peak. */
static double read_bandwidth(const struct options *o, struct result *r) {
    char err[200] = "";
    double now = peak_mib(), read = 0;
    r->peak = now > r->peak ? now : r->peak;
    if (o->bandwidth_mib == 0)
        return 0;
    if (limits_read(o->threads, (size_t)o->bandwidth_mib << 20, 1, &read, err, sizeof err) < 0)
        (void)fprintf(stderr, "bench_engine: %s\n", err);
    else
        r->reads[r->n_reads++] = read;
    forget_peak();
    return read;
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

/* Tokens per second of n sessions that write `tokens` each. */
static double write_tokens(struct harness *h, struct engine_session **s, int n, int tokens) {
    uint64_t from = clock_mono_ns();
    int made = 0;
    for (int i = 0; i < n; i++)
        harness_generate(h, s[i], NULL, tokens);
    for (int i = 0; i < n; i++)
        made += harness_wait(h, s[i])->n_tokens;
    return made / ((double)(clock_mono_ns() - from) * 1e-9);
}

/* Tokens per second. */
static double read_prompts(struct harness *h, const struct options *o, int n_vocab, int salt,
                           struct engine_session **s, int n) {
    int32_t *ids = malloc((size_t)o->prompt * sizeof *ids);
    if (ids == NULL)
        abort();
    uint64_t from = clock_mono_ns();
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < o->prompt; j++)
            ids[j] = (int32_t)(((unsigned)j * 2654435761u + (unsigned)(salt * 64 + i) * 40503u) %
                               (unsigned)n_vocab);
        s[i] = harness_session(h);
        harness_append_tokens(s[i], ids, (size_t)o->prompt);
        harness_generate(h, s[i], NULL, 1);
    }
    for (int i = 0; i < n; i++)
        harness_wait(h, s[i]);
    free(ids);
    return (double)o->prompt * n / ((double)(clock_mono_ns() - from) * 1e-9);
}

/* bytes: read for a token, its share of the weights among them. */
static void run(struct harness *h, const struct options *o, int n_vocab, int i, double bytes,
                struct result *r) {
    struct engine_session *s[HARNESS_SESSIONS];
    const int n = o->sessions, size = o->bandwidth_mib > 0 || o->company ? PIECE : o->new_tokens;
    double all = 0, alone = 0; /* seconds of all sessions, and of the one alone */
    r->prefill[i] = read_prompts(h, o, n_vocab, i, s, n + (o->company ? 1 : 0));
    double before = read_bandwidth(o, r);
    for (int made = 0; made < o->new_tokens; made += size) {
        const int tokens = o->new_tokens - made < size ? o->new_tokens - made : size;
        double rate = write_tokens(h, s, n, tokens);
        all += tokens * n / rate;
        if (o->company) {
            double one = write_tokens(h, s + n, 1, tokens);
            alone += tokens / one;
            r->times[r->n_times++] = rate / one;
        }
        double behind = read_bandwidth(o, r);
        if (before > 0 && behind > 0)
            r->shares[r->n_shares++] = bytes * rate / ((before + behind) / 2);
        before = behind;
    }
    r->decode[i] = o->new_tokens * n / all;
    r->alone[i] = o->company ? o->new_tokens / alone : 0;
    for (int j = 0; j < n + (o->company ? 1 : 0); j++)
        harness_destroy(h, s[j]);
}

static void print(const struct options *o, const struct engine_info *info, const struct model *m,
                  double bytes, struct result *r) {
    double decode = median(r->decode, o->runs);
    printf(
        "{\"model\": \"%s\", \"format\": \"%s\", \"device\": \"%s\", \"prompt\": %d, \"new\": %d, "
        "\"sessions\": %d, "
        "\"prefill_tokens_per_s\": %.1f, \"decode_tokens_per_s\": %.1f, \"weights_read_per_step_mib\": %.1f, "
        "\"kv_bytes_per_token\": %zu, \"peak_memory_mib\": %.1f",
        o->file != NULL ? o->file : o->random, info->format, info->device, o->prompt, o->new_tokens,
        o->sessions, median(r->prefill, o->runs), decode, (double)bytes_per_step(m) / 1048576,
        info->kv_bytes_per_token, r->peak);
    if (o->company)
        printf(", \"alone_tokens_per_s\": %.1f, \"times_alone\": %.2f", median(r->alone, o->runs),
               median(r->times, r->n_times));
    if (r->n_shares > 0)
        printf(
            ", \"read_bandwidth_gb_per_s\": %.1f, \"decode_gb_per_s\": %.2f, \"percent_of_bandwidth\": %.0f",
            median(r->reads, r->n_reads) * 1e-9, bytes * decode * 1e-9, 100 * median(r->shares, r->n_shares));
    printf("}\n");
}

int main(int argc, char **argv) {
    struct options o;
    if (parse(argc, argv, &o) < 0)
        return usage();
    struct harness h;
    harness_init(&h);
    struct engine_config config = {.n_threads = o.threads,
                                   .isa = o.isa,
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
    static struct result r;
    /* The weights; keys and values of the prompt and of half of what is written. */
    double bytes = (double)bytes_per_step(m) / o.sessions +
                   (double)info.kv_bytes_per_token * (o.prompt + 0.5 * o.new_tokens);
    for (int i = 0; i < o.runs; i++)
        run(&h, &o, info.n_vocab, i, bytes, &r);
    print(&o, &info, m, bytes, &r);
    harness_finish(&h);
    if (o.random != NULL)
        random_engine_finish(&weights);
    else
        model_close(m);
    return 0;
}

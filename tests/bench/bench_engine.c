/* Prefill and decode speed of the engine, through its public calls.
 *
 *   bench_engine -m FILE | -r tiny|1b   model file, or random weights of that shape
 *                [-k q8_0|f16|bf16|f32] element type of random weights (q8_0)
 *                [-t THREADS] [-p PROMPT] [-n NEW] [-s SESSIONS] [-x RUNS]
 *
 * Prints one line of JSON: medians over the runs. Every run has other tokens, so no prefix is found. */
#include "base/clock.h"
#include "engine/local.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_RUNS 64

struct options {
    const char *file, *random, *type;
    int threads, prompt, new_tokens, sessions, runs;
};

static int usage(void) {
    (void)fprintf(stderr,
                  "usage: bench_engine -m FILE | -r tiny|1b [-k q8_0|f16|bf16|f32] [-t THREADS] [-p PROMPT] "
                  "[-n NEW] [-s SESSIONS] [-x RUNS]\n");
    return 2;
}

/* A positive number, or 0 (which no option takes but -t). */
static int number(const char *text) {
    char *end;
    long n = strtol(text, &end, 10);
    return *end == '\0' && n > 0 && n <= 1000000 ? (int)n : 0;
}

static int parse(int argc, char **argv, struct options *o) {
    *o = (struct options){.type = "q8_0", .prompt = 512, .new_tokens = 128, .sessions = 1, .runs = 5};
    int c;
    while ((c = getopt(argc, argv, "m:r:k:t:p:n:s:x:")) != -1) {
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
    struct random_shape llama_1b = {.n_layers = 16,
                                    .n_heads = 32,
                                    .n_kv_heads = 8,
                                    .head_dim = 64,
                                    .dim = 2048,
                                    .ffn_dim = 8192,
                                    .n_vocab = 32768,
                                    .seed = 1};
    struct random_shape shape = strcmp(o->random, "1b") == 0 ? llama_1b : tiny;
    static const char *const names[DTYPE_COUNT] = {"f32", "f16", "bf16", "q8_0"};
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (strcmp(o->type, names[i]) == 0)
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

int main(int argc, char **argv) {
    struct options o;
    if (parse(argc, argv, &o) < 0)
        return usage();
    struct harness h;
    harness_init(&h);
    struct engine_config config = {.model_path = o.file,
                                   .n_threads = o.threads,
                                   .max_context = o.prompt + o.new_tokens + 8,
                                   .wake = harness_wake,
                                   .wake_arg = &h};
    struct random_engine weights;
    char err[300] = "";
    int rc;
    if (o.random != NULL) {
        struct random_shape shape = shape_of(&o);
        random_engine_init(&weights, &shape, 131072);
        rc = local_open_model(&config, &weights.model, false, &h.engine, err, sizeof err);
    } else {
        rc = engine_open(&config, &h.engine, err, sizeof err);
    }
    if (rc < 0) {
        (void)fprintf(stderr, "bench_engine: %s\n", err);
        return 1;
    }
    struct engine_info info;
    engine_info(h.engine, &info);
    double prefill[MAX_RUNS], decode[MAX_RUNS];
    for (int i = 0; i < o.runs; i++)
        run(&h, &o, info.n_vocab, i, &prefill[i], &decode[i]);
    printf("{\"model\": \"%s\", \"format\": \"%s\", \"device\": \"%s\", \"prompt\": %d, \"new\": %d, "
           "\"sessions\": %d, "
           "\"prefill_tokens_per_s\": %.1f, \"decode_tokens_per_s\": %.1f}\n",
           o.file != NULL ? o.file : o.random, info.format, info.device, o.prompt, o.new_tokens, o.sessions,
           median(prefill, o.runs), median(decode, o.runs));
    harness_finish(&h);
    if (o.random != NULL)
        random_engine_finish(&weights);
    return 0;
}

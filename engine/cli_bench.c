#include "engine/cli_bench.h"

#include "base/help.h"
#include "engine/bench.h"
#include "engine/cli_bench_print.h"
#include "engine/fit.h"
#include "engine/local.h"
#include "kernels/cpu/limits.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_LIST         16
#define MAX_TESTS        256
#define MAX_TOKENS       131072
#define MAX_BATCH        256
#define REPETITIONS      5                     /* as llama-bench */
#define READ_BYTES       ((uint64_t)256 << 20) /* or eight times the last cache, if that is more */
#define READ_ROUNDS      3
#define MAX_OUTPUT_BYTES ((size_t)1 << 20)

struct list {
    int v[MAX_LIST];
    int n;
    bool given;
};

struct options {
    const char *model, *gpu_module;
    enum engine_device device;
    struct gpus gpus;
    enum engine_kv kv;
    int n_threads, repetitions;
    struct list prompts, news, depths, batches;
    bool json, membw, peak;
};

static int usage(FILE *to) {
    (void)fprintf(
        to,
        "usage: hermesd bench [-m MODEL] [-p N,N] [-n N,N] [-d N,N] [-b N,N] [-r N] [-t N]\n"
        "                     [--device auto|cpu|cuda] [--devices N,N] [--cuda-module FILE]\n"
        "                     [--kv f16|f32|q8] [--json]\n"
        "       hermesd bench --membw [--peak] [-t N] [--json]\n"
        "  -m MODEL   GGUF file or Hugging Face folder; else the one the daemon would take\n"
        "  -p N,N     prompts to read (pp512, pp2048); 0: none\n"
        "  -n N,N     tokens to write (tg128); 0: none\n"
        "  -d N,N     tokens that stand before them (0; without -b also one run as deep as the context "
        "goes,\n"
        "             4096 at most)\n"
        "  -b N,N     sessions that write at once (1, 4, 16 at depth 0; 1 at any other)\n"
        "  -r N       repetitions (5)\n"
        "  -t N       compute threads; 0: one per CPU\n"
        "  --devices  which GPUs share the model, by number (0,1)\n"
        "  --json     one object per line\n"
        "  --membw    only how fast this machine reads its memory, all threads together\n"
        "  --peak     only how many multiply-adds its registers take, in F32 and in 8-bit integers\n"
        "The forward pass alone is measured, as llama-bench does. Figures are means and standard deviations\n"
        "over the repetitions; a machine that does other work makes all of them worse.\n");
    return to == stdout ? 0 : 2;
}

/* ---- options ---- */

static long number(const char **text, long min, long max) {
    char *end;
    if (**text < '0' || **text > '9')
        return -1;
    errno = 0;
    long n = strtol(*text, &end, 10);
    *text = end;
    return errno == 0 && n >= min && n <= max ? n : -1;
}

/* Numbers apart by commas. */
static int parse_list(const char *text, long min, long max, struct list *l) {
    *l = (struct list){.given = true};
    for (;;) {
        long n = l->n < MAX_LIST ? number(&text, min, max) : -1;
        if (n < 0 || (*text != ',' && *text != '\0'))
            return -1;
        l->v[l->n++] = (int)n;
        if (*text == '\0')
            return 0;
        text++;
    }
}

static int parse_one(const char *text, long min, long max, int *out) {
    long n = number(&text, min, max);
    if (n < 0 || *text != '\0')
        return -1;
    *out = (int)n;
    return 0;
}

static int parse_device(const char *text, enum engine_device *out) {
    static const char *const names[] = {"auto", "cpu", "cuda"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum engine_device)i;
            return 0;
        }
    return -1;
}

enum { LONG_KV = 999, LONG_DEVICE, LONG_DEVICES, LONG_MODULE, LONG_JSON, LONG_MEMBW, LONG_PEAK };

static int take(int c, struct options *o) {
    switch (c) {
    case 'm':
        o->model = optarg;
        return 0;
    case 'p':
        return parse_list(optarg, 0, MAX_TOKENS, &o->prompts);
    case 'n':
        return parse_list(optarg, 0, MAX_TOKENS, &o->news);
    case 'd':
        return parse_list(optarg, 0, MAX_TOKENS, &o->depths);
    case 'b':
        return parse_list(optarg, 1, MAX_BATCH, &o->batches);
    case 'r':
        return parse_one(optarg, 1, BENCH_MAX_REPETITIONS, &o->repetitions);
    case 't':
        return parse_one(optarg, 0, 1024, &o->n_threads);
    case LONG_KV:
        return engine_kv_parse(optarg, &o->kv);
    case LONG_DEVICE:
        return parse_device(optarg, &o->device);
    case LONG_DEVICES:
        return gpus_parse(optarg, &o->gpus);
    case LONG_MODULE:
        o->gpu_module = optarg;
        return 0;
    case LONG_JSON:
        o->json = true;
        return 0;
    case LONG_MEMBW:
        o->membw = true;
        return 0;
    case LONG_PEAK:
        o->peak = true;
        return 0;
    default:
        return -1;
    }
}

static int parse(int argc, char **argv, struct options *o) {
    static const struct option known[] = {{"model", required_argument, NULL, 'm'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"repetitions", required_argument, NULL, 'r'},
                                          {"device", required_argument, NULL, LONG_DEVICE},
                                          {"devices", required_argument, NULL, LONG_DEVICES},
                                          {"cuda-module", required_argument, NULL, LONG_MODULE},
                                          {"json", no_argument, NULL, LONG_JSON},
                                          {"kv", required_argument, NULL, LONG_KV},
                                          {"membw", no_argument, NULL, LONG_MEMBW},
                                          {"peak", no_argument, NULL, LONG_PEAK},
                                          {NULL, 0, NULL, 0}};
    int c;
    optind = 0; /* glibc: begin anew, whoever used getopt before */
    while ((c = getopt_long(argc, argv, "m:p:n:d:b:r:t:", known, NULL)) != -1)
        if (take(c, o) < 0) {
            if (c != '?' && c != ':')
                (void)fprintf(stderr, "hermesd bench: '%.60s' is not possible here.\n",
                              optarg != NULL ? optarg : "");
            return -1;
        }
    return optind == argc ? 0 : -1;
}

/* ---- which tests ---- */

static void add(struct bench_test *tests, int *n, struct bench_test t) {
    if (*n < MAX_TESTS && (t.prompt > 0 || t.new_tokens > 0))
        tests[(*n)++] = t;
}

/* Prompts that nobody asked for are left out where the context is too short, with a word about it. */
static void add_prompts(const struct options *o, const struct model *m, struct bench_test *tests, int *n) {
    static const struct list usual = {.v = {512, 2048}, .n = 2};
    const struct list *l = o->prompts.given ? &o->prompts : &usual;
    for (int i = 0; i < l->n; i++)
        if (o->prompts.given || l->v[i] <= m->n_ctx_train)
            add(tests, n, (struct bench_test){.prompt = l->v[i], .batch = 1});
        else
            (void)fprintf(stderr, "hermesd bench: pp%d is left out: the model's context is %d tokens.\n",
                          l->v[i], m->n_ctx_train);
}

/* What nobody asked for otherwise: several sessions only where none has a past. */
static const struct list *usual_batches(int depth) {
    static const struct list several = {.v = {1, 4, 16}, .n = 3}, one = {.v = {1}, .n = 1};
    return depth == 0 ? &several : &one;
}

static void add_depth(const struct options *o, int new_tokens, int depth, struct bench_test *tests, int *n) {
    const struct list *batches = o->batches.given ? &o->batches : usual_batches(depth);
    for (int b = 0; b < batches->n; b++)
        add(tests, n, (struct bench_test){.new_tokens = new_tokens, .depth = depth, .batch = batches->v[b]});
}

static void add_new(const struct options *o, const struct model *m, struct bench_test *tests, int *n) {
    static const struct list usual = {.v = {128}, .n = 1}, zero = {.v = {0}, .n = 1};
    const struct list *news = o->news.given ? &o->news : &usual;
    const struct list *depths = o->depths.given ? &o->depths : &zero;
    bool choice = o->depths.given || o->batches.given;
    for (int i = 0; i < news->n; i++) {
        int left = m->n_ctx_train - news->v[i], deep = left < 4096 ? left : 4096;
        if (!choice && !o->news.given && left < 0) {
            (void)fprintf(stderr, "hermesd bench: tg%d is left out: the model's context is %d tokens.\n",
                          news->v[i], m->n_ctx_train);
            continue;
        }
        for (int d = 0; d < depths->n; d++)
            add_depth(o, news->v[i], depths->v[d], tests, n);
        if (!choice && deep > 0)
            add_depth(o, news->v[i], deep, tests, n);
    }
}

/* ---- running ---- */

static int print(struct buf *out) {
    const char *data = out->data != NULL ? out->data : "";
    int rc = fwrite(data, 1, out->len, stdout) == out->len && fflush(stdout) == 0 ? 0 : -EIO;
    buf_clear(out);
    return rc;
}

/* What reading is measured over: no cache may help, and the memory must be there. */
static size_t read_bytes(void) {
    uint64_t quarter = fit_memory_bytes() / 4, wanted = READ_BYTES;
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (cache > 0 && (uint64_t)cache * 8 > wanted)
        wanted = (uint64_t)cache * 8;
    return (size_t)(wanted < quarter ? wanted : quarter);
}

static int measure(const struct options *o, bool read, bool peak, struct bench_limits *l, char *err,
                   size_t errlen) {
    int rc = 0;
    if (read)
        rc = limits_read(o->n_threads, read_bytes(), READ_ROUNDS, &l->read, err, errlen);
    if (peak && rc == 0) {
        rc = limits_f32(o->n_threads, &l->f32, err, errlen);
        int integers = rc == 0 ? limits_int8(o->n_threads, &l->int8, err, errlen) : 0;
        rc = integers == -ENOTSUP ? rc : rc ? rc : integers; /* a processor may have none */
    }
    return rc;
}

static int run_limits(const struct options *o, struct buf *out, char *err, size_t errlen) {
    struct bench_limits limits = {0};
    int threads = o->n_threads > 0 ? o->n_threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    int rc = measure(o, o->membw, o->peak, &limits, err, errlen);
    rc = rc ? rc : bench_print_limits(&limits, threads, o->json, out);
    return rc ? rc : print(out);
}

/* On the GPU where one is wanted and there, else on the CPU, as the daemon does. */
static int open_bench(const struct options *o, struct bench_config *config, struct bench **b,
                      struct bench_report *report, char *err, size_t errlen) {
    int rc = -ENOENT;
    if (o->device == ENGINE_DEVICE_CUDA && o->gpu_module == NULL)
        return err_set(err, errlen, rc,
                       "A GPU is wanted, and no CUDA module is installed; use --device cpu.");
    if (o->device != ENGINE_DEVICE_CPU && o->gpu_module != NULL) {
        config->gpu_module = o->gpu_module;
        config->gpus = o->gpus;
        rc = bench_open(config, b, err, errlen);
        report->gpu = rc == 0;
        if (rc < 0 && o->device != ENGINE_DEVICE_CUDA && rc != -E2BIG)
            (void)fprintf(stderr, "hermesd bench: the CPU runs the model: %s\n", err);
    }
    if (rc < 0 && rc != -E2BIG && o->device != ENGINE_DEVICE_CUDA) {
        config->gpu_module = NULL;
        rc = bench_open(config, b, err, errlen);
    }
    return rc;
}

/* A machine that is shared reads twice as fast at one time as at another: a test is compared with what was
 * read before and behind it. */
static int run_all(const struct options *o, struct bench *b, const struct bench_config *c,
                   const struct bench_report *report, struct buf *out, char *err, size_t errlen) {
    struct bench_limits now = report->limits;
    int rc = o->json ? 0 : bench_print_head(report, out);
    rc = rc ? rc : print(out);
    for (int i = 0; i < c->n_tests && rc == 0; i++) {
        struct bench_report beside = *report;
        struct bench_result result;
        double before = now.read;
        rc = bench_run(b, &c->tests[i], o->repetitions, &result, err, errlen);
        rc = rc ? rc : measure(o, !report->gpu, false, &now, err, errlen);
        beside.limits.read = (before + now.read) / 2;
        rc = rc ? rc : bench_print_test(&beside, &c->tests[i], &result, o->json, out);
        rc = rc ? rc : print(out);
    }
    return rc;
}

static int run_model(const struct options *o, struct buf *out, char *err, size_t errlen) {
    struct model *m = NULL;
    struct bench *b = NULL;
    struct bench_test tests[MAX_TESTS];
    int n_tests = 0;
    if (o->model == NULL)
        return err_set(err, errlen, -EINVAL, "No model is set; give one with -m.");
    int rc = model_open_weights(o->model, &m, err, errlen);
    if (rc < 0)
        return rc;
    add_prompts(o, m, tests, &n_tests);
    add_new(o, m, tests, &n_tests);
    enum dtype kv_type = local_kv_type(o->kv);
    struct bench_config config = {
        .model = m, .kv_type = kv_type, .n_threads = o->n_threads, .tests = tests, .n_tests = n_tests};
    struct bench_report report = {.model = m, .kv_type = kv_type};
    if (n_tests == 0)
        rc = err_set(err, errlen, -EINVAL, "There is no test left to run.");
    rc = rc ? rc : open_bench(o, &config, &b, &report, err, errlen);
    if (rc == 0 && !report.gpu)
        rc = measure(o, true, true, &report.limits, err, errlen);
    if (rc == 0) {
        report.device = bench_device(b);
        rc = run_all(o, b, &config, &report, out, err, errlen);
    }
    bench_close(b);
    model_close(m);
    return rc;
}

int cli_bench(int argc, char **argv, const struct cli_bench_settings *settings) {
    struct options o = {.model = settings->model,
                        .gpu_module = settings->gpu_module,
                        .device = settings->device,
                        .gpus = settings->gpus,
                        .kv = settings->kv,
                        .n_threads = settings->n_threads,
                        .repetitions = REPETITIONS};
    struct buf out;
    char err[600] = "the output cannot be written";
    if (help_is_wanted(argc, argv))
        return usage(stdout);
    if (parse(argc, argv, &o) < 0)
        return usage(stderr);
    buf_init(&out, MAX_OUTPUT_BYTES);
    int rc = o.membw || o.peak ? run_limits(&o, &out, err, sizeof err) : run_model(&o, &out, err, sizeof err);
    buf_finish(&out);
    if (rc == 0)
        return 0;
    (void)fprintf(stderr, "hermesd bench: %s\n", err);
    return 1;
}

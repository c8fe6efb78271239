#include "engine/cli_model.h"

#include "base/help.h"
#include "engine/cli_inspect.h"
#include "engine/cli_logits.h"
#include "engine/cli_quantize.h"
#include "engine/model_verify.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_IDS          131072
#define MAX_OUTPUT_BYTES ((size_t)256 << 20)

struct options {
    const char *model;
    const char *ids;
    int top;
    const char *gpu_module; /* NULL: the CPU */
    struct gpus gpus;
    bool json;
    int plan_devices, plan_gb; /* 0: no plan */
};

static int usage(FILE *to) {
    (void)fprintf(
        to,
        "usage: hermesd model inspect FILE [--json | --plan[=NxGB]]\n"
        "       hermesd model logits -m FILE --ids 1,2,3 [--top N] [--cuda-module FILE [--devices N,N]]\n"
        "       hermesd model verify FILE [--json]\n"
        "       hermesd model quantize IN OUT TYPE [--dry-run] [--json]\n"
        "  inspect  shapes, element types, memory needed and there, tokenizer and tensors of a model\n"
        "           --plan: how it would lie on N devices of so many GB each (2x80), which run it as\n"
        "           --devices 0,1 says\n"
        "  logits   the logits after these tokens as one line of JSON: the N largest (10), or all in\n"
        "           order of id with --top 0; in exact F32, for comparing with other programs; on the\n"
        "           CPU, or on the GPU of a module or several that share the model\n"
        "  verify   structure, every number, the tokenizer and the tokens that Hermes needs; 1 for a "
        "problem\n"
        "  quantize the model as a GGUF file of another element type\n"
        "  FILE is a GGUF file (the first part of a split one) or a Hugging Face folder; to inspect, its\n"
        "  config.json is enough.\n");
    return to == stdout ? 0 : 2;
}

/* A whole number from 0 to max at *text, which moves behind it; -1 for none. */
static long number(const char **text, long max) {
    char *end;
    if (**text < '0' || **text > '9')
        return -1;
    errno = 0;
    long n = strtol(*text, &end, 10);
    *text = end;
    return errno == 0 && n <= max ? n : -1;
}

/* "2x80": devices and GB of each. */
static bool parse_plan(const char *text, struct options *o) {
    text = text != NULL ? text : "2x80";
    o->plan_devices = (int)number(&text, 1024);
    if (o->plan_devices < 1 || *text++ != 'x')
        return false;
    o->plan_gb = (int)number(&text, 1 << 20);
    return o->plan_gb > 0 && *text == '\0';
}

static int parse(int argc, char **argv, struct options *o) {
    static const struct option known[] = {
        {"model", required_argument, NULL, 'm'},   {"ids", required_argument, NULL, 'i'},
        {"top", required_argument, NULL, 't'},     {"json", no_argument, NULL, 'j'},
        {"plan", optional_argument, NULL, 'p'},    {"cuda-module", required_argument, NULL, 'c'},
        {"devices", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
    int c;
    optind = 0; /* glibc: begin anew, whoever used getopt before */
    while ((c = getopt_long(argc, argv, "m:", known, NULL)) != -1) {
        const char *text = optarg;
        if (c == 'm')
            o->model = optarg;
        else if (c == 'i')
            o->ids = optarg;
        else if (c == 'j')
            o->json = true;
        else if (c == 'c')
            o->gpu_module = optarg;
        else if (c == 'd' && gpus_parse(optarg, &o->gpus) < 0)
            return -1;
        else if (c == 'd')
            continue;
        else if (c == 'p' && !parse_plan(optarg, o))
            return -1;
        else if (c == 'p')
            continue;
        else if (c != 't' || (o->top = (int)number(&text, 1 << 22)) < 0 || *text != '\0')
            return -1;
    }
    if (o->model == NULL && optind < argc)
        o->model = argv[optind++];
    return o->model != NULL && optind == argc && (o->gpus.n == 0 || o->gpu_module != NULL) ? 0 : -1;
}

/* Ids apart by commas; their number or -1. */
static int parse_ids(const char *text, int32_t **out) {
    int32_t *ids = malloc(MAX_IDS * sizeof *ids);
    int n = 0;
    if (ids == NULL)
        return -1;
    for (;;) {
        long id = n < MAX_IDS ? number(&text, INT32_MAX) : -1;
        if (id < 0 || (*text != ',' && *text != '\0')) {
            free(ids);
            return -1;
        }
        ids[n++] = (int32_t)id;
        if (*text == '\0')
            break;
        text++;
    }
    *out = ids;
    return n;
}

static int print(const struct buf *out) {
    const char *data = out->data != NULL ? out->data : "";
    return fwrite(data, 1, out->len, stdout) == out->len && fflush(stdout) == 0 ? 0 : -EIO;
}

static int finish(int rc, struct buf *out, const char *err) {
    if (rc == 0 && print(out) < 0) {
        rc = -EIO;
        err = "standard output cannot be written.";
    }
    buf_finish(out);
    if (rc == 0)
        return 0;
    (void)fprintf(stderr, "hermesd model: %s\n", err);
    return 1;
}

static int inspect(const struct options *o) {
    struct buf out;
    char err[600] = "";
    buf_init(&out, MAX_OUTPUT_BYTES);
    int rc = o->plan_devices > 0 ? engine_cli_plan(o->model, o->plan_devices,
                                                   (uint64_t)o->plan_gb * 1000000000, &out, err, sizeof err)
                                 : engine_cli_inspect(o->model, o->json, &out, err, sizeof err);
    return finish(rc, &out, err);
}

static int logits(const struct options *o) {
    struct buf out;
    char err[600] = "";
    int32_t *ids = NULL;
    int n = parse_ids(o->ids, &ids);
    if (n < 0) {
        (void)fprintf(stderr, "hermesd model: --ids takes token ids apart by commas, not '%.60s'.\n", o->ids);
        return 2;
    }
    buf_init(&out, MAX_OUTPUT_BYTES);
    int rc = engine_cli_logits_on(o->gpu_module, &o->gpus, o->model, ids, n, o->top, &out, err, sizeof err);
    free(ids);
    return finish(rc, &out, err);
}

static int verify(const struct options *o) {
    struct buf out;
    char err[600] = "";
    int n_problems = 0;
    buf_init(&out, MAX_OUTPUT_BYTES);
    int rc = model_verify(o->model, o->json, 0, &out, &n_problems, err, sizeof err);
    int code = finish(rc, &out, err);
    return code != 0 ? code : n_problems > 0 ? 1 : 0;
}

int cli_model(int argc, char **argv) {
    struct options o = {.top = 10};
    if (argc < 2)
        return usage(stderr);
    if (strcmp(argv[1], "quantize") == 0)
        return cli_quantize(argc - 1, argv + 1);
    if (help_is_wanted(argc, argv))
        return usage(stdout);
    bool wants_inspect = strcmp(argv[1], "inspect") == 0, wants_logits = strcmp(argv[1], "logits") == 0;
    if (parse(argc - 1, argv + 1, &o) < 0)
        return usage(stderr);
    if (o.gpu_module != NULL && !wants_logits)
        return usage(stderr);
    if (wants_inspect && o.ids == NULL && !(o.json && o.plan_devices > 0))
        return inspect(&o);
    if (strcmp(argv[1], "verify") == 0 && o.ids == NULL)
        return verify(&o);
    if (wants_logits && o.ids != NULL)
        return logits(&o);
    return usage(stderr);
}

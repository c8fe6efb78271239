#include "engine/cli_quantize.h"

#include "base/help.h"
#include "base/json.h"
#include "engine/fit.h"
#include "engine/quantise.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_INTERRUPTED 130

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    interrupted = number;
}

static int usage(FILE *to) {
    (void)fprintf(
        to,
        "usage: hermesd model quantize IN OUT TYPE [--dry-run] [--json] [-t THREADS]\n"
        "  IN    GGUF file (of a split one the first part) or Hugging Face folder, in F32, F16, BF16 or FP8\n"
        "  OUT   the GGUF file to write; it must not exist\n"
        "  TYPE  F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K for every matrix, or "
        "Q4_K_M:\n"
        "        Q4_K with Q6_K for the output head and, in some layers, attn_v and ffn_down\n"
        "  --dry-run  only say what would become what\n"
        "Prints how far the numbers of each tensor moved: root mean square, beside that of the numbers, and\n"
        "the largest.\n");
    return to == stdout ? 0 : 2;
}

static void key_text(struct json_writer *w, const char *key, const char *text) {
    json_key(w, key);
    json_string(w, text);
}

static void key_int(struct json_writer *w, const char *key, uint64_t value) {
    json_key(w, key);
    json_int(w, (int64_t)value);
}

static void key_number(struct json_writer *w, const char *key, double value) {
    json_key(w, key);
    json_number(w, value);
}

struct printer {
    bool json, dry_run;
    struct buf line;
    int status;
};

static void print_line(struct printer *p) {
    const char *data = p->line.data != NULL ? p->line.data : "";
    if (p->status == 0 && (fwrite(data, 1, p->line.len, stdout) != p->line.len || fflush(stdout) != 0))
        p->status = -EIO;
    buf_clear(&p->line);
}

static void tensor_json(struct printer *p, const struct quantise_tensor *t) {
    struct json_writer w;
    json_writer_begin(&w, &p->line);
    json_object_begin(&w);
    key_text(&w, "tensor", t->name);
    key_text(&w, "from", dtype_info(t->from)->name);
    key_text(&w, "to", dtype_info(t->to)->name);
    key_int(&w, "rows", (uint64_t)t->rows);
    key_int(&w, "columns", (uint64_t)t->cols);
    key_int(&w, "bytes_from", t->bytes_from);
    key_int(&w, "bytes_to", t->bytes_to);
    if (!p->dry_run) {
        key_number(&w, "rms", t->rms);
        key_number(&w, "rms_error", t->rms_error);
        key_number(&w, "max_error", t->max_error);
    }
    json_object_end(&w);
    int rc = json_writer_end(&w);
    p->status = p->status ? p->status : rc ? rc : buf_putc(&p->line, '\n');
}

static void report(void *arg, const struct quantise_tensor *t) {
    struct printer *p = arg;
    if (p->json) {
        tensor_json(p, t);
    } else {
        int rc = json_quote(&p->line, t->name, strlen(t->name), false);
        rc = rc ? rc
                : buf_printf(&p->line, " %s -> %s, %lld x %lld, %.2f -> %.2f MiB", dtype_info(t->from)->name,
                             dtype_info(t->to)->name, (long long)t->rows, (long long)t->cols,
                             (double)t->bytes_from / 1048576, (double)t->bytes_to / 1048576);
        if (rc == 0 && !p->dry_run && t->rms_error > 0)
            rc = buf_printf(&p->line, ", error %.3g of %.3g (%.2f %%), at most %.3g", t->rms_error, t->rms,
                            100 * t->rms_error / t->rms, t->max_error);
        p->status = p->status ? p->status : rc ? rc : buf_putc(&p->line, '\n');
    }
    print_line(p);
}

static void print_total(struct printer *p, const struct quantise_options *o, const struct quantise_total *t) {
    struct json_writer w;
    char from[32], to[32];
    if (!p->json) {
        int rc = buf_printf(&p->line, "%llu tensors, %s -> %s: %s %s\n", (unsigned long long)t->n_tensors,
                            fit_size(from, t->bytes_from), fit_size(to, t->file_bytes),
                            p->dry_run ? "would be" : "written to", o->out);
        p->status = p->status ? p->status : rc;
        print_line(p);
        return;
    }
    json_writer_begin(&w, &p->line);
    json_object_begin(&w);
    key_text(&w, "file", o->out);
    key_text(&w, "type", o->type);
    key_int(&w, "tensors", t->n_tensors);
    key_int(&w, "bytes_from", t->bytes_from);
    key_int(&w, "bytes_to", t->bytes_to);
    key_int(&w, "file_bytes", t->file_bytes);
    json_key(&w, "written");
    json_bool(&w, !p->dry_run);
    json_object_end(&w);
    int rc = json_writer_end(&w);
    p->status = p->status ? p->status : rc ? rc : buf_putc(&p->line, '\n');
    print_line(p);
}

static int parse(int argc, char **argv, struct quantise_options *o, bool *json) {
    static const struct option known[] = {{"dry-run", no_argument, NULL, 'd'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"threads", required_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    int c;
    optind = 0; /* glibc: begin anew, whoever used getopt before */
    while ((c = getopt_long(argc, argv, "t:", known, NULL)) != -1) {
        char *end = NULL;
        long n = c == 't' ? strtol(optarg, &end, 10) : 0;
        if (c == 'd')
            o->dry_run = true;
        else if (c == 'j')
            *json = true;
        else if (c != 't' || end == optarg || *end != '\0' || n < 0 || n > 1024)
            return -1;
        else
            o->n_threads = (int)n;
    }
    if (argc - optind != 3)
        return -1;
    o->in = argv[optind];
    o->out = argv[optind + 1];
    o->type = argv[optind + 2];
    return 0;
}

int cli_quantize(int argc, char **argv) {
    if (help_is_wanted(argc, argv))
        return usage(stdout);
    struct printer p = {0};
    struct quantise_options o = {.stop = &interrupted, .report = report, .arg = &p};
    struct quantise_total total;
    char err[600] = "";
    if (parse(argc, argv, &o, &p.json) < 0)
        return usage(stderr);
    p.dry_run = o.dry_run;
    buf_init(&p.line, 1 << 16);
    struct sigaction catch = {.sa_handler = on_signal}, old_int, old_term;
    interrupted = 0;
    (void)sigaction(SIGINT, &catch, &old_int);
    (void)sigaction(SIGTERM, &catch, &old_term);
    int rc = quantise_model(&o, &total, err, sizeof err);
    (void)sigaction(SIGINT, &old_int, NULL);
    (void)sigaction(SIGTERM, &old_term, NULL);
    if (rc == 0)
        print_total(&p, &o, &total);
    buf_finish(&p.line);
    if (rc == 0 && p.status < 0) {
        rc = p.status;
        (void)snprintf(err, sizeof err, "the output cannot be written.");
    }
    if (rc == 0)
        return 0;
    (void)fprintf(stderr, "hermesd model: %s\n", err);
    return rc == -EINTR ? EXIT_INTERRUPTED : 1;
}

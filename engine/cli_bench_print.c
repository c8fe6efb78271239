#include "engine/cli_bench_print.h"

#include "base/json.h"
#include "engine/fit.h"
#include "kernels/cpu/limits.h"
#include "kernels/dtype.h"

#include <string.h>

static void number_or_null(struct json_writer *w, const char *key, double value) {
    json_key(w, key);
    if (value > 0)
        json_number(w, value);
    else
        json_null(w);
}

static void key_text(struct json_writer *w, const char *key, const char *text) {
    json_key(w, key);
    json_string(w, text);
}

static void key_int(struct json_writer *w, const char *key, int64_t value) {
    json_key(w, key);
    json_int(w, value);
}

static int end_line(struct json_writer *w, struct buf *out) {
    json_object_end(w);
    int rc = json_writer_end(w);
    return rc < 0 ? rc : buf_putc(out, '\n');
}

int bench_print_limits(const struct bench_limits *l, int n_threads, bool json, struct buf *out) {
    int rc = 0;
    if (json) {
        struct json_writer w;
        json_writer_begin(&w, out);
        json_object_begin(&w);
        key_int(&w, "threads", n_threads);
        if (l->read > 0)
            number_or_null(&w, "read_gb_per_s", l->read * 1e-9);
        if (l->f32 > 0) {
            number_or_null(&w, "f32_gflop_per_s", l->f32 * 1e-9);
            number_or_null(&w, "int8_gop_per_s", l->int8 * 1e-9);
        }
        return end_line(&w, out);
    }
    if (l->read > 0)
        rc = buf_printf(out, "read bandwidth  %8.1f GB/s      (%d threads, four streams each)\n",
                        l->read * 1e-9, n_threads);
    if (l->f32 > 0 && rc == 0)
        rc = buf_printf(out, "F32             %8.1f GFLOP/s   (%d threads, %s multiply-adds on registers)\n",
                        l->f32 * 1e-9, n_threads, limits_f32_name());
    if (l->int8 > 0 && rc == 0)
        rc = buf_printf(out, "8-bit integers  %8.1f GOP/s     (%d threads, %s products on registers)\n",
                        l->int8 * 1e-9, n_threads, limits_int8_name());
    return rc;
}

static const char *kv_name(enum dtype type) {
    return type == DTYPE_Q8_0 ? "Q8" : dtype_info(type)->name;
}

static bool is_integer(const struct bench_report *r) {
    return dtype_info(r->model->layers[0].wq.type)->block_elements > 1 && r->limits.int8 > 0;
}

static double peak_of(const struct bench_report *r) {
    return is_integer(r) ? r->limits.int8 : r->limits.f32;
}

int bench_print_head(const struct bench_report *r, struct buf *out) {
    char size[32];
    const struct model *m = r->model;
    int rc = json_quote(out, m->name, strlen(m->name), false); /* a file's own word: no control characters */
    rc = rc ? rc
            : buf_printf(out, ": %s, %s, %.2f million parameters, weights %s\non %s, keys and values %s\n",
                         m->format, dtype_info(m->layers[0].wq.type)->name, (double)m->n_params / 1e6,
                         fit_size(size, m->weight_bytes), r->device, kv_name(r->kv_type));
    if (rc == 0 && !r->gpu)
        rc = buf_printf(out, "limits: %.1f GB/s read, %.1f GFLOP/s F32, %.1f GOP/s 8-bit\n",
                        r->limits.read * 1e-9, r->limits.f32 * 1e-9, r->limits.int8 * 1e-9);
    return rc ? rc
              : buf_printf(out, "\n%-18s %5s %20s %9s %9s %10s %8s\n", "test", "batch", "tokens/s", "GB/s",
                           "of memory", "GFLOP/s", "of peak");
}

static int print_row(const struct bench_report *r, const struct bench_test *t, const struct bench_result *x,
                     double bytes_per_s, double flop_per_s, struct buf *out) {
    char name[64], speed[64], read[32] = "-", peak[32] = "-";
    (void)snprintf(speed, sizeof speed, "%.2f ± %.2f", x->tokens_per_s, x->deviation);
    if (!r->gpu) {
        (void)snprintf(read, sizeof read, "%.0f %%", 100 * bytes_per_s / r->limits.read);
        (void)snprintf(peak, sizeof peak, "%.0f %%", 100 * flop_per_s / peak_of(r));
    }
    /* The sign of plus or minus is two bytes. */
    return buf_printf(out, "%-18s %5d %21s %9.2f %9s %10.1f %8s\n", bench_name(t, name),
                      t->prompt > 0 ? 1 : t->batch, speed, bytes_per_s * 1e-9, read, flop_per_s * 1e-9, peak);
}

static void print_model(const struct bench_report *r, struct json_writer *w) {
    const struct model *m = r->model;
    key_text(w, "model", m->name);
    key_text(w, "path", m->path);
    key_text(w, "format", m->format);
    key_text(w, "type", dtype_info(m->layers[0].wq.type)->name);
    key_int(w, "parameters", (int64_t)m->n_params);
    key_int(w, "weight_bytes", (int64_t)m->weight_bytes);
    key_text(w, "device", r->device);
    key_text(w, "kv_type", kv_name(r->kv_type));
}

static void print_limits(const struct bench_report *r, struct json_writer *w) {
    json_key(w, "limits");
    if (r->gpu) {
        json_null(w);
        return;
    }
    json_object_begin(w);
    number_or_null(w, "read_gb_per_s", r->limits.read * 1e-9);
    number_or_null(w, "f32_gflop_per_s", r->limits.f32 * 1e-9);
    number_or_null(w, "int8_gop_per_s", r->limits.int8 * 1e-9);
    json_object_end(w);
}

int bench_print_test(const struct bench_report *r, const struct bench_test *t, const struct bench_result *x,
                     bool json, struct buf *out) {
    struct json_writer w;
    char name[64];
    double times = x->tokens_per_s / x->tokens; /* repetitions per second */
    double bytes_per_s = x->bytes * times, flop_per_s = x->operations * times;
    if (!json)
        return print_row(r, t, x, bytes_per_s, flop_per_s, out);
    json_writer_begin(&w, out);
    json_object_begin(&w);
    key_text(&w, "test", bench_name(t, name));
    key_int(&w, "prompt", t->prompt);
    key_int(&w, "new", t->new_tokens);
    key_int(&w, "depth", t->depth);
    key_int(&w, "batch", t->prompt > 0 ? 1 : t->batch);
    print_model(r, &w);
    key_int(&w, "tokens", x->tokens);
    json_key(&w, "seconds");
    json_array_begin(&w);
    for (int i = 0; i < x->n_seconds; i++)
        json_number(&w, x->seconds[i]);
    json_array_end(&w);
    json_key(&w, "tokens_per_s");
    json_number(&w, x->tokens_per_s);
    json_key(&w, "tokens_per_s_deviation");
    json_number(&w, x->deviation);
    number_or_null(&w, "gb_per_s", bytes_per_s * 1e-9);
    number_or_null(&w, "gflop_per_s", flop_per_s * 1e-9);
    number_or_null(&w, "percent_of_read", r->gpu ? 0 : 100 * bytes_per_s / r->limits.read);
    number_or_null(&w, "percent_of_peak", r->gpu ? 0 : 100 * flop_per_s / peak_of(r));
    key_text(&w, "peak", r->gpu ? NULL : is_integer(r) ? "int8" : "f32");
    print_limits(r, &w);
    return end_line(&w, out);
}

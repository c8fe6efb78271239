#include "engine/cli_inspect.h"

#include "base/json.h"
#include "engine/fit.h"
#include "engine/model.h"
#include "engine/split.h"
#include "engine/tokenizer.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MIB (1024.0 * 1024.0)

/* A model and what is worked out from it. */
struct facts {
    struct model *m;
    char no_tokenizer[400]; /* why its tokenizer cannot be used */
    struct fit fit;
    uint64_t n_tensors, bytes_of_type[DTYPE_COUNT];
};

static uint64_t tensor_bytes(const struct tensor *t) {
    return (uint64_t)dtype_row_bytes(t->type, t->cols) * (uint64_t)t->rows;
}

static int count_tensor(void *arg, const char *name, const struct tensor *t) {
    (void)name;
    struct facts *f = arg;
    f->n_tensors++;
    f->bytes_of_type[t->type] += tensor_bytes(t);
    return 0;
}

static int open_facts(struct facts *f, const char *path, char *err, size_t errlen) {
    int rc = model_open(path, &f->m, f->no_tokenizer, sizeof f->no_tokenizer);
    if (rc == 0)
        f->no_tokenizer[0] = '\0';
    else
        rc = model_open_weights(path, &f->m, err, errlen);
    if (rc == -ENOENT && model_open_config(path, &f->m, NULL, 0) == 0) {
        (void)snprintf(f->no_tokenizer, sizeof f->no_tokenizer, "only config.json was read.");
        rc = 0;
    }
    if (rc < 0)
        return rc;
    fit_of(f->m, DTYPE_F16, fit_memory_bytes(), fit_scratch_bytes(f->m, DTYPE_F16), &f->fit);
    return fit_each_tensor(f->m, count_tensor, f);
}

/* ---- JSON ---- */

static void key_int(struct json_writer *w, const char *key, uint64_t value) {
    json_key(w, key);
    json_int(w, (int64_t)value);
}

static int tensor_json(void *arg, const char *name, const struct tensor *t) {
    struct json_writer *w = arg;
    json_object_begin(w);
    json_key(w, "name");
    json_string(w, name);
    json_key(w, "type");
    json_string(w, dtype_info(t->type)->name);
    key_int(w, "rows", (uint64_t)t->rows);
    key_int(w, "columns", (uint64_t)t->cols);
    key_int(w, "bytes", tensor_bytes(t));
    json_object_end(w);
    return 0;
}

static int n_added(const struct tokenizer *t) {
    int n = 0;
    for (int32_t i = 0; i < tokenizer_n_vocab(t); i++)
        n += tokenizer_is_added(t, i) ? 1 : 0;
    return n;
}

static void token_json(struct json_writer *w, const struct model *m, int32_t id) {
    size_t len = 0;
    const char *piece = m->tokenizer != NULL ? tokenizer_piece(m->tokenizer, id, &len) : NULL;
    json_object_begin(w);
    key_int(w, "id", (uint64_t)id);
    if (piece != NULL) {
        json_key(w, "text");
        json_string_n(w, piece, len);
    }
    json_object_end(w);
}

static void tokenizer_json(struct json_writer *w, const struct facts *f) {
    const struct model *m = f->m;
    json_object_begin(w);
    json_key(w, "usable");
    json_bool(w, m->tokenizer != NULL);
    if (m->tokenizer != NULL) {
        json_key(w, "kind");
        json_string(w, "Llama-3 byte-level BPE");
        key_int(w, "tokens", (uint64_t)tokenizer_n_vocab(m->tokenizer));
        key_int(w, "added_tokens", (uint64_t)n_added(m->tokenizer));
    } else {
        json_key(w, "reason");
        json_string(w, f->no_tokenizer);
    }
    json_key(w, "bos");
    if (m->bos_id >= 0)
        token_json(w, m, m->bos_id);
    else
        json_null(w);
    json_key(w, "add_bos");
    json_bool(w, m->add_bos);
    json_key(w, "end_of_generation");
    json_array_begin(w);
    for (int i = 0; i < m->n_eog_ids; i++)
        token_json(w, m, m->eog_ids[i]);
    json_array_end(w);
    json_object_end(w);
}

static void shape_json(struct json_writer *w, const struct model *m) {
    json_object_begin(w);
    key_int(w, "layers", (uint64_t)m->n_layers);
    key_int(w, "width", (uint64_t)m->dim);
    key_int(w, "heads", (uint64_t)m->n_heads);
    key_int(w, "kv_heads", (uint64_t)m->n_kv_heads);
    key_int(w, "head_dim", (uint64_t)m->head_dim);
    key_int(w, "ffn_width", (uint64_t)m->ffn_dim);
    key_int(w, "vocabulary", (uint64_t)m->n_vocab);
    key_int(w, "context", (uint64_t)m->n_ctx_train);
    json_key(w, "rope_theta");
    json_number(w, (double)m->rope_theta);
    json_key(w, "rms_eps");
    json_number(w, (double)m->rms_eps);
    json_key(w, "tied_head");
    json_bool(w, m->tied_head);
    json_object_end(w);
}

/* What keys and values may be kept in, with the names of engine_kv. */
static const struct {
    enum dtype type;
    const char *name;
} kv_types[] = {{DTYPE_F32, "f32"}, {DTYPE_F16, "f16"}, {DTYPE_Q8_0, "q8"}};
#define KV_TYPES (sizeof kv_types / sizeof kv_types[0])

static uint64_t kv_per_token(const struct facts *f, enum dtype type) {
    struct fit fit;
    fit_of(f->m, type, f->fit.memory_bytes, f->fit.scratch_bytes, &fit);
    return fit.kv_bytes_per_token;
}

static void memory_json(struct json_writer *w, const struct facts *f) {
    json_object_begin(w);
    key_int(w, "weights", f->fit.weight_bytes);
    key_int(w, "scratch", f->fit.scratch_bytes);
    key_int(w, "kv_per_token", f->fit.kv_bytes_per_token);
    json_key(w, "kv_per_token_in");
    json_object_begin(w);
    for (size_t i = 0; i < KV_TYPES; i++)
        key_int(w, kv_types[i].name, kv_per_token(f, kv_types[i].type));
    json_object_end(w);
    key_int(w, "kv_full_context", f->fit.kv_bytes_per_token * (uint64_t)f->m->n_ctx_train);
    key_int(w, "machine", f->fit.memory_bytes);
    key_int(w, "kv_default_limit", f->fit.kv_limit_bytes);
    json_key(w, "fits");
    json_bool(w, f->fit.fits);
    key_int(w, "tokens_that_fit", f->fit.tokens_that_fit);
    json_object_end(w);
}

static int write_json(const struct facts *f, struct buf *out) {
    struct json_writer w;
    json_writer_begin(&w, out);
    json_object_begin(&w);
    json_key(&w, "path");
    json_string(&w, f->m->path);
    json_key(&w, "name");
    json_string(&w, f->m->name);
    json_key(&w, "format");
    json_string(&w, f->m->format);
    key_int(&w, "parameters", f->m->n_params);
    json_key(&w, "shape");
    shape_json(&w, f->m);
    json_key(&w, "memory_bytes");
    memory_json(&w, f);
    json_key(&w, "tokenizer");
    tokenizer_json(&w, f);
    json_key(&w, "tensors");
    json_array_begin(&w);
    (void)fit_each_tensor(f->m, tensor_json, &w);
    json_array_end(&w);
    json_object_end(&w);
    int rc = json_writer_end(&w);
    return rc < 0 ? rc : buf_putc(out, '\n');
}

/* ---- text ---- */

static int tensor_text(void *arg, const char *name, const struct tensor *t) {
    return buf_printf(arg, "  %-28s %-5s %8lld x %-8lld %10.2f MiB\n", name, dtype_info(t->type)->name,
                      (long long)t->rows, (long long)t->cols, (double)tensor_bytes(t) / MIB);
}

/* Bytes of the weights type by type, keys and values, the machine, and whether the one fits into the other.
 */
static int memory_text(const struct facts *f, struct buf *out) {
    char a[32], b[32], c[32];
    const char *label = "memory";
    int rc = 0;
    for (int i = 0; i < DTYPE_COUNT && rc == 0; i++) {
        if (f->bytes_of_type[i] == 0)
            continue;
        rc = buf_printf(out, "%-11s %-8s weights %16s\n", label, dtype_info((enum dtype)i)->name,
                        fit_size(a, f->bytes_of_type[i]));
        label = "";
    }
    rc = rc ? rc : buf_printf(out, "            all weights      %16s\n", fit_size(a, f->fit.weight_bytes));
    rc = rc ? rc
            : buf_printf(out,
                         "            working memory   %16s at most, on the CPU\n"
                         "            keys and values  %16s for a context of %d, %llu bytes per token\n"
                         "                                              (kv f32: %llu, q8: %llu)\n"
                         "            %-16s %16s\n",
                         fit_size(c, f->fit.scratch_bytes),
                         fit_size(a, f->fit.kv_bytes_per_token * (uint64_t)f->m->n_ctx_train),
                         f->m->n_ctx_train, (unsigned long long)f->fit.kv_bytes_per_token,
                         (unsigned long long)kv_per_token(f, DTYPE_F32),
                         (unsigned long long)kv_per_token(f, DTYPE_Q8_0),
                         fit_memory_is_grouped() ? "control group" : "this machine",
                         fit_size(b, f->fit.memory_bytes));
    if (rc == 0 && f->fit.fits)
        rc = buf_printf(out,
                        "fits        yes, with %llu tokens of keys and values in %s, the default ceiling\n",
                        (unsigned long long)f->fit.tokens_that_fit, fit_size(a, f->fit.kv_limit_bytes));
    else if (rc == 0)
        rc = buf_printf(
            out,
            "fits        no: beside weights and working memory there is room for %llu tokens of keys "
            "and values;\n            the daemon would refuse it\n",
            (unsigned long long)(f->fit.left_bytes / f->fit.kv_bytes_per_token));
    return rc;
}

static int token_text(const struct model *m, int32_t id, struct buf *out) {
    size_t len = 0;
    const char *piece = m->tokenizer != NULL ? tokenizer_piece(m->tokenizer, id, &len) : NULL;
    int rc = buf_printf(out, " %d", id);
    if (rc == 0 && piece != NULL)
        rc = buf_putc(out, ' ');
    return rc == 0 && piece != NULL ? json_quote(out, piece, len, false) : rc;
}

static int tokenizer_text(const struct facts *f, struct buf *out) {
    const struct model *m = f->m;
    int rc = m->tokenizer == NULL
                 ? buf_printf(out, "tokenizer   not usable: %s\n", f->no_tokenizer)
                 : buf_printf(out, "tokenizer   Llama-3 byte-level BPE, %d tokens, %d of them added\n",
                              tokenizer_n_vocab(m->tokenizer), n_added(m->tokenizer));
    if (rc == 0 && m->bos_id >= 0) {
        rc = buf_printf(out, "begin      ");
        rc = rc ? rc : token_text(m, m->bos_id, out);
        rc = rc ? rc : buf_puts(out, m->add_bos ? "\n" : " (not added)\n");
    }
    rc = rc ? rc : buf_puts(out, "end        ");
    for (int i = 0; i < m->n_eog_ids && rc == 0; i++)
        rc = token_text(m, m->eog_ids[i], out);
    return rc ? rc : buf_puts(out, m->n_eog_ids > 0 ? "\n" : " none\n");
}

static int write_text(const struct facts *f, struct buf *out) {
    const struct model *m = f->m;
    int rc = buf_printf(out, "%s\n", m->path);
    rc = rc ? rc : buf_puts(out, "name        ");
    rc = rc ? rc : json_quote(out, m->name, strlen(m->name), false);
    rc = rc ? rc
            : buf_printf(out,
                         "\nformat      %s\nparameters  %.2f million\n"
                         "shape       %d layers, width %d, %d heads of %d sharing %d, feed-forward %d, "
                         "vocabulary %d\n"
                         "context     %d tokens, RoPE base %g\noutput head %s\n",
                         m->format, (double)m->n_params / 1e6, m->n_layers, m->dim, m->n_heads, m->head_dim,
                         m->n_kv_heads, m->ffn_dim, m->n_vocab, m->n_ctx_train, (double)m->rope_theta,
                         m->tied_head ? "tied to the embedding" : "its own");
    rc = rc ? rc : memory_text(f, out);
    rc = rc ? rc : tokenizer_text(f, out);
    rc = rc ? rc : buf_printf(out, "tensors     %llu\n", (unsigned long long)f->n_tensors);
    return rc ? rc : fit_each_tensor(m, tensor_text, out);
}

int engine_cli_inspect(const char *path, bool json, struct buf *out, char *err, size_t errlen) {
    struct facts f = {0};
    int rc = open_facts(&f, path, err, errlen);
    if (rc < 0)
        return rc;
    rc = json ? write_json(&f, out) : write_text(&f, out);
    if (rc < 0)
        err_set(err, errlen, rc, "The facts of '%s' do not fit into the output: %s.", path, strerror(-rc));
    model_close(f.m);
    return rc;
}

int engine_cli_needs(const char *path, struct buf *out, char *err, size_t errlen) {
    struct facts f = {0};
    int rc = open_facts(&f, path, err, errlen);
    if (rc < 0)
        return rc;
    rc = memory_text(&f, out);
    if (rc < 0)
        err_set(err, errlen, rc, "The table for '%s' does not fit into the output: %s.", path, strerror(-rc));
    model_close(f.m);
    return rc;
}

int engine_cli_plan(const char *path, int n_devices, uint64_t device_bytes, struct buf *out, char *err,
                    size_t errlen) {
    struct facts f = {0};
    struct split split;
    int rc = open_facts(&f, path, err, errlen);
    if (rc < 0)
        return rc;
    rc = split_of(f.m, n_devices, device_bytes, &split, err, errlen);
    if (rc == 0) {
        rc = split_text(f.m, &split, out);
        if (rc < 0)
            err_set(err, errlen, rc, "The plan for '%s' does not fit into the output: %s.", path,
                    strerror(-rc));
    }
    model_close(f.m);
    return rc;
}

#include "engine/quantise.h"

#include "engine/fit.h"
#include "engine/gguf_set.h"
#include "engine/gguf_write.h"
#include "engine/model_build.h"
#include "engine/quantise_file.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/quantise.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHUNK_ELEMENTS 65536 /* of one task of a compute thread, and at least a row */
#define SLAB_CHUNKS    64    /* that are worked on before they are written */

static const struct {
    const char *name;
    enum dtype type;
    bool mixed;
    uint32_t file_type; /* llama.cpp llama.h, enum llama_ftype */
} kinds[] = {
    {"F32", DTYPE_F32, false, 0},    {"F16", DTYPE_F16, false, 1},    {"BF16", DTYPE_BF16, false, 32},
    {"Q8_0", DTYPE_Q8_0, false, 7},  {"Q4_0", DTYPE_Q4_0, false, 2},  {"Q4_1", DTYPE_Q4_1, false, 3},
    {"Q5_0", DTYPE_Q5_0, false, 8},  {"Q5_1", DTYPE_Q5_1, false, 9},  {"Q4_K", DTYPE_Q4_K, false, 14},
    {"Q5_K", DTYPE_Q5_K, false, 16}, {"Q6_K", DTYPE_Q6_K, false, 18}, {"Q4_K_M", DTYPE_Q4_K, true, 15}};

/* One tensor of the new file. */
struct item {
    char name[264];
    struct tensor from;
    enum dtype to;
    bool permuted;      /* rows of a head from half-split to adjacent pairs */
    const void *copied; /* bytes as they are, of a tensor that is not of the forward pass */
    uint64_t bytes_from, bytes_to;
    uint32_t ggml_type;
};

struct job {
    const struct quantise_options *o;
    struct model *m;
    int kind;
    struct item *items;
    int n, cap;
    float *divisors; /* rope_freqs.weight, head_dim / 2 */
    struct pool *pool;
    struct quantise_file *file;
    char *err;
    size_t errlen;
};

/* ---- which type ---- */

static bool has_more_bits(int layer, int n) {
    return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
}

static enum dtype mixed_type(const struct model *m, const char *name) {
    int layer = -1;
    char part[32] = "";
    if (strcmp(name, "output.weight") == 0 || (m->tied_head && strcmp(name, "token_embd.weight") == 0))
        return DTYPE_Q6_K;
    if (sscanf(name, "blk.%d.%31[a-z_]", &layer, part) != 2)
        return DTYPE_Q4_K;
    bool value = strcmp(part, "attn_v") == 0;
    if ((value || strcmp(part, "ffn_down") == 0) && has_more_bits(layer, m->n_layers))
        return DTYPE_Q6_K;
    return value && m->n_layers == 80 ? DTYPE_Q5_K : DTYPE_Q4_K;
}

static enum dtype type_for(const struct job *j, const char *name, const struct tensor *t) {
    if (t->rows == 1)
        return DTYPE_F32;
    enum dtype type = kinds[j->kind].mixed ? mixed_type(j->m, name) : kinds[j->kind].type;
    if (dtype_info(type)->block_elements == 256 && t->cols % 256 != 0)
        type = type == DTYPE_Q4_K ? DTYPE_Q5_0 : type == DTYPE_Q5_K ? DTYPE_Q5_1 : DTYPE_Q8_0;
    return t->cols % dtype_info(type)->block_elements != 0 ? DTYPE_F16 : type;
}

/* ---- the list of tensors ---- */

static struct item *add(struct job *j) {
    if (j->n == j->cap) {
        int cap = j->cap == 0 ? 64 : j->cap * 2;
        struct item *items = realloc(j->items, (size_t)cap * sizeof *items);
        if (items == NULL)
            return NULL;
        j->items = items;
        j->cap = cap;
    }
    j->items[j->n] = (struct item){.ggml_type = 0};
    return &j->items[j->n++];
}

static int add_known(void *arg, const char *name, const struct tensor *t) {
    struct job *j = arg;
    if (t->type != DTYPE_F32 && t->type != DTYPE_F16 && t->type != DTYPE_BF16 && t->type != DTYPE_F8_E4M3)
        return err_set(j->err, j->errlen, -EINVAL,
                       "Tensor %s of model '%s' is quantised already (%s); start from F32, F16, BF16 or FP8.",
                       name, j->m->path, dtype_info(t->type)->name);
    struct item *i = add(j);
    if (i == NULL)
        return err_set(j->err, j->errlen, -ENOMEM, "Not enough memory for the list of tensors.");
    (void)snprintf(i->name, sizeof i->name, "%s", name);
    i->from = *t;
    i->to = type_for(j, name, t);
    i->permuted = j->m->rope_layout == ROPE_HALF_SPLIT &&
                  (strstr(name, ".attn_q.") != NULL || strstr(name, ".attn_k.") != NULL);
    i->bytes_from = (uint64_t)dtype_row_bytes(t->type, t->cols) * (uint64_t)t->rows;
    i->bytes_to = (uint64_t)dtype_row_bytes(i->to, t->cols) * (uint64_t)t->rows;
    i->ggml_type = (uint32_t)dtype_info(i->to)->ggml_type;
    return 0;
}

static bool is_listed(const struct job *j, int n, struct gguf_text name) {
    for (int i = 0; i < n; i++)
        if (gguf_text_is(name, j->items[i].name))
            return true;
    return false;
}

/* Tensors of a GGUF that the forward pass does not name (rope_freqs.weight, …). */
static int add_others(struct job *j, const struct gguf *g) {
    int n = j->n;
    for (size_t k = 0; k < g->n_tensors; k++) {
        const struct gguf_tensor *t = &g->tensors[k];
        char shown[64];
        if (is_listed(j, n, t->name))
            continue;
        if (t->tensor.type == DTYPE_COUNT)
            return err_set(j->err, j->errlen, -ENOTSUP,
                           "Tensor %s of model '%s' is of ggml type %u or has more than two dimensions.",
                           gguf_text_show(t->name, shown), j->m->path, t->ggml_type);
        struct item *i = add(j);
        if (i == NULL)
            return err_set(j->err, j->errlen, -ENOMEM, "Not enough memory for the list of tensors.");
        (void)snprintf(i->name, sizeof i->name, "%.*s", (int)t->name.len, t->name.data);
        i->from = t->tensor;
        i->to = t->tensor.type;
        i->copied = t->tensor.data;
        i->bytes_from = i->bytes_to = t->bytes;
        i->ggml_type = t->ggml_type;
    }
    return 0;
}

/* What a folder says in its config, a GGUF says in a tensor. */
static int add_divisors(struct job *j) {
    int n = j->m->head_dim / 2;
    j->divisors = calloc((size_t)n, sizeof *j->divisors);
    if (j->divisors == NULL)
        return err_set(j->err, j->errlen, -ENOMEM, "Not enough memory for the list of tensors.");
    if (!quantise_rope_divisors(j->m, j->divisors))
        return 0;
    struct item *i = add(j);
    if (i == NULL)
        return err_set(j->err, j->errlen, -ENOMEM, "Not enough memory for the list of tensors.");
    (void)snprintf(i->name, sizeof i->name, "rope_freqs.weight");
    i->from = (struct tensor){.data = j->divisors, .type = DTYPE_F32, .rows = 1, .cols = n};
    i->to = DTYPE_F32;
    i->copied = j->divisors;
    i->bytes_from = i->bytes_to = (uint64_t)n * sizeof *j->divisors;
    return 0;
}

static int list_tensors(struct job *j) {
    const struct model_files *files = j->m->files;
    int rc = fit_each_tensor(j->m, add_known, j);
    if (files->gguf == NULL)
        return rc ? rc : add_divisors(j);
    for (int p = 0; p < files->gguf->n && rc == 0; p++)
        rc = add_others(j, files->gguf->parts[p]);
    return rc;
}

/* ---- one tensor ---- */

struct slab {
    const struct job *j;
    const struct item *item;
    int64_t first, rows, rows_per_chunk;
    uint8_t *out;   /* rows of the slab */
    float *numbers; /* per thread two chunks: what there was, what became of it */
    double squares[SLAB_CHUNKS], errors[SLAB_CHUNKS], worst[SLAB_CHUNKS];
    int64_t bad[SLAB_CHUNKS]; /* row with a number that is not finite before or after; -1 */
};

static int64_t source_row(const struct job *j, const struct item *i, int64_t r) {
    int64_t e = j->m->head_dim;
    return i->permuted ? r / e * e + r % 2 * (e / 2) + r % e / 2 : r;
}

static void slab_chunk(void *arg, int chunk, int thread) {
    struct slab *s = arg;
    const struct tensor *t = &s->item->from;
    int64_t first = (int64_t)chunk * s->rows_per_chunk;
    int64_t rows = s->rows - first < s->rows_per_chunk ? s->rows - first : s->rows_per_chunk;
    size_t from_bytes = convert_row_bytes(t->type, t->cols),
           to_bytes = convert_row_bytes(s->item->to, t->cols);
    float *was = s->numbers + (size_t)thread * 2 * (size_t)t->cols, *is = was + t->cols;
    double squares = 0, errors = 0, worst = 0;
    s->bad[chunk] = -1;
    for (int64_t r = 0; r < rows; r++) {
        int64_t source = source_row(s->j, s->item, s->first + first + r);
        uint8_t *to = s->out + (size_t)(first + r) * to_bytes;
        bool finite = true;
        convert_row(t->type, (const uint8_t *)t->data + from_bytes * (size_t)source, t->cols, was);
        for (int64_t c = 0; c < t->cols; c++) {
            was[c] *= t->row_scales != NULL ? t->row_scales[source] : 1.0f;
            finite = finite && isfinite(was[c]);
        }
        if (finite) {
            quantise_row(s->item->to, was, t->cols, to);
            convert_row(s->item->to, to, t->cols, is);
        }
        for (int64_t c = 0; c < t->cols && finite; c++) {
            double off = fabs((double)is[c] - (double)was[c]);
            finite = isfinite(is[c]);
            squares += (double)was[c] * (double)was[c];
            errors += off * off;
            worst = off > worst ? off : worst;
        }
        if (!finite) {
            s->bad[chunk] = s->first + first + r;
            return;
        }
    }
    s->squares[chunk] = squares;
    s->errors[chunk] = errors;
    s->worst[chunk] = worst;
}

/* Runs a slab and adds up what its chunks found, in their order. */
static int run_slab(struct job *j, struct slab *s, double *squares, double *errors, double *worst) {
    int n = (int)((s->rows + s->rows_per_chunk - 1) / s->rows_per_chunk);
    pool_run(j->pool, slab_chunk, s, n);
    for (int c = 0; c < n; c++) {
        if (s->bad[c] >= 0)
            return err_set(j->err, j->errlen, -EINVAL,
                           "Row %lld of tensor %s has a number that is not finite, or too large for %s.",
                           (long long)s->bad[c], s->item->name, dtype_info(s->item->to)->name);
        *squares += s->squares[c];
        *errors += s->errors[c];
        *worst = s->worst[c] > *worst ? s->worst[c] : *worst;
    }
    return 0;
}

static bool is_stopped(const struct job *j) {
    return j->o->stop != NULL && *j->o->stop != 0;
}

static int convert_tensor(struct job *j, const struct item *i, struct quantise_tensor *report) {
    const struct tensor *t = &i->from;
    int threads = pool_n_threads(j->pool);
    size_t row_bytes = convert_row_bytes(i->to, t->cols);
    struct slab *s = calloc(1, sizeof *s);
    double squares = 0, errors = 0;
    if (s == NULL)
        return err_set(j->err, j->errlen, -ENOMEM, "Not enough memory for tensor %s.", i->name);
    s->j = j;
    s->item = i;
    s->rows_per_chunk = t->cols < CHUNK_ELEMENTS ? CHUNK_ELEMENTS / t->cols : 1;
    s->numbers = malloc((size_t)threads * 2 * (size_t)t->cols * sizeof *s->numbers);
    s->out = malloc((size_t)(s->rows_per_chunk * SLAB_CHUNKS) * row_bytes);
    int rc = s->numbers == NULL || s->out == NULL
                 ? err_set(j->err, j->errlen, -ENOMEM, "Not enough memory for tensor %s.", i->name)
                 : 0;
    for (s->first = 0; s->first < t->rows && rc == 0; s->first += s->rows) {
        int64_t left = t->rows - s->first, most = s->rows_per_chunk * SLAB_CHUNKS;
        s->rows = left < most ? left : most;
        rc = is_stopped(j) ? err_set(j->err, j->errlen, -EINTR, "Interrupted; nothing was left behind.")
                           : run_slab(j, s, &squares, &errors, &report->max_error);
        rc = rc ? rc : quantise_file_write(j->file, s->out, (size_t)s->rows * row_bytes, j->err, j->errlen);
    }
    free(s->numbers);
    free(s->out);
    free(s);
    double n = (double)t->rows * (double)t->cols;
    report->rms = sqrt(squares / n);
    report->rms_error = sqrt(errors / n);
    return rc;
}

/* ---- the whole ---- */

static int write_head(struct job *j, struct gguf_writer *w) {
    struct buf head;
    buf_init(&head, (size_t)512 << 20);
    int rc = gguf_write_head(w, &head);
    if (rc < 0)
        (void)err_set(j->err, j->errlen, rc, "The values of model '%s' are too many for a file's head: %s.",
                      j->m->path, strerror(-rc));
    rc = rc ? rc : quantise_file_open(j->o->out, head.len + w->data_bytes, &j->file, j->err, j->errlen);
    rc = rc ? rc : quantise_file_write(j->file, head.data, head.len, j->err, j->errlen);
    buf_finish(&head);
    return rc;
}

static int write_tensors(struct job *j) {
    static const uint8_t zeros[GGUF_WRITE_ALIGNMENT];
    int rc = 0;
    for (int k = 0; k < j->n && rc == 0; k++) {
        const struct item *i = &j->items[k];
        struct quantise_tensor report = {
            i->name, i->from.type, i->to, i->from.rows, i->from.cols, i->bytes_from, i->bytes_to, 0, 0, 0};
        if (!j->o->dry_run) {
            rc = i->copied != NULL
                     ? quantise_file_write(j->file, i->copied, (size_t)i->bytes_to, j->err, j->errlen)
                     : convert_tensor(j, i, &report);
            size_t over = (size_t)(i->bytes_to % GGUF_WRITE_ALIGNMENT);
            if (rc == 0 && over > 0)
                rc = quantise_file_write(j->file, zeros, GGUF_WRITE_ALIGNMENT - over, j->err, j->errlen);
        }
        if (rc == 0 && j->o->report != NULL)
            j->o->report(j->o->arg, &report);
    }
    return rc;
}

static int write_model(struct job *j, struct quantise_total *total) {
    struct gguf_writer w;
    gguf_write_init(&w);
    int rc = quantise_values(j->m, kinds[j->kind].file_type, &w, j->err, j->errlen);
    for (int k = 0; k < j->n; k++) {
        const struct item *i = &j->items[k];
        gguf_write_tensor(&w, (struct gguf_text){i->name, strlen(i->name)}, i->ggml_type, i->from.rows,
                          i->from.cols, i->bytes_to);
        total->n_tensors++;
        total->bytes_from += i->bytes_from;
        total->bytes_to += i->bytes_to;
    }
    total->file_bytes = w.data_bytes + w.values.len + w.tensors.len + 24;
    total->file_bytes =
        (total->file_bytes + GGUF_WRITE_ALIGNMENT - 1) / GGUF_WRITE_ALIGNMENT * GGUF_WRITE_ALIGNMENT;
    if (rc == 0 && !j->o->dry_run)
        rc = write_head(j, &w);
    gguf_write_finish(&w);
    rc = rc ? rc : write_tensors(j);
    rc = rc ? rc : model_unchanged(j->m, j->err, j->errlen);
    if (rc == 0 && !j->o->dry_run)
        rc = quantise_file_keep(j->file, j->err, j->errlen);
    return rc;
}

/* A folder may be without a tokenizer; one that is there must be ours, or the file would lose it. */
static int open_source(const char *path, struct model **m, char *err, size_t errlen) {
    int rc = model_open(path, m, err, errlen);
    if (rc == 0)
        return 0;
    struct model *weights = NULL;
    char tokenizer[4096];
    if (model_open_weights(path, &weights, NULL, 0) < 0)
        return rc;
    const struct model_files *files = weights->files;
    (void)snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer.json", path);
    if (files->gguf == NULL && quantise_file_exists(tokenizer)) {
        model_close(weights);
        return rc;
    }
    *m = weights;
    return 0;
}

int quantise_model(const struct quantise_options *o, struct quantise_total *total, char *err, size_t errlen) {
    struct job j = {.o = o, .kind = -1, .err = err, .errlen = errlen};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        if (strcasecmp(o->type, kinds[k].name) == 0)
            j.kind = (int)k;
    if (j.kind < 0)
        return err_set(
            err, errlen, -EINVAL,
            "'%.40s' is none of the types F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, "
            "Q4_K_M.",
            o->type);
    if (quantise_file_exists(o->out))
        return err_set(err, errlen, -EEXIST, "'%s' is there already; remove it, or name another file.",
                       o->out);
    *total = (struct quantise_total){0};
    int rc = open_source(o->in, &j.m, err, errlen);
    rc = rc ? rc : list_tensors(&j);
    rc = rc ? rc : pool_create(o->n_threads, 0, &j.pool, err, errlen);
    rc = rc ? rc : write_model(&j, total);
    quantise_file_close(j.file);
    pool_destroy(j.pool);
    free(j.items);
    free(j.divisors);
    model_close(j.m);
    return rc;
}

#include "tests/engine/write_gguf.h"

#include "engine/gguf.h"
#include "engine/quantise.h"
#include "kernels/dtype.h"
#include "tests/kernels/random_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALIGNMENT 32

struct entry {
    char name[64];
    const struct tensor *t;
};

static void must(int rc) {
    if (rc < 0)
        abort();
}

static void put(struct buf *b, const void *bytes, size_t n) {
    must(buf_append(b, bytes, n));
}

static void put_text(struct buf *b, const char *text) {
    uint64_t n = strlen(text);
    put(b, &n, 8);
    put(b, text, n);
}

static void put_value(struct buf *b, const char *key, uint32_t type, const void *value, size_t n) {
    put_text(b, key);
    put(b, &type, 4);
    put(b, value, n);
}

static void put_u32(struct buf *b, const char *key, int value) {
    put_value(b, key, GGUF_U32, &value, 4);
}

static void put_float(struct buf *b, const char *key, float value) {
    put_value(b, key, GGUF_F32, &value, 4);
}

static void put_string(struct buf *b, const char *key, const char *value) {
    const uint32_t type = GGUF_STRING;
    put_text(b, key);
    put(b, &type, 4);
    put_text(b, value);
}

/* Returns their number. */
static uint64_t put_model(struct buf *b, const struct kernels_model *m, int n_ctx) {
    put_string(b, "general.architecture", "llama");
    put_string(b, "general.name", "random");
    put_u32(b, "llama.block_count", m->n_layers);
    put_u32(b, "llama.context_length", n_ctx);
    put_u32(b, "llama.embedding_length", m->dim);
    put_u32(b, "llama.feed_forward_length", m->ffn_dim);
    put_u32(b, "llama.attention.head_count", m->n_heads);
    put_u32(b, "llama.attention.head_count_kv", m->n_kv_heads);
    put_u32(b, "llama.attention.key_length", m->head_dim);
    put_u32(b, "llama.attention.value_length", m->head_dim);
    put_u32(b, "llama.rope.dimension_count", m->head_dim);
    put_u32(b, "llama.vocab_size", m->n_vocab);
    put_float(b, "llama.rope.freq_base", 10000);
    put_float(b, "llama.attention.layer_norm_rms_epsilon", m->rms_eps);
    put_string(b, "tokenizer.ggml.model", "none"); /* llama.cpp wants a word about it */
    return 15;
}

static uint64_t put_split(struct buf *b, int part, int n_parts, int n_tensors) {
    uint16_t no = (uint16_t)part, count = (uint16_t)n_parts;
    int32_t all = n_tensors;
    put_value(b, "split.no", GGUF_U16, &no, 2);
    put_value(b, "split.count", GGUF_U16, &count, 2);
    put_value(b, "split.tensors.count", GGUF_I32, &all, 4);
    return 3;
}

static int list(const struct kernels_model *m, struct entry *out) {
    int n = 0;
    out[n++] = (struct entry){"token_embd.weight", &m->tok_embd};
    out[n++] = (struct entry){"output_norm.weight", &m->output_norm};
    out[n++] = (struct entry){"output.weight", &m->output};
    for (int l = 0; l < m->n_layers; l++) {
        const struct kernels_layer *y = &m->layers[l];
        const struct {
            const char *name;
            const struct tensor *t;
        } all[] = {{"attn_norm", &y->attn_norm}, {"attn_q", &y->wq},      {"attn_k", &y->wk},
                   {"attn_v", &y->wv},           {"attn_output", &y->wo}, {"ffn_norm", &y->ffn_norm},
                   {"ffn_gate", &y->w_gate},     {"ffn_up", &y->w_up},    {"ffn_down", &y->w_down}};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            out[n].t = all[i].t;
            (void)snprintf(out[n++].name, sizeof out[n].name, "blk.%d.%s.weight", l, all[i].name);
        }
    }
    return n;
}

static uint64_t bytes_of(const struct tensor *t) {
    return (uint64_t)dtype_row_bytes(t->type, t->cols) * (uint64_t)t->rows;
}

static uint64_t aligned(uint64_t n) {
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_entry(struct buf *b, const struct entry *e, uint64_t offset) {
    uint32_t n_dims = e->t->rows > 1 ? 2 : 1, type = (uint32_t)dtype_info(e->t->type)->ggml_type;
    uint64_t dims[] = {(uint64_t)e->t->cols, (uint64_t)e->t->rows};
    put_text(b, e->name);
    put(b, &n_dims, 4);
    put(b, dims, n_dims * 8);
    put(b, &type, 4);
    put(b, &offset, 8);
}

static void write_file(const char *path, const struct buf *head, const struct entry *e, int n) {
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(head->data, 1, head->len, f) != head->len)
        abort();
    uint64_t at = aligned(head->len);
    for (int i = 0; i < n; i++) {
        size_t bytes = bytes_of(e[i].t);
        if (e[i].t->data != NULL &&
            (fseek(f, (long)at, SEEK_SET) != 0 || fwrite(e[i].t->data, 1, bytes, f) != bytes))
            abort();
        at += aligned(bytes);
    }
    if (fflush(f) != 0 || ftruncate(fileno(f), (off_t)at) != 0 || fclose(f) != 0)
        abort();
}

/* Part `part` of `n_parts` with entries `e`; the first has the values of the model. */
static void write_part(const char *path, const struct kernels_model *m, const struct write_gguf *o, int part,
                       int n_parts, int n_all, const struct entry *e, int n) {
    struct buf head, values;
    const uint32_t version = 3;
    uint64_t n_values = 0, n_tensors = (uint64_t)n, offset = 0;
    buf_init(&head, 1 << 20);
    buf_init(&values, 1 << 20);
    if (part == 0)
        n_values += put_model(&values, m, o->n_ctx);
    if (n_parts > 1)
        n_values += put_split(&values, part, n_parts, n_all);
    put(&head, "GGUF", 4);
    put(&head, &version, 4);
    put(&head, &n_tensors, 8);
    put(&head, &n_values, 8);
    put(&head, values.data, values.len);
    for (int i = 0; i < n; i++) {
        put_entry(&head, &e[i], offset);
        offset += aligned(bytes_of(e[i].t));
    }
    write_file(path, &head, e, n);
    buf_finish(&head);
    buf_finish(&values);
}

const char *write_gguf_part(char out[512], const char *prefix, int part, int n_parts) {
    (void)snprintf(out, 512, "%s-%05d-of-%05d.gguf", prefix, part, n_parts);
    return out;
}

void write_gguf(const char *path, const struct kernels_model *m, const struct write_gguf *options) {
    struct entry *all = calloc((size_t)m->n_layers * 9 + 3, sizeof *all);
    if (all == NULL)
        abort();
    int n = list(m, all), n_parts = options->n_parts;
    if (n_parts < 2)
        write_part(path, m, options, 0, 1, n, all, n);
    int holders = options->bare_first ? n_parts - 1 : n_parts;
    for (int p = 0; p < n_parts && n_parts > 1; p++) {
        char name[512];
        int i = options->bare_first ? p - 1 : p;
        int from = i < 0 ? 0 : i * n / holders, to = i < 0 ? 0 : (i + 1) * n / holders;
        write_part(write_gguf_part(name, path, p + 1, n_parts), m, options, p, n_parts, n, all + from,
                   to - from);
    }
    free(all);
}

static void write_random(const char *path, enum dtype type) {
    struct random_shape shape = QUANTISED_SHAPE(type);
    struct kernels_model m;
    random_model_init(&m, &shape);
    write_gguf(path, &m, &(struct write_gguf){.n_ctx = 256});
    random_model_finish(&m);
}

bool write_quantised(const char *path, const char *type) {
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (strcmp(dtype_info((enum dtype)t)->name, type) == 0) {
            write_random(path, (enum dtype)t);
            return true;
        }
    if (strcmp(type, "Q4_K_M") != 0)
        return false;
    char whole[512], err[300];
    struct quantise_total total;
    (void)snprintf(whole, sizeof whole, "%s.f32", path);
    write_random(whole, DTYPE_F32);
    (void)unlink(path);
    struct quantise_options o = {.in = whole, .out = path, .type = type, .n_threads = 1};
    if (quantise_model(&o, &total, err, sizeof err) < 0) {
        (void)fprintf(stderr, "%s\n", err);
        abort();
    }
    (void)unlink(whole);
    return true;
}

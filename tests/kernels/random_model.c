#include "tests/kernels/random_model.h"

#include "kernels/cpu/convert.h"
#include "tests/kernels/encode.h"

#include <math.h>
#include <stdlib.h>

float random_float(uint64_t *state) {
    /* xorshift64* */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (float)(int32_t)(*state * 0x2545F4914F6CDD1Du >> 32) * 0x1p-31f;
}

static void *must(void *p) {
    if (p == NULL)
        abort();
    return p;
}

struct tensor random_tensor(enum dtype type, int64_t rows, int64_t cols, float scale, uint64_t *state) {
    size_t row_bytes = convert_row_bytes(type, cols);
    uint8_t *data = must(malloc(row_bytes * (size_t)rows));
    float *v = must(malloc((size_t)cols * sizeof *v));
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < cols; c++)
            v[c] = (random_float(state) + random_float(state) + random_float(state)) * scale;
        encode_row(type, v, cols, data + (size_t)r * row_bytes);
    }
    free(v);
    return (struct tensor){.data = data,
                           .type = type,
                           .rows = rows,
                           .cols = cols,
                           .input_scale = type == DTYPE_F8_E4M3 ? TENSOR_INPUT_BY_ROW : 0};
}

static struct tensor norm_tensor(int64_t cols, uint64_t *state) {
    struct tensor t = random_tensor(DTYPE_F32, 1, cols, 0.1f, state);
    float *v = (float *)(uintptr_t)t.data;
    for (int64_t i = 0; i < cols; i++)
        v[i] += 1;
    return t;
}

void random_model_init(struct kernels_model *m, const struct random_shape *s) {
    uint64_t state = s->seed * 2 + 1;
    int64_t q = (int64_t)s->n_heads * s->head_dim, kv = (int64_t)s->n_kv_heads * s->head_dim;
    float dim_scale = 1 / sqrtf((float)s->dim), ffn_scale = 1 / sqrtf((float)s->ffn_dim);
    struct kernels_layer *layers = must(calloc((size_t)s->n_layers, sizeof *layers));
    float *inv_freq = must(calloc((size_t)s->head_dim / 2, sizeof *inv_freq));
    for (int i = 0; i < s->head_dim / 2; i++)
        inv_freq[i] = powf(10000.0f, -2.0f * (float)i / (float)s->head_dim);
    *m = (struct kernels_model){.n_layers = s->n_layers,
                                .n_heads = s->n_heads,
                                .n_kv_heads = s->n_kv_heads,
                                .head_dim = s->head_dim,
                                .dim = s->dim,
                                .ffn_dim = s->ffn_dim,
                                .n_vocab = s->n_vocab,
                                .rms_eps = 1e-5f,
                                .rope_layout = s->rope_layout,
                                .rope_inv_freq = inv_freq,
                                .layers = layers};
    m->tok_embd = random_tensor(s->type, s->n_vocab, s->dim, 0.5f, &state);
    m->output_norm = norm_tensor(s->dim, &state);
    m->output = random_tensor(s->type, s->n_vocab, s->dim, 3 * dim_scale, &state);
    for (int l = 0; l < s->n_layers; l++) {
        layers[l].attn_norm = norm_tensor(s->dim, &state);
        layers[l].wq = random_tensor(s->type, q, s->dim, 2 * dim_scale, &state);
        layers[l].wk = random_tensor(s->type, kv, s->dim, 2 * dim_scale, &state);
        layers[l].wv = random_tensor(s->type, kv, s->dim, dim_scale, &state);
        layers[l].wo = random_tensor(s->type, s->dim, q, dim_scale, &state);
        layers[l].ffn_norm = norm_tensor(s->dim, &state);
        layers[l].w_gate = random_tensor(s->type, s->ffn_dim, s->dim, dim_scale, &state);
        layers[l].w_up = random_tensor(s->type, s->ffn_dim, s->dim, dim_scale, &state);
        layers[l].w_down = random_tensor(s->type, s->dim, s->ffn_dim, ffn_scale, &state);
    }
}

static void drop(const struct tensor *t) {
    free((void *)(uintptr_t)t->data);
}

void random_model_finish(struct kernels_model *m) {
    for (int l = 0; l < m->n_layers; l++) {
        const struct kernels_layer *y = &m->layers[l];
        const struct tensor *all[] = {&y->attn_norm, &y->wq,     &y->wk,   &y->wv,    &y->wo,
                                      &y->ffn_norm,  &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            drop(all[i]);
    }
    drop(&m->tok_embd);
    drop(&m->output_norm);
    drop(&m->output);
    free((void *)(uintptr_t)m->layers);
    free((void *)(uintptr_t)m->rope_inv_freq);
    *m = (struct kernels_model){0};
}

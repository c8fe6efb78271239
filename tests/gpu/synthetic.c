#include "tests/gpu/synthetic.h"

#include "kernels/cuda/pack.h"
#include "kernels/dtype.h"
#include "tests/gpu/draw.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

const struct synthetic_shape synthetic_8b = {"8b", 32, 32, 8, 128, 4096, 14336, 128256};
const struct synthetic_shape synthetic_70b = {"70b", 80, 64, 8, 128, 8192, 28672, 128256};
const struct synthetic_shape synthetic_tiny = {"tiny", 2, 8, 2, 32, 256, 256, 512};

const struct synthetic_format synthetic_formats[SYNTHETIC_FORMATS] = {
    [SYNTHETIC_BF16] = {"bf16", DTYPE_BF16, DTYPE_BF16, DTYPE_BF16, DTYPE_BF16},
    [SYNTHETIC_FP8] = {"fp8", DTYPE_F8_E4M3, DTYPE_F8_E4M3, DTYPE_BF16, DTYPE_BF16},
    [SYNTHETIC_Q8_0] = {"q8_0", DTYPE_Q8_0, DTYPE_Q8_0, DTYPE_Q8_0, DTYPE_Q8_0},
    [SYNTHETIC_Q6_K] = {"q6_k", DTYPE_Q6_K, DTYPE_Q6_K, DTYPE_Q6_K, DTYPE_Q6_K},
    [SYNTHETIC_Q4_K_M] = {"q4_k_m", DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_Q4_K, DTYPE_Q6_K},
    [SYNTHETIC_F16] = {"f16", DTYPE_F16, DTYPE_F16, DTYPE_F16, DTYPE_F16},
    [SYNTHETIC_Q5_K] = {"q5_k", DTYPE_Q5_K, DTYPE_Q5_K, DTYPE_Q5_K, DTYPE_Q6_K},
    [SYNTHETIC_Q4_0] = {"q4_0", DTYPE_Q4_0, DTYPE_Q4_0, DTYPE_Q4_0, DTYPE_Q6_K},
};

static struct tensor matrix(enum dtype type, int64_t rows, int64_t cols) {
    return (struct tensor){.data = &pack_nowhere[0],
                           .type = type,
                           .rows = rows,
                           .cols = cols,
                           .input_scale = type == DTYPE_F8_E4M3 ? TENSOR_INPUT_BY_ROW : 0};
}

/* Layers whose v and down have more bits: the first and the last eighth, and every third (llama.cpp,
 * src/llama-quant.cpp, use_more_bits()). */
static bool has_more_bits(int layer, int n_layers) {
    return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

static void set_layer(struct kernels_layer *l, const struct synthetic_shape *h,
                      const struct synthetic_format *f, const struct tensor *norms, bool more) {
    int64_t q = (int64_t)h->n_heads * h->head_dim, kv = (int64_t)h->n_kv_heads * h->head_dim;
    enum dtype heavy = more ? f->more : f->type;
    *l = (struct kernels_layer){.attn_norm = *norms,
                                .ffn_norm = *norms,
                                .wq = matrix(f->type, q, h->dim),
                                .wk = matrix(f->type, kv, h->dim),
                                .wv = matrix(heavy, kv, h->dim),
                                .wo = matrix(f->type, h->dim, q),
                                .w_gate = matrix(f->type, h->ffn_dim, h->dim),
                                .w_up = matrix(f->type, h->ffn_dim, h->dim),
                                .w_down = matrix(heavy, h->dim, h->ffn_dim)};
}

int synthetic_init(struct synthetic *s, const struct synthetic_shape *shape,
                   const struct synthetic_format *format, int n_layers) {
    size_t dim = (size_t)shape->dim, half = (size_t)shape->head_dim / 2;
    *s = (struct synthetic){.numbers = calloc(dim + half, sizeof *s->numbers),
                            .layers = calloc((size_t)n_layers, sizeof *s->layers)};
    if (s->numbers == NULL || s->layers == NULL) {
        synthetic_finish(s);
        return -ENOMEM;
    }
    float *norm = s->numbers, *angles = norm + dim;
    for (size_t i = 0; i < dim; i++)
        norm[i] = 1;
    for (size_t i = 0; i < half; i++)
        angles[i] = powf(500000.0f, -(float)i / (float)half);
    const struct tensor norms = {.data = norm, .type = DTYPE_F32, .rows = 1, .cols = shape->dim};
    for (int i = 0; i < n_layers; i++)
        set_layer(&s->layers[i], shape, format, &norms, has_more_bits(i, n_layers));
    s->model = (struct kernels_model){.n_layers = n_layers,
                                      .n_heads = shape->n_heads,
                                      .n_kv_heads = shape->n_kv_heads,
                                      .head_dim = shape->head_dim,
                                      .dim = shape->dim,
                                      .ffn_dim = shape->ffn_dim,
                                      .n_vocab = shape->n_vocab,
                                      .rms_eps = 1e-5f,
                                      .rope_layout = ROPE_HALF_SPLIT,
                                      .rope_inv_freq = angles,
                                      .tok_embd = matrix(format->table, shape->n_vocab, shape->dim),
                                      .output = matrix(format->head, shape->n_vocab, shape->dim),
                                      .output_norm = norms,
                                      .layers = s->layers};
    s->model.output.data = &pack_nowhere[1]; /* not the embedding table */
    return 0;
}

void synthetic_finish(struct synthetic *s) {
    free(s->numbers);
    free(s->layers);
    *s = (struct synthetic){0};
}

int synthetic_draw(const struct cuda_device *d) {
    uint32_t seed = 1;
    int rc = draw_matrix(d->stream, &d->embeddings, seed);
    rc = rc ? rc : draw_matrix(d->stream, &d->output, seed += 3);
    for (int i = 0; i < d->config.model.n_layers; i++) {
        const struct cuda_layer *l = &d->layers[i];
        const struct cuda_matrix *all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof all / sizeof all[0] && rc == 0; k++)
            rc = draw_matrix(d->stream, all[k], seed += 3);
    }
    return rc ? rc : gpu_sync(d->stream);
}

double synthetic_weights(const struct synthetic_shape *shape) {
    double dim = shape->dim, q = (double)shape->n_heads * shape->head_dim;
    double kv = (double)shape->n_kv_heads * shape->head_dim;
    double layer = dim * (2 * q + 2 * kv + 3 * (double)shape->ffn_dim);
    return layer * shape->n_layers + dim * shape->n_vocab;
}

static double bytes_of(const struct tensor *t) {
    return (double)dtype_row_bytes(t->type, t->cols) * (double)t->rows;
}

double synthetic_bytes(const struct kernels_model *m) {
    double bytes = bytes_of(&m->output);
    for (int i = 0; i < m->n_layers; i++) {
        const struct kernels_layer *l = &m->layers[i];
        const struct tensor *all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->w_gate, &l->w_up, &l->w_down};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
            bytes += bytes_of(all[k]);
    }
    return bytes;
}

double synthetic_all_bytes(const struct kernels_model *m) {
    return synthetic_bytes(m) + bytes_of(&m->tok_embd);
}

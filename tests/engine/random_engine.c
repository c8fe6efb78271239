#include "tests/engine/random_engine.h"

#include <math.h>
#include <stdlib.h>

#define CALM 0.01f

void random_engine_init(struct random_engine *r, const struct random_shape *shape, int n_ctx_train) {
    random_model_init(&r->weights, shape);
    const struct kernels_model *w = &r->weights;
    r->model = (struct model){.name = "random",
                              .format = "memory",
                              .n_layers = w->n_layers,
                              .n_heads = w->n_heads,
                              .n_kv_heads = w->n_kv_heads,
                              .head_dim = w->head_dim,
                              .dim = w->dim,
                              .ffn_dim = w->ffn_dim,
                              .n_vocab = w->n_vocab,
                              .n_ctx_train = n_ctx_train,
                              .rms_eps = w->rms_eps,
                              .rope_layout = w->rope_layout,
                              .rope_inv_freq = (float *)(uintptr_t)w->rope_inv_freq,
                              .tok_embd = w->tok_embd,
                              .output_norm = w->output_norm,
                              .output = w->output,
                              .bos_id = -1};
    r->quiet = NULL;
    r->model.layers = calloc((size_t)w->n_layers, sizeof *r->model.layers);
    if (r->model.layers == NULL)
        abort();
    for (int l = 0; l < w->n_layers; l++) {
        const struct kernels_layer *from = &w->layers[l];
        r->model.layers[l] = (struct model_layer){.attn_norm = from->attn_norm,
                                                  .wq = from->wq,
                                                  .wk = from->wk,
                                                  .wv = from->wv,
                                                  .wo = from->wo,
                                                  .ffn_norm = from->ffn_norm,
                                                  .w_gate = from->w_gate,
                                                  .w_up = from->w_up,
                                                  .w_down = from->w_down};
    }
}

void random_engine_calm(struct random_engine *r, const struct random_shape *shape) {
    uint64_t seed = shape->seed;
    int64_t attn = (int64_t)shape->n_heads * shape->head_dim;
    r->quiet = calloc((size_t)shape->n_layers * 2, sizeof *r->quiet);
    if (r->quiet == NULL)
        abort();
    for (int l = 0; l < shape->n_layers; l++) {
        struct tensor *quiet = &r->quiet[2 * l];
        quiet[0] = random_tensor(shape->type, shape->dim, shape->ffn_dim, CALM, &seed);
        quiet[1] = random_tensor(shape->type, shape->dim, attn, CALM, &seed);
        r->model.layers[l].w_down = quiet[0];
        r->model.layers[l].wo = quiet[1];
    }
}

/* Meta, llama-models, models/llama3/model.py, apply_scaling. */
void random_engine_set_rope(struct random_engine *r, bool scaled) {
    for (int i = 0; i < r->model.head_dim / 2; i++) {
        double f = pow(500000, -2.0 * i / r->model.head_dim), turns = 8192 * f / 6.283185307179586;
        double keep = !scaled || turns > 4 ? 1 : turns < 1 ? 0 : (turns - 1) / 3;
        r->model.rope_inv_freq[i] = (float)(f * (keep + (1 - keep) / 8));
    }
}

void random_engine_speak(struct random_engine *r, const struct model *like) {
    r->model.tokenizer = like->tokenizer;
    r->model.eog_ids = like->eog_ids;
    r->model.n_eog_ids = like->n_eog_ids;
}

void random_engine_finish(struct random_engine *r) {
    for (int i = 0; r->quiet != NULL && i < 2 * r->model.n_layers; i++)
        free((void *)(uintptr_t)r->quiet[i].data);
    free(r->quiet);
    free(r->model.layers);
    random_model_finish(&r->weights);
}

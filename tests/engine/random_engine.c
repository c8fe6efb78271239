#include "tests/engine/random_engine.h"

#include <stdlib.h>

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

void random_engine_finish(struct random_engine *r) {
    free(r->model.layers);
    random_model_finish(&r->weights);
}

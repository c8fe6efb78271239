#include "tests/engine/bf16_model.h"

#include "kernels/cpu/convert.h"

#include <stdlib.h>
#include <string.h>

/* Of a layer, and of embeddings and output. */
#define MATRICES 7

static void *keep(struct bf16_model *b, void *memory) {
    if (memory == NULL)
        abort();
    b->owned[b->n_owned++] = memory;
    return memory;
}

static uint16_t rounded(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

static struct tensor as_bf16(struct bf16_model *b, struct tensor t) {
    if (t.type == DTYPE_BF16)
        return t;
    uint16_t *to = keep(b, calloc((size_t)(t.rows * t.cols), sizeof *to));
    float *row = calloc((size_t)t.cols, sizeof *row);
    size_t bytes = convert_row_bytes(t.type, t.cols);
    if (row == NULL)
        abort();
    for (int64_t r = 0; r < t.rows; r++) {
        convert_row(t.type, (const uint8_t *)t.data + (size_t)r * bytes, t.cols, row);
        for (int64_t c = 0; c < t.cols; c++)
            to[r * t.cols + c] = rounded(row[c]);
    }
    free(row);
    return (struct tensor){.data = to, .type = DTYPE_BF16, .rows = t.rows, .cols = t.cols};
}

void bf16_model_init(struct bf16_model *b, const struct model *m) {
    size_t n_layers = (size_t)m->n_layers;
    b->model = *m;
    b->n_owned = 0;
    b->owned = calloc(3 + MATRICES * n_layers, sizeof *b->owned);
    if (b->owned == NULL)
        abort();
    struct model_layer *layers = keep(b, calloc(n_layers, sizeof *layers));
    for (size_t l = 0; l < n_layers; l++) {
        layers[l] = m->layers[l];
        struct tensor *const matrices[MATRICES] = {&layers[l].wq,    &layers[l].wk,     &layers[l].wv,
                                                   &layers[l].wo,    &layers[l].w_gate, &layers[l].w_up,
                                                   &layers[l].w_down};
        for (int i = 0; i < MATRICES; i++)
            *matrices[i] = as_bf16(b, *matrices[i]);
    }
    b->model.layers = layers;
    b->model.tok_embd = as_bf16(b, m->tok_embd);
    b->model.output = m->output.data == m->tok_embd.data ? b->model.tok_embd : as_bf16(b, m->output);
}

void bf16_model_finish(struct bf16_model *b) {
    for (int i = 0; i < b->n_owned; i++)
        free(b->owned[i]);
    free(b->owned);
}

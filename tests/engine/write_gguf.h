/* GGUF files of random models, whole or split, for tests of the readers and for other programs. */
#ifndef TESTS_ENGINE_WRITE_GGUF_H
#define TESTS_ENGINE_WRITE_GGUF_H

#include "base/buf.h"
#include "kernels/kernels.h"

#include <stdbool.h>

struct write_gguf {
    int n_ctx;       /* llama.context_length */
    int n_parts;     /* 0 or 1: one file; otherwise PREFIX-00001-of-0000N.gguf, … */
    bool bare_first; /* the first part has no tensors */
};

/* Writes `m` (adjacent pairs, base 10000) to `path`; of several parts `path` is the prefix. Tensors without
 * data become holes. Aborts when it cannot. */
void write_gguf(const char *path, const struct kernels_model *m, const struct write_gguf *options);
/* The name of part `part` (from 1). Returns `out`. */
const char *write_gguf_part(char out[512], const char *prefix, int part, int n_parts);

/* The Llama whose logits in every type are golden data (tests/oracles/llama_cpp_quantised.py): widths of one
 * and two blocks of 256, grouped heads, a head of its own. As a file of random blocks of one type, or, as
 * "Q4_K_M", what quantise_model() makes of the F32 one. False when there is no such type. */
bool write_quantised(const char *path, const char *type);
#define QUANTISED_SHAPE(TYPE)                                                                                \
    {                                                                                                        \
        .n_layers = 2, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64, .dim = 256, .ffn_dim = 512,            \
        .n_vocab = 96, .type = (TYPE), .rope_layout = ROPE_ADJACENT, .seed = 405                             \
    }

#endif

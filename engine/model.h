/* A loaded model: shapes, weights and tokenizer in one immutable struct, whatever container it came from.
 *
 * Weights are borrowed from mapped files and stay valid until model_close(). After model_open() nothing in
 * here changes, so any number of threads may read it. Naming follows the Llama paper's code and llama.cpp's
 * tensor names. */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "base/err.h"
#include "kernels/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

struct model_layer {
    struct tensor attn_norm;    /* 1 x dim, F32 after loading */
    struct tensor wq;           /* n_heads * head_dim x dim */
    struct tensor wk, wv;       /* n_kv_heads * head_dim x dim */
    struct tensor wo;           /* dim x n_heads * head_dim */
    struct tensor ffn_norm;     /* 1 x dim, F32 */
    struct tensor w_gate, w_up; /* ffn_dim x dim */
    struct tensor w_down;       /* dim x ffn_dim */
};

struct model {
    char *name;   /* from the file, or the file's own name; for people */
    char *path;   /* as given */
    char *format; /* "GGUF v3", "GGUF v3 in 3 parts", "safetensors" */

    int n_layers, n_heads, n_kv_heads, head_dim;
    int dim; /* width of the residual stream */
    int ffn_dim;
    int n_vocab;
    int n_ctx_train; /* longest context the model was made for, tokens */
    float rms_eps;
    float rope_theta;
    enum rope_layout rope_layout;
    /* Inverse frequencies of the head_dim/2 rotated pairs in radians per position, Llama-3.1 scaling already
     * applied (source: Meta llama-models models/llama3/model.py apply_scaling; GGUF rope_freqs.weight
     * divisors). */
    float *rope_inv_freq;

    struct tensor tok_embd;    /* n_vocab x dim */
    struct tensor output_norm; /* 1 x dim, F32 */
    struct tensor output;      /* n_vocab x dim; the same data as tok_embd when tied */
    bool tied_head;
    struct model_layer *layers; /* n_layers */

    int32_t bos_id; /* -1: none */
    bool add_bos;
    int32_t *eog_ids; /* end of generation: eos of the file, <|im_end|>, <|eot_id|>, <|eom_id|>,
                         <|end_of_text|> by text */
    int n_eog_ids;

    struct tokenizer *tokenizer; /* owned */
    uint64_t n_params;
    uint64_t weight_bytes;
    void *files; /* mappings; private to the readers */
};

/* Opens a .gguf file (of a split model the first part, NAME-00001-of-00003.gguf) or a Hugging Face folder
 * (config.json + tokenizer.json + *.safetensors). Every byte is checked; a bad file gives -EINVAL with field
 * and offset, an unsupported one -ENOTSUP with what is not supported. Takes milliseconds: weights are mapped,
 * not read. The result is the caller's. */
HX_MUST_CHECK int model_open(const char *path, struct model **out, char *err, size_t errlen);
/* The same without a tokenizer (m->tokenizer is NULL), for a model whose tokenizer is missing or not
 * supported. */
HX_MUST_CHECK int model_open_weights(const char *path, struct model **out, char *err, size_t errlen);
/* A Hugging Face folder without weights (config.json alone): shape, types and counts as its config says. Its
 * tensors have no data, so it can be looked at and not run. -EINVAL for a folder with weights. */
HX_MUST_CHECK int model_open_config(const char *path, struct model **out, char *err, size_t errlen);
/* Whether its files are as they were opened (base/mapped_file.h). -EIO with the sentence when one was cut
 * off, written to, or given to another user: weights may be others by now, or be gone. Does not allocate.
 * [any-thread] */
HX_MUST_CHECK int model_unchanged(const struct model *m, char *err, size_t errlen);
void model_close(struct model *m);

/* True for a token that ends generation. */
bool model_is_eog(const struct model *m, int32_t token);

#endif

/* What the readers of containers share. Private to engine/. */
#ifndef ENGINE_MODEL_BUILD_H
#define ENGINE_MODEL_BUILD_H

#include "base/mapped_file.h"
#include "engine/model.h"

/* Of rows of the embedding. */
#define MODEL_MAX_VOCABULARY (1 << 20)

/* m->files: what the readers keep until model_close(). */
struct model_files {
    struct gguf_set *gguf;
    struct mapped_file shards[256]; /* safetensors files */
    int n_shards;
    float **floats; /* converted norms, row scales */
    int n_floats;
};

/* Fills m->rope_inv_freq for theta; free()d by model_close(). */
HX_MUST_CHECK int model_build_rope(struct model *m, char *err, size_t errlen);
/* `n` floats that model_close() frees. */
HX_MUST_CHECK int model_build_floats(struct model *m, int64_t n, float **out, char *err, size_t errlen);
/* Keeps `t` as F32: converts into owned memory where it is not. */
HX_MUST_CHECK int model_build_norm(struct model *m, struct tensor *t, char *err, size_t errlen);
/* Shapes against each other, counts, eog tokens by text. */
HX_MUST_CHECK int model_build_finish(struct model *m, char *err, size_t errlen);
/* Adds a tensor to n_params and weight_bytes. */
void model_build_count(struct model *m, const struct tensor *t);
HX_MUST_CHECK int model_build_add_eog(struct model *m, int32_t id);

/* The two readers: an empty model with m->path and m->files set. */
HX_MUST_CHECK int model_gguf_read(struct model *m, bool with_tokenizer, char *err, size_t errlen);
HX_MUST_CHECK int model_hf_read(struct model *m, bool with_tokenizer, char *err, size_t errlen);

/* A folder of which only config.json is there: model_open_config(). */
HX_MUST_CHECK int model_hf_plan(struct model *m, char *err, size_t errlen);

/* The tokenizer alone, for m->n_vocab tokens at most; sets m->tokenizer, bos and eog. */
struct gguf;
HX_MUST_CHECK int model_gguf_tokenizer(struct model *m, const struct gguf *g, char *err, size_t errlen);

#endif

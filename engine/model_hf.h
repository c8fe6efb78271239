/* What the readers of a Hugging Face folder share. Private to engine/. */
#ifndef ENGINE_MODEL_HF_H
#define ENGINE_MODEL_HF_H

#include "base/json.h"
#include "engine/model_build.h"

#define MODEL_HF_PATH_BYTES 4096
/* Of one JSON document of a folder. The published safetensors reader has the same ceiling for its header. */
#define MODEL_HF_JSON_BYTES ((size_t)100 << 20)

extern const struct json_limits model_hf_limits;

/* `name` inside the folder; -EINVAL for one that leads out of it. */
HX_MUST_CHECK int model_hf_path(const struct model *m, const char *name, char path[MODEL_HF_PATH_BYTES],
                                char *err, size_t errlen);
/* A JSON file of the folder; *out is the caller's. */
HX_MUST_CHECK int model_hf_read_json(const struct model *m, const char *name, cJSON **out, char *err,
                                     size_t errlen);

/* A member that is a number from min to max (*value is left alone when it is absent or null; returns 1 when
 * it was read). -EINVAL names file and key. `file` is for the message. */
HX_MUST_CHECK int model_hf_number(const struct model *m, const char *file, const cJSON *object,
                                  const char *key, double min, double max, double *value, char *err,
                                  size_t errlen);
/* The same for a whole number. */
HX_MUST_CHECK int model_hf_integer(const struct model *m, const char *file, const cJSON *object,
                                   const char *key, int64_t min, int64_t max, int64_t *value, char *err,
                                   size_t errlen);

/* engine/model_safetensors.c: all weights of the folder, and the scales of FP8 ones into `fp8`. */
struct model_fp8;
HX_MUST_CHECK int model_safetensors_read(struct model *m, struct model_fp8 *fp8, char *err, size_t errlen);
/* True when the folder has model.safetensors or an index. */
bool model_safetensors_present(const struct model *m);
/* engine/model_hf_tokenizer.c: tokenizer.json. */
HX_MUST_CHECK int model_hf_tokenizer(struct model *m, char *err, size_t errlen);
/* Its tokens and merges, handed to `use`, whose result it is; borrowed during that call. Of the added tokens
 * those are user_defined that control nothing ("special": false). */
struct bpe_source;
typedef int model_hf_use_fn(void *arg, const struct bpe_source *source, const bool *user_defined, char *err,
                            size_t errlen);
HX_MUST_CHECK int model_hf_vocabulary(const struct model *m, model_hf_use_fn *use, void *arg, char *err,
                                      size_t errlen);

#endif

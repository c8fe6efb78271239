/* FP8 weights of a Hugging Face folder as compressed-tensors writes them: config.json's quantization_config
 * says how (neuralmagic/compressed-tensors, quant_config.py, quant_args.py), "X.weight" is F8_E4M3 and
 * "X.weight_scale" holds its factor, one for the matrix or one per row. "X.input_scale" belongs to static
 * activations.
 *
 * Weights are taken as they are: decoded value times scale. What the config says of activations goes to the
 * devices that multiply in FP8, as struct tensor's input_scale: where all groups have input_activations,
 * static ones divided by input_scale (without one, as dynamic ones), dynamic ones each row by itself, also
 * where the strategy is "tensor" (one scale for the whole batch would make a row depend on its company);
 * otherwise they are not rounded. kv_cache_scheme is left alone: keys and values are kept in a wider type.
 * Private to engine/. */
#ifndef ENGINE_MODEL_FP8_H
#define ENGINE_MODEL_FP8_H

#include "base/json.h"
#include "engine/model_build.h"

struct model_fp8 {
    bool allowed;               /* the config says FP8 */
    bool inputs, fixed;         /* inputs may be rounded; and by their input_scale */
    struct model_layer *layers; /* n_layers: the weight_scale of each weight, in its place */
    struct tensor output;       /* and that of the head */
    struct model_layer *input_layers;
    struct tensor input_output;
};

/* Reads quantization_config of a config.json (absent: not quantised). -ENOTSUP names a scheme that is not
 * ours. model_fp8_finish() frees, also after a failure. */
HX_MUST_CHECK int model_fp8_init(struct model_fp8 *f, const struct model *m, const cJSON *config, char *err,
                                 size_t errlen);
void model_fp8_finish(struct model_fp8 *f);
/* Gives every FP8 weight of `m` its scales, once all tensors are placed; checks that none is missing or
 * superfluous and that all are positive numbers. */
HX_MUST_CHECK int model_fp8_apply(struct model_fp8 *f, struct model *m, char *err, size_t errlen);

#endif

/* `hermesd model logits -m FILE --ids 1,2,3 --top N`: the logits after a prompt, for comparing with other
 * programs. */
#ifndef ENGINE_CLI_LOGITS_H
#define ENGINE_CLI_LOGITS_H

#include "base/buf.h"
#include "kernels/gpus.h"

#include <stdint.h>

/* Runs the ids through the model in exact F32 and appends one JSON line to `out`:
 *   {"model": …, "ids": [1, 2, 3], "n_vocab": V, "top": [{"id": 4, "logit": 9.25}, …]}
 * with the `top` largest logits (0: all of them, in order of id, as "logits": […]). Works for models without
 * a tokenizer. model_open()'s errors; -EINVAL for an id out of range or none; -E2BIG for more than the
 * context. */
HX_MUST_CHECK int engine_cli_logits(const char *model_path, const int32_t *ids, int n, int top,
                                    struct buf *out, char *err, size_t errlen);
/* The same on the GPUs of a module (kernels/cuda/cuda.h), and cuda_open()'s errors; NULL: on the CPU. */
HX_MUST_CHECK int engine_cli_logits_on(const char *gpu_module, const struct gpus *gpus,
                                       const char *model_path, const int32_t *ids, int n, int top,
                                       struct buf *out, char *err, size_t errlen);

#endif

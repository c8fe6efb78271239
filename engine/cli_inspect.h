/* `hermesd model inspect FILE`: what a model is and what it needs. */
#ifndef ENGINE_CLI_INSPECT_H
#define ENGINE_CLI_INSPECT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* Appends the facts of the model at `path` to `out`: shapes, parameters, element types, memory (weights, keys
 * and values per token, tokens that fit into the default ceiling), tokenizer, every tensor. As one JSON
 * object or as text for people. A model whose tokenizer cannot be used is shown all the same, with the
 * reason. model_open_weights()'s errors. */
HX_MUST_CHECK int engine_cli_inspect(const char *path, bool json, struct buf *out, char *err, size_t errlen);

/* Appends what it needs of the memory alone, as a table: what stands behind the refusal of a model that does
 * not fit. The same errors. */
HX_MUST_CHECK int engine_cli_needs(const char *path, struct buf *out, char *err, size_t errlen);

/* How the model would lie on so many devices of so much memory (engine/split.h), as text. Errors of the
 * model's reader and of split_of(). */
HX_MUST_CHECK int engine_cli_plan(const char *path, int n_devices, uint64_t device_bytes, struct buf *out,
                                  char *err, size_t errlen);

#endif

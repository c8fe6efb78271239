/* `hermesd model verify FILE`: everything that can be said of a model without running it. [any-thread]
 *
 * Problems, which make it fail: a file that the readers refuse (counts, lengths, ranges, overlaps, names,
 * shapes); a number that is not finite, in any tensor of the forward pass, be it stored or in the scale of a
 * block or a row; a tokenizer that is not ours; a byte that no tokens spell, a token whose bytes do not come
 * back when they are encoded, an added token that its text does not find; no <|im_start|> or <|im_end|> among
 * the added tokens; no end of generation.
 *
 * Warnings, which do not: a matrix of zeros alone; tags of Hermes (<tool_call>, …) that are spelled by
 * several tokens; rows of the embedding without a token.
 *
 * There is no checksum: publishers give SHA-256 sums, and sha256sum compares them. */
#ifndef ENGINE_MODEL_VERIFY_H
#define ENGINE_MODEL_VERIFY_H

#include "base/buf.h"

#include <stdbool.h>

/* Appends what was found to `out`, for people or as one JSON object:
 *   {"path", "ok", "format", "tensors", "numbers", "tokens", "problems": [{"where", "what"}], "warnings":
 * […]} (format to tokens only of a model that can be opened). *n_problems is their number, those beyond the
 * first 100 too. 0, -ENOBUFS or -ENOMEM, or what keeps threads from being started. */
HX_MUST_CHECK int model_verify(const char *path, bool json, int n_threads, struct buf *out, int *n_problems,
                               char *err, size_t errlen);

#endif

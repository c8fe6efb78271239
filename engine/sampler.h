/* Choosing the next token from logits.
 *
 * Order: repeat penalty, temperature, top-k, top-p, min-p, draw (the order of Hugging Face transformers and
 * vLLM). Ties go to the lower id. Random numbers are SplitMix64 (Steele, Lea, Flood 2014), one per drawn
 * token, so that the same seed and the same logits give the same tokens on every machine. [engine-thread] */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include "base/err.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

#include <stdint.h>

/* Tokens that the repeat penalty looks back at. */
#define SAMPLER_PENALTY_TOKENS KERNELS_RECENT

struct sampler {
    struct engine_sampling how;
    uint64_t random; /* state */
};

/* Scratch for a vocabulary; one per thread that samples. */
struct sampler_candidate {
    float logit;
    int32_t id;
};

/* 0, or -EINVAL with the sentence when a setting is out of its range: temperature 0 … 100, top_k >= 0, top_p
 * 0 < p <= 1, min_p 0 … 1, repeat_penalty 0 < r <= 10 (0 is taken as 1, off; so is top_p 0). [any-thread] */
HX_MUST_CHECK int sampler_init(struct sampler *s, const struct engine_sampling *how, char *err,
                               size_t errlen);

/* Takes out the tokens whose bit (id % 32 of mask[id / 32]) is not set, for sampler_next(). One at least is.
 */
void sampler_mask(float *logits, int n_vocab, const uint32_t *mask);

/* The next token. `logits` (n_vocab) is used as scratch; `recent` are the last tokens of the timeline, oldest
 * first; `scratch` has n_vocab elements. */
int32_t sampler_next(struct sampler *s, float *logits, int n_vocab, const int32_t *recent, int n_recent,
                     struct sampler_candidate *scratch);

/* What a device needs to choose the token that sampler_next() would choose from the same logits after
 * sampler_mask(); `mask` may be NULL; `recent` is borrowed. Once it has chosen, sampler_chosen() moves the
 * random numbers on; where it could not, sampler_next() chooses with the same one. */
void sampler_describe(const struct sampler *s, const int32_t *recent, int n_recent, const uint32_t *mask,
                      struct kernels_sample *out);
void sampler_chosen(struct sampler *s);
/* Whether what was described is what the sampler would do now: with the random number that it draws next. */
bool sampler_is_at(const struct sampler *s, const struct kernels_sample *described);

#endif

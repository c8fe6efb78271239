/* How a tokenizer is made from a model file. Private to engine/. */
#ifndef ENGINE_BPE_H
#define ENGINE_BPE_H

#include "engine/tokenizer.h"

/* The split of Llama 3 (tokenizer.json of meta-llama/Meta-Llama-3-8B; llama.cpp LLAMA_VOCAB_PRE_TYPE_LLAMA3),
 * the only one there is. */
extern const char bpe_split_pattern[];

struct bpe_text {
    const char *data;
    size_t len;
};

/* Everything borrowed during the call. */
struct bpe_source {
    int n_vocab;
    const struct bpe_text
        *tokens; /* n_vocab, ordinary ones in the byte-level alphabet (GPT-2, bytes_to_unicode), added ones as
                  * they are spelled; data NULL: an id without a token */
    const bool *added;             /* n_vocab: control and user-defined tokens */
    const struct bpe_text *merges; /* n_merges times "left right", best first */
    size_t n_merges;
    bool ignore_merges; /* a word that is a token itself is not split (Llama 3) */
};

HX_MUST_CHECK int bpe_create(const struct bpe_source *source, struct tokenizer **out, char *err,
                             size_t errlen);

#endif

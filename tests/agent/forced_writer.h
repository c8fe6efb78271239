/* Writes one text under a grammar with forced tokens and no model: what the model would choose is drawn, or
 * taken from a text that it is to write. Checks that the tokens are those of the tokenizer. */
#ifndef TESTS_AGENT_FORCED_WRITER_H
#define TESTS_AGENT_FORCED_WRITER_H

#include "base/buf.h"
#include "engine/grammar.h"
#include "engine/grammar_vocab.h"
#include "engine/tokenizer.h"

struct forced_writer {
    const struct tokenizer *tokenizer;
    const struct grammar_vocab *vocab;
    uint32_t *mask;      /* for a mask */
    const char *target;  /* what to write, or NULL: */
    uint64_t random;     /* draws from the mask */
    uint32_t max_tokens; /* ends in time */
};

struct forced_text {
    struct token_list ids;
    struct buf text;
    bool *forced;      /* per byte: the grammar left no choice when the byte was to come */
    size_t n_choices;  /* tokens that were chosen: steps of a model */
    size_t n_replaced; /* times that a chosen token was replaced */
    size_t n_rerun;    /* tokens to compute again because of it */
    size_t last;       /* bytes that were there before the last choice */
    bool complete;
};

/* Aborts on failure. */
void forced_writer_run(const struct forced_writer *w, struct grammar *g, struct forced_text *out);
void forced_text_free(struct forced_text *t);

/* Words with forced bytes in them whose tokens are not those of the tokenizer; in *n all such words. */
size_t forced_text_others(const struct forced_text *t, const struct tokenizer *tokenizer, size_t *n);
/* Whether all tokens are those of the tokenizer, as a template. */
bool forced_text_is_canonical(const struct forced_text *t, const struct tokenizer *tokenizer);

#endif

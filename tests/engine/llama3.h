/* The tokenizer of Llama 3 from the shared data, as a model without weights. */
#ifndef TESTS_ENGINE_LLAMA3_H
#define TESTS_ENGINE_LLAMA3_H

#include "engine/grammar_vocab.h"
#include "engine/model.h"

#define LLAMA3_TOKENS 128256

/* model_close() frees it. Ends the program with 77 (skipped) without the data, and with 1 when it cannot be
 * read. */
struct model *llama3_open(void);
/* Its vocabulary for grammars. */
struct grammar_vocab *llama3_vocab(const struct model *m);

#endif

/* Random texts made of the spellings of control tokens, whole, cut, doubled and mixed with other bytes. */
#ifndef TESTS_ENGINE_SPELLINGS_H
#define TESTS_ENGINE_SPELLINGS_H

#include "engine/tokenizer.h"

#include <stdint.h>

/* Encodes `n` of them as text: no id may be a control token, and the pieces must give back the text's bytes.
 * A failure fails the running cmocka test. */
void spellings_check(const struct tokenizer *t, int n, uint64_t seed);

#endif

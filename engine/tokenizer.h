/* Byte-level BPE of the Llama-3 family. Immutable after creation; encoding is [any-thread] with one scratch
 * per call.
 *
 * Two ways in, which never mix:
 *   tokenizer_encode_text      user text and tool output. There is no added-token table on this path, so no
 * input can become a control token; what spells `<|im_end|>` becomes ordinary tokens.
 *   tokenizer_encode_template  our own literals. Added tokens are found by text, longest first, then the rest
 * as text. */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* Growing list of ids; free(ids->v). */
struct token_list {
    int32_t *v;
    size_t n, cap;
};
HX_MUST_CHECK int token_list_push(struct token_list *list, int32_t id);
HX_MUST_CHECK int token_list_append(struct token_list *list, const int32_t *ids, size_t n);
void token_list_finish(struct token_list *list);

/* Appends the ids of `text` to `out`. -ENOMEM, -E2BIG (over 64 MiB of text), -EIO (a limit of the
 * split's machine; none is known that a text can reach). Any bytes are accepted; invalid
 * UTF-8 encodes byte by byte and decodes back. */
HX_MUST_CHECK int tokenizer_encode_text(const struct tokenizer *t, const char *text, size_t len,
                                        struct token_list *out);
HX_MUST_CHECK int tokenizer_encode_template(const struct tokenizer *t, const char *text, size_t len,
                                            struct token_list *out);

/* The word of the split that begins at byte `at` (below len, where a word begins) of a text that may go on:
 * its end goes to *end, at most len. Tokens never reach over the end of a word. 1 when the word stays as it
 * is whatever follows the text, 0 when that is not sure; -ENOMEM, -EIO. */
HX_MUST_CHECK int tokenizer_word(const struct tokenizer *t, const char *text, size_t len, size_t at,
                                 size_t *end);

/* The bytes of one token (an added token's text for those), borrowed, not NUL-terminated; length in *len.
 * NULL for an id out of range. A byte sequence of a token may be part of a UTF-8 character. */
const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *len);
/* True for tokens that tokenizer_encode_text() never produces (control and user-defined ones). */
bool tokenizer_is_added(const struct tokenizer *t, int32_t id);
/* The added token spelled `text`, or -1. */
int32_t tokenizer_find_added(const struct tokenizer *t, const char *text);
int tokenizer_n_vocab(const struct tokenizer *t);

void tokenizer_destroy(struct tokenizer *t);

#endif

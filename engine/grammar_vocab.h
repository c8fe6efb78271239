/* A vocabulary as grammars see it: the bytes of every token as a trie, so that one walk finds all tokens that
 * may come next, and slices of it that need no walk at all. Immutable; any thread. Private to engine/. */
#ifndef ENGINE_GRAMMAR_VOCAB_H
#define ENGINE_GRAMMAR_VOCAB_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* A node of the flat trie, in depth-first order. */
struct grammar_node {
    uint32_t token_byte; /* token << 8 | byte; token GRAMMAR_NO_TOKEN: none ends here */
    uint32_t size;       /* nodes of its subtree, itself included */
    uint32_t depth;      /* bytes before it */
};
#define GRAMMAR_NO_TOKEN 0xFFFFFFu

struct grammar_trie {
    struct grammar_node *nodes;
    size_t n;
};

/* Tokens that are plain characters of a JSON string, whole in UTF-8: wherever `plain` of them may follow
 * (grammar_state.plain), all that have no more are allowed, and only the rest is walked. */
enum grammar_slice {
    GRAMMAR_SLICE_NONE,
    GRAMMAR_SLICE_SHORT, /* at most GRAMMAR_SHORT_CHARS characters */
    GRAMMAR_SLICE_PLAIN, /* all of them, at most `longest` characters */
    GRAMMAR_SLICES
};
#define GRAMMAR_SHORT_CHARS 12

struct grammar_vocab {
    int n_tokens;
    size_t words;                             /* 32-bit words of a mask */
    char *bytes;                              /* of all tokens */
    uint32_t *offsets;                        /* n_tokens + 1 */
    uint8_t *kinds;                           /* enum grammar_token */
    struct grammar_trie rest[GRAMMAR_SLICES]; /* the tokens that the slice lacks */
    uint32_t *slices[GRAMMAR_SLICES];         /* masks; [GRAMMAR_SLICE_NONE] is empty */
    uint32_t *added;                          /* mask of the added tokens that do not end a turn */
    uint32_t *ends;                           /* and of those that do */
    uint32_t longest;                         /* characters of the longest plain token */
    uint32_t max_bytes;                       /* of an ordinary token */
    uint64_t fingerprint; /* of the tokens; an address would not do, the next vocabulary may get the same */
};

enum grammar_token {
    GRAMMAR_TOKEN_BYTES,  /* ordinary: its bytes */
    GRAMMAR_TOKEN_ADDED,  /* control or user-defined: never text */
    GRAMMAR_TOKEN_END,    /* ends a turn */
    GRAMMAR_TOKEN_UNUSED, /* never allowed: no bytes, or those of a lower id */
};

/* `ends`: tokens that end a turn. -ENOMEM; -EINVAL when a byte is no token. *out is the caller's. */
HX_MUST_CHECK int grammar_vocab_create(const struct tokenizer *t, const int32_t *ends, size_t n_ends,
                                       struct grammar_vocab **out, char *err, size_t errlen);
void grammar_vocab_destroy(struct grammar_vocab *v); /* NULL is fine */

/* 32-bit words of a mask. */
size_t grammar_vocab_words(const struct grammar_vocab *v);
size_t grammar_vocab_bytes(const struct grammar_vocab *v);
/* The added token of this text, or -1. */
int32_t grammar_vocab_find_added(const struct grammar_vocab *v, const char *text, size_t len);

#endif

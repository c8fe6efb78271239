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
    uint32_t size_depth; /* GRAMMAR_NODE_BREAKS or 0 | nodes of its subtree, itself included, << 8 | bytes
                            before it */
};
#define GRAMMAR_NO_TOKEN 0xFFFFFFu
/* All tokens behind it go on with plain ASCII characters, if any, and then a control byte, as no string does.
 */
#define GRAMMAR_NODE_BREAKS 0x80000000u

static inline uint32_t grammar_node_size(const struct grammar_node *node) {
    return node->size_depth >> 8 & 0x7FFFFF;
}

static inline uint32_t grammar_node_depth(const struct grammar_node *node) {
    return node->size_depth & 255;
}

/* The nodes of the first two levels lie far from each other; those that a state has no use for are passed
 * here. */
struct grammar_branch {
    uint32_t node; /* index */
    uint32_t byte;
};

struct grammar_trie {
    struct grammar_node *nodes;
    size_t n;
    struct grammar_branch tops[257]; /* of depth 0; the last has node n */
    uint32_t kids_from[257];         /* where the kids of each begin in `kids` */
    uint32_t n_tops;
    struct grammar_branch *kids; /* of depth 1 */
};

/* Tokens that are allowed without a look in some states, where only the rest is walked: those that are
 * characters of a JSON string, plain or one of \b \f \n \r \t \" \\, the last perhaps only begun, where that
 * many may follow (grammar_state.plain); and those without the byte that tags begin with, in text until a tag
 * (grammar_state.text). */
enum grammar_slice {
    GRAMMAR_SLICE_NONE,
    GRAMMAR_SLICE_SHORT,  /* at most GRAMMAR_SHORT_CHARS characters */
    GRAMMAR_SLICE_MEDIUM, /* at most GRAMMAR_MEDIUM_CHARS */
    GRAMMAR_SLICE_PLAIN,  /* all of them, at most `longest` characters */
    GRAMMAR_SLICE_TEXT,
    GRAMMAR_SLICES
};
#define GRAMMAR_SHORT_CHARS  12
#define GRAMMAR_MEDIUM_CHARS 28
#define GRAMMAR_TEXT_BYTE    '<'

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
    uint32_t byte_tokens[256];                /* the tokens of one byte */
    uint32_t longest;                         /* characters of the longest token of strings */
    uint32_t max_bytes;                       /* of an ordinary token */
    uint64_t fingerprint; /* of the tokens; an address would not do, the next vocabulary may get the same */
};

enum grammar_token {
    GRAMMAR_TOKEN_BYTES,  /* ordinary: its bytes */
    GRAMMAR_TOKEN_ADDED,  /* control or user-defined: never text */
    GRAMMAR_TOKEN_END,    /* ends a turn */
    GRAMMAR_TOKEN_UNUSED, /* never allowed: no bytes, more than 255, or those of a lower id */
};

/* `ends`: tokens that end a turn. -ENOMEM; -EINVAL when a byte is no token, or the tokens are above 8 MB.
 * *out is the caller's. */
HX_MUST_CHECK int grammar_vocab_create(const struct tokenizer *t, const int32_t *ends, size_t n_ends,
                                       struct grammar_vocab **out, char *err, size_t errlen);
void grammar_vocab_destroy(struct grammar_vocab *v); /* NULL is fine */

/* 32-bit words of a mask. */
size_t grammar_vocab_words(const struct grammar_vocab *v);
size_t grammar_vocab_bytes(const struct grammar_vocab *v);
/* The added token of this text, or -1. */
int32_t grammar_vocab_find_added(const struct grammar_vocab *v, const char *text, size_t len);

#endif

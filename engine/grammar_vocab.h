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
    uint32_t holds;      /* all tokens of its subtree: characters of the longest << GRAMMAR_KINDS | kinds */
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

/* Kinds of bytes: patterns seldom tell apart bytes of one kind. A token holds a kind when a byte of it is of
 * that kind; a space that a token begins with does not count, because words come with and without it. */
enum grammar_byte_kind {
    GRAMMAR_KIND_HEX_LOWER, /* a-f */
    GRAMMAR_KIND_LOWER,     /* g-z */
    GRAMMAR_KIND_HEX_UPPER,
    GRAMMAR_KIND_UPPER,
    GRAMMAR_KIND_ZERO,
    GRAMMAR_KIND_DIGIT, /* 1-9 */
    GRAMMAR_KIND_MINUS,
    GRAMMAR_KIND_UNDERLINE,
    GRAMMAR_KIND_POINT,
    GRAMMAR_KIND_SLASH,
    GRAMMAR_KIND_COLON,
    GRAMMAR_KIND_SPACE,
    GRAMMAR_KIND_AT,
    GRAMMAR_KIND_PLUS,
    GRAMMAR_KIND_PERCENT,
    GRAMMAR_KIND_HASH,
    GRAMMAR_KIND_QUESTION,
    GRAMMAR_KIND_MARK, /* !$&'()*,;=~ */
    GRAMMAR_KIND_QUOTE,
    GRAMMAR_KIND_BACKSLASH,
    GRAMMAR_KIND_ANGLE,   /* <> */
    GRAMMAR_KIND_BRACKET, /* [] */
    GRAMMAR_KIND_BRACE,   /* {}|^` */
    GRAMMAR_KIND_CONTROL, /* below a space, and DEL */
    GRAMMAR_KIND_WIDE,    /* from 0x80 on */
    GRAMMAR_BYTE_KINDS,
    GRAMMAR_KIND_BROKEN = GRAMMAR_BYTE_KINDS, /* no byte: not a token of GRAMMAR_SLICE_PLAIN */
    GRAMMAR_KINDS,
};
#define GRAMMAR_KINDS_ALL ((1u << GRAMMAR_KINDS) - 1)
/* Characters of tokens of GRAMMAR_SLICE_PLAIN are counted up to here, without a space at the beginning. */
#define GRAMMAR_CHARS_MAX 63u

/* The nodes of the first two levels lie far from each other; those that a state has no use for are passed
 * here. */
struct grammar_branch {
    uint32_t node; /* index */
    uint32_t byte;
    uint32_t holds; /* as the node has it */
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
    GRAMMAR_SLICE_PLAIN, /* at most `longest` characters */
    GRAMMAR_SLICE_TEXT,
    GRAMMAR_SLICES
};
#define GRAMMAR_TEXT_BYTE '<'

/* Kinds that tokens of words are made of: most tokens hold no others. */
#define GRAMMAR_WORDS                                                                                        \
    (1u << GRAMMAR_KIND_HEX_LOWER | 1u << GRAMMAR_KIND_LOWER | 1u << GRAMMAR_KIND_HEX_UPPER |                \
     1u << GRAMMAR_KIND_UPPER | 1u << GRAMMAR_KIND_ZERO | 1u << GRAMMAR_KIND_DIGIT |                         \
     1u << GRAMMAR_KIND_WIDE)

/* A token that holds kinds beside those of words. */
struct grammar_marked {
    uint32_t id, holds; /* as a node has it */
};

struct grammar_marks {
    uint32_t others; /* kinds beside those of words, and GRAMMAR_MARKS_SPACED: begin with a space */
    uint32_t from;   /* the first; up to where the next ones begin */
};
#define GRAMMAR_MARKS_SPACED (1u << GRAMMAR_KINDS)

struct grammar_long {
    uint32_t id, chars; /* all characters */
};

/* Ordinary tokens with quotes, as they are read in the name of a member. */
struct grammar_vocab_quotes {
    uint32_t *all; /* mask */
    /* Those that end the name without an escape before: sorted by the text before the quote, which has that
     * many bytes. */
    struct grammar_closer {
        uint32_t id, len;
    } * closers;
    uint32_t n_closers, longest;
    uint32_t *odd, n_odd; /* those that end it behind an escape, or have two quotes and more */
};

/* A token. Who accepts one has just worked on something else, so that each place he looks at comes from
 * memory; here it is one. */
struct grammar_vocab_token {
    uint32_t kind : 2;  /* enum grammar_token */
    uint32_t plain : 1; /* ordinary, and none of its bytes begins or ends a JSON value or name */
    uint32_t len : 29;
    union {
        char own[12];
        uint32_t at; /* in `bytes`, where `own` is not enough */
    };
};

struct grammar_vocab {
    int n_tokens;
    size_t words; /* 32-bit words of a mask */
    struct grammar_vocab_token *tokens;
    char *bytes; /* of long tokens */
    size_t n_bytes;
    struct grammar_trie rest[GRAMMAR_SLICES]; /* the tokens that the slice lacks */
    uint32_t *slices[GRAMMAR_SLICES];         /* masks; [GRAMMAR_SLICE_NONE] is empty */
    uint32_t *kinds_held[GRAMMAR_KINDS]; /* masks of the ordinary tokens that hold a kind of GRAMMAR_WORDS */
    uint32_t *words_only;                /* and of those of GRAMMAR_SLICE_PLAIN that hold no other kind */
    struct grammar_marked *marked;       /* others of it, without escapes and DEL, sorted by `others` */
    uint32_t n_marked;
    struct grammar_marks *marks; /* where those with the same others are */
    uint32_t n_marks;
    uint32_t *up_to[GRAMMAR_CHARS_MAX]; /* and of those of GRAMMAR_SLICE_PLAIN of that many characters */
    uint32_t *spaced;                   /* and of those that begin with a space */
    uint8_t byte_kinds[256];
    struct grammar_long *longs; /* tokens of GRAMMAR_SLICE_PLAIN with GRAMMAR_CHARS_MAX characters and more */
    uint32_t n_longs;
    struct grammar_vocab_quotes quotes;
    uint32_t *added;           /* mask of the added tokens that do not end a turn */
    uint32_t *ends;            /* and of those that do */
    uint32_t byte_tokens[256]; /* the tokens of one byte */
    uint32_t longest;          /* characters of the longest token of strings, at least 1 */
    uint32_t max_bytes;        /* of an ordinary token */
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

/* Private to grammar_vocab.c. -ENOMEM. */
HX_MUST_CHECK int grammar_vocab_quotes_init(struct grammar_vocab *v);
void grammar_vocab_quotes_finish(struct grammar_vocab_quotes *q);

/* The bytes of a token. */
static inline const char *grammar_vocab_text(const struct grammar_vocab *v, uint32_t id, size_t *len) {
    const struct grammar_vocab_token *t = &v->tokens[id];
    *len = t->len;
    return t->len <= sizeof t->own ? t->own : v->bytes + t->at;
}
/* The first of the closers with this text before the quote, *n of them. */
const struct grammar_closer *grammar_vocab_closers(const struct grammar_vocab *v, const char *text,
                                                   size_t len, uint32_t *n);
/* 32-bit words of a mask. */
size_t grammar_vocab_words(const struct grammar_vocab *v);
size_t grammar_vocab_bytes(const struct grammar_vocab *v);
/* The added token of this text, or -1. */
int32_t grammar_vocab_find_added(const struct grammar_vocab *v, const char *text, size_t len);

#endif

/* A vocabulary for grammars: the bytes, what JSON is written with, and two added tokens. */
#ifndef TESTS_FUZZ_VOCABULARY_H
#define TESTS_FUZZ_VOCABULARY_H

#include "engine/bpe.h"
#include "engine/grammar_vocab.h"

#include <stdlib.h>
#include <string.h>

/* The byte as tokenizers write it (GPT-2, bytes_to_unicode). */
static size_t vocabulary_letter(unsigned byte, char *out) {
    unsigned code = byte, moved = 256;
    for (unsigned b = 0; b <= byte; b++) {
        bool plain = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        code = plain ? b : moved;
        moved += !plain;
    }
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    out[0] = (char)(0xC0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3F));
    return 2;
}

/* The vocabulary, made once and never freed. */
static const struct grammar_vocab *vocabulary(void) {
    static const char *const words[] = {
        "{\"",  "\"}",  "\":",   "\": ",  "\", \"",    ", \"",     ", ",       "\"\"",   "\"a\"",
        "\"a",  "a\"",  "a\":",  "b\": ", "ab",        "abc",      "name",     "the",    " a",
        " the", "\\\"", "\\n",   "\\u00", "\\u",       "006",      "61",       "0061\"", "\\\\",
        "n\"",  "12",   "345",   "-1",    ".5",        "0.",       "true",     "false",  "null",
        "[]",   "{}",   "[[",    "]]",    "}}",        "[{\"",     "1, ",      "e+1",    "2024-",
        "T1",   "::",   "@",     "aaaa",  "aaaaaaaa",  "\xC3\xA9", "\xE2\x82", "\xAC\"", "  ",
        " \"",  "x\"y", "\"b\"", "a\\",   "\\u0061\"", "A",        "AB",       "_id",    "0000",
        "999",  "://",  "null}"};
    enum { WORDS = sizeof words / sizeof *words, N = 256 + WORDS + 2 };
    static struct grammar_vocab *v;
    static char texts[N][64];
    static struct bpe_text tokens[N];
    static bool added[N];
    struct tokenizer *t = NULL;
    char err[200] = "";
    if (v != NULL)
        return v;
    for (int i = 0; i < N - 2; i++) {
        const char byte[2] = {(char)i, 0}, *word = i < 256 ? byte : words[i - 256];
        size_t len = 0, n = i < 256 ? 1 : strlen(word);
        for (size_t k = 0; k < n; k++)
            len += vocabulary_letter((unsigned char)word[k], texts[i] + len);
        tokens[i] = (struct bpe_text){texts[i], len};
    }
    tokens[N - 2] = (struct bpe_text){"<tool_call>", 11};
    tokens[N - 1] = (struct bpe_text){"<|end|>", 7};
    added[N - 2] = added[N - 1] = true;
    const struct bpe_source source = {.n_vocab = N, .tokens = tokens, .added = added};
    const int32_t end = N - 1;
    int rc = bpe_create(&source, &t, err, sizeof err);
    rc = rc ? rc : grammar_vocab_create(t, &end, 1, &v, err, sizeof err);
    tokenizer_destroy(t);
    if (rc != 0) {
        fprintf(stderr, "no vocabulary: %s\n", err);
        abort();
    }
    return v;
}

#endif

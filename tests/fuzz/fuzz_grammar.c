/* The first line is a schema, the rest a value. Whatever they are: no crash, no leak; a grammar that is exact
 * matches what the validator lets pass and nothing else, one that is not lets more pass; from every place
 * that the value leads to, the end is reached in as many bytes as the matcher says; and masks there are what
 * trying each token gives, with and without a limit. */
#include "agent/constrain.h"
#include "engine/grammar.h"
#include "tests/fuzz/vocabulary.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect(int truth, const char *what) {
    if (!truth) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

/* Whether members are asked for, or names are few: the shortest ones may not be enough, and the way is
 * longer. */
static bool names_are_few;

/* Goes to the end, always by a byte that comes nearer. */
static void finish(const struct grammar_matcher *from) {
    struct grammar_matcher m;
    expect(grammar_matcher_clone(&m, from) == 0, "a matcher can be cloned");
    for (uint32_t left = grammar_matcher_distance(&m); left > 0 && left < 300; left--) {
        int byte = 0;
        for (; byte < 256; byte++) {
            struct grammar_matcher next;
            expect(grammar_matcher_clone(&next, &m) == 0, "a matcher can be cloned");
            bool nearer = grammar_matcher_byte(&next, (unsigned char)byte) == 1 &&
                          grammar_matcher_distance(&next) == left - 1;
            grammar_matcher_finish(&next);
            if (nearer)
                break;
        }
        expect(byte < 256, "some byte leads nearer to the end");
        expect(grammar_matcher_byte(&m, (unsigned char)byte) == 1, "what is allowed once is allowed again");
    }
    grammar_matcher_finish(&m);
}

static size_t n_cut(const struct grammar *g) {
    struct grammar_info info;
    grammar_info(g, &info);
    return info.n_cut;
}

/* The mask against each token. One that was cut may lack some, and then a token that it has may be too much
 * work. */
static void compare_mask(struct grammar_matcher *m, uint32_t within) {
    const struct grammar_vocab *v = vocabulary();
    uint32_t mask[32];
    size_t cut = n_cut(m->grammar);
    expect(grammar_vocab_words(v) <= 32, "the mask has room");
    int rc = grammar_matcher_mask(m, v, within, mask);
    bool far = names_are_few && within != GRAMMAR_FOREVER;
    expect(rc == 0 || rc == -E2BIG || (rc == -ENODATA && far), "there is a mask");
    cut = n_cut(m->grammar) - cut;
    for (int32_t id = 0; id < v->n_tokens && rc == 0; id++) {
        struct grammar_matcher next;
        expect(grammar_matcher_clone(&next, m) == 0, "a matcher can be cloned");
        int taken = grammar_matcher_token(&next, v, id);
        bool near =
            taken == 1 && (v->tokens[id].kind == GRAMMAR_TOKEN_END || grammar_matcher_is_complete(&next) ||
                           grammar_matcher_distance(&next) < within);
        bool allowed = (mask[id / 32] >> id % 32 & 1) != 0;
        bool heavy = taken == -E2BIG;
        if (!heavy && (allowed ? !near : near && cut == 0))
            fprintf(stderr, "token %d within %u: %d, near %d, mask %d\n", id, within, taken, near, allowed);
        expect(heavy || (allowed ? near : !near || cut > 0), "the mask is what the tokens are");
        grammar_matcher_finish(&next);
    }
}

/* 1, 0, -1: no verdict. */
static int match(struct grammar *g, const char *text, size_t len) {
    struct grammar_matcher m;
    expect(grammar_matcher_init(&m, g) == 0, "a matcher can begin");
    int rc = 1;
    for (size_t i = 0; i < len && rc == 1; i++) {
        if (i == len / 2 && !names_are_few)
            finish(&m);
        if (i % 5 == len % 5 && i < 60) {
            compare_mask(&m, GRAMMAR_FOREVER);
            compare_mask(&m, grammar_matcher_distance(&m) + 1 + (uint32_t)(i % 3));
        }
        rc = grammar_matcher_byte(&m, (unsigned char)text[i]);
    }
    expect(rc >= 0 || rc == -E2BIG, "only a state that is too large stops a matcher");
    rc = rc == 1 ? grammar_matcher_is_complete(&m) : rc == 0 ? 0 : -1;
    grammar_matcher_finish(&m);
    return rc;
}

static void play(const struct schema *schema, const struct value *value, bool whole) {
    struct grammar *g = NULL;
    struct constrain_report report;
    struct buf text;
    char err[300] = "";
    int rc = constrain_value(schema, whole, &g, &report, err, sizeof err);
    if (rc != 0) {
        expect(err[0] != '\0', "a refusal has a sentence");
        return;
    }
    expect(report.exact == (report.why[0] == '\0'), "what is not exact has a reason");
    buf_init(&text, 1u << 20);
    if (constrain_spell(schema, value, &text) == 0) {
        int verdict = match(g, text.data, text.len);
        int valid = schema_check(schema, value, NULL, 0);
        /* Numbers with exponents are spelled where no bound is only. */
        bool plain = strstr(text.data, "e+") == NULL && strstr(text.data, "e-") == NULL;
        if (verdict == 1 && report.exact)
            expect(valid == 0 || valid == -E2BIG, "what matches is valid");
        if (verdict == 0 && whole && report.exact && plain)
            expect(valid != 0, "what is valid matches");
    }
    buf_finish(&text);
    grammar_unref(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct schema_options any = {.any_value = true};
    static const struct json_limits limits = {.max_bytes = 4096, .max_nodes = 500, .max_depth = 32};
    const char *text = (const char *)data, *line = size > 0 ? memchr(text, '\n', size) : NULL;
    struct value_document *document = NULL;
    struct schema *schema = NULL;
    size_t len = line != NULL ? (size_t)(line - text) : size;
    if (line == NULL || size > 8192 || schema_compile_with(text, len, &any, &schema, NULL, NULL, 0) != 0)
        return 0;
    names_are_few = memmem(text, len, "minProperties", 13) != NULL ||
                    memmem(text, len, "atternProp", 10) != NULL ||
                    memmem(text, len, "propertyNames", 13) != NULL;
    if (value_parse(line + 1, size - len - 1, &limits, &document, NULL, 0) == 0) {
        play(schema, value_root(document), true);
        play(schema, value_root(document), false);
        value_destroy(document);
    }
    schema_destroy(schema);
    return 0;
}

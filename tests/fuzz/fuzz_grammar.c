/* The first line is a schema, the rest a value. Whatever they are: no crash, no leak; a grammar that is exact
 * matches what the validator lets pass and nothing else, one that is not lets more pass; and from every place
 * that the value leads to, the end is reached in as many bytes as the matcher says. */
#include "agent/constrain.h"
#include "engine/grammar.h"

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

/* 1, 0, -1: no verdict. */
static int match(struct grammar *g, const char *text, size_t len) {
    struct grammar_matcher m;
    expect(grammar_matcher_init(&m, g) == 0, "a matcher can begin");
    int rc = 1;
    for (size_t i = 0; i < len && rc == 1; i++) {
        if (i == len / 2)
            finish(&m);
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
    if (value_parse(line + 1, size - len - 1, &limits, &document, NULL, 0) == 0) {
        play(schema, value_root(document), true);
        play(schema, value_root(document), false);
        value_destroy(document);
    }
    schema_destroy(schema);
    return 0;
}

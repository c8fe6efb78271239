/* No object has a name twice, whatever spelling it is written in: texts byte by byte, masks against every
 * token, a writer who wants nothing but to repeat himself, and a model of random weights at temperature 1.5.
 */
#include "agent/constrain.h"
#include "agent/toolcall.h"
#include "engine/grammar_vocab.h"
#include "engine/local.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"
#include "tests/engine/llama3.h"
#include "tests/engine/random_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct model *small, *llama3;
static struct grammar_vocab *small_vocab, *llama3_tokens;

static struct schema *compile(const char *text) {
    static const struct schema_options any = {.any_value = true};
    struct schema *s = NULL;
    char err[300] = "";
    if (schema_compile_with(text, strlen(text), &any, &s, NULL, err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    return s;
}

static struct grammar *grammar_of(const struct schema *schema, bool whole) {
    struct grammar *g = NULL;
    struct constrain_report report;
    char err[300] = "";
    if (constrain_value(schema, whole, &g, &report, err, sizeof err) != 0)
        fail_msg("%s", err);
    return g;
}

/* ---- texts ---- */

#define FREE "{\"type\": \"object\"}"
#define BESIDE                                                                                               \
    "{\"type\": \"object\", \"properties\": {\"ab\": {\"const\": 1}}, \"additionalProperties\": {}}"
#define NESTED "{\"type\": \"object\", \"properties\": {\"in\": {\"type\": \"object\"}}}"
#define PATTERN                                                                                              \
    "{\"type\": \"object\", \"patternProperties\": {\"^[a-z]+$\": {}}, \"additionalProperties\": false}"
#define FEW   "{\"type\": \"object\", \"patternProperties\": {\"^[xy]$\": {}}, \"additionalProperties\": false}"
#define NAMES "{\"type\": \"object\", \"propertyNames\": {\"enum\": [\"x\", \"y\"]}}"

static void test_texts(void **state) {
    (void)state;
    static const struct {
        const char *schema, *text;
        int bytes; /* so many are taken; -1: all */
    } rows[] = {
        {FREE, "{\"a\": 1, \"b\": 2, \"ab\": 3}", -1},
        {FREE, "{\"ab\": 1, \"a\": 2}", -1},
        {FREE, "{\"a\": 1, \"a\": 2}", 11},
        {FREE, "{\"a\": 1, \"\\u0061\": 2}", 16},
        {FREE, "{\"\\u0061\": 1, \"a\": 2}", 16},
        {FREE, "{\"\xC3\xA9\": 1, \"\\u00E9\": 2}", 17},
        {FREE, "{\"\\ud83d\\ude00\": 1, \"\xF0\x9F\x98\x80\": 2}", 25},
        {FREE, "{\"a\\\"\": 1, \"a\\u0022\": 2}", 19},
        {FREE, "{\"\\n\": 1, \"\\u000a\": 2}", 17},
        {FREE, "{\"\\\\\": 1, \"\\\\\\\\\": 2}", -1},
        {FREE, "{\"a\": \"a\", \"b\": \"a\"}", -1},
        {FREE, "{\"a\": \"\\\", \", \"b\": \"{\"}", -1},
        {FREE, "{\"a\": {\"a\": {\"a\": 1}}, \"b\": {\"a\": 1}}", -1},
        {FREE, "{\"a\": {\"x\": 1, \"x\": 2}}", 17},
        {FREE, "{\"a\": {\"x\": 1}, \"a\": 2}", 18},
        {FREE, "{\"a\": [{\"x\": 1}, {\"x\": 2}, [\"x\", \"x\"]]}", -1},
        {FREE, "{\"a\": [{\"x\": 1, \"y\": [], \"x\": 2}]}", 27},
        {BESIDE, "{\"ab\": 1, \"a\": 2, \"abc\": 3}", -1},
        {BESIDE, "{\"a\": 2, \"a\": 3}", 11},
        {BESIDE, "{\"abc\": 2, \"abc\": 3}", 15},
        {NESTED, "{\"in\": {\"in\": 1, \"on\": 2}}", -1},
        {NESTED, "{\"in\": {\"in\": 1, \"in\": 2}}", 20},
        {PATTERN, "{\"a\": 1, \"b\": 2, \"aa\": 3}", -1},
        {PATTERN, "{\"aa\": 1, \"a\": 2, \"aa\": 3}", 21},
        {NAMES, "{\"x\": 1, \"y\": 2}", -1},
        {NAMES, "{\"x\": 1, \"x\": 2}", 10},
        /* No other name begins like it and there is no way back: it must pass, and is refused afterwards. */
        {FEW, "{\"x\": 1, \"x\": 2}", -1},
    };
    for (size_t i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
        const char *text = rows[i / 2].text;
        struct schema *schema = compile(rows[i / 2].schema);
        struct grammar *g = grammar_of(schema, i % 2 == 0);
        struct grammar_matcher m;
        int taken = 0, rc = 1;
        assert_int_equal(grammar_matcher_init(&m, g), 0);
        while (text[taken] != '\0' && (rc = grammar_matcher_byte(&m, (unsigned char)text[taken])) == 1)
            taken++;
        int all = (int)strlen(text), expected = rows[i / 2].bytes < 0 ? all : rows[i / 2].bytes;
        if (taken != expected || (rc == 1) != grammar_matcher_is_complete(&m))
            fail_msg("%s takes %d bytes of %s and not %d", rows[i / 2].schema, taken, text, expected);
        grammar_matcher_finish(&m);
        grammar_unref(g);
        schema_destroy(schema);
    }
}

/* The empty name, of which nothing is kept but that it was there. */
static void test_the_empty_name_twice(void **state) {
    (void)state;
    static const char *const texts[] = {"{\"\": 1, \"\": 2}", "{\"\": 1, \"a\": 2, \"\": 3}",
                                        "{\"a\": 1, \"\": 2, \"\": 3}"};
    struct schema *schema = compile(FREE);
    struct grammar *g = grammar_of(schema, true);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct grammar_matcher m;
        int end = (int)(strrchr(texts[i], ':') - texts[i]), taken = 0;
        assert_int_equal(grammar_matcher_init(&m, g), 0);
        while (texts[i][taken] != '\0' && grammar_matcher_byte(&m, (unsigned char)texts[i][taken]) == 1)
            taken++;
        if (taken != end - 1) /* the quote that ends it must not come */
            fail_msg("%d bytes of %s are taken, not %d", taken, texts[i], end - 1);
        grammar_matcher_finish(&m);
        assert_int_equal(grammar_matcher_init(&m, g), 0);
        if (grammar_matcher_bytes(&m, texts[i], strlen(texts[i])) != 0)
            fail_msg("%s is taken at once", texts[i]);
        grammar_matcher_finish(&m);
    }
    grammar_unref(g);
    schema_destroy(schema);
}

/* Each call begins with no names, and those of the frame around it are not the arguments'. */
static void test_turn(void **state) {
    (void)state;
    struct schema *schema = compile(FREE), *other = compile("{\"type\": \"object\", \"properties\": {}}");
    const struct constrain_tool tools[] = {{.name = "f", .schema = schema}, {.name = "g", .schema = other}};
    static const char *const texts[] = {
        "{\"a\": 1} {\"a\" \"a\" <tool_call>\n{\"name\": \"f\", \"arguments\": {\"name\": 1, \"arguments\": "
        "{}}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {\"name\": {}}}\n</tool_call>"
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"name\": 1, \"b\": 2}}\n</tool_call>",
        "<tool_call>\n{\"name\": \"g\", \"arguments\": {\"a\": 1, \"a\": 2}}\n</tool_call>",
    };
    struct grammar *g = NULL;
    struct constrain_report report;
    char err[300] = "";
    if (constrain_turn(tools, 2, &g, &report, err, sizeof err) != 0)
        fail_msg("%s", err);
    for (size_t i = 0; i < 2; i++) {
        struct grammar_matcher m;
        assert_int_equal(grammar_matcher_init(&m, g), 0);
        assert_int_equal(grammar_matcher_bytes(&m, texts[i], strlen(texts[i])), i == 0);
        grammar_matcher_finish(&m);
    }
    grammar_unref(g);
    schema_destroy(schema);
    schema_destroy(other);
}

/* ---- masks ---- */

static void compare_mask(struct grammar_matcher *m, const struct grammar_vocab *v, uint32_t *mask,
                         const char *place) {
    assert_int_equal(grammar_matcher_mask(m, v, GRAMMAR_FOREVER, mask), 0);
    for (int32_t id = 0; id < v->n_tokens; id++) {
        struct grammar_matcher clone;
        /* Of many tokens all that have a quote, and some others. */
        bool quoted = (v->quotes.all[id / 32] >> id % 32 & 1) != 0;
        if (v->n_tokens > 10000 && !quoted && id % 29 != 0)
            continue;
        assert_int_equal(grammar_matcher_clone(&clone, m), 0);
        int rc = grammar_matcher_token(&clone, v, id);
        if ((mask[id / 32] >> id % 32 & 1) != (uint32_t)rc)
            fail_msg("token %d gives %d behind %s, but the mask says otherwise", id, rc, place);
        grammar_matcher_finish(&clone);
    }
}

static void test_masks(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        const char *places[16];
    } rows[] = {
        {FREE,
         {"{\"a\": 1", "{\"a\": 1, \"", "{\"a\": 1, \"a", "{\"name\": 1, \"na", "{\"name\": 1, \"\\",
          "{\"a\": 1, \"\\u006", "{\"a\\\"\": 1, \"a", "{\"\\\"\": 1, \"\\", "{\"x\": {\"x\": 1}, \"",
          "{\"x\": {\"y\": 1}", "{\"\": 1", "{\"id\": \"", "{\"id\": [\"x\"", "{\"\xC3\xA9\": 1, \"\xC3",
          "{\"id\": 1, \"i"}},
        {BESIDE, {"{\"ab\": 1, \"", "{\"abs\": 1, \"ab", "{\"abs\": 1, \"abs", "{\"a\": 1, \"a"}},
        {PATTERN, {"{\"ab\": 1, \"", "{\"name\": 1, \"na", "{\"a\": 1, \"a"}},
        {FEW, {"{\"x\": 1", "{\"x\": 1, \"", "{\"x\": 1, \"x"}},
    };
    uint32_t *mask = calloc(grammar_vocab_words(llama3_tokens), sizeof *mask);
    assert_non_null(mask);
    for (size_t i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
        struct schema *schema = compile(rows[i / 2].schema);
        struct grammar *g = grammar_of(schema, i % 2 == 0);
        for (size_t k = 0; k < 16 && rows[i / 2].places[k] != NULL; k++) {
            const char *place = rows[i / 2].places[k];
            struct grammar_matcher m;
            assert_int_equal(grammar_matcher_init(&m, g), 0);
            if (grammar_matcher_bytes(&m, place, strlen(place)) == 1) { /* "" is no name that models write */
                if (i % 2 == 0)
                    compare_mask(&m, llama3_tokens, mask, place);
                compare_mask(&m, small_vocab, mask, place);
            } else {
                assert_true(i % 2 == 1 && strstr(place, "\"\"") != NULL);
            }
            grammar_matcher_finish(&m);
        }
        grammar_unref(g);
        schema_destroy(schema);
    }
    free(mask);
}

/* Close to the end a token may not come after which the name, being one that the object has, must go on and
 * the end is out of reach. */
static void test_masks_near_the_end(void **state) {
    (void)state;
    struct schema *schema = compile(FREE);
    struct grammar *g = grammar_of(schema, false);
    uint32_t *mask = calloc(grammar_vocab_words(small_vocab), sizeof *mask);
    struct grammar_matcher m;
    static const char place[] = "{\"a\": 1, \"";
    int dropped = 0;
    assert_non_null(mask);
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    assert_int_equal(grammar_matcher_bytes(&m, place, sizeof place - 1), 1);
    for (uint32_t within = grammar_matcher_distance(&m); within < 20; within++) {
        assert_int_equal(grammar_matcher_mask(&m, small_vocab, within, mask), 0);
        uint32_t a = small_vocab->byte_tokens['a'], b = small_vocab->byte_tokens['b'];
        bool old_name = (mask[a / 32] >> a % 32 & 1) != 0, new_name = (mask[b / 32] >> b % 32 & 1) != 0;
        dropped += new_name && !old_name;
        for (int32_t id = 0; id < small_vocab->n_tokens; id++) {
            struct grammar_matcher clone;
            if ((mask[id / 32] >> id % 32 & 1) == 0)
                continue;
            assert_int_equal(grammar_matcher_clone(&clone, &m), 0);
            assert_int_equal(grammar_matcher_token(&clone, small_vocab, id), 1);
            assert_true(grammar_matcher_distance(&clone) < within || grammar_matcher_is_complete(&clone));
            grammar_matcher_finish(&clone);
        }
    }
    assert_int_equal(dropped, 1); /* the way by "a" is one character longer */
    grammar_matcher_finish(&m);
    free(mask);
    grammar_unref(g);
    schema_destroy(schema);
}

/* From the place to the end, always by a byte that comes one nearer. */
static void expect_way(const struct grammar_matcher *from, const char *place) {
    struct grammar_matcher m;
    assert_int_equal(grammar_matcher_clone(&m, from), 0);
    for (uint32_t left = grammar_matcher_distance(&m); left > 0; left--) {
        int byte = 0;
        for (; byte < 256; byte++) {
            struct grammar_matcher next;
            assert_int_equal(grammar_matcher_clone(&next, &m), 0);
            bool nearer = grammar_matcher_byte(&next, (unsigned char)byte) == 1 &&
                          grammar_matcher_distance(&next) == left - 1;
            grammar_matcher_finish(&next);
            if (nearer)
                break;
        }
        if (byte == 256)
            fail_msg("behind %s nothing leads nearer to the end than %u bytes", place, left);
        assert_int_equal(grammar_matcher_byte(&m, (unsigned char)byte), 1);
    }
    assert_true(grammar_matcher_is_complete(&m));
    grammar_matcher_finish(&m);
}

/* Every token of the mask ends within the limit, and every other one that may come does not. */
static void expect_near(struct grammar_matcher *m, uint32_t within, const char *place) {
    uint32_t *mask = calloc(grammar_vocab_words(small_vocab), sizeof *mask);
    assert_non_null(mask);
    assert_int_equal(grammar_matcher_mask(m, small_vocab, within, mask), 0);
    for (int32_t id = 0; id < small_vocab->n_tokens; id++) {
        struct grammar_matcher next;
        assert_int_equal(grammar_matcher_clone(&next, m), 0);
        bool near = grammar_matcher_token(&next, small_vocab, id) == 1 &&
                    (grammar_matcher_distance(&next) < within || grammar_matcher_is_complete(&next));
        if ((mask[id / 32] >> id % 32 & 1) != (uint32_t)near)
            fail_msg("within %u bytes behind %s token %d is %d", within, place, id, near);
        grammar_matcher_finish(&next);
    }
    free(mask);
}

/* Where another name must come and the object has the empty one, the way is as long as the shortest other
 * name makes it. */
static void test_behind_the_empty_name(void **state) {
    (void)state;
    static const char fixed[] =
        "{\"type\": \"object\", \"properties\": {\"\": {}, \"many\": {}}, \"additionalProperties\": "
        "false, \"required\": [\"\", \"many\"]}";
    static const struct {
        const char *schema, *place;
        uint32_t distance;
    } rows[] = {
        {FREE, "{", 1},
        {FREE, "{\"a\": 0,", 7},
        {FREE, "{\"\": 0,", 8},
        {FREE, "{\"\": 0, ", 7},
        {FREE, "{\"\": 0, \"", 6},
        {FREE, "{\"\": 0, \"x", 5},
        {FREE, "{\"\": 0, \"x\": [{\"y\": 0, ", 8},
        {FREE, "{\"\": 0, \"x\": [{\"\": 0, ", 9},
        {FREE, "{\"x\": {\"\": 0}, ", 6},
        {FREE, "{\"\": 0, \"\\", 6},
        {BESIDE, "{\"\": 0, ", 7},
        {NESTED, "{\"in\": {\"\": 0, ", 8},
        {fixed, "{\"\": 0", 12},
        {fixed, "{\"\": 0, ", 10},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct schema *schema = compile(rows[i].schema);
        struct grammar *g = grammar_of(schema, true);
        struct grammar_matcher m;
        assert_int_equal(grammar_matcher_init(&m, g), 0);
        if (grammar_matcher_bytes(&m, rows[i].place, strlen(rows[i].place)) != 1)
            fail_msg("%s is not taken", rows[i].place);
        if (grammar_matcher_distance(&m) != rows[i].distance)
            fail_msg("behind %s the end is %u bytes off, not %u", rows[i].place, grammar_matcher_distance(&m),
                     rows[i].distance);
        expect_way(&m, rows[i].place);
        for (uint32_t more = 0; more < 4; more++)
            expect_near(&m, rows[i].distance + more, rows[i].place);
        grammar_matcher_finish(&m);
        grammar_unref(g);
        schema_destroy(schema);
    }
}

/* ---- a writer who repeats himself ---- */

static uint64_t random_number;

static uint32_t below(uint32_t n) {
    random_number ^= random_number << 13;
    random_number ^= random_number >> 7;
    random_number ^= random_number << 17;
    return (uint32_t)(random_number >> 32) % n;
}

/* Nearly always one of what makes short names of a and b, in some spelling; else anything that the mask has.
 */
static int32_t wish(const uint32_t *mask, const struct grammar_vocab *v) {
    static const char wishes[] = "\"\"\"aabb, :{}\\u0061210";
    for (int i = 0; i < 40 && below(50) > 0; i++) {
        uint32_t id = v->byte_tokens[(unsigned char)wishes[below(sizeof wishes - 1)]];
        if ((mask[id / 32] >> id % 32 & 1) != 0)
            return (int32_t)id;
    }
    uint32_t n = (uint32_t)v->n_tokens, id = below(n);
    while ((mask[id / 32] >> id % 32 & 1) == 0)
        id = (id + 1) % n;
    return (int32_t)id;
}

/* A text of at most so many tokens, like the engine makes it. */
static void write_text(struct grammar *g, const struct grammar_vocab *v, uint32_t *mask, uint32_t most,
                       struct buf *text) {
    struct grammar_matcher m;
    bool over = false;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    for (uint32_t left = most; left > 0 && !over; left--) {
        uint32_t within = grammar_matcher_distance(&m) + 40 > left ? left : GRAMMAR_FOREVER;
        assert_int_equal(grammar_matcher_mask(&m, v, within, mask), 0);
        int32_t token = wish(mask, v);
        assert_int_equal(grammar_matcher_token(&m, v, token), 1);
        over = v->tokens[token].kind == GRAMMAR_TOKEN_END;
        size_t len;
        const char *bytes = grammar_vocab_text(v, (uint32_t)token, &len);
        if (!over)
            assert_int_equal(buf_append(text, bytes, len), 0);
        assert_true(over || grammar_matcher_distance(&m) < left);
    }
    assert_true(grammar_matcher_is_complete(&m));
    grammar_matcher_finish(&m);
}

/* Texts of the schema, all of which the reader, who knows no name twice, must read, and the validator pass.
 * Returns how many members they have. */
static size_t check_writer(const char *schema_text, const struct grammar_vocab *v, size_t n) {
    struct schema *schema = compile(schema_text);
    struct grammar *g = grammar_of(schema, false);
    uint32_t *mask = calloc(grammar_vocab_words(v), sizeof *mask);
    size_t members = 0;
    assert_non_null(mask);
    for (size_t i = 0; i < n; i++) {
        struct value_document *d = NULL;
        struct buf text;
        char err[300] = "";
        random_number = 0x9E3779B97F4A7C15u * (i + 1);
        buf_init(&text, 1u << 16);
        write_text(g, v, mask, 160, &text);
        if (value_parse(text.data, text.len, &json_limits_default, &d, err, sizeof err) != 0 ||
            schema_check(schema, value_root(d), err, sizeof err) != 0)
            fail_msg("%s: %.*s", err, (int)text.len, text.data);
        members += value_root(d)->count;
        value_destroy(d);
        buf_finish(&text);
    }
    free(mask);
    grammar_unref(g);
    schema_destroy(schema);
    return members;
}

static void test_writer(void **state) {
    (void)state;
    static const char *const schemas[] = {
        FREE,
        BESIDE,
        NESTED,
        PATTERN,
        NAMES,
        "{\"type\": \"object\", \"additionalProperties\": {\"type\": \"object\", \"additionalProperties\": "
        "{\"type\": \"integer\"}}}",
        "{\"type\": \"object\", \"additionalProperties\": {\"const\": 1}, \"minProperties\": 6}"};
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        assert_in_range(check_writer(schemas[i], small_vocab, 300), 200, 100000);
        assert_in_range(check_writer(schemas[i], llama3_tokens, 30), 20, 10000);
    }
}

/* ---- a model of random weights ---- */

static void check_call(const struct schema *schema, const struct outcome *o) {
    static const char close[] = "\n</tool_call>";
    struct toolcall call;
    struct value_document *d = NULL;
    char err[300] = "";
    size_t end = sizeof close - 1;
    assert_false(o->failed);
    if (o->len <= end || memcmp(o->text + o->len - end, close, end) != 0)
        fail_msg("it is cut: %.*s (%d tokens, finish %d)", (int)o->len, o->text, o->n_tokens,
                 (int)o->last.finish);
    if (toolcall_read(o->text, o->len - end, &call, err, sizeof err) != 0 ||
        value_parse(call.arguments, strlen(call.arguments), &json_limits_default, &d, err, sizeof err) != 0 ||
        schema_check(schema, value_root(d), err, sizeof err) != 0)
        fail_msg("%s: %.*s", err, (int)o->len, o->text);
    value_destroy(d);
    toolcall_finish(&call);
}

static void check_model(const struct model *tokenizer, const char *schema_text, int n, int most) {
    struct schema *schema = compile(schema_text);
    const struct constrain_tool tool = {.name = "t", .schema = schema};
    struct random_shape shape = {.n_layers = 1,
                                 .n_heads = 1,
                                 .n_kv_heads = 1,
                                 .head_dim = 8,
                                 .dim = 8,
                                 .ffn_dim = 8,
                                 .n_vocab = tokenizer->n_vocab,
                                 .type = DTYPE_F32,
                                 .seed = 3};
    struct constrain_report report;
    struct grammar *g = NULL;
    struct random_engine r;
    struct harness h;
    char err[300] = "";
    if (constrain_call(&tool, 1, &g, &report, err, sizeof err) != 0)
        fail_msg("%s", err);
    random_engine_init(&r, &shape, most + 16);
    r.model.tokenizer = tokenizer->tokenizer;
    r.model.eog_ids = tokenizer->eog_ids;
    r.model.n_eog_ids = tokenizer->n_eog_ids;
    harness_init(&h);
    struct engine_config config = {.n_threads = 1, .wake = harness_wake, .wake_arg = &h};
    if (local_open_model(&config, &r.model, false, &h.engine, err, sizeof err) != 0)
        fail_msg("%s", err);
    for (int i = 0; i < n; i++) {
        const struct engine_generate how = {
            .sampling = {.temperature = 1.5f, .top_p = 1, .repeat_penalty = 1, .seed = (uint64_t)i},
            .max_tokens = most,
            .grammar = g};
        struct engine_session *s = harness_session(&h);
        harness_append_text(s, "call");
        if (engine_session_generate(s, &how, err, sizeof err) != 0)
            fail_msg("%s", err);
        check_call(schema, harness_wait(&h, s));
        harness_destroy(&h, s);
    }
    harness_finish(&h);
    random_engine_finish(&r);
    grammar_unref(g);
    schema_destroy(schema);
}

static void test_model(void **state) {
    (void)state;
    static const char *const schemas[] = {
        FREE,
        "{\"type\": \"object\", \"properties\": {\"in\": {\"type\": \"object\"}}, \"required\": [\"in\"]}"};
    for (size_t i = 0; i < 2; i++) {
        check_model(small, schemas[i], 40, 600);
        check_model(llama3, schemas[i], 4, 200);
    }
}

static int set_up(void **state) {
    (void)state;
    char err[300] = "";
    small = fixture_open("names.gguf");
    int rc = grammar_vocab_create(small->tokenizer, small->eog_ids, (size_t)small->n_eog_ids, &small_vocab,
                                  err, sizeof err);
    if (rc < 0)
        (void)printf("%s\n", err);
    llama3 = llama3_open();
    llama3_tokens = llama3_vocab(llama3);
    return rc;
}

static int tear_down(void **state) {
    (void)state;
    grammar_vocab_destroy(small_vocab);
    grammar_vocab_destroy(llama3_tokens);
    model_close(small);
    model_close(llama3);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts),
                                       cmocka_unit_test(test_turn),
                                       cmocka_unit_test(test_masks),
                                       cmocka_unit_test(test_masks_near_the_end),
                                       cmocka_unit_test(test_the_empty_name_twice),
                                       cmocka_unit_test(test_behind_the_empty_name),
                                       cmocka_unit_test(test_writer),
                                       cmocka_unit_test(test_model)};
    return cmocka_run_group_tests_name("names of members", tests, set_up, tear_down);
}

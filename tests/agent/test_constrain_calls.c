/* A model with random weights, at temperature 1.5, that is held to the grammar of functions from the Berkeley
 * leaderboard: every call must parse, name one of its tools and have valid arguments, and none is cut. With a
 * vocabulary of little more than the bytes, and with that of Llama 3. HERMESD_CALLS and HERMESD_LLAMA3_CALLS
 * say how many (300, 8). */
#include "agent/toolcall.h"
#include "base/json.h"
#include "tests/agent/bfcl.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"
#include "tests/engine/llama3.h"
#include "tests/engine/random_engine.h"

#include "engine/local.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SESSIONS  12
#define SAY_EVERY 500 /* calls; a long run shows that it goes on */

static struct bfcl data;

struct tally {
    size_t calls, tokens, cut, parsed, valid, spaces;
};

/* ---- one call ---- */

/* White space between its parts where none or one blank belongs: a model can go on with it for ever. */
static bool has_spaces(const char *text, size_t len) {
    bool inside = false, last = false;
    for (size_t i = 1; i < len; i++) { /* behind the line break that follows <tool_call> */
        bool space = strchr(" \t\r\n", text[i]) != NULL;
        if (!inside && space && last)
            return true;
        inside = (text[i] == '"') != inside;
        i += inside && text[i] == '\\';
        last = !inside && space;
    }
    return false;
}

/* What is wrong with the call, or NULL. */
static const char *problem_of(const struct bfcl_entry *e, const char *text, size_t len, struct tally *t,
                              char *err, size_t errlen) {
    static const char close[] = "\n</tool_call>";
    struct toolcall call;
    size_t end = sizeof close - 1;
    if (len < end || memcmp(text + len - end, close, end) != 0) {
        t->cut++;
        return "it is cut";
    }
    if (has_spaces(text, len - end)) {
        t->spaces++;
        return "it has white space between its parts";
    }
    if (toolcall_read(text, len - end, &call, err, errlen) != 0) {
        toolcall_finish(&call);
        return err;
    }
    t->parsed++;
    const char *problem = "its tool does not exist";
    for (size_t i = 0; i < e->n; i++) {
        struct value_document *document = NULL;
        if (strcmp(call.name, e->tools[i].name) != 0)
            continue;
        problem = NULL;
        if (value_parse(call.arguments, strlen(call.arguments), &json_limits_default, &document, err,
                        errlen) != 0 ||
            schema_check(e->tools[i].schema, value_root(document), err, errlen) != 0)
            problem = err;
        value_destroy(document);
        break;
    }
    toolcall_finish(&call);
    t->valid += problem == NULL;
    return problem;
}

static void begin(struct engine_session *s, const struct bfcl_entry *e, uint64_t seed, int most) {
    char err[300] = "";
    struct engine_generate how = {
        .sampling = {.temperature = 1.5f, .top_p = 1, .repeat_penalty = 1, .seed = seed},
        .max_tokens = most,
        .grammar = e->grammar};
    if (engine_session_generate(s, &how, err, sizeof err) != 0)
        fail_msg("%s", err);
}

static size_t wanted(const char *name, size_t usual) {
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 10) : usual;
}

/* Calls `from` to `from + n` at the same time. */
static void play(struct harness *h, size_t from, size_t n, int most, struct tally *t) {
    struct engine_session *s[SESSIONS];
    char err[400] = "";
    for (size_t i = 0; i < n; i++) {
        s[i] = harness_session(h);
        harness_append_text(s[i], "call");
        begin(s[i], &data.entries[(from + i) * 997 % data.n], from + i, most);
    }
    for (size_t i = 0; i < n; i++) {
        const struct bfcl_entry *e = &data.entries[(from + i) * 997 % data.n];
        struct outcome *o = harness_wait(h, s[i]);
        const char *problem = o->failed ? o->sentence : problem_of(e, o->text, o->len, t, err, sizeof err);
        if (problem != NULL)
            (void)printf("call %zu: %s\n%.*s\n", from + i, problem, (int)o->len, o->text);
        t->calls++;
        t->tokens += (size_t)o->n_tokens;
        harness_destroy(h, s[i]);
    }
}

static void say(const struct tally *t) {
    (void)printf("%zu calls of %zu tokens: %zu parsed, %zu of those valid; %zu cut, %zu with white space\n",
                 t->calls, t->tokens, t->parsed, t->valid, t->cut, t->spaces);
    (void)fflush(stdout);
}

/* A model of random weights with this tokenizer writes n calls of at most so many tokens. */
static void check_calls(const struct model *tokenizer, size_t n, int most) {
    struct random_shape shape = {.n_layers = 1,
                                 .n_heads = 1,
                                 .n_kv_heads = 1,
                                 .head_dim = 8,
                                 .dim = 8,
                                 .ffn_dim = 8,
                                 .n_vocab = tokenizer->n_vocab,
                                 .type = DTYPE_F32,
                                 .seed = 3};
    struct random_engine r;
    struct harness h;
    struct tally t = {.calls = 0};
    char err[300] = "";
    random_engine_init(&r, &shape, most + 16);
    r.model.tokenizer = tokenizer->tokenizer;
    r.model.eog_ids = tokenizer->eog_ids;
    r.model.n_eog_ids = tokenizer->n_eog_ids;
    harness_init(&h);
    struct engine_config config = {.n_threads = 1, .wake = harness_wake, .wake_arg = &h};
    if (local_open_model(&config, &r.model, false, &h.engine, err, sizeof err) != 0)
        fail_msg("%s", err);
    for (size_t done = 0; done < n; done += SESSIONS) {
        play(&h, done, n - done < SESSIONS ? n - done : SESSIONS, most, &t);
        if (t.calls / SAY_EVERY != done / SAY_EVERY && t.calls < n)
            say(&t);
    }
    say(&t);
    harness_finish(&h);
    random_engine_finish(&r);
    assert_int_equal(t.calls, n);
    assert_int_equal(t.valid, n);
}

static void test_small_vocabulary(void **state) {
    (void)state;
    struct model *m = fixture_open("calls.gguf");
    check_calls(m, wanted("HERMESD_CALLS", 300), 1200);
    model_close(m);
}

static void test_llama3(void **state) {
    (void)state;
    struct model *m = llama3_open();
    check_calls(m, wanted("HERMESD_LLAMA3_CALLS", 8), 400);
    model_close(m);
}

/* Each token against the mask at this place. */
static void compare_mask(struct grammar_matcher *m, const struct grammar_vocab *v, uint32_t *mask,
                         const char *place) {
    assert_int_equal(grammar_matcher_mask(m, v, GRAMMAR_FOREVER, mask), 0);
    for (int32_t id = 0; id < v->n_tokens; id++) {
        struct grammar_matcher clone;
        assert_int_equal(grammar_matcher_clone(&clone, m), 0);
        int rc = grammar_matcher_token(&clone, v, id);
        if ((mask[id / 32] >> id % 32 & 1) != (uint32_t)rc)
            fail_msg("token %d gives %d behind %s, but the mask says otherwise", id, rc, place);
        grammar_matcher_finish(&clone);
    }
}

/* In the names of members that no schema declares, masks come from what is said of their beginnings. */
static void test_names(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        const char *places[8];
    } rows[] = {
        {"{\"properties\": {\"name\": {\"const\": 1}, \"names\": {\"const\": 2}, \"id\": {\"const\": 3}},"
         " \"required\": [\"names\"], \"additionalProperties\": {\"type\": \"boolean\"}, \"type\": "
         "\"object\"}",
         {"{\"", "{\"n", "{\"name", "{\"name\": 1, \"", "{\"names\": 2, \"na", "{\"names\": 2, \"namesake"}},
        {"{\"properties\": {\"na\\u00efve\": {\"const\": 1}, \"a\\\"b\": {\"const\": 2}},"
         " \"additionalProperties\": {\"type\": \"boolean\"}, \"type\": \"object\"}",
         {"{\"", "{\"n", "{\"na", "{\"a"}},
        {"{\"type\": \"object\", \"additionalProperties\": {\"const\": 1}}",
         {"{\"", "{\"x", "{\"x\": 1, \""}},
    };
    static const struct schema_options any = {.any_value = true};
    struct model *llama3 = llama3_open();
    struct grammar_vocab *v = llama3_vocab(llama3);
    uint32_t *mask = calloc(grammar_vocab_words(v), sizeof *mask);
    assert_non_null(mask);
    for (size_t i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
        const char *text = rows[i / 2].schema, *const *places = rows[i / 2].places;
        struct schema *schema = NULL;
        struct grammar *g = NULL;
        struct constrain_report report;
        char err[300] = "";
        if (schema_compile_with(text, strlen(text), &any, &schema, NULL, err, sizeof err) != 0 ||
            constrain_value(schema, i % 2 == 0, &g, &report, err, sizeof err) != 0)
            fail_msg("%s", err);
        for (size_t k = 0; k < 8 && places[k] != NULL; k++) {
            struct grammar_matcher m;
            assert_int_equal(grammar_matcher_init(&m, g), 0);
            assert_int_equal(grammar_matcher_bytes(&m, places[k], strlen(places[k])), 1);
            compare_mask(&m, v, mask, places[k]);
            grammar_matcher_finish(&m);
        }
        grammar_unref(g);
        schema_destroy(schema);
    }
    free(mask);
    grammar_vocab_destroy(v);
    model_close(llama3);
}

static int set_up(void **state) {
    (void)state;
    bfcl_read(&data, false);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bfcl_free(&data);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small_vocabulary), cmocka_unit_test(test_llama3),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests_name("constrained calls", tests, set_up, tear_down);
}

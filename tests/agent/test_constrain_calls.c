/* A model with random weights, at temperature 1.5, that is held to the grammar of functions from the Berkeley
 * leaderboard: every call must parse, name one of its tools and have valid arguments, and none is cut. With a
 * vocabulary of little more than the bytes, and with that of Llama 3. HERMESD_CALLS and HERMESD_LLAMA3_CALLS
 * say how many (300, 8). */
#include "agent/constrain.h"
#include "agent/toolcall.h"
#include "base/json.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"
#include "tests/engine/llama3.h"
#include "tests/engine/random_engine.h"
#include "tests/shared.h"

#include "engine/local.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TOOLS_MAX 64
#define SESSIONS  12

/* One line of the data: its functions. */
struct entry {
    cJSON *names[TOOLS_MAX]; /* detached copies of the names */
    struct schema *schemas[TOOLS_MAX];
    struct constrain_tool tools[TOOLS_MAX];
    size_t n;
    struct grammar *grammar;
};

static struct entry *entries;
static size_t n_entries, n_functions, n_refused, n_inexact;

/* ---- the data's types, which are Python's and Java's ---- */

static const char *json_type(const char *type) {
    static const char *const names[][2] = {
        {"dict", "object"}, {"HashMap", "object"},  {"float", "number"},    {"double", "number"},
        {"tuple", "array"}, {"ArrayList", "array"}, {"Array", "array"},     {"String", "string"},
        {"char", "string"}, {"long", "integer"},    {"Boolean", "boolean"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(type, names[i][0]) == 0)
            return names[i][1];
    return type;
}

static void to_json_schema(cJSON *schema) {
    cJSON *type = cJSON_GetObjectItemCaseSensitive(schema, "type"), *child;
    if (cJSON_IsString(type)) {
        if (strcmp(type->valuestring, "any") == 0 || type->valuestring[0] == '\0')
            cJSON_DeleteItemFromObjectCaseSensitive(schema, "type");
        else
            (void)cJSON_SetValuestring(type, json_type(type->valuestring));
    }
    cJSON_DeleteItemFromObjectCaseSensitive(schema, "optional"); /* a note of the data */
    cJSON *properties = cJSON_GetObjectItemCaseSensitive(schema, "properties");
    cJSON_ArrayForEach(child, properties) to_json_schema(child);
    cJSON *items = cJSON_GetObjectItemCaseSensitive(schema, "items");
    if (cJSON_IsObject(items))
        to_json_schema(items);
}

static void add_function(struct entry *e, const cJSON *function) {
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(function, "name");
    cJSON *parameters = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(function, "parameters"), true);
    char err[300] = "";
    n_functions++;
    to_json_schema(parameters);
    char *text = cJSON_PrintUnformatted(parameters);
    assert_non_null(text);
    struct schema *schema = NULL;
    if (e->n == TOOLS_MAX || schema_compile(text, strlen(text), &schema, err, sizeof err) != 0) {
        n_refused++;
        (void)printf("%s: %s\n", name->valuestring, err);
    } else {
        e->names[e->n] = cJSON_Duplicate(name, true);
        e->schemas[e->n] = schema;
        e->tools[e->n] = (struct constrain_tool){.name = e->names[e->n]->valuestring, .schema = schema};
        e->n++;
    }
    free(text);
    cJSON_Delete(parameters);
}

static void add_entry(const char *line) {
    static const struct json_limits limits = {.max_bytes = 1u << 20, .max_nodes = 100000, .max_depth = 64};
    cJSON *json = NULL, *function;
    struct constrain_report report;
    char err[300] = "";
    assert_int_equal(json_parse(line, strlen(line), &limits, &json, err, sizeof err), 0);
    struct entry *e = &entries[n_entries];
    cJSON_ArrayForEach(function, cJSON_GetObjectItemCaseSensitive(json, "function"))
        add_function(e, function);
    cJSON_Delete(json);
    if (e->n == 0)
        return;
    if (constrain_call(e->tools, e->n, &e->grammar, &report, err, sizeof err) != 0)
        fail_msg("%s", err);
    n_inexact += !report.exact;
    n_entries++;
}

static void read_functions(void) {
    static const char *const files[] = {"simple_python", "simple_java", "simple_javascript",
                                        "multiple",      "parallel",    "parallel_multiple"};
    char *line = malloc(1u << 20), path[4096], name[100];
    entries = calloc(2000, sizeof *entries);
    assert_true(line != NULL && entries != NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        (void)snprintf(name, sizeof name, "bfcl/BFCL_v4_%s.json", files[i]);
        FILE *f = fopen(shared_path(path, name), "rb");
        assert_non_null(f);
        while (fgets(line, 1 << 20, f) != NULL && n_entries < 2000)
            add_entry(line);
        (void)fclose(f);
    }
    free(line);
    (void)printf("%zu sets of %zu functions; %zu functions refused, %zu sets not exact\n", n_entries,
                 n_functions, n_refused, n_inexact);
}

/* ---- one call ---- */

/* What is wrong with the call, or NULL. */
static const char *problem_of(const struct entry *e, const char *text, size_t len, char *err, size_t errlen) {
    static const char close[] = "\n</tool_call>";
    struct toolcall call;
    size_t end = sizeof close - 1;
    if (len < end || memcmp(text + len - end, close, end) != 0)
        return "it is cut";
    if (toolcall_read(text, len - end, &call, err, errlen) != 0) {
        toolcall_finish(&call);
        return err;
    }
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
    return problem;
}

static void begin(struct engine_session *s, const struct entry *e, uint64_t seed, int most) {
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

/* Calls `from` to `from + n` at the same time; returns how many are wrong. */
static size_t play(struct harness *h, size_t from, size_t n, int most, size_t *tokens) {
    struct engine_session *s[SESSIONS];
    size_t wrong = 0;
    char err[400] = "";
    for (size_t i = 0; i < n; i++) {
        s[i] = harness_session(h);
        harness_append_text(s[i], "call");
        begin(s[i], &entries[(from + i) * 997 % n_entries], from + i, most);
    }
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &entries[(from + i) * 997 % n_entries];
        struct outcome *o = harness_wait(h, s[i]);
        const char *problem = o->failed ? o->sentence : problem_of(e, o->text, o->len, err, sizeof err);
        if (problem != NULL) {
            wrong++;
            (void)printf("call %zu: %s\n%.*s\n", from + i, problem, (int)o->len, o->text);
        }
        *tokens += (size_t)o->n_tokens;
        harness_destroy(h, s[i]);
    }
    return wrong;
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
    size_t wrong = 0, tokens = 0;
    char err[300] = "";
    random_engine_init(&r, &shape, most + 16);
    r.model.tokenizer = tokenizer->tokenizer;
    r.model.eog_ids = tokenizer->eog_ids;
    r.model.n_eog_ids = tokenizer->n_eog_ids;
    harness_init(&h);
    struct engine_config config = {.n_threads = 1, .wake = harness_wake, .wake_arg = &h};
    if (local_open_model(&config, &r.model, false, &h.engine, err, sizeof err) != 0)
        fail_msg("%s", err);
    for (size_t done = 0; done < n; done += SESSIONS)
        wrong += play(&h, done, n - done < SESSIONS ? n - done : SESSIONS, most, &tokens);
    (void)printf("%zu calls of %zu tokens: %zu wrong\n", n, tokens, wrong);
    harness_finish(&h);
    random_engine_finish(&r);
    assert_int_equal(wrong, 0);
}

static void test_small_vocabulary(void **state) {
    (void)state;
    char path[256], err[300] = "";
    struct fixture f;
    struct model *m = NULL;
    fixture_gguf(&f, NULL);
    fixture_write(fixture_path(path, "calls.gguf"), f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    int rc = model_open(path, &m, err, sizeof err);
    (void)unlink(path);
    if (rc != 0)
        fail_msg("%s", err);
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
    read_functions();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < n_entries; i++) {
        grammar_unref(entries[i].grammar);
        for (size_t k = 0; k < entries[i].n; k++) {
            schema_destroy(entries[i].schemas[k]);
            cJSON_Delete(entries[i].names[k]);
        }
    }
    free(entries);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small_vocabulary), cmocka_unit_test(test_llama3),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests_name("constrained calls", tests, set_up, tear_down);
}

/* The 1,509 schemas from real projects, each as a tool: what one of their instances forbids is that instance
 * and no other one. */
#include "agent/constrain.h"
#include "agent/rawjson.h"
#include "tests/shared.h"
#include "tools/schema.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define LINE_MAX_BYTES (4u << 20)
#define INSTANCES      12 /* of a schema */
#define FORBIDDEN      1
#define ALIKE          100 /* bytes that cost others with the same beginning, at the earliest */

struct counts {
    size_t schemas, forbidden, kept, left_out, shortened, too_large;
    size_t n_ms;
    double ms[8192];
};

struct instance {
    struct value_document *document;
    struct buf text; /* as the grammar spells it */
};

static double now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool passes(struct grammar *g, const struct buf *arguments) {
    static const char before[] = "\n{\"name\": \"t\", \"arguments\": ", behind[] = "}\n</tool_call>";
    struct grammar_matcher m;
    if (g == NULL)
        return false;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    int rc = grammar_matcher_bytes(&m, before, sizeof before - 1);
    rc = rc == 1 ? grammar_matcher_bytes(&m, arguments->data, arguments->len) : rc;
    rc = rc == 1 ? grammar_matcher_bytes(&m, behind, sizeof behind - 1) : rc;
    assert_in_range(rc, 0, 1);
    bool whole = rc == 1 && grammar_matcher_is_complete(&m);
    grammar_matcher_finish(&m);
    return whole;
}

/* -E2BIG: no grammar. *out NULL: nothing is left. */
static int make(const struct schema *schema, const char *forbidden, bool *left_out, struct grammar **out) {
    struct constrain_report report;
    char err[300] = "";
    const struct constrain_tool tool = {.name = "t",
                                        .schema = schema,
                                        .forbidden = &forbidden,
                                        .n_forbidden = forbidden != NULL,
                                        .left_out = left_out};
    *left_out = false;
    *out = NULL;
    int rc = constrain_call(&tool, 1, out, &report, err, sizeof err);
    if (rc != 0 && rc != -E2BIG)
        assert_string_equal(err, "No text matches the grammar.");
    return rc == -E2BIG ? rc : 0;
}

/* The instances that a model could write. */
static size_t read_instances(const struct schema *schema, struct grammar *all, struct rawjson tests,
                             struct instance *out) {
    struct rawjson test, data;
    size_t at = 0, n = 0;
    while (n < INSTANCES && rawjson_next(tests, &at, NULL, &test)) {
        struct instance *i = &out[n];
        buf_init(&i->text, LINE_MAX_BYTES);
        if (!rawjson_get(test, "data", &data) ||
            value_parse(data.text, data.len, &json_limits_default, &i->document, NULL, 0) != 0)
            continue;
        assert_int_equal(constrain_spell(schema, value_root(i->document), &i->text), 0);
        if (passes(all, &i->text)) {
            n++;
            continue;
        }
        buf_finish(&i->text);
        value_destroy(i->document);
    }
    return n;
}

static void check(struct counts *c, const struct schema *schema, const struct instance *all, size_t n,
                  size_t at) {
    struct grammar *g;
    bool left_out;
    char *forbidden = strndup(all[at].text.data, all[at].text.len);
    double from = now_ms();
    int rc = make(schema, forbidden, &left_out, &g);
    if (c->n_ms < sizeof c->ms / sizeof *c->ms)
        c->ms[c->n_ms++] = now_ms() - from;
    c->too_large += rc != 0;
    c->left_out += left_out;
    for (size_t i = 0; i < n && rc == 0; i++) {
        bool same = value_equal(value_root(all[i].document), value_root(all[at].document));
        bool is = passes(g, &all[i].text);
        if (is && (same || left_out))
            fail_msg("%s passes", all[i].text.data);
        if (!is && !same && !left_out) {
            /* all that begin alike for long */
            size_t alike = 0;
            while (alike < all[i].text.len && alike < all[at].text.len &&
                   all[i].text.data[alike] == all[at].text.data[alike])
                alike++;
            if (alike < ALIKE)
                fail_msg("%s is lost with %s", all[i].text.data, forbidden);
            c->shortened++;
            if (getenv("HERMESD_VERBOSE") != NULL)
                (void)printf("lost behind %zu bytes\n", alike);
        }
        c->forbidden += same;
        c->kept += is;
    }
    grammar_unref(g);
    free(forbidden);
}

static void play(struct counts *c, struct rawjson line) {
    static const struct schema_options options = {.any_value = true};
    struct instance instances[INSTANCES];
    struct rawjson source, tests;
    struct schema *schema = NULL;
    struct grammar *all;
    bool left_out;
    if (!rawjson_get(line, "schema", &source) || !rawjson_get(line, "tests", &tests) ||
        schema_compile_with(source.text, source.len, &options, &schema, NULL, NULL, 0) != 0)
        return;
    c->schemas++;
    if (make(schema, NULL, &left_out, &all) == 0 && all != NULL) {
        size_t n = read_instances(schema, all, tests, instances);
        for (size_t i = 0; i < n && i < FORBIDDEN; i++)
            check(c, schema, instances, n, i);
        for (size_t i = 0; i < n; i++) {
            buf_finish(&instances[i].text);
            value_destroy(instances[i].document);
        }
    }
    grammar_unref(all);
    schema_destroy(schema);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_real_schemas(void **state) {
    (void)state;
    char path[4096], *line = malloc(LINE_MAX_BYTES);
    struct counts *c = calloc(1, sizeof *c);
    FILE *f = fopen(shared_path(path, "jsonschemabench/schemas.jsonl"), "rb");
    assert_true(line != NULL && c != NULL && f != NULL);
    while (fgets(line, LINE_MAX_BYTES, f) != NULL)
        play(c, rawjson_of(line, strlen(line)));
    (void)fclose(f);
    assert_true(c->n_ms > 0);
    qsort(c->ms, c->n_ms, sizeof *c->ms, by_size);
    (void)printf(
        "%zu schemas, %zu calls forbidden, %zu others still accepted (%zu not, for a long beginning)\n"
        "%zu times the whole tool, %zu times no grammar\n"
        "grammar: p50 %.1f ms, p99 %.1f ms, most %.1f ms\n",
        c->schemas, c->forbidden, c->kept, c->shortened, c->left_out, c->too_large, c->ms[c->n_ms / 2],
        c->ms[c->n_ms * 99 / 100], c->ms[c->n_ms - 1]);
    assert_true(c->forbidden > 1000 && c->kept > 500 && c->shortened * 50 < c->kept);
    assert_true(c->too_large * 50 < c->n_ms && c->left_out * 5 < c->n_ms);
    free(line);
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_real_schemas)};
    return cmocka_run_group_tests_name("constrain except suite", tests, NULL, NULL);
}

/* Grammars of 1,509 schemas from real projects: every instance gets the verdict that the schema says, byte by
 * byte, or the schema is named as not exact. */
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

struct counts {
    size_t schemas, compiled, exact, too_large, right, wrong_accepts, wrong_refusals, soft;
    double *us;
};

static struct rawjson member(struct rawjson object, const char *key) {
    struct rawjson value = {0};
    return rawjson_get(object, key, &value) ? value : (struct rawjson){0};
}

static double now_us(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The grammar's verdict on a text: 1, 0, or a failure. */
static int matches(struct grammar *g, const char *text, size_t len) {
    struct grammar_matcher m;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    int rc = 1;
    for (size_t i = 0; i < len && rc == 1; i++)
        rc = grammar_matcher_byte(&m, (unsigned char)text[i]);
    if (rc == 1)
        rc = grammar_matcher_is_complete(&m);
    grammar_matcher_finish(&m);
    return rc;
}

static bool is_soft(struct rawjson soft, size_t index) {
    struct rawjson number;
    for (size_t k = 0; rawjson_next(soft, &k, NULL, &number);)
        if (strtoul(number.text, NULL, 10) == index)
            return true;
    return false;
}

static void judge(struct counts *n, const struct schema *schema, struct grammar *g, struct rawjson test,
                  const char *id, bool soft) {
    struct rawjson data = member(test, "data");
    struct value_document *document = NULL;
    struct buf text;
    bool valid = rawjson_type(member(test, "valid")) == 't';
    if (value_parse(data.text, data.len, &schema_value_limits, &document, NULL, 0) != 0)
        return;
    buf_init(&text, LINE_MAX_BYTES);
    assert_int_equal(constrain_spell(schema, value_root(document), &text), 0);
    int rc = matches(g, text.data, text.len);
    assert_in_range(rc, 0, 1);
    /* What the sources are not sure about, and what the validator sees otherwise, is the validator's. */
    bool checked = schema_check(schema, value_root(document), NULL, 0) == 0;
    if (rc == valid)
        n->right++;
    else if (soft && rc == checked)
        n->soft++;
    else {
        *(rc == 1 ? &n->wrong_accepts : &n->wrong_refusals) += 1;
        (void)printf("WRONG %s: %s, said %s (the validator: %s)\n  %.600s\n", id, valid ? "valid" : "invalid",
                     rc == 1 ? "valid" : "invalid", checked ? "valid" : "invalid", text.data);
    }
    buf_finish(&text);
    value_destroy(document);
}

static void play(struct counts *n, struct rawjson line, struct rawjson unconfirmed) {
    static const struct schema_options options = {.any_value = true};
    struct rawjson id_text = member(line, "id"), source = member(line, "schema"), test;
    struct schema *schema = NULL;
    struct grammar *g = NULL;
    struct constrain_report report;
    char err[300] = "", *id = rawjson_string(id_text);
    assert_non_null(id);
    n->schemas++;
    if (schema_compile_with(source.text, source.len, &options, &schema, NULL, err, sizeof err) == 0) {
        n->compiled++;
        double before = now_us();
        int rc = constrain_value(schema, true, &g, &report, err, sizeof err);
        n->us[n->compiled - 1] = now_us() - before;
        if (rc == -E2BIG || rc == -EINVAL) {
            n->too_large++;
            if (getenv("HERMESD_VERBOSE") != NULL)
                (void)printf("none   %s: %s\n", id, err);
        } else {
            assert_int_equal(rc, 0);
            n->exact += report.exact;
            if (getenv("HERMESD_VERBOSE") != NULL && !report.exact)
                (void)printf("inexact %s: %s\n", id, report.why);
        }
        size_t at = 0;
        struct rawjson tests = member(line, "tests"), soft = member(unconfirmed, id);
        for (size_t i = 0; g != NULL && report.exact && rawjson_next(tests, &at, NULL, &test); i++)
            judge(n, schema, g, test, id, is_soft(soft, i));
        grammar_unref(g);
        schema_destroy(schema);
    }
    free(id);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_real_schemas(void **state) {
    (void)state;
    char path[4096], *line = malloc(LINE_MAX_BYTES), *soft_text = malloc(LINE_MAX_BYTES);
    struct counts n = {.us = calloc(4096, sizeof *n.us)};
    assert_true(line != NULL && soft_text != NULL && n.us != NULL);
    FILE *f = fopen(shared_path(path, "jsonschemabench/unconfirmed.json"), "rb");
    assert_non_null(f);
    size_t soft_len = fread(soft_text, 1, LINE_MAX_BYTES, f);
    (void)fclose(f);
    f = fopen(shared_path(path, "jsonschemabench/schemas.jsonl"), "rb");
    assert_non_null(f);
    while (fgets(line, LINE_MAX_BYTES, f) != NULL)
        play(&n, rawjson_of(line, strlen(line)), rawjson_of(soft_text, soft_len));
    (void)fclose(f);
    qsort(n.us, n.compiled, sizeof *n.us, by_size);
    (void)printf("%zu schemas, %zu compile, %zu exact grammars (%.1f %%), %zu without\n"
                 "instances: %zu right, %zu soft, %zu wrongly accepted, %zu wrongly refused\n"
                 "grammar: p50 %.0f us, p99 %.0f us, most %.0f us\n",
                 n.schemas, n.compiled, n.exact, 100.0 * (double)n.exact / (double)n.schemas, n.too_large,
                 n.right, n.soft, n.wrong_accepts, n.wrong_refusals, n.us[n.compiled / 2],
                 n.us[n.compiled * 99 / 100], n.us[n.compiled - 1]);
    free(line);
    free(soft_text);
    free(n.us);
    assert_int_equal(n.schemas, 1509);
    assert_int_equal(n.wrong_accepts, 0);
    assert_int_equal(n.wrong_refusals, 0);
    assert_true(n.exact * 100 >= n.schemas * 85);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_real_schemas)};
    return cmocka_run_group_tests_name("constrain suite", tests, NULL, NULL);
}

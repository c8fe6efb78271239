/* Schemas and values that mean harm: each ends soon, in bounded memory, with a clear refusal or a verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/tools/schema_cases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX    (4u * 1024 * 1024)
#define SECONDS_MAX 2.0 /* of processor time; generous, as sanitizers are slow */

static struct buf text, value_text;
static clock_t began;

static int setup(void **state) {
    (void)state;
    buf_init(&text, TEXT_MAX);
    buf_init(&value_text, TEXT_MAX);
    began = clock();
    return 0;
}

static int teardown(void **state) {
    double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    (void)state;
    buf_finish(&text);
    buf_finish(&value_text);
    if (seconds > SECONDS_MAX)
        print_error("took %.1f s\n", seconds);
    return seconds > SECONDS_MAX;
}

static void put(struct buf *to, const char *piece, int times) {
    for (int i = 0; i < times; i++)
        assert_int_equal(buf_puts(to, piece), 0);
}

static void refused_with(const char *part) {
    static const struct schema_options any = {.any_value = true};
    struct schema *schema = NULL;
    char err[600] = "";
    int rc = schema_compile_with(text.data, text.len, &any, &schema, NULL, err, sizeof err);
    if (rc != -EINVAL || strstr(err, part) == NULL)
        fail_msg("gave %d: %s", rc, err);
    assert_null(schema);
}

/* The verdict of the schema in `text` on the value in `value_text`. */
static int verdict(char *err, size_t errlen) {
    struct schema *schema = case_compiled(text.data, NULL);
    struct value_document *document = NULL;
    if (value_parse(value_text.data, value_text.len, &schema_value_limits, &document, err, errlen) != 0)
        fail_msg("%s", err);
    int rc = schema_check(schema, value_root(document), err, errlen);
    value_destroy(document);
    schema_destroy(schema);
    return rc;
}

static void test_deep(void **state) {
    (void)state;
    put(&text, "{\"not\":", 30000);
    refused_with("nested deeper than 64");
    buf_clear(&text);
    put(&text, "{\"not\":", 63);
    put(&text, "{}", 1);
    put(&text, "}", 63);
    put(&value_text, "1", 1);
    char err[600];
    assert_int_equal(verdict(err, sizeof err), -EINVAL);
}

static void test_large(void **state) {
    (void)state;
    put(&text, "{\"enum\":[\"", 1);
    put(&text, "0123456789", 30000);
    put(&text, "\"]}", 1);
    refused_with("the limit is 262144");
    buf_clear(&text);
    put(&text, "{\"allOf\":[true", 1);
    put(&text, ",true", 39990);
    put(&text, "]}", 1);
    refused_with("more than 20000 schemas");
    buf_clear(&text);
    put(&text, "{\"enum\":[0", 1);
    put(&text, ",0", 50000);
    put(&text, "]}", 1);
    refused_with("more than 40000 values");
}

/* A reference to a reference to a reference … */
static void test_chain(void **state) {
    (void)state;
    put(&text, "{\"$ref\":\"#/$defs/a0\",\"$defs\":{", 1);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(buf_printf(&text, "\"a%d\":{\"$ref\":\"#/$defs/a%d\"},", i, i + 1), 0);
    put(&text, "\"a5000\":true}}", 1);
    refused_with("is part of a chain of more than 256 schemas for one value");
}

/* Each asks the next one twice: 2^200 ways, one verdict each. */
static void test_doubling(void **state) {
    char err[600];
    (void)state;
    put(&text, "{\"$ref\":\"#/$defs/a0\",\"$defs\":{", 1);
    for (int i = 0; i < 80; i++)
        assert_int_equal(
            buf_printf(&text, "\"a%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/a%d\"},{\"$ref\":\"#/$defs/a%d\"}]},",
                       i, i + 1, i + 1),
            0);
    put(&text, "\"a80\":{\"type\":\"string\"}}}", 1);
    put(&value_text, "1", 1);
    assert_int_equal(verdict(err, sizeof err), -EINVAL);
    buf_clear(&value_text);
    put(&value_text, "\"x\"", 1);
    assert_int_equal(verdict(err, sizeof err), 0);
}

/* The same through the value: at every depth both forms look into the item. */
static void test_doubling_inside(void **state) {
    char err[600];
    (void)state;
    put(&text,
        "{\"anyOf\":[{\"items\":{\"$ref\":\"#\"},\"maxItems\":0},{\"items\":{\"$ref\":\"#\"},\"minItems\":9},"
        "{\"type\":\"null\"}]}",
        1);
    put(&value_text, "[", 60);
    put(&value_text, "1", 1);
    put(&value_text, "]", 60);
    assert_int_equal(verdict(err, sizeof err), -EINVAL);
}

static void test_budget(void **state) {
    char err[600] = "";
    (void)state;
    put(&text, "{\"items\":{\"allOf\":[{\"maximum\":30000}", 1);
    put(&text, ",{\"maximum\":30000}", 1000);
    put(&text, "]}}", 1);
    put(&value_text, "[29999", 1);
    put(&value_text, ",29999", 50000);
    put(&value_text, "]", 1);
    assert_int_equal(verdict(err, sizeof err), -E2BIG);
    assert_non_null(strstr(err, "takes more work to check against its schema than is allowed"));
}

static void test_patterns(void **state) {
    char err[600];
    (void)state;
    put(&text, "{\"pattern\":\"^(([a-z])+.)+[A-Z]([a-z])+$\"}", 1);
    put(&value_text, "\"", 1);
    put(&value_text, "a", 50000);
    put(&value_text, "\"", 1);
    assert_int_equal(verdict(err, sizeof err), -EINVAL);
    buf_clear(&text);
    put(&text, "{\"pattern\":\"((a{1,100}){1,100}){1,100}\"}", 1);
    refused_with("the pattern needs more than 8192 states");
    buf_clear(&text);
    put(&text, "{\"pattern\":\"a.{0,4000}b\"}", 1);
    assert_int_equal(verdict(err, sizeof err), -E2BIG);
    buf_clear(&text);
    put(&text, "{\"allOf\":[true", 1);
    for (int i = 0; i < 40; i++)
        assert_int_equal(buf_printf(&text, ",{\"pattern\":\"[a-%c]{%d}\"}", 'b' + i % 20, 8000 - i), 0);
    put(&text, "]}", 1);
    refused_with("makes the schema's patterns need more than 131072 states together");
}

static void test_wide(void **state) {
    char err[600];
    (void)state;
    put(&text, "{\"uniqueItems\":true,\"oneOf\":[false", 1);
    put(&text, ",{\"minItems\":100000}", 5000);
    put(&text, ",true]}", 1);
    put(&value_text, "[0", 1);
    for (int i = 1; i < 90000; i++)
        assert_int_equal(buf_printf(&value_text, ",%d", i), 0);
    put(&value_text, "]", 1);
    assert_int_equal(verdict(err, sizeof err), 0);
    buf_clear(&text);
    put(&text, "{\"required\":[\"a\"", 1);
    for (int i = 0; i < 18000; i++)
        assert_int_equal(buf_printf(&text, ",\"k%d\"", i % 9000), 0);
    put(&text, "]}", 1);
    buf_clear(&value_text);
    put(&value_text, "{\"a\":1}", 1);
    assert_int_equal(verdict(err, sizeof err), -EINVAL);
    assert_string_equal(err, "arguments.k0 is missing");
}

/* Values inside values, times schemas for one value. */
static void test_stack(void **state) {
    char err[600];
    (void)state;
    put(&text, "{\"$defs\":{", 1);
    for (int i = 0; i < 200; i++)
        assert_int_equal(buf_printf(&text, "\"a%d\":{\"$ref\":\"#/$defs/a%d\"},", i, i + 1), 0);
    put(&text, "\"a200\":{\"items\":{\"$ref\":\"#/$defs/a0\"}}},\"$ref\":\"#/$defs/a0\"}", 1);
    put(&value_text, "[", 60);
    put(&value_text, "]", 60);
    assert_int_equal(verdict(err, sizeof err), -E2BIG);
}

/* A list of thousands of values, asked for each of thousands of items: each is found at once. */
static void test_long_lists(void **state) {
    (void)state;
    char err[600] = "";
    put(&text, "{\"items\":{\"enum\":[-1", 1);
    put(&value_text, "[5999", 1);
    for (int i = 0; i < 6000; i++) {
        assert_int_equal(buf_printf(&text, ",%d", i), 0);
        assert_int_equal(buf_printf(&value_text, ",%d", 5999 - i), 0);
    }
    put(&text, "]}}", 1);
    put(&value_text, "]", 1);
    assert_int_equal(verdict(err, sizeof err), 0);
    value_text.len--;
    put(&value_text, ",6000]", 1);
    assert_int_equal(verdict(err, sizeof err), -EINVAL);
}

#define HOSTILE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        HOSTILE(test_deep),
        HOSTILE(test_large),
        HOSTILE(test_chain),
        HOSTILE(test_doubling),
        HOSTILE(test_doubling_inside),
        HOSTILE(test_budget),
        HOSTILE(test_patterns),
        HOSTILE(test_wide),
        HOSTILE(test_stack),
        HOSTILE(test_long_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Schemas: what is refused when a plugin is listed, and what a call's arguments meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refused(const char *text, const char *why) {
    struct schema *schema = NULL;
    char err[512] = "";
    int rc = schema_compile(text, strlen(text), &schema, err, sizeof err);
    if (rc != -EINVAL || strcmp(err, why) != 0)
        fail_msg("%s gave %d\n  got:    %s\n  wanted: %s", text, rc, err, why);
    assert_null(schema);
}

static void test_refused_when_listed(void **state) {
    (void)state;
    refused("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\", \"pattern\": \"(?=x)\"}}}",
            "at /properties/a: keyword 'pattern' has '(?=x)': look-ahead is not supported at byte 2 of the "
            "pattern");
    refused("{\"type\": \"object\", \"$ref\": \"#\"}",
            "at the top: keyword '$ref' leads back to itself with the same value, which never ends");
    refused(
        "{\"type\": \"object\", \"properties\": {\"a/b~c\": {\"items\": {\"format\": \"idn-hostname\"}}}}",
        "at /properties/a~1b~0c/items: keyword 'format' 'idn-hostname' is not supported");
    refused("{\"type\": \"object\", \"additionalProperties\": {\"oneOf\": []}}",
            "at /additionalProperties: keyword 'oneOf' must be a list of schemas that is not empty");
    refused("{}", "at the top: keyword 'type' must be \"object\" for a tool's arguments");
    refused("{\"type\": \"string\"}", "at the top: keyword 'type' must be \"object\" for a tool's arguments");
    refused("{\"type\": [\"object\", \"null\"]}",
            "at the top: keyword 'type' must be \"object\" for a tool's arguments");
    refused("{\"type\": \"thing\"}", "at the top: keyword 'type' must be one of null, boolean, integer, "
                                     "number, string, array, object, or a "
                                     "list of them");
    refused("{\"type\": []}", "at the top: keyword 'type' must name at least one type");
    refused("{\"type\": \"object\", \"properties\": []}",
            "at the top: keyword 'properties' must be an object");
    refused("{\"type\": \"object\", \"properties\": {\"a\": 1}}",
            "at the top: keyword 'properties' must hold schemas: objects, true or false");
    refused("{\"type\": \"object\", \"required\": \"a\"}",
            "at the top: keyword 'required' must be a list of names");
    refused("{\"type\": \"object\", \"required\": [1]}",
            "at the top: keyword 'required' must be a list of names");
    refused("{\"type\": \"object\", \"properties\": {\"a\": {\"enum\": []}}}",
            "at /properties/a: keyword 'enum' must be a list that is not empty");
    refused("{\"type\": \"object\", \"properties\": {\"a\": {\"minimum\": \"1\"}}}",
            "at /properties/a: keyword 'minimum' must be a number");
    refused("{\"type\": \"object\", \"properties\": {\"a\": {\"minLength\": 1.5}}}",
            "at /properties/a: keyword 'minLength' must be a whole number from 0 on");
    refused("{\"type\": \"object\", \"properties\": {\"a\": {\"maxItems\": -1}}}",
            "at /properties/a: keyword 'maxItems' must be a whole number from 0 on");
    refused("[]", "at the top: a schema must be an object");
}

static void test_not_json(void **state) {
    struct schema *schema = NULL;
    char err[256] = "", deep[400];
    (void)state;
    assert_int_equal(schema_compile("{\"type\": ", 9, &schema, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "not JSON: "));
    memset(deep, '[', sizeof deep);
    assert_int_equal(schema_compile(deep, sizeof deep, &schema, err, sizeof err), -EINVAL);
    assert_int_equal(
        schema_compile("{\"type\": \"object\", \"type\": \"object\"}", 36, &schema, err, sizeof err),
        -EINVAL);
    assert_null(schema);
}

static struct schema *compiled(const char *text) {
    struct schema *schema = NULL;
    char err[512] = "";
    if (schema_compile(text, strlen(text), &schema, err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    return schema;
}

/* `why` is "" for arguments that are fine. */
static void arguments(const struct schema *schema, const char *text, const char *why) {
    struct value_document *json = NULL;
    char err[512] = "";
    if (value_parse(text, strlen(text), &schema_value_limits, &json, err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    int rc = schema_check(schema, value_root(json), err, sizeof err);
    value_destroy(json);
    if (rc != (why[0] == '\0' ? 0 : -EINVAL) || strcmp(err, why) != 0)
        fail_msg("%s gave %d\n  got:    %s\n  wanted: %s", text, rc, err, why);
}

/* One property "a" with that schema; its value; the sentence. */
static void value(const char *schema_text, const char *value_text, const char *why) {
    char text[512];
    snprintf(text, sizeof text, "{\"type\": \"object\", \"properties\": {\"a\": %s}}", schema_text);
    struct schema *schema = compiled(text);
    snprintf(text, sizeof text, "{\"a\": %s}", value_text);
    arguments(schema, text, why);
    schema_destroy(schema);
}

static void test_types(void **state) {
    (void)state;
    value("{\"type\": \"string\"}", "\"x\"", "");
    value("{\"type\": \"string\"}", "1", "arguments.a must be a string, not a number");
    value("{\"type\": \"integer\"}", "1", "");
    value("{\"type\": \"integer\"}", "1.0", "");
    value("{\"type\": \"integer\"}", "-1e3", "");
    value("{\"type\": \"integer\"}", "1.5", "arguments.a must be an integer, not 1.5");
    value("{\"type\": \"integer\"}", "\"1\"", "arguments.a must be an integer, not a string");
    value("{\"type\": \"number\"}", "1", "");
    value("{\"type\": \"number\"}", "1.5", "");
    value("{\"type\": \"number\"}", "null", "arguments.a must be a number, not null");
    value("{\"type\": \"boolean\"}", "true", "");
    value("{\"type\": \"boolean\"}", "\"true\"", "arguments.a must be a boolean, not a string");
    value("{\"type\": \"null\"}", "null", "");
    value("{\"type\": \"null\"}", "false", "arguments.a must be null, not a boolean");
    value("{\"type\": \"array\"}", "[]", "");
    value("{\"type\": \"array\"}", "{}", "arguments.a must be an array, not an object");
    value("{\"type\": [\"integer\", \"null\"]}", "null", "");
    value("{\"type\": [\"string\", \"integer\", \"null\"]}", "[]",
          "arguments.a must be null or an integer or a string, not an array");
    value("{}", "[1, {\"x\": null}]", "");
}

static void test_choices(void **state) {
    (void)state;
    value("{\"enum\": [\"red\", \"green\", 3]}", "\"green\"", "");
    value("{\"enum\": [\"red\", \"green\", 3]}", "3", "");
    value("{\"enum\": [\"red\", \"green\"]}", "\"Red\"", "arguments.a must be one of [\"red\",\"green\"]");
    value("{\"const\": {\"x\": [1, 2]}}", "{\"x\": [1, 2]}", "");
    value("{\"const\": {\"x\": [1, 2]}}", "{\"x\": [2, 1]}", "arguments.a must be {\"x\":[1,2]}");
}

static void test_numbers(void **state) {
    (void)state;
    value("{\"minimum\": 1, \"maximum\": 10}", "1", "");
    value("{\"minimum\": 1, \"maximum\": 10}", "10", "");
    value("{\"minimum\": 1, \"maximum\": 10}", "0.5", "arguments.a must be at least 1, not 0.5");
    value("{\"minimum\": 1, \"maximum\": 10}", "11", "arguments.a must be at most 10, not 11");
    value("{\"exclusiveMinimum\": 0}", "0", "arguments.a must be more than 0, not 0");
    value("{\"exclusiveMinimum\": 0}", "0.1", "");
    value("{\"exclusiveMaximum\": 2.5}", "2.5", "arguments.a must be less than 2.5, not 2.5");
    value("{\"minimum\": 1}", "\"a string is no number\"", "");
}

static void test_lengths(void **state) {
    (void)state;
    value("{\"minLength\": 1}", "\"\"", "arguments.a must have at least 1 characters, not 0");
    value("{\"maxLength\": 2}", "\"\xe2\x82\xac\xf0\x9f\x98\x80\"", ""); /* two code points, seven bytes */
    value("{\"maxLength\": 2}", "\"abc\"", "arguments.a must have at most 2 characters, not 3");
    value("{\"minItems\": 1}", "[]", "arguments.a must have at least 1 items, not 0");
    value("{\"maxItems\": 1}", "[1, 2]", "arguments.a must have at most 1 items, not 2");
    value("{\"items\": {\"type\": \"integer\"}}", "[1, 2, 3]", "");
    value("{\"items\": {\"type\": \"integer\"}}", "[1, \"2\"]",
          "arguments.a[1] must be an integer, not a string");
    value("{\"items\": {\"items\": {\"type\": \"integer\"}}}", "[[1], [2, null]]",
          "arguments.a[1][1] must be an integer, not null");
}

static void test_objects(void **state) {
    struct schema *schema =
        compiled("{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"title\": \"t\", "
                 "\"description\": \"d\", \"type\": \"object\", "
                 "\"properties\": {"
                 "\"date\": {\"type\": \"string\", \"format\": \"date\", \"default\": 1, \"examples\": []}, "
                 "\"days\": {\"type\": \"integer\"}}, "
                 "\"required\": [\"date\", \"days\"], \"additionalProperties\": false}");
    (void)state;
    arguments(schema, "{\"date\": \"2024-02-29\", \"days\": 3}", "");
    arguments(schema, "{\"days\": 3}", "arguments.date is missing; it must be a string");
    arguments(schema, "{\"date\": \"2024-02-29\"}", "arguments.days is missing; it must be an integer");
    arguments(schema, "{\"date\": \"2024-02-29\", \"dais\": 3}",
              "arguments has no property 'dais'; did you mean 'days'?");
    arguments(schema, "{\"date\": \"2024-02-29\", \"days\": 3, \"colour\": 1}",
              "arguments has no property 'colour'; it takes date, days");
    arguments(schema, "{\"date\": 3, \"days\": 3}", "arguments.date must be a string, not a number");
    arguments(schema, "[]", "arguments must be an object, not an array");
    schema_destroy(schema);
    schema = compiled("{\"type\": \"object\", \"additionalProperties\": false}");
    arguments(schema, "{}", "");
    arguments(schema, "{\"a\": 1}", "arguments takes no properties, but has 'a'");
    schema_destroy(schema);
    schema = compiled(
        "{\"type\": \"object\", \"additionalProperties\": {\"type\": \"integer\"}, \"required\": [\"b\"]}");
    arguments(schema, "{\"b\": 1, \"c\": 2}", "");
    arguments(schema, "{\"b\": 1, \"c\": \"2\"}", "arguments.c must be an integer, not a string");
    arguments(schema, "{\"b\": \"1\"}", "arguments.b must be an integer, not a string");
    arguments(schema, "{}", "arguments.b is missing");
    schema_destroy(schema);
    schema = compiled("{\"type\": \"object\", \"properties\": {\"o\": {\"type\": \"object\", \"properties\": "
                      "{\"p\": {\"type\": \"boolean\"}}, "
                      "\"required\": [\"p\"], \"additionalProperties\": false}}}");
    arguments(schema, "{\"o\": {\"p\": true}}", "");
    arguments(schema, "{\"o\": {}}", "arguments.o.p is missing; it must be a boolean");
    arguments(schema, "{\"o\": {\"p\": 1}}", "arguments.o.p must be a boolean, not a number");
    arguments(schema, "{\"o\": {\"p\": true, \"q\": 1}}", "arguments.o has no property 'q'; it takes p");
    schema_destroy(schema);
}

/* A place deeper than can be named is cut, not overrun. */
static void test_deep_place(void **state) {
    static const char name[] = "a_long_name_of_a_property_that_fills_the_place_quite_fast_______";
    char *text = strdup("{\"type\": \"string\"}"), *values = strdup("1"), err[1024] = "";
    (void)state;
    for (int i = 0; i < 12; i++) {
        char *outer = NULL;
        assert_true(asprintf(&outer, "{\"type\": \"object\", \"properties\": {\"%s\": %s}}", name, text) > 0);
        free(text);
        text = outer;
        assert_true(asprintf(&outer, "{\"%s\": %s}", name, values) > 0);
        free(values);
        values = outer;
    }
    struct schema *schema = compiled(text);
    struct value_document *json = NULL;
    assert_int_equal(value_parse(values, strlen(values), &schema_value_limits, &json, err, sizeof err), 0);
    assert_int_equal(schema_check(schema, value_root(json), err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "must be a string, not a number"));
    value_destroy(json);
    schema_destroy(schema);
    free(text);
    free(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_when_listed),
        cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_deep_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

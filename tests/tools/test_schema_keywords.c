/* Every keyword: what it lets pass, what it does not, what the model is told, and when it refuses the schema.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/tools/schema_cases.h"

#include <stdio.h>

static void test_booleans(void **state) {
    (void)state;
    case_valid("true", "1");
    case_value("false", "1", "arguments is not allowed");
    case_value("{\"properties\": {\"a\": false}}", "{\"a\": 1}", "arguments.a is not allowed");
    case_value("{\"items\": false}", "[1]", "arguments[0] is not allowed");
}

static void test_exact_numbers(void **state) {
    (void)state;
    case_valid("{\"const\": 9007199254740993}", "9007199254740993.0");
    case_invalid("{\"const\": 9007199254740993}", "9007199254740992");
    case_valid("{\"enum\": [1e400]}", "10e399");
    case_value("{\"maximum\": 9007199254740992}", "9007199254740993",
               "arguments must be at most 9007199254740992, not 9007199254740993");
    case_valid("{\"exclusiveMinimum\": 0.1}", "0.10000000000000000001");
    case_invalid("{\"exclusiveMinimum\": 0.1}", "0.1");
    case_valid("{\"type\": \"integer\"}", "12345678901234567890123456789012345678901234567890");
    case_valid("{\"type\": \"integer\"}", "1e300");
    case_value("{\"multipleOf\": 0.01}", "19.999", "arguments must be a multiple of 0.01, not 19.999");
    case_valid("{\"multipleOf\": 0.01}", "19.99");
    /* both limits of a side: the tighter one */
    case_invalid("{\"minimum\": 3, \"exclusiveMinimum\": 3}", "3");
    case_invalid("{\"minimum\": 5, \"exclusiveMinimum\": 3}", "4");
    case_valid("{\"minimum\": 5, \"exclusiveMinimum\": 3}", "5");
    case_invalid("{\"exclusiveMaximum\": 2, \"maximum\": 7}", "2");
    case_refused("{\"multipleOf\": 0}", "multipleOf",
                 "at the top: keyword 'multipleOf' must be a number above 0");
    case_refused("{\"multipleOf\": 1234567890123456789}", "multipleOf",
                 "at the top: keyword 'multipleOf' must have at most 18 digits");
    case_valid("{\"maxLength\": 1e30}", "\"a\"");
    case_invalid("{\"minLength\": 1e30}", "\"a\"");
    case_valid("{\"minLength\": 2.0}", "\"ab\"");
}

static void test_choices(void **state) {
    (void)state;
    case_value("{\"enum\": [1, 2, 3], \"const\": 2}", "3", "arguments must be 2");
    case_valid("{\"const\": 2, \"enum\": [1, 2, 3]}", "2.0");
    case_invalid("{\"const\": 4, \"enum\": [1]}", "4");
    case_invalid("{\"const\": false}", "0");
    case_invalid("{\"const\": [false]}", "[0]");
    case_valid("{\"const\": null}", "null");
}

static void test_strings(void **state) {
    (void)state;
    case_value("{\"pattern\": \"^[a-z]+$\"}", "\"A\"", "arguments must match the pattern ^[a-z]+$");
    case_valid("{\"pattern\": \"b\"}", "\"abc\"");
    case_valid("{\"pattern\": \"b\"}", "5");
    case_value("{\"format\": \"date\"}", "\"today\"", "arguments must be of format 'date', like 2024-02-29");
    case_valid("{\"format\": \"date\"}", "5");
    case_valid("{\"format\": \"int32\"}", "\"x\"");
    case_refused("{\"format\": \"idn-hostname\"}", "format",
                 "at the top: keyword 'format' 'idn-hostname' is not supported");
    case_refused("{\"format\": 1}", "format", "at the top: keyword 'format' must be a string");
    case_refused("{\"pattern\": \"(\"}", "pattern",
                 "at the top: keyword 'pattern' has '(': a '(' that is not closed at byte 1 of the pattern");
    static const struct schema_options notes = {.any_value = true, .formats_are_notes = true};
    struct schema *schema = case_compiled("{\"format\": \"date\"}", &notes);
    struct value_document *document = NULL;
    assert_int_equal(value_parse("\"x\"", 3, &schema_value_limits, &document, NULL, 0), 0);
    assert_int_equal(schema_check(schema, value_root(document), NULL, 0), 0);
    value_destroy(document);
    schema_destroy(schema);
}

static void test_arrays(void **state) {
    (void)state;
    static const char tuple[] =
        "{\"prefixItems\": [{\"type\": \"string\"}, {\"type\": \"integer\"}], \"items\": false}";
    case_valid(tuple, "[]");
    case_valid(tuple, "[\"a\", 1]");
    case_value(tuple, "[\"a\", \"b\"]", "arguments[1] must be an integer, not a string");
    case_value(tuple, "[\"a\", 1, 2]", "arguments[2] is not allowed");
    case_valid("{\"uniqueItems\": true}", "[1, \"1\", true, null, [1], [\"1\"], {\"a\": 1}, {\"a\": 2}]");
    case_value("{\"uniqueItems\": true}", "[{\"a\": 1, \"b\": 2}, 0, {\"b\": 2.0, \"a\": 1}]",
               "arguments must not hold the same item twice");
    case_valid("{\"uniqueItems\": false}", "[1, 1]");
    case_value("{\"contains\": {\"const\": 1}}", "[2, 3]",
               "arguments must hold at least 1 items of the kind that it has to contain, not 0");
    case_valid("{\"contains\": {\"const\": 1}, \"minContains\": 0}", "[]");
    case_invalid("{\"contains\": {\"const\": 1}, \"maxContains\": 1}", "[1, 2, 1]");
    case_invalid("{\"contains\": {\"const\": 1}, \"minContains\": 2}", "[1, 2]");
    case_valid("{\"minContains\": 2}", "[]");
    /* a list in `items`, as drafts before 2020-12 have it, where no dialect is named */
    case_valid("{\"items\": [{\"type\": \"string\"}], \"additionalItems\": {\"type\": \"integer\"}}",
               "[\"a\", 1]");
    case_invalid("{\"items\": [{\"type\": \"string\"}], \"additionalItems\": {\"type\": \"integer\"}}",
                 "[\"a\", \"b\"]");
    case_valid("{\"items\": {}, \"additionalItems\": false}", "[1]");
    case_refused("{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"items\": [true]}",
                 "items",
                 "at the top: keyword 'items' must be one schema in 2020-12; 'prefixItems' takes a list");
    case_refused("{\"prefixItems\": []}", "prefixItems",
                 "at the top: keyword 'prefixItems' must be a list of schemas that is not empty");
    case_refused("{\"uniqueItems\": 1}", "uniqueItems",
                 "at the top: keyword 'uniqueItems' must be true or false");
}

static void test_objects(void **state) {
    (void)state;
    static const char patterns[] =
        "{\"properties\": {\"x-a\": {\"maxLength\": 3}}, \"patternProperties\": {\"^x-\": "
        "{\"type\": \"string\"}}, \"additionalProperties\": {\"type\": \"integer\"}}";
    case_valid(patterns, "{\"x-a\": \"abc\", \"x-b\": \"abcd\", \"c\": 1}");
    case_value(patterns, "{\"x-a\": \"abcd\"}", "arguments.x-a must have at most 3 characters, not 4");
    case_value(patterns, "{\"x-a\": 1}", "arguments.x-a must be a string, not a number");
    case_value(patterns, "{\"x-b\": 1}", "arguments.x-b must be a string, not a number");
    case_value(patterns, "{\"c\": \"\"}", "arguments.c must be an integer, not a string");
    case_value("{\"patternProperties\": {\"^x-\": true}, \"additionalProperties\": false}", "{\"b\": 1}",
               "arguments has no property 'b'; it takes names with ^x-");
    case_value("{\"propertyNames\": {\"pattern\": \"^[a-z]$\"}}", "{\"a\": 1, \"B\": 2}",
               "arguments has a property 'B', whose name is not allowed");
    case_value("{\"minProperties\": 1}", "{}", "arguments must have at least 1 properties, not 0");
    case_invalid("{\"maxProperties\": 1}", "{\"a\": 1, \"b\": 2}");
    case_value("{\"dependentRequired\": {\"a\": [\"b\"]}}", "{\"a\": 1}",
               "arguments.b is missing; it must be there because a is");
    case_valid("{\"dependentRequired\": {\"a\": [\"b\"]}}", "{\"c\": 1}");
    case_invalid("{\"dependentSchemas\": {\"a\": {\"maxProperties\": 1}}}", "{\"a\": 1, \"b\": 1}");
    case_invalid("{\"dependencies\": {\"a\": [\"b\"], \"c\": {\"required\": [\"d\"]}}}", "{\"c\": 1}");
    case_invalid("{\"dependencies\": {\"a\": [\"b\"], \"c\": {\"required\": [\"d\"]}}}", "{\"a\": 1}");
    case_valid("{\"dependencies\": {\"a\": [\"b\"], \"c\": {\"required\": [\"d\"]}}}",
               "{\"a\": 1, \"b\": 1}");
    case_value("{\"required\": [\"b\", \"a\", \"b\"]}", "{\"a\": 1}", "arguments.b is missing");
    case_refused("{\"dependentRequired\": {\"a\": {}}}", "dependentRequired",
                 "at the top: keyword 'dependentRequired' must hold lists of names");
}

static void test_forms(void **state) {
    (void)state;
    static const char forms[] = "{\"anyOf\": [{\"type\": \"object\", \"properties\": {\"kind\": {\"const\": "
                                "\"a\"}, \"n\": {\"type\": \"integer\"}}},"
                                "{\"type\": \"object\", \"properties\": {\"kind\": {\"const\": \"b\"}, "
                                "\"s\": {\"type\": \"string\"}}}]}";
    case_valid("{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}", "null");
    case_value("{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}", "1",
               "arguments must be null or a string, not a number");
    case_valid(forms, "{\"kind\": \"b\", \"s\": \"x\"}");
    case_value(forms, "{\"kind\": \"b\", \"s\": 1}",
               "arguments fits none of its 2 forms; the nearest: arguments.s must be a string, not a number");
    case_value("{\"oneOf\": [{\"minimum\": 1}, {\"maximum\": 5}]}", "3",
               "arguments fits more than one of its forms and must fit exactly one");
    case_valid("{\"oneOf\": [{\"minimum\": 1}, {\"maximum\": 5}]}", "7");
    case_value("{\"allOf\": [{\"minimum\": 1}, {\"maximum\": 5}]}", "7",
               "arguments must be at most 5, not 7");
    case_value("{\"not\": {\"type\": \"string\"}}", "\"\"",
               "arguments is what the schema says it must not be");
    case_valid("{\"not\": {\"type\": \"string\"}}", "1");
    static const char condition[] =
        "{\"if\": {\"minimum\": 10}, \"then\": {\"multipleOf\": 10}, \"else\": {\"maximum\": 5}}";
    case_valid(condition, "20");
    case_invalid(condition, "25");
    case_valid(condition, "5");
    case_invalid(condition, "7");
    case_valid("{\"if\": {\"minimum\": 10}, \"then\": false}", "5");
    case_valid("{\"if\": false}", "5");
    case_valid("{\"then\": false}", "5");
    case_refused("{\"anyOf\": {}}", "anyOf",
                 "at the top: keyword 'anyOf' must be a list of schemas that is not empty");
    case_refused("{\"allOf\": [1]}", "allOf",
                 "at the top: keyword 'allOf' must hold schemas: objects, true or false");
}

static void test_unevaluated(void **state) {
    (void)state;
    case_invalid("{\"properties\": {\"a\": true}, \"unevaluatedProperties\": false}", "{\"b\": 1}");
    case_valid("{\"properties\": {\"a\": true}, \"unevaluatedProperties\": false}", "{\"a\": 1}");
    case_valid("{\"additionalProperties\": true, \"unevaluatedProperties\": false}", "{\"a\": 1}");
    case_invalid("{\"prefixItems\": [true], \"unevaluatedItems\": false}", "[1, 2]");
    case_valid("{\"allOf\": [true], \"unevaluatedProperties\": true}", "{\"a\": 1}");
    case_refused("{\"allOf\": [true], \"unevaluatedProperties\": false}", "unevaluatedProperties",
                 "at the top: keyword 'unevaluatedProperties' is not supported beside allOf, anyOf, $ref and "
                 "the like");
}

/* A name that no dialect knows is a note; one that was meant to be a rule is not. */
static void test_names(void **state) {
    (void)state;
    case_valid("{\"title\": \"t\", \"x-order\": 1, \"_format\": \"date\", \"javaType\": \"T\", "
               "\"deprecated\": true, "
               "\"max\": 1, \"contentEncoding\": \"base64\", \"note\": {\"type\": \"string\"}}",
               "5");
    static const char *const slips[][2] = {
        {"minLenght", "minLength"}, {"additonalProperties", "additionalProperties"},
        {"requires", "required"},   {"Pattern", "pattern"},
        {"maxlength", "maxLength"}, {"onOf", "oneOf"},
        {"item", "items"},          {"anyof", "anyOf"},
        {"unevaluatedProps", ""},
    };
    for (size_t i = 0; i < sizeof slips / sizeof slips[0]; i++) {
        char schema[200], why[200];
        snprintf(schema, sizeof schema, "{\"properties\": {\"a\": {\"%s\": 1}}}", slips[i][0]);
        snprintf(why, sizeof why, "at /properties/a: keyword '%s' is not supported; did you mean '%s'?",
                 slips[i][0], slips[i][1]);
        if (slips[i][1][0] == '\0')
            case_valid(schema, "{}");
        else
            case_refused(schema, slips[i][0], why);
    }
    case_refused("{\"$vocabulary\": {}}", "$vocabulary",
                 "at the top: keyword '$vocabulary' is not supported");
}

static void test_dialects(void **state) {
    (void)state;
#define DRAFT(n) "{\"$schema\": \"http://json-schema.org/draft-0" #n "/schema#\", "
    case_valid(DRAFT(4) "\"minimum\": 3, \"exclusiveMinimum\": false}", "3");
    case_invalid(DRAFT(4) "\"minimum\": 3, \"exclusiveMinimum\": true}", "3");
    case_invalid("{\"maximum\": 3, \"exclusiveMaximum\": true}", "3");
    case_refused(DRAFT(4) "\"exclusiveMinimum\": 3}", "exclusiveMinimum",
                 "at the top: keyword 'exclusiveMinimum' must be true or false in draft-04");
    case_refused(DRAFT(7) "\"exclusiveMinimum\": true}", "exclusiveMinimum",
                 "at the top: keyword 'exclusiveMinimum' must be a number");
    case_refused(DRAFT(4) "\"const\": 3}", "const",
                 "at the top: keyword 'const' is not part of draft-04, which '$schema' names");
    case_refused(DRAFT(7) "\"prefixItems\": [true]}", "prefixItems",
                 "at the top: keyword 'prefixItems' is not part of draft-07, which '$schema' names");
    case_value(DRAFT(4) "\"type\": \"integer\"}", "1.0", "arguments must be an integer, not 1.0");
    case_valid(DRAFT(4) "\"type\": [\"integer\", \"number\"]}", "1.0");
    case_valid(DRAFT(7) "\"type\": \"integer\"}", "1.0");
    case_value(DRAFT(7) "\"contentEncoding\": \"base64\", \"contentMediaType\": \"application/json\"}",
               "\"e30\"", "arguments must be JSON in base64, like eyJhIjogMX0=");
    case_valid(DRAFT(7) "\"contentEncoding\": \"base64\", \"contentMediaType\": \"application/json\"}",
               "\"e30=\"");
    case_invalid(DRAFT(7) "\"contentMediaType\": \"application/json\"}", "\"{\"");
    case_valid(DRAFT(7) "\"contentMediaType\": \"image/png\"}", "\"{\"");
    case_refused(DRAFT(7) "\"contentEncoding\": \"base64\", \"format\": \"date\"}", "contentEncoding",
                 "at the top: keyword 'contentEncoding' is not supported beside 'format'");
    /* beside a $ref nothing counts, up to draft-07 */
    case_valid(
        DRAFT(7) "\"definitions\": {\"a\": {}}, \"items\": {\"$ref\": \"#/definitions/a\", \"maximum\": 1}}",
        "[2]");
    case_invalid("{\"definitions\": {\"a\": {}}, \"items\": {\"$ref\": \"#/definitions/a\", \"maximum\": 1}}",
                 "[2]");
    case_valid("{\"$schema\": \"https://json-schema.org/draft/2020-12/schema#\"}", "1");
    case_refused(
        "{\"$schema\": \"http://example.org/mine\"}", "$schema",
        "at the top: keyword '$schema' names a dialect that is not supported; 2020-12 and draft-07 are");
    case_refused(
        "{\"$schema\": 7}", "$schema",
        "at the top: keyword '$schema' names a dialect that is not supported; 2020-12 and draft-07 are");
#undef DRAFT
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_booleans), cmocka_unit_test(test_exact_numbers), cmocka_unit_test(test_choices),
        cmocka_unit_test(test_strings),  cmocka_unit_test(test_arrays),        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_forms),    cmocka_unit_test(test_unevaluated),   cmocka_unit_test(test_names),
        cmocka_unit_test(test_dialects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

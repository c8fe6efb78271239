/* References, identifiers, recursion, and the graph that comes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/tools/schema_cases.h"
#include "tools/schema_graph.h"

static void test_pointers(void **state) {
    (void)state;
    case_invalid(
        "{\"$defs\": {\"a/b~c%\": {\"type\": \"integer\"}}, \"items\": {\"$ref\": \"#/$defs/a~1b~0c%25\"}}",
        "[\"x\"]");
    case_valid("{\"prefixItems\": [{\"type\": \"integer\"}, {\"$ref\": \"#/prefixItems/0\"}]}", "[1, 2]");
    case_invalid("{\"prefixItems\": [{\"type\": \"integer\"}, {\"$ref\": \"#/prefixItems/0\"}]}",
                 "[1, \"2\"]");
    case_invalid("{\"unknown\": {\"type\": \"integer\"}, \"items\": {\"$ref\": \"#/unknown\"}}", "[\"x\"]");
    case_refused("{\"items\": {\"$ref\": \"#/$defs/a\"}}", "$ref",
                 "at /items: keyword '$ref' leads to '#/$defs/a', where nothing is");
    case_refused("{\"allOf\": [true], \"items\": {\"$ref\": \"#/allOf/01\"}}", "$ref",
                 "at /items: keyword '$ref' leads to '#/allOf/01', where nothing is");
    case_refused("{\"items\": {\"$ref\": \"http://a/b.json\"}}", "$ref",
                 "at /items: keyword '$ref' leads to 'http://a/b.json', which is not in this schema");
    case_refused("{\"title\": \"t\", \"items\": {\"$ref\": \"#/title\"}}", "$ref",
                 "at /items: keyword '$ref' must hold schemas: objects, true or false");
    case_refused("{\"$ref\": 1}", "$ref", "at the top: keyword '$ref' must be a string");
}

static void test_identifiers(void **state) {
    (void)state;
    static const char ids[] =
        "{\"$id\": \"http://x/a/root\", \"$defs\": {"
        "\"one\": {\"$id\": \"../b/one\", \"$defs\": {\"in\": {\"type\": \"integer\"}}, \"items\": "
        "{\"$ref\": \"#/$defs/in\"}},"
        "\"two\": {\"$anchor\": \"here\", \"type\": \"string\"}},"
        "\"properties\": {\"p\": {\"$ref\": \"http://x/b/one\"}, \"q\": {\"$ref\": \"#here\"},"
        "\"r\": {\"$ref\": \"root#/$defs/two\"}, \"s\": {\"$ref\": \"/b/one#/$defs/in\"}}}";
    case_valid(ids, "{\"p\": [1], \"q\": \"x\", \"r\": \"x\", \"s\": 1}");
    case_value(ids, "{\"p\": [\"x\"]}", "arguments.p[0] must be an integer, not a string");
    case_invalid(ids, "{\"q\": 1}");
    case_invalid(ids, "{\"r\": 1}");
    case_invalid(ids, "{\"s\": \"x\"}");
    /* an anchor belongs to its resource */
    case_refused("{\"$defs\": {\"a\": {\"$id\": \"b\", \"$anchor\": \"c\"}}, \"items\": {\"$ref\": \"#c\"}}",
                 "$ref", "at /items: keyword '$ref' leads to '#c', where nothing is");
    /* an identifier inside of an enum is none */
    case_refused("{\"enum\": [{\"$id\": \"http://x/y\"}], \"items\": {\"$ref\": \"http://x/y\"}}", "$ref",
                 "at /items: keyword '$ref' leads to 'http://x/y', which is not in this schema");
    case_invalid("{\"$schema\": \"http://json-schema.org/draft-07/schema#\", \"definitions\": {\"a\": "
                 "{\"$id\": \"#b\", \"type\": \"null\"}}, "
                 "\"items\": {\"$ref\": \"#b\"}}",
                 "[1]");
    case_valid("{\"$id\": \"urn:uuid:deadbeef-1234-0000-0000-4321feebdaed\", \"minProperties\": 1, "
               "\"properties\": {\"a\": {\"$ref\": "
               "\"urn:uuid:deadbeef-1234-0000-0000-4321feebdaed\"}}}",
               "{\"a\": {\"a\": 1}}");
}

static void test_recursion(void **state) {
    static const char tree[] = "{\"type\": \"object\", \"properties\": {\"v\": {\"type\": \"integer\"}, "
                               "\"kids\": {\"type\": \"array\", "
                               "\"items\": {\"$ref\": \"#\"}}}, \"required\": [\"v\"]}";
    (void)state;
    case_valid(tree, "{\"v\": 1, \"kids\": [{\"v\": 2, \"kids\": [{\"v\": 3}]}]}");
    case_value(tree, "{\"v\": 1, \"kids\": [{\"v\": 2, \"kids\": [{\"v\": \"3\"}]}]}",
               "arguments.kids[0].kids[0].v must be an integer, not a string");
    case_refused("{\"$defs\": {\"a\": {\"$ref\": \"#/$defs/b\"}, \"b\": {\"allOf\": [{\"$ref\": "
                 "\"#/$defs/a\"}]}}, \"$ref\": \"#/$defs/a\"}",
                 "$ref",
                 "at /$defs/a: keyword '$ref' leads back to itself with the same value, which never ends");
    case_refused("{\"not\": {\"$ref\": \"#\"}}", "$ref",
                 "at the top: keyword '$ref' leads back to itself with the same value, which never ends");
    /* with one resource there is one dynamic scope */
    case_invalid("{\"$dynamicAnchor\": \"n\", \"type\": [\"object\", \"integer\"], \"additionalProperties\": "
                 "{\"$dynamicRef\": \"#n\"}}",
                 "{\"a\": {\"b\": \"x\"}}");
    case_refused(
        "{\"$defs\": {\"a\": {\"$id\": \"a\"}}, \"items\": {\"$dynamicRef\": \"#\"}}", "$dynamicRef",
        "at /items: keyword '$dynamicRef' is not supported where schemas have identifiers of their own");
}

/* What a walker sees. */
static void test_graph(void **state) {
    struct schema *schema =
        case_compiled("{\"type\": \"object\", \"required\": [\"z\", \"b\"], \"properties\": {\"b\": "
                      "{\"$ref\": \"#/$defs/n\"}, \"a\": {\"$ref\": \"#/$defs/n\"}}, "
                      "\"$defs\": {\"n\": {\"type\": [\"integer\", \"null\"], \"minimum\": 1, "
                      "\"exclusiveMaximum\": 9.5, \"enum\": [1, 2, null]}}, "
                      "\"additionalProperties\": false, \"minProperties\": 2}",
                      NULL);
    const struct schema_node *root = schema_root(schema), *n;
    (void)state;
    assert_int_equal(root->id, 0);
    assert_string_equal(root->place, "");
    assert_int_equal(root->types, SCHEMA_OBJECT);
    assert_int_equal(root->n_properties, 3);
    assert_string_equal(root->properties[0].name, "b");
    assert_true(root->properties[0].required);
    assert_string_equal(root->properties[1].name, "a");
    assert_false(root->properties[1].required);
    assert_string_equal(root->properties[2].name, "z");
    assert_null(root->properties[2].schema);
    assert_ptr_equal(schema_property(root, "a"), &root->properties[1]);
    assert_null(schema_property(root, "c"));
    assert_int_equal(root->additional->types, 0);
    assert_int_equal(root->min_properties, 2);
    assert_true(root->max_properties == SCHEMA_NO_MAX);
    n = root->properties[0].schema->ref;
    assert_ptr_equal(n, root->properties[1].schema->ref);
    assert_string_equal(n->place, "/$defs/n");
    assert_true(n->is_ref_target);
    assert_int_equal(n->types, SCHEMA_INTEGER | SCHEMA_NULL);
    assert_int_equal(n->n_choices, 3);
    assert_false(n->lower.exclusive);
    assert_true(n->upper.exclusive);
    assert_int_equal(n->upper.value->exponent, -1);
    assert_int_equal(schema_nodes(schema), 5);
    schema_destroy(schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_identifiers),
        cmocka_unit_test(test_recursion),
        cmocka_unit_test(test_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

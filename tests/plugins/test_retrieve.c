#include "tests/plugins/folder.h"

#include "plugins/retrieve_passages.h"

static struct hermes_test t;

static int start(void **state) {
    (void)state;
    folder_make();
    mkdir(folder_at("docs"), 0755);
    mkdir(folder_at("docs/more"), 0755);
    mkdir(folder_at("outside"), 0755);
    folder_put_text("outside/secret.txt", "The password of the bridge is swordfish.");
    folder_put_text(
        "docs/bridges.md",
        "# Bridges\n\nThe Oder bridge was built in 1934.\nIt is 210 metres long.\n\n\n## Repairs\n\nThe Elbe "
        "bridge was repaired in 1998.\n\n- one\n- two\n");
    folder_put_text(
        "docs/fruit.txt",
        "Apples keep for months in a cellar.\r\n\r\nPears bruise easily: \"handle with care\".\n");
    folder_put_text("docs/more/fruit.txt", "Quinces are sour.");
    folder_put_text("docs/data.csv", "Apples,quinces");
    folder_put("docs/binary.txt", "Apples\0pears", 12);
    assert_int_equal(symlink("../outside/secret.txt", folder_at("docs/link.txt")), 0);
    return hermes_test_start(&t, hermes_plugin_v1(), folder_config("documents", "docs"));
}

static int finish(void **state) {
    (void)state;
    hermes_test_finish(&t);
    folder_remove();
    return 0;
}

static void test_declaration(void **state) {
    (void)state;
    expect_declared(
        hermes_plugin_v1(), "retrieve",
        HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ |
            HERMES_T_PRIVATE_DATA,
        "Search the documents and return passages to cite.",
        "{\"type\": \"object\", \"properties\": {\"query\": {\"type\": \"string\"}, \"limit\": {\"type\": "
        "\"integer\", \"minimum\": 1, \"maximum\": 10}}, \"required\": [\"query\"], "
        "\"additionalProperties\": false}");
}

static void test_passages(void **state) {
    (void)state;
    expect_result(&t, "retrieve", "{\"query\": \"Oder\"}",
                  "{\"passages\": [{\"id\": \"bridges#1\", \"text\": \"# Bridges\\nThe Oder bridge was built "
                  "in 1934. It is 210 metres "
                  "long.\"}]}");
    expect_result(&t, "retrieve", "{\"query\": \"When was the Elbe repaired?\"}",
                  "{\"passages\": [{\"id\": \"bridges#2\", \"text\": \"## Repairs\\nThe Elbe bridge was "
                  "repaired in 1998.\"}]}");
    expect_result(&t, "retrieve", "{\"query\": \"pears\"}",
                  "{\"passages\": [{\"id\": \"fruit#2\", \"text\": \"Pears bruise easily: \\\"handle with "
                  "care\\\".\"}]}");
    expect_result(&t, "retrieve", "{\"query\": \"two\"}",
                  "{\"passages\": [{\"id\": \"bridges#3\", \"text\": \"- one\\n- two\"}]}");
    expect_result(&t, "retrieve", "{\"query\": \"quinces\"}",
                  "{\"passages\": [{\"id\": \"fruit~2#1\", \"text\": \"Quinces are sour.\"}]}");
}

static void test_ranking(void **state) {
    (void)state;
    /* Both bridges match "bridge"; the one that has every word comes first. */
    assert_int_equal(HERMES_TEST_CALL(&t, "retrieve", "{\"query\": \"bridge repaired Elbe\"}"), HERMES_OK);
    assert_int_equal(strncmp(t.text, "{\"passages\": [{\"id\": \"bridges#2\"", 32), 0);
    assert_non_null(strstr(t.text, "bridges#1"));
    assert_int_equal(HERMES_TEST_CALL(&t, "retrieve", "{\"query\": \"bridge repaired Elbe\", \"limit\": 1}"),
                     HERMES_OK);
    assert_null(strstr(t.text, "bridges#1"));
}

/* Nothing in a query is syntax of the index. */
static void test_odd_queries(void **state) {
    (void)state;
    static const char *const none[] = {
        "zebra", "", "???", "\\\" OR 1=1", "NEAR(", "text:", "*", "-", "\\u0007", "swordfish", "password"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        char args[128];
        snprintf(args, sizeof args, "{\"query\": \"%s\"}", none[i]);
        expect_result(&t, "retrieve", args, "{\"passages\": []}");
    }
    static const char *const oder[] = {
        "\\\"Oder\\\"", "Oder*", "(Oder", "Oder AND NOT", "id:Oder", "-Oder", "oder'; DROP TABLE passage"};
    for (size_t i = 0; i < sizeof oder / sizeof oder[0]; i++) {
        char args[128];
        snprintf(args, sizeof args, "{\"query\": \"%s\"}", oder[i]);
        if (HERMES_TEST_CALL(&t, "retrieve", args) != HERMES_OK || strstr(t.text, "bridges#1") == NULL)
            fail_msg("%s gave %s", args, t.text);
    }
}

static void test_changes(void **state) {
    (void)state;
    expect_result(&t, "retrieve", "{\"query\": \"walnuts\"}", "{\"passages\": []}");
    folder_put_text("docs/nuts.md", "Walnuts are ripe in October.");
    expect_result(&t, "retrieve", "{\"query\": \"walnuts\"}",
                  "{\"passages\": [{\"id\": \"nuts#1\", \"text\": \"Walnuts are ripe in October.\"}]}");
    folder_put_text("docs/nuts.md", "\xEF\xBB\xBFHazel.\n\nWalnuts are ripe in September.");
    expect_result(&t, "retrieve", "{\"query\": \"walnuts\"}",
                  "{\"passages\": [{\"id\": \"nuts#2\", \"text\": \"Walnuts are ripe in September.\"}]}");
    unlink(folder_at("docs/nuts.md"));
    expect_result(&t, "retrieve", "{\"query\": \"walnuts\"}", "{\"passages\": []}");
}

static void test_no_documents(void **state) {
    (void)state;
    struct hermes_test none;
    assert_int_equal(hermes_test_start(&none, hermes_plugin_v1(), "{}"), 0);
    expect_failure(&none, "retrieve", "{\"query\": \"x\"}", HERMES_E_TOOL,
                   "no documents folder is configured");
    hermes_test_finish(&none);
    assert_int_equal(hermes_test_start(&none, hermes_plugin_v1(), "{\"documents\": \"/nowhere\"}"), 0);
    expect_refusal(&none, "retrieve", "{\"query\": \"x\"}", "the documents folder cannot be opened");
    hermes_test_finish(&none);
}

struct pieces {
    char text[40][1300];
    int count;
};

static int take(void *arg, const char *text, size_t len) {
    struct pieces *p = arg;
    assert_true(p->count < 40 && len < sizeof p->text[0] && len > 0);
    memcpy(p->text[p->count], text, len);
    p->text[p->count++][len] = '\0';
    return 0;
}

static void test_split(void **state) {
    (void)state;
    static struct pieces p;
    static const char text[] = "One\ntwo.\n\n# A\n## B\n\nthree\n1. four\n2. five\n| six |\n# C";
    assert_int_equal(retrieve_split(text, sizeof text - 1, 1200, take, &p), 0);
    assert_int_equal(p.count, 3);
    assert_string_equal(p.text[0], "One two.");
    assert_string_equal(p.text[1], "# A\n## B\nthree\n1. four\n2. five\n| six |");
    assert_string_equal(p.text[2], "# C");
    char longer[8001];
    for (size_t i = 0; i < 8000; i += 16)
        memcpy(longer + i, "Sixteen letters.", 16);
    for (size_t i = 16; i < 8000; i += 16)
        longer[i] = ' ';
    p.count = 0;
    assert_int_equal(retrieve_split(longer, 8000, 1200, take, &p), 0);
    assert_true(p.count >= 7);
    for (int i = 0; i < p.count; i++)
        assert_int_equal(p.text[i][strlen(p.text[i]) - 1], '.');
    for (size_t i = 0; i < 7998; i += 3)
        memcpy(longer + i, "\xe2\x82\xac", 3); /* no space anywhere: cut between characters */
    p.count = 0;
    assert_int_equal(retrieve_split(longer, 7998, 1199, take, &p), 0);
    for (int i = 0; i < p.count; i++)
        assert_int_equal(strlen(p.text[i]) % 3, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declaration), cmocka_unit_test(test_passages),
        cmocka_unit_test(test_ranking),     cmocka_unit_test(test_odd_queries),
        cmocka_unit_test(test_changes),     cmocka_unit_test(test_no_documents),
        cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests(tests, start, finish);
}

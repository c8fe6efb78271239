#include "tests/plugins/folder.h"

#include <sqlite3.h>

static struct hermes_test t;

static int start(void **state) {
    (void)state;
    folder_make();
    return hermes_test_start(&t, hermes_plugin_v1(), folder_config("state_dir", "."));
}

static int finish(void **state) {
    (void)state;
    hermes_test_finish(&t);
    folder_remove();
    return 0;
}

static void test_declaration(void **state) {
    (void)state;
    expect_declared(hermes_plugin_v1(), "remember",
                    HERMES_T_IDEMPOTENT | HERMES_T_CLOSED_WORLD | HERMES_T_FS_READ | HERMES_T_FS_WRITE,
                    "Store a note under a key.",
                    "{\"type\": \"object\", \"properties\": {\"key\": {\"type\": \"string\"}, \"value\": "
                    "{\"type\": \"string\"}}, "
                    "\"required\": [\"key\", \"value\"], \"additionalProperties\": false}");
    expect_declared(
        hermes_plugin_v1(), "recall",
        HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ | HERMES_T_FS_WRITE |
            HERMES_T_PRIVATE_DATA,
        "Read the note stored under a key.",
        "{\"type\": \"object\", \"properties\": {\"key\": {\"type\": \"string\"}}, \"required\": [\"key\"], "
        "\"additionalProperties\": false}");
}

static void test_no_file_before_the_first_call(void **state) {
    (void)state;
    assert_null(folder_get("memory.db"));
}

static void test_round_trip(void **state) {
    (void)state;
    struct stat st;
    expect_failure(&t, "recall", "{\"key\": \"x\"}", HERMES_E_TOOL, "no value is stored under 'x'");
    expect_result(&t, "remember", "{\"key\": \"x\", \"value\": \"one \\\"two\\\"\\n\xe2\x82\xac\"}",
                  "{\"stored\": \"x\"}");
    expect_result(&t, "recall", "{\"key\": \"x\"}", "{\"value\": \"one \\\"two\\\"\\n\xe2\x82\xac\"}");
    expect_result(&t, "remember", "{\"key\": \"x\", \"value\": \"three\"}", "{\"stored\": \"x\"}");
    expect_result(&t, "recall", "{\"key\": \"x\"}", "{\"value\": \"three\"}");
    expect_result(&t, "remember", "{\"key\": \"'; DROP TABLE note; --\", \"value\": \"\"}",
                  "{\"stored\": \"'; DROP TABLE note; --\"}");
    expect_result(&t, "recall", "{\"key\": \"'; DROP TABLE note; --\"}", "{\"value\": \"\"}");
    expect_failure(&t, "recall", "{\"key\": \"X\"}", HERMES_E_TOOL, "no value is stored under 'X'");
    assert_int_equal(stat(folder_at("memory.db"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* Another worker sees it, while the first one is there and after. */
static void test_shared(void **state) {
    (void)state;
    struct hermes_test other;
    assert_int_equal(hermes_test_start(&other, hermes_plugin_v1(), folder_config("state_dir", ".")), 0);
    expect_result(&t, "remember", "{\"key\": \"shared\", \"value\": \"1\"}", "{\"stored\": \"shared\"}");
    expect_result(&other, "recall", "{\"key\": \"shared\"}", "{\"value\": \"1\"}");
    expect_result(&other, "remember", "{\"key\": \"shared\", \"value\": \"2\"}", "{\"stored\": \"shared\"}");
    hermes_test_finish(&other);
    expect_result(&t, "recall", "{\"key\": \"shared\"}", "{\"value\": \"2\"}");
}

/* What was stored is on the disk once the call is over: a process that is killed right after leaves it
 * behind. */
static void test_durable_settings(void **state) {
    (void)state;
    sqlite3 *db;
    sqlite3_stmt *get;
    expect_result(&t, "remember", "{\"key\": \"d\", \"value\": \"1\"}", "{\"stored\": \"d\"}");
    assert_int_equal(sqlite3_open(folder_at("memory.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &get, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(get), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(get, 0), "wal");
    sqlite3_finalize(get);
    sqlite3_close(db);
}

static void test_ceilings(void **state) {
    (void)state;
    char *value = calloc(1, 64 * 1024 + 2), *args;
    char key[202];
    memset(key, 'k', 201);
    key[201] = '\0';
    args = arguments_of("key", key, "value", "1");
    expect_failure(&t, "remember", args, HERMES_E_TOOL, "the key must have 1 to 200 bytes");
    free(args);
    expect_failure(&t, "remember", "{\"key\": \"\", \"value\": \"1\"}", HERMES_E_TOOL,
                   "the key must have 1 to 200 bytes");
    expect_failure(&t, "recall", "{\"key\": \"\"}", HERMES_E_TOOL, "the key must have 1 to 200 bytes");
    assert_non_null(value);
    memset(value, 'v', 64 * 1024);
    args = arguments_of("key", "big", "value", value);
    expect_result(&t, "remember", args, "{\"stored\": \"big\"}");
    free(args);
    assert_int_equal(HERMES_TEST_CALL(&t, "recall", "{\"key\": \"big\"}"), HERMES_OK);
    assert_int_equal(t.len, 64 * 1024 + strlen("{\"value\": \"\"}"));
    value[64 * 1024] = 'v';
    args = arguments_of("key", "big", "value", value);
    expect_failure(&t, "remember", args, HERMES_E_TOOL, "the value is longer than 65536 bytes");
    free(args);
    free(value);
}

static void test_unusable(void **state) {
    (void)state;
    struct hermes_test none;
    assert_int_equal(hermes_test_start(&none, hermes_plugin_v1(), "{}"), 0);
    expect_failure(&none, "recall", "{\"key\": \"x\"}", HERMES_E_TOOL, "no folder for notes is configured");
    hermes_test_finish(&none);
    assert_int_equal(hermes_test_start(&none, hermes_plugin_v1(), "{\"state_dir\": \"/nowhere\"}"), 0);
    expect_refusal(&none, "recall", "{\"key\": \"x\"}", "the memory file cannot be opened");
    hermes_test_finish(&none);
    mkdir(folder_at("broken"), 0755);
    folder_put_text(
        "broken/memory.db",
        "this is not a database, however long it is, and it has to be long enough for SQLite to notice");
    assert_int_equal(hermes_test_start(&none, hermes_plugin_v1(), folder_config("state_dir", "broken")), 0);
    expect_refusal(&none, "recall", "{\"key\": \"x\"}", "the memory cannot be used");
    hermes_test_finish(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declaration),      cmocka_unit_test(test_no_file_before_the_first_call),
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_shared),
        cmocka_unit_test(test_durable_settings), cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_unusable),
    };
    return cmocka_run_group_tests(tests, start, finish);
}

#include "tests/plugins/folder.h"

#include <sqlite3.h>

static struct hermes_test t;

static void make(const char *name, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(folder_at(name), &db), SQLITE_OK);
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", name, message);
    sqlite3_close(db);
}

static int start(void **state) {
    (void)state;
    folder_make();
    mkdir(folder_at("ws"), 0755);
    mkdir(folder_at("outside"), 0755);
    make("ws/shop.db",
         "CREATE TABLE item (name TEXT, price REAL, stock INTEGER);"
         "INSERT INTO item VALUES ('lamp', 12.5, 3), ('chair', 40.0, 0), ('m\xc3\xbcll \"x\"', NULL, 7);"
         "CREATE VIEW cheap AS SELECT name FROM item WHERE price < 20;"
         "CREATE TABLE odd (v); INSERT INTO odd VALUES (9007199254740992), (9007199254740993), (9e999), "
         "(-9e999), "
         "(0.1), (1e300), (x'00ff'), (NULL), (zeroblob(1000));"
         "CREATE VIRTUAL TABLE words USING fts5(w); INSERT INTO words VALUES ('red lamp'), ('blue chair')");
    make("outside/secret.db", "CREATE TABLE secret (s); INSERT INTO secret VALUES ('swordfish')");
    folder_put_text(
        "ws/text.txt",
        "this is only text, and it is long enough for SQLite to look at it: it needs a hundred bytes or so");
    assert_int_equal(symlink("../outside/secret.db", folder_at("ws/link.db")), 0);
    assert_int_equal(mkfifo(folder_at("ws/pipe.db"), 0644), 0);
    return hermes_test_start(&t, hermes_plugin_v1(), folder_config("workspace", "ws"));
}

static int finish(void **state) {
    (void)state;
    hermes_test_finish(&t);
    folder_remove();
    return 0;
}

static void gives(const char *query, const char *result) {
    char *args = arguments_of("database", "shop.db", "query", query);
    expect_result(&t, "sql_query", args, result);
    free(args);
}

static void refuses(const char *query, const char *sentence) {
    char *args = arguments_of("database", "shop.db", "query", query);
    expect_failure(&t, "sql_query", args, HERMES_E_TOOL, sentence);
    free(args);
}

static void test_declaration(void **state) {
    (void)state;
    expect_declared(
        hermes_plugin_v1(), "sql_query",
        HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ |
            HERMES_T_PRIVATE_DATA,
        "Run a read-only SQL query on a database file.",
        "{\"type\": \"object\", \"properties\": {\"database\": {\"type\": \"string\"}, \"query\": {\"type\": "
        "\"string\"}}, \"required\": [\"database\", \"query\"], \"additionalProperties\": false}");
}

static void test_queries(void **state) {
    (void)state;
    gives("SELECT count(*) AS n FROM item", "{\"columns\": [\"n\"], \"rows\": [[3]]}");
    gives("SELECT name, price, stock FROM item ORDER BY rowid;",
          "{\"columns\": [\"name\", \"price\", \"stock\"], \"rows\": [[\"lamp\", 12.5, 3], [\"chair\", 40.0, "
          "0], [\"m\xc3\xbcll "
          "\\\"x\\\"\", null, 7]]}");
    gives("SELECT name FROM item WHERE stock > 100", "{\"columns\": [\"name\"], \"rows\": []}");
    gives("SELECT * FROM cheap", "{\"columns\": [\"name\"], \"rows\": [[\"lamp\"]]}");
    gives("-- how many?\n/* really */ ; SELECT 1 AS one; -- one\n;",
          "{\"columns\": [\"one\"], \"rows\": [[1]]}");
    gives("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3) SELECT sum(x) AS s "
          "FROM c",
          "{\"columns\": [\"s\"], \"rows\": [[6]]}");
    gives("SELECT name FROM pragma_table_info('item')",
          "{\"columns\": [\"name\"], \"rows\": [[\"name\"], [\"price\"], [\"stock\"]]}");
    gives("SELECT w FROM words WHERE words MATCH 'lamp'",
          "{\"columns\": [\"w\"], \"rows\": [[\"red lamp\"]]}");
    gives("SELECT name FROM sqlite_schema WHERE type = 'view'",
          "{\"columns\": [\"name\"], \"rows\": [[\"cheap\"]]}");
}

static void test_types(void **state) {
    (void)state;
    gives("SELECT v FROM odd", "{\"columns\": [\"v\"], \"rows\": [[9007199254740992], "
                               "[\"9007199254740993\"], [\"Infinity\"], [\"-Infinity\"], [0.1], "
                               "[1e+300], [\"x'00ff'\"], [null], [\"blob of 1000 bytes\"]]}");
}

static void test_refused(void **state) {
    (void)state;
    static const char *const statements[] = {"INSERT INTO item VALUES ('x', 1, 1)",
                                             "UPDATE item SET stock = 0",
                                             "DELETE FROM item",
                                             "UPDATE sqlite_master SET sql = ''",
                                             "INSERT INTO words VALUES ('x')",
                                             "INSERT INTO words(words) VALUES ('optimize')",
                                             "DROP TABLE item",
                                             "CREATE TABLE x (y)",
                                             "CREATE TEMP TABLE x (y)",
                                             "ALTER TABLE item ADD COLUMN z",
                                             "ATTACH '../outside/secret.db' AS s",
                                             "ATTACH ':memory:' AS m",
                                             "DETACH main",
                                             "PRAGMA query_only = 0",
                                             "PRAGMA writable_schema = 1",
                                             "PRAGMA journal_mode = DELETE",
                                             "PRAGMA user_version",
                                             "VACUUM",
                                             "VACUUM INTO 'copy.db'",
                                             "REINDEX",
                                             "ANALYZE",
                                             "BEGIN",
                                             "COMMIT",
                                             "SAVEPOINT s",
                                             "SELECT load_extension('x')",
                                             "WITH d AS (SELECT 1) DELETE FROM item",
                                             "REPLACE INTO item VALUES ('x', 1, 1)",
                                             "INSERT INTO item VALUES ('x', 1, 1) RETURNING name",
                                             "SELECT fts3_tokenizer('simple')"};
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        char *args = arguments_of("database", "shop.db", "query", statements[i]);
        if (HERMES_TEST_CALL(&t, "sql_query", args) != HERMES_E_TOOL)
            fail_msg("%s gave %d: %s", statements[i], t.status, t.text);
        if (strstr(t.text, "only queries that read") == NULL && strstr(t.text, "SQLite says: ") == NULL)
            fail_msg("%s gave %s", statements[i], t.text);
        free(args);
    }
    refuses("SELECT 1; SELECT 2", "only one statement at a time is allowed");
    refuses("SELECT 1; DROP TABLE item", "only one statement at a time is allowed");
    refuses("SELECT 1; garbage", "only one statement at a time is allowed");
    refuses("", "the query is empty");
    refuses(" ; -- nothing", "the query is empty");
    refuses("SELEC 1", "SQLite says: near \"SELEC\": syntax error");
    refuses("SELECT * FROM nowhere", "SQLite says: no such table: nowhere");
    refuses("SELECT colour FROM item", "SQLite says: no such column: colour");
    gives("SELECT count(*) AS n FROM item", "{\"columns\": [\"n\"], \"rows\": [[3]]}");
}

static void test_paths(void **state) {
    (void)state;
    static const struct {
        const char *path, *sentence;
    } cases[] = {
        {"../outside/secret.db", "outside the workspace, use a path inside it: ../outside/secret.db"},
        {"link.db", "outside the workspace, use a path inside it: link.db"},
        {"none.db", "no such file: none.db"},
        {"text.txt", "the file is not an SQLite database"},
        {"pipe.db", "not a regular file: pipe.db"},
        {".", "a folder, not a file: ."},
        {":memory:", "no such file: :memory:"},
        {"file:shop.db", "no such file: file:shop.db"},
        {"shop.db?mode=rwc", "no such file: shop.db?mode=rwc"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *args = arguments_of("database", cases[i].path, "query", "SELECT * FROM sqlite_schema");
        expect_failure(&t, "sql_query", args, HERMES_E_TOOL, cases[i].sentence);
        free(args);
    }
}

/* The file stays as it is, and nothing is made beside it. */
static void test_leaves_no_trace(void **state) {
    (void)state;
    make("ws/wal.db", "PRAGMA journal_mode = WAL; CREATE TABLE x (y); INSERT INTO x VALUES (5)");
    expect_result(&t, "sql_query", "{\"database\": \"wal.db\", \"query\": \"SELECT y FROM x\"}",
                  "{\"columns\": [\"y\"], \"rows\": [[5]]}");
    assert_int_equal(access(folder_at("ws/wal.db-wal"), F_OK), -1);
    assert_int_equal(access(folder_at("ws/wal.db-shm"), F_OK), -1);
    sqlite3 *writer;
    assert_int_equal(sqlite3_open(folder_at("ws/wal.db"), &writer), SQLITE_OK);
    assert_int_equal(sqlite3_exec(writer, "INSERT INTO x VALUES (6)", NULL, NULL, NULL), SQLITE_OK);
    expect_failure(
        &t, "sql_query", "{\"database\": \"wal.db\", \"query\": \"SELECT y FROM x\"}", HERMES_E_TRANSIENT,
        "wal.db is being written (it has a -wal file), close the program that writes it and try again");
    sqlite3_close(writer);
    expect_result(&t, "sql_query", "{\"database\": \"wal.db\", \"query\": \"SELECT y FROM x\"}",
                  "{\"columns\": [\"y\"], \"rows\": [[5], [6]]}");
}

static void test_ceilings(void **state) {
    (void)state;
    char *args =
        arguments_of("database", "shop.db", "query",
                     "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c");
    assert_int_equal(HERMES_TEST_CALL(&t, "sql_query", args), HERMES_OK);
    assert_non_null(strstr(t.text, "[200]], \"truncated\": true}"));
    free(args);
    args = arguments_of(
        "database", "shop.db", "query",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT hex(zeroblob(5000)) FROM c");
    assert_int_equal(HERMES_TEST_CALL(&t, "sql_query", args), HERMES_OK);
    assert_in_range(t.len, 64 * 1024, 64 * 1024 + 4400);
    assert_non_null(strstr(t.text, "], \"truncated\": true}"));
    free(args);
    args = arguments_of(
        "database", "shop.db", "query",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c");
    t.timeout_ms = 300;
    expect_failure(&t, "sql_query", args, HERMES_E_CANCELLED, "the query took too long and was stopped");
    t.timeout_ms = 30000;
    t.cancel = 1;
    expect_failure(&t, "sql_query", args, HERMES_E_CANCELLED, "the query took too long and was stopped");
    t.cancel = 0;
    free(args);
    refuses("SELECT length(zeroblob(1000000000))", "SQLite says: string or blob too big");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declaration), cmocka_unit_test(test_queries),
        cmocka_unit_test(test_types),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_paths),       cmocka_unit_test(test_leaves_no_trace),
        cmocka_unit_test(test_ceilings),
    };
    return cmocka_run_group_tests(tests, start, finish);
}

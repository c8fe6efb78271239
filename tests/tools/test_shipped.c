/* Every shipped plugin in its confined worker: listed, configured, and at work. */
#include "tests/tools/harness.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct harness h;
static struct outcome o;
static char root[64], workspace[96], state_dir[96], documents[96];

static void put(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int before(void **state) {
    static const char *const names[] = {"+calculator", "+clock",    "+files", "+hello", "+http_fetch",
                                        "+memory",     "+retrieve", "+sql",   NULL};
    (void)state;
    snprintf(root, sizeof root, "/tmp/hermes-shipped-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(workspace, sizeof workspace, "%s/workspace", root);
    snprintf(state_dir, sizeof state_dir, "%s/state", root);
    snprintf(documents, sizeof documents, "%s/documents", root);
    mkdir(workspace, 0755);
    mkdir(state_dir, 0755);
    mkdir(documents, 0755);
    put(workspace, "price.txt", "1,250\n");
    put(documents, "tides.txt", "The tide turns twice a day.\n\nThe moon pulls the sea.\n");
    memset(&h, 0, sizeof h);
    h.config = tools_config_default();
    h.config.workspace = workspace;
    h.config.state_dir = state_dir;
    h.config.documents = documents;
    harness_open(&h, names);
    return 0;
}

static int after(void **state) {
    char command[128];
    (void)state;
    harness_close(&h);
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

static void test_listed(void **state) {
    static const char *const names[] = {"calculator", "date_add",     "date_diff", "hello",   "http_fetch",
                                        "list_files", "now",          "read_file", "recall",  "remember",
                                        "retrieve",   "search_files", "sql_query", "weekday", "write_file"};
    (void)state;
    if (strstr(h.log, "left out") != NULL)
        fail_msg("%s", h.log);
    assert_int_equal(tools_count(h.tools), sizeof names / sizeof names[0]);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_string_equal(tools_get(h.tools, i)->name, names[i]);
}

static void gives(const char *tool, const char *arguments, const char *text) {
    harness_expect(&h, &o, tool, arguments, TOOL_OK);
    assert_string_equal(o.text, text);
    assert_true(o.result.is_json);
}

static void test_work(void **state) {
    char command[256];
    (void)state;
    gives("calculator", "{\"expression\": \"17% * 2340\"}", "{\"result\": \"397.8\"}");
    gives("date_add", "{\"date\": \"2026-03-01\", \"days\": 45}",
          "{\"date\": \"2026-04-15\", \"weekday\": \"Wednesday\"}");
    gives("hello", "{\"name\": \"Ada\"}", "{\"greeting\": \"Hello, Ada\"}");
    gives("read_file", "{\"path\": \"price.txt\"}", "{\"content\": \"1,250\"}");
    gives("write_file", "{\"path\": \"note.txt\", \"content\": \"abc\"}",
          "{\"path\": \"note.txt\", \"bytes\": 3}");
    gives("read_file", "{\"path\": \"note.txt\"}", "{\"content\": \"abc\"}");
    gives("remember", "{\"key\": \"colour\", \"value\": \"blue\"}", "{\"stored\": \"colour\"}");
    gives("recall", "{\"key\": \"colour\"}", "{\"value\": \"blue\"}");
    harness_expect(&h, &o, "retrieve", "{\"query\": \"moon\"}", TOOL_OK);
    assert_non_null(strstr(o.text, "The moon pulls the sea."));
    harness_expect(&h, &o, "now", "{}", TOOL_OK);
    snprintf(
        command, sizeof command,
        "python3 -c \"import sqlite3; c = sqlite3.connect('%s/shop.db'); c.execute('CREATE TABLE t (n)'); "
        "c.execute('INSERT INTO t VALUES (7)'); c.commit()\"",
        workspace);
    assert_int_equal(system(command), 0);
    harness_expect(&h, &o, "sql_query", "{\"database\": \"shop.db\", \"query\": \"SELECT n FROM t\"}",
                   TOOL_OK);
    assert_non_null(strstr(o.text, "7"));
}

static void test_refusals(void **state) {
    (void)state;
    harness_expect(&h, &o, "read_file", "{\"path\": \"../secret\"}", TOOL_ERROR);
    assert_true(o.result.len > 0);
    harness_expect(&h, &o, "http_fetch", "{\"url\": \"http://127.0.0.1:1/\"}", TOOL_ERROR);
    assert_true(o.result.len > 0);
    harness_expect(&h, &o, "calculator", "{\"expression\": \"1 / 0\"}", TOOL_ERROR);
    harness_expect(&h, &o, "read_file", "{\"path\": \"price.txt\"}", TOOL_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_listed, before, after),
        cmocka_unit_test_setup_teardown(test_work, before, after),
        cmocka_unit_test_setup_teardown(test_refusals, before, after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

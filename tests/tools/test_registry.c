/* Which plugins are taken, and what is said about those that are not. */
#include "tests/tools/harness.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct harness h;
static struct outcome o;

static void open_all(const char *const *names) {
    h.config.start_timeout_ms = h.config.start_timeout_ms != 0 ? h.config.start_timeout_ms : 5000;
    harness_open(&h, names);
}

static int before(void **state) {
    (void)state;
    memset(&h, 0, sizeof h);
    h.config = tools_config_default();
    return 0;
}

/* The plugin is left out for that reason, and hello beside it works. */
static void left_out(const char *name, const char *why) {
    const char *const names[] = {name, "+hello", NULL};
    char line[512];
    (void)before(NULL);
    if (strcmp(name, "hang_init") == 0)
        h.config.start_timeout_ms = 700;
    open_all(names);
    snprintf(line, sizeof line, "/%s.so: left out: %s", name, why);
    if (strstr(h.log, line) == NULL)
        fail_msg("wanted: %s\ngot: %s", line, h.log);
    assert_int_equal(tools_count(h.tools), 1);
    harness_expect(&h, &o, "hello", "{\"name\": \"Ada\"}", TOOL_OK);
    assert_string_equal(o.text, "{\"greeting\": \"Hello, Ada\"}");
    harness_close(&h);
}

static void test_faults(void **state) {
    (void)state;
    left_out("wrong_abi",
             "built for ABI major 2, this host has 1; build it with this host's hermes_plugin.h");
    left_out("no_symbol", "exports no function hermes_plugin_v1(), so it is no plugin of this host");
    left_out("not_magic",
             "hermes_plugin_v1() gave no plugin: its first member is 0x00000007, not HERMES_PLUGIN_INIT");
    left_out("bad_name", "tool number 1: a tool's name must be 1 to 64 of a-z A-Z 0-9 _ -");
    left_out(
        "bad_schema",
        "tool 'hello': args_schema: at /properties/a~1b: keyword 'pattern' has '(?!x)': look-ahead is not "
        "supported at byte 2 of the pattern");
    left_out("crash_init", "it crashed in its init: signal 6 (Aborted)");
    left_out("fail_init", "its init failed with status 8");
    left_out("exit_load", "it ended the process while it was loaded, with exit code 3");
    left_out("small_size", "tool number 1 has size 24, but a hermes_tool has at least");
    left_out("no_function", "tool 'hello' has neither of invoke and start; exactly one is wanted");
    left_out("twice", "tool 'hello' is listed twice");
    left_out("no_tools", "it has no tools");
    left_out("huge_schema", "tool 'hello': args_schema: not JSON");
}

static void test_hang(void **state) {
    (void)state;
    left_out("hang_init", "it was not ready within 700 ms: its init hangs");
}

static void test_not_an_object_file(void **state) {
    char path[] = "/tmp/hermes-registry-XXXXXX", file[64], line[256];
    const char *const paths[] = {path, "/nonexistent/folder", NULL};
    (void)state;
    assert_non_null(mkdtemp(path));
    snprintf(file, sizeof file, "%s/text.so", path);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("not an object\n", f);
    fclose(f);
    chmod(file, 0644);
    static const char *const none[] = {NULL};
    harness_open(&h, none);
    tools_close(h.tools);
    h.config.plugin_paths = paths;
    char err[256], worker[512];
    snprintf(worker, sizeof worker, "%s/bin/hermes-worker", getenv("HERMESD_BINARY_DIR"));
    h.config.worker_path = worker;
    assert_int_equal(tools_open(&h.config, &h.tools, err, sizeof err), 0);
    snprintf(line, sizeof line, "plugin %s: left out: cannot be loaded: ", file);
    assert_non_null(strstr(h.log, line));
    assert_non_null(strstr(h.log, "plugin /nonexistent/folder: left out: No such file or directory"));
    assert_int_equal(tools_count(h.tools), 0);
    assert_null(tools_get(h.tools, 0));
    harness_close(&h);
    unlink(file);
    rmdir(path);
}

static void test_duplicate(void **state) {
    static const char *const names[] = {"+hello", "none", NULL};
    (void)state;
    open_all(names);
    assert_non_null(
        strstr(h.log, "/none.so: left out: its tool 'hello' is already offered by the plugin hello ("));
    assert_int_equal(tools_count(h.tools), 1);
    assert_string_equal(tools_find(h.tools, "hello")->plugin, "hello");
    harness_close(&h);
}

static void test_info(void **state) {
    static const char *const names[] = {"hostile", "+hello", NULL};
    (void)state;
    open_all(names);
    assert_int_equal(tools_count(h.tools), 29);
    for (size_t i = 1; i < tools_count(h.tools); i++)
        assert_true(strcmp(tools_get(h.tools, i - 1)->name, tools_get(h.tools, i)->name) < 0);
    const struct tool_info *info = tools_find(h.tools, "hello");
    assert_non_null(info);
    assert_string_equal(info->description, "Say hello to a person.");
    assert_string_equal(info->plugin_version, "1.0.0");
    assert_int_equal(info->timeout_ms, 2000);
    assert_int_equal(info->flags, 0xf);
    assert_non_null(strstr(info->plugin_path, "/plugins/hello.so"));
    assert_string_equal(
        info->schema,
        "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\"}}, \"required\": "
        "[\"name\"], \"additionalProperties\": false}");
    assert_int_equal(tools_find(h.tools, "echo")->timeout_ms, 30000);
    assert_null(tools_find(h.tools, "hell"));
    assert_string_equal(tools_suggest(h.tools, "hallo"), "hello");
    assert_string_equal(tools_suggest(h.tools, "get-echo-now") == NULL ? "none" : "some", "none");
    char err[256];
    assert_int_equal(tools_check(h.tools, "hello", "{\"nme\": 1}", 10, err, sizeof err), -EINVAL);
    assert_string_equal(err, "arguments has no property 'nme'; did you mean 'name'?");
    assert_int_equal(tools_check(h.tools, "hello", "{}", 2, err, sizeof err), -EINVAL);
    assert_string_equal(err, "arguments.name is missing; it must be a string");
    harness_close(&h);
}

static const char *extra_config(void *arg, const char *plugin_name) {
    (void)arg;
    return strcmp(plugin_name, "refused") == 0 ? "{\"depth\": [1, 2], \"documents\": \"others\"}" : NULL;
}

static const char *bad_config(void *arg, const char *plugin_name) {
    (void)arg, (void)plugin_name;
    return "[1]";
}

static void test_config(void **state) {
    static const char *const names[] = {"prints_init", NULL};
    (void)state;
    h.config.workspace = "/work\"space";
    h.config.documents = "/documents";
    h.config.allow_private_addresses = true;
    h.config.plugin_config = extra_config;
    open_all(names);
    assert_non_null(
        strstr(h.log, "plugin refused: {\"workspace\":\"/work\\\"space\",\"allow_private_addresses\":true,"
                      "\"depth\":[1,2],\"documents\":\"others\"}"));
    assert_int_equal(tools_count(h.tools), 1);
    harness_close(&h);
    h.config.plugin_config = bad_config;
    open_all(names);
    assert_non_null(strstr(h.log, "left out: its settings are not a JSON object"));
    assert_int_equal(tools_count(h.tools), 0);
    harness_close(&h);
}

static void test_no_worker(void **state) {
    struct poll_loop *loop = poll_loop_create();
    char err[256] = "";
    struct tools *t = NULL;
    (void)state;
    h.config.worker_path = "/nonexistent/hermes-worker";
    h.config.loop = poll_loop_tools(loop);
    assert_int_equal(tools_open(&h.config, &t, err, sizeof err), -ENOENT);
    assert_string_equal(
        err, "the worker /nonexistent/hermes-worker cannot be run: No such file or directory; is hermesd "
             "installed whole?");
    assert_null(t);
    assert_int_equal(poll_loop_destroy(loop), 0);
}

/* The file is exchanged under the daemon: a worker that lists something else is not used. */
static void test_changed_file(void **state) {
    char path[] = "/tmp/hermes-registry-XXXXXX", file[64], command[1024];
    const char *const paths[] = {path, NULL};
    (void)state;
    assert_non_null(mkdtemp(path));
    snprintf(file, sizeof file, "%s/plugin.so", path);
    char *first = harness_plugin("+hello"), *second = harness_plugin("none");
    snprintf(command, sizeof command, "cp '%s' '%s' && chmod 644 '%s'", first, file, file);
    assert_int_equal(system(command), 0);
    static const char *const none[] = {NULL};
    harness_open(&h, none);
    tools_close(h.tools);
    char err[256], worker[512];
    snprintf(worker, sizeof worker, "%s/bin/hermes-worker", getenv("HERMESD_BINARY_DIR"));
    h.config.worker_path = worker;
    h.config.plugin_paths = paths;
    h.config.spares = 0;
    assert_int_equal(tools_open(&h.config, &h.tools, err, sizeof err), 0);
    harness_expect(&h, &o, "hello", "{\"name\": \"Ada\"}", TOOL_OK);
    snprintf(command, sizeof command, "cp '%s' '%s.new' && mv '%s.new' '%s' && kill -9 %d", second, file,
             file, file, o.result.pid);
    assert_int_equal(system(command), 0);
    poll_loop_for(h.loop, 50);
    harness_expect(&h, &o, "hello", "{\"name\": \"Ada\"}", TOOL_UNAVAILABLE);
    assert_string_equal(o.text, "hello is not available: its file has changed since it was listed; restart "
                                "the daemon to use the new one");
    harness_close(&h);
    snprintf(command, sizeof command, "rm -r '%s'", path);
    assert_int_equal(system(command), 0);
    free(first);
    free(second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_faults, before),
        cmocka_unit_test_setup(test_hang, before),
        cmocka_unit_test_setup(test_duplicate, before),
        cmocka_unit_test_setup(test_not_an_object_file, before),
        cmocka_unit_test_setup(test_info, before),
        cmocka_unit_test_setup(test_config, before),
        cmocka_unit_test_setup(test_no_worker, before),
        cmocka_unit_test_setup(test_changed_file, before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

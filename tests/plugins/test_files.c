#include "tests/plugins/folder.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

static struct hermes_test t;

/* A workspace "ws" beside a secret that no path may reach. */
static int start(void **state) {
    (void)state;
    folder_make();
    mkdir(folder_at("ws"), 0755);
    mkdir(folder_at("ws/notes"), 0755);
    mkdir(folder_at("outside"), 0755);
    folder_put_text("outside/secret.txt", "secret");
    folder_put_text("ws/a.txt", "alpha\nbeta\n");
    folder_put_text("ws/notes/b.txt", "gamma beta\r\ndelta");
    return hermes_test_start(&t, hermes_plugin_v1(), folder_config("workspace", "ws"));
}

static int finish(void **state) {
    (void)state;
    hermes_test_finish(&t);
    folder_remove();
    return 0;
}

static void test_declaration(void **state) {
    (void)state;
    uint32_t reads = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ |
                     HERMES_T_PRIVATE_DATA;
    expect_declared(hermes_plugin_v1(), "list_files", reads, "List the files in a folder of the workspace.",
                    "{\"type\": \"object\", \"properties\": {\"path\": {\"type\": \"string\"}}, "
                    "\"additionalProperties\": false}");
    expect_declared(hermes_plugin_v1(), "read_file", reads, "Read a text file of the workspace.",
                    "{\"type\": \"object\", \"properties\": {\"path\": {\"type\": \"string\"}}, "
                    "\"required\": [\"path\"], "
                    "\"additionalProperties\": false}");
    expect_declared(
        hermes_plugin_v1(), "write_file",
        HERMES_T_IDEMPOTENT | HERMES_T_CLOSED_WORLD | HERMES_T_FS_READ | HERMES_T_FS_WRITE,
        "Write text to a file of the workspace.",
        "{\"type\": \"object\", \"properties\": {\"path\": {\"type\": \"string\"}, \"content\": {\"type\": "
        "\"string\"}}, \"required\": [\"path\", \"content\"], \"additionalProperties\": false}");
    expect_declared(
        hermes_plugin_v1(), "search_files", reads, "Find the lines of files that contain a text.",
        "{\"type\": \"object\", \"properties\": {\"text\": {\"type\": \"string\"}, \"path\": {\"type\": "
        "\"string\"}}, \"required\": [\"text\"], \"additionalProperties\": false}");
}

static void test_list(void **state) {
    (void)state;
    expect_result(&t, "list_files", "{}", "{\"entries\": [\"a.txt\", \"notes/\"]}");
    expect_result(&t, "list_files", "{\"path\": \".\"}", "{\"entries\": [\"a.txt\", \"notes/\"]}");
    expect_result(&t, "list_files", "{\"path\": \"notes/\"}", "{\"entries\": [\"b.txt\"]}");
    expect_failure(&t, "list_files", "{\"path\": \"none\"}", HERMES_E_TOOL, "no such folder: none");
    expect_failure(&t, "list_files", "{\"path\": \"a.txt\"}", HERMES_E_TOOL, "not a folder: a.txt");
    mkdir(folder_at("ws/many"), 0755);
    for (int i = 0; i < 1001; i++) {
        char name[32];
        snprintf(name, sizeof name, "ws/many/%04d", i);
        folder_put_text(name, "");
    }
    assert_int_equal(HERMES_TEST_CALL(&t, "list_files", "{\"path\": \"many\"}"), HERMES_OK);
    assert_non_null(strstr(t.text, "\"0999\"], \"truncated\": true}"));
    for (int i = 0; i < 1001; i++) {
        char name[32];
        snprintf(name, sizeof name, "ws/many/%04d", i);
        unlink(folder_at(name));
    }
    rmdir(folder_at("ws/many"));
    folder_put_text("ws/notes/\xff\xfe", "");
    expect_result(&t, "list_files", "{\"path\": \"notes\"}", "{\"entries\": [\"b.txt\"]}");
    unlink(folder_at("ws/notes/\xff\xfe"));
}

static void test_read(void **state) {
    (void)state;
    expect_result(&t, "read_file", "{\"path\": \"a.txt\"}", "{\"content\": \"alpha\\nbeta\"}");
    expect_result(&t, "read_file", "{\"path\": \"notes/b.txt\"}", "{\"content\": \"gamma beta\\r\\ndelta\"}");
    expect_result(&t, "read_file", "{\"path\": \"./notes/../a.txt\"}", "{\"content\": \"alpha\\nbeta\"}");
    folder_put_text("ws/two", "x\n\n");
    expect_result(&t, "read_file", "{\"path\": \"two\"}", "{\"content\": \"x\\n\"}");
    folder_put_text("ws/two", "");
    expect_result(&t, "read_file", "{\"path\": \"two\"}", "{\"content\": \"\"}");
    folder_put_text("ws/two", "\"q\" \\ \t\x1b \xe2\x82\xac\r\n");
    expect_result(&t, "read_file", "{\"path\": \"two\"}",
                  "{\"content\": \"\\\"q\\\" \\\\ \\t\\u001b \xe2\x82\xac\"}");
    folder_put("ws/two", "a\0b", 3);
    expect_failure(&t, "read_file", "{\"path\": \"two\"}", HERMES_E_TOOL, "not a text file: two");
    folder_put("ws/two", "a\xff", 2);
    expect_failure(&t, "read_file", "{\"path\": \"two\"}", HERMES_E_TOOL, "not a text file: two");
    unlink(folder_at("ws/two"));
    expect_failure(&t, "read_file", "{\"path\": \"none.txt\"}", HERMES_E_TOOL, "no such file: none.txt");
    expect_failure(&t, "read_file", "{\"path\": \"notes\"}", HERMES_E_TOOL, "a folder, not a file: notes");
    expect_failure(&t, "read_file", "{\"path\": \"a.txt/b\"}", HERMES_E_TOOL, "not a folder: a.txt/b");
    expect_refusal(&t, "read_file", "{\"path\": \"\"}", "no such file");
}

/* 64 KiB are told, never half a character. */
static void test_read_cut(void **state) {
    (void)state;
    size_t len = 64 * 1024 + 2;
    char *big = malloc(len + 1);
    assert_non_null(big);
    memset(big, 'x', len);
    big[len] = '\0';
    memcpy(big + len - 3, "\xe2\x82\xac", 3); /* its first byte is the last one that would fit */
    folder_put("ws/big", big, len);
    assert_int_equal(HERMES_TEST_CALL(&t, "read_file", "{\"path\": \"big\"}"), HERMES_OK);
    assert_int_equal(t.len, strlen("{\"content\": \"") + 64 * 1024 - 1 + strlen("\", \"truncated\": true}"));
    assert_non_null(strstr(t.text, "x\", \"truncated\": true}"));
    folder_put("ws/big", big, 64 * 1024);
    assert_int_equal(HERMES_TEST_CALL(&t, "read_file", "{\"path\": \"big\"}"),
                     HERMES_E_TOOL); /* ends inside a character */
    memset(big, 'x', len);
    folder_put("ws/big", big, 64 * 1024);
    assert_int_equal(HERMES_TEST_CALL(&t, "read_file", "{\"path\": \"big\"}"), HERMES_OK);
    assert_null(strstr(t.text, "truncated"));
    unlink(folder_at("ws/big"));
    free(big);
}

static void test_write(void **state) {
    (void)state;
    struct stat st;
    expect_result(&t, "write_file", "{\"path\": \"out.txt\", \"content\": \"Hello \xe2\x82\xac\\n\"}",
                  "{\"path\": \"out.txt\", \"bytes\": 10}");
    assert_string_equal(folder_get("ws/out.txt"), "Hello \xe2\x82\xac\n");
    chmod(folder_at("ws/out.txt"), 0600);
    expect_result(&t, "write_file", "{\"path\": \"notes/../out.txt\", \"content\": \"\"}",
                  "{\"path\": \"notes/../out.txt\", \"bytes\": 0}");
    assert_string_equal(folder_get("ws/out.txt"), "");
    assert_int_equal(stat(folder_at("ws/out.txt"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    unlink(folder_at("ws/out.txt"));
    expect_failure(&t, "write_file", "{\"path\": \"new/out.txt\", \"content\": \"x\"}", HERMES_E_TOOL,
                   "no such folder: new");
    expect_failure(&t, "write_file", "{\"path\": \"notes\", \"content\": \"x\"}", HERMES_E_TOOL,
                   "a folder, not a file: notes");
    expect_failure(&t, "write_file", "{\"path\": \"notes/\", \"content\": \"x\"}", HERMES_E_TOOL,
                   "not a file name: notes/");
    expect_failure(&t, "write_file", "{\"path\": \"..\", \"content\": \"x\"}", HERMES_E_TOOL,
                   "not a file name: ..");
    expect_failure(&t, "write_file", "{\"path\": \"a.txt/x\", \"content\": \"x\"}", HERMES_E_TOOL,
                   "not a folder: a.txt");
    expect_result(&t, "list_files", "{}",
                  "{\"entries\": [\"a.txt\", \"notes/\"]}"); /* nothing is left behind */
}

static void test_search(void **state) {
    (void)state;
    expect_result(&t, "search_files", "{\"text\": \"beta\"}",
                  "{\"matches\": [{\"path\": \"a.txt\", \"line\": 2, \"text\": \"beta\"}, {\"path\": "
                  "\"notes/b.txt\", \"line\": 1, "
                  "\"text\": \"gamma beta\"}]}");
    expect_result(&t, "search_files", "{\"text\": \"delta\", \"path\": \"notes/\"}",
                  "{\"matches\": [{\"path\": \"notes/b.txt\", \"line\": 2, \"text\": \"delta\"}]}");
    expect_result(&t, "search_files", "{\"text\": \"a\", \"path\": \"./a.txt\"}",
                  "{\"matches\": [{\"path\": \"a.txt\", \"line\": 1, \"text\": \"alpha\"}, {\"path\": "
                  "\"a.txt\", \"line\": 2, "
                  "\"text\": \"beta\"}]}");
    expect_result(&t, "search_files", "{\"text\": \"Beta\"}", "{\"matches\": []}");
    expect_result(&t, "search_files", "{\"text\": \".*\"}", "{\"matches\": []}");
    expect_failure(&t, "search_files", "{\"text\": \"\"}", HERMES_E_TOOL,
                   "text must be one line and not empty");
    expect_failure(&t, "search_files", "{\"text\": \"a\\nb\"}", HERMES_E_TOOL,
                   "text must be one line and not empty");
    expect_failure(&t, "search_files", "{\"text\": \"a\", \"path\": \"no/\"}", HERMES_E_TOOL,
                   "no such folder: no");
    expect_refusal(&t, "search_files", "{\"text\": \"secret\", \"path\": \"../outside\"}",
                   "outside the workspace");
    folder_put("ws/bin", "beta\0", 5); /* binary: passed over */
    expect_result(&t, "search_files", "{\"text\": \"beta\", \"path\": \"bin\"}", "{\"matches\": []}");
    unlink(folder_at("ws/bin"));
}

static void test_search_ceilings(void **state) {
    (void)state;
    char line[700], many[6000] = "";
    memset(line, 'y', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    memcpy(line, "needle", 6);
    folder_put_text("ws/long", line);
    assert_int_equal(HERMES_TEST_CALL(&t, "search_files", "{\"text\": \"needle\", \"path\": \"long\"}"),
                     HERMES_OK);
    assert_in_range(t.len, 300, 400);
    for (int i = 0; i < 150; i++)
        append(many, sizeof many, "needle here\n");
    folder_put_text("ws/long", many);
    assert_int_equal(HERMES_TEST_CALL(&t, "search_files", "{\"text\": \"needle\"}"), HERMES_OK);
    assert_non_null(strstr(t.text, "\"line\": 100,"));
    assert_null(strstr(t.text, "\"line\": 101,"));
    assert_non_null(strstr(t.text, "], \"truncated\": true}"));
    unlink(folder_at("ws/long"));
    char path[256] = "ws";
    for (int i = 0; i < 20; i++) {
        append(path, sizeof path, "/d");
        mkdir(folder_at(path), 0755);
    }
    append(path, sizeof path, "/deep");
    folder_put_text(path, "needle");
    expect_result(&t, "search_files", "{\"text\": \"needle\"}", "{\"matches\": [], \"truncated\": true}");
}

/* Each of these paths leads out, or to something that is not a file; nothing of the secret is told, nothing
 * outside is made. */
static void test_escapes(void **state) {
    (void)state;
    assert_int_equal(symlink("../outside", folder_at("ws/way")), 0);
    assert_int_equal(symlink("../outside/secret.txt", folder_at("ws/link")), 0);
    assert_int_equal(symlink(folder_at("outside/secret.txt"), folder_at("ws/absolute")), 0);
    assert_int_equal(symlink("/proc/self/root", folder_at("ws/root")), 0);
    assert_int_equal(symlink("notes/b.txt", folder_at("ws/inside")), 0);
    assert_int_equal(symlink("circle", folder_at("ws/circle")), 0);
    assert_int_equal(symlink("../outside/new.txt", folder_at("ws/dangling")), 0);
    assert_int_equal(mkfifo(folder_at("ws/pipe"), 0644), 0);
    static const char *const paths[] = {"../outside/secret.txt",
                                        "notes/../../outside/secret.txt",
                                        "/etc/passwd",
                                        "//etc/passwd",
                                        "way/secret.txt",
                                        "link",
                                        "absolute",
                                        "root/etc/passwd",
                                        "circle",
                                        "dangling",
                                        "pipe",
                                        "..",
                                        "/",
                                        "%2e%2e/outside/secret.txt",
                                        "..\\\\outside\\\\secret.txt",
                                        "/proc/self/environ",
                                        "/dev/zero"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char args[256];
        snprintf(args, sizeof args, "{\"path\": \"%s\"}", paths[i]);
        if (HERMES_TEST_CALL(&t, "read_file", args) != HERMES_E_TOOL || strstr(t.text, "secret\"") != NULL)
            fail_msg("read %s gave %s", args, t.text);
        snprintf(args, sizeof args, "{\"path\": \"%s\", \"content\": \"bad\"}", paths[i]);
        if (strchr(paths[i], '\\') == NULL && HERMES_TEST_CALL(&t, "write_file", args) == HERMES_OK)
            fail_msg("write %s gave %s", args, t.text);
        snprintf(args, sizeof args, "{\"text\": \"secret\", \"path\": \"%s\"}", paths[i]);
        if (HERMES_TEST_CALL(&t, "search_files", args) == HERMES_OK)
            fail_msg("search %s gave %s", args, t.text);
    }
    expect_failure(&t, "read_file", "{\"path\": \"../x\"}", HERMES_E_TOOL,
                   "outside the workspace, use a path inside it: ../x");
    expect_failure(&t, "read_file", "{\"path\": \"pipe\"}", HERMES_E_TOOL, "not a regular file: pipe");
    expect_refusal(&t, "list_files", "{\"path\": \"way\"}", "outside the workspace");
    expect_result(&t, "read_file", "{\"path\": \"inside\"}", "{\"content\": \"gamma beta\\r\\ndelta\"}");
    expect_failure(&t, "write_file", "{\"path\": \"inside\", \"content\": \"x\"}", HERMES_E_TOOL,
                   "a symbolic link, not a file: inside");
    assert_string_equal(folder_get("outside/secret.txt"), "secret");
    assert_null(folder_get("outside/new.txt"));
    char args[6000], name[5000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(args, sizeof args, "{\"path\": \"%s\"}", name);
    expect_failure(&t, "read_file", args, HERMES_E_TOOL, "the path is too long");
    snprintf(args, sizeof args, "{\"path\": \"%s\", \"content\": \"\"}", name);
    expect_failure(&t, "write_file", args, HERMES_E_TOOL, "the path is too long");
}

static atomic_bool swapping;

/* Turns "swap" from a folder inside into a way out and back, as fast as it can. */
static void *swap(void *arg) {
    (void)arg;
    char link[1024], plain[1024], at[1024];
    snprintf(link, sizeof link, "%s", folder_at("ws/swap-link"));
    snprintf(plain, sizeof plain, "%s", folder_at("ws/swap-plain"));
    snprintf(at, sizeof at, "%s", folder_at("ws/swap"));
    while (swapping) {
        rename(link, at);
        rename(at, link);
        rename(plain, at);
        rename(at, plain);
    }
    return NULL;
}

static void test_race(void **state) {
    (void)state;
    mkdir(folder_at("ws/swap-plain"), 0755);
    folder_put_text("ws/swap-plain/secret.txt", "harmless");
    assert_int_equal(symlink("../outside", folder_at("ws/swap-link")), 0);
    pthread_t thread;
    swapping = true;
    assert_int_equal(pthread_create(&thread, NULL, swap, NULL), 0);
    int harmless = 0;
    for (int i = 0; i < 2000; i++) {
        if (HERMES_TEST_CALL(&t, "read_file", "{\"path\": \"swap/secret.txt\"}") != HERMES_OK)
            continue;
        harmless++;
        if (strcmp(t.text, "{\"content\": \"harmless\"}") != 0)
            fail_msg("the race was lost: %s", t.text);
    }
    swapping = false;
    pthread_join(thread, NULL);
    print_message("read inside %d times\n", harmless);
}

static void test_no_workspace(void **state) {
    (void)state;
    struct hermes_test none;
    assert_int_equal(hermes_test_start(&none, hermes_plugin_v1(), "{}"), 0);
    expect_failure(&none, "list_files", "{}", HERMES_E_TOOL, "no workspace is configured");
    hermes_test_finish(&none);
    assert_int_equal(hermes_test_start(&none, hermes_plugin_v1(), "{\"workspace\": \"/nowhere\"}"), 0);
    expect_refusal(&none, "list_files", "{}", "the workspace cannot be opened");
    hermes_test_finish(&none);
}

static void test_descriptors(void **state) {
    (void)state;
    int first = dup(0);
    for (int i = 0; i < 50; i++) {
        HERMES_TEST_CALL(&t, "search_files", "{\"text\": \"beta\"}");
        HERMES_TEST_CALL(&t, "read_file", "{\"path\": \"../x\"}");
        HERMES_TEST_CALL(&t, "write_file", "{\"path\": \"notes\", \"content\": \"\"}");
        HERMES_TEST_CALL(&t, "read_file", "{\"path\": \"pipe\"}");
    }
    int last = dup(0);
    assert_int_equal(first + 1, last);
    close(first);
    close(last);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declaration),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_cut),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_search_ceilings),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_race),
        cmocka_unit_test(test_no_workspace),
        cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests(tests, start, finish);
}

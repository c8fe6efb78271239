/* Settings: values, origins, files. */
#include "daemon/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char err[512];

static int set(struct config *c, enum config_key key, const char *text, enum config_origin origin) {
    err[0] = '\0';
    return config_set(c, key, text, origin, "here", err, sizeof err);
}

static void a_stronger_origin_wins_whatever_comes_first(void **state) {
    struct config c;
    (void)state;
    config_init(&c);
    assert_int_equal(set(&c, CONFIG_MAX_JOBS, "3", CONFIG_FROM_ENVIRONMENT), 0);
    assert_int_equal(set(&c, CONFIG_MAX_JOBS, "4", CONFIG_FROM_SYSTEM_FILE), 0);
    assert_int_equal(config_int(&c, CONFIG_MAX_JOBS), 3);
    assert_int_equal(set(&c, CONFIG_MAX_JOBS, "5", CONFIG_FROM_FLAG), 0);
    assert_int_equal(config_int(&c, CONFIG_MAX_JOBS), 5);
    config_finish(&c);
}

static void values_are_checked_and_named(void **state) {
    static const struct {
        enum config_key key;
        const char *text;
        int64_t want; /* -1: refused */
    } table[] = {
        {CONFIG_MAX_JOBS, "1", 1},
        {CONFIG_MAX_JOBS, "256", 256},
        {CONFIG_MAX_JOBS, "0", -1},
        {CONFIG_MAX_JOBS, "257", -1},
        {CONFIG_MAX_JOBS, "-1", -1},
        {CONFIG_MAX_JOBS, "3x", -1},
        {CONFIG_MAX_JOBS, "", -1},
        {CONFIG_MAX_JOBS, "3K", -1},
        {CONFIG_MAX_JOBS, "99999999999999999999", -1},
        {CONFIG_KV_BYTES, "4096", 4096},
        {CONFIG_KV_BYTES, "3k", 3072},
        {CONFIG_KV_BYTES, "512M", 512 << 20},
        {CONFIG_KV_BYTES, "2GiB", (int64_t)2 << 30},
        {CONFIG_KV_BYTES, "2G2", -1},
        {CONFIG_KV_BYTES, "9999999999999G", -1},
        {CONFIG_ALLOW_PRIVATE_ADDRESSES, "yes", 1},
        {CONFIG_ALLOW_PRIVATE_ADDRESSES, "Off", 0},
        {CONFIG_ALLOW_PRIVATE_ADDRESSES, "maybe", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct config c;
        config_init(&c);
        int rc = set(&c, table[i].key, table[i].text, CONFIG_FROM_FLAG);
        assert_int_equal(rc, table[i].want < 0 ? -EINVAL : 0);
        if (rc == 0) {
            assert_int_equal(config_int(&c, table[i].key), table[i].want);
        } else {
            assert_non_null(strstr(err, config_table[table[i].key].name));
            assert_int_equal(strncmp(err, "here: ", 6), 0);
            assert_null(c.values[table[i].key].where);
        }
        config_finish(&c);
    }
}

static void paths_are_made_whole(void **state) {
    struct config c;
    char want[4200];
    char *cwd = getcwd(NULL, 0);
    (void)state;
    config_init(&c);
    assert_int_equal(setenv("HOME", "/home/ada", 1), 0);
    assert_int_equal(set(&c, CONFIG_WORKSPACE, "~/notes", CONFIG_FROM_FLAG), 0);
    assert_string_equal(config_text(&c, CONFIG_WORKSPACE), "/home/ada/notes");
    assert_int_equal(set(&c, CONFIG_PLUGINS, "a::/b", CONFIG_FROM_FLAG), 0);
    assert_int_equal(set(&c, CONFIG_PLUGINS, "~/c", CONFIG_FROM_FLAG), 0);
    snprintf(want, sizeof want, "%s/a:/b:/home/ada/c", cwd);
    /* Repeats of one origin add up; a path of its own is separated like any other. */
    assert_string_equal(config_text(&c, CONFIG_PLUGINS), want);
    assert_int_equal(set(&c, CONFIG_SOCKET, "run/api.sock", CONFIG_FROM_FLAG), 0);
    assert_string_equal(config_text(&c, CONFIG_SOCKET), "run/api.sock");
    free(cwd);
    config_finish(&c);
}

static void names_are_found_and_suggested(void **state) {
    (void)state;
    assert_int_equal(config_find("max-jobs", 8), CONFIG_MAX_JOBS);
    assert_int_equal(config_find("max_jobs", 8), CONFIG_MAX_JOBS);
    assert_int_equal(config_find("max_job", 7), -1);
    assert_int_equal(config_find("max_jobsx", 9), -1);
    assert_string_equal(config_suggest("sokcet"), "socket");
    assert_string_equal(config_suggest("max_job"), "max_jobs");
    assert_null(config_suggest("something else entirely"));
}

static void tcp_addresses_are_read(void **state) {
    static const struct {
        const char *text, *host;
        int port;
    } table[] = {
        {"127.0.0.1:8765", "127.0.0.1", 8765},
        {"localhost:1", "127.0.0.1", 1},
        {"[::1]:80", "::1", 80},
        {"127.0.0.1", NULL, 0},
        {":80", NULL, 0},
        {"127.0.0.1:", NULL, 0},
        {"127.0.0.1:65536", NULL, 0},
        {"127.0.0.1:8x", NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct config c;
        char host[64] = "";
        int port = -1;
        config_init(&c);
        assert_int_equal(set(&c, CONFIG_HTTP, table[i].text, CONFIG_FROM_FLAG), 0);
        int rc = config_http(&c, host, &port, err, sizeof err);
        assert_int_equal(rc, table[i].host != NULL ? 0 : -EINVAL);
        if (rc == 0) {
            assert_string_equal(host, table[i].host);
            assert_int_equal(port, table[i].port);
        }
        config_finish(&c);
    }
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
}

static void a_file_sets_keys_and_plugins(void **state) {
    struct config c;
    char path[] = "/tmp/hermesd-config-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    close(fd);
    write_file(path, "; a comment\nmax_jobs = 2\n[hermesd]\nmax-queued = 9\nplugins = /a\nplugins = /b\n"
                     "[plugin.sql]\nrows = 20\nname = x y\nstrict = true\n");
    config_init(&c);
    assert_int_equal(config_read_file(&c, path, CONFIG_FROM_USER_FILE, true, err, sizeof err), 0);
    assert_int_equal(config_int(&c, CONFIG_MAX_JOBS), 2);
    assert_int_equal(config_int(&c, CONFIG_MAX_QUEUED), 9);
    assert_string_equal(config_text(&c, CONFIG_PLUGINS), "/a:/b");
    assert_string_equal(config_plugin_json(&c, "sql"), "{\"rows\":20,\"name\":\"x y\",\"strict\":true}");
    assert_null(config_plugin_json(&c, "files"));
    assert_string_equal(c.values[CONFIG_MAX_JOBS].where, path);
    config_finish(&c);
    unlink(path);
}

static void a_bad_line_is_named(void **state) {
    static const struct {
        const char *text, *want;
    } table[] = {
        {"max_jobs = 2\nmax_jobs = 3\n", ":2: 'max_jobs' is set twice"},
        {"max_job = 2\n", ":1: there is no setting 'max_job'; did you mean 'max_jobs'?"},
        {"xyzzyxyzzy = 2\n", ":1: there is no setting 'xyzzyxyzzy'"},
        {"\n\nthreads = many\n", ":3: threads is 'many'"},
        {"[elsewhere]\nthreads = 1\n", ":2: there is no section [elsewhere]"},
        {"threads\n", ":1: this is no"},
        {"[hermesd\n", ":1: this is no"},
    };
    char path[] = "/tmp/hermesd-config-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct config c;
        write_file(path, table[i].text);
        config_init(&c);
        err[0] = '\0';
        assert_int_equal(config_read_file(&c, path, CONFIG_FROM_USER_FILE, true, err, sizeof err), -EINVAL);
        if (strstr(err, table[i].want) == NULL || strncmp(err, path, strlen(path)) != 0) {
            fail_msg("wanted '%s', got '%s'", table[i].want, err);
        }
        config_finish(&c);
    }
    unlink(path);
    struct config c;
    config_init(&c);
    assert_int_equal(config_read_file(&c, path, CONFIG_FROM_USER_FILE, false, err, sizeof err), 0);
    assert_int_equal(config_read_file(&c, path, CONFIG_FROM_USER_FILE, true, err, sizeof err), -ENOENT);
    config_finish(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stronger_origin_wins_whatever_comes_first),
        cmocka_unit_test(values_are_checked_and_named),
        cmocka_unit_test(paths_are_made_whole),
        cmocka_unit_test(names_are_found_and_suggested),
        cmocka_unit_test(tcp_addresses_are_read),
        cmocka_unit_test(a_file_sets_keys_and_plugins),
        cmocka_unit_test(a_bad_line_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

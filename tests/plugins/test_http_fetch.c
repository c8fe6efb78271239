/* Nothing here leaves loopback. */
#include "tests/plugins/expect.h"

#include "plugins/http_fetch_address.h"
#include "plugins/http_fetch_get.h"
#include "tests/plugins/stub_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

static struct hermes_test closed, t; /* private addresses refused, as by default; allowed */
static struct stub_server *server, *second;

static int start(void **state) {
    (void)state;
    server = stub_server_start("127.0.0.1");
    second = stub_server_start("127.0.0.2");
    if (server == NULL || second == NULL)
        return -1;
    return hermes_test_start(&closed, hermes_plugin_v1(), "{}") != 0 ||
           hermes_test_start(&t, hermes_plugin_v1(), "{\"allow_private_addresses\": true}") != 0;
}

static int finish(void **state) {
    (void)state;
    hermes_test_finish(&t);
    hermes_test_finish(&closed);
    stub_server_stop(server);
    stub_server_stop(second);
    return 0;
}

/* {"url": "http://<host>:<port of the server><path>"}; static memory. */
static const char *at(const char *host, const char *path) {
    static char args[512];
    snprintf(args, sizeof args, "{\"url\": \"http://%s:%d%s\"}", host, stub_server_port(server), path);
    return args;
}

static void test_declaration(void **state) {
    (void)state;
    expect_declared(
        hermes_plugin_v1(), "http_fetch",
        HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_NET, "Fetch a web page.",
        "{\"type\": \"object\", \"properties\": {\"url\": {\"type\": \"string\"}}, \"required\": [\"url\"], "
        "\"additionalProperties\": false}");
}

static void test_pages(void **state) {
    (void)state;
    expect_result(&t, "http_fetch", at("127.0.0.1", "/hello"),
                  "{\"status\": 200, \"body\": \"Hello, \\\"hermesd\\\"\\n\"}");
    expect_result(&t, "http_fetch", at("localhost", "/hello"),
                  "{\"status\": 200, \"body\": \"Hello, \\\"hermesd\\\"\\n\"}");
    expect_result(&t, "http_fetch", at("127.0.0.1", "/html"), "{\"status\": 200, \"body\": \"<p>One</p>\"}");
    expect_result(&t, "http_fetch", at("127.0.0.1", "/missing"), "{\"status\": 404, \"body\": \"gone\"}");
    expect_result(&t, "http_fetch", at("127.0.0.1", "/empty"), "{\"status\": 204, \"body\": \"\"}");
    expect_result(&t, "http_fetch", at("127.0.0.1", "/latin1"),
                  "{\"status\": 200, \"body\": \"caf\xc3\xa9\"}");
    expect_result(&t, "http_fetch", at("127.0.0.1", "/broken"),
                  "{\"status\": 200, \"body\": \"a\xEF\xBF\xBD"
                  "b\"}");
    expect_failure(&t, "http_fetch", at("127.0.0.1", "/png"), HERMES_E_TOOL,
                   "the page is not text but image/png");
    expect_refusal(&t, "http_fetch", at("127.0.0.1", "/zero"), "the page is not text but");
}

/* Every way to spell loopback is refused, and no connection is made. */
static void test_private_refused(void **state) {
    (void)state;
    static const char *const hosts[] = {"127.0.0.1",
                                        "127.1",
                                        "2130706433",
                                        "0x7f.1",
                                        "0x7f000001",
                                        "017700000001",
                                        "0177.0.0.1",
                                        "localhost",
                                        "[::1]",
                                        "[::ffff:127.0.0.1]",
                                        "[::ffff:7f00:1]",
                                        "[::127.0.0.1]",
                                        "0",
                                        "0.0.0.0",
                                        "127.0.0.1.",
                                        "127.255.255.254",
                                        "[::]",
                                        "127%2e0%2e0%2e1"};
    int before = stub_server_connections(server);
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        if (HERMES_TEST_CALL(&closed, "http_fetch", at(hosts[i], "/hello")) != HERMES_E_TOOL ||
            strstr(closed.text, "Hello") != NULL)
            fail_msg("%s gave %d: %s", hosts[i], closed.status, closed.text);
        bool told = strcmp(closed.text, "the address is private or local, it may not be fetched") == 0;
        /* The last spellings are no address and no name to some resolvers. */
        if (!told && strcmp(closed.text, "no such host") != 0 &&
            strstr(closed.text, "not a web address") == NULL)
            fail_msg("%s gave %s", hosts[i], closed.text);
    }
    static const char *const urls[] = {"http://169.254.169.254/latest/meta-data/",
                                       "http://10.0.0.1/",
                                       "http://192.168.1.1/",
                                       "http://172.16.0.1/",
                                       "http://100.64.0.1/",
                                       "http://[fd00::1]/",
                                       "http://[fe80::1]/",
                                       "http://224.0.0.1/",
                                       "https://127.0.0.1/",
                                       "http://[64:ff9b::7f00:1]/",
                                       "http://[2002:7f00:1::]/"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        char *args = arguments_of("url", urls[i], NULL, NULL);
        expect_failure(&closed, "http_fetch", args, HERMES_E_TOOL,
                       "the address is private or local, it may not be fetched");
        free(args);
    }
    assert_int_equal(stub_server_connections(server), before);
}

static void test_bad_urls(void **state) {
    (void)state;
    static const struct {
        const char *url, *sentence;
    } cases[] = {
        {"ftp://127.0.0.1/x", "only http and https addresses can be fetched"},
        {"file:///etc/passwd", "only http and https addresses can be fetched"},
        {"gopher://127.0.0.1/x", "only http and https addresses can be fetched"},
        {"httpx://127.0.0.1/", "only http and https addresses can be fetched"},
        {"http://user:pass@127.0.0.1/", "addresses with a user name or password cannot be fetched"},
        {"127.0.0.1/hello", "not a web address, use one like https://example.org/"},
        {"", "not a web address, use one like https://example.org/"},
        {"http://", "not a web address, use one like https://example.org/"},
        {"http://a b/", "not a web address, use one like https://example.org/"},
        {"http://127.0.0.1/\r\nX-Evil: 1", "not a web address, use one like https://example.org/"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *args = arguments_of("url", cases[i].url, NULL, NULL);
        expect_failure(&t, "http_fetch", args, HERMES_E_TOOL, cases[i].sentence);
        free(args);
    }
    char url[5000] = "http://127.0.0.1/";
    memset(url + strlen(url), 'u', 4500);
    char *args = arguments_of("url", url, NULL, NULL);
    expect_failure(&t, "http_fetch", args, HERMES_E_TOOL,
                   "not a web address, use one like https://example.org/");
    free(args);
}

static void test_redirects(void **state) {
    (void)state;
    char url[128];
    stub_server_set_elsewhere(server, "/hello");
    expect_result(&t, "http_fetch", at("127.0.0.1", "/elsewhere"),
                  "{\"status\": 200, \"body\": \"Hello, \\\"hermesd\\\"\\n\"}");
    expect_failure(&t, "http_fetch", at("127.0.0.1", "/loop"), HERMES_E_TOOL,
                   "the page redirects more than 5 times");
    stub_server_set_elsewhere(server, "file:///etc/passwd");
    expect_failure(&t, "http_fetch", at("127.0.0.1", "/elsewhere"), HERMES_E_TOOL,
                   "only http and https addresses can be fetched");
    snprintf(url, sizeof url, "http://user:pass@127.0.0.1:%d/hello", stub_server_port(server));
    stub_server_set_elsewhere(server, url);
    assert_int_equal(HERMES_TEST_CALL(&t, "http_fetch", at("127.0.0.1", "/elsewhere")), HERMES_E_TOOL);
}

static bool may_not_second(const struct sockaddr *address) {
    struct sockaddr_in in;
    memcpy(&in, address, sizeof in);
    return address->sa_family == AF_INET && in.sin_addr.s_addr != htonl(0x7f000002);
}

static bool never(void *arg) {
    (void)arg;
    return false;
}

/* The address is judged again after a redirect: 127.0.0.1 may be reached here, 127.0.0.2 may not. */
static void test_redirect_judged(void **state) {
    (void)state;
    static const char *const hosts[] = {"127.0.0.2", "2130706434", "0x7f.2", "[::ffff:127.0.0.2]"};
    char url[128], elsewhere[128], err[256];
    int before = stub_server_connections(second);
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct text out;
        snprintf(url, sizeof url, "http://127.0.0.1:%d/elsewhere", stub_server_port(server));
        snprintf(elsewhere, sizeof elsewhere, "http://%s:%d/hello", hosts[i], stub_server_port(second));
        stub_server_set_elsewhere(server, elsewhere);
        struct http_fetch_request request = {
            .url = url, .may_connect = may_not_second, .timeout_ms = 10000, .stop = never};
        text_init(&out, 1024 * 1024);
        assert_int_equal(http_fetch_get(&request, &out, err, sizeof err), -EACCES);
        assert_string_equal(err, "the address is private or local, it may not be fetched");
        text_finish(&out);
    }
    assert_int_equal(stub_server_connections(second), before);
}

static void test_sends_little(void **state) {
    (void)state;
    setenv("http_proxy", "http://127.0.0.2:1/", 1); /* must not be used */
    assert_int_equal(HERMES_TEST_CALL(&t, "http_fetch", at("127.0.0.1", "/cookie")), HERMES_OK);
    unsetenv("http_proxy");
    assert_non_null(strstr(t.text, "GET /echo HTTP/1.1"));
    assert_null(strstr(t.text, "Cookie"));
    assert_null(strstr(t.text, "Authorization"));
    assert_null(strstr(t.text, "Proxy"));
    assert_null(strstr(t.text, "Referer"));
}

/* 256 KiB are told, cut between characters. */
static void test_huge(void **state) {
    (void)state;
    assert_int_equal(HERMES_TEST_CALL(&t, "http_fetch", at("127.0.0.1", "/huge")), HERMES_OK);
    assert_int_equal(t.len,
                     strlen("{\"status\": 200, \"body\": \"\", \"truncated\": true}") + 256 * 1024 / 3 * 3);
    assert_non_null(strstr(t.text, "\xE2\x82\xAC\", \"truncated\": true}"));
}

static void test_slow(void **state) {
    (void)state;
    t.timeout_ms = 600;
    expect_failure(&t, "http_fetch", at("127.0.0.1", "/slow"), HERMES_E_DEADLINE, "the page took too long");
    t.timeout_ms = 30000;
    t.cancel = 1;
    expect_failure(&t, "http_fetch", at("127.0.0.1", "/slow"), HERMES_E_CANCELLED, "the fetch was cancelled");
    t.cancel = 0;
}

static void test_nobody_listens(void **state) {
    (void)state;
    expect_failure(&t, "http_fetch", "{\"url\": \"http://127.0.0.3:1/\"}", HERMES_E_TOOL,
                   "the server does not answer");
}

static void test_addresses(void **state) {
    (void)state;
    static const char *const inside[] = {
        "0.1.2.3",      "10.255.255.255",  "100.64.0.0",       "100.127.255.255", "127.0.0.1",
        "169.254.1.1",  "172.16.0.1",      "172.31.255.255",   "192.0.0.8",       "192.0.2.1",
        "192.168.0.1",  "198.18.0.1",      "198.19.255.255",   "198.51.100.7",    "203.0.113.7",
        "224.0.0.1",    "239.255.255.255", "240.0.0.1",        "255.255.255.255", "::",
        "::1",          "::ffff:8.8.8.8",  "::ffff:127.0.0.1", "::8.8.8.8",       "64:ff9b::10.0.0.1",
        "64:ff9b:1::1", "100::1",          "2001::1",          "2001:db8::1",     "2002:a00:1::1",
        "3fff::1",      "fc00::1",         "fdff::1",          "fe80::1",         "fec0::1",
        "ff02::1",      "4000::1"};
    static const char *const outside[] = {
        "1.1.1.1",         "8.8.8.8",          "9.255.255.255",   "11.0.0.0",       "100.63.255.255",
        "100.128.0.0",     "126.255.255.255",  "128.0.0.0",       "172.15.255.255", "172.32.0.0",
        "192.167.255.255", "192.169.0.0",      "223.255.255.255", "2606:4700::1",   "2a00::1",
        "2001:4860::8",    "64:ff9b::8.8.8.8", "2002:808:808::1"};
    for (size_t i = 0; i < sizeof inside / sizeof inside[0] + sizeof outside / sizeof outside[0]; i++) {
        bool want = i >= sizeof inside / sizeof inside[0];
        const char *text = want ? outside[i - sizeof inside / sizeof inside[0]] : inside[i];
        struct sockaddr_in in = {.sin_family = AF_INET};
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
        bool four = inet_pton(AF_INET, text, &in.sin_addr) == 1;
        assert_true(four || inet_pton(AF_INET6, text, &in6.sin6_addr) == 1);
        if (http_fetch_address_is_public(four ? (struct sockaddr *)&in : (struct sockaddr *)&in6) != want)
            fail_msg("%s", text);
    }
    struct sockaddr local = {.sa_family = AF_UNIX};
    assert_false(http_fetch_address_is_public(&local));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declaration),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_private_refused),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_redirect_judged),
        cmocka_unit_test(test_sends_little),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, start, finish);
}

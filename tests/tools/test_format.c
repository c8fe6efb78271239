/* Formats: what is one and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct texts {
    const char *format;
    const char *good[12], *bad[16];
};

static const struct texts formats[] = {
    {"date",
     {"2024-02-29", "0000-01-01", "1999-12-31"},
     {"2023-02-29", "2024-2-9", "2024-13-01", "2024-00-01", "2024-01-32", "1900-02-29", "2024-01-01T", "",
      "2024/01/01", "202a-01-01"}},
    {"time",
     {"00:00:00Z", "23:59:60Z", "12:30:15.123+02:00", "01:29:60+01:30", "23:59:59z"},
     {"24:00:00Z", "12:60:00Z", "12:00:61Z", "12:00:00", "12:00Z", "12:00:00.Z", "12:00:00+24:00",
      "12:00:00+0100", "22:59:60Z", "12:00:00+01:60", ""}},
    {"date-time",
     {"2024-02-29T12:00:00Z", "1990-12-31t23:59:60z", "1990-12-31T15:59:60-08:00"},
     {"2024-02-30T12:00:00Z", "2024-02-29 12:00:00Z", "2024-02-29", "2024-02-29T12:00:00", "2024-02-29T"}},
    {"duration",
     {"P4DT12H30M5S", "P1Y2M3D", "PT36H", "P1W", "P0D", "PT1M"},
     {"P", "PT", "P1D2H", "4DT12H", "P1Y1W", "P2D1Y", "P1", "PT1D", "P1H", "PT1H1S", "P1YT", "P1Y3D"}},
    {"uuid",
     {"123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"},
     {"123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400",
      "123e4567-e89b-12d3-a456-4266141740000", "123g4567-e89b-12d3-a456-426614174000", ""}},
    {"email",
     {"a@b.de", "a.b+c@d", "\"a b\"@c.de", "te~st@example.com", "a@[127.0.0.1]", "a@[IPv6:::1]"},
     {"a", "@b.de", "a@", ".a@b.de", "a.@b.de", "a..b@c.de", "a b@c.de", "a@b_c.de", "a@[1.2.3]", "a@b@c",
      "\xc3\xa9@b.de", "\"a@b.de"}},
    {"idn-email",
     {"\xec\x8b\xa4\xeb\xa1\x80@\xec\x8b\xa4\xeb\xa1\x80.\xed\x85\x8c\xec\x8a\xa4\xed\x8a\xb8", "a@b.de"},
     {"a", "@b"}},
    {"hostname",
     {"a", "www.example.com", "a-b.c1", "1.de"},
     {"", ".a", "a.", "a..b", "-a", "a-", "a_b", "a b", "\xc3\xa9.de", "aa--b.de",
      "0123456789012345678901234567890123456789012345678901234567890123456789"}},
    {"ipv4",
     {"0.0.0.0", "255.255.255.255", "192.0.2.1"},
     {"256.0.0.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4 ", "", "1.2.3.a", "0x7f.1.1.1", "1..2.3"}},
    {"ipv6",
     {"::", "::1", "1::", "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1", "1:2:3:4:5:6:1.2.3.4", "2001:db8::a",
      "1:2::8"},
     {"", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "1:2:3:4:5:6:7:8::", "::g",
      "fe80::1%eth0", "1:", ":1", "1.2.3.4", "::1.2.3", "1:2:3:4:5:6:7:1.2.3.4"}},
    {"uri",
     {"http://a.b/c?d=e#f", "urn:a:b", "mailto:a@b.de", "file:///a", "http://[::1]:80/", "http://a:b@c:1",
      "x:", "http://a/%41"},
     {"", "a", "/a", "//a/b", "http://a b", "http://a/<b>", "http://a/%4", "1http://a", "http://[::1",
      "http://a:b:c/", "\\\\a\\b", "http://\xc3\xa9", ":a", "http://a#b#c", "http://[v1.a%41]"}},
    {"uri-reference",
     {"", "a", "/a", "//a/b", "#a", "?a", "a?b#c", "http://a"},
     {"a b", "\\a", "#a#b", "a:b%", "1:b", "a{b"}},
    {"iri", {"http://\xc6\x92\xc3\xb8\xc3\xb8.\xc3\x9f\xc3\xa5r/", "urn:a"}, {"/\xc3\xa9", "http://a b"}},
    {"iri-reference", {"/\xc3\xa9", "#\xc6\x92r"}, {"\\\\W", "#\\a"}},
    {"uri-template",
     {"http://a/{b}", "a", "{+b,c*}", "{?x:3}", "{a.b}", "%41{%41}"},
     {"{", "{a", "a}", "{}", "{a b}", "{:3}", "%4", "{a:}", "{a:99999}", "{a,}", "<a>", "{a..b}"}},
    {"json-pointer", {"", "/", "/a~0b~1c/0", "/a//b"}, {"a", "/~", "/a~2", "#", "#/a", "0"}},
    {"relative-json-pointer", {"0", "1/a", "12#", "0/"}, {"", "/a", "01", "-1", "1a", "1##", "+1"}},
    {"regex",
     {"a", "(?=a)b", "(a)\\1", "\\p{L}", ""},
     {"(", "[", "a**", "\\a", "(?P<a>b)", "^\\S(|(.|\\n)*\\S)\\Z"}},
};

static void test_formats(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        enum format format = format_named(formats[i].format);
        assert_true(format != FORMAT_NONE && format != FORMAT_UNSUPPORTED);
        assert_string_equal(format_name(format), formats[i].format);
        for (size_t k = 0; k < 12 && formats[i].good[k] != NULL; k++)
            if (!format_matches(format, formats[i].good[k], strlen(formats[i].good[k])))
                fail_msg("%s is a %s", formats[i].good[k], formats[i].format);
        for (size_t k = 0; k < 16 && formats[i].bad[k] != NULL; k++)
            if (format_matches(format, formats[i].bad[k], strlen(formats[i].bad[k])))
                fail_msg("%s is no %s", formats[i].bad[k], formats[i].format);
    }
}

static void test_names(void **state) {
    (void)state;
    assert_int_equal(format_named("int32"), FORMAT_NONE);
    assert_int_equal(format_named(""), FORMAT_NONE);
    assert_int_equal(format_named("idn-hostname"), FORMAT_UNSUPPORTED);
    assert_true(format_matches(FORMAT_NONE, "anything", 8));
    assert_string_equal(format_name(FORMAT_NONE), "");
    for (int format = FORMAT_DATE; format <= FORMAT_REGEX; format++)
        assert_int_equal(format_named(format_name((enum format)format)), format);
    assert_int_equal(format_named("base64"), FORMAT_NONE);
}

/* Labels of the ASCII form of internationalized names. */
static void test_punycode(void **state) {
    static const char *const good[] = {"xn--4gbwdl.xn--wgbh1c", "XN--4gbwdl", "xn--mnchen-3ya", NULL};
    static const char *const bad[] = {"xn--X", "xn--", "xn--a", "xn--99999999", "xn--hello-txk", NULL};
    (void)state;
    assert_true(format_matches(FORMAT_HOSTNAME, good[0], strlen(good[0])));
    assert_true(format_matches(FORMAT_HOSTNAME, good[1], strlen(good[1])));
    assert_true(format_matches(FORMAT_HOSTNAME, good[2], strlen(good[2])));
    for (size_t i = 0; bad[i] != NULL; i++)
        if (format_matches(FORMAT_HOSTNAME, bad[i], strlen(bad[i])))
            fail_msg("%s", bad[i]);
}

static void test_content(void **state) {
    static const struct {
        enum format format;
        const char *text;
        bool matches;
    } cases[] = {
        {FORMAT_BASE64, "", true},
        {FORMAT_BASE64, "aGk=", true},
        {FORMAT_BASE64, "aGkh", true},
        {FORMAT_BASE64, "aA==", true},
        {FORMAT_BASE64, "aGk", false},
        {FORMAT_BASE64, "a===", false},
        {FORMAT_BASE64, "aG%=", false},
        {FORMAT_BASE64, "=aGk", false},
        {FORMAT_BASE64, "aGk=aGk=", false},
        {FORMAT_JSON, "{\"a\": 1e999}", true},
        {FORMAT_JSON, "{:}", false},
        {FORMAT_JSON, "", false},
        {FORMAT_BASE64_JSON, "eyJmb28iOiAiYmFyIn0K", true},
        {FORMAT_BASE64_JSON, "ezp9Cg==", false},
        {FORMAT_BASE64_JSON, "{}", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (format_matches(cases[i].format, cases[i].text, strlen(cases[i].text)) != cases[i].matches)
            fail_msg("%s", cases[i].text);
}

/* Lengths at the edge of what is allowed. */
static void test_long(void **state) {
    char host[300], mail[400];
    (void)state;
    memset(host, 'a', sizeof host);
    host[63] = host[127] = host[191] = '.';
    host[253] = '\0';
    assert_true(format_matches(FORMAT_HOSTNAME, host, 253));
    host[253] = 'a';
    host[254] = '\0';
    assert_false(format_matches(FORMAT_HOSTNAME, host, 254));
    memset(mail, 'a', sizeof mail);
    memcpy(mail + 64, "@b.de", 6);
    assert_true(format_matches(FORMAT_EMAIL, mail, strlen(mail)));
    mail[64] = 'a';
    memcpy(mail + 65, "@b.de", 6);
    assert_false(format_matches(FORMAT_EMAIL, mail, strlen(mail)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats), cmocka_unit_test(test_names), cmocka_unit_test(test_punycode),
        cmocka_unit_test(test_content), cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

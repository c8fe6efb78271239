/* The parts of hermesctl that need no daemon: event streams cut anywhere, durations, lines for a terminal. */
#include "daemon/ctl_options.h"
#include "daemon/ctl_sse.h"
#include "daemon/ctl_term.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const struct ctl_command ctl_commands[] = {{NULL, NULL, NULL, NULL, 0, 0, NULL}};

/* ---- event streams ---- */

struct seen {
    char text[512];
    int stop_at; /* events until `event` ends the parsing; 0 = never */
    int n;
};

static int see(void *arg, const char *type, const char *data, size_t len) {
    struct seen *s = arg;
    size_t at = strlen(s->text);
    assert_int_equal(strlen(data), len);
    snprintf(s->text + at, sizeof s->text - at, "[%s|%s]", type, data);
    return ++s->n == s->stop_at ? 77 : 0;
}

static void assert_stream(const char *stream, const char *events, const char *id) {
    for (size_t cut = 1; cut <= strlen(stream); cut++) { /* every size of pieces */
        struct seen seen = {{0}, 0, 0};
        struct ctl_sse s;
        ctl_sse_init(&s, see, &seen);
        for (size_t at = 0; at < strlen(stream); at += cut) {
            size_t n = strlen(stream) - at < cut ? strlen(stream) - at : cut;
            assert_int_equal(ctl_sse_feed(&s, stream + at, n), 0);
        }
        assert_string_equal(seen.text, events);
        assert_string_equal(s.id, id);
        ctl_sse_finish(&s);
    }
}

static void test_events_cut_anywhere(void **state) {
    (void)state;
    assert_stream("id: 1\nevent: a\ndata: x\n\nid:2\nevent:b\ndata:y\n\n", "[a|x][b|y]", "2");
    assert_stream(": ka\n\nid: 7\r\nevent: a\r\ndata: x\r\ndata:  y\r\n\r\n", "[a|x\n y]", "7");
    assert_stream("data: x\rdata\r\rdata: z\n\n", "[message|x\n][message|z]", "");
    assert_stream("event: a\n\ndata: x\n\n", "[message|x]", ""); /* an event without data is none */
    assert_stream("retry: 10\nwhat\nevent: a\ndata: {\"a\": \"b:c\"}\n\n", "[a|{\"a\": \"b:c\"}]", "");
    assert_stream("event: a\ndata: x\n", "", ""); /* never ended */
}

static void test_a_new_connection_keeps_the_id(void **state) {
    (void)state;
    struct seen seen = {{0}, 0, 0};
    struct ctl_sse s;
    ctl_sse_init(&s, see, &seen);
    assert_int_equal(ctl_sse_feed(&s, "id: 3\ndata: x\n\nevent: a\ndata: hal", 33), 0);
    ctl_sse_restart(&s);
    assert_int_equal(ctl_sse_feed(&s, "data: y\n\n", 9), 0);
    assert_string_equal(seen.text, "[message|x][message|y]");
    assert_string_equal(s.id, "3");
    ctl_sse_finish(&s);
}

static void test_an_event_may_end_the_parsing(void **state) {
    (void)state;
    struct seen seen = {{0}, 1, 0};
    struct ctl_sse s;
    ctl_sse_init(&s, see, &seen);
    assert_int_equal(ctl_sse_feed(&s, "data: x\n\ndata: y\n\n", 18), 77);
    assert_string_equal(seen.text, "[message|x]");
    ctl_sse_finish(&s);
}

static void test_an_event_has_a_ceiling(void **state) {
    (void)state;
    struct seen seen = {{0}, 0, 0};
    struct ctl_sse s;
    size_t len = 1 << 20;
    char *piece = malloc(len);
    assert_non_null(piece);
    memset(piece, 'a', len);
    ctl_sse_init(&s, see, &seen);
    int rc = 0, n = 0;
    for (; rc == 0 && n < 100; n++)
        rc = ctl_sse_feed(&s, piece, len);
    assert_int_equal(rc, -ENOBUFS);
    assert_int_equal(n, 65);
    free(piece);
    ctl_sse_finish(&s);
}

/* ---- durations ---- */

static void test_durations(void **state) {
    (void)state;
    const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"90", 90000}, {"90s", 90000}, {"1.5m", 90000}, {"2h", 7200000}, {"500ms", 500}, {"0", 0}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t ms = -1;
        assert_int_equal(ctl_options_duration(good[i].text, &ms), 0);
        assert_true(ms == good[i].ms);
    }
    const char *bad[] = {"", "s", "-1", "5 m", "5x", "nan", "inf", "1e99", "5mm"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms = -1;
        assert_int_equal(ctl_options_duration(bad[i], &ms), -EINVAL);
        assert_true(ms == -1);
    }
}

/* ---- lines ---- */

static void assert_line(const char *text, size_t max, bool is_terminal, const char *expected) {
    char *written = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&written, &size);
    assert_non_null(file);
    struct ctl_term t = {.file = file, .is_terminal = is_terminal};
    ctl_term_line(&t, CTL_DIM, text, strlen(text), max);
    fclose(file);
    assert_string_equal(written, expected);
    free(written);
}

static void test_lines_are_one_line_and_cut_between_characters(void **state) {
    (void)state;
    assert_line("a\nb\tc\r\nd\n\n", 100, true, "a b c  d");
    assert_line("abcdef", 6, true, "abcdef");
    assert_line("abcdef", 5, true, "abcde…");
    assert_line("aéé", 4, true, "aé…");
    assert_line("aéé", 3, true, "aé…");
    assert_line("aéé", 2, true, "a…");
    assert_line("", 0, true, "");
    assert_line("\033[1m\xff\302\205é", 100, true, "\\x1b[1m\\xff\\xc2\\x85é");
    assert_line("\033[1m\xff", 100, false, "\033[1m\xff");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_cut_anywhere),
        cmocka_unit_test(test_a_new_connection_keeps_the_id),
        cmocka_unit_test(test_an_event_may_end_the_parsing),
        cmocka_unit_test(test_an_event_has_a_ceiling),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_lines_are_one_line_and_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

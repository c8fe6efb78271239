/* The queue of events: order, joined pieces, lifetimes, its ceiling. */
#include "agent/events.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct agent_event delta(int position, const char *text) {
    return (struct agent_event){
        .type = AGENT_EVENT_MESSAGE_DELTA, .position = position, .text = text, .len = strlen(text)};
}

static void pieces_are_joined_while_they_wait(void **state) {
    (void)state;
    struct events q;
    struct agent_event e, parts[] = {delta(0, "Hel"), delta(0, "lo"), delta(1, "you"), delta(0, "x")};
    agent_events_init(&q);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(agent_events_push(&q, &parts[i]), 0);
    assert_true(agent_events_take(&q, &e));
    assert_string_equal(e.text, "Hello");
    assert_int_equal(e.len, 5);
    assert_true(agent_events_take(&q, &e));
    assert_string_equal(e.text, "you");
    assert_true(agent_events_take(&q, &e));
    assert_string_equal(e.text, "x");
    assert_int_equal(agent_events_push(&q, &parts[3]), 0); /* after it was taken it is a new one */
    assert_true(agent_events_take(&q, &e));
    assert_int_equal(e.len, 1);
    assert_false(agent_events_take(&q, &e));
    assert_int_equal(q.bytes, 0);
    agent_events_finish(&q);
}

static void everything_is_copied(void **state) {
    (void)state;
    char name[] = "f", arguments[] = "{}", raw[] = "raw", error[] = "no";
    struct agent_event e = {
        .type = AGENT_EVENT_CALL, .name = name, .arguments = arguments, .raw = raw, .error = error};
    struct events q;
    agent_events_init(&q);
    assert_int_equal(agent_events_push(&q, &e), 0);
    name[0] = arguments[0] = raw[0] = error[0] = '#';
    assert_true(agent_events_take(&q, &e));
    assert_string_equal(e.name, "f");
    assert_string_equal(e.arguments, "{}");
    assert_string_equal(e.raw, "raw");
    assert_string_equal(e.error, "no");
    assert_string_equal(e.text, "");
    agent_events_finish(&q);
}

static void the_queue_has_a_ceiling(void **state) {
    (void)state;
    struct events q;
    size_t size = 1u << 20;
    char *text = malloc(size);
    memset(text, 'x', size);
    agent_events_init(&q);
    int n = 0, rc = 0;
    for (; rc == 0 && n < 100; n++) {
        struct agent_event e = {.type = AGENT_EVENT_MESSAGE_DONE, .position = n, .text = text, .len = size};
        rc = agent_events_push(&q, &e);
    }
    assert_int_equal(rc, -ENOBUFS);
    assert_int_equal(n, EVENTS_BYTES_MAX >> 20);
    struct agent_event e;
    assert_true(agent_events_take(&q, &e));
    e = delta(0, "fits again");
    assert_int_equal(agent_events_push(&q, &e), 0);
    agent_events_finish(&q);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_joined_while_they_wait),
        cmocka_unit_test(everything_is_copied),
        cmocka_unit_test(the_queue_has_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

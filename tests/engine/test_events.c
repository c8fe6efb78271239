/* The queue of events wakes its reader as often as needed, and not more often. */
#include "engine/events.h"
#include "engine/kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void count_wake(void *wakes) {
    ++*(int *)wakes;
}

/* Text "a" of a session. */
static void push(struct events *q, struct engine_session *s) {
    struct buf text;
    const int32_t id = 7;
    buf_init(&text, 16);
    assert_int_equal(buf_puts(&text, "a"), 0);
    struct engine_event *event = events_new(s, ENGINE_EVENT_TEXT, &text, &id, 1);
    assert_non_null(event);
    events_push(q, event);
    buf_finish(&text);
}

/* Frees what waits; how many events. */
static int take(struct events *q) {
    struct engine_event *next;
    int n = 0;
    for (struct engine_event *event = events_take(q); event != NULL; event = next, n++) {
        next = event->next;
        engine_event_free(event);
    }
    return n;
}

static void test_wakes_until_taken(void **state) {
    (void)state;
    struct engine_session a = {0}, b = {0};
    struct events q;
    int wakes = 0;
    events_init(&q, count_wake, &wakes);
    push(&q, &a);
    push(&q, &b);
    assert_int_equal(wakes, 1);
    assert_int_equal(take(&q), 2);
    push(&q, &a);
    assert_int_equal(wakes, 2);
    events_finish(&q);
}

/* A step with many sessions wakes its reader once, also when that takes what there is in between. */
static void test_held(void **state) {
    (void)state;
    struct engine_session a = {0}, b = {0};
    struct events q;
    int wakes = 0;
    events_init(&q, count_wake, &wakes);
    events_hold(&q);
    push(&q, &a);
    assert_int_equal(take(&q), 1);
    push(&q, &a);
    push(&q, &b);
    assert_int_equal(wakes, 0);
    events_release(&q);
    assert_int_equal(wakes, 1);
    assert_int_equal(take(&q), 2);
    push(&q, &b);
    assert_int_equal(wakes, 2);
    events_finish(&q);
}

/* Nobody is woken for nothing, nor twice. */
static void test_released_without_need(void **state) {
    (void)state;
    struct engine_session a = {0};
    struct events q;
    int wakes = 0;
    events_init(&q, count_wake, &wakes);
    events_hold(&q);
    events_release(&q);
    assert_int_equal(wakes, 0);
    push(&q, &a);
    events_hold(&q);
    events_release(&q);
    assert_int_equal(wakes, 1);
    events_finish(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wakes_until_taken), cmocka_unit_test(test_held),
                                       cmocka_unit_test(test_released_without_need)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

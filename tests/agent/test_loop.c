/* Calls that lead nowhere: against a slow judge that looks at the whole past each time, and in conversations.
 */
#include "agent/loop.h"

#include "tests/agent/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint32_t seed = 1;

static int draw(unsigned n) {
    seed = seed * 1664525u + 1013904223u;
    return (int)((seed >> 16) % n);
}

/* ---- the slow judge ---- */

#define CALLS   6 /* different ones */
#define TOOLS   3
#define RECORDS 600

#define NAME_SIZE      20
#define ARGUMENTS_SIZE 80

struct record {
    int call, result, turn;
    bool failed, left_out;
};

struct judge {
    struct agent_limits max;
    struct record past[RECORDS]; /* answered */
    int n;
    struct record now[16]; /* of this turn */
    int n_now, refusals;
};

static int tool_of(int call) {
    return call % TOOLS;
}

static bool is_read_only(int call) {
    return tool_of(call) == 1;
}

static int times(const struct judge *j, int call, int result) {
    int n = 0;
    for (int i = 0; i < j->n; i++)
        n += !j->past[i].left_out && j->past[i].call == call && j->past[i].result == result;
    return n;
}

static int most(const struct judge *j, int call) {
    int most_times = 0;
    for (int result = 0; result < 40; result++)
        most_times = times(j, call, result) > most_times ? times(j, call, result) : most_times;
    return most_times;
}

/* 0: runs, 1: refused, 2: the end. */
static int judge_ask(struct judge *j, int call) {
    int now = 0, n = j->max.max_identical_calls;
    for (int i = 0; i < j->n_now; i++)
        now += !j->now[i].left_out && j->now[i].call == call;
    if (n == 0 || (most(j, call) < n && (now == 0 || now + most(j, call) < n)))
        return 0;
    return ++j->refusals > LOOP_REFUSALS_MAX ? 2 : 1;
}

/* The past without what is left out. */
static int counted(const struct judge *j, struct record *out) {
    int n = 0;
    for (int i = 0; i < j->n; i++)
        if (!j->past[i].left_out)
            out[n++] = j->past[i];
    return n;
}

static bool brings_nothing(const struct record *r, int at) {
    for (int i = 0; i < at; i++)
        if (r[i].result == r[at].result &&
            (r[i].call == r[at].call ||
             (is_read_only(r[at].call) && tool_of(r[i].call) == tool_of(r[at].call))))
            return true;
    return r[at].failed;
}

static const char *judge_verdict(const struct judge *j) {
    static struct record r[RECORDS];
    int n = counted(j, r), k = j->max.max_cycle_repeats;
    for (int p = 2; p <= 4 && k > 0; p++) {
        if (n < p * k)
            continue;
        const struct record *tail = r + n - p * k;
        int equal = 0, one = 0;
        for (int round = 0; round < k; round++)
            for (int i = 0; i < p; i++) {
                const struct record *x = &tail[round * p + i], *y = &tail[i];
                equal += x->call == y->call && x->result == y->result;
                one += x->call == tail->call && x->result == tail->result;
            }
        if (equal == p * k && one < p * k && tail->turn < r[n - 1].turn)
            return "loop_detected";
    }
    int idle = 0;
    while (idle < n && brings_nothing(r, n - 1 - idle))
        idle++;
    if (j->max.max_idle_calls > 0 && idle >= j->max.max_idle_calls && r[n - idle].turn < r[n - 1].turn)
        return "no_progress";
    return NULL;
}

/* ---- both on the same calls ---- */

/* The same arguments in different spellings. */
static void write_call(int call, char *name, char *arguments) {
    int value = call / TOOLS;
    (void)snprintf(name, NAME_SIZE, "tool_%d", tool_of(call));
    switch (draw(3)) {
    case 0:
        (void)snprintf(arguments, ARGUMENTS_SIZE, "{\"a\": %d, \"b\": [\"x\", {}]}", value);
        break;
    case 1:
        (void)snprintf(arguments, ARGUMENTS_SIZE, "{\"b\":[\"\\u0078\",{}],\"a\":%d.0}", value);
        break;
    default:
        (void)snprintf(arguments, ARGUMENTS_SIZE, "{ \"a\": %de-1, \"b\": [\"x\", { }] }", value * 10);
    }
}

struct tally {
    int refused, ended, cycles, idle, forbidden;
};

static void check_forbidden(const struct loop *l, const struct judge *j, struct tally *t) {
    size_t expected = 0;
    for (int call = 0; call < CALLS; call++)
        expected += j->max.max_identical_calls > 0 && most(j, call) >= j->max.max_identical_calls;
    assert_int_equal(l->n_forbidden, expected);
    for (size_t i = 0; i < l->n_forbidden; i++) {
        int tool = 0, value = -1, since = l->forbidden[i].since;
        assert_int_equal(sscanf(l->forbidden[i].name, "tool_%d", &tool), 1);
        const char *a = strstr(l->forbidden[i].arguments, "\"a\":");
        value = (int)strtod(a + 4, NULL);
        int call = tool + TOOLS * value;
        /* since the turn behind the one that made it so */
        struct judge before = *j;
        while (before.n > 0 && before.past[before.n - 1].turn >= since)
            before.n--;
        assert_true(most(&before, call) >= j->max.max_identical_calls);
        while (before.n > 0 && before.past[before.n - 1].turn >= since - 1)
            before.n--;
        assert_true(most(&before, call) < j->max.max_identical_calls);
    }
    t->forbidden += (int)l->n_forbidden;
}

/* One turn. False: the job ended. */
static bool play_turn(struct loop *l, struct judge *j, int turn, int variety, struct tally *t) {
    struct loop_result results[16];
    char bodies[16][40];
    int n = 1 + draw(4) * draw(2);
    j->n_now = 0;
    for (int i = 0; i < n; i++) {
        struct record r = {
            .call = draw((unsigned)(1 + draw((unsigned)variety))), .turn = turn, .left_out = draw(12) == 0};
        char name[NAME_SIZE], arguments[ARGUMENTS_SIZE], text[300] = "";
        bool refused = false;
        int status = 0;
        const char *reason = NULL;
        write_call(r.call, name, arguments);
        int expected = r.left_out ? 0 : judge_ask(j, r.call);
        if (r.left_out)
            assert_int_equal(loop_leave_out(l), 0);
        else
            reason = loop_ask(l, name, arguments, &refused, &status, text, sizeof text);
        assert_int_equal(status, 0);
        assert_int_equal(refused, expected > 0);
        assert_int_equal(reason != NULL, expected == 2);
        assert_int_equal(text[0] != '\0', expected > 0);
        t->refused += refused;
        t->ended += reason != NULL;
        if (reason != NULL) {
            assert_string_equal(reason, "identical_calls");
            return false;
        }
        r.result = refused ? 39 : draw((unsigned)(1 + draw((unsigned)variety)));
        r.failed = refused || r.result == 4;
        j->now[j->n_now++] = r;
        (void)snprintf(bodies[i], sizeof bodies[i], "result %d", r.result);
        results[i] = (struct loop_result){bodies[i], strlen(bodies[i]), r.failed, is_read_only(r.call)};
    }
    for (int i = 0; i < n; i++)
        j->past[j->n++] = j->now[i];
    assert_int_equal(loop_answer(l, turn, results, (size_t)n), 0);
    check_forbidden(l, j, t);
    char text[300] = "";
    const char *verdict = loop_verdict(l, text, sizeof text), *expected = judge_verdict(j);
    if ((verdict == NULL) != (expected == NULL) || (verdict != NULL && strcmp(verdict, expected) != 0))
        fail_msg("seed %u, turn %d: %s, not %s", seed, turn, verdict != NULL ? verdict : "goes on",
                 expected != NULL ? expected : "goes on");
    t->cycles += verdict != NULL && strcmp(verdict, "loop_detected") == 0;
    t->idle += verdict != NULL && strcmp(verdict, "no_progress") == 0;
    return verdict == NULL;
}

static void test_against_the_whole_past(void **state) {
    (void)state;
    struct tally t = {0};
    static struct judge j;
    for (int round = 0; round < 6000; round++) {
        struct loop l;
        int turn = 0, variety = 1 + draw(CALLS);
        j = (struct judge){.max = {.max_identical_calls = draw(6),
                                   .max_cycle_repeats = draw(3) ? 2 + draw(2) : 0,
                                   .max_idle_calls = draw(10)}};
        loop_init(&l, &j.max);
        while (turn < 40 && play_turn(&l, &j, turn, variety, &t))
            turn++;
        if (draw(2)) { /* a new message: as new */
            loop_reset(&l);
            j = (struct judge){.max = j.max};
            for (turn = 100; turn < 110 && play_turn(&l, &j, turn, variety, &t);)
                turn++;
        }
        loop_finish(&l);
    }
    (void)printf("%d refused, %d ended by it, %d cycles, %d without progress\n", t.refused, t.ended, t.cycles,
                 t.idle);
    assert_true(t.refused > 1000 && t.ended > 100 && t.cycles > 100 && t.idle > 100 && t.forbidden > 1000);
}

/* ---- conversations ---- */

#define CALL(name, x) "<tool_call>\n{\"name\": \"" name "\", \"arguments\": {\"a\": " x "}}\n</tool_call>"
#define ADD(x)        CALL("add", x)
#define ECHO(x)       CALL("echo", x)
#define POLL          CALL("poll", "1")
/* The tools of the scripts, and one that only reads. */
static struct agent *make_agent(const struct agent_limits *limits) {
    struct agent_tool tools[4];
    memcpy(tools, script_tools, sizeof script_tools);
    tools[3] = (struct agent_tool){.name = "look", .schema = "{\"type\": \"object\"}", .read_only = true};
    const struct agent_config config = {
        .tools = tools, .n_tools = 4, .limits = limits != NULL ? *limits : agent_limits_default};
    const struct agent_message hi = {AGENT_ROLE_USER, "Hi"};
    struct agent *a = NULL;
    assert_int_equal(agent_create(&config, &a, NULL, 0), 0);
    assert_int_equal(agent_start(a, &hi, 1, NULL, 0), 0);
    return a;
}

/* A turn with one call, and its result. */
#define TURN(n, call, result) SAY(call), END(STOP), RESULT(n, OK, result)

static void play(const struct agent_limits *limits, const struct script_op *ops, const char *end,
                 const char *part) {
    static const size_t pieces[] = {0, 1, 7};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct buf steps, events;
        struct agent *a = make_agent(limits);
        script_play(a, ops, pieces[i], &steps, &events);
        if (steps.len < strlen(end) || strcmp(steps.data + steps.len - strlen(end), end) != 0)
            fail_msg("ends with '%s', not '%s'", steps.data + (steps.len > 200 ? steps.len - 200 : 0), end);
        if (part != NULL && strstr(steps.data, part) == NULL)
            fail_msg("no '%s' in '%s'", part, steps.data);
        buf_finish(&steps);
        buf_finish(&events);
        agent_destroy(a);
    }
}

static void test_the_same_call(void **state) {
    (void)state;
    /* three times the same: the model is told, twice, and then it is over */
    play(NULL,
         (struct script_op[]){TURN(0, ADD("1"), "7"),
                              TURN(1, ADD("1.0"), "7"),
                              TURN(2, ADD("1e0"), "7"),
                              SAY(ADD("1")),
                              END(STOP),
                              SAY(ADD("10e-1")),
                              END(STOP),
                              SAY(ADD("1")),
                              END(STOP),
                              {0}},
         "FAILED identical_calls\n",
         "GENERATE 4 4096\n<|im_end|>\n<|im_start|>tool\n<tool_response>\n{\"name\": \"add\", \"error\": "
         "\"Not run: this "
         "call gave the same result 3 times already and will not be run again. Use what is known, or do "
         "something "
         "else.\"}\n</tool_response>\n");
    /* another result each time is something new, and large numbers are not rounded */
    play(NULL,
         (struct script_op[]){TURN(0, ADD("1"), "1"),
                              TURN(1, ADD("1"), "2"),
                              TURN(2, ADD("1"), "3"),
                              TURN(3, ADD("1"), "4"),
                              TURN(4, ADD("1"), "5"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", "CALL 4.4 add {\"a\": 1}\n");
    play(NULL,
         (struct script_op[]){TURN(0, ADD("9007199254740993"), "7"),
                              TURN(1, ADD("9007199254740993"), "7"),
                              TURN(2, ADD("9007199254740993"), "7"),
                              TURN(3, ADD("9007199254740992"), "8"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", "CALL 3.3 add ");
    /* a new message of the user forgets */
    play(NULL,
         (struct script_op[]){TURN(0, ADD("1"), "7"),
                              TURN(1, ADD("1"), "7"),
                              TURN(2, ADD("1"), "7"),
                              SAY("ok"),
                              END(STOP),
                              MESSAGE("again"),
                              TURN(3, ADD("1"), "7"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", "CALL 4.3 add {\"a\": 1}\n");
    /* calls beyond those of a turn are not held against the model */
    const struct agent_limits one = {.max_calls_per_turn = 1, .max_identical_calls = 1};
    play(&one,
         (struct script_op[]){
             TURN(0, ADD("1") ADD("2"), "7"), TURN(2, ADD("2"), "8"), SAY("ok"), END(STOP), {0}},
         "DONE ok\n", "CALL 1.2 add {\"a\": 2}\n");
}

/* Results that are there before the turn ends, as they are live, and behind it, as they are in a replay. */
static void test_the_order_of_results_changes_nothing(void **state) {
    (void)state;
    const struct agent_limits two = {.max_identical_calls = 2};
    const char *told =
        "<tool_response>\n{\"name\": \"add\", \"error\": \"Not run: the same call came before in "
        "this turn.\"}";
    play(&two,
         (struct script_op[]){SAY(ADD("1")),
                              RESULT(0, OK, "1"),
                              SAY(ADD("1")),
                              RESULT(1, OK, "2"),
                              SAY(ADD("1")),
                              END(STOP),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", told);
    play(&two,
         (struct script_op[]){SAY(ADD("1")),
                              SAY(ADD("1")),
                              SAY(ADD("1")),
                              END(STOP),
                              RESULT(1, OK, "2"),
                              RESULT(0, OK, "1"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", told);
}

static void test_cycles(void **state) {
    (void)state;
    const struct agent_limits limits = {.max_cycle_repeats = 2};
    play(&limits,
         (struct script_op[]){TURN(0, ADD("1"), "1"),
                              TURN(1, ADD("2"), "1"),
                              TURN(2, ADD("1"), "1"),
                              TURN(3, ADD("2"), "1"),
                              {0}},
         "CALL 3.3 add {\"a\": 2}\nFAILED loop_detected\n", NULL);
    play(&limits,
         (struct script_op[]){TURN(0, ECHO("0"), "1"),
                              TURN(1, ADD("1"), "1"),
                              TURN(2, ADD("2"), "1"),
                              TURN(3, ADD("3"), "1"),
                              TURN(4, ECHO("1"), "1"),
                              TURN(5, ADD("1"), "1"),
                              TURN(6, ADD("2"), "1"),
                              TURN(7, ADD("3"), "1"),
                              TURN(8, ECHO("1"), "1"),
                              {0}},
         "CALL 8.8 echo {\"a\": 1}\nFAILED loop_detected\n", NULL);
    /* other results; a period of five; all in one turn; all the same */
    play(&limits,
         (struct script_op[]){TURN(0, ADD("1"), "1"),
                              TURN(1, ADD("2"), "1"),
                              TURN(2, ADD("1"), "1"),
                              TURN(3, ADD("2"), "2"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", NULL);
    play(&limits,
         (struct script_op[]){TURN(0, ADD("1"), "1"),
                              TURN(1, ADD("2"), "1"),
                              TURN(2, ADD("3"), "1"),
                              TURN(3, ADD("4"), "1"),
                              TURN(4, ADD("5"), "1"),
                              TURN(5, ADD("1"), "1"),
                              TURN(6, ADD("2"), "1"),
                              TURN(7, ADD("3"), "1"),
                              TURN(8, ADD("4"), "1"),
                              TURN(9, ADD("5"), "1"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", NULL);
    play(&limits,
         (struct script_op[]){SAY(ADD("1") ADD("2") ADD("1") ADD("2")),
                              END(STOP),
                              RESULT(3, OK, "1"),
                              RESULT(2, OK, "1"),
                              RESULT(1, OK, "1"),
                              RESULT(0, OK, "1"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", NULL);
    play(&limits,
         (struct script_op[]){TURN(0, ADD("1"), "1"),
                              TURN(1, ADD("1"), "1"),
                              TURN(2, ADD("1"), "1"),
                              TURN(3, ADD("1"), "1"),
                              TURN(4, ADD("1"), "1"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", NULL);
}

#define FAIL(n, x) SAY(ADD(x)), END(STOP), RESULT(n, ERROR, "no " x)

static void test_without_progress(void **state) {
    (void)state;
    const struct agent_limits limits = {.max_idle_calls = 3};
    play(&limits, (struct script_op[]){FAIL(0, "1"), FAIL(1, "2"), FAIL(2, "3"), {0}},
         "CALL 2.2 add {\"a\": 3}\nFAILED no_progress\n", NULL);
    play(&limits,
         (struct script_op[]){FAIL(0, "1"),
                              FAIL(1, "2"),
                              TURN(2, ADD("3"), "1"),
                              FAIL(3, "4"),
                              FAIL(4, "5"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", NULL);
    /* the same result of another call is something new (it may have been written), unless the tool only reads
     */
    play(&limits,
         (struct script_op[]){TURN(0, ADD("1"), "ok"),
                              TURN(1, ADD("2"), "ok"),
                              TURN(2, ADD("3"), "ok"),
                              TURN(3, ADD("4"), "ok"),
                              TURN(4, ADD("5"), "ok"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", NULL);
    play(&limits,
         (struct script_op[]){TURN(0, CALL("look", "1"), "none"),
                              TURN(1, CALL("look", "2"), "none"),
                              TURN(2, CALL("look", "3"), "none"),
                              TURN(3, CALL("look", "4"), "none"),
                              {0}},
         "CALL 3.3 look {\"a\": 4}\nFAILED no_progress\n", NULL);
    /* not from one turn alone: the model has read nothing of it yet */
    play(&limits,
         (struct script_op[]){SAY("<tool_call>x</tool_call><tool_call>y</tool_call><tool_call>z</tool_call>"),
                              END(STOP),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", NULL);
}

static void test_pollers(void **state) {
    (void)state;
    const struct agent_limits limits = {
        .max_identical_calls = 2, .max_cycle_repeats = 2, .max_idle_calls = 3, .max_turns = 12};
    play(&limits,
         (struct script_op[]){TURN(0, POLL, "no"),
                              TURN(1, POLL, "no"),
                              TURN(2, POLL, "no"),
                              TURN(3, POLL, "no"),
                              TURN(4, POLL, "no"),
                              TURN(5, POLL, "no"),
                              SAY("ok"),
                              END(STOP),
                              {0}},
         "DONE ok\n", "CALL 5.5 poll {\"a\": 1}\n");
    /* they neither count nor hide others */
    play(&limits,
         (struct script_op[]){TURN(0, ADD("1"), "1"),
                              TURN(1, POLL, "no"),
                              TURN(2, ADD("2"), "1"),
                              TURN(3, POLL, "no"),
                              TURN(4, ADD("1"), "1"),
                              TURN(5, POLL, "no"),
                              TURN(6, ADD("2"), "1"),
                              {0}},
         "CALL 6.6 add {\"a\": 2}\nFAILED loop_detected\n", NULL);
    const struct agent_limits four = {.max_identical_calls = 2, .max_turns = 4};
    play(&four,
         (struct script_op[]){
             TURN(0, POLL, "no"), TURN(1, POLL, "no"), TURN(2, POLL, "no"), TURN(3, POLL, "no"), {0}},
         "FAILED max_turns\n", NULL);
}

/* What the driver is given, and a sentence that says what repeats. */
static void test_what_is_said(void **state) {
    (void)state;
    const struct agent_limits limits = {.max_identical_calls = 2, .max_cycle_repeats = 3};
    struct agent *a = script_agent(&limits);
    struct agent_step s;
    for (int i = 0; i < 3; i++) {
        const char *text = i < 2 ? ADD("5") : ECHO("\"x\"");
        agent_next(a, &s);
        assert_int_equal(s.type, AGENT_STEP_GENERATE);
        assert_int_equal(s.n_forbidden, i == 2);
        assert_int_equal(agent_feed_text(a, text, strlen(text), 1), 0);
        agent_next(a, &s);
        assert_int_equal(s.type, AGENT_STEP_CALL);
        assert_int_equal(agent_feed_result(a, i, AGENT_RESULT_OK, "7", 1), 0);
        assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    }
    agent_next(a, &s);
    assert_int_equal(s.n_forbidden, 1);
    assert_string_equal(s.forbidden[0].name, "add");
    assert_string_equal(s.forbidden[0].arguments, "{\"a\": 5}");
    assert_int_equal(s.forbidden[0].since, 2);
    agent_destroy(a);

    const struct agent_limits cycle = {.max_cycle_repeats = 2};
    a = script_agent(&cycle);
    for (int i = 0; i < 4; i++) {
        const char *text = i % 2 ? ADD("5") : ECHO("\"x\"");
        agent_next(a, &s);
        assert_int_equal(agent_feed_text(a, text, strlen(text), 1), 0);
        agent_next(a, &s);
        assert_int_equal(agent_feed_result(a, i, AGENT_RESULT_OK, "7", 1), 0);
        assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    }
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_FAILED);
    assert_string_equal(s.reason, "loop_detected");
    assert_string_equal(s.text,
                        "The last 4 calls repeat with a period of 2 and give the same results: echo, add.");
    agent_destroy(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_the_whole_past),
        cmocka_unit_test(test_the_same_call),
        cmocka_unit_test(test_the_order_of_results_changes_nothing),
        cmocka_unit_test(test_cycles),
        cmocka_unit_test(test_without_progress),
        cmocka_unit_test(test_pollers),
        cmocka_unit_test(test_what_is_said),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}

/* Whose rows run when, counted step by step: nobody's next token waits for more than one budget of others,
 * clients get equal shares, priorities and who came first count, a cancel takes effect at the next step. */
#include "engine/local.h"
#include "kernels/cpu/cpu.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONTEXT   1024
#define MAX_STEPS 4000
#define N         6

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 4,
                                          .n_kv_heads = 2,
                                          .head_dim = 16,
                                          .dim = 64,
                                          .ffn_dim = 96,
                                          .n_vocab = 300,
                                          .type = DTYPE_Q8_0,
                                          .seed = 5};
static struct random_engine weights;

/* What ran, written by the engine thread. */
struct record {
    struct harness h;
    struct engine_session *s[N];
    int n_steps;
    struct {
        int rows[N], n_rows, n_decode, budget;
    } steps[MAX_STEPS];
    /* The engine waits in its first step until the test has asked for everything. */
    sem_t begun, go;
    const int *sizes; /* of steps, in turns; 0 ends them. NULL: what the machine's speed makes of them */
    double row_ns;    /* what a row is said to take, where no sizes are given; 0: what it takes */
    struct engine_session *cancel; /* is cancelled in the step that has its fifth row */
    int cancelled_in;
};

static int index_of(const struct record *r, const struct local_session *s) {
    for (int i = 0; i < N; i++)
        if (r->s[i] == &s->base)
            return i;
    abort();
}

/* Of the step after number n. */
static int size_after(const struct record *r, int n) {
    int count = 0;
    while (r->sizes != NULL && r->sizes[count] > 0)
        count++;
    return count > 0 ? r->sizes[n % count] : 0;
}

static void observe(void *arg, const struct local_engine *e) {
    struct record *r = arg;
    int total = 0;
    ((struct local_engine *)(uintptr_t)e)->always_rows = size_after(r, r->n_steps);
    if (r->row_ns > 0) /* the step that runs counts for three tenths of it, and takes next to nothing */
        ((struct local_engine *)(uintptr_t)e)->row_ns = r->row_ns;
    if (r->n_steps == 0) {
        sem_post(&r->begun);
        sem_wait(&r->go);
    }
    if (r->n_steps == MAX_STEPS)
        abort();
    for (int i = 0; i < e->step.n_rows; i++)
        r->steps[r->n_steps].rows[index_of(r, e->step.owners[e->step.rows[i].table])]++;
    r->steps[r->n_steps].n_rows = e->step.n_rows;
    r->steps[r->n_steps].n_decode = e->step.n_decode;
    r->steps[r->n_steps].budget = e->step.budget;
    for (int i = 0; r->cancel != NULL && i <= r->n_steps; i++)
        total += r->steps[i].rows[index_of(r, (const struct local_session *)(const void *)r->cancel)];
    if (total >= 5) {
        r->cancelled_in = r->n_steps;
        engine_session_cancel(r->cancel);
        r->cancel = NULL;
    }
    r->n_steps++;
}

/* Session 0 exists and holds the engine in its first step. */
static struct record *start(int first_prompt, int first_tokens) {
    struct record *r = calloc(1, sizeof *r);
    char err[300] = "";
    assert_non_null(r);
    harness_init(&r->h);
    sem_init(&r->begun, 0, 0);
    sem_init(&r->go, 0, 0);
    struct engine_config config = {
        .max_context = CONTEXT, .n_threads = 1, .wake = harness_wake, .wake_arg = &r->h};
    if (local_open_model(&config, &weights.model, false, &r->h.engine, err, sizeof err) < 0)
        fail_msg("%s", err);
    struct local_engine *e = (struct local_engine *)(void *)r->h.engine;
    pthread_mutex_lock(&e->lock);
    e->observe = observe;
    e->observe_arg = r;
    pthread_mutex_unlock(&e->lock);
    r->s[0] = harness_session(&r->h);
    int32_t ids[CONTEXT];
    for (int i = 0; i < first_prompt; i++)
        ids[i] = (i * 7 + 1) % 300;
    harness_append_tokens(r->s[0], ids, (size_t)first_prompt);
    harness_generate(&r->h, r->s[0], NULL, first_tokens);
    sem_wait(&r->begun);
    return r;
}

/* One more session, with a prompt of its own. */
static void add(struct record *r, int i, int64_t client, int priority, int prompt, int tokens) {
    int32_t ids[CONTEXT];
    r->s[i] = harness_session(&r->h);
    engine_session_about(r->s[i], &(struct engine_about){.client = client, .priority = priority});
    for (int t = 0; t < prompt; t++)
        ids[t] = (t * 13 + i * 31 + t * t * i) % 300;
    harness_append_tokens(r->s[i], ids, (size_t)prompt);
    harness_generate(&r->h, r->s[i], NULL, tokens);
}

static void wait_all(struct record *r) {
    for (int i = 0; i < N; i++)
        if (r->s[i] != NULL)
            assert_true(harness_wait(&r->h, r->s[i])->done);
}

static void run(struct record *r) {
    sem_post(&r->go);
    wait_all(r);
}

static void finish(struct record *r) {
    harness_finish(&r->h);
    sem_destroy(&r->begun);
    sem_destroy(&r->go);
    free(r);
}

/* Rows of session i up to and with step `step`. */
static int rows_until(const struct record *r, int i, int step) {
    int n = 0;
    for (int k = 0; k <= step; k++)
        n += r->steps[k].rows[i];
    return n;
}

/* Two sessions that write, and prompts of 900 tokens beside them: every step has the next token of both, and
 * beside them no more than a budget. */
static void test_long_prompts_delay_nobody(void **state) {
    (void)state;
    struct record *r = start(20, 300);
    add(r, 1, 0, 0, 10, 280);
    for (int i = 2; i < 5; i++)
        add(r, i, 0, 0, 900, 2);
    run(r);
    int from = 0, beside = 0;
    while (rows_until(r, 0, from) < 20 || rows_until(r, 1, from) < 10)
        from++;
    for (int k = from + 1; k < r->n_steps; k++) {
        assert_true(r->steps[k].n_rows <= r->steps[k].budget);
        /* A budget is at most what the engine was opened for, decoding rows among them. */
        assert_true(r->steps[k].budget <= CPU_STEP_ROWS);
        if (rows_until(r, 0, k - 1) < 20 + 299)
            assert_int_equal(r->steps[k].rows[0], 1);
        if (rows_until(r, 1, k - 1) < 10 + 279)
            assert_int_equal(r->steps[k].rows[1], 1);
        beside += r->steps[k].n_decode == 2 && r->steps[k].n_rows > 2;
    }
    assert_true(beside > 2); /* prompts were read meanwhile, in more than one step */
    finish(r);
}

/* A budget is what takes LOCAL_MIXED_STEP_NS beside sessions that write, and LOCAL_STEP_NS where nobody waits
 * for a token. */
static void test_budgets(void **state) {
    (void)state;
    for (int alone = 0; alone < 2; alone++) {
        struct record *r = start(20, alone ? 1 : 100);
        int seen = 0, most = (int)(LOCAL_MIXED_STEP_NS / 0.7e6);
        r->row_ns = 1e6;
        for (int i = 1; i < 3; i++)
            add(r, i, 0, 0, 900, 1);
        run(r);
        for (int k = 1; k < r->n_steps; k++)
            if (r->steps[k].n_rows > 2 && r->steps[k].n_decode > 0) {
                assert_true(r->steps[k].budget <= most + r->steps[k].n_decode);
                seen += !alone;
            } else if (alone) { /* but for one in which the machine did something else */
                seen += r->steps[k].budget > 2 * most;
            }
        assert_true(seen > 2);
        finish(r);
    }
}

/* Three long prompts of one client and one of another: while both have some left, neither is ahead by more
 * than a step and what the share for lower priorities brings it. */
static void test_clients_get_equal_shares(void **state) {
    (void)state;
    struct record *r = start(8, 1);
    for (int i = 1; i < 4; i++)
        add(r, i, 1, 0, 600, 1);
    add(r, 4, 2, 0, 500, 1);
    add(r, 5, 2, -1, 100, 1); /* of a lower priority: what it gets counts for its client all the same */
    run(r);
    for (int k = 1; k < r->n_steps && rows_until(r, 4, k) < 500; k++) {
        int one = rows_until(r, 1, k) + rows_until(r, 2, k) + rows_until(r, 3, k),
            two = rows_until(r, 4, k) + rows_until(r, 5, k);
        assert_in_range(one - two + CPU_STEP_ROWS + 100, 0, 2 * CPU_STEP_ROWS + 100);
    }
    finish(r);
}

/* All rows of the steps 1 … step; the first step is the one that was held. */
static int all_rows_until(const struct record *r, int step) {
    int n = 0;
    for (int k = 1; k <= step; k++)
        n += r->steps[k].n_rows;
    return n;
}

/* Steps of a fast machine, of a slow one, and of one that does other work too. */
static const int fast[] = {CPU_STEP_ROWS, 0}, slow[] = {LOCAL_MIN_ROWS, 0},
                 busy[] = {20, 87, 154, 221, 48, 115, 256, 30, 16, 200, 0};
static const int *const sizes[] = {fast, slow, busy};
#define N_SIZES 3
/* Rows of the share that may be outstanding: a piece that is too small yet, and what one step adds to it. */
#define OUTSTANDING (LOCAL_MIN_ROWS + CPU_STEP_ROWS / (LOCAL_LOW_SHARE - 1))

/* The last one to ask has the highest priority: it gets all rows but one of LOCAL_LOW_SHARE, which go to the
 * others in turns. */
static void test_priorities(void **state) {
    (void)state;
    for (int size = 0; size < N_SIZES; size++) {
        struct record *r = start(8, 1);
        r->sizes = sizes[size];
        add(r, 1, 1, -3, 500, 1);
        add(r, 2, 1, 0, 500, 1);
        add(r, 3, 2, 0, 300, 1);
        add(r, 4, 1, 5, 1000, 1);
        run(r);
        int k = 1;
        for (; rows_until(r, 4, k) < 1000; k++) {
            int share = all_rows_until(r, k) / LOCAL_LOW_SHARE, lower = 0;
            for (int i = 1; i < 4; i++)
                lower += rows_until(r, i, k);
            assert_in_range(lower, 0, share);
            assert_true(lower + OUTSTANDING >= share);
        }
        for (int i = 1; i < 4; i++)
            assert_true(rows_until(r, i, k) >= LOCAL_MIN_ROWS);
        int from = k, before = rows_until(r, 1, k);
        for (; rows_until(r, 2, k) < 500 || rows_until(r, 3, k) < 300; k++)
            assert_in_range(rows_until(r, 1, k) - before, 0,
                            (all_rows_until(r, k) - all_rows_until(r, from)) / LOCAL_LOW_SHARE + OUTSTANDING);
        finish(r);
    }
}

/* Whatever of a higher priority there is to read: a prompt of the lowest one is read in the time that
 * LOCAL_LOW_SHARE of it take, times those it shares with. */
static void test_nobody_starves(void **state) {
    (void)state;
    for (int size = 0; size < N_SIZES; size++) {
        struct record *r = start(8, 1);
        r->sizes = sizes[size];
        add(r, 1, 1, -10, 100, 1);
        for (int i = 2; i < 6; i++)
            add(r, i, 1, i == 5 ? 3 : 10, 900, 1);
        run(r);
        int k = 1;
        while (rows_until(r, 1, k) < 100)
            k++;
        assert_true(rows_until(r, 2, k) + rows_until(r, 3, k) + rows_until(r, 4, k) < 2700);
        /* The two take turns in the share; pieces are not of one size. */
        assert_in_range(all_rows_until(r, k), 100 * LOCAL_LOW_SHARE,
                        (2 * 100 + OUTSTANDING) * LOCAL_LOW_SHARE * 5 / 4);
        finish(r);
    }
}

/* A session that comes back, with a tool's result perhaps, goes before those that were made after it. */
static void test_who_came_first_goes_on_first(void **state) {
    (void)state;
    struct record *r = start(8, 1);
    int32_t ids[400];
    for (int i = 0; i < 400; i++)
        ids[i] = (i * 3 + 7) % 300;
    add(r, 1, 1, 0, 100, 1);
    engine_session_cancel(r->s[1]); /* before any of it ran */
    for (int i = 2; i < 5; i++)
        add(r, i, 1, 0, 900, 1);
    sem_post(&r->go);
    (void)harness_wait(&r->h, r->s[1]);
    harness_append_tokens(r->s[1], ids, 400);
    harness_generate(&r->h, r->s[1], NULL, 1);
    wait_all(r);
    for (int k = 1; k < r->n_steps; k++)
        if (rows_until(r, 1, k) > 0 && rows_until(r, 1, k) < 500) /* session 0 may have its last row left */
            assert_int_equal(r->steps[k].rows[1] + r->steps[k].rows[0], r->steps[k].n_rows);
    finish(r);
}

/* Cancelled while a step runs: no later step has a row of it, and others go on. */
static void test_cancel_within_one_step(void **state) {
    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        struct record *r = start(20, 60);
        add(r, 1, 0, 0, pass == 0 ? 2 : 700, 100); /* while it writes, and while it is read */
        r->cancel = r->s[1];
        run(r);
        assert_int_equal(harness_outcome(&r->h, r->s[1])->last.finish, ENGINE_FINISH_CANCELLED);
        assert_int_equal(harness_outcome(&r->h, r->s[0])->n_tokens, 60);
        assert_true(r->cancelled_in > 0 && rows_until(r, 1, r->cancelled_in) >= 5);
        for (int k = r->cancelled_in + 1; k < r->n_steps; k++)
            assert_int_equal(r->steps[k].rows[1], 0);
        finish(r);
    }
}

/* More clients in the course of time than there can be sessions at once. */
static void test_clients_come_and_go(void **state) {
    (void)state;
    struct harness h;
    char err[300] = "";
    int32_t ids[40] = {1, 2, 3};
    harness_init(&h);
    struct engine_config config = {
        .max_context = CONTEXT, .max_sessions = 2, .n_threads = 1, .wake = harness_wake, .wake_arg = &h};
    if (local_open_model(&config, &weights.model, false, &h.engine, err, sizeof err) < 0)
        fail_msg("%s", err);
    for (int i = 0; i < 12; i++) {
        struct engine_session *s[2];
        for (int k = 0; k < 2; k++) {
            s[k] = harness_session(&h);
            engine_session_about(s[k], &(struct engine_about){.client = i * 2 + k});
            ids[0] = i * 2 + k;
            harness_append_tokens(s[k], ids, 40);
            harness_generate(&h, s[k], NULL, 2);
        }
        for (int k = 0; k < 2; k++) {
            assert_int_equal(harness_wait(&h, s[k])->n_tokens, 2);
            harness_destroy(&h, s[k]);
        }
    }
    struct local_engine *e = (struct local_engine *)(void *)h.engine;
    pthread_mutex_lock(&e->lock);
    assert_int_equal(e->n_clients, 2);
    pthread_mutex_unlock(&e->lock);
    harness_finish(&h);
}

static int setup(void **state) {
    (void)state;
    random_engine_init(&weights, &shape, CONTEXT);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    random_engine_finish(&weights);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_prompts_delay_nobody),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_clients_get_equal_shares),
        cmocka_unit_test(test_clients_come_and_go),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_nobody_starves),
        cmocka_unit_test(test_who_came_first_goes_on_first),
        cmocka_unit_test(test_cancel_within_one_step),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

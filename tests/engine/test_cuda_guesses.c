/* Guessed tokens on the GPU as it runs models. A row alone and a row among guessed ones are computed by other
 * kernels (kernels/kernels.h), so the text may be another one, but only where two tokens are nearly as
 * likely: real models, real prompts, the bound of test_cuda_greedy.c. test_cuda_engine.c has products in F32,
 * where it is the same text. */
#include "engine/local.h"
#include "tests/engine/cuda_module.h"
#include "tests/engine/greedy_prompts.h"
#include "tests/engine/harness.h"
#include "tests/shared.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOKENS  48 /* of a text, at most */
#define CONTEXT 512
#define GUESSES 4
/* Of the difference of any logit: rows in batches, inputs of products in BF16. */
#define BOUND 0.2

static struct greedy_prompt prompts[GREEDY_SESSIONS];

/* Of one model. */
struct found {
    int tokens, others, near_ties, drafted, accepted;
    int rounded;  /* places where the probability has other bits */
    double worst; /* difference of the logarithm of a probability */
};

struct text {
    int32_t ids[TOKENS];
    struct engine_logprobs told[TOKENS];
    int drafted, accepted;
};

static void open_engine(struct harness *h, struct model *m) {
    const struct engine_config config = {.device = ENGINE_DEVICE_CUDA,
                                         .gpu_module = cuda_module_path(),
                                         .n_threads = 1,
                                         .max_context = CONTEXT,
                                         .max_sessions = 2,
                                         .kv_bytes = (size_t)16 << 20,
                                         .wake = harness_wake,
                                         .wake_arg = h};
    char err[400] = "";
    harness_init(h);
    if (local_open_model(&config, m, false, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
    struct local_engine *e = (struct local_engine *)(void *)h->engine;
    pthread_mutex_lock(&e->lock);
    e->always_guess = GUESSES;
    pthread_mutex_unlock(&e->lock);
}

/* The greedy tokens from number `from` to number `to`, behind a prompt and those of `of` before. */
static void write_on(struct harness *h, const struct greedy_prompt *p, const struct text *of, int from,
                     int to, bool guesses, struct text *t) {
    const struct engine_generate how = {.max_tokens = to - from,
                                        .no_speculation = !guesses,
                                        .logprobs = true,
                                        .top_logprobs = ENGINE_TOP_LOGPROBS};
    char err[300] = "";
    struct engine_session *s = harness_session(h);
    harness_append_tokens(s, p->ids, (size_t)p->n);
    if (from > 0)
        harness_append_tokens(s, of->ids, (size_t)from);
    if (engine_session_generate(s, &how, err, sizeof err) != 0)
        fail_msg("%s", err);
    const struct outcome *o = harness_wait(h, s);
    assert_int_equal(o->n_tokens, to - from);
    memcpy(t->ids + from, o->tokens, (size_t)o->n_tokens * sizeof *o->tokens);
    memcpy(t->told + from, o->logprobs, (size_t)o->n_tokens * sizeof *o->logprobs);
    t->drafted = o->last.drafted_tokens;
    t->accepted = o->last.accepted_tokens;
    harness_destroy(h, s);
}

/* How much less likely `token` is than the most likely one in its place, in logits. */
static double gap(const struct engine_logprobs *told, int32_t token) {
    for (int i = 0; i < told->n_top; i++)
        if (told->top[i].token == token)
            return (double)told->top[0].logprob - (double)told->top[i].logprob;
    return INFINITY;
}

/* The text with guesses beside the one without: it is looked at up to the first other token, then written
 * again behind the token that stood there without. */
static void compare(struct harness *h, const struct greedy_prompt *p, int tokens, struct found *f) {
    struct text *alone = calloc(1, sizeof *alone), *with = calloc(1, sizeof *with);
    assert_true(alone != NULL && with != NULL);
    write_on(h, p, NULL, 0, tokens, false, alone);
    assert_int_equal(alone->drafted, 0);
    for (int at = 0; at < tokens;) {
        write_on(h, p, alone, at, tokens, true, with);
        f->drafted += with->drafted;
        f->accepted += with->accepted;
        for (bool same = true; same && at < tokens; at++) {
            const struct engine_logprobs *told = &alone->told[at];
            same = with->ids[at] == alone->ids[at];
            double d = same ? fabs((double)with->told[at].logprob - (double)told->logprob)
                            : gap(told, with->ids[at]);
            f->tokens++;
            f->others += !same;
            f->rounded += d > 0;
            f->near_ties += gap(told, told->top[1].token) <= 2 * BOUND;
            f->worst = d > f->worst ? d : f->worst;
            if (d > 2 * BOUND)
                fail_msg("token %d: %d alone, %d with guesses, which differs by %g", at, alone->ids[at],
                         with->ids[at], d);
        }
    }
    free(alone);
    free(with);
}

static void check(const struct model *model, const char *name, int n, int tokens) {
    struct model m = *model;
    struct harness h;
    struct found f = {.tokens = 0};
    m.n_eog_ids = 0; /* so that it writes all tokens */
    m.add_bos = false;
    open_engine(&h, &m);
    for (int i = 0; i < n; i++)
        compare(&h, &prompts[i], tokens, &f);
    harness_finish(&h);
    print_message("%s: of %d tokens %d others, %d near ties; of %d guesses %d came true; %d probabilities "
                  "differ, at most by %.2g, bound %g\n",
                  name, f.tokens, f.others, f.near_ties, f.drafted, f.accepted, f.rounded, f.worst,
                  2 * BOUND);
    /* Guesses were there, and their rows are computed otherwise: without that nothing is tested. */
    assert_true(f.accepted >= 10 && f.rounded >= 10);
}

/* Two stories' first 44 tokens, and their first 14 again: much stands twice then. */
static void stories_twice(void) {
    greedy_stories(prompts);
    for (int i = 0; i < 2; i++) {
        struct greedy_prompt p = prompts[60 + i];
        memcpy(p.ids + p.n, p.ids, 14 * sizeof *p.ids);
        p.n += 14;
        prompts[i] = p;
    }
}

static void test_stories(void **state) {
    (void)state;
    struct greedy_model g;
    struct model *q8_0 = NULL;
    char path[4096], err[400] = "";
    stories_twice();
    greedy_open_stories(&g);
    check(&g.bf16.model, "stories260K in BF16", 2, TOKENS);
    greedy_close(&g);
    if (model_open_weights(shared_path(path, "models/stories260K/derived/stories260K-q8_0.gguf"), &q8_0, err,
                           sizeof err) < 0)
        fail_msg("%s", err);
    check(q8_0, "stories260K in Q8_0", 2, TOKENS);
    model_close(q8_0);
}

static void test_default_model(void **state) {
    (void)state;
    struct greedy_model g;
    greedy_open_default(&g);
    greedy_questions(g.file, prompts);
    check(&g.bf16.model, "hermes-tiny in BF16", 1, 32);
    greedy_close(&g);
}

int main(int argc, char **argv) {
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    char path[4096];
    (void)shared_path(path, "models/stories260K");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_default_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

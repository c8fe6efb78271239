/* Greedy tokens of sessions that write together, on the GPU as it runs them and on the CPU: the same where
 * there are 16 of them; of 64 sessions' all but a few, where the two best are nearly as likely. Also behind a
 * long prompt, read in batches of 64 rows and in one, by the library for large products.
 * Here most cases write some tokens each; with --whole all write 64, which takes five minutes. */
#include "tests/engine/cuda_module.h"
#include "tests/engine/greedy_prompts.h"
#include "tests/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BOUND 0.2
/* Steps where it is not 64 of each: GREEDY_SESSIONS together, and any others of the larger model. */
#define SOME_TOGETHER 8
#define SOME          16

static struct greedy_prompt prompts[GREEDY_SESSIONS];
static bool whole;

static int steps_of(int some) {
    return whole ? GREEDY_STEPS : some;
}

/* One token of 1,000, or one. */
static int most_of(int steps) {
    int n = GREEDY_SESSIONS * steps / 1000;
    return n > 1 ? n : 1;
}

static void check(const struct greedy_model *g, const char *name, int steps) {
    struct greedy_case c = {.model = &g->bf16.model,
                            .name = name,
                            .module = cuda_module_path(),
                            .prompts = prompts,
                            .n = 16,
                            .steps = steps,
                            .chunk = 64,
                            .kv_type = DTYPE_F16,
                            .bound = BOUND};
    greedy_check(&c, 0);
    c.n = GREEDY_SESSIONS;
    c.steps = steps_of(SOME_TOGETHER);
    greedy_check(&c, most_of(c.steps));
}

static void test_stories(void **state) {
    (void)state;
    struct greedy_model g;
    greedy_open_stories(&g);
    greedy_stories(prompts);
    check(&g, "stories260K", GREEDY_STEPS);
    greedy_close(&g);
}

static void test_default_model(void **state) {
    (void)state;
    struct greedy_model g;
    greedy_open_default(&g);
    greedy_questions(g.file, prompts);
    check(&g, "hermes-tiny", steps_of(SOME));
    greedy_close(&g);
}

static void test_conversation(void **state) {
    (void)state;
    struct greedy_model g;
    greedy_open_default(&g);
    greedy_whole(&prompts[0]);
    struct greedy_case c = {.model = &g.bf16.model,
                            .name = "hermes-tiny",
                            .module = cuda_module_path(),
                            .prompts = prompts,
                            .n = 1,
                            .steps = steps_of(SOME),
                            .chunk = 64,
                            .kv_type = DTYPE_F16,
                            .bound = BOUND};
    greedy_check(&c, 0);
    c.chunk = GREEDY_PROMPT;
    greedy_check(&c, 0);
    greedy_close(&g);
}

int main(int argc, char **argv) {
    char path[4096];
    if (argc > 1 && (argc > 2 || strcmp(argv[1], "--whole") != 0)) {
        (void)fprintf(stderr, "usage: %s [--whole]\n", argv[0]);
        return 2;
    }
    whole = argc > 1;
    (void)shared_path(path, "models/stories260K");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_default_model),
        cmocka_unit_test(test_conversation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

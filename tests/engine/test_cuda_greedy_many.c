/* Greedy tokens of sessions that write together, on the GPU as it runs them and on the CPU: the same over 64
 * steps where there are 16 of them; of 64 sessions' all but a few, where the two best are nearly as likely.
 * Also behind a long prompt, read in batches of 64 rows and in one, by the library for large products. */
#include "tests/engine/cuda_module.h"
#include "tests/engine/greedy_prompts.h"
#include "tests/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BOUND 0.2
/* One token of 1,000. */
#define MOST (GREEDY_SESSIONS * GREEDY_STEPS / 1000)

static struct greedy_prompt prompts[GREEDY_SESSIONS];

static void check(const struct greedy_model *g, const char *name) {
    struct greedy_case c = {.model = &g->bf16.model,
                            .name = name,
                            .module = cuda_module_path(),
                            .prompts = prompts,
                            .n = 16,
                            .chunk = 64,
                            .kv_type = DTYPE_F16,
                            .bound = BOUND};
    greedy_check(&c, 0);
    c.n = GREEDY_SESSIONS;
    greedy_check(&c, MOST);
}

static void test_stories(void **state) {
    (void)state;
    struct greedy_model g;
    greedy_open_stories(&g);
    greedy_stories(prompts);
    check(&g, "stories260K");
    greedy_close(&g);
}

static void test_default_model(void **state) {
    (void)state;
    struct greedy_model g;
    greedy_open_default(&g);
    greedy_questions(g.file, prompts);
    check(&g, "hermes-tiny");
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
                            .chunk = 64,
                            .kv_type = DTYPE_F16,
                            .bound = BOUND};
    greedy_check(&c, 0);
    c.chunk = GREEDY_PROMPT;
    greedy_check(&c, 0);
    greedy_close(&g);
}

int main(void) {
    char path[4096];
    (void)shared_path(path, "models/stories260K");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_default_model),
        cmocka_unit_test(test_conversation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

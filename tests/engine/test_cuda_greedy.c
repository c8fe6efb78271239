/* Greedy tokens of real models in BF16 as they run, on the GPU and on the CPU: 64 steps behind real prompts,
 * one session at a time. test_cuda_greedy_many.c has many together, and a long prompt. */
#include "tests/engine/cuda_module.h"
#include "tests/engine/greedy_prompts.h"
#include "tests/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Both sum the same numbers in F32, in other orders. */
#define EXACT 2e-4
/* Attention rounds queries and softmax weights to F16. */
#define ALONE 0.04
/* Several rows: inputs of products become BF16. */
#define ROUNDED 0.2

static struct greedy_prompt prompts[GREEDY_SESSIONS];

static struct greedy_case of(const struct greedy_model *g, const char *name) {
    return (struct greedy_case){
        .model = &g->bf16.model, .name = name, .module = cuda_module_path(), .kv_type = DTYPE_F16};
}

/* A row by itself: with weights in BF16, products are those of an exact device, bit by bit; two together are
 * not. */
static void test_a_row_by_itself_is_not_rounded(void **state) {
    (void)state;
    struct greedy_model g;
    greedy_open_stories(&g);
    greedy_stories(prompts);
    struct greedy_case c = of(&g, "stories260K");
    c.prompts = &prompts[30];
    for (int half = 0; half < 2; half++) {
        c.kv_type = half ? DTYPE_F16 : DTYPE_F32;
        c.n = c.chunk = 1;
        assert_int_equal(greedy_rounded(&c), 0);
        c.n = 2;
        assert_true(greedy_rounded(&c) > GREEDY_STEPS);
    }
    greedy_close(&g);
}

/* The same 64 tokens for every prompt: read row by row, with keys in F32 and in F16; and read as prompts
 * are, in batches. */
static void one_at_a_time(struct greedy_case *c, int n, int chunk, double bound) {
    const struct greedy_prompt *first = c->prompts;
    c->n = 1;
    c->chunk = chunk;
    c->bound = bound;
    for (int i = 0; i < n; i++) {
        c->prompts = first + i;
        greedy_check(c, 0);
    }
    c->prompts = first;
}

static void check_model(struct greedy_case *c) {
    c->prompts = prompts + 20;
    c->kv_type = DTYPE_F32;
    one_at_a_time(c, 1, 1, EXACT);
    c->kv_type = DTYPE_F16;
    one_at_a_time(c, 2, 1, ALONE);
    one_at_a_time(c, 2, 64, ROUNDED);
}

static void test_stories(void **state) {
    (void)state;
    struct greedy_model g;
    greedy_open_stories(&g);
    greedy_stories(prompts);
    struct greedy_case c = of(&g, "stories260K");
    check_model(&c);
    greedy_close(&g);
}

static void test_default_model(void **state) {
    (void)state;
    struct greedy_model g;
    greedy_open_default(&g);
    greedy_questions(g.file, prompts);
    struct greedy_case c = of(&g, "hermes-tiny");
    check_model(&c);
    greedy_close(&g);
}

int main(void) {
    char path[4096];
    (void)shared_path(path, "models/stories260K");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_by_itself_is_not_rounded),
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_default_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Real weights against another program: stories260K in every container and element type against a float64 run
 * of the same model (shared data). */
#include "engine/local.h"
#include "tests/engine/harness.h"
#include "tests/engine/logits.h"
#include "tests/shared.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Greedy tokens of the engine itself (pages, batches, F16 keys and values, 8-bit inputs for Q8_0): how many
 * agree with the reference before the first that does not. */
static int greedy_agreement(const char *path, bool exact, const int32_t *ids, int n_prompt, int n_all) {
    struct harness h;
    harness_init(&h);
    struct model *m = NULL;
    char err[300] = "";
    if (model_open_weights(path, &m, err, sizeof err) < 0)
        fail_msg("%s: %s", path, err);
    m->n_eog_ids = 0;
    m->add_bos = false;
    struct engine_config config = {.n_threads = 2, .wake = harness_wake, .wake_arg = &h};
    if (local_open_model(&config, m, exact, &h.engine, err, sizeof err) < 0)
        fail_msg("%s: %s", path, err);
    struct engine_session *s = harness_session(&h);
    harness_append_tokens(s, ids, (size_t)n_prompt);
    harness_generate(&h, s, NULL, n_all - n_prompt);
    struct outcome *o = harness_wait(&h, s);
    int same = 0;
    while (same < o->n_tokens && o->tokens[same] == ids[n_prompt + same])
        same++;
    harness_finish(&h);
    model_close(m);
    return same;
}

struct stored {
    const char *file;
    double logits; /* bound of the largest difference of a logit (they span about -14 to 17) */
    bool greedy;   /* the same greedy ids to the end; otherwise the rounding of the weights may part them */
};

/* All but F32 store other weights than the reference had; their bounds are what that rounding makes of
 * the logits. */
static const struct stored stories[] = {
    {"stories260K-f32.gguf", 2e-4, true},  {"hf-f32", 2e-4, true},
    {"hf-f32-sharded", 2e-4, true},        {"stories260K-f16.gguf", 3e-2, true},
    {"stories260K-bf16.gguf", 0.3, false}, {"hf-bf16", 0.3, false},
    {"stories260K-q8_0.gguf", 0.4, false}, {"stories260K-q5_1.gguf", 2.5, false},
    {"stories260K-q4_0.gguf", 5.0, false},
};

static void test_stories_in_every_container(void **state) {
    (void)state;
    char path[4096], name[128];
    cJSON *reference = logits_read_json(shared_path(path, "models/stories260K/reference-greedy.json"));
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
        (void)snprintf(name, sizeof name, "models/stories260K/derived/%s", stories[i].file);
        (void)shared_path(path, name);
        const cJSON *run;
        cJSON_ArrayForEach(run, cJSON_GetObjectItem(reference, "runs")) {
            int32_t prompt[LOGITS_MAX_IDS], all[LOGITS_MAX_IDS];
            int n = logits_read_ids(cJSON_GetObjectItem(run, "prompt_ids"), prompt);
            int n_all = logits_read_ids(cJSON_GetObjectItem(run, "greedy_ids"), all);
            double d = logits_difference(path, prompt, n, cJSON_GetObjectItem(run, "last_prompt_logits"));
            int exact = greedy_agreement(path, true, all, n, n_all);
            int fast = greedy_agreement(path, false, all, n, n_all);
            print_message("%-22s logits within %.2g, greedy tokens %d (exact) %d (fast) of %d\n",
                          stories[i].file, d, exact, fast, n_all - n);
            if (d > stories[i].logits)
                fail_msg("%s: a logit differs by %g, bound %g", stories[i].file, d, stories[i].logits);
            assert_true(exact >= 5 && fast >= 5);
            if (stories[i].greedy) {
                assert_int_equal(exact, n_all - n);
                assert_true(fast >= 30); /* F16 keys may turn a near tie */
            }
        }
    }
    cJSON_Delete(reference);
}

int main(void) {
    char path[4096];
    (void)shared_path(path, "models/stories260K");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories_in_every_container),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Real weights against other programs: stories260K in every container and type against a float64 run, and a
 * random Llama with Llama-3.1 RoPE scaling against transformers. */
#include "base/json.h"
#include "engine/cli_logits.h"
#include "engine/local.h"
#include "tests/engine/harness.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_IDS 600

static cJSON *read_json(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    struct buf text;
    buf_init(&text, (size_t)16 << 20);
    char block[4096];
    size_t n;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        assert_int_equal(buf_append(&text, block, n), 0);
    (void)fclose(f);
    cJSON *json = NULL;
    char err[300] = "";
    struct json_limits limits = {.max_bytes = (size_t)16 << 20, .max_nodes = 1000000, .max_depth = 16};
    if (json_parse(text.data, text.len, &limits, &json, err, sizeof err) < 0)
        fail_msg("%s: %s", path, err);
    buf_finish(&text);
    return json;
}

static int read_ids(const cJSON *array, int32_t *ids) {
    int n = cJSON_GetArraySize(array);
    assert_in_range(n, 1, MAX_IDS);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)cJSON_GetArrayItem(array, i)->valuedouble;
    return n;
}

/* Largest difference between engine_cli_logits() and the array. */
static double logits_difference(const char *model, const int32_t *ids, int n, const cJSON *want) {
    struct buf out;
    buf_init(&out, 1 << 20);
    char err[300] = "";
    if (engine_cli_logits(model, ids, n, 0, &out, err, sizeof err) < 0)
        fail_msg("%s: %s", model, err);
    cJSON *got = NULL;
    assert_int_equal(json_parse(out.data, out.len, &json_limits_default, &got, err, sizeof err), 0);
    const cJSON *logits = cJSON_GetObjectItem(got, "logits");
    assert_int_equal(cJSON_GetArraySize(logits), cJSON_GetArraySize(want));
    double worst = 0;
    for (int i = 0; i < cJSON_GetArraySize(want); i++)
        worst = fmax(worst, fabs(cJSON_GetArrayItem(logits, i)->valuedouble -
                                 cJSON_GetArrayItem(want, i)->valuedouble));
    cJSON_Delete(got);
    buf_finish(&out);
    return worst;
}

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

/* F16, BF16 and Q8_0 store other weights than the reference had; their bounds are what that rounding makes of
 * the logits. */
static const struct stored stories[] = {
    {"stories260K-f32.gguf", 2e-4, true},  {"hf-f32", 2e-4, true},
    {"hf-f32-sharded", 2e-4, true},        {"stories260K-f16.gguf", 3e-2, true},
    {"stories260K-bf16.gguf", 0.3, false}, {"hf-bf16", 0.3, false},
    {"stories260K-q8_0.gguf", 0.4, false},
};

static bool find_stories(char *root, size_t size) {
    const char *shared = getenv("HERMESD_SHARED");
    (void)snprintf(root, size, "%s/models/stories260K", shared != NULL ? shared : "../shared/data");
    if (access(root, R_OK) == 0)
        return true;
    print_message("skipped: no stories260K under %s (set HERMESD_SHARED)\n", root);
    return false;
}

static void test_stories_in_every_container(void **state) {
    (void)state;
    char root[4000], path[4200];
    if (!find_stories(root, sizeof root))
        skip();
    (void)snprintf(path, sizeof path, "%s/reference-greedy.json", root);
    cJSON *reference = read_json(path);
    assert_non_null(reference);
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/derived/%s", root, stories[i].file);
        const cJSON *run;
        cJSON_ArrayForEach(run, cJSON_GetObjectItem(reference, "runs")) {
            int32_t prompt[MAX_IDS], all[MAX_IDS];
            int n = read_ids(cJSON_GetObjectItem(run, "prompt_ids"), prompt);
            int n_all = read_ids(cJSON_GetObjectItem(run, "greedy_ids"), all);
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

static void test_rope_scaling_in_both_containers(void **state) {
    (void)state;
    static const char *const files[] = {"tests/data/rope-model/hf", "tests/data/rope-model/rope-model.gguf"};
    cJSON *expected = read_json("tests/data/rope-model/expected.json");
    assert_non_null(expected);
    for (int i = 0; i < 2; i++) {
        const cJSON *run;
        cJSON_ArrayForEach(run, cJSON_GetObjectItem(expected, "runs")) {
            int32_t ids[MAX_IDS];
            int n = read_ids(cJSON_GetObjectItem(run, "ids"), ids);
            double d = logits_difference(files[i], ids, n, cJSON_GetObjectItem(run, "logits"));
            if (d > 1e-4)
                fail_msg("%s: after %d tokens a logit differs by %g", files[i], n, d);
        }
    }
    cJSON_Delete(expected);
}

static void test_top_and_refusals(void **state) {
    (void)state;
    const char *model = "tests/data/rope-model/hf";
    static const int32_t ids[] = {1, 2, 63, 64};
    struct buf out;
    buf_init(&out, 1 << 16);
    char err[300] = "";
    assert_int_equal(engine_cli_logits(model, ids, 3, 2, &out, err, sizeof err), 0);
    cJSON *got = NULL;
    assert_int_equal(json_parse(out.data, out.len, &json_limits_default, &got, err, sizeof err), 0);
    const cJSON *top = cJSON_GetObjectItem(got, "top");
    assert_int_equal(cJSON_GetArraySize(top), 2);
    assert_true(cJSON_GetObjectItem(cJSON_GetArrayItem(top, 0), "logit")->valuedouble >
                cJSON_GetObjectItem(cJSON_GetArrayItem(top, 1), "logit")->valuedouble);
    assert_int_equal(cJSON_GetObjectItem(got, "n_vocab")->valueint, 64);
    cJSON_Delete(got);
    assert_int_equal(engine_cli_logits(model, ids, 4, 2, &out, err, sizeof err), -EINVAL);
    assert_string_equal(err, "Token 64 is not one of the model's 64 tokens.");
    assert_int_equal(engine_cli_logits(model, ids, 0, 2, &out, err, sizeof err), -EINVAL);
    static const int32_t many[257] = {0};
    assert_int_equal(engine_cli_logits(model, many, 257, 2, &out, err, sizeof err), -E2BIG);
    assert_true(engine_cli_logits("/nonexistent.gguf", ids, 1, 2, &out, err, sizeof err) < 0);
    buf_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories_in_every_container),
        cmocka_unit_test(test_rope_scaling_in_both_containers),
        cmocka_unit_test(test_top_and_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

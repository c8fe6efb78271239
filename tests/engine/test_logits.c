/* A random Llama with Llama-3.1 RoPE scaling, in both containers, against numbers of other programs. */
#include "base/json.h"
#include "engine/cli_logits.h"
#include "tests/engine/logits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_rope_scaling_in_both_containers(void **state) {
    (void)state;
    static const char *const files[] = {"tests/data/rope-model/hf", "tests/data/rope-model/rope-model.gguf"};
    cJSON *expected = logits_read_json("tests/data/rope-model/expected.json");
    for (int i = 0; i < 2; i++) {
        const cJSON *run;
        cJSON_ArrayForEach(run, cJSON_GetObjectItem(expected, "runs")) {
            int32_t ids[LOGITS_MAX_IDS];
            int n = logits_read_ids(cJSON_GetObjectItem(run, "ids"), ids);
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
        cmocka_unit_test(test_rope_scaling_in_both_containers),
        cmocka_unit_test(test_top_and_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

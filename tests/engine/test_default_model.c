/* The default model against transformers: models/hermes-tiny.gguf and tests/data/tiny-logits.json, both
 * written by models/export.py. */
#include "tests/engine/logits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL  "models/hermes-tiny.gguf"
#define GOLDEN "tests/data/tiny-logits.json"
/* transformers adds up in F32, and so do we, in another order, over up to 1,500 tokens. */
#define TOLERANCE 5e-3

static void test_logits(void **state) {
    (void)state;
    cJSON *golden = logits_read_json(GOLDEN);
    const cJSON *prompt;
    int n_prompts = 0;
    cJSON_ArrayForEach(prompt, cJSON_GetObjectItem(golden, "prompts")) {
        int32_t ids[LOGITS_MAX_IDS];
        int n = logits_read_ids(cJSON_GetObjectItem(prompt, "ids"), ids);
        double d = logits_top_difference(MODEL, ids, n, cJSON_GetObjectItem(prompt, "top"));
        print_message("after %d tokens the best 20 logits are within %.2g\n", n, d);
        if (d > TOLERANCE)
            fail_msg("after %d tokens a logit differs by %g, bound %g; do %s and %s belong together?", n, d,
                     TOLERANCE, MODEL, GOLDEN);
        n_prompts++;
    }
    assert_true(n_prompts >= 3);
    cJSON_Delete(golden);
}

int main(void) {
    if (access(MODEL, R_OK) != 0) {
        (void)printf("skipped: there is no %s yet; models/train makes it\n", MODEL);
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

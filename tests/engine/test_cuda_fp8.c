/* FP8 folders of compressed-tensors on the emulated GPU, in batches that multiply FP8 with FP8: logits
 * against transformers, whose inputs of products were rounded as the config says
 * (tests/oracles/make_fp8_models.py). */
#include "engine/forward.h"
#include "engine/model.h"
#include "tests/engine/logits.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_ROWS 128
#define FEWEST   65 /* rows of a batch that the library multiplies */
#define STRIDE   2  /* pages of a session */

/* The same rounded numbers, but for those that sums in F32 take to the other side of a step of 4 bits; logits
 * span about -4 to 4. */
#define TOLERANCE 0.1

static const char *module_path(void) {
    static char path[4096];
    const char *build = getenv("HERMESD_BINARY_DIR");
    (void)snprintf(path, sizeof path, "%s/lib/hermes-cuda-emulated.so", build != NULL ? build : "build/dev");
    return path;
}

/* Logits of the last of n tokens: of a session that stands in the batch so often that it is large enough. */
static const float *run(struct forward *f, const int32_t *ids, int n) {
    static struct kernels_row rows[MAX_ROWS];
    static int32_t pages[FEWEST * STRIDE];
    int copies = (FEWEST + n - 1) / n;
    char err[400] = "";
    assert_true(copies * n <= MAX_ROWS && n <= STRIDE * KERNELS_PAGE_TOKENS);
    for (int i = 0; i < copies * n; i++)
        rows[i] = (struct kernels_row){.token = ids[i % n], .position = i % n, .table = i / n};
    for (int i = 0; i < copies * STRIDE; i++)
        pages[i] = i;
    const int32_t output = copies * n - 1;
    const struct kernels_batch batch = {.rows = rows,
                                        .n_rows = copies * n,
                                        .pages = pages,
                                        .pages_stride = STRIDE,
                                        .outputs = &output,
                                        .n_outputs = 1};
    if (forward_run(f, &batch, err, sizeof err) < 0)
        fail_msg("%s", err);
    return forward_logits(f, 0);
}

static double difference(const float *got, const cJSON *want) {
    double worst = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, want) {
        double d = fabs((double)*got++ - item->valuedouble);
        worst = d <= worst ? worst : d; /* also what is no number */
    }
    return worst;
}

static void check(const char *name) {
    static int32_t ids[LOGITS_MAX_IDS];
    char path[256], err[500];
    struct model *m = NULL;
    struct forward *f = NULL;
    (void)snprintf(path, sizeof path, "tests/data/%s/hf", name);
    if (model_open_weights(path, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    const struct forward_config config = {.max_rows = MAX_ROWS,
                                          .max_outputs = 1,
                                          .max_context = STRIDE * KERNELS_PAGE_TOKENS,
                                          .n_pages = FEWEST * STRIDE,
                                          .kv_type = DTYPE_F32,
                                          .gpu_module = module_path()};
    if (forward_open(m, &config, &f, err, sizeof err) < 0)
        fail_msg("%s", err);
    assert_non_null(strstr(forward_device(f), "FP8 by cuBLASLt with scales of rows"));
    (void)snprintf(path, sizeof path, "tests/data/%s/expected.json", name);
    cJSON *expected = logits_read_json(path);
    const cJSON *rounded = cJSON_GetObjectItem(expected, "activations")->child;
    const cJSON *plain = cJSON_GetObjectItem(expected, "weights")->child;
    double worst = 0, between = 0;
    for (; rounded != NULL; rounded = rounded->next, plain = plain->next) {
        int n = logits_read_ids(cJSON_GetObjectItem(rounded, "ids"), ids);
        const float *got = run(f, ids, n);
        worst = fmax(worst, difference(got, cJSON_GetObjectItem(rounded, "logits")));
        between = fmax(between, difference(got, cJSON_GetObjectItem(plain, "logits")));
    }
    print_message("%s: within %.2g of transformers with rounded inputs, %.2g of it without\n", name, worst,
                  between);
    assert_true(worst <= TOLERANCE);
    assert_true(between > 2 * worst); /* rounding is what makes the difference */
    cJSON_Delete(expected);
    forward_close(f);
    model_close(m);
}

static void test_scales_of_rows(void **state) {
    (void)state;
    check("fp8-channel");
}

static void test_scale_of_the_model(void **state) {
    (void)state;
    check("fp8-tensor");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scales_of_rows),
                                       cmocka_unit_test(test_scale_of_the_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

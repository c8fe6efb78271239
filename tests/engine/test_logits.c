/* Two small random Llamas (tests/oracles/make_models.py), in both containers, against numbers of other
 * programs. */
#include "base/json.h"
#include "engine/cli_logits.h"
#include "kernels/cpu/convert.h"
#include "tests/engine/fixture.h"
#include "tests/engine/logits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Sums in F32 against float64. */
#define TOLERANCE 1e-4
/* llama.cpp's own sums in F32; for Q8_0 it also rounds the inputs of products to 8 bits, which we do not
 * here. */
#define TOLERANCE_LLAMA_CPP      1e-4
#define TOLERANCE_LLAMA_CPP_Q8_0 0.25

/* Every run of the array in one model file. */
static void check_runs(const char *model, const cJSON *runs, double tolerance) {
    const cJSON *run;
    double worst = 0;
    assert_true(cJSON_GetArraySize(runs) >= 4);
    cJSON_ArrayForEach(run, runs) {
        int32_t ids[LOGITS_MAX_IDS];
        int n = logits_read_ids(cJSON_GetObjectItem(run, "ids"), ids);
        double d = logits_difference(model, ids, n, cJSON_GetObjectItem(run, "logits"));
        worst = d > worst ? d : worst;
        if (d > tolerance)
            fail_msg("%s: after %d tokens a logit differs by %g, bound %g", model, n, d, tolerance);
    }
    print_message("%-40s within %.2g\n", model, worst);
}

/* Half-split pairs in the folder, adjacent ones in the GGUF; a head of its own, and one that is tied; two and
 * four heads that share keys; F32, BF16 and Q8_0. */
static void test_both_containers_against_transformers(void **state) {
    (void)state;
    static const char *const names[] = {"rope-model", "tied-model"};
    for (int i = 0; i < 2; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "tests/data/%s/expected.json", names[i]);
        cJSON *expected = logits_read_json(path);
        (void)snprintf(path, sizeof path, "tests/data/%s/hf", names[i]);
        check_runs(path, cJSON_GetObjectItem(expected, "hf"), TOLERANCE);
        (void)snprintf(path, sizeof path, "tests/data/%s/%s.gguf", names[i], names[i]);
        check_runs(path, cJSON_GetObjectItem(expected, "gguf"), TOLERANCE);
        cJSON_Delete(expected);
    }
}

/* The same GGUF files as llama.cpp reads them (tests/oracles/llama_cpp_logits.py). */
static void test_gguf_against_llama_cpp(void **state) {
    (void)state;
    cJSON *rope = logits_read_json("tests/data/rope-model/llama_cpp.json");
    cJSON *tied = logits_read_json("tests/data/tied-model/llama_cpp.json");
    check_runs("tests/data/rope-model/rope-model.gguf", cJSON_GetObjectItem(rope, "runs"),
               TOLERANCE_LLAMA_CPP);
    check_runs("tests/data/tied-model/tied-model.gguf", cJSON_GetObjectItem(tied, "runs"),
               TOLERANCE_LLAMA_CPP_Q8_0);
    cJSON_Delete(rope);
    cJSON_Delete(tied);
}

/* ---- a folder whose matrices are F16 ---- */

static char *read_whole(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *len = fread(bytes, 1, 1 << 20, f);
    (void)fclose(f);
    return bytes;
}

/* The F32 tensors of one safetensors file as F16 in another, in the same order. */
static void write_halves(const char *from, const char *to) {
    size_t len = 0, at = 0;
    char err[300];
    char *bytes = read_whole(from, &len);
    uint64_t header, n_values;
    memcpy(&header, bytes, 8);
    n_values = (len - 8 - header) / 4;
    cJSON *json = NULL;
    assert_int_equal(json_parse(bytes + 8, header, &json_limits_default, &json, err, sizeof err), 0);
    cJSON *entry;
    cJSON_ArrayForEach(entry, json) {
        cJSON *offsets = cJSON_GetObjectItem(entry, "data_offsets");
        if (offsets == NULL)
            continue;
        assert_string_equal(json_get_string(entry, "dtype"), "F32");
        cJSON_SetValuestring(cJSON_GetObjectItem(entry, "dtype"), "F16");
        for (cJSON *o = offsets->child; o != NULL; o = o->next)
            cJSON_SetNumberValue(o, o->valuedouble / 2);
    }
    char *text = cJSON_PrintUnformatted(json);
    uint64_t text_len = strlen(text);
    char *out = malloc(8 + text_len + n_values * 2);
    assert_non_null(out);
    memcpy(out, &text_len, 8);
    memcpy(out + 8, text, text_len);
    for (at = 0; at < n_values; at++) {
        float v;
        memcpy(&v, bytes + 8 + header + at * 4, 4);
        uint16_t half = convert_f32_to_f16(v);
        memcpy(out + 8 + text_len + at * 2, &half, 2);
    }
    fixture_write(to, out, 8 + text_len + n_values * 2);
    free(out);
    free(text);
    free(bytes);
    cJSON_Delete(json);
}

/* Weights of the golden run rounded to 11 bits; logits span about -4 to 4. */
#define TOLERANCE_HALVES 0.02

static void test_a_folder_in_halves(void **state) {
    (void)state;
    char folder[256], config[512], weights[512];
    size_t len = 0;
    fixture_path(folder, "halves");
    (void)snprintf(config, sizeof config, "%s/config.json", folder);
    (void)snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    (void)mkdir(folder, 0700);
    char *text = read_whole("tests/data/rope-model/hf/config.json", &len);
    fixture_write(config, text, len);
    free(text);
    write_halves("tests/data/rope-model/hf/model.safetensors", weights);
    cJSON *expected = logits_read_json("tests/data/rope-model/expected.json");
    check_runs(folder, cJSON_GetObjectItem(expected, "hf"), TOLERANCE_HALVES);
    cJSON_Delete(expected);
    assert_int_equal(unlink(config) | unlink(weights), 0);
    assert_int_equal(rmdir(folder), 0);
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
        cmocka_unit_test(test_both_containers_against_transformers),
        cmocka_unit_test(test_gguf_against_llama_cpp),
        cmocka_unit_test(test_a_folder_in_halves),
        cmocka_unit_test(test_top_and_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* FP8 folders of compressed-tensors (tests/oracles/make_fp8_models.py): logits against transformers, and what
 * is refused. */
#include "engine/model.h"
#include "tests/engine/fixture.h"
#include "tests/engine/logits.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Sums in F32 against float64, of the same decoded weights. */
#define TOLERANCE 1e-4
/* A device that rounds the inputs of products to FP8 too (3 bits of mantissa); logits span about -4 to 4. */
#define TOLERANCE_ROUNDED 1.0

static char folder[256];

static void check_runs(const char *model, const cJSON *runs, double tolerance) {
    const cJSON *run;
    double worst = 0;
    assert_true(cJSON_GetArraySize(runs) >= 4);
    cJSON_ArrayForEach(run, runs) {
        int32_t ids[LOGITS_MAX_IDS];
        int n = logits_read_ids(cJSON_GetObjectItem(run, "ids"), ids);
        worst = fmax(worst, logits_difference(model, ids, n, cJSON_GetObjectItem(run, "logits")));
    }
    print_message("%-40s within %.2g\n", model, worst);
    if (worst > tolerance)
        fail_msg("%s: a logit differs by %g, bound %g", model, worst, tolerance);
}

/* One scale per row, two shards; one per matrix, static activations. */
static void test_against_transformers(void **state) {
    (void)state;
    static const char *const names[] = {"fp8-channel", "fp8-tensor"};
    for (int i = 0; i < 2; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "tests/data/%s/expected.json", names[i]);
        cJSON *expected = logits_read_json(path);
        (void)snprintf(path, sizeof path, "tests/data/%s/hf", names[i]);
        check_runs(path, cJSON_GetObjectItem(expected, "weights"), TOLERANCE);
        check_runs(path, cJSON_GetObjectItem(expected, "activations"), TOLERANCE_ROUNDED);
        cJSON_Delete(expected);
    }
}

/* What devices hear of the inputs: of the first and the last matrix of a layer. */
static void check_inputs(const char *path, bool own, bool by_row) {
    struct model *m = NULL;
    char err[500];
    if (model_open_weights(path, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    const struct tensor *all[] = {&m->layers[0].wq, &m->layers[m->n_layers - 1].w_down};
    for (int i = 0; i < 2; i++) {
        float scale = all[i]->input_scale;
        assert_true(own ? scale > 0 && scale < 1 : scale == (by_row ? TENSOR_INPUT_BY_ROW : 0));
    }
    model_close(m);
}

/* ---- copies of fp8-tensor with a lie ---- */

#define TRUE_FOLDER "tests/data/fp8-tensor/hf"
#define C           "config.json"
#define S           "model.safetensors"
#define Q           "model.layers.0.self_attn.q_proj."

static int try_open(char err[500]) {
    struct model *m = NULL;
    err[0] = '\0';
    int rc = model_open_weights(folder, &m, err, 500);
    if (rc < 0 && (m != NULL || strlen(err) < 20 || err[strlen(err) - 1] != '.'))
        fail_msg("the refusal is no sentence: '%s'", err);
    model_close(m);
    return rc;
}

/* The n-th (from 0) `was` of the file becomes `is`; the header's length of safetensors follows. */
static void lie(const char *name, int n, const char *was, const char *is) {
    size_t len = 0, a = strlen(was), b = strlen(is);
    char *bytes = fixture_read_in(TRUE_FOLDER, name, &len), *at = bytes;
    for (; n >= 0; n--) {
        at = memmem(at + 1, len - (size_t)(at + 1 - bytes), was, a);
        if (at == NULL)
            fail_msg("%s has no '%s'", name, was);
    }
    memmove(at + b, at + a, len - (size_t)(at - bytes) - a);
    memcpy(at, is, b);
    len = len - a + b;
    if (strcmp(name, S) == 0) {
        uint64_t header;
        memcpy(&header, bytes, 8);
        header = header - a + b;
        memcpy(bytes, &header, 8);
    }
    fixture_write_in(folder, name, bytes, len);
    free(bytes);
}

static void restore(const char *name) {
    size_t len = 0;
    char *bytes = fixture_read_in(TRUE_FOLDER, name, &len);
    fixture_write_in(folder, name, bytes, len);
    free(bytes);
}

static const struct {
    const char *file;
    int n;
    const char *was, *is;
    int rc;
    const char *says;
} lies[] = {
    {C, 0, "\"compressed-tensors\"", "\"gptq\"", -ENOTSUP, "quant_method 'gptq'"},
    {C, 0, "\"compressed-tensors\"", "\"fp8\"", -ENOTSUP, "quant_method 'fp8'"},
    {C, 0, "\"compressed-tensors\"", "5", -ENOTSUP, "quant_method '(none)'"},
    {C, 0, "\"naive-quantized\"", "\"pack-quantized\"", -ENOTSUP, "format 'pack-quantized'"},
    {C, 0, "\"naive-quantized\"", "\"float-quantized\"", 0, ""},
    {C, 0, "\"num_bits\": 8", "\"num_bits\": 4", -ENOTSUP, "input_activations of num_bits '4'"},
    {C, 1, "\"num_bits\": 8", "\"num_bits\": 4", -ENOTSUP, "weights of num_bits '4'"},
    {C, 1, "\"num_bits\": 8", "\"num_bits\": null", -ENOTSUP, "weights of num_bits '(none)'"},
    {C, 1, "\"type\": \"float\"", "\"type\": \"int\"", -ENOTSUP, "weights of type 'int'"},
    {C, 1, "\"symmetric\": true", "\"symmetric\": false", -ENOTSUP, "symmetric 'false'"},
    {C, 1, "\"strategy\": \"tensor\"", "\"strategy\": \"block\"", -ENOTSUP, "weights of strategy 'block'"},
    {C, 0, "\"strategy\": \"tensor\"", "\"strategy\": \"group\"", -ENOTSUP, "input_activations of strategy"},
    {C, 0, "\"strategy\": \"tensor\"", "\"strategy\": \"token\"", 0, ""},
    {C, 0, "\"config_groups\": {", "\"config_groups\": {}, \"x\": {", -EINVAL, "config_groups"},
    {C, 0, "\"config_groups\": {", "\"config_groups\": {\"a\": 5, ", -ENOTSUP, "weights of num_bits"},
    {C, 0, "\"ignore\"", "\"sparsity_config\": {\"format\": \"sparse-24\"}, \"ignore\"", -ENOTSUP,
     "'sparse-24'"},
    {C, 0, "\"compressed-tensors\"", "\"fbgemm_fp8\"", -ENOTSUP, "quant_method 'fbgemm_fp8'"},
    {C, 0, "\"config_groups\": {\n   \"group_0\": {",
     "\"config_groups\": {\"group_0\": {\"format\": \"pack-quantized\", ", -ENOTSUP,
     "a group of format 'pack-quantized'"},
    {C, 0, "\"config_groups\": {\n   \"group_0\": {",
     "\"config_groups\": {\"group_0\": {\"format\": \"naive-quantized\", ", 0, ""},
    {C, 0, "\"dynamic\": false", "\"dynamic\": \"local\"", -ENOTSUP, "input_activations of dynamic 'local'"},
    {C, 0, "\"ignore\"",
     "\"transform_config\": {\"config_groups\": {\"R1\": {\"type\": \"hadamard\"}}}, \"ignore\"", -ENOTSUP,
     "transform_config 'R1'"},
    {C, 0, "\"ignore\"", "\"transform_config\": {}, \"ignore\"", 0, ""},
    {C, 0, "\"kv_cache_scheme\": null", "\"kv_cache_scheme\": {\"num_bits\": 8, \"type\": \"float\"}", 0, ""},
    {C, 0, "\"ignore\"", "\"sparsity_config\": {\"format\": \"dense\"}, \"ignore\"", 0, ""},
    {C, 0, "\"quantization_config\"", "\"quantization_confit\"", -EINVAL, "has no quantization_config"},
    {S, 0, Q "weight_scale", "model.layers.0.self_attn.k_scale", -EINVAL, Q "weight of model"},
    {S, 0, Q "weight_scale", "model.layers.0.self_attn.k_scale", -EINVAL, "has no weight_scale"},
    {S, 0, Q "weight_scale", Q "weight_scales", -ENOTSUP, "Tensor '" Q "weight_scales'"},
    {S, 0, Q "weight_scale", "model.layers.0.self_attn.z_proj.weight_scale", -ENOTSUP,
     "z_proj.weight_scale'"},
    {S, 0, Q "weight_scale", "model.layers.0.input_layernorm.weight_scale", -ENOTSUP,
     "input_layernorm.weight_scale'"},
    {S, 0, Q "input_scale", "model.layers.0.self_attn.v_scale", 0, ""},
    {S, 0, Q "input_scale", Q "inputs_scale", -ENOTSUP, "Tensor '" Q "inputs_scale'"},
    {S, 0, Q "weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[32,32]",
     Q "weight\":{\"dtype\":\"F16\",\"shape\":[16,32]", -EINVAL, "is not F8_E4M3"},
    {S, 0, Q "weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[32,32]",
     Q "weight\":{\"dtype\":\"F8_E5M2\",\"shape\":[32,32]", -ENOTSUP, "F8_E5M2"},
    {S, 0, Q "weight_scale\":{\"dtype\":\"BF16\",\"shape\":[1]",
     Q "weight_scale\":{\"dtype\":\"BF16\",\"shape\":[]", 0, ""},
    {S, 0, Q "weight_scale\":{\"dtype\":\"BF16\",\"shape\":[1]",
     Q "weight_scale\":{\"dtype\":\"F32\",\"shape\":[1]", -EINVAL, "data_offsets do not fit"},
    {S, 0, Q "weight_scale\":{\"dtype\":\"BF16\",\"shape\":[1]",
     Q "weight_scale\":{\"dtype\":\"F8_E4M3\",\"shape\":[2]", -EINVAL, "weight_scale should be one number"},
    {S, 0, Q "weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[32,32]",
     Q "weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[]", -EINVAL, "shape should be"},
};

static void test_each_lie_is_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        char err[500];
        lie(lies[i].file, lies[i].n, lies[i].was, lies[i].is);
        int rc = try_open(err);
        if (rc != lies[i].rc || strstr(err, lies[i].says) == NULL)
            fail_msg("%s with '%s': %d '%s', wanted %d and '%s'", lies[i].file, lies[i].is, rc, err,
                     lies[i].rc, lies[i].says);
        restore(lies[i].file);
    }
}

/* BF16 numbers in the place of a scale. */
static void test_scales_are_positive_numbers(void **state) {
    (void)state;
    static const uint16_t bad[] = {0,      0x8000, 0xBF80 /* -1 */, 0x7FC0 /* NaN */, 0x7F80 /* inf */,
                                   0xFF80, 0x7F00};
    static const char *const names[] = {Q "weight_scale", "model.layers.1.mlp.up_proj.input_scale"};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            size_t len = 0;
            uint64_t header = 0;
            char err[500];
            char *bytes = fixture_read_in(TRUE_FOLDER, S, &len);
            memcpy(&header, bytes, 8);
            const char *at = memmem(bytes, len, names[k], strlen(names[k]));
            assert_non_null(at);
            at = strstr(at, "data_offsets\":[") + strlen("data_offsets\":[");
            memcpy(bytes + 8 + header + strtol(at, NULL, 10), &bad[i], 2);
            fixture_write_in(folder, S, bytes, len);
            free(bytes);
            assert_int_equal(try_open(err), -EINVAL);
            assert_non_null(strstr(err, "positive"));
        }
    restore(S);
}

static void test_cut_at_every_byte(void **state) {
    (void)state;
    static const char *const names[] = {C, S};
    for (int i = 0; i < 2; i++) {
        size_t len = 0;
        char err[500], path[512];
        char *bytes = fixture_read_in(TRUE_FOLDER, names[i], &len);
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        for (size_t n = len - 2; n > 0; n = n > 6000 ? n - 41 : n - 1) {
            assert_int_equal(truncate(path, (off_t)n), 0);
            if (try_open(err) != -EINVAL)
                fail_msg("%s cut at byte %zu of %zu: '%s'", names[i], n, len, err);
        }
        fixture_write_in(folder, names[i], bytes, len);
        free(bytes);
    }
}

static int setup(void **state) {
    (void)state;
    (void)mkdir(folder, 0700);
    restore(C);
    restore(S);
    return 0;
}

/* Dynamic, static, static without its scales, none, and two groups that do not agree. */
static void test_inputs(void **state) {
    (void)state;
    check_inputs("tests/data/fp8-channel/hf", false, true);
    check_inputs("tests/data/fp8-tensor/hf", true, false);
    lie(C, 0, "\"dynamic\": false", "\"dynamic\": true");
    check_inputs(folder, false, true);
    lie(C, 0, "\"input_activations\"", "\"input_roundings\"");
    check_inputs(folder, false, false);
    lie(C, 0, "\"config_groups\": {",
        "\"config_groups\": {\"a\": {\"weights\": {\"num_bits\": 8, \"type\": "
        "\"float\", \"strategy\": \"tensor\"}}, ");
    check_inputs(folder, false, false);
    restore(C);
}

static int teardown(void **state) {
    (void)state;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/" C, folder);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/" S, folder);
    (void)unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_transformers),
        cmocka_unit_test(test_each_lie_is_named),
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_scales_are_positive_numbers),
        cmocka_unit_test(test_cut_at_every_byte),
    };
    fixture_path(folder, "fp8");
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* What verify says of good files, and of each kind of bad one. */
#include "engine/model_verify.h"

#include "base/json.h"
#include "kernels/dtype.h"
#include "tests/engine/fixture.h"
#include "tests/engine/write_gguf.h"
#include "tests/kernels/random_model.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[256];
static struct buf said;

/* The number of problems; `said` has the text. */
static int verify(const char *file, bool json) {
    char err[300] = "";
    int n = -1;
    buf_clear(&said);
    if (model_verify(file, json, 2, &said, &n, err, sizeof err) < 0)
        fail_msg("%s", err);
    return n;
}

static void expect(const char *words) {
    if (strstr(said.data, words) == NULL)
        fail_msg("'%s' is not in: %s", words, said.data);
}

static void write_fixture(const struct fixture_lie *lie, size_t cut) {
    struct fixture f;
    fixture_gguf(&f, lie);
    fixture_write(path, f.bytes.data, f.bytes.len - cut);
    fixture_finish(&f);
}

static void test_good_files(void **state) {
    (void)state;
    char folder[256], file[300];
    write_fixture(NULL, 0);
    assert_int_equal(verify(path, false), 0);
    expect("good, 0 problems");
    expect("264 tokens");
    expect("<tool_response> is no token of its own"); /* the fixture has <tool_call> only */
    fixture_hf(fixture_path(folder, "verify-hf"));
    assert_int_equal(verify(folder, false), 0);
    static const char *const files[] = {"tokenizer.json", "config.json", "model.safetensors"};
    for (int i = 0; i < 3; i++) {
        (void)snprintf(file, sizeof file, "%s/%s", folder, files[i]);
        assert_int_equal(unlink(file), 0);
    }
    assert_int_equal(rmdir(folder), 0);
}

static void test_the_default_model(void **state) {
    (void)state;
    if (access("models/hermes-tiny.gguf", R_OK) != 0) {
        print_message("skipped: there is no models/hermes-tiny.gguf yet\n");
        skip();
    }
    assert_int_equal(verify("models/hermes-tiny.gguf", false), 0);
    expect("good, 0 problems, 0 warnings");
}

/* A number that is not finite in every type that can hold one, at a place that the sentence names. */
static void test_numbers_that_are_not_finite(void **state) {
    (void)state;
    static const struct {
        enum dtype type;
        size_t at; /* of a half or float in the block of column 0 */
    } table[] = {{DTYPE_F32, 0},  {DTYPE_F16, 0},  {DTYPE_BF16, 0},  {DTYPE_Q8_0, 0},  {DTYPE_Q4_0, 0},
                 {DTYPE_Q4_1, 2}, {DTYPE_Q5_0, 0}, {DTYPE_Q5_1, 2},  {DTYPE_Q2_K, 82}, {DTYPE_Q3_K, 108},
                 {DTYPE_Q4_K, 0}, {DTYPE_Q5_K, 2}, {DTYPE_Q6_K, 208}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct random_shape shape = QUANTISED_SHAPE(table[i].type);
        struct kernels_model m;
        random_model_init(&m, &shape);
        uint8_t *row = (uint8_t *)(uintptr_t)m.layers[1].w_down.data +
                       dtype_row_bytes(table[i].type, m.layers[1].w_down.cols) * 77;
        static const uint16_t infinite_half = 0x7C00, infinite_upper = 0x7F80;
        static const float not_a_number = NAN;
        if (table[i].type == DTYPE_F32)
            memcpy(row, &not_a_number, 4);
        else
            memcpy(row + table[i].at, table[i].type == DTYPE_BF16 ? &infinite_upper : &infinite_half, 2);
        write_gguf(path, &m, &(struct write_gguf){.n_ctx = 64});
        assert_int_equal(verify(path, false), 2); /* and it has no tokenizer */
        expect("problem: \"blk.1.ffn_down.weight\": ");
        expect("of 131072 numbers are not finite, the first in row 77, column ");
        random_model_finish(&m);
    }
}

static void test_zeros_are_a_warning(void **state) {
    (void)state;
    struct random_shape shape = QUANTISED_SHAPE(DTYPE_F16);
    struct kernels_model m;
    random_model_init(&m, &shape);
    memset((void *)(uintptr_t)m.layers[0].wk.data, 0, (size_t)m.layers[0].wk.cols * 2 * 128);
    write_gguf(path, &m, &(struct write_gguf){.n_ctx = 64});
    assert_int_equal(verify(path, false), 1);
    expect("warning: \"blk.0.attn_k.weight\": all numbers are zero");
    random_model_finish(&m);
}

static void test_structure(void **state) {
    (void)state;
    write_fixture(NULL, 8);
    assert_int_equal(verify(path, false), 1);
    expect("problem: \"structure\": ");
    expect("a tensor that ends behind the file");
    struct fixture f;
    fixture_gguf(&f, NULL);
    for (size_t n = 0; n < f.bytes.len; n += 97) { /* wherever it is cut off */
        fixture_write(path, f.bytes.data, n);
        assert_int_equal(verify(path, false), 1);
        expect("problem: \"structure\": ");
    }
    fixture_finish(&f);
    write_fixture(&(struct fixture_lie){.drop = "blk.1.ffn_up.weight"}, 0);
    assert_int_equal(verify(path, false), 1);
    expect("no tensor ffn_up of layer 1");
    assert_int_equal(verify("/nonexistent", false), 1);
    expect("/nonexistent");
    fixture_write(path, "nonsense", 8);
    assert_int_equal(verify(path, true), 1);
    expect("\"ok\": false");
}

static void test_special_tokens(void **state) {
    (void)state;
    struct fixture f;
    fixture_gguf(&f, NULL);
    /* The same length, another text. */
    char *at = memmem(f.bytes.data, f.bytes.len, "<|im_start|>", 12);
    assert_non_null(at);
    memcpy(at, "<|xx_start|>", 12);
    fixture_write(path, f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    assert_int_equal(verify(path, false), 1);
    expect("there is no added token <|im_start|>");
}

/* Two added tokens that are spelled alike: only one of them can be found. */
static void test_added_tokens_are_found(void **state) {
    (void)state;
    struct fixture f;
    struct gguf *g = NULL;
    struct buf tokens;
    char err[300] = "";
    uint32_t item = GGUF_STRING;
    uint64_t n = FIXTURE_VOCAB;
    fixture_gguf(&f, NULL);
    fixture_write(path, f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    assert_int_equal(gguf_open(path, &g, err, sizeof err), 0);
    const struct gguf_value *v = gguf_find(g, "tokenizer.ggml.tokens");
    assert_non_null(v);
    buf_init(&tokens, 1 << 20);
    assert_int_equal(buf_append(&tokens, &item, sizeof item), 0);
    assert_int_equal(buf_append(&tokens, &n, sizeof n), 0);
    for (uint64_t i = 0; i < n; i++) {
        const struct gguf_text *t = &v->texts[i == 262 ? FIXTURE_END : i];
        uint64_t len = t->len;
        assert_int_equal(buf_append(&tokens, &len, sizeof len), 0);
        assert_int_equal(buf_append(&tokens, t->data, t->len), 0);
    }
    gguf_close(g);
    write_fixture(&(struct fixture_lie){.key = "tokenizer.ggml.tokens",
                                        .type = GGUF_ARRAY,
                                        .value = tokens.data,
                                        .value_len = tokens.len},
                  0);
    buf_finish(&tokens);
    assert_int_equal(verify(path, false), 1);
    expect("is not found by its text");
}

static void test_json(void **state) {
    (void)state;
    cJSON *o = NULL;
    char err[300] = "";
    write_fixture(NULL, 0);
    assert_int_equal(verify(path, true), 0);
    assert_int_equal(json_parse(said.data, said.len, &json_limits_default, &o, err, sizeof err), 0);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(o, "ok")));
    assert_int_equal(cJSON_GetObjectItem(o, "tensors")->valueint, 20);
    assert_int_equal(cJSON_GetObjectItem(o, "numbers")->valueint, 264 * 8 + 2 * (192 + 288 + 16) + 8);
    assert_int_equal(cJSON_GetObjectItem(o, "tokens")->valueint, FIXTURE_VOCAB);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "problems")), 0);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "warnings")), 3);
    assert_string_equal(json_get_string(cJSON_GetObjectItem(o, "warnings")->child, "where"), "tokenizer");
    cJSON_Delete(o);
}

static int setup(void **state) {
    (void)state;
    buf_init(&said, 1 << 20);
    (void)fixture_path(path, "verify.gguf");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    buf_finish(&said);
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_files),
        cmocka_unit_test(test_the_default_model),
        cmocka_unit_test(test_numbers_that_are_not_finite),
        cmocka_unit_test(test_zeros_are_a_warning),
        cmocka_unit_test(test_structure),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_added_tokens_are_found),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

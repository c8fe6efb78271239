/* Numbers to stored elements: the bytes of the reference where there is one, near the numbers where there is
 * none. */
#include "kernels/cpu/quantise.h"

#include "base/json.h"
#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"
#include "tests/kernels/encode.h"
#include "tests/kernels/random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N 4096

static cJSON *read_golden(void) {
    struct buf text;
    cJSON *json = NULL;
    char err[300] = "";
    FILE *f = fopen("tests/data/quantised-rows.json", "rb");
    assert_non_null(f);
    buf_init(&text, 1 << 20);
    assert_int_equal(buf_read_to_end(&text, f), 0);
    (void)fclose(f);
    if (json_parse(text.data, text.len, &json_limits_default, &json, err, sizeof err) < 0)
        fail_msg("%s", err);
    buf_finish(&text);
    return json;
}

static size_t from_hex(const char *hex, uint8_t *out) {
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned byte = 0;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return n;
}

static void test_bytes_of_the_reference(void **state) {
    (void)state;
    cJSON *golden = read_golden();
    int n_types = 0;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        const struct dtype_info *info = dtype_info((enum dtype)t);
        const cJSON *want =
            cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItem(golden, "types"), info->name);
        if (want == NULL)
            continue;
        n_types++;
        int row = 0;
        for (const cJSON *x = cJSON_GetObjectItem(golden, "rows")->child, *y = want->child; x != NULL;
             x = x->next, y = y->next, row++) {
            float numbers[64];
            uint8_t bytes[256], ours[256];
            assert_int_equal(from_hex(x->valuestring, (uint8_t *)numbers), sizeof numbers);
            size_t n = from_hex(y->valuestring, bytes);
            assert_int_equal(n, convert_row_bytes((enum dtype)t, 64));
            quantise_row((enum dtype)t, numbers, 64, ours);
            for (size_t i = 0; i < n; i++)
                if (ours[i] != bytes[i])
                    fail_msg("%s, row %d: byte %zu is %02x and should be %02x", info->name, row, i, ours[i],
                             bytes[i]);
        }
        assert_int_equal(row, 12);
    }
    assert_int_equal(n_types, 7);
    cJSON_Delete(golden);
}

/* Root mean square error of a row of N numbers, relative to theirs. */
static double error_of(enum dtype type, const float *x, const uint8_t *row) {
    float *back = malloc(N * sizeof *back);
    double off = 0, all = 0;
    assert_non_null(back);
    convert_row(type, row, N, back);
    for (int i = 0; i < N; i++) {
        off += ((double)back[i] - (double)x[i]) * ((double)back[i] - (double)x[i]);
        all += (double)x[i] * (double)x[i];
    }
    free(back);
    return sqrt(off / all);
}

/* About normal numbers, as weights are: near them, and nearer than the plain choice of scales of the tests.
 */
static void test_errors(void **state) {
    (void)state;
    static const struct {
        enum dtype type;
        double bound;
    } table[] = {{DTYPE_F32, 0},      {DTYPE_F16, 4e-4},  {DTYPE_BF16, 2.5e-3}, {DTYPE_Q8_0, 6e-3},
                 {DTYPE_Q4_0, 0.105}, {DTYPE_Q4_1, 0.08}, {DTYPE_Q5_0, 0.05},   {DTYPE_Q5_1, 0.04},
                 {DTYPE_Q4_K, 0.075}, {DTYPE_Q5_K, 0.04}, {DTYPE_Q6_K, 0.02}};
    float *x = malloc(N * sizeof *x);
    uint8_t *row = malloc(N * sizeof *x);
    uint64_t seed = 9;
    assert_true(x != NULL && row != NULL);
    for (int i = 0; i < N; i++) {
        x[i] = 0;
        for (int k = 0; k < 6; k++)
            x[i] += 0.02f * random_float(&seed);
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        quantise_row(table[i].type, x, N, row);
        double ours = error_of(table[i].type, x, row);
        encode_row(table[i].type, x, N, row);
        double plain = error_of(table[i].type, x, row);
        print_message("%-5s %.5f (plain scales %.5f)\n", dtype_info(table[i].type)->name, ours, plain);
        assert_true(ours <= table[i].bound);
        if (table[i].type >= DTYPE_Q4_K)
            assert_true(ours < plain);
    }
    free(x);
    free(row);
}

/* Zeros, one number, equal numbers, tiny and large ones: finite and as near as the type allows. */
static void test_odd_blocks(void **state) {
    (void)state;
    float x[256], back[256];
    uint8_t row[1024];
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (!quantise_knows((enum dtype)t))
            continue;
        for (int kind = 0; kind < 7; kind++) {
            float largest = 0;
            for (int i = 0; i < 256; i++) {
                x[i] = kind == 0   ? 0
                       : kind == 1 ? (i == 77 ? -3.0f : 0)
                       : kind == 2 ? 0.25f
                       : kind == 3 ? -0.25f
                       : kind == 4 ? 1e-38f * (float)(i % 5)
                       : kind == 5 ? 3e4f * (float)(i % 3 - 1)
                                   : (i < 128 ? 1e-4f : 1.0f) * (float)(i % 17 - 8);
                largest = fmaxf(largest, fabsf(x[i]));
            }
            quantise_row((enum dtype)t, x, 256, row);
            convert_row((enum dtype)t, row, 256, back);
            for (int i = 0; i < 256; i++)
                if (!(fabsf(back[i] - x[i]) <= largest / 7 + 1e-7f))
                    fail_msg("%s, kind %d: number %d is %g and was %g", dtype_info((enum dtype)t)->name, kind,
                             i, (double)back[i], (double)x[i]);
        }
    }
    assert_false(quantise_knows(DTYPE_Q2_K));
    assert_false(quantise_knows(DTYPE_F8_E4M3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_of_the_reference),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_odd_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

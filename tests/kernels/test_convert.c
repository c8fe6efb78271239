/* Stored numbers: every half, rounding to half, blocks, the table of types. */
#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* All 65,536 halves against the definition (IEEE 754-2008, binary16), and back. */
static void test_every_half(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        int exponent = (int)(h >> 10 & 31);
        double mantissa = (double)(h & 1023), want;
        if (exponent == 31)
            want = mantissa == 0 ? (double)INFINITY : (double)NAN;
        else
            want = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
        float got = convert_f16_to_f32((uint16_t)h);
        assert_true((signbit(got) != 0) == (h >> 15 != 0));
        if (isnan(want)) {
            assert_true(isnan(got));
            assert_true((convert_f32_to_f16(got) & 0x7C00u) == 0x7C00u &&
                        (convert_f32_to_f16(got) & 0x3FFu) != 0);
        } else {
            assert_true((double)fabsf(got) == want);
            assert_int_equal(convert_f32_to_f16(got), h);
        }
    }
}

/* Between two neighbours the nearer one is taken, in the middle the even one. */
static void test_rounding_to_half(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x7BFF; h++) {
        float low = convert_f16_to_f32((uint16_t)h), high = convert_f16_to_f32((uint16_t)(h + 1));
        float middle = (low + high) / 2;
        assert_int_equal(convert_f32_to_f16(middle), h % 2 == 0 ? h : h + 1);
        assert_int_equal(convert_f32_to_f16(nextafterf(middle, low)), h);
        assert_int_equal(convert_f32_to_f16(nextafterf(middle, high)), h + 1);
    }
    assert_int_equal(convert_f32_to_f16(65519.99f), 0x7BFF);
    assert_int_equal(convert_f32_to_f16(65520.0f), 0x7C00);
    assert_int_equal(convert_f32_to_f16(-1e30f), 0xFC00);
    assert_int_equal(convert_f32_to_f16(1e-30f), 0);
}

static void test_rows(void **state) {
    (void)state;
    static const uint8_t q8[34] = {0x00, 0x38 /* 0.5 */, 2, 0xFE /* -2 */, 127, 0x80 /* -128 */};
    float out[32];
    convert_row(DTYPE_Q8_0, q8, 32, out);
    assert_true(out[0] == 1 && out[1] == -1 && out[2] == 63.5f && out[3] == -64 && out[4] == 0);
    static const uint8_t bf16[4] = {0x80, 0x3F, 0x40, 0xC0};
    convert_row(DTYPE_BF16, bf16, 2, out);
    assert_true(out[0] == 1 && out[1] == -3);
    assert_int_equal(convert_row_bytes(DTYPE_F32, 10), 40);
    assert_int_equal(convert_row_bytes(DTYPE_F16, 10), 20);
    assert_int_equal(convert_row_bytes(DTYPE_BF16, 10), 20);
    assert_int_equal(convert_row_bytes(DTYPE_Q8_0, 64), 68);
}

/* All 256 against the definition (OCP 8-bit floating point specification 1.0, E4M3). */
static void test_every_f8(void **state) {
    (void)state;
    for (int b = 0; b < 256; b++) {
        int exponent = b >> 3 & 15, mantissa = b & 7;
        double want = exponent == 0 ? ldexp(mantissa, -9) : ldexp(8 + mantissa, exponent - 10);
        float got = convert_f8_e4m3_to_f32((uint8_t)b);
        assert_true((signbit(got) != 0) == (b >= 128));
        if ((b & 127) == 127)
            assert_true(isnan(got));
        else
            assert_true((double)fabsf(got) == want);
    }
    assert_true(convert_f8_e4m3_to_f32(0x7E) == 448);
}

static void test_names_and_numbers(void **state) {
    (void)state;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const struct dtype_info *info = dtype_info((enum dtype)i);
        if (info->ggml_type != DTYPE_NO_GGML)
            assert_int_equal(dtype_of_ggml((uint32_t)info->ggml_type), i);
        if (info->safetensors != NULL)
            assert_int_equal(dtype_of_safetensors(info->safetensors), i);
        assert_int_equal(dtype_row_bytes((enum dtype)i, info->block_elements * 3),
                         (size_t)info->block_bytes * 3);
    }
    assert_int_equal(dtype_of_ggml(9), DTYPE_COUNT); /* Q8_1, never of weights */
    assert_int_equal(dtype_of_ggml(UINT32_MAX), DTYPE_COUNT);
    assert_int_equal(dtype_of_safetensors("F8_E5M2"), DTYPE_COUNT);
    assert_int_equal(dtype_of_safetensors(""), DTYPE_COUNT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_rounding_to_half),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_every_f8),
        cmocka_unit_test(test_names_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

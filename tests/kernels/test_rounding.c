/* Inputs rounded to 8 bits: the same bytes, scales and sums in every instruction set, and how far off they
 * are. */
#include "kernels/cpu/ops.h"
#include "tests/kernels/random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MAX_K 1024

static const char *const isas[] = {"portable", "avx2", "avx512"};

static float x[MAX_K];
static _Alignas(32) uint8_t want[CPU_Q8_ROW_BYTES(MAX_K)], got[CPU_Q8_ROW_BYTES(MAX_K)];

static void fill(void) {
    uint64_t noise = 7;
    for (int i = 0; i < MAX_K; i++)
        x[i] = random_float(&noise) * (i % 97 == 0 ? 20.0f : 1.0f);
}

static void check_same(int k, int group) {
    memset(want, 0, sizeof want);
    cpu_ops_portable.quantise(want, x, k, group);
    for (size_t i = 1; i < sizeof isas / sizeof isas[0]; i++) {
        const struct cpu_ops *ops = cpu_ops_find(isas[i]);
        if (ops == NULL)
            continue;
        memset(got, 0, sizeof got);
        ops->quantise(got, x, k, group);
        assert_memory_equal(got, want, (size_t)k + (size_t)k / 4);
    }
}

static void test_rounding_is_the_same_everywhere(void **state) {
    (void)state;
    for (size_t i = 1; i < sizeof isas / sizeof isas[0]; i++)
        if (cpu_ops_find(isas[i]) == NULL)
            print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
    fill();
    memset(x + 64, 0, 32 * sizeof *x);
    for (int i = 96; i < 128; i++)
        x[i] = 1e-35f;
    for (int k = 32; k <= MAX_K; k += 32)
        check_same(k, 32);
    memset(x + 256, 0, 256 * sizeof *x);
    for (int k = 256; k <= MAX_K; k += 256)
        check_same(k, 256);
}

/* One scale for all of a group, which takes the largest to 127 and no element further than half a step. */
static void test_a_group_has_one_scale(void **state) {
    (void)state;
    fill();
    for (int group = 32; group <= 256; group *= 8) {
        cpu_ops_portable.quantise(want, x, MAX_K, group);
        for (int i = 0; i < MAX_K; i++) {
            float largest = 0, scale;
            for (int j = i / group * group; j < (i / group + 1) * group; j++)
                largest = fmaxf(largest, fabsf(x[j]));
            memcpy(&scale, want + MAX_K + i / 32 * 4, sizeof scale);
            assert_true(scale == largest / 127);
            assert_true(fabsf((float)(int8_t)want[i] * scale - x[i]) <= 0.501f * scale);
        }
    }
}

/* Of normally distributed inputs, root mean square of the errors relative to that of the inputs. */
static double error_by(int group) {
    uint64_t noise = 5;
    double error = 0, size = 0;
    for (int row = 0; row < 200; row++) {
        for (int i = 0; i < MAX_K; i += 2) { /* Box and Muller's transform */
            float u = (random_float(&noise) + 1) / 2, angle = 3.14159265f * random_float(&noise);
            x[i] = sqrtf(-2 * logf(fmaxf(u, 1e-7f))) * cosf(angle);
            x[i + 1] = sqrtf(-2 * logf(fmaxf(u, 1e-7f))) * sinf(angle);
        }
        cpu_ops_portable.quantise(want, x, MAX_K, group);
        for (int i = 0; i < MAX_K; i++) {
            float scale;
            memcpy(&scale, want + MAX_K + i / 32 * 4, sizeof scale);
            error += pow((double)scale * (double)(int8_t)want[i] - (double)x[i], 2);
            size += pow((double)x[i], 2);
        }
    }
    return sqrt(error / size);
}

static void test_how_far_off_it_is(void **state) {
    (void)state;
    double by_32 = error_by(32), by_256 = error_by(256);
    print_message("normally distributed inputs: by 32 %.2f %% of their norm, by 256 %.2f %%\n", 100 * by_32,
                  100 * by_256);
    assert_true(by_32 > 0.004 && by_32 < 0.006);
    assert_true(by_256 > 0.006 && by_256 < 0.008);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounding_is_the_same_everywhere),
                                       cmocka_unit_test(test_a_group_has_one_scale),
                                       cmocka_unit_test(test_how_far_off_it_is)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

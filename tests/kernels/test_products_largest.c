/* Blocks with the largest numbers there are, times inputs of which every byte is the largest: sums that are
 * whole numbers have room for them, in every instruction set. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/pack.h"
#include "kernels/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 16
#define COLS 5 /* one more than meet the rows where they lie */
#define K    512

static const char *const isas[] = {"portable", "avx2", "avx512"};

/* Every byte the same, but for the F16 numbers, which are 1. */
static void fill(enum dtype type, uint8_t byte, uint8_t *w, size_t n) {
    static const uint16_t ones[2] = {0x3C00, 0x3C00};
    memset(w, byte, n);
    for (size_t b = 0; b < n; b += (size_t)dtype_info(type)->block_bytes)
        memcpy(w + b + pack_halves_at(type), ones, (size_t)pack_halves(type));
}

static void check(const struct cpu_ops *ops, enum dtype type, uint8_t byte, float input) {
    static _Alignas(64) uint8_t w[ROWS * K * 2], packed[ROWS * K * 2], x[COLS * CPU_Q8_ROW_BYTES(K)];
    static float in[K], out[2][COLS * ROWS], row[K];
    const size_t stride = CPU_Q8_ROW_BYTES(K), bytes = convert_row_bytes(type, K) * ROWS;
    double want = 0, size = 0;
    fill(type, byte, w, bytes);
    pack_rows(type, w, ROWS, K, packed);
    convert_row(type, w, K, row);
    for (int i = 0; i < K; i++) {
        in[i] = input;
        want += (double)row[i] * (double)input;
        size += fabs((double)row[i] * (double)input);
    }
    for (int c = 0; c < COLS; c++)
        ops->quantise(x + (size_t)c * stride, in, K, cpu_ops_group(ops, type));
    for (int cols = 1; cols <= COLS; cols++) {
        memset(out, 0xFF, sizeof out);
        ops->product_q8(type, w, ROWS, x, stride, cols, K, out[0], ROWS);
        memcpy(out[1], out[0], sizeof out[1]);
        if (ops->product_packed != NULL)
            ops->product_packed(type, packed, 0, ROWS, x, stride, cols, K, out[1], ROWS);
        for (int i = 0; i < 2 * cols * ROWS; i++) {
            double got = (double)out[i / (cols * ROWS)][i % (cols * ROWS)];
            if (!(fabs(got - want) <= 3e-6 * fmax(size, K))) /* differences of larger numbers may be 0 */
                fail_msg("%s, %s of 0x%02X, %d inputs of %g: %g and should be %g", ops->name,
                         dtype_info(type)->name, byte, cols, (double)input, got, want);
        }
    }
}

static void test_the_largest_numbers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        const struct cpu_ops *ops = cpu_ops_find(isas[i]);
        if (ops == NULL) {
            print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
            continue;
        }
        for (int t = DTYPE_Q8_0; t < DTYPE_F8_E4M3; t++)
            for (int byte = 0; byte < 256; byte++) {
                check(ops, (enum dtype)t, (uint8_t)byte, 1);
                check(ops, (enum dtype)t, (uint8_t)byte, -1);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_largest_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* AVX-512 with VNNI: its own products and attention; the rest is that of the AVX2 table. */
#if defined(__x86_64__)
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/ops_avx2.h"
#include "kernels/dtype.h"

static void product_packed(enum dtype type, const void *w, int first, int n_rows, const void *x,
                           size_t x_stride, int n_cols, int k, float *out, size_t out_stride) {
    (dtype_info(type)->block_elements > 1 ? avx512_packed_q8 : avx512_product_packed_floats)(
        type, w, first, n_rows, x, x_stride, n_cols, k, out, out_stride);
}

const struct cpu_ops cpu_ops_avx512 = {
    .name = "avx512",
    .product = avx512_product,
    .product_q8 = avx512_product_q8,
    .product_packed = product_packed,
    .k_group = 32,
    .quantise = ops_avx2_quantise,
    .rms_norm = ops_avx2_rms_norm,
    .silu_mul = ops_avx2_silu_mul,
    .add = ops_avx2_add,
    .scores = avx512_scores,
    .softmax = ops_avx2_softmax,
    .mix = avx512_mix,
};
#else
typedef int ops_avx512_is_for_x86;
#endif

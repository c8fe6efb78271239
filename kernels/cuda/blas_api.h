/* What of cuBLAS and cuBLASLt is used: numbers and functions of their C interfaces, by our own names, so that
 * neither header nor library is needed to build. Private to kernels/cuda/blas*.c.
 *
 * Numbers: library_types.h, cublas_api.h, cublasLt.h of CUDA 13.0 (tests/kernels/cublas_numbers.c compares
 * them with the headers where these are installed). Requirements of FP8: cuBLAS Library documentation,
 * "cublasLtMatmul()". */
#ifndef KERNELS_CUDA_BLAS_API_H
#define KERNELS_CUDA_BLAS_API_H

#include <stddef.h>
#include <stdint.h>

enum { BLAS_R_32F = 0, BLAS_R_16F = 2, BLAS_R_16BF = 14, BLAS_R_8F_E4M3 = 28 }; /* cudaDataType_t */
enum { BLAS_OP_N = 0, BLAS_OP_T = 1 };                                          /* cublasOperation_t */
enum { BLAS_COMPUTE_32F = 68 };                                                 /* cublasComputeType_t */
enum { BLAS_GEMM_DEFAULT = -1 };                                                /* cublasGemmAlgo_t */
enum { BLAS_INVALID_VALUE = 7, BLAS_NOT_SUPPORTED = 15 };                       /* cublasStatus_t; 0: done */

enum {                        /* cublasLtMatmulDescAttributes_t: what it is, its type */
       LT_DESC_TRANS_A = 3,   /* int32_t */
       LT_DESC_TRANS_B = 4,   /* int32_t */
       LT_DESC_SCALE_A = 17,  /* const void *, device memory; NULL: 1 */
       LT_DESC_SCALE_B = 18,  /* the same */
       LT_DESC_FAST_SUM = 25, /* int8_t */
       LT_DESC_MODE_A = 31,   /* int32_t; of 12.8 and later */
       LT_DESC_MODE_B = 32    /* the same */
};
enum { LT_SCALE_ONE = 0, LT_SCALE_OUTER_VECTORS = 3 }; /* cublasLtMatmulMatrixScale_t; 3: of 12.9 and later */
enum { LT_LAYOUT_ROWS = 2, LT_LAYOUT_COLS = 3, LT_LAYOUT_LD = 4 }; /* uint64_t, uint64_t, int64_t */
enum {                                                             /* cublasLtMatmulPreferenceAttributes_t */
       LT_PREF_WORKSPACE = 1,                                      /* uint64_t */
       LT_PREF_ALIGN_A = 5,                                        /* uint32_t, of B, C, D the next three */
       LT_PREF_ALIGN_D = 8
};

/* cublasLtMatmulAlgo_t, cublasLtMatmulHeuristicResult_t */
struct lt_algo {
    uint64_t data[8];
};
struct lt_found {
    struct lt_algo algo;
    size_t workspace; /* bytes that it needs */
    int state;        /* 0: it can be used */
    float waves;
    int reserved[4];
};

struct gpu_stream; /* is a cudaStream_t */

/* Handles and descriptors are void *. */
struct blas_functions {
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*set_stream)(void *handle, struct gpu_stream *s);
    int (*gemm)(void *handle, int trans_a, int trans_b, int m, int n, int k, const void *alpha, const void *a,
                int a_type, int lda, const void *b, int b_type, int ldb, const void *beta, void *c,
                int c_type, int ldc, int compute, int algo);
};
struct lt_functions {
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_create)(void **desc, int compute, int scale_type);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t bytes);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
    int (*layout_destroy)(void *layout);
    int (*layout_set)(void *layout, int attribute, const void *value, size_t bytes);
    int (*preference_create)(void **preference);
    int (*preference_destroy)(void *preference);
    int (*preference_set)(void *preference, int attribute, const void *value, size_t bytes);
    int (*heuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference,
                     int wanted, struct lt_found *found, int *n);
    int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout, const void *b,
                  void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
                  const struct lt_algo *algo, void *workspace, size_t workspace_bytes, struct gpu_stream *s);
};

/* The functions of the installed libraries, borrowed for ever; NULL where there is none or one is missing.
 * blas_find.c loads them; the emulator has its own (tests/emulator/blas.c, blas_lt.c). [engine-thread] */
const struct blas_functions *blas_find(void);
const struct lt_functions *blas_find_lt(void);

#endif

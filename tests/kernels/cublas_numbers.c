/* The numbers of kernels/cuda/blas_api.h are those of the libraries' headers; compiled, and no more, where
 * these are installed (check_cuda.py). */
#include "kernels/cuda/blas_api.h"

#include <cublasLt.h>
#include <cublas_v2.h>

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours " is " #theirs)

SAME(BLAS_R_32F, CUDA_R_32F);
SAME(BLAS_R_16F, CUDA_R_16F);
SAME(BLAS_R_16BF, CUDA_R_16BF);
SAME(BLAS_R_8F_E4M3, CUDA_R_8F_E4M3);
SAME(BLAS_OP_N, CUBLAS_OP_N);
SAME(BLAS_OP_T, CUBLAS_OP_T);
SAME(BLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F);
SAME(BLAS_GEMM_DEFAULT, CUBLAS_GEMM_DEFAULT);
SAME(BLAS_INVALID_VALUE, CUBLAS_STATUS_INVALID_VALUE);
SAME(BLAS_NOT_SUPPORTED, CUBLAS_STATUS_NOT_SUPPORTED);
SAME(LT_DESC_TRANS_A, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(LT_DESC_TRANS_B, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(LT_DESC_SCALE_A, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
SAME(LT_DESC_SCALE_B, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
SAME(LT_DESC_FAST_SUM, CUBLASLT_MATMUL_DESC_FAST_ACCUM);
SAME(LT_LAYOUT_ROWS, CUBLASLT_MATRIX_LAYOUT_ROWS);
SAME(LT_LAYOUT_COLS, CUBLASLT_MATRIX_LAYOUT_COLS);
SAME(LT_LAYOUT_LD, CUBLASLT_MATRIX_LAYOUT_LD);
SAME(LT_PREF_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(LT_PREF_ALIGN_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(LT_PREF_ALIGN_D, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
#if CUBLAS_VERSION >= 120900
SAME(LT_DESC_MODE_A, CUBLASLT_MATMUL_DESC_A_SCALE_MODE);
SAME(LT_DESC_MODE_B, CUBLASLT_MATMUL_DESC_B_SCALE_MODE);
SAME(LT_SCALE_ONE, CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F);
SAME(LT_SCALE_OUTER_VECTORS, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
#endif

_Static_assert(sizeof(struct lt_algo) == sizeof(cublasLtMatmulAlgo_t), "an algorithm has the library's size");
_Static_assert(sizeof(struct lt_found) == sizeof(cublasLtMatmulHeuristicResult_t), "and what is found");
_Static_assert(offsetof(struct lt_found, workspace) ==
                   offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize),
               "its parts lie where the library's do");
_Static_assert(offsetof(struct lt_found, state) == offsetof(cublasLtMatmulHeuristicResult_t, state),
               "its parts lie where the library's do");

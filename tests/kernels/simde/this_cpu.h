/* What the choice of tables asks for, when what stands in for AVX-512 needs AVX2 alone: included before
 * ops_portable.c and kv8.c. All CPUs that have AVX2 have FMA and F16C. */
#define __builtin_cpu_supports(feature) (__builtin_cpu_supports("avx2"))

/* The tests that this is linked to run what stands in for AVX-512, which is compiled for AVX2. */
#include <stdio.h>
#include <stdlib.h>

__attribute__((constructor)) static void needs_avx2(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("f16c")) {
        puts("skipped: this CPU has no AVX2");
        exit(77);
    }
}

#!/usr/bin/env python3
"""The gates of GPU code fail when they should: small kernels with one fault each through check_cuda.py, and the real kernel
of single rows with one fault each through cuda_reckon.py.

  test_check_cuda.py NVCC FOLDER    FOLDER: as for check_cuda.py"""
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_cuda  # noqa: E402
import cuda_reckon  # noqa: E402

HEAD = """#include <cuda_runtime.h>
struct cuda_probe { const uint4 *from; uint4 *to; int n; };
#define NARROW(n) asm volatile("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(v[n]), "=r"(v[n + 1]) : "l"((const uint2 *)p + n / 2))
static __device__ uint4 wide(const uint4 *p) {
    unsigned v[4];
    asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "l"(p));
    return {v[0], v[1], v[2], v[3]};
}
"""
WAIT = "cudaGridDependencySynchronize();"
# A kernel that passes: 4 wide loads before the wait, 4 behind, a tensor product, loads from shared memory.
GOOD = HEAD + """
extern __shared__ uint4 tile[];
static __global__ void __launch_bounds__(128) kernel_good(const struct cuda_probe p) {
    uint4 a = wide(p.from + threadIdx.x), b = wide(p.from + threadIdx.x + 128);
    cudaGridDependencySynchronize();
    tile[threadIdx.x] = a;
    __syncthreads();
    uint4 c = tile[threadIdx.x ^ 1];
    float d[4] = {0, 0, 0, 0};
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(c.x), "r"(c.y), "r"(c.z), "r"(c.w), "r"(b.x), "r"(b.y));
    c.x = __float_as_uint(d[0] + d[1] + d[2] + d[3]);
    c.y = b.x + b.y + b.z + b.w;
    p.to[threadIdx.x] = c;
}
extern "C" void start(struct cuda_probe p) { kernel_good<<<1, 128, 2048>>>(p); }
"""
PROBES = [("kernel_good", "LDG.128", 2), ("kernel_good", "HMMA", 1), ("kernel_good", "LDS.128", 1), ("kernel_good", "STG.128", 1)]
EARLY = [("kernel_good", "ACQBULK", 1), ("kernel_product", "LDG.128 early", 8)]
# What is put in for what, and what the gate says of it.
SMALL = [
    ("nothing", "", "", None),
    ("a warning", "float d[4]", "int unused = 1; float d[4]", "never referenced"),
    ("a numbered array in memory", "float d[4] = {0, 0, 0, 0};", "float d[4] = {0, 0, 0, 0}, e[64];\\n for (int i = 0; i < 64; i++) e[i] = d[i % 4] + i;\\n"
     " d[0] = e[p.n & 63];\\n for (int i = 0; i < 64; i++) e[i * p.n & 63] += d[0];\\n d[1] = e[p.n >> 6 & 63];", "ocal memory"),
    ("registers in memory", "__launch_bounds__(128)", "__launch_bounds__(1024, 2)", "pill"),
    ("too many registers", "BUDGET", "4 0", "registers, the budget is 4"),
    ("too much shared memory", "extern __shared__ uint4 tile[];", "__shared__ uint4 tile[128];", "shared memory, the budget is 0"),
    ("no line in the budget", "BUDGET", None, "no line in the budget"),
    ("loads of 8 bytes", 'asm volatile("ld.global.nc.v4', 'NARROW(0); NARROW(2); if (false) asm volatile("ld.global.nc.v4', "has 0 LDG.128"),
    ("no tensor product", 'asm volatile("mma', 'if (false) asm volatile("mma', "has 0 HMMA"),
    ("no wait", WAIT, "", "has 0 ACQBULK"),
]
PRESSURE = """    float v[96];
    for (int i = 0; i < 96; i++) v[i] = __uint_as_float(p.from[threadIdx.x + 256 + i * 128].x);
    __syncthreads();
    for (int i = 0; i < 96; i++) d[i % 4] += v[i] * v[(i * 7 + 3) % 96];
"""
# Of products.cu, with BF16 and Q4_K alone.
FEW_TYPES = ("#define WEIGHTS_PLAIN", "#define WEIGHTS_PLAIN(call) WEIGHTS_CASE(CUDA_BF16, call)\n"
             "#define WEIGHTS_QUANTISED(call) WEIGHTS_CASE(CUDA_Q4_K, call)\n#endif\n")
LARGE = [
    ("nothing", "products.cu", "", "", None),
    ("a load that waits for the one before", "products.cu", "            weights_take<TYPE>(at[1], k, &f.r[k][1]);",
     "            weights_take<TYPE>(at[1], k, &f.r[k][1]);\n at[0].values += f.r[k][1].v[0] & (uint32_t)(p.cols >> 30);", "takes in"),
    ("loads behind the wait", "products.cu", "    product_begin(p, pairs, &first);\n    gpu_wait_previous();",
     "    gpu_wait_previous();\n    product_begin(p, pairs, &first);", "has 0 LDG.128 early"),
    ("loads of 4 bytes", "gpu_nvcc.h", "const uint4 v = __ldg(static_cast<const uint4 *>(p));",
     "const unsigned *q = static_cast<const unsigned *>(p); const uint4 v = {__ldg(q), __ldg(q + 1), __ldg(q + 2), __ldg(q + 3)};", "not found"),
    ("a long way to each sum", "products.cu", "sum[m][0] = gpu_fma(weights",
     "for (int e = 0; e < 80; e++) shift = gpu_fma(shift, x.high, x.low);\n sum[m][0] = gpu_fma(weights", "can be issued"),
]
# Of tensor_wide.cu.
WIDE = [
    ("each copy is waited for", "gpu_copy_wait<WIDE_STAGES - 2>();", "gpu_copy_wait<0>();"),
    ("every product waits for the one before", "gpu_mma_bf16(sum->v[i % 2][i / 2], ", "gpu_mma_bf16(sum->v[0][0], "),
]


def small(nvcc, fault, old, new):
    with tempfile.TemporaryDirectory() as root:
        text = GOOD.replace("float d[4] = {0, 0, 0, 0};\n", "float d[4] = {0, 0, 0, 0};\n" + PRESSURE, 1) if fault.startswith("registers in") else GOOD
        budget = {("kernel_good", "sm_90a"): (64, 0)}
        if old == "BUDGET":
            budget = {} if new is None else {("kernel_good", "sm_90a"): tuple(map(int, new.split()))}
        else:
            assert old in text
            text = text.replace(old, new.replace("\\n", "\n"), 1) if old else text
        with open(os.path.join(root, "probe.cu"), "w", encoding="utf-8") as f:
            f.write(text)
        check_cuda.SOURCES = check_cuda.ROOT = root
        cubin, log, problems = check_cuda.compile_one(nvcc, root, "probe.cu", "sm_90a")
        if cubin is not None:
            seen = check_cuda.instructions(cubin)
            for mangled, used in check_cuda.usage(log).items():
                problems += check_cuda.check(check_cuda.short(mangled), "sm_90a", used, seen[mangled], budget)
        return "\n".join(problems)


def copy_sources(root, changes):
    """A copy of the sources with changes (file, text, what takes its place), in use from now on; of weights.cuh all that
    follows goes too."""
    folder = os.path.join(root, "kernels", "cuda")
    shutil.copytree(SOURCES, folder)
    os.symlink(os.path.join(ROOT, "base"), os.path.join(root, "base"))
    for path, a, b in changes:
        with open(os.path.join(folder, path), encoding="utf-8") as f:
            text = f.read()
        assert a in text, f"{a} is not in {path}"
        at = text.index(a)
        with open(os.path.join(folder, path), "w", encoding="utf-8") as f:
            f.write(text[:at] + b + (text[at + len(a):] if path != "weights.cuh" else "") if a else text)
    check_cuda.SOURCES, check_cuda.ROOT = folder, root


def large(nvcc, name, old, new):
    with tempfile.TemporaryDirectory() as root:
        copy_sources(root, ((name, old, new), ("weights.cuh", *FEW_TYPES)))
        code, used = cuda_reckon.compiled(nvcc, root, "products.cu")
        kernel = cuda_reckon.Kernel(code["kernel_product<1>"], *used["kernel_product<1>"])
        seen = check_cuda.instructions(check_cuda.compile_one(nvcc, root, "products.cu", "sm_90a")[0])
        problems = cuda_reckon.judge_loops(kernel, cuda_reckon.MODELS["8B"], ["BF16", "Q4_K"])
        for mangled, counts in seen.items():
            problems += [f for f in check_cuda.check(check_cuda.short(mangled), "sm_90a", (0, 0), counts, {}) if "budget" not in f]
        return "\n".join(problems)


SOURCES, ROOT = check_cuda.SOURCES, check_cuda.ROOT


def goals(nvcc, folder):
    """(Fault, what the gates of whole steps say, what they should): the real kernels, with less room than they have."""
    check_cuda.SOURCES, check_cuda.ROOT = SOURCES, ROOT
    code, used = cuda_reckon.compiled(nvcc, folder, "products.cu")
    kernel = cuda_reckon.Kernel(code["kernel_product<1>"], *used["kernel_product<1>"])
    crowded = cuda_reckon.Kernel(code["kernel_product<1>"], 200, 128)
    code, used = cuda_reckon.compiled(nvcc, folder, "attention_tensor.cu")
    row = f"kernel_attention_row<{cuda_reckon.HEAD}>"
    attention = kernel, code[row], used[row][0], cuda_reckon.row_shared()
    yield "the real kernel", cuda_reckon.judge_steps(kernel, []), None
    yield "one block for its registers", cuda_reckon.judge_steps(crowded, []), "tokens/s are reckoned"
    yield "the real attention", cuda_reckon.judge_attention(*attention), None
    constant, check_cuda.constant = check_cuda.constant, lambda name, header: 8
    yield "attention in 8 parts", cuda_reckon.judge_attention(*attention), "of what memory allows"
    check_cuda.constant = constant
    row_kernel = code[row], used[row][0]
    wide = cuda_reckon.compiled(nvcc, folder, "tensor_wide.cu")
    yield "64 rows by the real kernels", cuda_reckon.judge_batch(wide, row_kernel, []), None
    check_cuda.constant = lambda name, header: 0 if name == "CUDA_WIDE_MOST" else constant(name, header)
    yield "64 rows, no tile is shared", cuda_reckon.judge_batch(wide, row_kernel, []), "tokens/s are reckoned"
    check_cuda.constant = constant
    for fault, old, new in WIDE:
        yield f"64 rows, {fault}", cuda_reckon.judge_batch(faulty(nvcc, "tensor_wide.cu", old, new), row_kernel, []), "tokens/s are reckoned"


def faulty(nvcc, name, old, new):
    """What becomes of a source with a change."""
    with tempfile.TemporaryDirectory() as root:
        copy_sources(root, ((name, old, new),))
        try:
            return cuda_reckon.compiled(nvcc, root, name)
        finally:
            check_cuda.SOURCES, check_cuda.ROOT = SOURCES, ROOT


def main():
    if len(sys.argv) < 3 or not os.path.exists(sys.argv[1]):
        print("skipped: there is no nvcc here")
        return 77
    check_cuda.PROBES, check_cuda.EARLY, failed = PROBES, EARLY, 0
    for fault, old, new, want in SMALL:
        said = small(sys.argv[1], fault, old, new)
        failed += report(fault, said, want)
    for fault, name, old, new, want in LARGE:
        said = large(sys.argv[1], name, old, new)
        failed += report(f"products.cu, {fault}", said, want)
    n = len(SMALL) + len(LARGE)
    for fault, said, want in goals(*sys.argv[1:3]):
        failed += report(fault, "\n".join(said), want)
        n += 1
    print(f"{n - failed} of {n} checks of the gates hold")
    return 1 if failed else 0


def report(fault, said, want):
    if (said == "") if want is None else (want in said):
        return 0
    print(f"{fault}: wanted {want!r}, the gate says: {said!r}")
    return 1


if __name__ == "__main__":
    sys.exit(main())

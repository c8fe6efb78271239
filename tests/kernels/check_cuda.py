#!/usr/bin/env python3
"""GPU code that no GPU is needed to judge: our .cu files compile without a warning for every architecture and to PTX, no kernel
keeps registers in memory, none takes more registers or shared memory than tests/kernels/cuda-budget.txt allows (and a
tenth), and the instructions are there that the design counts on.

  check_cuda.py NVCC FOLDER           FOLDER keeps what was compiled, for as long as the sources are the same
  check_cuda.py NVCC FOLDER --write   writes the budget anew"""
import collections
import hashlib
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sass  # noqa: E402

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SOURCES = os.path.join(ROOT, "kernels", "cuda")
BUDGET = os.path.join(ROOT, "tests", "kernels", "cuda-budget.txt")
ARCHITECTURES = ["sm_80", "sm_90a", "sm_100a"]
PTX = "compute_90"  # for architectures between and after
FILES = ["attention.cu", "attention_tensor.cu", "embed.cu", "large.cu", "logprobs.cu", "prepare.cu", "products.cu", "sample.cu", "tensor.cu", "tensor_wide.cu"]

# (kernel, instruction, at least): of every instance whose name begins so. kernel_tensor<family,rows> and
# kernel_wide<family,rows,parts>: 1 BF16, 2 F16, 3 F8, 4 and 5 quantised (enum cuda_family).
PROBES = [("kernel_product", "LDG.128", 100), ("kernel_product", "LDS.128", 100), ("kernel_product<1>", "IDP", 160),
          ("kernel_tensor", "LDGSTS", 4), ("kernel_tensor<1", "HMMA", 4), ("kernel_tensor<2", "HMMA", 4),
          ("kernel_tensor<3", "HMMA", 4), ("kernel_tensor<4", "IMMA", 2), ("kernel_tensor<5", "IMMA", 4),
          ("kernel_tensor<1", "LDSM", 6), ("kernel_tensor<2", "LDSM", 6), ("kernel_wide", "LDGSTS", 6),
          ("kernel_wide", "HMMA", 32), ("kernel_wide<1", "LDSM", 16), ("kernel_wide<2", "LDSM", 16), ("kernel_prepare", "STG.128", 2), ("kernel_panel", "LDG.128", 10),
          ("kernel_attention", "LDG.128", 1),
          *((kernel, what, least) for kernel in ("kernel_attention_row", "kernel_attention_tile")
            for what, least in (("HMMA", 12), ("LDGSTS", 3), ("LDSM", 8)))]
# The same where a kernel can start early (from sm_90 on): it waits for the kernel before, and weights are on their way by then.
EARLY = [("kernel_product", "ACQBULK", 1), ("kernel_tensor", "ACQBULK", 1), ("kernel_wide", "ACQBULK", 1), ("kernel_prepare", "ACQBULK", 1),
         ("kernel_panel", "ACQBULK", 1), ("kernel_finish", "ACQBULK", 1), ("kernel_attention", "ACQBULK", 1),
         ("kernel_attention_row", "ACQBULK", 1), ("kernel_attention_tile", "ACQBULK", 1),
         ("kernel_product", "LDG.128 early", 40), ("kernel_tensor", "LDGSTS early", 1),
         ("kernel_wide", "LDGSTS early", 2)]


def instructions(cubin):
    """{mangled kernel: Counter of instructions} of an ELF file of SASS."""
    found = {}
    for name, code in sass.kernels(cubin).items():
        seen = collections.Counter()
        for i in code:
            what = i.name + (f".{8 * i.width}" if i.name in ("LDG", "STG", "LDS", "STS") else "")
            seen[what] += 1
            if seen["ACQBULK"] == 0:  # the wait for the kernel before
                seen[what + " early"] += 1
        found[name] = seen
    return found


def short(mangled):
    """kernel_attn_in<8> of _ZL14kernel_attn_inILi8EEv12cuda_attn_in."""
    m = re.match(r"_ZL?\d+(kernel_\w+?)(I(?:L[ib]\d+E)+E)?v?\d+(?:cuda|large)_", mangled)
    if not m:
        return mangled
    arguments = re.findall(r"L[ib](\d+)E", m.group(2) or "")
    return m.group(1) + (f"<{','.join(arguments)}>" if arguments else "")


def compile_one(nvcc, folder, name, architecture):
    """The cubin (of PTX: the text) and what ptxas said; problems as a list."""
    digest = hashlib.sha256()
    for f in sorted(os.listdir(SOURCES)):
        if f.endswith((".h", ".cuh")) or f == name:
            with open(os.path.join(SOURCES, f), "rb") as source:
                digest.update(source.read())
    base = os.path.join(folder, f"{name}.{architecture}.{digest.hexdigest()[:16]}")
    result, log = base + (".ptx" if architecture == PTX else ".cubin"), base + ".log"
    if not os.path.exists(result):
        how = ["-ptx"] if architecture == PTX else ["-cubin", "-Xptxas", "-v,-warn-spills,-warn-lmem-usage"]
        run = subprocess.run([nvcc, "-std=c++17", "-O3", *how, f"-arch={architecture}", "-Werror", "all-warnings", f"-I{ROOT}",
                              os.path.join(SOURCES, name), "-o", result + ".new"], capture_output=True, text=True)
        if run.returncode != 0:
            return None, "", [f"{name} for {architecture}:\n{run.stdout}{run.stderr}"]
        with open(log, "w", encoding="utf-8") as f:
            f.write(run.stdout + run.stderr)
        os.rename(result + ".new", result)
    with open(log, encoding="utf-8") as f:
        return result, f.read(), []


def constant(name, header):
    """The number that a header of kernels/cuda defines."""
    with open(os.path.join(SOURCES, header), encoding="utf-8") as f:
        return int(re.search(rf"#define {name}\s+(\d+)", f.read()).group(1))


def usage(log):
    """{mangled kernel: (registers, bytes of shared memory)}."""
    found, kernel = {}, None
    for line in log.split("\n"):
        m = re.search(r"Compiling entry function '(\w+)'", line)
        kernel = m.group(1) if m else kernel
        m = re.search(r"Used (\d+) registers", line)
        if m and kernel:
            shared = re.search(r"(\d+) bytes smem", line)
            found[kernel] = (int(m.group(1)), int(shared.group(1)) if shared else 0)
    return found


def read_budget():
    budget = {}
    if os.path.exists(BUDGET):
        with open(BUDGET, encoding="utf-8") as f:
            for line in f:
                if line.strip() and not line.startswith("#"):
                    kernel, architecture, registers, shared = line.split()
                    budget[kernel, architecture] = (int(registers), int(shared))
    return budget


def check(kernel, architecture, used, seen, budget):
    problems = []
    allowed = budget.get((kernel, architecture))
    if allowed is None:
        problems.append(f"{kernel} for {architecture} has no line in the budget; write it with --write")
    else:
        for what, now, most in (("registers", used[0], allowed[0]), ("bytes of shared memory", used[1], allowed[1])):
            if now > most * 1.1:
                problems.append(f"{kernel} for {architecture} uses {now} {what}, the budget is {most}")
    if seen["LDL"] + seen["STL"] > 0:
        problems.append(f"{kernel} for {architecture} uses local memory: {dict(seen)}")
    for name, instruction, least in PROBES + (EARLY if architecture != "sm_80" else []):
        if re.match(re.escape(name) + r"\b", kernel) and seen[instruction] < least:
            problems.append(f"{kernel} for {architecture} has {seen[instruction]} {instruction}, wanted {least}: {dict(seen)}")
    return problems


def check_cublas(nvcc):
    """Problems with the numbers that we have of cuBLAS, where its headers are."""
    headers = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(nvcc))), "include")
    if not os.path.exists(os.path.join(headers, "cublasLt.h")):
        print(f"cuBLAS: its headers are not in {headers}, so our numbers of it are not compared")
        return []
    run = subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-fsyntax-only", f"-I{ROOT}", "-isystem", headers,
                          os.path.join(ROOT, "tests", "kernels", "cublas_numbers.c")], capture_output=True, text=True)
    return [] if run.returncode == 0 else [f"cublas_numbers.c:\n{run.stderr}"]


def main():
    if len(sys.argv) < 3 or not os.path.exists(sys.argv[1]):
        print("skipped: there is no nvcc here")
        return 77
    nvcc, folder, write = sys.argv[1], sys.argv[2], "--write" in sys.argv
    os.makedirs(folder, exist_ok=True)
    budget, problems, lines = read_budget(), check_cublas(nvcc), []
    for name in FILES:
        problems += compile_one(nvcc, folder, name, PTX)[2]
        for architecture in ARCHITECTURES:
            cubin, log, failed = compile_one(nvcc, folder, name, architecture)
            problems += failed
            if failed:
                continue
            seen = instructions(cubin)
            for mangled, used in sorted(usage(log).items()):
                kernel = short(mangled)
                lines.append(f"{kernel} {architecture} {used[0]} {used[1]}")
                if not write:
                    problems += check(kernel, architecture, used, seen[mangled], budget)
    if write:
        with open(BUDGET, "w", encoding="utf-8") as f:
            f.write("# kernel, architecture, registers, bytes of shared memory; written by check_cuda.py --write\n")
            f.write("\n".join(sorted(lines)) + "\n")
    for problem in problems:
        print(problem)
    print(f"cuda: {len(lines)} kernels on {len(ARCHITECTURES)} architectures and PTX, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

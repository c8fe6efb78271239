#!/usr/bin/env python3
"""Product kernels with one fault each, made from the sources themselves: proof that the tests would see it.

  mutate.py FOLDER     writes FOLDER/<mutant>/<mutant>.cu (its headers beside it, where the fault is in one) and
                       FOLDER/mutants.h, the list for test_mutants.c
  mutate.py --names    prints the mutants' names

A fault is a text of the source and what stands there instead; the text must be there exactly once. Each mutant keeps one
kernel of its file, so that it compiles quickly."""
import os
import re
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CUDA = os.path.join(ROOT, "kernels", "cuda")

BF16, F8, Q4_K, Q6_K = "BF16", "F8", "Q4_K", "Q6_K"
FAMILY = {BF16: "CUDA_FAMILY_BF16", F8: "CUDA_FAMILY_F8", Q4_K: "CUDA_FAMILY_Q", Q6_K: "CUDA_FAMILY_HALVED"}
NEVER_WAITED = "no thread of the block waited"

BARRIER = "        gpu_barrier(); /* everybody's copies are there */\n"
WAIT = "        gpu_copy_wait<1>();\n"
WAIT_PREVIOUS = "    gpu_wait_previous();\n"
INPUTS = "    fetch_inputs<FAMILY, N>(p, first_row, n_rows, buffers, 0);\n"
LOOP = "    gpu_barrier();\n    for (;;)"
# name, file with the fault, type of the weights, [(text, replacement)], what the emulator says (None: the result is wrong; "":
# there is no fault)
MUTANTS = [
    ("tensor_right_bf16", "tensor.cu", BF16, [], ""),
    ("tensor_right_f8", "tensor.cu", F8, [], ""),
    ("tensor_right_q4_k", "tensor.cu", Q4_K, [], ""),
    ("tensor_right_q6_k", "tensor.cu", Q6_K, [], ""),
    ("tensor_no_barrier", "tensor.cu", BF16, [(WAIT + BARRIER, WAIT)], None),
    ("tensor_late_wait", "tensor.cu", BF16, [(WAIT + BARRIER, BARRIER + WAIT)], None),
    ("tensor_group_too_few", "tensor.cu", BF16, [("gpu_copy_wait<1>", "gpu_copy_wait<2>")], "copies are under way"),
    ("tensor_no_second_barrier", "tensor.cu", Q4_K, [("        gpu_barrier(); /* this buffer is filled again */\n", "")], None),
    ("tensor_no_row_barrier", "tensor.cu", Q4_K, [("    gpu_barrier();\n    if (ours) {", "    if (ours) {")], "goes beyond an allocation"),
    ("tensor_no_sum_barrier", "tensor.cu", BF16, [("(sum, parts);\n    gpu_barrier();\n", "(sum, parts);\n")], None),
    ("tensor_wrong_rows", "tensor.cu", BF16, [("(at + lane % 16)", "(at + lane / 16 * 8 + lane % 8)")], None),
    ("tensor_wrong_b", "tensor.cu", BF16, [("gpu_mma_bf16(sum[n], a[i], b + 2 * i)", "gpu_mma_bf16(sum[n], a[i], b + 2 - 2 * i)")],
     None),
    ("tensor_wrong_d", "tensor.cu", BF16, [("lane / 4 + r / 2 * 8", "lane / 4 + r % 2 * 8"), ("lane % 4 * 2 + r % 2", "lane % 4 * 2 + r / 2")], None),
    ("tensor_wrong_f8", "tensor.cu", F8, [("inputs + n * 8 * tensor_inputs<FAMILY> + k * 2);\n            const uint32_t b[2] = {in[0], in[1]}",
                                           "inputs + n * 8 * tensor_inputs<FAMILY> + k * 2);\n            const uint32_t b[2] = {in[1], in[0]}")], None),
    ("tensor_wrong_a_s8", "tensor.cu", Q4_K, [("{upper[0], lower[0], upper[1], lower[1]}", "{upper[0], upper[1], lower[0], lower[1]}")],
     None),
    ("tensor_wrong_half", "tensor.cu", Q6_K, [("gpu_mma_s8(low, first, b);", "gpu_mma_s8(high, first, b);"),
                                              ("gpu_mma_s8(high, last, b);", "gpu_mma_s8(low, last, b);")], None),
    ("tensor_stale_scales", "tensor.cu", Q4_K, [("(s, raw, next);", "(s, raw, now);")], None),
    ("tensor_no_wait_previous", "tensor.cu", BF16, [(WAIT_PREVIOUS, "")], NEVER_WAITED),
    ("tensor_early_inputs", "tensor.cu", Q4_K, [(WAIT_PREVIOUS, ""), (INPUTS, INPUTS + WAIT_PREVIOUS)], None),
    ("prepare_right", "prepare.cu", BF16, [], ""),
    ("prepare_no_wait_previous", "prepare.cu", BF16, [(WAIT_PREVIOUS, "")], NEVER_WAITED),
    ("prepare_no_barrier", "product.cuh", BF16, [("part[gpu_warp()] = v;\n    gpu_barrier();\n", "part[gpu_warp()] = v;\n")], None),
    ("rows_right", "products.cu", Q4_K, [], ""),
    ("rows_no_barrier", "products.cu", Q4_K, [(LOOP, "    for (;;)")], None),
    ("rows_no_wait_previous", "products.cu", Q4_K, [(WAIT_PREVIOUS, "")], NEVER_WAITED),
    ("rows_early_inputs", "products.cu", Q4_K, [(WAIT_PREVIOUS, ""), (LOOP, WAIT_PREVIOUS + LOOP)], None),
    ("rows_wrong_half", "products.cu", Q4_K, [("(r[m], h, j)", "(r[m], 1 - h, j)")], None),
    ("rows_wrong_unit", "products.cu", BF16, [("(pair, u + 64 + 32 * k", "(pair, u + 32 + 32 * k")], None),
]


def read(name):
    with open(os.path.join(CUDA, name), encoding="utf-8") as f:
        return f.read()


def cut(name, kind, weights, source):
    """The file with one kernel, behind the function mutant_<name>."""
    if kind == "tensor":
        head = source[:source.index("template <int FAMILY>\nstatic int launch_family")]
        return head + f"""extern "C" int mutant_{name}(struct gpu_stream *s, const struct cuda_product *p, int n_rows) {{
    return launch<{FAMILY[weights]}, 8>(s, p, n_rows);
}}
"""
    if kind == "prepare":
        return source.replace("steps_prepare(", f"mutant_{name}(")
    source = source[:source.index("/* Bits of the families of a step's sections. */")]
    source = source.replace("steps_product_rows(", f"mutant_{name}(")
    return re.sub(r"\bsteps_(product_shared|add_section)\(", rf"{name}_\1(", source)


def few_types(header):
    """weights.cuh with one type of each kind."""
    plain, rest = header.index("#define WEIGHTS_PLAIN"), "#endif\n"
    return header[:plain] + """#define WEIGHTS_PLAIN(call) WEIGHTS_CASE(CUDA_BF16, call)
#define WEIGHTS_QUANTISED(call) WEIGHTS_CASE(CUDA_Q4_K, call) WEIGHTS_CASE(CUDA_Q6_K, call)

""" + rest


def faulty(source, name, changes):
    for text, instead in changes:
        if source.count(text) != 1:
            sys.exit(f"{name}: its text stands {source.count(text)} times in the source: {text!r}")
        source = source.replace(text, instead)
    return source


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    old = None
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            old = f.read()
    if old != text:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def main():
    if sys.argv[1] == "--names":
        print(";".join(m[0] for m in MUTANTS))
        return
    lines = []
    for name, file, weights, changes, says in MUTANTS:
        kind = name.split("_")[0]
        unit = {"tensor": "tensor.cu", "prepare": "prepare.cu", "rows": "products.cu"}[kind]
        folder = os.path.join(sys.argv[1], name)
        headers = {"weights.cuh": few_types(read("weights.cuh"))}
        source = read(unit)
        if file == unit:
            source = faulty(source, name, changes)
        else:
            headers[file] = faulty(read(file), name, changes)
        for header, text in headers.items():
            write(os.path.join(folder, "kernels", "cuda", header), text)
        write(os.path.join(folder, name + ".cu"), cut(name, kind, weights, source))
        quoted = "NULL" if says is None else f'"{says}"'
        lines.append(f"MUTANT({name}, {kind.upper()}, DTYPE_{weights if weights != F8 else 'F8_E4M3'}, {quoted})")
    write(os.path.join(sys.argv[1], "mutants.h"), "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

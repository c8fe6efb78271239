#!/usr/bin/env python3
"""Prefill and decode speed of one GGUF by hermesd's bench_engine and by llama.cpp, in the same run on the same machine.

    python tests/bench/compare_llama_cpp.py build/release/tests/bench/bench_engine model.gguf [threads]

llama.cpp comes as the PyPI package llama-cpp-python; without it only hermesd is measured, and how to install it is printed.
The two take turns, three rounds, medians; a machine that does other work makes both slower.
"""
import json
import statistics
import subprocess
import sys
import time

PROMPT, NEW, ROUNDS = 512, 128, 3


def ours(bench, model, threads):
    out = subprocess.run([bench, "-m", model, "-t", str(threads), "-p", str(PROMPT), "-n", str(NEW), "-x", "1"],
                         check=True, capture_output=True, text=True).stdout
    line = json.loads(out)
    return line["prefill_tokens_per_s"], line["decode_tokens_per_s"], line["percent_of_bandwidth"], line["peak_memory_mib"]


def theirs(llama_cpp, model, threads, salt):
    llm = llama_cpp.Llama(model_path=model, n_ctx=PROMPT + NEW + 8, n_batch=PROMPT, n_threads=threads,
                          n_threads_batch=threads, verbose=False, logits_all=False)
    ids = [(i * 2654435761 + salt * 40503) % 256 for i in range(PROMPT)]
    start = time.perf_counter()
    llm.eval(ids)
    prefill = PROMPT / (time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(NEW):
        llm.eval([llm.sample(temp=0.0, repeat_penalty=1.0)])
    decode = NEW / (time.perf_counter() - start)
    return prefill, decode


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    bench, model = sys.argv[1:3]
    threads = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    try:
        import llama_cpp
    except ImportError:
        llama_cpp = None
        print("llama.cpp is not measured: install it with `pip install llama-cpp-python` (needs a C++ compiler and cmake).")
    results = {"hermesd": [], "llama.cpp": []}
    for i in range(ROUNDS):
        results["hermesd"].append(ours(bench, model, threads))
        if llama_cpp is not None:
            results["llama.cpp"].append(theirs(llama_cpp, model, threads, i))
    print(f"{model}, {threads} threads, prompt {PROMPT}, new {NEW}, median of {ROUNDS}")
    for name, runs in results.items():
        if runs:
            prefill = statistics.median(r[0] for r in runs)
            decode = statistics.median(r[1] for r in runs)
            more = f"   {runs[-1][2]:.0f} % of the read bandwidth, {runs[-1][3]:.0f} MiB at most" if len(runs[0]) > 2 else ""
            print(f"{name:10s} prefill {prefill:9.1f} tokens/s   decode {decode:9.1f} tokens/s{more}")


if __name__ == "__main__":
    main()

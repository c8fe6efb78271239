#!/usr/bin/env python3
"""Prefill and decode speed of GGUF files by hermesd's bench_engine and by llama.cpp, in the same run on the same machine.

    python tests/bench/compare_llama_cpp.py [-t THREADS] [-r ROUNDS] build/release/tests/bench/bench_engine model.gguf ...

llama.cpp comes as the PyPI package llama-cpp-python; without it only hermesd is measured, and how to install it is printed.
The two take turns, five rounds; a machine that does other work makes both slower, and memory that is shared with other
machines gives more at one time than at another. So a ratio is the median of the rounds' ratios, and the least and the
largest stand behind it. Printed per model, medians: prefill of 512 tokens, decode of 128, decode of four sessions together
beside that of one behind as many tokens (16 at first), which takes turns with them, the ratios, how much of the read
bandwidth one session's decode reached in a run of its own, where it is read every 16 tokens, and memory at most beside
the size of the file plus the keys and values of one session.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

PROMPT, NEW, BATCH = 512, 128, 4


def run_ours(bench, model, threads, *options):
    return json.loads(subprocess.run([bench, "-m", model, "-t", str(threads), "-x", "1", *options], check=True,
                                     capture_output=True, text=True).stdout)


def ours(bench, model, threads):
    """Prefill, decode, decode of a batch and how often that of one (tokens/s), percent of the bandwidth, the bandwidth (GB/s),
    memory and what it may be (MiB)."""
    one = run_ours(bench, model, threads, "-p", str(PROMPT), "-n", str(NEW), "-b", "0")
    share = run_ours(bench, model, threads, "-p", str(PROMPT), "-n", str(NEW), "-b", "512")
    short = run_ours(bench, model, threads, "-p", "16", "-n", "64", "-s", str(BATCH), "-c", "-b", "0")
    least = (os.path.getsize(model) + one["kv_bytes_per_token"] * (PROMPT + NEW)) / 2**20
    return (one["prefill_tokens_per_s"], one["decode_tokens_per_s"], short["decode_tokens_per_s"], short["times_alone"],
            share["percent_of_bandwidth"], share["read_bandwidth_gb_per_s"], one["peak_memory_mib"], least)


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


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def compare(bench, model, threads, rounds, llama_cpp):
    mine, other = [], []
    for i in range(rounds):
        mine.append(ours(bench, model, threads))
        if llama_cpp is not None:
            other.append(theirs(llama_cpp, model, threads, i))
    prefill, decode, batch, _, _, read, memory, least = (statistics.median(v) for v in zip(*mine))
    print(f"{os.path.basename(model)}, {threads} threads, prompt {PROMPT}, new {NEW}, median of {rounds}")
    print(f"  hermesd    prefill {prefill:8.1f}  decode {decode:7.1f} tokens/s, {spread([m[4] for m in mine], 0)} % of {read:.1f} GB/s")
    if other:
        their_prefill, their_decode = (statistics.median(v) for v in zip(*other))
        print(f"  llama.cpp  prefill {their_prefill:8.1f}  decode {their_decode:7.1f} tokens/s")
        ratios = [[ours / other for ours, other in zip(*pair)] for pair in zip(mine, other)]
        print(f"  ratio      prefill {spread([r[0] for r in ratios], 2)}, decode {spread([r[1] for r in ratios], 2)}")
    print(f"  {BATCH} sessions decode {batch:.1f} tokens/s together, {spread([m[3] for m in mine], 2)} times one")
    print(f"  memory {memory:.0f} MiB, {100 * memory / least - 100:+.1f} % beside file and KV ({least:.0f} MiB)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("bench")
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    try:
        import llama_cpp
    except ImportError:
        llama_cpp = None
        print("llama.cpp is not measured: install it with `pip install llama-cpp-python` (needs a C++ compiler and cmake).")
    for model in args.models:
        compare(args.bench, model, args.threads, args.rounds, llama_cpp)


if __name__ == "__main__":
    main()

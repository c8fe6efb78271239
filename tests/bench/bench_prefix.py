#!/usr/bin/env python3
"""What is kept of prompts from one daemon to the next: how long a start takes with it, and the first job that wants some of it.

    HERMESD_BINARY_DIR=build/release python3 tests/bench/bench_prefix.py [--model FILE] [--bytes 200M] [--tokens 7000] [--runs 9] [--cold]

Pairs of jobs with long system prompts fill prefixes.kv; then the daemon is started again and again, with the file and without it in turn: the time until /health answers, its
memory then, and `first_token_ms` of a first job with one of these prompts. The file is in the page cache, as after a restart of the daemon alone; with --cold it is not, as after one of the machine."""
import argparse
import os
import random
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import harness  # noqa: E402

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size(text):
    return int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else int(text)


def system_prompt(number, words):
    """Words that no other one begins with."""
    chosen = random.Random(number)
    return " ".join(f"{chosen.choice(('day', 'week', 'month', 'year', 'hour'))} {chosen.randrange(1000)}" for _ in range(words))


def first_turn(api, number, words, text):
    job = api.wait(api.submit(text, system=system_prompt(number, words), tools=[], max_turns=1, max_turn_tokens=4)["id"], 600)
    return api.trace(job["id"])["turns"][0]


def start(room, flags):
    """Milliseconds until the daemon answers, and its memory in MB."""
    with open(room.log, "a") as log:
        begun = time.monotonic()
        room.daemon = subprocess.Popen(room.command(*flags, plugins=()), stderr=log, stdout=log, env=room.environment())
    while True:
        try:
            room.api.ask("GET", "/health")
            break
        except OSError:
            if room.daemon.poll() is not None:
                sys.exit(room.read_log())
            time.sleep(0.0005)
    ms = (time.monotonic() - begun) * 1000
    with open(f"/proc/{room.daemon.pid}/status") as status:
        return ms, next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


def forget(path):
    """Drops the file's pages from the page cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def median(values):
    return f"{statistics.median(values):8.1f} ({min(values):.1f} … {max(values):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "hermes-tiny.gguf"))
    parser.add_argument("--bytes", type=size, default=200 << 20)
    parser.add_argument("--tokens", type=int, default=7000, help="of each system prompt, about")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--cold", action="store_true")
    args = parser.parse_args()
    room = harness.Room([])
    flags = ("--model", args.model, "--prefix-cache", str(args.bytes * 2))
    words, n = args.tokens // 6, 0
    start(room, flags)
    each = 0  # bytes of one prompt
    while n == 0 or each * n < args.bytes:
        first = first_turn(room.api, n, words, "One question")
        again = first_turn(room.api, n, words, "Another one")
        n += 1
        if n == 1:
            room.stop(seconds=120)
            each = os.stat(os.path.join(room.state, "prefixes.kv")).st_size
            print(f"a prompt of {first['usage']['input_tokens']} tokens, {again['usage']['cached_tokens']} of them common: {each / 1e6:.1f} MB")
            start(room, flags)
    begun = time.monotonic()
    room.stop(seconds=120)
    kept = os.path.join(room.state, "prefixes.kv")
    print(f"{n} prompts, {os.stat(kept).st_size / 1e6:.0f} MB in prefixes.kv; the stop that wrote it took {(time.monotonic() - begun) * 1000:.0f} ms")
    times = {"with the file": [], "without": []}
    memory, firsts, stops = {k: [] for k in times}, {k: [] for k in times}, {k: [] for k in times}
    for run in range(args.runs):
        for what in times:
            if args.cold:
                forget(kept)
            ms, mb = start(room, flags if what == "with the file" else (*flags[:2], "--prefix-cache", "0"))
            times[what].append(ms)
            memory[what].append(mb)
            if run % 3 == 2:
                turn = first_turn(room.api, run % n, words, f"Question {run}")
                firsts[what].append(turn["timings"]["first_token_ms"])
            begun = time.monotonic()
            room.stop(seconds=120)
            if run % 3 != 2:
                stops[what].append((time.monotonic() - begun) * 1000)
    for what in times:
        print(f"{what:14} start {median(times[what])} ms   memory {median(memory[what])} MB   stop {median(stops[what])} ms   first token {median(firsts[what])} ms")
    room.close()


if __name__ == "__main__":
    main()

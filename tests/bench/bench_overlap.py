#!/usr/bin/env python3
"""What doing things at once saves: the same jobs as they come and with "overlap": false (one thing after the other), with the default model and a tool that sleeps.

    HERMESD_BINARY_DIR=build/release python3 tests/bench/bench_overlap.py [--model FILE] [--runs 7]

Every job has a system text of its own, so that none of it was computed before. Prints the median time from the request to the answer of each kind of job, both ways in turns, and how many tokens of the second prompt were computed while calls still ran."""
import argparse
import os
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import harness  # noqa: E402

JOBS = [
    ("one call of 50 ms", "Use nap with ms 50.", ["nap"]),
    ("one call of 200 ms", "Use nap with ms 200.", ["nap"]),
    ("a calculation and 50 ms", "What is {n} times 9 and nap for 50 ms.", ["nap", "calculator"]),
    ("a calculation and 200 ms", "What is {n} times 9 and nap for 200 ms.", ["nap", "calculator"]),
    ("two calls of 50 ms", "Nap for 50 ms and nap for 51 ms.", ["nap"]),
    ("two calls of 200 ms", "Nap for 200 ms and nap for 201 ms.", ["nap"]),
    ("3 KB of a file and 200 ms", "Read paris.txt and nap for 200 ms.", ["read_file", "nap"]),
]


def run(api, text, tools, overlap, system):
    begun = time.monotonic()
    job = api.run(text, wait=60, tools=tools, overlap=overlap, system=system, max_turn_tokens=200)
    took = 1000 * (time.monotonic() - begun)
    turns = api.trace(job["id"])["turns"]
    calls = [(p["call"]["name"], p["call"]["status"], p["call"]["duration_ms"]) for turn in turns for p in turn["parts"] if p["call"]]
    return took, turns, calls


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "hermes-tiny.gguf"))
    p.add_argument("--runs", type=int, default=7)
    args = p.parse_args()
    harness.expect_built()
    room = harness.Room([])
    try:
        api = room.start("--model", args.model, plugins=(harness.PROBE, harness.PLUGINS))
        print(f"{'job':28} {'at once':>9} {'in turn':>9}   saved     calls, of each the time; ahead: tokens computed while calls ran")
        for kind, text, tools in JOBS:
            took, ahead, shown = {True: [], False: []}, [], None
            for number in range(2 * args.runs):
                overlap = number % 2 == 0
                with open(os.path.join(room.workspace, "paris.txt"), "w") as file:
                    file.write("".join(f"Line {line} of file {number}: {line * 37 % 101} apples.\n" for line in range(130)))
                ms, turns, calls = run(api, text.format(n=20 + number), tools, overlap, f"You are helper {number}, who is asked {kind}.")
                took[overlap].append(ms)
                if overlap:
                    ahead.append(turns[1]["usage"]["ahead_tokens"] if len(turns) > 1 else 0)
                    shown = ", ".join(f"{n} {status} {ms:.0f} ms" for n, status, ms in calls)
            one, other = statistics.median(took[True]), statistics.median(took[False])
            print(f"{kind:28} {one:6.1f} ms {other:6.1f} ms {other - one:6.1f} ms   {shown}; ahead {statistics.median(ahead):.0f}")
    finally:
        room.close()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What the daemon needs and how soon it goes on: memory while idle, per waiting job and per spare worker; time from a tool's result to the model's next text.

    HERMESD_BINARY_DIR=build/release python3 tests/bench/bench_daemon.py [--model FILE] [--jobs 32] [--rounds 40]

The real daemon with the default model over its real socket. Memory is PSS of /proc/PID/smaps_rollup; the model's file is mapped and counts in it. A waiting job is one whose tool
sleeps. The time to the next text is taken at the client, and beside it what the daemon's own clock says of the same turn (`first_token_ms`)."""
import argparse
import glob
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import harness  # noqa: E402


def kib(pid, key="Pss:"):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key))


def children(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path) as f:
            found += [int(p) for p in f.read().split()]
    return found


def percentiles(what, values):
    values.sort()
    print(f"{what:46} p50 {values[len(values) // 2]:7.2f} ms   p99 {values[len(values) * 99 // 100]:7.2f} ms   of {len(values)}")


def idle(flags, what):
    room = harness.Room([{"match": "", "turns": ["Hello there."]}])
    try:
        room.start(*flags, plugins=(harness.PLUGINS,))
        room.api.run("Hello", wait=60)
        time.sleep(0.5)
        workers = [kib(p) for p in children(room.daemon.pid)]
        print(f"{what:46} PSS {kib(room.daemon.pid) / 1024:7.2f} MiB, private {kib(room.daemon.pid, 'Private_Dirty:') / 1024:.2f} MiB")
        print(f"{'  its spare workers':46} PSS {sum(workers) / 1024:7.2f} MiB in {len(workers)}: {', '.join(str(w) for w in sorted(workers))} KiB")
    finally:
        room.close()


def waiting(model, jobs):
    room = harness.Room([])
    try:
        api = room.start("--model", model, "--max-jobs", str(jobs), plugins=(harness.PROBE,))
        api.run("Hello", wait=60)
        before = kib(room.daemon.pid)
        ids = [api.submit(f"Use the tool nap with ms {60000 + n}.", tools=["nap"])["id"] for n in range(jobs)]
        end = time.monotonic() + 60
        while time.monotonic() < end and any(not api.trace(i)["turns"] or not api.trace(i)["turns"][0]["finish_reason"] for i in ids):
            time.sleep(0.2)
        turns = [api.trace(i)["turns"][0] for i in ids]
        calls = sum(any(p["call"] for p in t["parts"]) for t in turns)
        tokens = sum(t["usage"]["input_tokens"] + t["usage"]["output_tokens"] for t in turns) / jobs
        print(f"{'a waiting job':46} PSS {(kib(room.daemon.pid) - before) / jobs:7.1f} KiB more; {jobs} jobs of {tokens:.0f} tokens, {calls} of them wait for their tool")
        for i in ids:
            api.cancel(i)
    finally:
        room.close()


def next_text(model, rounds):
    room = harness.Room([])
    seen, told = [], []
    try:
        api = room.start("--model", model, plugins=(harness.PLUGINS,))
        for n in range(rounds):
            job = api.submit(f"How much is {n + 11} times 7?", tools=["calculator"])
            done = None
            with api.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
                for _, name, _ in events:
                    if name == "tool_call.completed":
                        done = time.monotonic()
                    elif done and name == "message.delta":
                        seen.append((time.monotonic() - done) * 1000)
                        done = None
            told += [t["timings"]["first_token_ms"] for t in api.trace(job["id"])["turns"][1:2]]
    finally:
        room.close()
    percentiles("from a tool's result to the next text, client", seen)
    percentiles("  the first token of that turn, daemon", told)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "hermes-tiny.gguf"))
    p.add_argument("--jobs", type=int, default=32)
    p.add_argument("--rounds", type=int, default=40)
    args = p.parse_args()
    harness.expect_built()
    idle((), "an idle daemon, scripted engine")
    idle(("--model", args.model), "an idle daemon, default model")
    waiting(args.model, args.jobs)
    next_text(args.model, args.rounds)


if __name__ == "__main__":
    main()

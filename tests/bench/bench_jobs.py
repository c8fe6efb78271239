#!/usr/bin/env python3
"""Many jobs at once: how much of their prompts is not computed again, how long they wait for their first token, and for each next one.

    HERMESD_BINARY_DIR=build/release python3 tests/bench/bench_jobs.py [--model FILE] [--jobs 32] [--rounds 3] [--kv-bytes SIZE]

The real daemon over its real socket, all jobs at once with the same tools and different questions, each with a call. Times are the daemon's, per turn: `first_token_ms` from when
the turn is asked for, and `decode_ms` by the tokens after the first. Beside them the gaps between the pieces of text of one job that is watched."""
import argparse
import os
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import harness  # noqa: E402

QUESTIONS = ("How much is {} times 7?", "Add {} days to 2026-03-01.", "What weekday is 2026-05-{day:02}?", "How much is {} % of 840?")


def percentiles(what, values, unit="ms"):
    values.sort()
    print(f"{what:52} p50 {values[len(values) // 2]:8.2f} {unit}   p99 {values[len(values) * 99 // 100]:8.2f} {unit}   of {len(values)}")


def watch(api, gaps, until):
    """The gaps between pieces of text of jobs that write, one after the other."""
    while not until.is_set():
        job = api.submit("Tell me a joke about weeks.", tools=[])
        last = None
        with api.stream("GET", f"/v1/jobs/{job['id']}/events", timeout=120) as events:
            for _, name, _ in events:
                now = time.monotonic()
                if name == "message.delta":
                    if last is not None:
                        gaps.append((now - last) * 1000)
                    last = now


def run(api, jobs, round_number):
    texts = [QUESTIONS[n % len(QUESTIONS)].format(round_number * jobs + n + 11, day=n % 28 + 1) for n in range(jobs)]
    begun = time.monotonic()
    ids = [api.submit(text)["id"] for text in texts]
    done = [api.wait(id, 300) for id in ids]
    seconds = time.monotonic() - begun
    turns = [turn for job in done for turn in api.trace(job["id"])["turns"]]
    return done, turns, seconds


def rate(turns):
    return sum(t["usage"]["cached_tokens"] for t in turns) / sum(t["usage"]["input_tokens"] for t in turns) * 100


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "hermes-tiny.gguf"))
    parser.add_argument("--jobs", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kv-bytes", default="0")
    args = parser.parse_args()
    room = harness.Room([])
    try:
        limits = [x for name in ("--max-jobs", "--max-user-jobs") for x in (name, str(args.jobs + 8))]
        api = room.start("--model", args.model, "--kv-bytes", args.kv_bytes, *limits, plugins=(harness.PLUGINS,))
        print(api.ask("GET", "/v1/models")["data"][0]["device"])
        gaps, over = [], threading.Event()
        watcher = threading.Thread(target=watch, args=(harness.Api(room.socket), gaps, over))
        all_turns, ended, spent = [], [], 0
        for n in range(args.rounds):
            done, turns, seconds = run(api, args.jobs, n)
            ended += done
            all_turns += turns
            spent += seconds
            first = [t for t in turns if t["turn"] == 0]
            print(f"round {n}: {args.jobs} jobs in {seconds:.2f} s; prompt tokens not computed again: first turns {rate(first):.1f} %, all turns {rate(turns):.1f} %")
            if n == 0:
                watcher.start()
        over.set()
        watcher.join()
        asked = sum(t["usage"]["input_tokens"] for t in all_turns)
        out = sum(t["usage"]["output_tokens"] for t in all_turns)
        missed = sum(t["usage"]["prefix_miss_tokens"] for t in all_turns)
        print(f"{'jobs':52} {len(ended)}, {sum(j['status'] == 'completed' for j in ended)} completed, {len(all_turns)} turns, {len(ended) / spent:.1f} jobs/s")
        print(f"{'prompt tokens':52} {asked}, of them computed {asked - sum(t['usage']['cached_tokens'] for t in all_turns)}, computed again {missed}")
        print(f"{'tokens written':52} {out}, {out / spent:.0f} tokens/s")
        percentiles("to the first token, first turns", [t["timings"]["first_token_ms"] for t in all_turns if t["turn"] == 0])
        percentiles("to the first token, later turns", [t["timings"]["first_token_ms"] for t in all_turns if t["turn"] > 0])
        percentiles("from token to token, mean of a turn", [t["timings"]["decode_ms"] / (t["usage"]["output_tokens"] - 1) for t in all_turns if t["usage"]["output_tokens"] > 1])
        percentiles("from text to text, one job that is watched", gaps)
    finally:
        room.close()


if __name__ == "__main__":
    main()

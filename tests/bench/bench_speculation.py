#!/usr/bin/env python3
"""What guessed tokens save in an agent's work: tasks the default model never saw, through the real daemon, with and without.

    python3 tests/bench/bench_speculation.py [--build build/release] [--model FILE] [--tasks 120] [--seed 1]

The tasks are those of models/evaluate. Each job runs once as it comes and once with "speculation": false, each on a fresh daemon; printed are the tokens of all turns, the time they took
to decode by the daemon's clock, and whether every turn of every task has the same text (temperature 0)."""
import argparse
import importlib.machinery
import importlib.util
import os
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "..", "models")


def load():
    loader = importlib.machinery.SourceFileLoader("evaluate", os.path.join(MODELS, "evaluate"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("evaluate", loader))
    loader.exec_module(module)
    return module


def run(evaluate, args, members):
    """(usage summed over all turns, decode time in ms, the text of every turn, tasks solved)"""
    total, texts, decode = {}, [], 0
    plain = evaluate.Api.run

    def counted(api, request):
        nonlocal decode
        job, calls, trace = plain(api, {**request, **members})
        for turn in trace["turns"]:
            for key, value in turn["usage"].items():
                if isinstance(value, int):
                    total[key] = total.get(key, 0) + value
            decode += turn["timings"]["decode_ms"] or 0
        texts.append([[(p["type"], p["text"] or "", p["call"] and p["call"]["name"]) for p in turn["parts"]] for turn in trace["turns"]])
        return job, calls, trace

    evaluate.Api.run = counted
    with tempfile.TemporaryDirectory() as room:
        for name in ("workspace", "documents", "state", "plugins"):
            os.mkdir(os.path.join(room, name), 0o700)
        tasks, made, answers = evaluate.draw(args.seed, args.tasks)
        evaluate.make_plugins(os.path.join(room, "plugins"), room, made, answers)
        pages = evaluate.worlds.Pages()
        daemon, api = evaluate.start(args, room, os.path.join(room, "plugins"))
        try:
            table, _, _ = evaluate.evaluate(args, room, api, pages, tasks)
        finally:
            daemon.terminate()
            daemon.wait()
            pages.close()
            evaluate.Api.run = plain
    return total, decode, texts, sum(solved for solved, _ in table.values())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build/release")
    p.add_argument("--model", default=os.path.join(MODELS, "hermes-tiny.gguf"))
    p.add_argument("--tasks", type=int, default=120)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    args.verbose = False
    evaluate = load()
    runs = {name: run(evaluate, args, members) for name, members in (("with", {}), ("without", {"speculation": False}))}
    for name, (total, decode, texts, solved) in runs.items():
        print(f"{name:8} {len(texts)} tasks, {solved} solved; {total['output_tokens']} tokens in {decode:.0f} ms: {1000 * total['output_tokens'] / decode:.0f} tokens/s; "
              f"{total['forced_tokens']} forced, {total['drafted_tokens']} guessed, {total['accepted_tokens']} of them true")
    same = 0
    for a, b in zip(runs["with"][2], runs["without"][2]):
        same += a == b
        if a != b:
            print(f"with:    {a}\nwithout: {b}")
    print(f"{same} of {len(runs['with'][2])} tasks have the same text in every turn")


if __name__ == "__main__":
    main()

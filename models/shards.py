"""Tokenized groups on disk: made once by a light process, read by training in order.

  shards.py FOLDER --tokenizer FOLDER --level 2 --first 0 --count 20 --seed 7     writes FOLDER/L2-00000.pkl ..."""
import argparse
import os
import pickle
import random

import numpy as np

import generate
from encode import Encoder

GROUPS = 100  # per shard
# Kinds that are learned early: only this part of them is kept, so that the time goes where it is needed.
KEPT = {"weekday": 0.25, "now": 0.25, "date_diff": 0.25, "recall": 0.25, "read_file": 0.25, "http_fetch": 0.35, "remember": 0.4, "write_file": 0.4, "none": 0.4, "error": 0.5, "sql_query": 0.4,
        "calculator": 0.4, "cite": 0.4, "chain": 0.5, "date_add": 0.6, "synthetic": 0.7}


def make_group(encoder, seed, index, level):
    tools, system, _ = generate.group(seed, index, level, branches=0)
    k = 24 if len(tools) >= 10 else 16 if level > 0 else 6
    tools, system, tasks = generate.group(seed, index, level, branches=k + k // 2)
    keep = random.Random(f"{seed}/{index}/{level}/kept")
    tasks = [t for t in tasks if keep.random() < KEPT.get(t.kind, 1)][:k]
    prefix = np.array(encoder.prefix(tools, system), np.uint16)
    branches = [encoder.branch(t.messages) for t in tasks]
    return prefix, [b for b in branches if len(b[0]) <= 520]


def write(folder, encoder, seed, level, number):
    groups = [make_group(encoder, seed, number * GROUPS + i, level) for i in range(GROUPS)]
    path = os.path.join(folder, f"L{level}-{number:05d}.pkl")
    with open(path + ".new", "wb") as f:
        pickle.dump(groups, f)
    os.rename(path + ".new", path)
    return path


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--level", type=int, default=2)
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--count", type=int, default=10)
    p.add_argument("--seed", type=int, default=7)
    args = p.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    encoder = Encoder(args.tokenizer)
    for n in range(args.first, args.first + args.count):
        write(args.folder, encoder, args.seed, args.level, n)


if __name__ == "__main__":
    main()

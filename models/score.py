#!/usr/bin/env python3
"""How many unseen dialogues a checkpoint would write byte for byte, by kind.

One pass over each dialogue is enough: greedy writing gives the whole dialogue exactly when the best token is right at every learned
position. The tools' words in these dialogues are held out of training.

  score.py (--checkpoint RUN/checkpoint.pt | --gguf models/hermes-tiny.gguf) --tokenizer FOLDER [--groups 30] [--level 2] [--failures 10]"""
import argparse
import collections

import torch
import torch.nn.functional as F

import generate
from encode import Encoder
from llama import Llama
from train import flat_group


def scores(model, encoder, seed, groups, level, branches=12, failures=None):
    """({kind: [exact dialogues, dialogues, exact first turns]}, loss per learned token)."""
    table = collections.defaultdict(lambda: [0, 0, 0])
    loss = learned = 0
    model.eval()
    with torch.no_grad():
        for index in range(groups):
            tools, system, tasks = generate.group(f"score{seed}", index, level, evaluation=True, branches=branches)
            encoded = [encoder.branch(t.messages) for t in tasks]
            ids, prefix, lengths, targets = flat_group((encoder.prefix(tools, system), encoded))
            logits = model(ids, prefix, lengths, targets - 1)
            loss += F.cross_entropy(logits, ids[targets], reduction="sum").item()
            learned += len(targets)
            best = logits.argmax(-1)
            right = best == ids[targets]
            start = prefix
            for task, n in zip(tasks, lengths):
                mine = ((targets >= start) & (targets < start + n)).nonzero()[:, 0]
                ok = right[mine]
                stops = (ids[targets[mine]] == encoder.stop).nonzero()[:, 0]
                row = table[task.kind]
                row[1] += 1
                row[0] += int(ok.all())
                row[2] += int(ok[:stops[0] + 1].all())
                if failures is not None and not ok.all():
                    wanted = encoder.template.decode(ids[targets[mine]].tolist(), skip_special_tokens=False)
                    written = encoder.template.decode(best[mine].tolist(), skip_special_tokens=False)
                    failures.append((task.kind, task.messages[0]["content"], wanted, written))
                start += n
    return dict(table), loss / learned


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint")
    source.add_argument("--gguf")
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--groups", type=int, default=30)
    p.add_argument("--level", type=int, default=2)
    p.add_argument("--failures", type=int, default=0)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(1)
    if args.gguf:
        from resume import read_gguf
        config, weights = read_gguf(args.gguf)
    else:
        loaded = torch.load(args.checkpoint, weights_only=False)
        config, weights = loaded["config"], loaded["model"]
    model = Llama(config)
    model.load_state_dict(weights)
    failed = []
    table, loss = scores(model, Encoder(args.tokenizer), args.seed, args.groups, args.level, failures=failed)
    for kind, (exact, n, first) in sorted(table.items()):
        print(f"{kind:14} {exact:4}/{n:<4} whole dialogues, {first:4} first turns")
    exact, n, first = (sum(r[i] for r in table.values()) for i in range(3))
    print(f"{'all':14} {exact:4}/{n:<4} {100 * exact / n:.1f} %, first turns {100 * first / n:.1f} %, loss {loss:.3f} per token")
    for kind, user, wanted, written in failed[:args.failures]:
        print(f"--- {kind}: {user}\nwanted  {wanted!r}\nwritten {written!r}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How many unseen dialogues a checkpoint would write byte for byte, by kind.

One pass over each dialogue is enough: greedy writing gives the whole dialogue exactly when the best token is right at every learned
position. The tools' words in these dialogues are held out of training.

  score.py --checkpoint RUN/checkpoint.pt --tokenizer FOLDER [--groups 30] [--level 2] [--failures 10]"""
import argparse
import collections

import torch

import generate
from encode import Encoder
from llama import Llama
from train import flat_group


def scores(model, encoder, seed, groups, level, branches=12, failures=None):
    """{kind: [exact dialogues, dialogues, exact first turns]}."""
    table = collections.defaultdict(lambda: [0, 0, 0])
    model.eval()
    with torch.no_grad():
        for index in range(groups):
            tools, system, tasks = generate.group(f"score{seed}", index, level, evaluation=True, branches=branches)
            encoded = [encoder.branch(t.messages) for t in tasks]
            ids, prefix, lengths, targets = flat_group((encoder.prefix(tools, system), encoded))
            best = model(ids, prefix, lengths, targets - 1).argmax(-1)
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
    return dict(table)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", required=True)
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--groups", type=int, default=30)
    p.add_argument("--level", type=int, default=2)
    p.add_argument("--failures", type=int, default=0)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(1)
    loaded = torch.load(args.checkpoint, weights_only=False)
    model = Llama(loaded["config"])
    model.load_state_dict(loaded["model"])
    failed = []
    table = scores(model, Encoder(args.tokenizer), args.seed, args.groups, args.level, failures=failed)
    for kind, (exact, n, first) in sorted(table.items()):
        print(f"{kind:14} {exact:4}/{n:<4} whole dialogues, {first:4} first turns")
    exact, n, first = (sum(r[i] for r in table.values()) for i in range(3))
    print(f"{'all':14} {exact:4}/{n:<4} {100 * exact / n:.1f} %, first turns {100 * first / n:.1f} %, step {loaded['state']['step']}")
    for kind, user, wanted, written in failed[:args.failures]:
        print(f"--- {kind}: {user}\nwanted  {wanted!r}\nwritten {written!r}")


if __name__ == "__main__":
    main()

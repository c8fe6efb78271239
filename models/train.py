#!/usr/bin/env python3
"""Trains the default model: AdamW (and Muon with --muon), warm-up then cosine, loss on assistant tokens only, fp32 (or --bf16 products).

  train.py --shards FOLDER --tokenizer FOLDER --out FOLDER --until 18:30      resumes from OUT/checkpoint.pt when it is there

A step is --groups groups. The learning rate follows the clock: it is 0 at --until (or after --minutes). --helpers N adds processes that compute
gradients of further groups while the main one works; theirs are a step or two old. Checkpoints are whole or not there."""
import argparse
import datetime
import glob
import json
import math
import os
import pickle
import random
import time

import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F

import start
from llama import CONFIG, Llama
from muon import Muon


def flat_group(group):
    prefix, branches = group
    ids = np.concatenate([prefix] + [b for b, _ in branches]).astype(np.int64)
    learned = np.concatenate([np.zeros(len(prefix), bool)] + [m for _, m in branches])
    return torch.from_numpy(ids), len(prefix), [len(b) for b, _ in branches], torch.from_numpy(np.nonzero(learned)[0])


def loss_of(model, group, bf16):
    """(summed loss, learned tokens, all tokens)."""
    ids, prefix, lengths, targets = flat_group(group)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(ids, prefix, lengths, targets - 1)
    return F.cross_entropy(logits.float(), ids[targets], reduction="sum"), len(targets), len(ids)


class Stream:
    """Groups in a random order over shards; `shares` (a shared array) says how often each level comes."""

    def __init__(self, folder, shares, seed):
        self.folder, self.shares, self.rng = folder, shares, random.Random(seed)
        self.stock = [[], [], []]

    def next(self):
        level = self.rng.choices((0, 1, 2), list(self.shares))[0]
        if not self.stock[level]:
            path = self.rng.choice(sorted(glob.glob(os.path.join(self.folder, f"L{level}-*.pkl"))))
            with open(path, "rb") as f:
                self.stock[level] = pickle.load(f)
            self.rng.shuffle(self.stock[level])
        return self.stock[level].pop()


def parameters_in(model, flat):
    """Makes the model's parameters views of one flat tensor."""
    at = 0
    for p in model.parameters():
        n = p.numel()
        flat[at:at + n].copy_(p.data.view(-1))
        p.data = flat[at:at + n].view(p.shape)
        at += n


def gradient_of(model):
    return torch.cat([p.grad.view(-1) for p in model.parameters()])


def helper(config, flat, grad, stats, ready, shares, folder, seed, bf16):
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    model = Llama(config)
    mine = torch.empty_like(flat)
    parameters_in(model, mine)
    stream = Stream(folder, shares, seed)
    parent = os.getppid()
    while os.getppid() == parent:
        mine.copy_(flat)
        model.zero_grad(set_to_none=True)
        loss, learned, tokens = loss_of(model, stream.next(), bf16)
        loss.backward()
        while ready.value:
            if os.getppid() != parent:
                return
            time.sleep(0.002)
        grad.copy_(gradient_of(model))
        stats[0], stats[1], stats[2] = loss.item(), learned, tokens
        ready.value = 1


def take(done, model):
    """A helper's gradient becomes the model's; (summed loss, learned tokens, all tokens) of it."""
    grad, stats, ready = done
    at = 0
    for q in model.parameters():
        q.grad = grad[at:at + q.numel()].view(q.shape).clone()
        at += q.numel()
    numbers = stats[0], int(stats[1]), int(stats[2])
    ready.value = 0
    return numbers


def save(path, content):
    torch.save(content, path + ".new")
    os.replace(path + ".new", path)


def pace(name):
    """Learning rate of a parameter, relative: what start.py builds in would not survive the pace that the rest needs."""
    if "q_proj" in name or "k_proj" in name:
        return 0.5
    return 1.5 if "mlp" in name else 1.0


def deadline(args):
    if args.minutes:
        return time.time() + args.minutes * 60
    h, m = args.until.split(":")
    return datetime.datetime.now().replace(hour=int(h), minute=int(m), second=0).timestamp()


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shards", required=True)
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--start", help="a GGUF file of export.py whose weights the first checkpoint begins with; layers that it lacks are added")
    p.add_argument("--plain-start", action="store_true", help="random weights only, to see what start.py is for")
    p.add_argument("--until", help="HH:MM of today")
    p.add_argument("--minutes", type=float)
    p.add_argument("--lr", type=float, default=7e-4)
    p.add_argument("--groups", type=int, default=1, help="groups of a step")
    p.add_argument("--muon", type=float, default=0.0, help="pace of Muon for the layers' matrices, relative to --lr; 0: AdamW for all")
    p.add_argument("--helpers", type=int, default=1)
    p.add_argument("--level1-from", type=float, default=0.04, help="part of the time after which prompts with a few tools come")
    p.add_argument("--level2-from", type=float, default=0.2, help="part of the time after which full prompts come")
    p.add_argument("--bf16", action="store_true", help="bf16 products; only where the processor has them (AVX512-BF16, AMX)")
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    if not args.until and not args.minutes:
        p.error("say how long: --until HH:MM or --minutes N")
    return args


def begin(args, path):
    """(model, what the checkpoint holds or None, configuration)."""
    from encode import Encoder
    config = dict(CONFIG, vocab_size=Encoder(args.tokenizer).template.get_vocab_size())
    model = Llama(config)
    loaded = torch.load(path, weights_only=False) if os.path.exists(path) else None
    if loaded:
        model.load_state_dict(loaded["model"])
    elif args.start:
        from resume import grown, read_gguf
        old, weights = read_gguf(args.start)
        model.load_state_dict(grown(weights, old, config["num_hidden_layers"]))
    elif not args.plain_start:
        start.prepare(model)
    return model, loaded, config


def optimizers_of(model, args, loaded):
    """AdamW, and Muon for the layers' matrices where it is asked for; each as the checkpoint left it when it has one of the same kind."""
    matrices = {name: q for name, q in model.named_parameters() if q.dim() > 1 and "embed" not in name} if args.muon else {}
    groups = [{"params": [q], "weight_decay": 0.01 if q.dim() > 1 else 0.0, "pace": pace(name)} for name, q in model.named_parameters() if name not in matrices]
    made = {"optimizer": torch.optim.AdamW(groups, lr=args.lr, betas=(0.95, 0.99), eps=1e-9)}
    if matrices:
        made["second"] = Muon([{"params": list(matrices.values()), "pace": args.muon}], lr=args.lr)
    for name, optimizer in made.items():
        kept = (loaded or {}).get(name)
        if kept and len(kept["param_groups"]) == len(optimizer.param_groups):
            optimizer.load_state_dict(kept)
    return made


def start_helpers(args, config, flat, shares, step):
    helpers = []
    for i in range(args.helpers):
        grad, stats, ready = torch.zeros_like(flat).share_memory_(), mp.Array("d", 3, lock=False), mp.Value("i", 0, lock=False)
        mp.Process(target=helper, args=(config, flat, grad, stats, ready, shares, args.shards, args.seed * 1000 + 1 + i + step, args.bf16), daemon=True).start()
        helpers.append((grad, stats, ready))
    return helpers


def gradients(model, args, stream, helpers):
    """Leaves the mean gradient of a step's groups in the model; [summed loss, learned tokens, all tokens]."""
    sums, totals = None, [0.0, 0, 0]
    for _ in range(args.groups):
        model.zero_grad(set_to_none=True)
        done = next((h for h in helpers if h[2].value), None)
        if done:
            numbers = take(done, model)
        else:
            loss, learned, tokens = loss_of(model, stream.next(), args.bf16)
            loss.backward()
            numbers = loss.item(), learned, tokens
        mine = [q.grad for q in model.parameters()]
        sums = mine if sums is None else [x.add_(y) for x, y in zip(sums, mine)]
        totals = [x + y for x, y in zip(totals, numbers)]
    for q, g in zip(model.parameters(), sums):
        q.grad = g / totals[1]
    return totals


class Log:
    """A line for every 40 groups."""

    def __init__(self, folder, every, state):
        self.file, self.every, self.state = open(os.path.join(folder, "log.jsonl"), "a"), every, state
        self.window, self.since = [0.0, 0, 0], time.time()

    def step(self, totals, lr, norm):
        self.window = [x + y for x, y in zip(self.window, totals)]
        self.state["step"] += 1
        if self.state["step"] % self.every:
            return
        loss, learned, tokens = self.window
        self.state["tokens"] += tokens
        self.state["learned"] += learned
        row = {"step": self.state["step"], "loss": round(loss / learned, 4), "lr": round(lr, 6), "tokens": self.state["tokens"], "learned": self.state["learned"],
               "tokens_per_s": round(tokens / (time.time() - self.since)), "norm": round(norm, 2), "seconds": round(self.state["seconds"])}
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        print(row, flush=True)
        self.window, self.since = [0.0, 0, 0], time.time()


def shares_at(part, args):
    """How often each level comes after this part of the time."""
    return (1.0, 0.0, 0.0) if part < args.level1_from else (0.1, 0.9, 0.0) if part < args.level2_from else (0.0, 0.35, 0.65)


def train(args, model, optimizers, state, store, shares, stream, helpers):
    begun, end, before = time.time(), deadline(args), state["seconds"]
    print(f"{sum(q.numel() for q in model.parameters())} parameters, {end - begun:.0f} s to go, step {state['step']}", flush=True)
    log, saved, first = Log(args.out, max(1, 40 // args.groups), state), time.time(), state["step"]
    while time.time() < end:
        state["seconds"] = before + time.time() - begun
        part = state["seconds"] / (before + end - begun)
        lr = args.lr * min(1.0, (state["step"] - first + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))
        for optimizer in optimizers.values():
            for g in optimizer.param_groups:
                g["lr"] = lr * g["pace"]
        shares[:] = shares_at(part, args)
        totals = gradients(model, args, stream, helpers)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        log.step(totals, lr, norm.item())
        if time.time() - saved > 60:
            store()
            saved = time.time()


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)
    path = os.path.join(args.out, "checkpoint.pt")
    model, loaded, config = begin(args, path)
    state = loaded["state"] if loaded else {"step": 0, "tokens": 0, "learned": 0, "seconds": 0.0}
    flat = torch.zeros(sum(q.numel() for q in model.parameters())).share_memory_()
    parameters_in(model, flat)
    optimizers = optimizers_of(model, args, loaded)
    shares = mp.Array("d", shares_at(0, args), lock=False)
    stream = Stream(args.shards, shares, args.seed * 1000 + state["step"])
    helpers = start_helpers(args, config, flat, shares, state["step"])

    def store():
        save(path, {"model": model.state_dict(), "state": state, "config": config, **{name: o.state_dict() for name, o in optimizers.items()}})

    train(args, model, optimizers, state, store, shares, stream, helpers)
    store()
    print("done", state, flush=True)


if __name__ == "__main__":
    main()

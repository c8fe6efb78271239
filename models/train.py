#!/usr/bin/env python3
"""Trains the default model: AdamW, warm-up then cosine, loss on assistant tokens only, fp32 (or --bf16 products).

  train.py --shards FOLDER --tokenizer FOLDER --out FOLDER --until 18:30      resumes from OUT/checkpoint.pt when it is there

A step is one group. The learning rate follows the clock: it is 0 at --until (or after --minutes). --helpers N adds processes that compute
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


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shards", required=True)
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--start", help="a GGUF file of export.py whose weights the first checkpoint begins with")
    p.add_argument("--plain-start", action="store_true", help="random weights only, to see what start.py is for")
    p.add_argument("--until", help="HH:MM of today")
    p.add_argument("--minutes", type=float)
    p.add_argument("--lr", type=float, default=7e-4)
    p.add_argument("--helpers", type=int, default=1)
    p.add_argument("--level1-from", type=float, default=0.04, help="part of the time after which prompts with a few tools come")
    p.add_argument("--level2-from", type=float, default=0.2, help="part of the time after which full prompts come")
    p.add_argument("--bf16", action="store_true", help="bf16 products; only where the processor has them (AVX512-BF16, AMX)")
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    if not args.until and not args.minutes:
        p.error("say how long: --until HH:MM or --minutes N")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)
    from encode import Encoder
    config = dict(CONFIG, vocab_size=Encoder(args.tokenizer).template.get_vocab_size())
    model = Llama(config)
    path = os.path.join(args.out, "checkpoint.pt")
    state = {"step": 0, "tokens": 0, "learned": 0, "seconds": 0.0}
    loaded = torch.load(path, weights_only=False) if os.path.exists(path) else None
    if loaded:
        model.load_state_dict(loaded["model"])
        state = loaded["state"]
    elif args.start:
        from resume import read_gguf
        model.load_state_dict(read_gguf(args.start)[1])
    elif not args.plain_start:
        start.prepare(model)
    flat = torch.zeros(sum(q.numel() for q in model.parameters())).share_memory_()
    parameters_in(model, flat)
    optimizer = torch.optim.AdamW([{"params": [q], "weight_decay": 0.01 if q.dim() > 1 else 0.0, "pace": pace(name)} for name, q in model.named_parameters()],
                                  lr=args.lr, betas=(0.95, 0.99), eps=1e-9)
    if loaded and len(loaded["optimizer"]["param_groups"]) == len(optimizer.param_groups):
        optimizer.load_state_dict(loaded["optimizer"])
    shares = mp.Array("d", [1.0, 0.0, 0.0], lock=False)
    stream = Stream(args.shards, shares, args.seed * 1000 + state["step"])
    helpers = []
    for i in range(args.helpers):
        grad, stats, ready = torch.zeros_like(flat).share_memory_(), mp.Array("d", 3, lock=False), mp.Value("i", 0, lock=False)
        mp.Process(target=helper, args=(config, flat, grad, stats, ready, shares, args.shards, args.seed * 1000 + 1 + i + state["step"], args.bf16), daemon=True).start()
        helpers.append((grad, stats, ready))
    begun, end, before = time.time(), deadline(args), state["seconds"]
    log = open(os.path.join(args.out, "log.jsonl"), "a")
    print(f"{flat.numel()} parameters, {end - begun:.0f} s to go, step {state['step']}", flush=True)
    saved, first = time.time(), state["step"]
    window = [0.0, 0, 0, time.time()]
    while time.time() < end:
        state["seconds"] = before + time.time() - begun
        part = state["seconds"] / (before + end - begun)
        warm = min(1.0, (state["step"] - first + 1) / 100)
        lr = args.lr * warm * (0.5 * (1 + math.cos(math.pi * min(part, 1.0))))
        for g in optimizer.param_groups:
            g["lr"] = lr * g["pace"]
        shares[:] = (1.0, 0.0, 0.0) if part < args.level1_from else (0.1, 0.9, 0.0) if part < args.level2_from else (0.05, 0.4, 0.55)
        optimizer.zero_grad(set_to_none=True)
        done = next((h for h in helpers if h[2].value), None)
        if done:
            total, learned, tokens = take(done, model)
        else:
            loss, learned, tokens = loss_of(model, stream.next(), args.bf16)
            loss.backward()
            total = loss.item()
        for q in model.parameters():
            q.grad /= learned
        for i, n in enumerate((total, learned, tokens)):
            window[i] += n
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state["step"] += 1
        if state["step"] % 40 == 0:
            state["tokens"] += window[2]
            state["learned"] += window[1]
            row = {"step": state["step"], "loss": round(window[0] / window[1], 4), "lr": round(lr, 6), "tokens": state["tokens"], "learned": state["learned"],
                   "tokens_per_s": round(window[2] / (time.time() - window[3])), "norm": round(norm.item(), 2), "seconds": round(state["seconds"])}
            log.write(json.dumps(row) + "\n")
            log.flush()
            print(row, flush=True)
            window = [0.0, 0, 0, time.time()]
        if time.time() - saved > 60:
            save(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state, "config": config})
            saved = time.time()
    save(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state, "config": config})
    print("done", state, flush=True)


if __name__ == "__main__":
    main()

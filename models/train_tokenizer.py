#!/usr/bin/env python3
"""Trains the byte-level BPE of the default model and writes tokenizer.json, tokenizer_config.json and special_tokens_map.json.

The split is Llama-3's. Three choices serve copying, the skill a small model needs most:
- digits stay single: no merge joins two of them;
- merges are learnt inside runs of letters and inside runs of punctuation only, so a word has the same pieces whatever
  stands before it;
- only frequent words of the fixed phrases have a second token with a leading space; in all other words the space is its own token.

  train_tokenizer.py OUTPUT_FOLDER [--vocab 2048] [--seed 1]"""
import argparse
import collections
import json
import os
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import generate
from render import P1, P2, branch_spans, prefix_spans
from words import ADJECTIVES, CITIES, FIRST_NAMES, NOUNS

CONTROL = ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"]
SECTIONS = ["SCRATCHPAD", "REASONING", "INNER_MONOLOGUE", "PLAN", "EXECUTION", "REFLECTION", "THINKING", "SOLUTION", "EXPLANATION", "UNIT_TEST"]
TAGS = [t for name in ["tools", "tool_call", "tool_response", "co"] + SECTIONS for t in (f"<{name}>", f"</{name}>")]
LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TRAIN_SPLIT = r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def corpus(seed, groups):
    """Texts of the world, without tags; the fixed prompt text counts a few times."""
    texts = [P1, P2] * 60
    tags = re.compile("|".join(re.escape(t) for t in CONTROL + TAGS))
    for i in range(groups):
        tools, system, tasks = generate.group(seed, i, 2, branches=8)
        for _, text in prefix_spans(tools, system):
            if text not in (P1, P2):
                texts += tags.split(text)
        for task in tasks:
            for _, text, learned in branch_spans(task.messages):
                texts += tags.split(text) * (2 if learned else 1)
    return [t for t in texts if t]


def spaced_words(texts, pieces, n):
    """The n most frequent words after a space that are one token, fillers left out."""
    fillers = set(NOUNS) | set(ADJECTIVES) | set(FIRST_NAMES) | set(CITIES)
    counts = collections.Counter()
    for text in texts:
        counts.update(re.findall(r"(?<= )[A-Za-z]+", text))
    return [w for w, _ in counts.most_common() if w in pieces and w not in fillers and len(w) > 1][:n]


def build(vocab_size, seed, groups=1500):
    texts = corpus(seed, groups)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = byte_level(TRAIN_SPLIT)
    added = CONTROL + TAGS
    spaced = (vocab_size - 256 - len(added)) // 4
    learner.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size - len(added) - spaced - 12, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    vocab, merges = learnt["vocab"], [tuple(m) for m in learnt["merges"]]
    more = [("Ġ", w) for w in spaced_words(texts, vocab, spaced)] + [(".", e) for e in ["txt", "md", "csv", "log", "json", "db"] if e in vocab]
    for left, right in more:
        vocab[left + right] = len(vocab)
        merges.append((left, right))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = byte_level(LLAMA3_SPLIT)
    tokenizer.decoder = decoders.ByteLevel()
    fill = vocab_size - len(vocab) - len(added)
    assert fill >= 0, fill
    # bos is put first by whoever encodes a prompt, as in Llama-3's own file
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in TAGS])
    bos = tokenizer.token_to_id(CONTROL[0])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{CONTROL[0]} $A", pair=f"{CONTROL[0]} $A {CONTROL[0]}:1 $B:1",
                                                             special_tokens=[(CONTROL[0], bos)])
    return tokenizer


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("output")
    p.add_argument("--vocab", type=int, default=2048)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    tokenizer = build(args.vocab, args.seed)
    os.makedirs(args.output, exist_ok=True)
    tokenizer.save(os.path.join(args.output, "tokenizer.json"))
    with open(os.path.join(args.output, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|im_end|>",
                   "pad_token": "<|end_of_text|>", "model_max_length": 8192, "clean_up_tokenization_spaces": False}, f, indent=1)
    print(f"{tokenizer.get_vocab_size()} tokens in {args.output}")


if __name__ == "__main__":
    main()

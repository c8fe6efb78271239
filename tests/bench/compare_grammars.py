#!/usr/bin/env python3
"""Grammars of hermesd beside llguidance and xgrammar: the same schemas, instances and tokens, in turns in the same run.

    python3 -m venv build/venv && build/venv/bin/pip install -r tests/bench/requirements.txt
    build/venv/bin/python tests/bench/compare_grammars.py build/release/tests/bench/bench_grammar [COUNT] [FIRST]

All get each instance in one spelling, that of hermesd: members in the schema's order, ", " and ": ". Times are of the thread, less what reading the clock takes;
those of the others have the way through Python in them, a microsecond or less. The first mask is part of "compile" in none. xgrammar compiles on one thread, without
its cache, and takes members that no schema declares (strict_mode off), as JSON Schema does. It needs torch: it is measured where `pip install xgrammar` was done.
"wrongly" is by the verdict of the data. hermesd validates each call after all, so what a grammar that is not exact accepts too much is caught there.
"""
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import time

SHARED = pathlib.Path(os.environ.get("HERMESD_SHARED", pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "data"))
TOKENIZER = SHARED / "tokenizer" / "llama3" / "derived" / "tokenizer.json"
CHUNK = 50  # schemas that one of them does before it is the next one's turn


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class Count:
    def __init__(self):
        self.compile_us, self.masks_us = [], []
        self.refused = self.accepted = self.wrongly_accepted = self.wrongly_rejected = self.not_exact = self.caught = 0

    def judge(self, taken, valid, exact=True):
        self.accepted += taken
        self.wrongly_rejected += valid and not taken
        if taken and not valid:
            self.wrongly_accepted += exact
            self.caught += not exact

    def print(self, name):
        c, m = self.compile_us, self.masks_us
        print(f"{name:10s} schemas {len(c):5d}, refused {self.refused:4d}, not exact {self.not_exact:4d}   accepted {self.accepted:5d}, "
              f"wrongly accepted {self.wrongly_accepted:4d} (not exact: {self.caught}), wrongly rejected {self.wrongly_rejected:4d}")
        print(f"{'':10s} compile p50 {percentile(c, .5):9.1f}  p99 {percentile(c, .99):10.1f}  worst {max(c, default=0):10.1f} us")
        print(f"{'':10s} mask    p50 {percentile(m, .5):9.1f}  p99 {percentile(m, .99):10.1f}  worst {max(m, default=0):10.1f} us   n {len(m)}")


def ours(bench, first, count, lines, total):
    out = subprocess.run([bench, "-j", "-n", str(count), "-s", str(first)], check=True, capture_output=True, text=True).stdout
    rows = {row["line"]: row for row in map(json.loads, out.split("\n")[:-1])}
    for number, row in rows.items():
        total.compile_us.append(row["compile_us"])
        total.masks_us += row["masks_us"]
        total.refused += row["refused"]
        total.not_exact += not row["refused"] and not row["exact"]
        for test, case in zip(row["tests"], lines[number]["tests"]):
            total.judge(test["taken"], case["valid"], row["exact"])
    return rows


def clock_gap():
    gaps = []
    for _ in range(2001):
        before = time.thread_time_ns()
        gaps.append(time.thread_time_ns() - before)
    return percentile(gaps, .5)


class Llguidance:
    def __init__(self):
        import llguidance
        self.matcher = llguidance.LLMatcher
        self.tokenizer = llguidance.LLTokenizer(str(TOKENIZER))
        self.tokenizer = self.tokenizer.with_slices(llguidance.LLTokenizer.json_slices())
        self.mask = (ctypes.c_uint32 * ((self.tokenizer.vocab_size + 31) // 32))()
        self.clock_ns = clock_gap()

    def passed_us(self, before, after):
        return max(0, after - before - self.clock_ns) / 1e3

    def walk(self, matcher, tokens, total, timed):
        for token in tokens:
            if timed:
                before = time.thread_time_ns()
                matcher.unsafe_compute_mask_ptr(ctypes.addressof(self.mask), ctypes.sizeof(self.mask))
                total.masks_us.append(self.passed_us(before, time.thread_time_ns()))
                if not self.mask[token // 32] >> token % 32 & 1:
                    return False
            if not matcher.consume_token(token):
                return False
        return matcher.is_accepting()

    def play(self, schema, row, cases, total):
        before = time.thread_time_ns()
        try:
            grammar = self.matcher.grammar_from_json_schema(json.dumps(schema))
            matcher = self.matcher(self.tokenizer, grammar, log_level=0)
            refused = matcher.is_error()
        except ValueError:
            refused = True
        total.compile_us.append(self.passed_us(before, time.thread_time_ns()))
        if refused:
            total.refused += 1
            return
        texts = [test["text"] for test in row["tests"]] or [None] * len(cases)
        for text, case in zip(texts, cases):
            text = text if text is not None else json.dumps(case["data"], ensure_ascii=False)
            # A copy each: after a token that was refused, one stays in error.
            total.judge(self.walk(matcher.deep_copy(), self.tokenizer.tokenize_str(text), total, case["valid"]), case["valid"])


def byte_level():
    """What stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


class Xgrammar:
    def __init__(self, encode):
        import xgrammar
        with open(TOKENIZER, encoding="utf-8") as f:
            file = json.load(f)
        table, added = byte_level(), {token["id"]: token["content"] for token in file["added_tokens"]}
        size = 1 + max(max(file["model"]["vocab"].values()), *added)
        vocab = [b""] * size
        for text, token in file["model"]["vocab"].items():
            vocab[token] = bytes(table[c] for c in text)
        for token, text in added.items():
            vocab[token] = text.encode()
        self.stop = next(token for token, text in added.items() if text == "<|end_of_text|>")
        about = xgrammar.TokenizerInfo(vocab, xgrammar.VocabType.RAW, vocab_size=size, stop_token_ids=[self.stop])
        self.compiler = xgrammar.GrammarCompiler(about, max_threads=1, cache_enabled=False)
        self.matcher, self.encode = xgrammar.GrammarMatcher, encode
        self.mask = xgrammar.allocate_token_bitmask(1, size)
        self.words = (ctypes.c_uint32 * self.mask.numel()).from_address(self.mask.data_ptr())
        self.clock_ns = clock_gap()

    def passed_us(self, before, after):
        return max(0, after - before - self.clock_ns) / 1e3

    def walk(self, compiled, tokens, total, timed):
        matcher = self.matcher(compiled)
        for token in tokens:
            if timed:
                before = time.thread_time_ns()
                matcher.fill_next_token_bitmask(self.mask)
                total.masks_us.append(self.passed_us(before, time.thread_time_ns()))
                if not self.words[token // 32] >> token % 32 & 1:
                    return False
            if not matcher.accept_token(token):
                return False
        return matcher.accept_token(self.stop)

    def play(self, schema, row, cases, total):
        before = time.thread_time_ns()
        try:
            compiled = self.compiler.compile_json_schema(json.dumps(schema), strict_mode=False)
        except Exception:  # its own kinds, and RuntimeError
            compiled = None
        total.compile_us.append(self.passed_us(before, time.thread_time_ns()))
        if compiled is None:
            total.refused += 1
            return
        texts = [test["text"] for test in row["tests"]] or [None] * len(cases)
        for text, case in zip(texts, cases):
            text = text if text is not None else json.dumps(case["data"], ensure_ascii=False)
            total.judge(self.walk(compiled, self.encode(text), total, case["valid"]), case["valid"])


def others():
    """Those that are installed: name, player, counts."""
    found = []
    try:
        found.append(("llguidance", Llguidance(), Count()))
    except ImportError:
        print("llguidance is not measured: install it with `pip install -r tests/bench/requirements.txt`.")
        return found
    try:
        found.append(("xgrammar", Xgrammar(found[0][1].tokenizer.tokenize_str), Count()))
    except ImportError:
        print("xgrammar is not measured: install it with `pip install xgrammar` (needs torch).")
    return found


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    bench = sys.argv[1]
    with open(SHARED / "jsonschemabench" / "schemas.jsonl", encoding="utf-8") as f:
        lines = {number: json.loads(line) for number, line in enumerate(f, 1)}
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    last = min(len(lines), first - 1 + (int(sys.argv[2]) if len(sys.argv) > 2 else len(lines)))
    us, found = Count(), others()
    for start in range(first, last + 1, CHUNK):
        rows = ours(bench, start, min(CHUNK, last + 1 - start), lines, us)
        for _, other, count in found:
            for number, row in rows.items():
                other.play(lines[number]["schema"], row, lines[number]["tests"], count)
    us.print("hermesd")
    for name, _, count in found:
        count.print(name)


if __name__ == "__main__":
    main()

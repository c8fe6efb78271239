#!/usr/bin/env python3
"""Copies of a file of kernels/cuda with one fault each: proof that the tests would see it.

  mutate.py LIST FOLDER   writes FOLDER/NAME/mutant_NAME.cu (or .c, as the source) for each fault, beside it the headers
                          that are not as in the sources, and FOLDER/mutants.inc with a line for each; prints their paths
                          in FOLDER, with ; between them

LIST is text: blocks with an empty line between them, # begins a comment. The first block says what all copies share:

  source FILE     the file of kernels/cuda they are copies of
  symbol NAME     a function that is called mutant_… in the copies, … being the fault's name; further ones in the same line
                  are called NAME_… and stand in nobody's way
  line TEXT       of mutants.inc; MUTANT(@name@) where there is none

A block "cut FILE" shortens a file in all copies, so that they compile quickly: from the text after "-" on, everything is
replaced by what stands after "+". Every other block is one fault: its name; lines "key: value" (in: the file with the fault,
where that is not the source; says: what the emulator says, "right" where there is no fault, a wrong result where nothing is
said; others as the list's line and cuts want them); then one or more changes, each of lines with "-", which stand in the file
exactly once, and lines with "+", which take their place. Where they stand there more than once, a number after the name says
which are meant. @key@ is the fault's value, @name@ its name."""
import os
import re
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CUDA = os.path.join(ROOT, "kernels", "cuda")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def write(path, text):
    """Only where it changes, so that nothing is built again without need."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.exists(path) or read(path) != text:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def changes_of(lines):
    """[(old, new)] of lines that begin with - and +."""
    found = []
    for line in lines:
        if line[0] == "-" and (not found or found[-1][1]):
            found.append(([], []))
        if not found or line[0] not in "-+":
            sys.exit(f"no - or + begins the line {line!r}")
        found[-1][line[0] == "+"].append(line[1:])
    return [("\n".join(old).strip(), "\n".join(new).strip()) for old, new in found]


class Block:
    """The first line, the values of "key: value" lines, and the changes."""

    def __init__(self, text):
        self.head, *rest = text.split("\n")
        keys = [line for line in rest if re.match(r"\w+: ", line)]
        self.values = dict(line.split(": ", 1) for line in keys)
        self.changes = changes_of([line for line in rest if line not in keys])


def replaced(text, which, old, new, name):
    n = text.count(old)
    if n == 0 or (n > 1 and which == 0) or which > n:
        sys.exit(f"mutant {name}: its text is in the file {n} times: {old!r}")
    parts = text.split(old)
    at = max(which, 1)
    return old.join(parts[:at]) + new + old.join(parts[at:])


def fill(text, values):
    return re.sub(r"@(\w+)@", lambda m: values[m.group(1)], text)


def quoted(says):
    return "NULL" if says is None else '""' if says == "right" else f'"{says}"'


class List:
    def __init__(self, path):
        text = "\n".join(line for line in read(path).split("\n") if not line.startswith("#"))
        first, *blocks = re.split(r"\n{2,}", text.strip())
        self.symbols, self.line = [], "MUTANT(@name@)"
        for line in first.split("\n"):
            what, _, value = line.partition(" ")
            if what == "source":
                self.source = value
            elif what == "symbol":
                self.symbols = value.split()
            elif what == "line":
                self.line = value
            else:
                sys.exit(f"{path}: unknown {what!r}")
        blocks = [Block(b) for b in blocks]
        self.cuts = {b.head.split()[1]: b.changes[0] for b in blocks if b.head.startswith("cut ")}
        self.faults = [b for b in blocks if not b.head.startswith("cut ")]

    def files(self, fault, name, which):
        """{file: its text} of what is not as in the sources, the source included."""
        texts = {self.source: read(os.path.join(CUDA, self.source))}
        faulty = fault.values.get("in", self.source)
        texts.setdefault(faulty, read(os.path.join(CUDA, faulty)))
        for old, new in fault.changes:
            texts[faulty] = replaced(texts[faulty], which, old, new, name)
        for file, (start, end) in self.cuts.items():
            text = texts.get(file) or read(os.path.join(CUDA, file))
            if start not in text:
                sys.exit(f"mutant {name}: {file} is to be cut at a text that it does not have: {start!r}")
            texts[file] = text[:text.index(start)] + fill(end, {**fault.values, "name": name}) + "\n"
        return texts

    def write(self, folder):
        paths, lines = [], []
        for fault in self.faults:
            name, _, which = fault.head.partition(" ")
            texts = self.files(fault, name, int(which or 0))
            renamed = "".join(f"#define {symbol} {'mutant' if i == 0 else symbol}_{name}\n" for i, symbol in enumerate(self.symbols))
            paths.append(f"{name}/mutant_{name}{os.path.splitext(self.source)[1]}")
            write(os.path.join(folder, paths[-1]), renamed + texts.pop(self.source))
            for file, text in texts.items():
                write(os.path.join(folder, name, "kernels", "cuda", file), text)
            values = {**fault.values, "name": name, "says": quoted(fault.values.get("says"))}
            lines.append(fill(self.line, values) + "\n")
        write(os.path.join(folder, "mutants.inc"), "".join(lines))
        return paths


if __name__ == "__main__":
    print(";".join(List(sys.argv[1]).write(sys.argv[2])), end="")

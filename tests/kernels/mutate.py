#!/usr/bin/env python3
"""Copies of a source with one fault each, for tests that must catch them.

  mutate.py SOURCE LIST SYMBOL FOLDER   writes FOLDER/mutant_NAME.cu (or .c, as SOURCE), in which SYMBOL is called
                                        mutant_NAME, and FOLDER/mutants.inc with a line MUTANT(NAME) for each; prints
                                        the names. Several SYMBOLs, apart by commas: mutant_NAME_SYMBOL

LIST: blocks of lines with an empty line between them: the name and, where the text is there more than once, which of
them is meant; "-" and the text to be replaced, within one line; "+" and what takes its place."""
import os
import sys


def read_list(path):
    with open(path, encoding="utf-8") as f:
        text = "\n".join(line for line in f.read().split("\n") if not line.startswith("#"))
    for block in text.strip().split("\n\n"):
        head, old, new = block.strip().split("\n")
        name, _, which = head.partition(" ")
        assert old[0] == "-" and new[0] == "+", f"{path}: {name} needs a line with - and one with +"
        yield name, int(which or 0), old[1:].strip(), new[1:].strip()


def replaced(source, name, which, old, new):
    parts = source.split(old)
    n = len(parts) - 1
    if n == 0 or (n > 1 and which == 0) or which > n:
        sys.exit(f"mutant {name}: '{old}' is in the source {n} times")
    at = max(which, 1)
    return old.join(parts[:at]) + new + old.join(parts[at:])


def write(path, text):
    """Only where it changes, so that nothing is built again without need."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                return
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    source_path, list_path, symbol, folder = sys.argv[1:]
    with open(source_path, encoding="utf-8") as f:
        source = f.read()
    os.makedirs(folder, exist_ok=True)
    names, symbols = [], symbol.split(",")
    for name, which, old, new in read_list(list_path):
        called = {s: f"mutant_{name}" if len(symbols) == 1 else f"mutant_{name}_{s}" for s in symbols}
        text = "".join(f"#define {s} {called[s]}\n" for s in symbols) + replaced(source, name, which, old, new)
        write(os.path.join(folder, f"mutant_{name}" + os.path.splitext(source_path)[1]), text)
        names.append(name)
    write(os.path.join(folder, "mutants.inc"), "".join(f"MUTANT({name})\n" for name in names))
    print(";".join(names), end="")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A file answers one question: at most 600 lines; a function is at most 80 lines, and few are above 60."""
import re
import sys

import tree

MAX_FILE = 600
MAX_FUNCTION = 80


def functions(text):
    """(name, lines) of every function body: a '{' at the end of a line in column 0's definition, closed by '}' in column 0."""
    name, start = None, 0
    for n, line in enumerate(text.split("\n")):
        if name is None and re.match(r"[A-Za-z_].*\{\s*$", line) and "(" in line and "=" not in line.split("(")[0]:
            name, start = re.split(r"\s*\(", line)[0].split()[-1].lstrip("*"), n
        elif name is None and re.match(r"[A-Za-z_][^;={]*\($|[A-Za-z_][^;={]*\([^;{]*,\s*$", line):
            name, start = re.split(r"\s*\(", line)[0].split()[-1].lstrip("*"), n
        elif name is not None and line.startswith(";"):
            name = None
        elif name is not None and line.rstrip().endswith(");") and n - start < 4:
            name = None
        elif name is not None and line.startswith("}"):
            yield name, n - start + 1
            name = None


def problems():
    found = []
    for path in tree.files(".c", ".h", ".cu", ".cuh", ".py", ".sh"):
        text = tree.read(path)
        lines = text.count("\n")
        if lines > MAX_FILE and "tests/data/" not in path:
            found.append(f"{path}: {lines} lines, above {MAX_FILE}; give the second question its own file")
        if path.endswith((".c", ".cu")) and not path.startswith("tests/"):
            for name, length in functions(text):
                if length > MAX_FUNCTION:
                    found.append(f"{path}: {name}() has {length} lines, above {MAX_FUNCTION}")
    return found


if __name__ == "__main__":
    sys.exit(tree.report("sizes", problems()))

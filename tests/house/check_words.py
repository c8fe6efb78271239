#!/usr/bin/env python3
"""No left-overs by name, no paths of one machine, no symbolic links, and every debian package has its reason."""
import re
import sys

import tree

LEFT_OVER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|not imple" + r"mented")
MACHINE = re.compile(r"(^|[\s\"'=(])/(wo" + r"rk|far" + r"m|ro" + r"ot)/")
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof)\s*\(")


def problems():
    found = []
    for path in tree.files(".c", ".h", ".cu", ".py", ".sh", ".md", ".txt", ".json", "CMakeLists.txt", "demo", "test", "run"):
        if path.startswith(("tests/data/", "models/data/")):
            continue
        for n, line in enumerate(tree.read(path).split("\n"), 1):
            if len(line) > 4000:
                continue
            if LEFT_OVER.search(line):
                found.append(f"{path}:{n}: a left-over: {line.strip()[:100]}")
            if MACHINE.search(line):
                found.append(f"{path}:{n}: a path of one machine: {line.strip()[:100]}")
            if path.endswith((".c", ".h")) and BANNED.search(line):
                found.append(f"{path}:{n}: a banned function: {line.strip()[:100]}")
    found += [f"{path}: a symbolic link: it leads to a place of one machine" for path in tree.links()]
    for n, line in enumerate(tree.read("scripts/packages").split("\n"), 1):
        if line.strip() and not line.startswith("#") and not re.match(r"\S+\s+# \S", line):
            found.append(f"scripts/packages:{n}: name, then '# why': {line}")
    return found


if __name__ == "__main__":
    sys.exit(tree.report("words", problems()))

#!/usr/bin/env python3
"""clang-format decides layout."""
import shutil
import subprocess
import sys

import tree

if __name__ == "__main__":
    if shutil.which("clang-format") is None:
        print("skipped: clang-format is not installed")
        sys.exit(77)
    sources = tree.files(".c", ".h")
    out = subprocess.run(["clang-format", "--dry-run", *sources], cwd=tree.ROOT, capture_output=True, text=True)
    lines = [line for line in out.stderr.split("\n") if "warning:" in line]
    sys.exit(tree.report("layout", lines))

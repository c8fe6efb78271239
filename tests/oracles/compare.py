#!/usr/bin/env python3
"""Compares the golden data of two folders file by file: compare.py WANTED MADE TOLERANCE FILE…

Numbers of JSON files may differ by TOLERANCE; everything else, and other files, must be equal."""
import json
import pathlib
import sys


def difference(a, b, tolerance, at="$"):
    """The first place where the two differ, or None."""
    if isinstance(a, float) or isinstance(b, float):
        same = isinstance(a, (int, float)) and isinstance(b, (int, float)) and abs(a - b) <= tolerance
        return None if same else f"{at}: {a} and {b}"
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return next((d for k in a if k not in ("about", "transformers_version") and (d := difference(a[k], b[k], tolerance, f"{at}.{k}"))), None)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return next((d for i in range(len(a)) if (d := difference(a[i], b[i], tolerance, f"{at}[{i}]"))), None)
    return None if a == b else f"{at}: {str(a)[:60]} and {str(b)[:60]}"


def main():
    wanted, made, tolerance = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), float(sys.argv[3])
    failed = 0
    for name in sys.argv[4:]:
        a, b = wanted / name, made / name
        if not a.exists() or not b.exists():
            found = "one of the two is missing"
        elif name.endswith(".json"):
            found = difference(json.loads(a.read_text()), json.loads(b.read_text()), tolerance)
        else:
            found = None if a.read_bytes() == b.read_bytes() else "the bytes differ"
        print(f"{name}: {found or 'agrees'}")
        failed += found is not None
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Damaged GGUF files, read by hermesd and by the Python package gguf: what both take must be the same tensors.

    python tests/oracles/gguf_reader.py build/dev/bin/hermesd build/dev/tests/engine/make_quantised_model [CHANGES]

in an environment with gguf (tests/oracles/requirements.txt). Each of CHANGES (300) files has one number of its header changed; the changes are
the same in every run. hermesd refuses more than that package, which checks little; what it alone takes are keys that are no UTF-8.
"""
import collections
import json
import random
import subprocess
import sys
import tempfile
import warnings

import gguf

VALUES = (0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def ours(hermesd, path):
    """Tensors as {name: (type, rows, columns)}, or the sentence of the refusal."""
    done = subprocess.run([hermesd, "model", "inspect", path, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        assert done.returncode == 1 and done.stderr.strip().endswith("."), (done.returncode, done.stderr)
        return done.stderr.strip()
    return {t["name"]: (t["type"], t["rows"], t["columns"]) for t in json.loads(done.stdout)["tensors"]}


def theirs(path):
    try:
        tensors = gguf.GGUFReader(path).tensors
    except Exception as e:  # whatever it meets
        return f"{type(e).__name__}: {e}"
    return {t.name: (t.tensor_type.name, int(t.shape[1]) if len(t.shape) > 1 else 1, int(t.shape[0])) for t in tensors}


def main():
    hermesd, program = sys.argv[1:3]
    changes = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    warnings.simplefilter("ignore")
    chance, counts, failed = random.Random(20), collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.gguf"
        subprocess.run([program, "Q4_0", path], check=True)
        reader = gguf.GGUFReader(path)
        header = int(reader.data_offset)
        del reader
        with open(path, "rb") as f:
            whole = f.read()
        assert ours(hermesd, path) == theirs(path)
        for _ in range(changes):
            size, at = chance.choice((1, 4, 8)), chance.randrange(4, header - 8)
            value = chance.choice(VALUES + (chance.getrandbits(8),)) & (1 << 8 * size) - 1
            with open(path, "wb") as f:
                f.write(whole[:at] + value.to_bytes(size, "little") + whole[at + size:])
            a, b = ours(hermesd, path), theirs(path)
            kind = {(True, True): "both", (True, False): "hermesd alone", (False, True): "gguf alone", (False, False): "neither"}
            counts[kind[isinstance(a, dict), isinstance(b, dict)]] += 1
            wrong = a != b if isinstance(a, dict) and isinstance(b, dict) else isinstance(a, dict) and not b.startswith("UnicodeDecodeError")
            if wrong:
                print(f"{size} bytes at {at} become {value}: hermesd says {a}, gguf says {b}")
                failed += 1
    print(f"{changes} damaged files: taken by {', '.join(f'{k} {v}' for k, v in sorted(counts.items()))}; {failed} disagreements")
    assert counts["both"] > 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

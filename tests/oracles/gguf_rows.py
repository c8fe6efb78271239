#!/usr/bin/env python3
"""Rows of numbers and the bytes that the Python package gguf makes of them, as golden data (tests/data/quantised-rows.json).

    python tests/oracles/gguf_rows.py [OUT]

in an environment with gguf (tests/oracles/requirements.txt). Only the types whose rounding it defines.
"""
import json
import pathlib
import sys

import gguf
import numpy

DATA = pathlib.Path(__file__).parent.parent / "data"
TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def rows():
    random = numpy.random.default_rng(20)
    normal = random.standard_normal((8, 64))
    scales = numpy.array([1, 0.02, 1e-3, 30, 1e-7, 1000, 0.3, 5])[:, None]
    odd = numpy.zeros((4, 64))
    odd[0, 5] = -3  # one number, the rest zero
    odd[1] = 0.25  # all equal
    odd[2] = numpy.arange(64) - 31.5  # halves of steps
    return numpy.concatenate([normal * scales, odd]).astype(numpy.float32)


def main():
    x = rows()
    bits = {name: [r.tobytes().hex() for r in gguf.quants.quantize(x, gguf.GGMLQuantizationType[name])] for name in TYPES}
    with open(sys.argv[1] if len(sys.argv) > 1 else DATA / "quantised-rows.json", "w") as f:
        json.dump({"about": "rows of 64 little-endian F32 and what the Python package gguf makes of them", "rows": [r.tobytes().hex() for r in x], "types": bits}, f)
        f.write("\n")


if __name__ == "__main__":
    main()

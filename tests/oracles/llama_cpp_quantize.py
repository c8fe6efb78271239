#!/usr/bin/env python3
"""Files that `hermesd model quantize` writes, read by others: types and bytes by the Python package gguf, logits by llama.cpp beside ours.

    python tests/oracles/llama_cpp_quantize.py build/dev/bin/hermesd build/dev/tests/engine/make_quantised_model

in an environment with gguf and llama-cpp-python (tests/oracles/requirements.txt). Keeps no golden data: both sides are computed anew. llama.cpp
rounds the inputs of quantised products to 8 bits and of F16 and BF16 ones to that type; ours are in F32, so the bounds are those of
tests/engine/test_quantised.c.
"""
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy

from llama_cpp_logits import DATA, logits

BOUNDS = {"F32": 1e-3, "F16": 0.02, "BF16": 0.02}
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "Q4_K_M"]
EXACT = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
FOLDERS = ["rope-model", "tied-model", "fp8-channel", "fp8-tensor"]


def relative(a, b):
    a, b = numpy.array(a), numpy.array(b)
    return float(numpy.sqrt(((a - b) ** 2).sum() / (b ** 2).sum()))


def ours(hermesd, path, ids):
    out = subprocess.run([hermesd, "model", "logits", "-m", path, "--ids", ",".join(map(str, ids)), "--top", "0"], check=True, capture_output=True).stdout
    return json.loads(out)["logits"]


def theirs(path, n, ids):
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(path.encode(), params)
    assert model, f"llama.cpp does not load {path}"
    result = logits(model, n, ids)
    llama_cpp.llama_free_model(model)
    return result


def same_bytes(path, source, name):
    """Whether every matrix holds the bytes that gguf makes of the numbers; returns how many there are."""
    written, count = {t.name: t for t in gguf.GGUFReader(path).tensors}, 0
    for t in gguf.GGUFReader(source).tensors:
        mine = written[t.name]
        if len(t.shape) == 2 and mine.tensor_type.name == name:
            want = gguf.quants.quantize(t.data.reshape(t.shape[::-1]), gguf.GGMLQuantizationType[name])
            assert mine.data.tobytes() == want.tobytes(), f"{name}: {t.name} has other bytes than gguf makes"
            count += 1
    return count


def main():
    hermesd, program = sys.argv[1:3]
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    ids = [i * 7 % 96 for i in range(40)]
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/source.gguf"
        subprocess.run([program, "F32", source], check=True)
        want = ours(hermesd, source, ids)
        for name in TYPES:
            path = f"{folder}/{name}.gguf"
            subprocess.run([hermesd, "model", "quantize", source, path, name], check=True, stdout=subprocess.DEVNULL)
            a, b, equal = ours(hermesd, path, ids), theirs(path, 96, ids), 0
            if name in EXACT:
                equal = same_bytes(path, source, name)
                assert equal == 16, (name, equal)
            print(f"{name}: {equal} matrices byte for byte gguf's, logits {relative(a, b):.2g} from llama.cpp's, {relative(a, want):.2g} from those of F32")
            assert relative(a, b) <= BOUNDS.get(name, 0.08), name
        for name in FOLDERS:
            path = f"{folder}/{name}.gguf"
            subprocess.run([hermesd, "model", "quantize", str(DATA / name / "hf"), path, "F32"], check=True, stdout=subprocess.DEVNULL)
            with open(DATA / name / "hf" / "config.json") as f:
                n = json.load(f)["vocab_size"]
            run = [i * 7 % n for i in range(40)]
            a, b, c = ours(hermesd, path, run), theirs(path, n, run), ours(hermesd, str(DATA / name / "hf"), run)
            print(f"{name} (folder): logits {relative(a, b):.2g} from llama.cpp's, {relative(a, c):.2g} from those of the folder")
            assert relative(a, b) <= 1e-3 and relative(a, c) <= 1e-5, name


if __name__ == "__main__":
    main()

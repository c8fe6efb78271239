#!/usr/bin/env python3
"""The logits that llama.cpp computes for one random Llama in every stored type, as golden data (tests/data/quantised-logits.json).

    python tests/oracles/llama_cpp_quantised.py build/dev/tests/engine/make_quantised_model [OUT]

in an environment with llama-cpp-python (tests/oracles/requirements.txt). The program writes the models, which are the same bytes
everywhere (one mixture of types too, as `hermesd model quantize` makes it), so only the numbers are kept. Keys and values are in F32 and flash attention is off, as in llama_cpp_logits.py.
"""
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp

from llama_cpp_logits import DATA, logits

TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_K_M"]
VOCABULARY = 96
IDS = [i * 7 % VOCABULARY for i in range(40)]


def main():
    program = sys.argv[1]
    out = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else DATA / "quantised-logits.json"
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in TYPES:
            path = f"{folder}/{name}.gguf"
            subprocess.run([program, name, path], check=True)
            params = llama_cpp.llama_model_default_params()
            params.n_gpu_layers = 0
            model = llama_cpp.llama_model_load_from_file(path.encode(), params)
            assert model, f"llama.cpp does not load {name}"
            runs[name] = logits(model, VOCABULARY, IDS)
            llama_cpp.llama_free_model(model)
    with open(out, "w") as f:
        about = f"logits after ids i * 7 % {VOCABULARY}, i < {len(IDS)}, llama.cpp of llama-cpp-python {llama_cpp.__version__}"
        json.dump({"about": about, "types": runs}, f)
        f.write("\n")


if __name__ == "__main__":
    main()

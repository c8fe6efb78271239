#!/usr/bin/env python3
"""The logits that llama.cpp computes for the small models of tests/data, as golden data beside them (llama_cpp.json).

    tests/oracles/run --renew           or, in an environment with llama-cpp-python:
    python tests/oracles/llama_cpp_logits.py [FOLDER]      (tests/data)

Keys and values are kept in F32 and flash attention is off. llama.cpp rounds the inputs of Q8_0 products to 8 bits, so for those
the agreement is looser (tests/engine/test_logits.c states the bounds).
"""
import ctypes
import json
import pathlib
import sys

import llama_cpp

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
MODELS = ["rope-model", "tied-model"]


def logits(model, n_vocab, ids):
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = 256
    params.n_batch = 256
    params.n_threads = params.n_threads_batch = 1
    params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
    if hasattr(params, "flash_attn_type"):
        params.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, params)
    assert context, "llama.cpp makes no context"
    tokens = (llama_cpp.llama_token * len(ids))(*ids)
    assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(ids))) == 0
    out = llama_cpp.llama_get_logits_ith(context, -1)
    result = [round(float(out[i]), 6) for i in range(n_vocab)]
    llama_cpp.llama_free(context)
    return result


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    for name in MODELS:
        with open(folder / name / "expected.json") as f:
            expected = json.load(f)
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        model = llama_cpp.llama_model_load_from_file(str(folder / name / f"{name}.gguf").encode(), params)
        assert model, f"llama.cpp does not load {name}"
        runs = [{"ids": run["ids"], "logits": logits(model, len(run["logits"]), run["ids"])} for run in expected["gguf"]]
        with open(folder / name / "llama_cpp.json", "w") as f:
            json.dump({"about": f"logits of the last position, llama.cpp of llama-cpp-python {llama_cpp.__version__}", "runs": runs}, f)
            f.write("\n")


if __name__ == "__main__":
    main()

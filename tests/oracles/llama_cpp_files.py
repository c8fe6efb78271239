#!/usr/bin/env python3
"""Files that llama.cpp's own quantizer writes, read by hermesd: logits of both, and what is refused.

    python tests/oracles/llama_cpp_files.py build/dev/bin/hermesd build/dev/tests/engine/make_quantised_model

in an environment with llama-cpp-python (tests/oracles/requirements.txt). The mixtures (Q4_K_M and the like) hold several types in one file.
Keeps no golden data: both sides are computed anew. Bounds as in tests/engine/test_quantised.c. Last, keys that scale RoPE, which change every
logit: hermesd must read them as llama.cpp does.
"""
import ctypes
import subprocess
import sys
import tempfile

import gguf
import llama_cpp

from llama_cpp_quantize import BOUNDS, ours, relative, theirs

READ = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"]
REFUSED = ["IQ4_NL", "IQ4_XS", "IQ3_S", "TQ1_0", "TQ2_0"]
IDS = [i * 7 % 96 for i in range(40)]
KEYS = {"factor": {"llama.rope.scaling.factor": 4.0},
        "linear": {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
        "none": {"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0},
        "old": {"llama.rope.scale_linear": 4.0}}


def quantize(source, path, name):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
    params.nthread = 1
    assert llama_cpp.llama_model_quantize(source.encode(), path.encode(), params) == 0, name


def with_keys(source, path, keys):
    """A copy of the file with more keys."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for key, value in keys.items():
        writer.add_string(key, value) if isinstance(value, str) else writer.add_float32(key, value)
    for t in reader.tensors:
        writer.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    hermesd, program = sys.argv[1:3]
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/source.gguf"
        subprocess.run([program, "F32", source], check=True)
        for name in READ:
            path = f"{folder}/{name}.gguf"
            quantize(source, path, name)
            types = sorted({t.tensor_type.name for t in gguf.GGUFReader(path).tensors})
            found = relative(ours(hermesd, path, IDS), theirs(path, 96, IDS))
            print(f"{name} ({', '.join(types)}): logits {found:.2g} from llama.cpp's")
            assert found <= BOUNDS.get(name, 0.08), name
        for name in REFUSED:
            path = f"{folder}/{name}.gguf"
            quantize(source, path, name)
            foreign = next(t for t in gguf.GGUFReader(path).tensors if t.tensor_type.name[:2] in ("IQ", "TQ"))
            said = subprocess.run([hermesd, "model", "inspect", path], capture_output=True, text=True)
            print(f"{name}: {said.stderr.strip().replace(folder + '/', '')}")
            assert said.returncode == 1 and "Tensor " in said.stderr and f"is of type {foreign.tensor_type.name}" in said.stderr, name
        for name, keys in KEYS.items():
            path = f"{folder}/{name}.gguf"
            with_keys(source, path, keys)
            found, moved = relative(ours(hermesd, path, IDS), theirs(path, 96, IDS)), relative(ours(hermesd, path, IDS), ours(hermesd, source, IDS))
            print(f"RoPE scaled by {name}: logits {found:.2g} from llama.cpp's, {moved:.2g} from unscaled ones")
            assert found <= 1e-3 and (moved == 0 if name == "none" else moved > 0.1), name


if __name__ == "__main__":
    main()

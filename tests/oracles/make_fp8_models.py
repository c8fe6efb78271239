#!/usr/bin/env python3
"""Makes two small random Llamas with FP8 weights as compressed-tensors writes them, and the logits that transformers computes.

    tests/oracles/run --renew           or, in an environment with torch, transformers, safetensors and gguf:
    python tests/oracles/make_fp8_models.py [FOLDER]      (tests/data)

fp8-channel: one scale per row, activations dynamic per token, two shards. fp8-tensor: one scale per matrix, static activations
(input_scale). Embedding, norms and head stay BF16 (ignore: lm_head).
"weights" are logits with the decoded weights (E4M3 value times scale) in float64 and activations as they are; "activations" are
those of a device that rounds the inputs of every product to FP8 as the config says.
"""
import copy
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from torch import nn

from make_models import DATA, make_model, runs_of

LARGEST = 448.0  # of E4M3
BASE = {"scaling": None, "dtype": torch.bfloat16,
        "config": {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "head_dim": 8, "rope_theta": 10000.0, "tie_word_embeddings": False}}
SPECS = {"fp8-channel": {**BASE, "seed": 11, "strategy": "channel", "format": "float-quantized", "shards": 2},
         "fp8-tensor": {**BASE, "seed": 12, "strategy": "tensor", "format": "naive-quantized", "shards": 1}}


def scheme(spec):
    """quantization_config (neuralmagic/compressed-tensors, quant_config.py and quant_args.py)."""
    common = {"num_bits": 8, "type": "float", "symmetric": True, "group_size": None, "block_structure": None, "observer_kwargs": {}}
    dynamic = spec["strategy"] == "channel"
    return {"quant_method": "compressed-tensors", "format": spec["format"], "quantization_status": "frozen", "kv_cache_scheme": None,
            "ignore": ["lm_head"], "global_compression_ratio": 1.5,
            "config_groups": {"group_0": {
                "targets": ["Linear"], "output_activations": None,
                "weights": {**common, "strategy": spec["strategy"], "dynamic": False, "observer": "minmax"},
                "input_activations": {**common, "strategy": "token" if dynamic else "tensor", "dynamic": dynamic, "observer": None}}}}


def is_quantized(name, module):
    return isinstance(module, nn.Linear) and name != "lm_head"


def quantize(model, spec):
    """Tensors of the folder, and the decoded weight of every quantized module."""
    tensors, decoded = {}, {}
    for key, parameter in model.state_dict().items():
        tensors[key] = parameter.to(torch.bfloat16)
    for name, module in model.named_modules():
        if not is_quantized(name, module):
            continue
        weight = module.weight.detach().float()
        largest = weight.abs().amax(dim=1, keepdim=True) if spec["strategy"] == "channel" else weight.abs().max().reshape(1)
        scale = (largest / LARGEST).to(torch.bfloat16)
        stored = (weight / scale.float()).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
        tensors[name + ".weight"] = stored
        tensors[name + ".weight_scale"] = scale
        if spec["strategy"] == "tensor":
            tensors[name + ".input_scale"] = torch.tensor([8.0 / LARGEST], dtype=torch.bfloat16)
        decoded[name] = stored.double() * scale.double()
    return tensors, decoded


def save(tensors, spec, folder):
    names = sorted(tensors)
    if spec["shards"] == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map = {}
    for i in range(spec["shards"]):
        file = f"model-{i + 1:05d}-of-{spec['shards']:05d}.safetensors"
        own = names[i * len(names) // spec["shards"]:(i + 1) * len(names) // spec["shards"]]
        save_file({name: tensors[name] for name in own}, folder / file, metadata={"format": "pt"})
        weight_map.update({name: file for name in own})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    with open(folder / "model.safetensors.index.json", "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f, indent=1)
        f.write("\n")


def round_inputs(model, spec, input_scale):
    """Every quantized product rounds its inputs to FP8 first."""
    def hook(module, args):
        x = args[0]
        scale = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / LARGEST if spec["strategy"] == "channel" else input_scale
        return ((x / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn).to(x.dtype) * scale,)
    for name, module in model.named_modules():
        if is_quantized(name, module):
            module.register_forward_pre_hook(hook)


def make(name, spec, folder):
    hf = folder / name / "hf"
    hf.mkdir(parents=True, exist_ok=True)
    model = make_model(spec)
    tensors, decoded = quantize(model, spec)
    save(tensors, spec, hf)
    config = model.config.to_dict()
    config["quantization_config"] = scheme(spec)
    config["dtype"] = "bfloat16"
    with open(hf / "config.json", "w") as f:
        json.dump(config, f, indent=1, sort_keys=True)
        f.write("\n")
    exact = copy.deepcopy(model).double()
    modules = dict(exact.named_modules())
    with torch.no_grad():
        for module, weight in decoded.items():
            modules[module].weight.copy_(weight)
    vocabulary = spec["config"]["vocab_size"]
    rounded = copy.deepcopy(exact)
    round_inputs(rounded, spec, float(torch.tensor(8.0 / LARGEST).to(torch.bfloat16)))
    out = {"about": "logits of the last position, transformers in float64: with decoded FP8 weights, and with inputs rounded to FP8 too",
           "weights": runs_of(exact, vocabulary), "activations": runs_of(rounded, vocabulary)}
    with open(folder / name / "expected.json", "w") as f:
        json.dump(out, f)
        f.write("\n")


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    for name, spec in SPECS.items():
        make(name, spec, folder)


if __name__ == "__main__":
    main()

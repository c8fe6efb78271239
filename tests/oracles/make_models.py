#!/usr/bin/env python3
"""Makes two small random Llamas as Hugging Face folder and as GGUF, and the logits that transformers computes for them in float64.

    tests/oracles/run --renew           or, in an environment with torch, transformers and gguf:
    python tests/oracles/make_models.py [FOLDER]      (tests/data)

rope-model: Llama-3.1 RoPE scaling, a head of its own, F32. The original context is 32 positions, so the scaling shows within the
100 tokens of the prompts; weights are large enough that attention is far from even.
tied-model: the head tied to the embedding, heads that are together wider than the model, plain RoPE; BF16 in the folder, Q8_0 in
the GGUF, whose logits are those of the weights as the file holds them.
The GGUF is written as llama.cpp's converter writes it: q and k rows permuted to adjacent pairs, the scaling as rope_freqs.weight.
"""
import copy
import json
import math
import pathlib
import sys

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers import LlamaConfig, LlamaForCausalLM

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
PROMPT_LENGTHS = [1, 5, 40, 100]
ROPE = {"seed": 20241124, "scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                      "original_max_position_embeddings": 32},
        "dtype": torch.float32, "gguf": Type.F32,
        "config": {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "head_dim": 16, "rope_theta": 10000.0, "tie_word_embeddings": False}}
TIED = {"seed": 7, "scaling": None, "dtype": torch.bfloat16, "gguf": Type.Q8_0,
        "config": {"vocab_size": 80, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8,
                   "num_key_value_heads": 2, "head_dim": 8, "rope_theta": 500000.0, "tie_word_embeddings": True}}
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def make_model(spec):
    torch.manual_seed(spec["seed"])
    extra = {"rope_scaling": dict(spec["scaling"])} if spec["scaling"] else {}
    config = LlamaConfig(max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
                         **spec["config"], **extra)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.1 * torch.randn_like(parameter))
            else:
                width = parameter.shape[1]
                scale = 2.0 if ("q_proj" in name or "k_proj" in name) else 1.0
                parameter.copy_(scale * torch.randn_like(parameter) / math.sqrt(width))
            parameter.copy_(parameter.to(spec["dtype"]).float())
    return model


def permute(weight, heads):
    """Rows of half-split pairs (i, i + n/2) to adjacent pairs (2i, 2i + 1)."""
    rows, cols = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def rope_divisors(spec):
    """What llama.cpp stores: plain inverse frequency divided by the scaled one (Meta, apply_scaling)."""
    divisors = []
    scaling, head_dim = spec["scaling"], spec["config"]["head_dim"]
    old = scaling["original_max_position_embeddings"]
    low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
    for i in range(head_dim // 2):
        wavelength = 2 * math.pi * spec["config"]["rope_theta"] ** (2 * i / head_dim)
        if wavelength < old / high:
            divisors.append(1.0)
        elif wavelength > old / low:
            divisors.append(factor)
        else:
            smooth = (old / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, dtype=np.float32)


def write_gguf(name, spec, model, path):
    """Returns the matrices as the file holds them, under their names in transformers and in their order."""
    c = spec["config"]
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_name(name)
    w.add_context_length(256)
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_key_length(c["head_dim"])
    w.add_value_length(c["head_dim"])
    w.add_rope_dimension_count(c["head_dim"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(c["vocab_size"])
    w.add_file_type(gguf.LlamaFileType.ALL_F32 if spec["gguf"] == Type.F32 else gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_tokenizer_model("none")  # llama.cpp wants a word about it
    if spec["scaling"]:
        w.add_tensor("rope_freqs.weight", rope_divisors(spec))
    held = {}
    for key, parameter in model.state_dict().items():
        data = parameter.detach().float().numpy()
        if key == "lm_head.weight" and c["tie_word_embeddings"]:
            continue
        heads = c["num_attention_heads"] if "q_proj" in key else c["num_key_value_heads"] if "k_proj" in key else 0
        if heads:
            data = permute(data, heads)
        target = WHOLE.get(key)
        if target is None:
            _, _, layer, rest = key.split(".", 3)
            target = f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"
        kind = spec["gguf"] if data.ndim == 2 else Type.F32
        stored = gguf.quants.quantize(np.ascontiguousarray(data), kind)
        w.add_tensor(target, stored, raw_dtype=kind)
        held[key] = (gguf.quants.dequantize(stored, kind).reshape(data.shape), heads)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return held


def unpermute(weight, heads):
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def with_weights(model, held):
    """The model in float64 with the weights that a GGUF holds."""
    exact = copy.deepcopy(model).double()
    state = {key: torch.from_numpy(np.ascontiguousarray(unpermute(v, heads) if heads else v)).double() for key, (v, heads) in held.items()}
    missing = exact.load_state_dict(state, strict=False)
    assert set(missing.missing_keys) <= {"lm_head.weight"} and not missing.unexpected_keys, missing
    exact.tie_weights()
    return exact


def prompts(vocabulary):
    return [[(7 * i * i + 3 * i + length) % vocabulary for i in range(length)] for length in PROMPT_LENGTHS]


def runs_of(exact, vocabulary):
    runs = []
    for ids in prompts(vocabulary):
        with torch.no_grad():
            logits = exact(torch.tensor([ids])).logits[0, -1]
        runs.append({"ids": ids, "logits": [round(float(x), 6) for x in logits]})
    return runs


def make(name, spec, folder):
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(spec)
    # A copy, because to() rounds the RoPE frequencies too, which no file holds.
    copy.deepcopy(model).to(spec["dtype"]).save_pretrained(folder / "hf")
    (folder / "hf" / "generation_config.json").unlink(missing_ok=True)
    held = write_gguf(name, spec, model, folder / f"{name}.gguf")
    vocabulary = spec["config"]["vocab_size"]
    out = {"about": "logits of the last position, transformers in float64: of the folder, and of the weights as the GGUF holds them",
           "hf": runs_of(copy.deepcopy(model).double(), vocabulary), "gguf": runs_of(with_weights(model, held), vocabulary)}
    with open(folder / "expected.json", "w") as f:
        json.dump(out, f)
        f.write("\n")


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    make("rope-model", ROPE, folder / "rope-model")
    make("tied-model", TIED, folder / "tied-model")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes tests/data/rope-model: a random Llama with Llama-3.1 RoPE scaling as a Hugging Face folder and as GGUF, and the logits
that transformers computes for it in float64.

    pip install torch transformers gguf
    python tests/oracles/make_rope_model.py

The original context is 32 positions, so the scaling shows within the 100 tokens of the prompts; weights are large enough that
attention is far from even. The GGUF is written as llama.cpp's converter writes it: q and k rows permuted to adjacent pairs, the
scaling as rope_freqs.weight.
"""
import json
import math
import pathlib

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "rope-model"
DIM, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCAB = 32, 2, 4, 2, 16, 48, 64
SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 32}
THETA = 10000.0
PROMPT_LENGTHS = [1, 5, 40, 100]


def make_model():
    torch.manual_seed(20241124)
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=DIM, intermediate_size=FFN, num_hidden_layers=LAYERS,
                         num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM,
                         max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=THETA, rope_scaling=dict(SCALING),
                         tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, attn_implementation="eager")
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.1 * torch.randn_like(parameter))
            else:
                width = parameter.shape[1]
                scale = 2.0 if ("q_proj" in name or "k_proj" in name) else 1.0
                parameter.copy_(scale * torch.randn_like(parameter) / math.sqrt(width))
    return model


def permute(weight, heads):
    """Rows of half-split pairs (i, i + n/2) to adjacent pairs (2i, 2i + 1)."""
    rows, cols = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def rope_divisors():
    """What llama.cpp stores: plain inverse frequency divided by the scaled one (Meta, apply_scaling)."""
    divisors = []
    old = SCALING["original_max_position_embeddings"]
    low, high, factor = SCALING["low_freq_factor"], SCALING["high_freq_factor"], SCALING["factor"]
    for i in range(HEAD_DIM // 2):
        wavelength = 2 * math.pi * THETA ** (2 * i / HEAD_DIM)
        if wavelength < old / high:
            divisors.append(1.0)
        elif wavelength > old / low:
            divisors.append(factor)
        else:
            smooth = (old / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, dtype=np.float32)


def write_gguf(model, path):
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_name("rope-model")
    w.add_context_length(256)
    w.add_embedding_length(DIM)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_key_length(HEAD_DIM)
    w.add_value_length(HEAD_DIM)
    w.add_rope_dimension_count(HEAD_DIM)
    w.add_rope_freq_base(THETA)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(VOCAB)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    w.add_tensor("rope_freqs.weight", rope_divisors())
    for name, parameter in model.state_dict().items():
        data = parameter.detach().float().numpy()
        if name in whole:
            w.add_tensor(whole[name], data)
            continue
        _, _, layer, rest = name.split(".", 3)
        part = rest.removesuffix(".weight")
        if part.endswith("q_proj"):
            data = permute(data, HEADS)
        elif part.endswith("k_proj"):
            data = permute(data, KV_HEADS)
        w.add_tensor(f"blk.{layer}.{names[part]}.weight", np.ascontiguousarray(data))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    model = make_model()
    model.save_pretrained(OUT / "hf")
    (OUT / "hf" / "generation_config.json").unlink(missing_ok=True)
    write_gguf(model, OUT / "rope-model.gguf")
    runs = []
    exact = model.double()
    for length in PROMPT_LENGTHS:
        ids = [(7 * i * i + 3 * i + length) % VOCAB for i in range(length)]
        with torch.no_grad():
            logits = exact(torch.tensor([ids])).logits[0, -1]
        runs.append({"ids": ids, "logits": [round(float(x), 6) for x in logits]})
    with open(OUT / "expected.json", "w") as f:
        json.dump({"about": "logits of the last position, transformers in float64", "runs": runs}, f)
        f.write("\n")


if __name__ == "__main__":
    main()

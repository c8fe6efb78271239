#!/usr/bin/env python3
"""A training checkpoint as a Hugging Face folder, and that folder as GGUF.

  export.py --checkpoint RUN/checkpoint.pt --tokenizer FOLDER --hf FOLDER --gguf models/hermes-tiny.gguf [--golden tests/data/tiny-logits.json]

The GGUF holds Q8_0 matrices and F32 norms, laid out as llama.cpp does: rows of Q and K permuted for adjacent RoPE pairs, the
Llama-3.1 divisors as rope_freqs.weight. Golden logits are transformers' in f32 over the weights the GGUF really holds."""
import argparse
import json
import os
import shutil

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

from llama import CONFIG, Llama, inverse_frequencies


def write_hf(folder, config, weights, tokenizer):
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(tokenizer, "tokenizer.json")) as f:
        ids = {t["content"]: t["id"] for t in json.load(f)["added_tokens"]}
    full = dict(config, bos_token_id=ids["<|begin_of_text|>"], eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|end_of_text|>"])
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(full, f, indent=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(tokenizer, name), folder)
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})


def permute(w, heads):
    """Halves of each head to adjacent pairs, as llama.cpp's converter does."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def add_tokenizer(writer, folder):
    with open(os.path.join(folder, "tokenizer.json")) as f:
        t = json.load(f)
    added = {a["id"]: a for a in t["added_tokens"]}
    by_id = {i: s for s, i in t["model"]["vocab"].items()}
    by_id.update({i: a["content"] for i, a in added.items()})
    types = [gguf.TokenType.NORMAL if i not in added else gguf.TokenType.CONTROL if added[i]["special"] else gguf.TokenType.USER_DEFINED
             for i in range(len(by_id))]
    merges = [m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([by_id[i] for i in range(len(by_id))])
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    find = {a["content"]: i for i, a in added.items()}
    writer.add_bos_token_id(find["<|begin_of_text|>"])
    writer.add_eos_token_id(find["<|im_end|>"])
    writer.add_pad_token_id(find["<|end_of_text|>"])
    writer.add_add_bos_token(True)


def write_gguf(path, folder):
    """Returns the weights as the file holds them, under their Hugging Face names."""
    from safetensors.numpy import load_file
    with open(os.path.join(folder, "config.json")) as f:
        c = json.load(f)
    weights = load_file(os.path.join(folder, "model.safetensors"))
    writer = gguf.GGUFWriter(path + ".new", "llama")
    writer.add_name("hermes-tiny")
    writer.add_description("The default model of hermesd: a small Llama for its own tools")
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c["num_key_value_heads"])
    writer.add_key_length(c["head_dim"])
    writer.add_value_length(c["head_dim"])
    writer.add_rope_dimension_count(c["head_dim"])
    writer.add_rope_freq_base(c["rope_theta"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_vocab_size(c["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_tokenizer(writer, folder)
    plain = 1.0 / c["rope_theta"] ** (np.arange(0, c["head_dim"], 2) / c["head_dim"])
    writer.add_tensor("rope_freqs.weight", (plain / inverse_frequencies(c).double().numpy()).astype(np.float32))
    held = {}
    for name, w in weights.items():
        w = w.astype(np.float32)
        if w.ndim == 1:
            writer.add_tensor(gguf_name(name), w)
            held[name] = w
            continue
        heads = c["num_attention_heads"] if "q_proj" in name else c["num_key_value_heads"] if "k_proj" in name else 0
        if heads:
            w = permute(w, heads)
        q = gguf.quants.quantize(np.ascontiguousarray(w), Type.Q8_0)
        writer.add_tensor(gguf_name(name), q, raw_dtype=Type.Q8_0)
        back = gguf.quants.dequantize(q, Type.Q8_0)
        held[name] = unpermute(back, heads) if heads else back
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(path + ".new", path)
    return held


def golden(path, folder, held, gguf_path):
    """A few prompts with transformers' logits of the last position."""
    import hashlib
    from transformers import AutoModelForCausalLM

    import generate
    from encode import Encoder
    from render import branch_spans, prefix_spans
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager")
    missing = model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in held.items()}, strict=False)
    assert set(missing.missing_keys) <= {"lm_head.weight"} and not missing.unexpected_keys, missing
    model.tie_weights()
    model.eval()
    encoder = Encoder(folder)
    rows = []
    for index in (0, 1, 2, 5):
        tools, system, tasks = generate.group(77, index, 1 + index % 2, branches=1)
        spans = prefix_spans(tools, system) + [(t, s) for t, s, _ in branch_spans(tasks[0].messages[:1])]
        ids = encoder.prompt(spans)[:1500]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        top = torch.topk(logits, 20)
        rows.append({"ids": ids, "top": [{"id": int(i), "logit": round(float(v), 5)} for i, v in zip(top.indices, top.values)],
                     "mean": round(float(logits.mean()), 5), "min": round(float(logits.min()), 5)})
    with open(gguf_path, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    with open(path, "w") as f:
        json.dump({"model": os.path.basename(gguf_path), "sha256": digest, "prompts": rows}, f)
        f.write("\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", nargs="+", help="of several, the mean of their weights; without it: random weights")
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--hf", required=True)
    p.add_argument("--gguf", required=True)
    p.add_argument("--golden")
    args = p.parse_args()
    torch.set_num_threads(1)
    if args.checkpoint:
        loaded = [torch.load(path, weights_only=False) for path in args.checkpoint]
        config, weights = loaded[0]["config"], {name: sum(c["model"][name] for c in loaded) / len(loaded) for name in loaded[0]["model"]}
    else:
        from encode import Encoder
        config = dict(CONFIG, vocab_size=Encoder(args.tokenizer).template.get_vocab_size())
        torch.manual_seed(0)
        weights = Llama(config).state_dict()
    write_hf(args.hf, config, weights, args.tokenizer)
    held = write_gguf(args.gguf, args.hf)
    if args.golden:
        golden(args.golden, args.hf, held, args.gguf)
    print(f"{args.gguf}: {os.path.getsize(args.gguf)} bytes")


if __name__ == "__main__":
    main()

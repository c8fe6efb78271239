#!/usr/bin/env python3
"""Writes a GGUF of random weights with the shape of a real model, to measure speed with and without hermesd.

    pip install gguf
    python tests/bench/make_random_model.py --shape 1b --type q8_0 -o random-1b-q8_0.gguf

The vocabulary is the 256 bytes plus filler tokens, so that other programs load it as well.
"""
import argparse

import gguf
import numpy as np

SHAPES = {  # layers, heads, kv heads, head size, width, ffn, vocabulary
    "small": (4, 8, 2, 32, 256, 640, 2048),  # the default model's
    "tiny": (6, 8, 2, 32, 256, 704, 2048),
    "1b": (16, 32, 8, 64, 2048, 8192, 32768),
    "8b": (32, 32, 8, 128, 4096, 14336, 128256),
}
TYPES = {
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


def byte_names():
    """The printable stand-ins of the 256 bytes that byte-level BPE vocabularies use (GPT-2, bytes_to_unicode)."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    names, extra = {}, 0
    for byte in range(256):
        if byte in plain:
            names[byte] = chr(byte)
        else:
            names[byte] = chr(256 + extra)
            extra += 1
    return names


def add_tokenizer(w, n_vocab):
    names = byte_names()
    tokens = [names[b] for b in range(256)]
    types = [gguf.TokenType.NORMAL] * 256
    tokens += ["<|begin_of_text|>", "<|end_of_text|>"]
    types += [gguf.TokenType.CONTROL] * 2
    merges = [names[a] + " " + names[b] for a in range(97, 123) for b in range(97, 123)]
    tokens += [merge.replace(" ", "") for merge in merges]
    types += [gguf.TokenType.NORMAL] * len(merges)
    while len(tokens) < n_vocab:
        tokens.append(f"<|filler_{len(tokens)}|>")
        types.append(gguf.TokenType.CONTROL)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("llama-bpe")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(merges)
    w.add_bos_token_id(256)
    w.add_eos_token_id(257)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--type", choices=TYPES, default="q8_0")
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args()
    layers, heads, kv_heads, head, dim, ffn, vocab = SHAPES[args.shape]
    kind, file_type = TYPES[args.type]
    random = np.random.default_rng(1)

    w = gguf.GGUFWriter(args.output, "llama")
    w.add_name(f"random-{args.shape}-{args.type}")
    w.add_context_length(8192)
    w.add_embedding_length(dim)
    w.add_block_count(layers)
    w.add_feed_forward_length(ffn)
    w.add_head_count(heads)
    w.add_head_count_kv(kv_heads)
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_rope_dimension_count(head)
    w.add_rope_freq_base(500000.0)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(vocab)
    w.add_file_type(file_type)
    add_tokenizer(w, vocab)

    def matrix(name, rows, cols):
        data = random.standard_normal((rows, cols), dtype=np.float32) / np.sqrt(cols).astype(np.float32)
        w.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)

    def norm(name):
        w.add_tensor(name, np.ones(dim, dtype=np.float32))

    matrix("token_embd.weight", vocab, dim)
    norm("output_norm.weight")
    matrix("output.weight", vocab, dim)
    for i in range(layers):
        norm(f"blk.{i}.attn_norm.weight")
        matrix(f"blk.{i}.attn_q.weight", heads * head, dim)
        matrix(f"blk.{i}.attn_k.weight", kv_heads * head, dim)
        matrix(f"blk.{i}.attn_v.weight", kv_heads * head, dim)
        matrix(f"blk.{i}.attn_output.weight", dim, heads * head)
        norm(f"blk.{i}.ffn_norm.weight")
        matrix(f"blk.{i}.ffn_gate.weight", ffn, dim)
        matrix(f"blk.{i}.ffn_up.weight", ffn, dim)
        matrix(f"blk.{i}.ffn_down.weight", dim, ffn)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()

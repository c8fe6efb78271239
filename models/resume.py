"""The weights of a GGUF file that export.py wrote, under their training names: where a further training begins."""
import gguf
import numpy as np
import torch

from export import gguf_name, unpermute
from llama import CONFIG, Llama


def read_gguf(path):
    """(config, state dict) of float32 weights. The number of layers is the file's, all else is as in CONFIG."""
    reader = gguf.GGUFReader(path)
    tensors = {t.name: t for t in reader.tensors}
    vocab = len(reader.fields["tokenizer.ggml.tokens"].data)
    layers = int(reader.fields["llama.block_count"].parts[-1][0])
    config = dict(CONFIG, vocab_size=vocab, num_hidden_layers=layers)
    weights = Llama(config).state_dict()
    for name, like in weights.items():
        t = tensors[gguf_name(name)]
        w = gguf.quants.dequantize(t.data, t.tensor_type).reshape(tuple(like.shape)).astype(np.float32)
        heads = config["num_attention_heads"] if "q_proj" in name else config["num_key_value_heads"] if "k_proj" in name else 0
        weights[name] = torch.from_numpy(np.ascontiguousarray(unpermute(w, heads) if heads else w))
    return config, weights


def grown(weights, config, layers):
    """The same function with more layers, at most one new one after each old one but the first, the later ones first. A new layer adds nothing
    yet: its two output matrices are zero (Chen et al. 2016, "Net2Net", call such a step function preserving)."""
    old = config["num_hidden_layers"]
    new = layers - old
    if new < 0 or new > old - 1:
        raise ValueError(f"{old} layers cannot become {layers}")
    fresh = Llama(dict(config, num_hidden_layers=layers)).state_dict()
    order = []  # of the new model: (old layer, whether it is a copy of it)
    for i in range(old):
        order.append((i, True))
        if old - 1 - new <= i < old - 1:
            order.append((i, False))
    out = {name: w for name, w in weights.items() if ".layers." not in name}
    for at, (i, copied) in enumerate(order):
        for name in [n for n in weights if n.startswith(f"model.layers.{i}.")]:
            to = name.replace(f"layers.{i}.", f"layers.{at}.", 1)
            silent = name.endswith(("o_proj.weight", "down_proj.weight"))
            out[to] = weights[name].clone() if copied or "norm" in name else torch.zeros_like(weights[name]) if silent else fresh[to]
    return out

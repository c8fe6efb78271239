"""The weights of a GGUF file that export.py wrote, under their training names: where a further training begins."""
import gguf
import numpy as np
import torch

from export import gguf_name, unpermute
from llama import CONFIG, Llama


def read_gguf(path):
    """(config, state dict) of float32 weights."""
    reader = gguf.GGUFReader(path)
    tensors = {t.name: t for t in reader.tensors}
    vocab = len(reader.fields["tokenizer.ggml.tokens"].data)
    config = dict(CONFIG, vocab_size=vocab)
    weights = Llama(config).state_dict()
    for name, like in weights.items():
        t = tensors[gguf_name(name)]
        w = gguf.quants.dequantize(t.data, t.tensor_type).reshape(tuple(like.shape)).astype(np.float32)
        heads = config["num_attention_heads"] if "q_proj" in name else config["num_key_value_heads"] if "k_proj" in name else 0
        weights[name] = torch.from_numpy(np.ascontiguousarray(unpermute(w, heads) if heads else w))
    return config, weights

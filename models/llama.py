"""The Llama forward pass for training: one prefix (system turn) shared by several dialogues in one pass.

All tokens of a group lie in one flat row: the prefix, then each branch. A branch attends to the prefix and to itself, and its
positions go on after the prefix, so every dialogue sees exactly what it would see alone; the prefix is computed once.
Parameter names are those of transformers' LlamaForCausalLM."""
import math

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
    "attention_dropout": 0.0, "hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 1024},
    "tie_word_embeddings": True, "initializer_range": 0.02, "use_cache": True, "torch_dtype": "float32",
}


def inverse_frequencies(config):
    """Radians per position of each pair, Llama-3.1 scaling applied (Meta llama-models models/llama3/model.py apply_scaling)."""
    d, s = config["head_dim"], config["rope_scaling"]
    freqs = 1.0 / config["rope_theta"] ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    out = []
    for f in freqs.tolist():
        wavelength = 2 * math.pi / f
        old = s["original_max_position_embeddings"]
        if wavelength < old / s["high_freq_factor"]:
            out.append(f)
        elif wavelength > old / s["low_freq_factor"]:
            out.append(f / s["factor"])
        else:
            smooth = (old / wavelength - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])
            out.append((1 - smooth) * f / s["factor"] + smooth * f)
    return torch.tensor(out, dtype=torch.float32)


class Norm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x, cos, sin):
    """x: [n, heads, d]; first and second half of the head are the pairs, as transformers lays them out."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        dim, hd, nh, nkv, ff = c["hidden_size"], c["head_dim"], c["num_attention_heads"], c["num_key_value_heads"], c["intermediate_size"]
        self.nh, self.nkv, self.hd = nh, nkv, hd
        self.self_attn = nn.Module()
        self.self_attn.q_proj = nn.Linear(dim, nh * hd, bias=False)
        self.self_attn.k_proj = nn.Linear(dim, nkv * hd, bias=False)
        self.self_attn.v_proj = nn.Linear(dim, nkv * hd, bias=False)
        self.self_attn.o_proj = nn.Linear(nh * hd, dim, bias=False)
        self.mlp = nn.Module()
        self.mlp.gate_proj = nn.Linear(dim, ff, bias=False)
        self.mlp.up_proj = nn.Linear(dim, ff, bias=False)
        self.mlp.down_proj = nn.Linear(ff, dim, bias=False)
        self.input_layernorm = Norm(dim, c["rms_norm_eps"])
        self.post_attention_layernorm = Norm(dim, c["rms_norm_eps"])

    def forward(self, x, plan, keep=None):
        """keep: rows that are still needed after the attention (last layer only)."""
        a = self.self_attn
        h = self.input_layernorm(x)
        n = h.shape[0]
        q = rotate(a.q_proj(h).view(n, self.nh, self.hd), plan["cos"], plan["sin"]) * self.hd ** -0.5
        k = rotate(a.k_proj(h).view(n, self.nkv, self.hd), plan["cos"], plan["sin"])
        v = a.v_proj(h).view(n, self.nkv, self.hd)
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        with torch.autocast("cpu", enabled=False):
            o = self.attend(q.to(dtype), k.to(dtype), v.to(dtype), plan, keep is not None)
        if keep is not None:
            x = x[keep]
        x = x + a.o_proj(o)
        h = self.post_attention_layernorm(x)
        return x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(h)) * self.mlp.up_proj(h))

    def rows_of(self, q):
        """[n, heads, d] -> [kv heads, group * n, d]: heads that share keys are stacked along the rows, so keys are never repeated."""
        n = q.shape[0]
        return q.view(n, self.nkv, -1, self.hd).permute(1, 2, 0, 3).reshape(self.nkv, -1, self.hd)

    def attend(self, q, k, v, plan, last):
        """Plain products: on the CPU their backward pass is twice as fast as the fused attention's. Branches of similar length go
        together; the prefix goes in blocks, so that little is computed above the diagonal."""
        g, p = self.nh // self.nkv, plan["prefix"]
        kp, vp = k[:p].transpose(0, 1), v[:p].transpose(0, 1)
        out = []
        if not last:
            for start, end, mask in plan["blocks"]:
                scores = torch.baddbmm(mask.to(q.dtype).expand(self.nkv, -1, -1), self.rows_of(q[start:end]), kp[:, :end].transpose(1, 2))
                o = torch.softmax(scores, -1) @ vp[:, :end]
                out.append(o.view(self.nkv, g, end - start, self.hd).permute(2, 0, 1, 3).reshape(end - start, self.nh * self.hd))
        for chunk in plan["chunks"]:
            queries, mask, rows = chunk["last"] if last else chunk["all"]
            (kk, lq), ll = queries.shape, chunk["keys"].shape[1]
            qb = q[queries.view(-1)].view(kk, lq, self.nkv, g, self.hd).permute(0, 2, 3, 1, 4).reshape(kk * self.nkv, g * lq, self.hd)
            flat = chunk["keys"].view(-1)
            kb = torch.cat((kp.expand(kk, -1, -1, -1), k[flat].view(kk, ll, self.nkv, self.hd).transpose(1, 2)), 2).view(kk * self.nkv, p + ll, self.hd)
            vb = torch.cat((vp.expand(kk, -1, -1, -1), v[flat].view(kk, ll, self.nkv, self.hd).transpose(1, 2)), 2).view(kk * self.nkv, p + ll, self.hd)
            o = torch.softmax(torch.baddbmm(mask.to(q.dtype), qb, kb.transpose(1, 2)), -1) @ vb
            out.append(o.view(kk, self.nkv, g, lq, self.hd).permute(0, 3, 1, 2, 4).reshape(kk * lq, self.nh * self.hd)[rows])
        return torch.cat(out, 0)[plan["last_order" if last else "order"]]


class Llama(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.model.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.model.norm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.inv_freq = inverse_frequencies(config)
        depth = (2 * config["num_hidden_layers"]) ** -0.5
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=config["hidden_size"] ** -0.5 * (depth if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.8)
                                if "embed" not in name else 0.04)

    def plan(self, prefix_len, lengths, keep, chunk=4, block=192):
        """What a group's shape decides: positions, and for the attention the blocks of the prefix and the chunks of branches, each with
        its mask, and the order that brings their outputs back to flat rows (all, or those of `keep`)."""
        g, nkv = self.config["num_attention_heads"] // self.config["num_key_value_heads"], self.config["num_key_value_heads"]
        pos = torch.cat([torch.arange(prefix_len)] + [torch.arange(prefix_len, prefix_len + n) for n in lengths])
        starts = [prefix_len + sum(lengths[:i]) for i in range(len(lengths))]
        by_length = sorted(range(len(lengths)), key=lambda i: lengths[i])
        blocks = []
        for start in range(0, prefix_len, block):
            end = min(start + block, prefix_len)
            blocks.append((start, end, torch.full((end - start, end), -1e4).triu(start + 1).repeat(g, 1)[None]))
        chunks, made, made_last = [], [torch.arange(prefix_len)], []
        for c in range(0, len(by_length), chunk):
            some = by_length[c:c + chunk]
            ll = max(lengths[i] for i in some)
            keys = torch.stack([torch.arange(ll).clamp(max=lengths[i] - 1) + starts[i] for i in some])
            mask = torch.cat((torch.zeros(ll, prefix_len), torch.full((ll, ll), -1e4).triu(1)), 1).repeat(g, 1)[None]
            valid = torch.stack([torch.arange(ll) < lengths[i] for i in some]).view(-1).nonzero()[:, 0]
            made.append(keys.view(-1)[valid])
            mine = [keep[(keep >= starts[i]) & (keep < starts[i] + lengths[i])] for i in some]
            lq = max(len(m) for m in mine)
            queries = torch.stack([F.pad(m, (0, lq - len(m)), value=starts[i]) for m, i in zip(mine, some)])
            at = queries - torch.tensor([starts[i] for i in some])[:, None]
            own = (torch.arange(ll)[None, None] > at[:, :, None]).float() * -1e4
            last = torch.cat((torch.zeros(len(some), lq, prefix_len), own), 2).repeat(1, g, 1).repeat_interleave(nkv, 0)
            last_rows = torch.stack([torch.arange(lq) < len(m) for m in mine]).view(-1).nonzero()[:, 0]
            made_last.append(queries.view(-1)[last_rows])
            chunks.append({"keys": keys, "all": (keys, mask.expand(len(some) * nkv, -1, -1), valid), "last": (queries, last, last_rows)})
        angle = pos[:, None].float() * self.inv_freq[None]
        return {"prefix": prefix_len, "blocks": blocks, "chunks": chunks, "order": torch.cat(made).argsort(),
                "last_order": torch.cat(made_last).argsort(), "cos": angle.cos()[:, None], "sin": angle.sin()[:, None]}

    def forward(self, ids, prefix_len, lengths, keep):
        """Logits [len(keep), vocab] of the flat rows `keep`, ascending, all in branches."""
        plan = self.plan(prefix_len, lengths, keep)
        x = self.model.embed_tokens(ids)
        last = len(self.model.layers) - 1
        for i, layer in enumerate(self.model.layers):
            x = layer(x, plan, keep if i == last else None)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)

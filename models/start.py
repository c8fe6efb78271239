"""The weights training begins with: random, but for two heads in each of the first two layers that can copy.

A network of this size needs millions of tokens before it finds out that text can be continued by looking back for the last place where
the same token stood and taking what came after it (Olsson et al. 2022, "In-context Learning and Induction Heads", call the pair of heads
that does it an induction head). Here it is built in, the rest is left to training:

- dimension 0 of all embeddings is one constant, so that a head can attend by position alone: with RoPE, a query (1, 0) and a key
  (cos a, sin a) of a pair with frequency w give cos(w d - a) at distance d, which is largest at d = a / w;
- layer 0: one head looks at the token before, one at the token two before; each writes what it saw into a subspace of its own;
- layer 1: one head looks for places whose token before is the present token, one for places whose two tokens before are the last two,
  on the slow pairs only, which RoPE hardly turns; both write the token they find as a guess of the next one."""
import math

import torch


def orthonormal(rows, dim, generator):
    """`rows` orthonormal vectors that leave dimension 0 alone: [rows, dim]."""
    m = torch.randn(dim - 1, rows, generator=generator)
    q, _ = torch.linalg.qr(m)
    return torch.cat((torch.zeros(rows, 1), q.T), 1)


def prepare(model, constant=0.3, sharp=12.0, match=30.0, write=0.04, guess=0.2, quiet=0.1, seed=5):
    c, g = model.config, torch.Generator().manual_seed(seed)
    dim, hd, nh, nkv = c["hidden_size"], c["head_dim"], c["num_attention_heads"], c["num_key_value_heads"]
    half, group = hd // 2, nh // nkv
    freq = model.inv_freq
    slow = (freq < 0.002).nonzero()[:, 0].tolist()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(quiet)
            layer.mlp.down_proj.weight.mul_(quiet)
        model.model.embed_tokens.weight[:, 0] = constant
        e = model.model.embed_tokens.weight[:, 1:].std().item()
        rms = math.sqrt((constant ** 2 + (dim - 1) * e * e) / dim)
        unit = constant / rms  # dimension 0 after the norm
        base = orthonormal(3 * hd, dim, g)
        token, before, before2 = base[:hd], base[hd:2 * hd], base[2 * hd:]
        first, second = model.model.layers[0].self_attn, model.model.layers[1].self_attn
        fast = [i for i in range(half) if i not in slow][:8]
        a = math.sqrt(sharp * 8 / unit ** 2)
        for kv, distance, space in ((0, 1, before), (1, 2, before2)):
            head = kv * group
            q, k = first.q_proj.weight[head * hd:(head + 1) * hd], first.k_proj.weight[kv * hd:(kv + 1) * hd]
            q.mul_(0.1)
            k.mul_(0.1)
            for i in fast:
                w = freq[i].item() * distance
                q[i, 0] = a
                k[i, 0], k[i + half, 0] = a * math.cos(w), a * math.sin(w)
            first.v_proj.weight[kv * hd:(kv + 1) * hd] = token
            first.o_proj.weight[:, head * hd:(head + 1) * hd] = write * space.T
        dims = slow + [i + half for i in slow]
        n = len(dims)
        scale = math.sqrt(match * 8 / n)
        for kv in (0, 1):
            head = kv * group
            q, k = second.q_proj.weight[head * hd:(head + 1) * hd], second.k_proj.weight[kv * hd:(kv + 1) * hd]
            q.mul_(0.1)
            k.mul_(0.1)
            for j, d in enumerate(dims):
                if kv == 0:
                    q[d], k[d] = scale * token[j], scale * before[j]
                elif j < n // 2:
                    q[d], k[d] = 1.4 * scale * token[j], 1.4 * scale * before[j]
                else:
                    q[d], k[d] = 1.4 * scale * before[j - n // 2], 1.4 * scale * before2[j - n // 2]
            second.v_proj.weight[kv * hd:(kv + 1) * hd] = token if kv == 0 else orthonormal(hd, dim, g)
            v = second.v_proj.weight[kv * hd:(kv + 1) * hd]
            second.o_proj.weight[:, head * hd:(head + 1) * hd] = guess * v.T

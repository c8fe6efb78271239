#!/usr/bin/env python3
"""What torch reaches on the same GPU, for comparison: a copy, a large BF16 product (cuBLAS), the products of a decoded
token of Llama 3.1 8B in BF16, causal attention of one layer. One JSON object a line.

  yardstick.py [FILE]"""
import json
import sys
import time

try:
    import torch
except ImportError:
    print("torch is not installed: nothing to compare with")
    sys.exit(0)
if not torch.cuda.is_available():
    print("torch sees no GPU: nothing to compare with")
    sys.exit(0)


def seconds(work, repeat):
    work()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def main():
    out = open(sys.argv[1], "w", encoding="utf-8", buffering=1) if len(sys.argv) > 1 else None

    def say(what, value, unit):
        print(f"torch {torch.__version__}: {what}: {value:.1f} {unit}", flush=True)
        if out:
            out.write(json.dumps({"torch": torch.__version__, "what": what, "value": round(value, 2), "unit": unit}) + "\n")

    def drawn(*shape):
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16) * 0.02

    a = torch.empty(1 << 32, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    say("copy", 2 * a.numel() / seconds(lambda: b.copy_(a), 5) / 1e9, "GB/s")
    del a, b
    x, y = drawn(8192, 8192), drawn(8192, 8192)
    say("product of 8192 x 8192", 2 * 8192**3 / seconds(lambda: x @ y, 10) / 1e12, "TFLOP/s")
    del x, y
    try:  # FP8 with a scale for each row of both, which is cuBLASLt's outer vectors where torch takes it
        x8, y8 = (torch.randn(8192, 8192, device="cuda").to(torch.float8_e4m3fn) for _ in range(2))
        ones = torch.ones(8192, 1, device="cuda")
        t = seconds(lambda: torch._scaled_mm(x8, y8.t(), scale_a=ones, scale_b=ones.t(), out_dtype=torch.bfloat16), 10)
        say("product of 8192 x 8192 in FP8, scales of rows", 2 * 8192**3 / t / 1e12, "TFLOP/s")
        del x8, y8
    except (RuntimeError, AttributeError, TypeError) as e:
        print(f"torch has no product in FP8 here: {str(e).splitlines()[0]}")
    shapes = [(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)]
    layers = [[drawn(*s) for s in shapes] for _ in range(32)]
    size = sum(w.numel() for layer in layers for w in layer) * 2
    for rows in (1, 64):
        inputs = [drawn(rows, s[1]) for s in shapes]

        def token():
            for layer in layers:
                for w, i in zip(layer, inputs):
                    torch.nn.functional.linear(i, w)

        graph = torch.cuda.CUDAGraph()
        token()
        with torch.cuda.graph(graph):
            token()
        t = seconds(graph.replay, 20)
        say(f"8B BF16 products of {rows} rows, as a graph", 1e3 * t, "ms")
        say(f"8B BF16 products of {rows} rows", size / t / 1e9, "GB/s")
    del layers
    for n in (2048, 8192):
        q, k, v = drawn(1, 32, n, 128), drawn(1, 32, n, 128), drawn(1, 32, n, 128)
        t = seconds(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True), 10)
        say(f"causal attention of {n} rows, 32 heads of 128", 2 * n * n * 32 * 128 / t / 1e12, "TFLOP/s")


if __name__ == "__main__":
    main()

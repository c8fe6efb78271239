"""Muon for the matrices inside the layers: the momentum of a gradient, made orthogonal by a Newton-Schulz iteration, is the step.

Keller Jordan 2024, "Muon: an optimizer for hidden layers in neural networks" (the iteration's coefficients); the scale that makes its
steps as large as AdamW's is of Liu et al. 2025, "Muon is scalable for LLM training" (0.2 times the root of the longer side)."""
import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(batch, steps=5):
    """batch: [k, rows, cols], rows <= cols. About U V^T of each."""
    a, b, c = COEFFICIENTS
    x = batch / (batch.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            shapes = {}
            for p in g["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if "momentum" not in s:
                    s["momentum"] = torch.zeros_like(p)
                s["momentum"].lerp_(p.grad, 1 - g["momentum"])
                u = p.grad.lerp(s["momentum"], g["momentum"])
                tall = u.shape[0] > u.shape[1]
                shapes.setdefault(tuple(sorted(u.shape)), []).append((p, u.T if tall else u, tall))
            for shape, some in shapes.items():
                x = orthogonal(torch.stack([u for _, u, _ in some]))
                for (p, _, tall), y in zip(some, x):
                    p.mul_(1 - g["lr"] * g["weight_decay"])
                    p.add_(y.T if tall else y, alpha=-g["lr"] * 0.2 * shape[1] ** 0.5)

"""What gradient descent with weight decay finds, to be held against the closed forms."""

from __future__ import annotations

import torch
from torch import Tensor

from sim.denoisers.network import ReluNetwork

__all__ = ["train_with_weight_decay"]


def train_with_weight_decay(
    samples: Tensor, targets: Tensor, *, neurons: int, decay: float, steps: int, seed: int
) -> ReluNetwork:
    """Minimise mean((f(samples) - targets)**2) + decay * 1/2 sum(|a_k|**2 + |w_k|**2), float64 [n, d] both.

    Adam on all samples at once, its rate along a cosine from 0.01 to 0. Biases are not decayed.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, outputs = samples.shape[1], targets.shape[1]

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    w = normal(neurons, inputs)
    w /= w.norm(dim=1, keepdim=True) * neurons**0.25
    a = normal(neurons, outputs) / neurons**0.75
    places = samples[torch.randint(len(samples), (neurons,), generator=generator)]
    b = -(w * places).sum(1)  # every neuron bends at a sample, so that none is idle
    c = targets.mean(0)
    parameters = [each.clone().requires_grad_() for each in (a, w, b, c)]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    a, w, b, c = parameters
    for _ in range(steps):
        optimizer.zero_grad()
        fitted = (samples @ w.T + b).clamp(min=0) @ a + c
        loss = (fitted - targets).square().mean() + decay / 2 * (a.square().sum() + w.square().sum())
        loss.backward()
        optimizer.step()
        schedule.step()
    return ReluNetwork(a=a.detach(), w=w.detach(), b=b.detach(), c=c.detach())

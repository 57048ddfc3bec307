"""How near errors come to their proved bound: all inputs of small formats, and a search for bad ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.codes import decode
from golden.config import Format, MacConfig
from sim.backends import find_backend
from sim.certify.floating import claim
from sim.certify.layers import Layer
from sim.operands import LayerConfig

__all__ = ["climbed", "exhaustive", "ratios", "values_of"]


def values_of(number: Format) -> Tensor:
    """Every value of an operand format once, in ascending order."""
    codes = torch.arange(number.max_magnitude_code + 1)
    magnitudes = decode(codes, number).unique()
    return torch.cat([-magnitudes[1:].flip(0), magnitudes])


def one_channel(config: MacConfig, weights: Tensor) -> Layer:
    """A layer with these weights, float64 [k], in one channel."""
    integers = (weights * 2.0**-config.w.lsb_exponent).to(torch.int64).numpy()[None]
    most = config.x.max_magnitude
    return Layer(
        name="one",
        plan=LayerConfig(config=config, x_scale=1.0, w_scale=1.0, length=None),
        length=len(weights),
        weights=integers,
        x_range=(-most, most),
        is_conv=False,
    )


def ratios(config: MacConfig, x: Tensor, weights: Tensor) -> Tensor:
    """Of each row of inputs, float64 [m, k], the error over its bound; 0 where something overflowed."""
    bound = claim(one_channel(config, weights), (-config.x.max_magnitude, config.x.max_magnitude))
    result = find_backend("cpu").matmul(x, weights[:, None], config)[:, 0]
    limit = bound["gamma"] * (x.abs() @ weights.abs()) + bound["eta"]
    found = (result - x @ weights).abs() / limit.clamp(min=1e-300)
    if any(each.endswith("overflow") for each in bound["possible"]):
        found = torch.where(_overflows(config, x, weights), 0.0, found)
    return found


def _overflows(config: MacConfig, x: Tensor, weights: Tensor) -> Tensor:
    from golden.arith import dot_events
    from golden.codes import encode

    codes = [encode(column, config.x) for column in x.t()]
    overflow, _ = dot_events(codes, encode(weights, config.w).tolist(), config)
    return torch.as_tensor(overflow).expand(len(x))


def exhaustive(config: MacConfig, length: int, *, channels: int, seed: int) -> dict[str, Any]:
    """The largest ratio over all inputs of a short dot product, for so many random weights."""
    values, generator = values_of(config.x), np.random.default_rng(seed)
    x = torch.cartesian_prod(*[values] * length).reshape(-1, length)
    of_w, largest = values_of(config.w), 0.0
    for _ in range(channels):
        weights = of_w[torch.from_numpy(generator.integers(len(of_w), size=length))]
        largest = max(largest, float(ratios(config, x, weights).max()))
    return {"inputs": "all", "n": channels * len(x), "largest_ratio": largest}


def climbed(config: MacConfig, length: int, *, sweeps: int, starts: int, seed: int) -> dict[str, Any]:
    """The largest ratio that coordinate search finds: each input in turn takes its worst value."""
    values, of_w = values_of(config.x), values_of(config.w)
    generator, tried, largest = np.random.default_rng(seed), 0, 0.0
    for _ in range(starts):
        weights = of_w[torch.from_numpy(generator.integers(len(of_w), size=length))]
        x = values[torch.from_numpy(generator.integers(len(values), size=length))]
        for k in [*range(length)] * sweeps:
            batch = x.repeat(len(values), 1)
            batch[:, k] = values
            found = ratios(config, batch, weights)
            tried += len(found)
            x = batch[int(found.argmax())]
            largest = max(largest, float(found.max()))
    return {"inputs": f"search, {starts} starts", "n": tried, "largest_ratio": largest}

"""The same layers on test inputs: how wide their sums were, how far results were from exact ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.config import MAX_FIXED_BITS, ConfigError, FixedAccumulator, MacConfig, sum_bits
from sim.backends import CpuBackend
from sim.certify.fixed import width
from sim.certify.layers import Layer
from sim.kernels.product import Statistics
from sim.operands import quantize_operand, result_scale
from sim.product_mode import Product, ProductMode, caught
from sim.workloads import Workload

__all__ = ["observe"]


@dataclass
class _Observed:
    """What one layer did so far."""

    low: list[int] = field(default_factory=lambda: [0, 0])  #: Least sum in chunks, and of chunks.
    high: list[int] = field(default_factory=lambda: [0, 0])
    outside: int = 0  #: Inputs outside the range that calibration saw.
    inputs: int = 0
    overflow: int = 0
    underflow: int = 0
    steps: int = 0
    ratios: list[Tensor] = field(default_factory=list)  #: Error over its bound, of every result.


def _lossless(config: MacConfig, length: int) -> MacConfig:
    """The same with an accumulator in which nothing can overflow, for operands of these formats."""
    cut = 1 << max(0, config.product_lsb - config.accumulator.format.lsb)
    bits = min(MAX_FIXED_BITS, sum_bits(config.x, config.w, length) + cut.bit_length())

    def widened(accumulator: FixedAccumulator) -> FixedAccumulator:
        finer = max(0, config.accumulator.format.lsb - accumulator.format.lsb)
        number = replace(accumulator.format, bits=min(MAX_FIXED_BITS, bits + finer))
        return replace(accumulator, format=number)

    return replace(config, accumulator=widened(config.accumulator), outer=widened(config.outer_accumulator))


class _ObserveMode(ProductMode):
    """Runs the layers' plan and keeps what happened in it."""

    def __init__(self, layers: Sequence[Layer], bounds: Sequence[dict[str, Any]]):
        super().__init__(strict=True)
        self.layers = layers
        self.bounds = bounds
        self.observed = [_Observed() for _ in layers]
        self.place = 0
        self._weights: dict[int, Tensor] = {}

    def compute(self, product: Product) -> Tensor:
        layer, bound = self.layers[self.place], self.bounds[self.place]
        observed = self.observed[self.place]
        if product.length > layer.length:
            raise ConfigError(
                f"{layer.name} sums {product.length} products of a test input, and its certificate is for up "
                f"to {layer.length}; calibrate on inputs as long"
            )
        config, plan = layer.config, layer.plan
        x = quantize_operand(product.x, config.x, plan.x_scale).double()
        w = self._weight(product, layer)
        unit = 2.0**config.x.lsb_exponent
        observed.outside += int(((x < layer.x_range[0] * unit) | (x > layer.x_range[1] * unit)).sum())
        observed.inputs += x.numel()
        fixed = isinstance(config.accumulator, FixedAccumulator)
        result, statistics = _run(_lossless(config, layer.length) if fixed else config, x, w, product)
        if fixed:
            self._note_sums(observed, statistics, config)
        else:
            counts = statistics.counts.sum(1).tolist()
            observed.overflow += counts[0] + counts[2] + counts[5]
            observed.underflow += counts[1] + counts[3] + counts[6]
            observed.steps += statistics.steps * statistics.counts.shape[1]
            exact, absolute = (_exact(each, other, product) for each, other in ((x, w), (x.abs(), w.abs())))
            limit = bound["gamma"] * absolute + bound["eta"]
            error = (result - exact).abs()
            observed.ratios.append((error / limit)[error > 0].flatten())
        self.place += 1
        scale = result_scale(plan, convolution=layer.is_conv)
        return (result * scale).to(product.x.dtype)

    def _weight(self, product: Product, layer: Layer) -> Tensor:
        if layer.weights is None:
            return quantize_operand(product.w, layer.config.w, layer.plan.w_scale).double()
        if self.place not in self._weights:
            values = torch.from_numpy(layer.weights).double() * 2.0**layer.config.w.lsb_exponent
            self._weights[self.place] = values.reshape(product.w.shape) if layer.is_conv else values.t()
        return self._weights[self.place]

    @staticmethod
    def _note_sums(observed: _Observed, statistics: Statistics, config: MacConfig) -> None:
        for i, accumulator in enumerate((config.accumulator, config.outer_accumulator)):
            unit = 2.0**accumulator.format.lsb
            observed.low[i] = min(observed.low[i], int(float(statistics.low[i].min()) / unit))
            observed.high[i] = max(observed.high[i], int(float(statistics.high[i].max()) / unit))


def _run(config: MacConfig, x: Tensor, w: Tensor, product: Product) -> tuple[Tensor, Statistics]:
    backend = CpuBackend()
    if product.geometry is None:
        return backend.statistics(x, w, config)
    return backend.conv2d_statistics(x, w, config, product.geometry)


def _exact(x: Tensor, w: Tensor, product: Product) -> Tensor:
    """The product in float64, which holds every sum of narrow operands."""
    geometry = product.geometry
    if geometry is None:
        return x @ w
    return torch.conv2d(x, w, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)


@torch.no_grad()
def observe(
    workload: Workload,
    layers: Sequence[Layer],
    bounds: Sequence[dict[str, Any]],
    *,
    report: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """Run the test inputs and say of each layer what happened.

    Fixed-point sums run in accumulators of the same last bit that hold everything, so that they are those
    of the exact network; float ones run as they are. ``bounds``: of each layer the claim for its formats.
    """
    mode = _ObserveMode(layers, bounds)
    with caught(mode, workload.model):
        for done, arguments in enumerate(workload.batches):
            mode.place = 0
            workload.model(*arguments)
            report(done + 1, len(workload.batches))
    return [_told(layer, each) for layer, each in zip(layers, mode.observed, strict=True)]


def _told(layer: Layer, observed: _Observed) -> dict[str, Any]:
    about: dict[str, Any] = {
        "inputs": observed.inputs,
        "outside_calibrated": observed.outside,
    }
    if isinstance(layer.config.accumulator, FixedAccumulator):
        for i, kind in enumerate(("chunk", "outer")):
            about[kind] = [observed.low[i], observed.high[i]]
            about[f"{kind}_width"] = width(observed.low[i], observed.high[i])
        return about
    ratios = torch.cat(observed.ratios) if observed.ratios else torch.zeros(0)
    about |= {
        "roundings": observed.steps,
        "overflow": observed.overflow,
        "underflow": observed.underflow,
        "results_with_error": ratios.numel(),
    }
    if observed.overflow == 0 and ratios.numel():
        largest = float(ratios.max())
        if largest > 1:
            raise AssertionError(f"{layer.name}: an error is {largest} times its proved bound")
        about |= {"largest_ratio": largest, "median_ratio": float(np.median(ratios.numpy()))}
    return about

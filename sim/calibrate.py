"""Operand biases, scales and accumulator biases of each layer, from training images.

One rule for every kind of accumulator: of a few settings a layer is given the one whose output, on
sampled rows of its real operands, points most nearly the same way as float's. Truncation makes every sum
smaller by much the same factor, which does a network less harm than noise, so a common factor is not counted
as an error. What is set is

* for float operands (one bias a tensor, the largest that fits), the offset between product and accumulator:
  float accumulators move b_acc, and b_prod = b_acc + log2(chunk) / 2 with it, fixed-point ones their lsb;
* for integer operands the bits that the operands use, since an integer accumulator has no other setting.

Offsets are per layer, or one for the whole network, which hardware can wire in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from golden.catalog import EXACT_LENGTH
from golden.config import (
    MAX_OPERAND_FIXED_BITS,
    FixedAccumulator,
    FixedFormat,
    MacConfig,
)
from golden.datapath import exact_accumulator
from sim.backends import find_backend, patches
from sim.inject import Product, ProductMode
from sim.operands import LayerConfig, exponent_that_fits, fit_operands, quantize_operand

__all__ = [
    "LayerSample",
    "at_offset",
    "calibrate",
    "fold_batch_norm",
    "has_offsets",
    "is_exact",
    "sample_layers",
    "shared_offset",
]

#: Rows of a layer's left operand that settings are compared on.
_ROWS = 128

#: Powers of two to either side of the offset that just holds the largest output.
_AROUND = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSample:
    """What a layer multiplies: some of its rows, in float, and the extent of all. Equal to itself only."""

    x: Tensor  #: float64 [rows, k]: activations.
    w: Tensor  #: float64 [k, n]: weights.
    x_largest: float
    w_largest: float

    @property
    def length(self) -> int:
        return self.w.shape[0]

    @property
    def product(self) -> Tensor:
        return self.x @ self.w


def fold_batch_norm(model: nn.Sequential) -> nn.Sequential:
    """The same function with each batch norm folded into the convolution before it."""
    layers: list[nn.Module] = []
    for layer in model.eval():
        if isinstance(layer, nn.BatchNorm2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval()


class _SampleMode(ProductMode):
    """Runs products in float and keeps rows of their operands."""

    def __init__(self, seed: int):
        super().__init__(strict=True)
        self.generator = torch.Generator().manual_seed(seed)
        self.samples: list[LayerSample] = []

    def compute(self, product: Product) -> Tensor:
        x, w, geometry = product.x, product.w, product.geometry
        if geometry is None:
            result = x @ w
            rows, columns = x.flatten(0, -2), w if w.ndim == 2 else w.flatten(0, -3)[0]
            if w.ndim > 2:  # products of a batch have operands of their own: those of the first are sampled
                rows = x.flatten(0, -3)[0]
        else:
            options = (geometry.stride, geometry.padding, geometry.dilation)
            result = torch.conv2d(x, w, None, *options, geometry.groups)
            first = x[:, : w.shape[1]]
            rows = patches(first, w.shape[2:], geometry)
            columns = w[: len(w) // geometry.groups].flatten(1).t()
        picked = torch.randperm(len(rows), generator=self.generator)[:_ROWS]
        self.samples.append(
            LayerSample(
                x=rows[picked].double(),
                w=columns.double(),
                x_largest=float(x.abs().max()),
                w_largest=float(w.abs().max()),
            )
        )
        return result


@torch.no_grad()
def sample_layers(model: nn.Module, images: Tensor, *, seed: int) -> list[LayerSample]:
    """A sample of each product of a forward pass over training images, in order."""
    mode = _SampleMode(seed)
    with mode:
        model(images)
    return mode.samples


def has_offsets(config: MacConfig) -> bool:
    """Whether a layer has an offset to set: not with integers, nor with exact accumulation."""
    integers = isinstance(config.x, FixedFormat) and isinstance(config.w, FixedFormat)
    return not integers and not is_exact(config)


def is_exact(config: MacConfig) -> bool:
    """Whether it stands for exact accumulation: fitted to each layer's length, it never overflows."""
    accumulator = config.accumulator
    longest = exact_accumulator(config.x, config.w, EXACT_LENGTH)
    return isinstance(accumulator, FixedAccumulator) and accumulator == longest


def calibrate(samples: Sequence[LayerSample], config: MacConfig, *, offset: int | None) -> list[LayerConfig]:
    """A configuration for each layer, on the silicon of ``config``.

    ``offset``: the product offset of all layers, as :func:`shared_offset` finds it; None: each layer has
    its own. Without a meaning where there is nothing to set (:func:`has_offsets`).
    """
    if is_exact(config):
        return [_exact(config, sample) for sample in samples]
    if not has_offsets(config):
        settings = range(2, config.w.bits + 1)
        return [
            _best(sample, settings, lambda bits, s=sample: _integers(config, s, bits)) for sample in samples
        ]
    if offset is not None:
        return [_with_offset(config, sample, offset) for sample in samples]
    return [
        _best(sample, _offsets_around(config, sample), lambda d, s=sample: _with_offset(config, s, d))
        for sample in samples
    ]


def shared_offset(samples: Sequence[LayerSample], config: MacConfig) -> int:
    """The one product offset for all these layers with the least sum of errors."""
    around = [_offsets_around(config, sample) for sample in samples]
    offsets = range(min(r.start for r in around), max(r.stop for r in around))
    cost = {d: sum(_error(sample, _with_offset(config, sample, d)) for sample in samples) for d in offsets}
    return min(offsets, key=lambda d: (cost[d], d))


def _offsets_around(config: MacConfig, sample: LayerSample) -> range:
    middle = _offset_that_fits(config, sample)
    return range(middle - _AROUND, middle + _AROUND + 1)


def _best(sample: LayerSample, settings: Sequence[int], make: Callable[[int], LayerConfig]) -> LayerConfig:
    return min((make(setting) for setting in settings), key=lambda layer: _error(sample, layer))


@lru_cache(maxsize=4096)  # per layer and for all layers together, the same settings are asked for
def _error(sample: LayerSample, layer: LayerConfig) -> float:
    """Share of the output that is wrong however it is scaled: 1 - cos**2 between output and float's."""
    x = quantize_operand(sample.x, layer.config.x, layer.x_scale)
    w = quantize_operand(sample.w, layer.config.w, layer.w_scale)
    got, wanted = find_backend("cpu").matmul(x, w, layer.config), sample.product
    energies = float(got.square().sum() * wanted.square().sum())
    return 1 - float((got * wanted).sum()) ** 2 / energies if energies else 1.0


def _exact(config: MacConfig, sample: LayerSample) -> LayerConfig:
    layer = fit_operands(config, sample.x_largest, sample.w_largest, int_bits=MAX_OPERAND_FIXED_BITS)
    fitted = exact_accumulator(layer.config.x, layer.config.w, sample.length)
    return replace(layer, config=replace(layer.config, accumulator=fitted))


def _integers(config: MacConfig, sample: LayerSample, bits: int) -> LayerConfig:
    return fit_operands(config, sample.x_largest, sample.w_largest, int_bits=bits)


def _offset_that_fits(config: MacConfig, sample: LayerSample) -> int:
    """The offset at which the accumulator just holds the largest output of the sample."""
    layer = fit_operands(config, sample.x_largest, sample.w_largest, int_bits=MAX_OPERAND_FIXED_BITS)
    operands = layer.config.x.bias + layer.config.w.bias
    largest = float(sample.product.abs().max()) / (layer.x_scale * layer.w_scale)
    acc = config.accumulator
    if isinstance(acc, FixedAccumulator):
        return operands + exponent_that_fits(largest, acc.format.max_integer)
    bias = acc.format.max_exp_code - exponent_that_fits(largest, 2 - 2.0**-acc.format.man_bits)
    return operands - bias - (0 if config.product is None else _product_over_acc(config))


def _product_over_acc(config: MacConfig) -> int:
    """The paper's rule b_acc = b_prod - log2(chunk) / 2, rounded down."""
    return math.ceil(math.log2(config.chunk_size) / 2)


def _with_offset(config: MacConfig, sample: LayerSample, offset: int) -> LayerConfig:
    """The layer's operand biases, and accumulator biases at this product offset from them."""
    layer = fit_operands(config, sample.x_largest, sample.w_largest, int_bits=MAX_OPERAND_FIXED_BITS)
    return replace(layer, config=at_offset(layer.config, offset))


def at_offset(config: MacConfig, offset: int) -> MacConfig:
    """The configuration with its accumulator, and product quantizer, moved to this product offset."""
    first = config.x.bias + config.w.bias - offset
    acc = config.accumulator
    if isinstance(acc, FixedAccumulator):
        return replace(config, accumulator=replace(acc, format=replace(acc.format, lsb=-first)))
    if config.product is None:
        return replace(config, accumulator=replace(acc, format=replace(acc.format, bias=first)))
    return replace(
        config,
        product=replace(config.product, format=replace(config.product.format, bias=first)),
        accumulator=replace(acc, format=replace(acc.format, bias=first - _product_over_acc(config))),
    )

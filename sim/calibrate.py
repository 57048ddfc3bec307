"""Operand biases, scales and accumulator biases of each layer, from training images.

One rule for every kind of accumulator: of a few settings a layer is given the one whose output, on
sampled rows of its real operands, points most nearly the same way as float's. Truncation makes every sum
smaller by much the same factor, which does a network less harm than noise, so a common factor is not counted
as an error. What is set is

* for float operands (one bias a tensor, the largest that fits), the offset between product and accumulator:
  float accumulators move b_acc, and b_prod = b_acc + log2(chunk) / 2 with it, fixed-point ones their lsb;
* for integers from end to end the bits that the operands use. Their lsb is that of the product and stays.

Of settings that do as well, the one with the most headroom is taken. A setting is per layer, or one for the
whole network; an offset of the whole network can be wired in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from golden.config import (
    MAX_OPERAND_FIXED_BITS,
    ConfigError,
    FixedAccumulator,
    MacConfig,
)
from golden.datapath import exact_accumulator
from sim.backends import Conv2dGeometry, find_backend, patches
from sim.inject import Product, ProductMode, largest
from sim.operands import LayerConfig, exponent_that_fits, fit_operands, quantize_operand
from sim.product_mode import caught

__all__ = [
    "LayerSample",
    "at_offset",
    "calibrate",
    "fold_batch_norm",
    "has_offsets",
    "is_exact",
    "sample_layers",
    "shared_setting",
]

#: Rows of a layer's left operand that settings are compared on.
_ROWS = 128

#: Members of a batch of products, each with operands of its own, that are kept.
_MEMBERS = 8

#: Groups of a convolution that are kept: channels of a depthwise one are of very different sizes.
_GROUPS = 64

#: Powers of two to either side of the offset that just holds the largest output.
_AROUND = 3

#: An error that many times the least is as good.
_AS_GOOD = 1.01


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSample:
    """What a layer multiplies: some of its rows, in float, and the extent of all. Equal to itself only."""

    x: Tensor  #: float64 [..., rows, k]: activations.
    w: Tensor  #: float64 [..., k, n]: weights.
    x_largest: float
    w_largest: float

    @property
    def length(self) -> int:
        return self.w.shape[-2]

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
            rows, columns = x, w
        else:
            options = (geometry.stride, geometry.padding, geometry.dilation)
            result = torch.conv2d(x, w, None, *options, geometry.groups)
            if geometry.groups == 1:
                rows, columns = patches(x, w.shape[2:], geometry), w.flatten(1).t()
            else:
                rows, columns = self._groups(x, w, geometry)
        if rows.ndim == 2:
            rows = rows[self._picked(len(rows), _ROWS)]
        elif geometry is None:  # a batch of products, each of which has operands of its own
            members = self._picked(len(rows), _MEMBERS)
            rows, columns = rows[members], columns[members]
        self.samples.append(
            LayerSample(
                x=rows.double(),
                w=columns.double(),
                x_largest=largest(x),
                w_largest=largest(w),
            )
        )
        return result

    def _picked(self, count: int, most: int) -> Tensor:
        """Some of so many, at random."""
        return torch.randperm(count, generator=self.generator)[:most]

    def _groups(self, x: Tensor, w: Tensor, geometry: Conv2dGeometry) -> tuple[Tensor, Tensor]:
        """Rows [group, rows, k] and columns [group, k, n] of some groups of a convolution."""
        images, weights = x.chunk(geometry.groups, dim=1), w.chunk(geometry.groups)
        pairs = [
            (patches(images[i], w.shape[2:], geometry), weights[i].flatten(1).t())
            for i in self._picked(geometry.groups, _GROUPS).tolist()
        ]
        picked = self._picked(len(pairs[0][0]), _ROWS)
        return torch.stack([rows[picked] for rows, _ in pairs]), torch.stack([each for _, each in pairs])


@torch.no_grad()
def sample_layers(model: nn.Module, images: Tensor, *, seed: int) -> list[LayerSample]:
    """A sample of each product of a forward pass over training images, in order."""
    if isinstance(images, Tensor) and not images.numel():
        raise ConfigError("a calibration batch has no images; give some of the training set's")
    mode = _SampleMode(seed)
    with caught(mode):
        model(images)
    return mode.samples


def is_exact(config: MacConfig) -> bool:
    """Whether it stands for exact accumulation: fitted to each layer's length, it never overflows."""
    return config.exact_in_chunks and not config.all_integer


def has_offsets(config: MacConfig) -> bool:
    """Whether a layer has an offset to set: not with integers, nor with exact accumulation."""
    return not config.all_integer and not is_exact(config)


def calibrate(samples: Sequence[LayerSample], config: MacConfig, *, shared: int | None) -> list[LayerConfig]:
    """A configuration for each layer, on the silicon of ``config``.

    ``shared``: the setting of all layers, as :func:`shared_setting` finds it; None: each layer has its own.
    Exact accumulators have none, and take the width that the layer needs.
    """
    if is_exact(config):
        return [_exact(config, sample) for sample in samples]
    if shared is not None:
        return [_at(config, sample, shared) for sample in samples]
    layers = []
    for sample in samples:
        errors = {
            setting: _error(sample, _at(config, sample, setting)) for setting in _around(config, sample)
        }
        layers.append(_at(config, sample, _least(errors)))
    return layers


def shared_setting(samples: Sequence[LayerSample], config: MacConfig) -> int:
    """The one setting for all these layers with the least sum of errors: a product offset, or bits."""
    around = [_around(config, sample) for sample in samples]
    settings = sorted({setting for each in around for setting in each}, reverse=around[0].step < 0)
    errors = {d: sum(_error(sample, _at(config, sample, d)) for sample in samples) for d in settings}
    return _least(errors)


def _around(config: MacConfig, sample: LayerSample) -> range:
    """The settings that are tried for a layer, the one with the most headroom first."""
    if config.all_integer:
        return range(2, max(config.x.bits, config.w.bits) + 1)
    middle = _offset_that_fits(config, sample)
    return range(middle + _AROUND, middle - _AROUND - 1, -1)


def _least(errors: dict[int, float]) -> int:
    """The first setting that is as good as the best, within a hundredth."""
    enough = _AS_GOOD * min(errors.values()) + 1e-12
    return next(setting for setting, error in errors.items() if error <= enough)


def _at(config: MacConfig, sample: LayerSample, setting: int) -> LayerConfig:
    """The layer at a setting: integer operands of so many bits, or an accumulator at an offset."""
    if config.all_integer:
        return _fit(config, sample, setting)
    layer = _fit(config, sample, MAX_OPERAND_FIXED_BITS)
    return replace(layer, config=at_offset(layer.config, setting))


def _fit(config: MacConfig, sample: LayerSample, int_bits: int) -> LayerConfig:
    return fit_operands(config, sample.x_largest, sample.w_largest, int_bits=int_bits, length=sample.length)


@lru_cache(maxsize=4096)  # per layer and for all layers together, the same settings are asked for
def _error(sample: LayerSample, layer: LayerConfig) -> float:
    """Share of the output that is wrong however it is scaled: 1 - cos**2 between output and float's."""
    x = quantize_operand(sample.x, layer.config.x, layer.x_scale)
    w = quantize_operand(sample.w, layer.config.w, layer.w_scale)
    got, wanted = find_backend("cpu").matmul(x, w, layer.config), sample.product
    energies = float(got.square().sum() * wanted.square().sum())
    return 1 - float((got * wanted).sum()) ** 2 / energies if energies else 1.0


def _exact(config: MacConfig, sample: LayerSample) -> LayerConfig:
    layer = _fit(config, sample, MAX_OPERAND_FIXED_BITS)
    fitted = exact_accumulator(layer.config.x, layer.config.w, sample.length)
    return replace(layer, config=replace(layer.config, accumulator=fitted))


def _offset_that_fits(config: MacConfig, sample: LayerSample) -> int:
    """The offset at which the accumulator just holds the largest output of the sample."""
    layer = _fit(config, sample, MAX_OPERAND_FIXED_BITS)
    operands = layer.config.x.bias + layer.config.w.bias
    output = float(sample.product.abs().max()) / (layer.x_scale * layer.w_scale)
    acc = config.accumulator
    if isinstance(acc, FixedAccumulator):
        return operands + exponent_that_fits(output, acc.format.max_integer)
    bias = acc.format.max_exp_code - exponent_that_fits(output, 2 - 2.0**-acc.format.man_bits)
    return operands - bias - (0 if config.product is None else _product_over_acc(config))


def _product_over_acc(config: MacConfig) -> int:
    """The paper's rule b_acc = b_prod - log2(chunk) / 2, rounded down."""
    return math.ceil(math.log2(config.chunk_size) / 2)


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

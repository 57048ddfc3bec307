"""Stimuli for power: what goes into one MAC of a weight-stationary column, cycle by cycle.

    stimulus("resnet20", find("float12"), hardwired=False, seed=0)

A MAC of a column keeps a weight while the activations of many outputs pass, and each comes with the sum of
the products above it. So a real stimulus is made of blocks: one (k, channel) of a layer's weights each, drawn
at random, for as many neighbouring outputs as a tile has rows; incoming sums are golden's, of the real
operands before k in the chunk. Gaussian operands go the same way. Uniform ones do not: every bit of every
input is random in every cycle, which is what a default activity assumes.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

import sim.models
from golden.arith import fmaq
from golden.codes import encode
from golden.config import MAX_OPERAND_FIXED_BITS, ConfigError, FixedFormat, Format, MacConfig
from hw.cost.power import Stimulus
from hw.options import DEPTH
from sim.backends import patches
from sim.calibrate import LayerSample, calibrate, is_exact
from sim.data import BUILD
from sim.layers import largest
from sim.operands import LayerConfig, fit_operands, quantize_operand
from sim.product_mode import Product, ProductMode, caught
from sim.workloads import find_workload

__all__ = ["NAMES", "REAL", "stimulus"]

#: Cycles of a stimulus: 128 weights, each held for a tile's depth.
COUNT = 128 * DEPTH

#: Rows of the layer that calibration looks at.
_CALIBRATED_ROWS = 128

#: Part of the key of what is kept: raise it with any change of what a layer's file holds.
_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """Where a real stimulus is from."""

    layer: str
    inputs: int
    description: str


#: Networks and the layer that stands for each: neither the first, whose input is an image, nor the last.
_SOURCES = {
    "resnet20": _Source(
        layer="layer2.1.conv1",
        inputs=8,
        description="ResNet-20's layer2.1.conv1 (3x3, 32 to 32 channels, 16x16 pixels), CIFAR-10 test images",
    ),
    "digits": _Source(
        layer="3",
        inputs=500,
        description="the second layer (128 to 128) of the perceptron on scikit-learn's test digits",
    ),
    "fashion-mnist": _Source(
        layer="3",
        inputs=8,
        description="the second convolution (3x3, 8 to 16 channels, 14x14 pixels), Fashion-MNIST test images",
    ),
}

REAL = tuple(_SOURCES)
NAMES = (*REAL, "uniform", "gaussian")

#: Shape of the Gaussian layer: outputs, k, channels.
_GAUSSIAN = (2048, 288, 32)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layer:
    """The operands of one matrix product, in float: outputs in the order in which they pass."""

    x: Tensor  #: float64 [m, k]
    w: Tensor  #: float64 [k, n]

    def sample(self, rng: Generator) -> LayerSample:
        rows = rng.permutation(len(self.x))[:_CALIBRATED_ROWS]
        return LayerSample(x=self.x[rows], w=self.w, x_largest=largest(self.x), w_largest=largest(self.w))


class _Capture(ProductMode):
    """Runs products in float and keeps the operands of one."""

    def __init__(self, layer: str):
        super().__init__(strict=True)
        self._wanted = layer
        self.found: _Layer | None = None

    def compute(self, product: Product) -> Tensor:
        x, w, geometry = product.x, product.w, product.geometry
        if self.where == self._wanted:
            if geometry is None:
                self.found = _Layer(x=x.double(), w=w.double())
            else:
                self.found = _Layer(x=patches(x, w.shape[2:], geometry).double(), w=w.flatten(1).t().double())
        if geometry is None:
            return x @ w
        options = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
        return torch.conv2d(x, w, None, *options)


def _real_layer(name: str, seed: int) -> _Layer:
    """The layer's operands in a float32 forward pass; kept by what they are made from."""
    source = _SOURCES[name]
    content = [
        name,
        source.layer,
        source.inputs,
        seed,
        _VERSION,
        torch.__version__,
        inspect.getsource(sim.models),
    ]
    key = hashlib.sha256(repr(content).encode()).hexdigest()[:24]
    path = BUILD / "activity" / f"{name}-{key}.npz"
    if not path.is_file():
        workload = find_workload(name, count=source.inputs, seed=seed)
        capture = _Capture(source.layer)
        with torch.no_grad(), caught(capture, workload.model):
            workload.model(*workload.batches[0])
        if capture.found is None:
            raise ConfigError(f"{name} has no layer {source.layer}, whose operands the stimulus is made of")
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.stem}.{os.getpid()}.npz")
        np.savez_compressed(scratch, x=capture.found.x.float().numpy(), w=capture.found.w.float().numpy())
        scratch.replace(path)
    with np.load(path) as file:
        return _Layer(x=torch.from_numpy(file["x"]).double(), w=torch.from_numpy(file["w"]).double())


def _gaussian_layer(rng: Generator) -> _Layer:
    m, k, n = _GAUSSIAN
    return _Layer(
        x=torch.from_numpy(rng.standard_normal((m, k))), w=torch.from_numpy(rng.standard_normal((k, n)))
    )


def stimulus(name: str, config: MacConfig, *, hardwired: bool, seed: int = 0, count: int = COUNT) -> Stimulus:
    """A stimulus of the MAC of ``config``, the same for the same arguments.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`. Of real and Gaussian ones operands are fitted, and the offset of the accumulator
        is calibrated as a layer's is; a uniform one is at the offsets of ``config``.
    hardwired : bool
        The offsets of ``config`` are constants of the silicon: they stay.
    count : int
        Cycles.

    Raises :class:`ConfigError` for an unknown name, and where the data of a network are not here.
    """
    rng = np.random.default_rng([seed, NAMES.index(name) if name in NAMES else 0])
    if name == "uniform":
        return _uniform(config, rng, count)
    if name == "gaussian":
        layer, description = _gaussian_layer(rng), "independent normal values, weights and activations alike"
    elif name in REAL:
        layer, description = _real_layer(name, seed), _SOURCES[name].description
    else:
        raise ConfigError(f"there is no stimulus called {name!r}; use {', '.join(NAMES)}")
    fitted = _fitted(config, layer.sample(rng), hardwired=hardwired)
    return _column(name, description, layer, fitted, rng, count)


def _fitted(config: MacConfig, sample: LayerSample, *, hardwired: bool) -> LayerConfig:
    """Formats of the layer's operands, and the accumulator where calibration or the silicon puts it."""
    if config.all_integer or not (hardwired or is_exact(config)):
        return calibrate([sample], config, shared=None)[0]
    layer = fit_operands(
        config, sample.x_largest, sample.w_largest, int_bits=MAX_OPERAND_FIXED_BITS, length=sample.length
    )
    moved = layer.config.x.bias + layer.config.w.bias - config.x.bias - config.w.bias

    def along(part):
        """The same part as far from the operands' biases as before."""
        if part is None:
            return None
        number = part.format
        if isinstance(number, FixedFormat):
            return replace(part, format=replace(number, lsb=number.lsb - moved))
        return replace(part, format=replace(number, bias=number.bias + moved))

    return replace(
        layer,
        config=replace(
            layer.config,
            product=along(config.product),
            accumulator=along(config.accumulator),
            outer=along(config.outer),
        ),
    )


def _column(
    name: str, description: str, layer: _Layer, fitted: LayerConfig, rng: Generator, count: int
) -> Stimulus:
    """Blocks of cycles, each with one weight, and golden's sums of what comes before it in its chunk."""
    config = fitted.config
    x = encode(quantize_operand(layer.x, config.x, fitted.x_scale), config.x).numpy()
    w = encode(quantize_operand(layer.w, config.w, fitted.w_scale), config.w).numpy()
    (m, length), channels = x.shape, w.shape[1]
    blocks = -(-count // DEPTH)
    ks = np.resize(rng.permutation(length), blocks)
    ns = rng.integers(0, channels, blocks)
    starts = rng.integers(0, m // DEPTH, blocks) * DEPTH

    rows = (starts[:, None] + np.arange(DEPTH)).ravel()[:count]
    k, n = (np.repeat(each, DEPTH)[:count] for each in (ks, ns))
    words = _words(config, rng, count)
    acc = np.zeros(count, dtype=np.int64)
    first = k - k % config.chunk_size
    for step in range(int((k - first).max())):
        at = first + step
        before = at < k
        at = np.minimum(at, length - 1)
        acc = np.where(before, fmaq(acc, x[rows, at], w[at, n], config, *(word() for word in words)), acc)
    product_word, acc_word = (word() for word in words)
    return Stimulus(
        name=name,
        description=description,
        config=config,
        x=x[rows, k],
        w=w[k, n],
        acc=acc,
        product_word=product_word,
        acc_word=acc_word,
    )


def _uniform(config: MacConfig, rng: Generator, count: int) -> Stimulus:
    product_word, acc_word = (word() for word in _words(config, rng, count))
    return Stimulus(
        name="uniform",
        description="codes that are uniform and independent in every cycle, weights and sums alike",
        config=config,
        x=_codes(config.x, rng, count),
        w=_codes(config.w, rng, count),
        acc=_codes(config.accumulator.format, rng, count),
        product_word=product_word,
        acc_word=acc_word,
    )


def _codes(number: Format, rng: Generator, count: int) -> NDArray[np.int64]:
    """Codes of finite numbers, of those uniformly."""
    codes = rng.integers(0, 2**number.code_bits, count)
    if isinstance(number, FixedFormat):
        return codes
    magnitude = codes & (2 ** (number.code_bits - 1) - 1)
    return codes - magnitude + magnitude % (number.max_magnitude_code + 1)


def _words(config: MacConfig, rng: Generator, count: int) -> list[Callable[[], NDArray[np.int64] | None]]:
    """Makers of random words for the product's rounding and the sum's; of None where they take none."""

    def maker(bits: int | None) -> Callable[[], NDArray[np.int64] | None]:
        return lambda: None if bits is None else rng.integers(0, 2**bits, count)

    parts = (config.product, config.accumulator)
    return [maker(None if part is None else part.random_bits) for part in parts]

"""Biases and chunk of a layer from a few of its statistics, by the law of :mod:`sim.calibration.law`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from golden.config import (
    MAX_OPERAND_FIXED_BITS,
    ConfigError,
    FloatAccumulator,
    FloatFormat,
    Format,
    MacConfig,
)
from sim.calibrate import LayerSample
from sim.calibration.law import (
    PlaceLosses,
    flushed_share,
    kurtosis_spread,
    overflow_probability,
    place_losses,
    saturated_share,
)
from sim.operands import LayerConfig, fit_operands, quantize_operand

__all__ = [
    "LayerStatistics",
    "Predicted",
    "best_biases",
    "best_chunk_size",
    "network_chunk_size",
    "predicted",
    "rule",
]

#: Rows that products are looked at of, one by one.
_ROWS = 32

#: An error that many times the least is as good; of such biases the one with most headroom is taken.
_AS_GOOD = 1.01

#: Chunks that are looked at: an array of 16 rows has its multiples, and smaller arrays the rest.
CHUNK_SIZES = tuple(2**n for n in range(2, 11))


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerStatistics:
    """What the rule knows of a layer: moments of what it multiplies, in the units of its formats."""

    length: int
    active: Tensor  #: float64 [k]: how often a product is not zero.
    energy: Tensor  #: float64 [k]: mean square of the products at each place.
    product_ratio: float  #: E|p| / rms(p), of products that are not zero.
    octaves: dict[int, float]  #: floor(log2 |p|) -> share of the energy.
    small: dict[int, float]  #: floor(log2 |p|) -> share of the products that are not zero.
    output_energy: float  #: E s**2.
    kurtosis: float  #: E s**4 / (E s**2)**2.

    @property
    def product_energy(self) -> float:
        """E p**2, zeros included."""
        return float(self.energy.mean())

    @property
    def zeros(self) -> float:
        """Share of products that are zero."""
        return 1 - float(self.active.mean())

    @property
    def correlation(self) -> float:
        """E s**2 / (K E p**2): 1 for products that know nothing of each other."""
        energy = self.length * self.product_energy
        return self.output_energy / energy if energy else 1.0

    @classmethod
    def of(cls, sample: LayerSample, layer: LayerConfig) -> LayerStatistics:
        """Of sampled rows, quantized as the layer has it."""
        return _statistics(sample, layer.config.x, layer.config.w, layer.x_scale, layer.w_scale)


@lru_cache(maxsize=512)  # the same for all accumulators
def _statistics(
    sample: LayerSample, x_format: Format, w_format: Format, x_scale: float, w_scale: float
) -> LayerStatistics:
    x = quantize_operand(sample.x, x_format, x_scale).double()
    w = quantize_operand(sample.w, w_format, w_scale).double()
    output = x @ w
    energy = float(output.square().mean())
    products = x[..., :_ROWS, :, None] * w[..., None, :, :]
    active = (products != 0).double().mean(dim=[d for d in range(products.ndim) if d != products.ndim - 2])
    magnitudes = products[products != 0].abs()
    squares = magnitudes.square()
    octaves, inverse = (torch.frexp(magnitudes)[1] - 1).unique(return_inverse=True)
    shares, counts = (
        torch.zeros(len(octaves), dtype=torch.float64).index_add_(0, inverse, each) / each.sum()
        for each in (squares, torch.ones_like(squares))
    )
    return LayerStatistics(
        length=x.shape[-1],
        active=active,
        energy=x.square().flatten(0, -2).mean(0) * w.square().mean(-1).reshape(-1, x.shape[-1]).mean(0),
        product_ratio=float(magnitudes.mean() / squares.mean().sqrt()) if len(squares) else 1.0,
        octaves=dict(zip(octaves.tolist(), shares.tolist(), strict=True)),
        small=dict(zip(octaves.tolist(), counts.tolist(), strict=True)),
        output_energy=energy,
        kurtosis=float(output.pow(4).mean()) / energy**2 if energy else 3.0,
    )


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Shares of a layer's output energy that its accumulator makes wrong, and how often a sum overflows."""

    product: float  #: By products that are too small or too large for their quantizer.
    saturated: float
    flushed: float
    rounding: float  #: 1 - cos**2, by roundings alone.
    overflow_probability: float  #: Of a sum.
    gain: float  #: What truncation multiplies the result by.

    @property
    def error(self) -> float:
        """All of it."""
        return self.product + self.saturated + self.flushed + self.rounding


def _product_share(statistics: LayerStatistics, number: FloatFormat) -> float:
    """Of the output's energy: octaves below the format are lost, those above are clipped to its top."""
    bottom, top = -number.bias, number.max_exponent
    lost = 0.0
    for octave, share in statistics.octaves.items():
        if octave < bottom:
            lost += share
        elif octave > top:
            lost += share * _clipped(octave - top)
    return lost / statistics.correlation


def _clipped(octaves: int) -> float:
    """Energy share that a number so many octaves above loses by being clipped.

    For a uniform logarithm there: the mean of (1 - 1/f)**2 over f from 2**(octaves-1) to 2**octaves.
    """

    def integral(f: float) -> float:
        return math.log(f) + 2 / f - 1 / (2 * f * f)

    return (integral(2.0**octaves) - integral(2.0 ** (octaves - 1))) / math.log(2)


def _saturated(statistics: LayerStatistics, number: FloatFormat, *, step: float) -> tuple[float, float]:
    """Energy share that saturates, and the share of sums."""
    rms, spread = math.sqrt(statistics.output_energy), kurtosis_spread(max(statistics.kurtosis, 3.0))
    if rms == 0:
        return 0.0, 0.0
    how = dict(step=step, correlation=statistics.correlation)
    share = saturated_share(number.max_value, rms, spread, **how)
    return share, overflow_probability(number.max_value, rms, spread, **how)


def _flushed(statistics: LayerStatistics, number: FloatFormat, *, steps: float, chunks: float) -> float:
    """Of the output's energy: walks that pass zero, and first products of a chunk that do not get off it."""
    threshold = 2.0**-number.bias
    spread = kurtosis_spread(max(statistics.kurtosis, 3.0))
    rms = math.sqrt(statistics.output_energy)
    walk = flushed_share(threshold, rms, spread, steps=steps, chunks=chunks)
    below = [octave for octave in statistics.octaves if octave < -number.bias]
    energy = sum(statistics.octaves[octave] for octave in below)
    often = sum(statistics.small[octave] for octave in below)
    waits = 1 / max(1 - often, 1e-9)  # products until one is large enough
    return walk + energy * min(1.0, waits / max(steps, 1.0)) / statistics.correlation


def _path(statistics: LayerStatistics, config: MacConfig) -> tuple[float, float]:
    """Steps in a chunk that add something, and chunks."""
    chunks = math.ceil(statistics.length / config.chunk_size)
    return max(1.0, statistics.length * (1 - statistics.zeros) / chunks), float(chunks)


def losses_of(statistics: LayerStatistics, config: MacConfig) -> PlaceLosses:
    """The law for this layer."""
    return place_losses(
        config,
        statistics.length,
        active=statistics.active,
        energy=statistics.energy if statistics.output_energy else None,
        product_ratio=statistics.product_ratio,
    )


def _range_shares(statistics: LayerStatistics, config: MacConfig) -> tuple[float, float, float]:
    """Energy shares that accumulators saturate and flush, and the share of sums that overflow."""
    steps, chunks = _path(statistics, config)
    inner, outer = config.accumulator.format, config.outer_accumulator.format
    chunk_rms = math.sqrt(statistics.output_energy / chunks)
    saturated, probability = _saturated(statistics, outer, step=chunk_rms if chunks > 1 else 0.0)
    if config.outer is not None:
        of_chunk = replace(statistics, output_energy=chunk_rms**2)
        inner_share, inner_probability = _saturated(of_chunk, inner, step=chunk_rms / math.sqrt(steps))
        saturated += inner_share
        probability = min(1.0, probability + chunks * inner_probability)
    return saturated, _flushed(statistics, inner, steps=steps, chunks=chunks), probability


def predicted(statistics: LayerStatistics, config: MacConfig, *, even: bool) -> Predicted:
    """What this configuration does to the layer's sums, biases and all; ``even``: places are made up for."""
    saturated, flushed, probability = _range_shares(statistics, config)
    law = losses_of(statistics, config)
    return Predicted(
        product=0.0 if config.product is None else _product_share(statistics, config.product.format),
        saturated=saturated,
        flushed=flushed,
        rounding=law.error(even=even),
        overflow_probability=probability,
        gain=law.gain,
    )


def best_biases(statistics: LayerStatistics, config: MacConfig) -> MacConfig:
    """The configuration with the biases of least predicted error: b_prod, b_acc and that of the outer.

    The two errors do not meet, so each bias is found by itself, over all that could matter.
    """
    _check(config)
    if not statistics.octaves:
        return config
    noise = losses_of(statistics, config).error(even=True)
    if config.product is not None:
        number = config.product.format
        span = range(-max(statistics.octaves) - 2, 2**number.exp_bits - min(statistics.octaves) + 1)
        errors = {b: _product_share(statistics, replace(number, bias=b)) for b in span}
        product = replace(config.product, format=replace(number, bias=_least(errors, noise)))
        config = replace(config, product=product)

    def error(bias: int, part: str) -> float:
        saturated, flushed, _ = _range_shares(statistics, _moved(config, part, bias))
        return saturated + flushed

    for part in ("accumulator",) if config.outer is None else ("accumulator", "outer"):
        number = getattr(config, part).format
        top = math.ceil(math.log2(math.sqrt(statistics.output_energy)))
        middle = 2**number.exp_bits - 1 - top
        errors = {b: error(b, part) for b in range(middle - 12, middle + 5)}
        config = _moved(config, part, _least(errors, noise))
    return config


def _check(config: MacConfig) -> None:
    parts = (config.accumulator, config.outer_accumulator)
    if not all(isinstance(part, FloatAccumulator) for part in parts):
        raise ConfigError(
            f"the rule is of float accumulators, and {config.name} sums in fixed point; use "
            "sim.calibrate.calibrate"
        )


def _moved(config: MacConfig, part: str, bias: int) -> MacConfig:
    old = getattr(config, part)
    return replace(config, **{part: replace(old, format=replace(old.format, bias=bias))})


def _least(errors: dict[int, float], noise: float) -> int:
    """The first, with most headroom, that is as good as the best beside the noise that there is anyhow."""
    enough = _AS_GOOD * (min(errors.values()) + noise) - noise
    return next(bias for bias, error in sorted(errors.items()) if error <= enough)


def best_chunk_size(statistics: LayerStatistics, config: MacConfig, *, even: bool) -> int:
    """Of :data:`CHUNK_SIZES`, the one of least predicted rounding error."""
    return network_chunk_size([statistics], config, even=even)


def network_chunk_size(layers: Iterable[LayerStatistics], config: MacConfig, *, even: bool) -> int:
    """The same for all layers together: the chunk is silicon."""
    layers = list(layers)

    def error(chunk_size: int) -> float:
        at = replace(config, chunk_size=chunk_size)
        return sum(losses_of(statistics, at).error(even=even) for statistics in layers)

    return min(CHUNK_SIZES, key=error)


def rule(
    samples: Sequence[LayerSample], config: MacConfig, *, chunk: str | int | None = None, even: bool = False
) -> list[LayerConfig]:
    """A configuration for each layer: operands that fit, and biases by the law.

    Parameters
    ----------
    chunk : str, int or None
        ``"network"``: the one chunk that suits all layers; ``"layer"``: each has its own, which takes silicon
        of its own; a number; None: that of ``config``.
    even : bool
        Weights will be tapered by :func:`sim.calibration.compensation.taper`.
    """
    _check(config)
    layers = []
    for sample in samples:
        layer = fit_operands(
            config, sample.x_largest, sample.w_largest, int_bits=MAX_OPERAND_FIXED_BITS, length=None
        )
        layers.append((layer, LayerStatistics.of(sample, layer)))
    shared = None
    if chunk == "network":
        shared = network_chunk_size((each for _, each in layers), config, even=even)
    elif chunk != "layer":
        shared = chunk or config.chunk_size
    plan = []
    for layer, statistics in layers:
        size = shared or best_chunk_size(statistics, layer.config, even=even)
        chosen = best_biases(statistics, replace(layer.config, chunk_size=size))
        plan.append(replace(layer, config=chosen))
    return plan

"""Layer by layer: what the law predicts against what is simulated, and its choices against searches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from golden.config import MAX_OPERAND_FIXED_BITS, MacConfig, Rounding
from sim.backends import find_backend
from sim.calibrate import LayerSample, calibrate
from sim.calibration.law import best_chunk, walk_gain
from sim.calibration.rule import (
    CHUNK_SIZES,
    LayerStatistics,
    best_biases,
    best_chunk_size,
    losses_of,
    network_chunk_size,
    predicted,
)
from sim.calibration.steps import config_of
from sim.operands import LayerConfig, fit_operands, quantize_operand
from sim.zero_shot.measure import environment

__all__ = ["NARROW", "LayerSetting", "error_of", "measure_layers", "settings"]

#: Accumulators of so little range that biases matter, beside those that are asked for.
NARROW = ("e3m7", "e3m5")

#: Rows of a layer that the search over both biases looks at.
_ROWS = 32

#: Biases to either side of the rule's that it tries.
_AROUND = 6


@dataclass(frozen=True, kw_only=True)
class LayerSetting:
    """An accumulator, toward zero."""

    accumulator: str

    @property
    def label(self) -> str:
        """For progress and tables."""
        return f"{self.accumulator}-rz by layer"

    def key(self, network: str, seed: int) -> str:
        """What a finished row is known by."""
        return f"{network}, {self.label}, seed {seed}"


def settings(accumulators: Sequence[str]) -> list[LayerSetting]:
    """Those accumulators, and narrow ones."""
    names = dict.fromkeys((*accumulators, *NARROW))
    return [LayerSetting(accumulator=name) for name in names]


def error_of(x: Tensor, w: Tensor, config: MacConfig) -> tuple[float, float]:
    """Gain and 1 - cos**2 of the product against the exact one; operands hold values of the formats."""
    return compared(find_backend("cpu").matmul(x, w, config), x @ w)


def compared(got: Tensor, wanted: Tensor) -> tuple[float, float]:
    """The factor of ``wanted`` that is in ``got``, and 1 - cos**2 between the two."""
    cross, energy = float((got * wanted).sum()), float(wanted.square().sum())
    both = energy * float(got.square().sum())
    return (cross / energy, 1 - cross**2 / both) if both else (0.0, 1.0)


def measure_layers(
    samples: Sequence[LayerSample], setting: LayerSetting, *, report: Callable[[int], None]
) -> dict[str, Any]:
    """The row of the results: one entry for each layer."""
    config = config_of(setting.accumulator, "rz")
    layers = []
    for done, sample in enumerate(samples, 1):
        layers.append(_layer(sample, config))
        report(done)
    statistics = [LayerStatistics.of(sample, _fitted(sample, config)) for sample in samples]
    return {
        "accumulator": setting.accumulator,
        "network_chunk": network_chunk_size(statistics, config, even=False),
        "network_chunk_tapered": network_chunk_size(statistics, config, even=True),
        "layers": layers,
        "made_by": environment("cpu"),
    }


def _fitted(sample: LayerSample, config: MacConfig) -> LayerConfig:
    extents = (sample.x_largest, sample.w_largest)
    return fit_operands(config, *extents, int_bits=MAX_OPERAND_FIXED_BITS, length=None)


def _layer(sample: LayerSample, config: MacConfig) -> dict[str, Any]:
    fitted = _fitted(sample, config)
    statistics = LayerStatistics.of(sample, fitted)
    x, w = _operands(sample, fitted)
    ruled = best_biases(statistics, fitted.config)
    foreseen = predicted(statistics, ruled, even=False)
    gain, error = error_of(x, w, ruled)
    law = losses_of(statistics, ruled)
    tapered_gain, tapered_error = _tapered(sample, fitted, ruled, law.gains)
    return {
        "length": statistics.length,
        "zeros": statistics.zeros,
        "correlation": statistics.correlation,
        "kurtosis": statistics.kurtosis,
        "gain": gain,
        "gain_by_law": foreseen.gain,
        "gain_by_simple_law": walk_gain(
            config.accumulator.format.man_bits, config.chunk_size, statistics.length, statistics.zeros
        ),
        "error": error,
        "error_by_law": foreseen.error,
        "tapered_gain": tapered_gain,
        "tapered_error": tapered_error,
        "tapered_error_by_law": law.error(even=True),
        "nearest_error": error_of(x, w, _to_nearest(ruled))[1],
        "biases": _biases(sample, config, fitted, ruled),
        "chunks": _chunks(statistics, x, w, ruled),
    }


def _operands(sample: LayerSample, layer: LayerConfig, rows: int | None = None) -> tuple[Tensor, Tensor]:
    x = quantize_operand(sample.x[..., :rows, :], layer.config.x, layer.x_scale).double()
    return x, quantize_operand(sample.w, layer.config.w, layer.w_scale).double()


def _tapered(
    sample: LayerSample, fitted: LayerConfig, ruled: MacConfig, gains: Tensor
) -> tuple[float, float]:
    """Gain and error with weights over what is left of their places, against the same weights times that."""
    w = sample.w / gains[:, None]
    tapered = replace(sample, w=w, w_largest=float(w.abs().max()))
    refitted = _fitted(tapered, fitted.config)
    x, w = _operands(tapered, refitted)
    got = find_backend("cpu").matmul(x, w, replace(ruled, w=refitted.config.w))
    return compared(got, x @ (w * gains[:, None]))


def _to_nearest(config: MacConfig) -> MacConfig:
    """The same accumulator with roundings to nearest even."""
    parts = {"product": config.product, "accumulator": config.accumulator}
    nearest = {name: replace(part, rounding=Rounding.NEAREST_EVEN) for name, part in parts.items()}
    return replace(config, **nearest)


def _biases(sample: LayerSample, config: MacConfig, fitted: LayerConfig, ruled: MacConfig) -> dict[str, Any]:
    """The rule's biases, the search's, the best at the paper's distance and the best of all pairs."""
    x, w = _operands(sample, fitted, _ROWS)
    product, acc = ruled.product.format.bias, ruled.accumulator.format.bias
    errors = {
        (p, a): error_of(x, w, _at(ruled, p, a))[1]
        for p in range(product - _AROUND, product + _AROUND + 1)
        for a in range(acc - _AROUND, acc + _AROUND + 1)
    }
    distance = math.ceil(math.log2(ruled.chunk_size) / 2)
    on_distance = {pair: error for pair, error in errors.items() if pair[0] - pair[1] == distance}
    best, paper = min(errors, key=errors.get), min(on_distance, key=on_distance.get)
    return {
        "rule": [product, acc],
        "rule_error": errors[product, acc],
        "paper_distance": list(paper),
        "paper_distance_error": on_distance[paper],
        "best": list(best),
        "best_error": errors[best],
        "search_error": error_of(x, w, calibrate([sample], config, shared=None)[0].config)[1],
        "named_error": error_of(x, w, fitted.config)[1],
        "pairs": len(errors),
    }


def _at(config: MacConfig, product: int, acc: int) -> MacConfig:
    return replace(
        config,
        product=replace(config.product, format=replace(config.product.format, bias=product)),
        accumulator=replace(config.accumulator, format=replace(config.accumulator.format, bias=acc)),
    )


def _chunks(statistics: LayerStatistics, x: Tensor, w: Tensor, ruled: MacConfig) -> dict[str, Any]:
    """Errors by chunk, and the chunks that the laws choose."""
    sizes = [size for size in CHUNK_SIZES if size < 2 * statistics.length]
    return {
        "law": best_chunk(statistics.length, statistics.zeros),
        "rule": best_chunk_size(statistics, ruled, even=False),
        "rule_tapered": best_chunk_size(statistics, ruled, even=True),
        "errors": {str(size): error_of(x, w, replace(ruled, chunk_size=size))[1] for size in sizes},
    }

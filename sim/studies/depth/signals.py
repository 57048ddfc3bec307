"""Pairs of inputs through random networks, every product by an accumulator: how far they stay alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from golden.config import MacConfig
from sim.calibration.law import walk_gain
from sim.inject import accumulate
from sim.layers import named_config
from sim.studies.depth.arithmetic import MODES, config_of
from sim.theory import (
    EXACT,
    Levels,
    Signal,
    Sums,
    best_mean_field,
    init_,
    measured_sums,
    propagate,
    settled,
    sums_by_law,
)

__all__ = ["WIDTH", "drawn_sigma", "measure_reach", "measure_signal", "reach", "walk"]

WIDTH = 512

#: Correlation of a pair of inputs, and what share of it is left where it is said to be lost.
_START, _LOST = 0.9, math.exp(-1)

#: Deeper networks are not looked at.
_DEEPEST = 500

_PAIRS = 128

#: Of the first estimate, which the trajectories are compared with.
_TRAJECTORY = {"levels": 16, "depth": 24, "start": 0.8}

#: Mode -> mantissa bits that are simulated.
_BITS = {"rz": range(3, 11), "rz repaired": (3, 4, 5, 6), "rne": (3, 4, 5, 6), "sr8": (3, 4, 5)}


@torch.no_grad()
def walk(
    levels: int, config: MacConfig | None, sigma_w: float, *, start: float, pairs: int, seed: int
) -> Iterator[Signal]:
    """Activations of pairs of inputs, layer by layer, without end. ``second_moment``: over the best one's.

    Inputs are normal, of that second moment and correlation ``start``. One seed has the same weights for all
    accumulators, but for their common factor.
    """
    layer, activation = nn.Linear(WIDTH, WIDTH, bias=False), Levels(levels)
    moment = best_mean_field(levels).second_moment
    generator = torch.Generator().manual_seed(seed)
    first, other = torch.randn(2, pairs, WIDTH, generator=generator)
    x = torch.cat([first, start * first + math.sqrt(1 - start**2) * other]) * math.sqrt(moment)
    call = 0
    while True:
        one, two = x.chunk(2)
        correlation = float((one * two).sum() / (one.norm() * two.norm()))
        yield Signal(float(x.square().mean()) / moment, correlation)
        layer.weight.normal_(0, sigma_w / math.sqrt(WIDTH), generator=generator)
        with nullcontext() if config is None else accumulate(config, seed=call):
            x = activation(layer(x))
        call += 1


def drawn_sigma(levels: int, config: MacConfig | None) -> float:
    """Of the weights that :func:`sim.theory.init_` draws."""
    (drawn,) = init_(nn.Linear(WIDTH, WIDTH), levels=levels, config=config).values()
    return drawn.sigma_w


def measure_signal(quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Variance and correlation against depth: the paper's accumulator, repaired, nearest even, exact."""
    levels, depth, start = (_TRAJECTORY[key] for key in ("levels", "depth", "start"))
    seeds = range(1 if quick else 5)
    best = best_mean_field(levels).sigma_w
    truncating = named_config("e4m7")
    first_law = walk_gain(truncating.accumulator.format.man_bits, truncating.chunk_size, WIDTH, 0.0)
    cases = {
        "exact": (None, best),
        "rz": (truncating, best),
        "rz repaired": (truncating, drawn_sigma(levels, truncating)),
        "rz, first law": (truncating, best / first_law),
        "rne": (named_config("float12-rne"), best),
    }
    rows = []
    for name, (config, sigma_w) in cases.items():
        report(f"{levels} levels, {depth} layers, {name}")
        walks = []
        for seed in seeds:
            steps = walk(levels, config, sigma_w, start=start, pairs=_PAIRS, seed=seed)
            walks.append([[each.second_moment, each.correlation] for each in islice(steps, depth + 1)])
        measured = np.array(walks)
        sums = EXACT if config is None else _one_layer(config, levels)
        row = {
            "name": name,
            "config": None if config is None else config.name,
            "sigma_w": sigma_w,
            "deviation": sums.deviation,
            "variance": measured[..., 0].mean(0).tolist(),
            "correlation": measured[..., 1].mean(0).tolist(),
            "last": measured[:, -1].tolist(),
        }
        rows.append(row | _predicted(levels, depth, start, sums, sigma_w))
    return {"rows": rows, "width": WIDTH, "pairs": _PAIRS, "seeds": len(seeds), **_TRAJECTORY}


def _one_layer(config: MacConfig, levels: int) -> Sums:
    """The deviation as measured on one layer, flushed products included; the noise, which that is too coarse
    for, by the law.
    """
    noise = sums_by_law(config, WIDTH, levels).noise
    deviation = measured_sums(config, WIDTH, levels).deviation
    return Sums(gain=deviation / math.sqrt(1 + noise), noise=noise)


def _predicted(levels: int, depth: int, start: float, sums: Sums, sigma_w: float) -> dict[str, Any]:
    moment = best_mean_field(levels).second_moment
    signals = propagate(levels, depth, Signal(moment, start), sigma_w=sigma_w, sums=sums)
    end = settled(levels, sigma_w=sigma_w, sums=sums)
    return {
        "predicted_variance": [each.second_moment / moment for each in signals],
        "predicted_correlation": [each.correlation for each in signals],
        "settled_variance": end.variance,
        "max_depth": end.max_depth,
    }


def reach(signals: Iterator[Signal]) -> float | None:
    """Layers until a correlation of :data:`_START` has fallen by e, between whole ones; None: over
    _DEEPEST.
    """
    before = None
    for layer, signal in enumerate(islice(signals, _DEEPEST + 1)):
        if signal.correlation <= _START * _LOST:
            share = math.log(before / (_START * _LOST)) / math.log(before / max(signal.correlation, 1e-3))
            return layer - 1 + min(share, 1.0)
        before = signal.correlation
    return None


def measure_reach(quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Layers that a correlation survives, by levels, mantissa bits and rounding, with the law's
    prediction.
    """
    rows = []
    for levels in (4,) if quick else (4, 8, 16, 32):
        rows.append(_reach_row(levels, None, None, "exact"))
        for mode, bits in _BITS.items():
            for man_bits in bits[1:2] if quick else bits:
                rows.append(_reach_row(levels, config_of(man_bits, MODES[mode][0]), man_bits, mode))
                report(f"{levels} levels, {mode}, {man_bits} bits: {rows[-1]['reach']} layers")
    return {"rows": rows, "width": WIDTH, "pairs": _PAIRS, "start": _START, "deepest": _DEEPEST, "seed": 0}


def _reach_row(levels: int, config: MacConfig | None, man_bits: int | None, mode: str) -> dict[str, Any]:
    field, repaired = best_mean_field(levels), MODES.get(mode, ("", False))[1]
    drawn = drawn_sigma(levels, config if repaired else None)
    signals = walk(levels, config, drawn, start=_START, pairs=_PAIRS, seed=0)
    law = EXACT if config is None else sums_by_law(config, WIDTH, levels)
    found = EXACT if config is None else measured_sums(config, WIDTH, levels)
    sigma_w = field.sigma_w / law.deviation if repaired else field.sigma_w
    predicted = propagate(levels, _DEEPEST, Signal(field.second_moment, _START), sigma_w=sigma_w, sums=law)
    return {
        "levels": levels,
        "mode": mode,
        "man_bits": man_bits,
        "config": None if config is None else config.name,
        "reach": reach(signals),
        "predicted_reach": reach(iter(predicted)),
        "max_depth": settled(levels, sigma_w=sigma_w, sums=law).max_depth,
        "deviation": found.deviation,
        "predicted_deviation": law.deviation,
        "predicted_noise": law.noise,
    }

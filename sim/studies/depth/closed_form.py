"""What follows from the formulas alone, and their check by random layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sim.studies.depth.arithmetic import MODES, config_of
from sim.theory import (
    Levels,
    Sums,
    asymptotic_error,
    best_mean_field,
    covariance,
    least_quantizer_error,
    settled,
    sums_by_law,
)

__all__ = ["FAN_INS", "SHARE", "kept_depth", "measure_bits", "measure_theory"]

_LEVELS = (2, 3, 4, 6, 8, 16, 32, 64, 256, 1024)

#: The range of the published exponent.
_FIT_TO = 1025

#: Depth that an accumulator may cost.
SHARE = 0.5

FAN_INS = (128, 512, 4608)

TRIED_BITS = range(2, 21)


def measure_theory(quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Best fields by levels, the exponent of chi, its asymptote, and chi of random layers."""
    report("best fields")
    rows = []
    for levels in _LEVELS:
        field = best_mean_field(levels)
        error, step = least_quantizer_error(levels)
        rows.append(
            {
                "levels": levels,
                "spacing": field.spacing,
                "sigma_w": field.sigma_w,
                "slope": field.slope,
                "second_moment": field.second_moment,
                "one_minus_chi": 1 - field.chi,
                "quantizer_error": error,
                "quantizer_step": step,
                "depth_scale": field.depth_scale,
                "max_depth": field.max_depth,
                "over_asymptote": (1 - field.chi) / asymptotic_error(levels),
            }
        )
    report("exponent")
    levels = np.arange(2, _FIT_TO + 1)
    if quick:
        levels = np.unique(np.geomspace(2, _FIT_TO, 60).round().astype(int))
    errors = np.array([1 - best_mean_field(int(n)).chi for n in levels])
    powers = 2 ** np.arange(1, int(math.log2(_FIT_TO)) + 1)
    exponents = {
        "all": _slope(levels, errors),
        "from_8": _slope(levels[levels >= 8], errors[levels >= 8]),
        "powers": _slope(powers, np.array([1 - best_mean_field(int(n)).chi for n in powers])),
    }
    far = [2**power for power in (2, 5, 8, 11, 14, 17, 20)]
    local = [
        {
            "levels": n,
            "exponent": math.log2((1 - best_mean_field(2 * n).chi) / (1 - best_mean_field(n).chi)),
            "asymptotic": -2 + 1 / math.log(n),
            "over_asymptote": (1 - best_mean_field(n).chi) / asymptotic_error(n),
        }
        for n in far
    ]
    report("random layers")
    return {
        "rows": rows,
        "fit_to": _FIT_TO,
        "exponents": exponents,
        "local": local,
        "layers": [_random_layer(n, 2 if quick else 16) for n in (2, 4, 8, 16)],
    }


def _slope(levels: np.ndarray, errors: np.ndarray) -> float:
    """Of ln(1 - chi) against ln(N + 1), least squares."""
    return float(np.polyfit(np.log(levels + 1), np.log(errors), 1)[0])


def _random_layer(levels: int, repeats: int) -> dict[str, Any]:
    """Correlation of activations, of pairs of inputs of correlation 1/4, after one wide random layer."""
    field = best_mean_field(levels)
    activation, correlation, width, pairs = Levels(levels), 0.25, 1024, 1024
    after = []
    for seed in range(repeats):
        generator = torch.Generator().manual_seed(seed)
        first, other = torch.randn(2, pairs, width, generator=generator)
        second = correlation * first + math.sqrt(1 - correlation**2) * other
        inputs = torch.cat([first, second]) * math.sqrt(field.second_moment)
        weights = torch.randn(width, width, generator=generator) * (field.sigma_w / math.sqrt(width))
        one, two = activation(inputs @ weights).double().chunk(2)
        after.append(float((one * two).mean() / field.second_moment))
    spread = float(np.std(after, ddof=1) / math.sqrt(repeats))
    return {
        "levels": levels,
        "before": correlation,
        "after": float(np.mean(after)),
        "standard_error": spread,
        "predicted": covariance(levels, field.deviation, correlation) / field.second_moment,
        "chi": field.chi,
        "width": width,
        "pairs": pairs * repeats,
    }


def measure_bits(quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """By the law: mantissa bits, in tenths, at which a network keeps :data:`SHARE` of its depth."""
    rows = []
    for fan_in in FAN_INS[1:2] if quick else FAN_INS:
        for levels in (8, 16, 32) if quick else (4, 8, 16, 32, 64, 128, 256):
            report(f"bits for {levels} levels, sums of {fan_in}")
            bits = {mode: _bits(levels, fan_in, *how) for mode, how in MODES.items()}
            rows.append({"fan_in": fan_in, "levels": levels, **bits})
    return {"rows": rows, "share": SHARE, "tried": [TRIED_BITS[0], TRIED_BITS[-1]]}


def _bits(levels: int, fan_in: int, rounding: str, repaired: bool) -> float | None:
    """Where the share of depth that is kept passes :data:`SHARE`, between whole numbers of bits.

    The first of :data:`TRIED_BITS` where that is enough already, None where the last is not.
    """
    before = None
    for man_bits in TRIED_BITS:
        sums = sums_by_law(config_of(man_bits, rounding), fan_in, levels)
        share = kept_depth(levels, sums, repaired)
        if share >= SHARE:
            return man_bits if before is None else man_bits - (share - SHARE) / (share - before)
        before = share
    return None


def kept_depth(levels: int, sums: Sums, repaired: bool) -> float:
    """Depth on this accumulator over that on exact sums."""
    field = best_mean_field(levels)
    sigma_w = field.sigma_w / sums.deviation if repaired else None
    return settled(levels, sigma_w=sigma_w, sums=sums).max_depth / field.max_depth

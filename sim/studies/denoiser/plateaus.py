"""Part ``plateaus``: how flat they stay, how far repeated denoising drifts, and the bound of both."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from golden.config import FixedFormat, MacConfig, Rounding
from golden.random_words import RandomWords
from sim.denoisers import (
    ORDERS,
    ReluNetwork,
    accumulator_config,
    drift,
    error_bound,
    line,
    narrow_output,
    narrow_terms,
    term_order,
)
from sim.studies.denoiser.setting import POINTS, RADII, ROUNDINGS, SEED, SIGMA, evenly_spaced

__all__ = ["WITHIN", "every_input", "measure", "on_plateaus"]

#: Of the radius, how far from their clean point inputs are, and may be: the corners themselves are rounded
#: to either side.
WITHIN = 0.999

_MAN_BITS = range(2, 15)
_PLACES = 101  # of each plateau
_STEPS = 32

#: The small format: every input, activation and weight is exact in 8 bits.
_SMALL_POINTS = [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]
_SMALL_RHO = 0.125
_SMALL_INPUT = FixedFormat(bits=8, lsb=-6, signed=True)
_SMALL_HIDDEN = FixedFormat(bits=8, lsb=-6, signed=False)
_SMALL_WEIGHT = FixedFormat(bits=8, lsb=-2, signed=True)
_SMALL_MAN_BITS = range(1, 11)
_CALLS = 16  # random words that every input is tried with


def _ordered(network: ReluNetwork, order: str) -> ReluNetwork:
    return network.ordered(term_order(order, len(network), seed=SEED))


def on_plateaus(network: ReluNetwork, points: Tensor, y: Tensor, config: MacConfig) -> dict[str, float]:
    """``y`` [places, points, 1]: of each plateau so many inputs."""
    flat = y.flatten(0, 1)
    wanted = points.expand(y.shape).flatten(0, 1)
    got = narrow_output(network, flat, config)
    bound = error_bound(narrow_terms(network, flat, config), config.accumulator)
    exact = narrow_terms(network, flat, config).sum(-1) + network.c
    radius = float((y - points).abs().max())
    ends = drift(network, flat, config, _STEPS)
    by_plateau = got.reshape(y.shape)
    return {
        "largest_error": float((got - wanted).abs().max()),
        "uneven": float((by_plateau.max(0).values - by_plateau.min(0).values).max()),
        "bound": float(bound.max()),
        "beyond_bound": int(((got - exact).abs() > bound).sum()),
        "above": int((got > exact).sum()),
        "drift": float((ends - wanted).abs().max()),
        "left": float(((ends - wanted).abs() > radius).double().mean()),
    }


def _least_staying(by_bits: dict[str, dict], stays: Callable[[dict], bool]) -> int | None:
    least = None
    for man_bits in sorted(map(int, by_bits), reverse=True):
        if not stays(by_bits[str(man_bits)]):
            break
        least = man_bits
    return least


def every_input(calls: int) -> dict[str, float]:
    """The bound on all inputs of the small format, by all roundings, orders and widths."""
    form = line(_SMALL_POINTS, _SMALL_RHO)
    y = torch.arange(_SMALL_INPUT.min_integer, _SMALL_INPUT.max_integer + 1, dtype=torch.float64)[:, None]
    y = y * 2.0**_SMALL_INPUT.lsb
    exact = form(y)
    compared = violated = 0
    tightest = 0.0
    for rounding, random_bits in ROUNDINGS.values():
        words = range(calls) if rounding is Rounding.STOCHASTIC else range(1)
        for order in ORDERS:
            network = _ordered(form.network, order)
            for man_bits in _SMALL_MAN_BITS:
                config = accumulator_config(
                    man_bits, rounding, random_bits=random_bits, x=_SMALL_HIDDEN, w=_SMALL_WEIGHT
                )
                bound = error_bound(narrow_terms(network, y, config), config.accumulator)
                for call in words:
                    got = narrow_output(network, y, config, RandomWords(seed=SEED, call=call))
                    error = (got - exact).abs()
                    compared += len(y)
                    violated += int((error > bound).sum())
                    tightest = max(tightest, float((error / bound.clamp(min=1e-300)).max()))
    return {
        "inputs": len(y),
        "input": _SMALL_INPUT.name,
        "points": len(_SMALL_POINTS),
        "compared": compared,
        "violated": violated,
        "tightest": tightest,
        "man_bits": [_SMALL_MAN_BITS[0], _SMALL_MAN_BITS[-1]],
        "calls": calls,
    }


def measure(quick: bool, report: Callable[[str], None]) -> dict:
    """Plateaus of the line by mantissa bits, rounding and order; then every input of a small format."""
    form = evenly_spaced(POINTS, RADII * SIGMA)
    places = torch.linspace(-1, 1, 21 if quick else _PLACES, dtype=torch.float64)[:, None, None]
    y = form.points + WITHIN * form.rho * places
    result: dict = {"rho": form.rho, "places": len(places), "points": POINTS, "steps": _STEPS, "seed": SEED}
    result["plateaus"] = {}
    for rounding, (mode, random_bits) in ROUNDINGS.items():
        by_order = {
            order: {
                str(man_bits): on_plateaus(
                    _ordered(form.network, order),
                    form.points,
                    y,
                    accumulator_config(man_bits, mode, random_bits=random_bits),
                )
                for man_bits in _MAN_BITS
            }
            for order in ORDERS
        }
        report(rounding)
        result["plateaus"][rounding] = by_order
    result["least_staying"] = {
        rounding: {
            order: {
                "measured": _least_staying(by_bits, lambda at: at["left"] == 0),
                "proved": _least_staying(by_bits, lambda at: at["bound"] <= form.rho),
            }
            for order, by_bits in by_order.items()
        }
        for rounding, by_order in result["plateaus"].items()
    }
    result["every_input"] = every_input(2 if quick else _CALLS)
    return result

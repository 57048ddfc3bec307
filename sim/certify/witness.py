"""Inputs on which something does overflow or underflow, for what a certificate cannot exclude.

Candidates are few: inputs at the ends of their range, which take sums as far as they go, and pairs of
products, alone or nearly cancelling. Golden says what happens on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden import arith
from golden.config import FloatFormat, Format, MacConfig
from golden.rounding import Unpacked, pack, unpack
from sim.certify.floating import least_integer
from sim.certify.layers import Layer, integer_range

__all__ = ["events_by_stage", "witnesses"]

#: Magnitudes of an input that pairs are made of, spread over the format.
_TRIED = 64

#: Pairs of products that are tried, of each kind.
_PAIRS = 8


def events_by_stage(x: Sequence[Any], w: Sequence[int], config: MacConfig) -> dict[str, Any]:
    """Which of ``product overflow`` and so on happen in a dot product of codes, elementwise."""
    found: dict[str, Any] = {}

    def note(stage: str, events: arith.StepEvents | None) -> None:
        for event in ("overflow", "underflow") if events is not None else ():
            key = f"{stage} {event}"
            found[key] = found.get(key, False) | np.asarray(getattr(events, event))

    out = 0
    for chunk in arith.chunks(len(w), config.chunk_size):
        acc = 0
        for k in chunk:
            product, added = arith.fmaq_events(acc, x[k], w[k], config)
            note("product", product)
            note("inner", added)
            acc = arith.fmaq(acc, x[k], w[k], config)
        note("outer", arith.chunk_events(out, acc, config))
        out = arith.chunk_add(out, acc, config)
    return found


def witnesses(layer: Layer, possible: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By what may happen: inputs, as integers of their formats by position, on which it does."""
    if layer.config.stochastic:
        return {}
    found: dict[str, dict[str, Any]] = {}
    wanted = {each for each in possible if each != "any order"}
    if any(each.endswith("overflow") for each in wanted):
        found |= _extremes(layer, wanted)
    if any(each.endswith("underflow") for each in wanted - set(found)):
        found |= _pairs(layer, wanted - set(found))
    return found


def _extremes(layer: Layer, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """The channel whose sums go farthest, every input at an end of its range."""
    low, high = integer_range(layer.config.x)
    if layer.weights is None:
        n, row = 0, [integer_range(layer.config.w)[1]] * layer.length
    else:
        n = int(np.abs(layer.weights).sum(1).argmax())
        row = layer.weights[n].tolist()
    found: dict[str, dict[str, Any]] = {}
    for up in (True, False):
        x = [high if (each > 0) is up else low for each in row]
        happened = events_by_stage(_codes(x, layer.config.x), _codes(row, layer.config.w), layer.config)
        for event in wanted & {each for each, hit in happened.items() if hit}:
            found.setdefault(event, {"channel": n, "x": x, "w": row if layer.weights is None else None})
    return found


def _pairs(layer: Layer, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Two products in one chunk, or in two, every other input 0, which changes nothing."""
    config = layer.config
    values = _spread(config.x)
    first, second = (each.ravel() for each in np.meshgrid(values, values))
    codes = [_codes(each, config.x) for each in (first, second)]
    found: dict[str, dict[str, Any]] = {}
    for n, (i, j), pair in _places(layer):
        together = i // config.chunk_size == j // config.chunk_size
        alone = replace(config, chunk_size=2 if together else 1)
        happened = events_by_stage(codes, _codes(pair, config.w), alone)
        for event in wanted - set(found):
            hits = np.flatnonzero(np.broadcast_to(happened.get(event, False), first.shape))
            if len(hits):
                x, w = [0] * layer.length, [0] * layer.length
                x[i], x[j] = int(first[hits[0]]), int(second[hits[0]])
                w[i], w[j] = pair
                found[event] = {"channel": n, "x": x, "w": w if layer.weights is None else None}
        if wanted <= set(found):
            break
    return found


def _places(layer: Layer) -> Iterator[tuple[int, tuple[int, int], list[int]]]:
    """Channel, two positions and the weights there: the smallest and others, in one chunk and in two."""
    chunk = layer.config.chunk_size
    if layer.weights is None:
        least = least_integer(layer.config.w)
        for j in (1, chunk):
            if j < layer.length:
                yield 0, (0, j), [least, least]
        return
    sizes = np.abs(layer.weights)
    smallest = np.where(sizes > 0, sizes, sizes.max() + 1).min(1).argsort()[:_PAIRS]
    for n in smallest.tolist():
        used = np.flatnonzero(sizes[n])
        if not len(used):
            continue
        i = int(used[sizes[n][used].argmin()])
        inside = [j for j in used.tolist() if j != i and j // chunk == i // chunk]
        outside = [j for j in used.tolist() if j // chunk != i // chunk]
        for j in (*inside[:2], *outside[:2]):
            pair = sorted((i, j))
            yield n, (pair[0], pair[1]), layer.weights[n][pair].tolist()


def _spread(number: Format) -> NDArray[np.int64]:
    """Integers of an operand format: the smallest, and others over its range, of both signs."""
    if isinstance(number, FloatFormat):
        top = number.max_magnitude_code
        picked = np.unique(np.linspace(0, top, _TRIED).astype(np.int64))
        exact = unpack(picked, number)
        magnitudes = exact.significand << (exact.exponent - number.lsb_exponent)
        least = least_integer(number)
        magnitudes = np.union1d(magnitudes, [0, least])
    else:
        magnitudes = np.unique(np.linspace(0, number.max_integer, _TRIED).astype(np.int64))
    low, _ = integer_range(number)
    return np.union1d(magnitudes, -magnitudes) if low < 0 else magnitudes


def _codes(integers: Any, number: Format) -> Any:
    """Codes of so many units of the format's last bit."""
    if not isinstance(number, FloatFormat):
        mask = 2**number.bits - 1
        return [each & mask for each in integers] if isinstance(integers, list) else integers & mask
    if isinstance(integers, list):
        return [pack(Unpacked(each < 0, abs(each), number.lsb_exponent), number) for each in integers]
    return pack(Unpacked(integers < 0, abs(integers), number.lsb_exponent), number)

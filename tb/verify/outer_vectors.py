"""Directed vectors for the adder of chunk sums, beside what the jobs of the array testbench bring it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from golden.arith import chunk_add
from golden.config import FixedAccumulator, FixedFormat, Format, MacConfig, Silicon
from golden.datapath import offset_ranges, with_offsets
from golden.rounding import Unpacked, unpack
from hw.mac import ChunkAdder
from tb.verify.aig import Aig
from tb.verify.benches import rtlil_of
from tb.verify.machine import Machine
from tb.verify.policy_events import Exact, add_events

__all__ = ["OuterVectors", "difference", "outer_events", "outer_vectors"]

_SETTINGS = 8  # of the offset
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class OuterVectors:
    """Sums, chunk sums and random words at one setting of the offset."""

    config: MacConfig
    out: Codes
    s: Codes
    word: Codes | None

    @property
    def result(self) -> Codes:
        return chunk_add(self.out, self.s, self.config, self.word)


def outer_vectors(config: MacConfig, count: int, seed: int, *, hardwired: bool) -> Iterator[OuterVectors]:
    """Chunk sums of all sizes, with sums that they nearly cancel, or overflow, or hardly touch."""
    rng = np.random.default_rng(seed)
    for setting in _settings(config, rng, hardwired):
        size = count // _SETTINGS
        inner, outer = setting.accumulator.format, setting.outer_accumulator
        bits = outer.random_bits
        s = _any_codes(inner, rng, size)
        alone = _signed(
            chunk_add(np.zeros_like(s), s, setting, None if bits is None else 0 * s), outer.format
        )
        near = rng.integers(-3, 4, size) << rng.integers(0, max(1, outer.format.code_bits - 4), size)
        _, high = _range(outer.format)
        signed = np.choose(
            rng.integers(0, 6, size),
            [
                _signed(_any_codes(outer.format, rng, size), outer.format),
                -alone,
                -alone + near,
                np.where(alone < 0, -high + abs(near), high - abs(near)),
                near,
                np.zeros_like(near),
            ],
        )
        word = None if bits is None else rng.integers(0, 2**bits, size)
        yield OuterVectors(setting, _codes(signed, outer.format), s, word)


def outer_events(vectors: OuterVectors) -> Counter[str]:
    """How many of the vectors have each event."""
    config, counts = vectors.config, Counter()
    alone = chunk_add(np.zeros_like(vectors.out), vectors.s, config, vectors.word)
    word = np.zeros_like(vectors.s) if vectors.word is None else vectors.word
    fields = (np.broadcast_to(field, vectors.s.shape).tolist() for field in _unpacked(vectors))
    columns = (each.tolist() for each in (vectors.out, word, vectors.result, alone))
    for number, before, bits, after, without in zip(zip(*fields, strict=True), *columns, strict=True):
        addend = Exact.of(Unpacked(*number))
        found = set(add_events(before, addend, config.outer_accumulator, bits, after, without))
        counts.update(f"outer {name}" for name in found)
    return counts


def difference(silicon: Silicon, parts: list[OuterVectors]) -> str | None:
    """Where the RTL of the chunk adder first differs from golden."""
    adder = ChunkAdder(silicon, events=False)
    machine = Machine(Aig.of(rtlil_of(adder), "top", language="rtlil", hidden=True))
    ranges = offset_ranges(silicon.config).outer
    for part in parts:
        inputs = {"s": part.s, "acc": part.out, "outer_word": part.word}
        offset = ranges.clamp(part.config.offsets.outer) % 2**ranges.width
        wanted = part.result.tolist()
        for i in range(len(part.s)):
            given = {"outer_offset": offset} | {
                port: int(values[i]) for port, values in inputs.items() if values is not None
            }
            got = machine.evaluate({port: given[port] for port in machine.inputs})["result"]
            if got != wanted[i]:
                return f"{part.config.name}: {given}: RTL gives {got:#x}, golden gives {wanted[i]:#x}"
    return None


def _unpacked(vectors: OuterVectors) -> Unpacked:
    return unpack(vectors.s, vectors.config.accumulator.format)


def _settings(config: MacConfig, rng: Generator, hardwired: bool) -> Iterator[MacConfig]:
    """At its own offset, near it, and where chunk sums come to nothing or are all there is."""
    inner, outer = config.accumulator, config.outer_accumulator
    wired = hardwired or (isinstance(inner, FixedAccumulator) and isinstance(outer, FixedAccumulator))
    ranges, own = offset_ranges(config).outer, config.offsets
    for i in range(_SETTINGS):
        if i == 0 or wired:
            yield config
            continue
        about = (own.outer, ranges.high - config.outer_accumulator.format.man_bits, ranges.low)[i % 3]
        offset = ranges.clamp(int(rng.integers(about - 4, about + 5)))
        yield with_offsets(config, replace(own, outer=offset))


def _range(number: Format) -> tuple[int, int]:
    if isinstance(number, FixedFormat):
        return number.min_integer, number.max_integer
    return -number.max_magnitude_code, number.max_magnitude_code


def _any_codes(number: Format, rng: Generator, count: int) -> Codes:
    """A third anywhere, a third near zero, a third near the ends; of both signs."""
    low, high = _range(number)
    anywhere = rng.integers(low, high + 1, count)
    small = rng.integers(-3, 4, count) << rng.integers(0, max(1, number.code_bits - 4), count)
    signed = np.choose(rng.integers(0, 3, count), [anywhere, small, np.sign(anywhere) * (high - abs(small))])
    return _codes(signed, number)


def _codes(signed: Codes, number: Format) -> Codes:
    signed = np.clip(signed, *_range(number))
    if isinstance(number, FixedFormat):
        return signed & (2**number.bits - 1)
    return abs(signed) + (signed < 0) * 2 ** (number.code_bits - 1)


def _signed(codes: Codes, number: Format) -> Codes:
    top = codes >> (number.code_bits - 1)
    if isinstance(number, FixedFormat):
        return codes - (top << number.code_bits)
    magnitude = codes & (2 ** (number.code_bits - 1) - 1)
    return np.where(top == 1, -magnitude, magnitude)

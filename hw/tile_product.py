"""A whole matrix product as a tile sees it: what to write to its registers, what goes in, what comes out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from golden.arith import dot, dot_events
from golden.config import MacConfig
from golden.datapath import offset_ranges
from golden.output import OutputSettings, output, output_overflow
from golden.random_words import RandomWords, Stage, key
from golden.tile import TileConfig, lane_bits
from hw.registers import Register, key_names, register_map

__all__ = ["Beat", "Expected", "TileProduct"]


class Beat(NamedTuple):
    """A beat of an AXI4-Stream."""

    data: int
    keep: int
    last: bool


class Expected(NamedTuple):
    """What a product gives."""

    codes: np.ndarray  #: Results [m, n].
    overflows: int  #: Results with an event on the way to them.
    underflows: int
    output_overflows: int  #: Results that the output stage saturated.


@dataclass(frozen=True, kw_only=True)
class TileProduct:
    """One product, x @ w, of codes, on a tile."""

    tile: TileConfig
    mac: MacConfig  #: With the biases of this product; its silicon is the tile's.
    x: np.ndarray  #: Activation codes [m, k].
    w: np.ndarray  #: Weight codes [k, n].
    random: RandomWords  #: Of stochastic roundings.
    m_base: int  #: Number of row 0 for the random words.
    n_base: int  #: Number of column 0, likewise.
    output: OutputSettings | None  #: With parameters [n], for a tile with an output stage.

    @property
    def shape(self) -> tuple[int, int, int]:
        """M, N, K."""
        return self.x.shape[0], self.w.shape[1], self.x.shape[1]

    @property
    def chunks(self) -> int:
        return -(-self.x.shape[1] // self.mac.chunk_size)

    def register_writes(self) -> list[tuple[int, int]]:
        """Address and word, in order: all that the product needs before CONTROL.start."""
        registers = {register.name: register for register in register_map(self.tile)}
        ranges = offset_ranges(self.tile.array.silicon.config)
        values = dict(zip("MNK", self.shape, strict=True))
        for name in ("product", "acc", "outer"):
            if f"{name}_OFFSET".upper() in registers:
                offset = getattr(self.mac.offsets, name)
                values[f"{name}_OFFSET".upper()] = getattr(ranges, name).clamp(offset)
        keys = key_names(self.tile)
        if keys:
            values |= {"M_BASE": self.m_base, "N_BASE": self.n_base}
        for name, (stage, side) in keys.items():
            values[name.upper()] = key(self.random.seed, self.random.call, stage, side)
        writes = [_written(registers[name], value) for name, value in values.items()]
        return writes if self.output is None else writes + self._output_writes(registers)

    def _output_writes(self, registers: dict[str, Register]) -> list[tuple[int, int]]:
        settings, bits = self.output, self.tile.outer.format.code_bits
        offset = self.tile.output_offset_range.clamp(settings.offset)
        values = [("RELU", int(settings.relu)), ("OUTPUT_OFFSET", offset), ("CHANNEL", 0)]
        for n in range(self.shape[1]):
            if settings.multiplier is not None:
                values.append(("CHANNEL_MULTIPLIER", int(settings.multiplier[n])))
                values.append(("CHANNEL_SHIFT", int(settings.shift[n])))
            bias = int(settings.bias[n])
            field = registers["CHANNEL_BIAS"].fields[0]
            if bits > 32:
                high = registers["CHANNEL_BIAS_HIGH"].fields[0]
                values.append(("CHANNEL_BIAS_HIGH", _as_signed(bias >> 32, high.width, high.signed)))
            values.append(("CHANNEL_BIAS", _as_signed(bias % 2**field.width, field.width, field.signed)))
        return [_written(registers[name], value) for name, value in values]

    def weight_beats(self, noise: random.Random) -> list[Beat]:
        """In each tile of N, for each block of M, all of its rows of K; ``noise`` where nothing is kept."""
        array = self.tile.array
        rows, cols, lane = array.rows, array.cols, lane_bits(self.mac.w)
        m, n, k = self.shape
        beats = []
        for n0 in range(0, n, cols):
            for _ in range(0, m, array.depth):
                for row in range(-(-k // rows) * rows):
                    codes = self.w[row, n0 : n0 + cols].tolist() if row < k else []
                    beats.append(_beat(codes, cols, lane, noise))
        return _ended(beats)

    def activation_beats(self, noise: random.Random) -> list[Beat]:
        """In each tile of N, for each block of M, for each pass of K, the rows of the block."""
        array = self.tile.array
        rows, lane = array.rows, lane_bits(self.mac.x)
        _, n, k = self.shape
        beats = []
        for _ in range(0, n, array.cols):
            for block in self._blocks():
                for k0 in range(0, k, rows):
                    beats += [_beat(self.x[row, k0 : k0 + rows].tolist(), rows, lane, noise) for row in block]
        return _ended(beats)

    def result_beats(self, codes: np.ndarray) -> list[Beat]:
        """The results [m, n] as they come: lanes that are not kept are 0 here."""
        cols, number, lane = self.tile.array.cols, self.tile.result, lane_bits(self.tile.result)
        signed = getattr(number, "signed", False)
        beats = []
        for n0 in range(0, self.shape[1], cols):
            for block in self._blocks():
                for row in block:
                    lanes = [
                        _as_signed(code, number.code_bits, signed) % 2**lane
                        for code in codes[row, n0 : n0 + cols].tolist()
                    ]
                    beats.append(_beat(lanes, cols, lane, None))
        return _ended(beats)

    def expected(self) -> Expected:
        """By :func:`golden.arith.dot` and the output stage of :mod:`golden.output`."""
        config, (m, n, _) = self.mac, self.shape
        rows, columns = np.arange(m)[:, None] + self.m_base, np.arange(n)[None, :] + self.n_base

        def words(stage: Stage, bits: int, position: int) -> np.ndarray:
            return self.random.words(stage, bits, rows, columns, position)

        operands = self.x.T[:, :, None], self.w[:, None, :], config, words
        codes, events = dot(*operands), dot_events(*operands)
        saturated = 0
        if self.output is not None:
            saturated = int(np.count_nonzero(output_overflow(codes, self.output, self.tile)))
            codes = output(codes, self.output, self.tile)
        counts = (int(np.count_nonzero(np.broadcast_to(event, (m, n)))) for event in events)
        return Expected(np.broadcast_to(codes, (m, n)), *counts, saturated)

    def _blocks(self) -> Iterator[range]:
        """The rows of each block of M."""
        depth, m = self.tile.array.depth, self.shape[0]
        return (range(start, min(start + depth, m)) for start in range(0, m, depth))


def _written(register: Register, value: int) -> tuple[int, int]:
    return register.address, value % 2**32


def _as_signed(code: int, bits: int, signed: bool) -> int:
    return code - 2**bits if signed and code >> (bits - 1) else code


def _beat(codes: list[int], count: int, lane: int, noise: random.Random | None) -> Beat:
    """Codes in lanes; where there is none, the lane is not kept."""
    size = lane // 8
    data = sum(code << (i * lane) for i, code in enumerate(codes))
    keep = 2 ** (len(codes) * size) - 1
    if noise is not None:
        data |= noise.getrandbits(count * lane) >> (len(codes) * lane) << (len(codes) * lane)
    return Beat(data, keep, False)


def _ended(beats: list[Beat]) -> list[Beat]:
    return [*beats[:-1], beats[-1]._replace(last=True)]

"""Matrices of codes as beats of a systolic array's streams, and back: whole numpy arrays at a time.

The order is that of both array and tile: for each group of columns, for each block of rows, for each pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.config import ArrayConfig

__all__ = ["Tiling", "lane_bits", "pack_bits", "pack_lanes", "unpack_bits", "unpack_lanes"]

Codes = NDArray[np.int64]
Beats = NDArray[np.uint8]

_LANES = (8, 16, 32, 64)


def lane_bits(code_bits: int) -> int:
    """The smallest lane that holds a code."""
    return next(lane for lane in _LANES if lane >= code_bits)


def pack_bits(codes: Codes, code_bits: int) -> Beats:
    """Codes [..., count] side by side without gaps, the first in the lowest bits: [..., bytes]."""
    octets = np.ascontiguousarray(codes, dtype="<i8").view(np.uint8).reshape(*codes.shape, 8)
    if code_bits % 8 == 0:
        used = octets[..., : code_bits // 8]
        return np.ascontiguousarray(used).reshape(*codes.shape[:-1], -1)
    bits = np.unpackbits(octets[..., : -(-code_bits // 8)], axis=-1, bitorder="little")[..., :code_bits]
    return np.packbits(bits.reshape(*codes.shape[:-1], -1), axis=-1, bitorder="little")


def unpack_bits(beats: Beats, code_bits: int, count: int, first: int) -> Codes:
    """``count`` codes of each beat, the first of which starts at bit ``first``: [beats, count]."""
    size = -(-code_bits // 8)
    octets = np.zeros((len(beats), count, 8), dtype=np.uint8)
    if code_bits % 8 == 0 and first % 8 == 0:
        used = beats[:, first // 8 : first // 8 + count * size]
        octets[..., :size] = used.reshape(len(beats), count, size)
    else:
        bits = np.unpackbits(beats, axis=-1, bitorder="little")[:, first : first + count * code_bits]
        octets[..., :size] = np.packbits(
            bits.reshape(len(beats), count, code_bits), axis=-1, bitorder="little"
        )
    return octets.view("<i8")[..., 0].astype(np.int64, copy=False)


def pack_lanes(codes: Codes, code_bits: int) -> Beats:
    """Codes [..., count] each in a lane of its own, zero-extended: [..., bytes]."""
    lane = lane_bits(code_bits) // 8
    return codes.astype(f"<u{lane}").view(np.uint8).reshape(*codes.shape[:-1], -1)


def unpack_lanes(beats: Beats, code_bits: int) -> Codes:
    """The codes in the lanes of each beat [beats, count]; what lies above a code is dropped."""
    lane = lane_bits(code_bits) // 8
    words = np.ascontiguousarray(beats).view(f"<u{lane}").astype(np.int64)
    return words & (2**code_bits - 1)


@dataclass(frozen=True, slots=True)
class Tiling:
    """How an array goes through a product of m x k by k x n, none of which is 0."""

    config: ArrayConfig
    m: int
    k: int
    n: int

    @property
    def passes(self) -> int:
        return -(-self.k // self.config.rows)

    @property
    def groups(self) -> int:
        """Of columns."""
        return -(-self.n // self.config.cols)

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """First row and rows of each block."""
        depth = self.config.depth
        return [(first, min(depth, self.m - first)) for first in range(0, self.m, depth)]

    def weights(self, w: Codes) -> Codes:
        """[k, n] -> [groups, rows of weights in one pass after another, cols], zero codes added."""
        rows, cols = self.passes * self.config.rows, self.groups * self.config.cols
        padded = np.pad(w, ((0, rows - self.k), (0, cols - self.n)))
        return padded.reshape(rows, self.groups, self.config.cols).transpose(1, 0, 2)

    def activations(self, x: Codes) -> Codes:
        """[m, k] -> [m, passes, rows], zero codes added."""
        padded = np.pad(x, ((0, 0), (0, self.passes * self.config.rows - self.k)))
        return padded.reshape(self.m, self.passes, self.config.rows)

    def weight_beats(self, packed: Beats) -> Beats:
        """Packed :meth:`weights` in the order of the stream: again for each block of rows."""
        groups, rows, size = packed.shape
        shape = (groups, len(self.blocks), rows, size)
        return np.broadcast_to(packed[:, None], shape).reshape(-1, size)

    def activation_beats(self, packed: Beats) -> Beats:
        """Packed :meth:`activations` in the order of the stream: again for each group of columns."""
        size = packed.shape[-1]
        whole = self.m // self.config.depth * self.config.depth
        parts = [packed[:whole].reshape(-1, self.config.depth, self.passes, size), packed[None, whole:]]
        beats = np.concatenate([part.transpose(0, 2, 1, 3).reshape(-1, size) for part in parts])
        return np.tile(beats, (self.groups, 1))

    def result(self, codes: NDArray) -> NDArray:
        """[result beats, cols] -> [m, n]."""
        shape = (self.groups, self.m, self.config.cols)
        return np.ascontiguousarray(codes.reshape(shape).transpose(1, 0, 2).reshape(self.m, -1)[:, : self.n])

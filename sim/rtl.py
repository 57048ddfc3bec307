"""Backend ``rtl``: every matrix product on the simulated hardware, and a record of what that took.

Operands become codes, the tile multiplies them as software would have it do, and its codes become values
again. A tile serves all layers whose configurations are one silicon; it is built when first needed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden.accumulate import FIRST_WORDS, check_order
from golden.codes import decode, encode
from golden.config import ArrayConfig, MacConfig
from golden.random_words import RandomWords
from golden.tile import DIMENSION_BITS, TileConfig
from hw.verilated_mismatch import find_mismatch
from hw.verilated_tile import VerilatedTile
from sim.backends import Backend, CpuBackend

__all__ = ["ProductRecord", "RtlBackend", "TileSize", "WrongProduct", "explain", "tile_config"]

#: Bytes of a stream's beats that are held at once; a product beyond that is started several times.
_MAX_STREAM_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True, slots=True)
class TileSize:
    """The tile that products run on, but for its arithmetic."""

    rows: int  #: At most; the largest divisor of the chunk size is taken.
    cols: int
    stages: int
    depth: int


DEFAULT_SIZE = TileSize(rows=16, cols=16, stages=0, depth=64)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductRecord:
    """One product as the hardware computed it."""

    config: str
    tile: str
    m: int  #: Rows over all matrices of a batch.
    k: int
    n: int
    starts: int  #: Products that the tile was asked for: more than one with a batch of right operands.
    cycles: int  #: In which the tile was busy.
    macs: int  #: Multiply-accumulates there are in a tile.
    seconds: float  #: Wall-clock time of the tile: codes into beats, simulation, beats into codes.
    cpu_seconds: float  #: Of the processor, for the same.
    compared: int  #: Words that were compared with backend cpu.
    mismatches: int  #: Of these.

    @property
    def utilisation(self) -> float:
        """Products of operands that were asked for, over those the array had time for."""
        return self.m * self.k * self.n / (self.cycles * self.macs) if self.cycles else 0.0


def tile_config(config: MacConfig, size: TileSize) -> TileConfig:
    """The tile of that size for the configuration's silicon, without an output stage."""
    rows = max(each for each in range(1, size.rows + 1) if config.chunk_size % each == 0)
    array = ArrayConfig(
        silicon=config.silicon, rows=rows, cols=size.cols, stages=size.stages, depth=size.depth, events=False
    )
    return TileConfig(array=array, output=None)


@cache
def _tile(config: TileConfig) -> VerilatedTile:
    return VerilatedTile(config, trace=None)


class WrongProduct(NamedTuple):
    """What backend ``cpu`` computes otherwise."""

    a: Tensor
    b: Tensor
    config: MacConfig
    order: Tensor | None
    random: RandomWords


class RtlBackend(Backend):
    """The Verilated tile: millions of multiply-accumulates a second.

    Parameters
    ----------
    size : TileSize
        Of the tiles.
    compare : bool
        Compute every product with backend ``cpu`` as well, and count the words that differ.

    Attributes
    ----------
    record : list of ProductRecord
        One for each product so far.
    wrong : WrongProduct or None
        The first product that differed; :func:`explain` looks into it.
    """

    name = "rtl"

    def __init__(self, *, size: TileSize = DEFAULT_SIZE, compare: bool = False):
        self.size = size
        self.compare = compare
        self.record: list[ProductRecord] = []
        self.wrong: WrongProduct | None = None

    def matmul(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"matmul takes a[..., m, k] and b[..., k, n], not {list(a.shape)} and {list(b.shape)}"
            )
        if order is not None:
            check_order(order, *b.shape[-2:])
        tile = _tile(tile_config(config, self.size))
        batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape = (*batch, a.shape[-2], b.shape[-1])
        x, w = encode(a, config.x), encode(b, config.w)
        run = _Product(tile, config, random)
        if b.ndim == 2:  # one right operand: the rows of all matrices are those of one product
            codes = run.ordered(x.expand(*batch, *x.shape[-2:]).flatten(0, -2), w, order, 0)
        else:
            pairs = zip(
                x.expand(*batch, *x.shape[-2:]).flatten(0, -3),
                w.expand(*batch, *w.shape[-2:]).flatten(0, -3),
                strict=True,
            )
            parts = [run.ordered(*pair, order, i * shape[-2]) for i, pair in enumerate(pairs)]
            codes = torch.stack(parts) if parts else torch.zeros(0, dtype=torch.int64)
        values = decode(codes.reshape(shape), config.outer_accumulator.format)
        mismatches = self._mismatches(values, a, b, config, order, random) if self.compare else 0
        if mismatches and self.wrong is None:
            self.wrong = WrongProduct(a, b, config, order, random)
        array = tile.config.array
        self.record.append(
            ProductRecord(
                config=config.name,
                tile=tile.config.name,
                m=values[..., 0].numel() if shape[-1] else 0,
                k=a.shape[-1],
                n=shape[-1],
                starts=run.starts,
                cycles=run.cycles,
                macs=array.rows * array.cols,
                seconds=run.seconds,
                cpu_seconds=run.cpu_seconds,
                compared=values.numel() if self.compare else 0,
                mismatches=mismatches,
            )
        )
        return values.to(dtype)

    @staticmethod
    def _mismatches(values: Tensor, *product) -> int:
        """Words that backend ``cpu`` computes otherwise. Equal values are equal codes."""
        a, b, config, order, random = product
        return int((CpuBackend().matmul(a, b, config, order, random) != values).sum())


def explain(wrong: WrongProduct, size: TileSize, *, trace: str) -> str:
    """Where a wrong product of two matrices goes wrong, with waves of that; runs it again to see."""
    a, b, config, order, random = wrong
    if b.ndim > 2 or (order is not None and order.ndim > 1):
        return f"a product of {config.name} differs, of shapes {list(a.shape)} and {list(b.shape)}"
    x, w = encode(a, config.x).flatten(0, -2), encode(b, config.w)
    if order is not None:
        x, w = x[:, order], w[order]

    def expected(x: NDArray, w: NDArray, first: int) -> NDArray:
        # Rows are numbered from 0: those before the first one are there, and zero.
        rows = np.vstack([np.zeros((first, x.shape[1]), x.dtype), x])
        values = CpuBackend().matmul(
            decode(torch.from_numpy(rows), config.x),
            decode(torch.from_numpy(w), config.w),
            config,
            None,
            random,
        )
        return encode(values, config.outer_accumulator.format)[first:].numpy()

    tile = _tile(tile_config(config, size))
    found = find_mismatch(tile, x.numpy(), w.numpy(), config, random, expected, trace=trace)
    return f"{config.name}: " + ("right when it is run again" if found is None else str(found))


class _Product:
    """A product of a batch on its way through the tile: what it took so far."""

    def __init__(self, tile: VerilatedTile, config: MacConfig, random: RandomWords):
        self.tile, self.config, self.random = tile, config, random
        self.starts = self.cycles = 0
        self.seconds = self.cpu_seconds = 0.0

    def ordered(self, x: Tensor, w: Tensor, order: Tensor | None, m_base: int) -> Tensor:
        """Codes of x[m, k] @ w[k, n], summed in the order. Columns of one order are taken together."""
        if order is None:
            return self._blocks(x, w, m_base, 0)
        if order.ndim == 1:
            return self._blocks(x[:, order], w[order], m_base, 0)
        codes = torch.zeros((len(x), w.shape[1]), dtype=torch.int64)
        for columns in self._alike(order):
            picked = order[:, columns[0]]
            codes[:, columns] = self._blocks(x[:, picked], w[picked][:, columns], m_base, int(columns[0]))
        return codes

    def _alike(self, order: Tensor) -> list[Tensor]:
        """Columns that have one order; one by one where random words number them."""
        columns = torch.arange(order.shape[1])
        if self.config.stochastic or not len(columns):
            return list(columns[:, None])
        _, which = torch.unique(order, dim=1, return_inverse=True)
        return [columns[which == i] for i in range(int(which.max()) + 1)]

    def _blocks(self, x: Tensor, w: Tensor, m_base: int, n_base: int) -> Tensor:
        """The product, in parts of rows whose beats are not too many to hold."""
        array = self.tile.config.array
        beat_rows = -(-max(x.shape[1], 1) // array.rows) * -(-max(w.shape[1], 1) // array.cols)
        row_bytes = beat_rows * 8 * max(array.rows, array.cols)
        rows = min(_MAX_STREAM_BYTES // row_bytes, 2**DIMENSION_BITS - 1)
        rows = max(rows // array.depth, 1) * array.depth
        parts = []
        for first in range(0, max(len(x), 1), rows):
            started, cpu_started = time.perf_counter(), time.process_time()
            product = self.tile.matmul_codes(
                x[first : first + rows].numpy(),
                w.numpy(),
                self.config,
                self.random,
                m_base=m_base + first,
                n_base=n_base,
            )
            self.seconds += time.perf_counter() - started
            self.cpu_seconds += time.process_time() - cpu_started
            self.starts += 1
            self.cycles += product.cycles
            parts.append(torch.from_numpy(product.codes))
        return torch.cat(parts)

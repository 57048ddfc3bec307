"""Jobs for a systolic array, as beats of its streams, with the results that golden expects."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from golden.arith import chunk_add, chunk_events, chunks, dot, fmaq, fmaq_events
from golden.config import FixedAccumulator, FixedFormat, FloatFormat, Format, MacConfig, Offsets
from golden.datapath import offset_ranges, with_offsets

__all__ = ["Job", "Shape", "directed_codes", "random_job"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the testbench knows of an array: the keys of a JSON object."""

    config: str  #: MacConfig.name, with the biases the jobs start from.
    hardwired: bool
    rows: int
    cols: int
    stages: int
    depth: int
    latency: int
    pass_gap: int
    job_gap: int
    job_fields: dict[str, list[int]]  #: Lowest bit and width of each field of a job.

    @property
    def name(self) -> str:
        """For messages."""
        hardwired = " hardwired" if self.hardwired else ""
        return f"{self.config}{hardwired} {self.rows}x{self.cols} stages {self.stages} depth {self.depth}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One tile: codes, and the configuration with the biases of this job."""

    config: MacConfig
    x: np.ndarray  #: [m, k]
    w: np.ndarray  #: [k, n]
    shape: Shape

    @property
    def k_passes(self) -> int:
        return -(-self.x.shape[1] // self.shape.rows)

    def expected(self) -> np.ndarray:
        """Codes [m, n] of golden."""
        k = self.x.shape[1]
        out = dot([self.x[:, i, None] for i in range(k)], [self.w[i] for i in range(k)], self.config)
        return np.broadcast_to(out, (len(self.x), self.w.shape[1]))

    def overflows(self) -> int:
        """Additions, inner and outer, that overflow."""
        out, count = np.int64(0), 0
        for indices in chunks(self.x.shape[1], self.config.chunk_size):
            acc = np.int64(0)
            for k in indices:
                x, w = self.x[:, k, None], self.w[k]
                count += np.count_nonzero(fmaq_events(acc, x, w, self.config)[1].overflow)
                acc = fmaq(acc, x, w, self.config)
            count += np.count_nonzero(chunk_events(out, acc, self.config).overflow)
            out = chunk_add(out, acc, self.config)
        return int(count)

    def job_beat(self) -> int:
        offsets = self.config.offsets
        ranges = offset_ranges(self.config)
        values: dict[str, Any] = {"k_passes": self.k_passes, "m_rows": len(self.x)}
        for name in ("product", "acc", "outer"):
            if f"{name}_offset" in self.shape.job_fields:
                values[f"{name}_offset"] = getattr(ranges, name).clamp(getattr(offsets, name))
        return sum(
            (values[name] & (2**width - 1)) << lowest
            for name, (lowest, width) in self.shape.job_fields.items()
        )

    def weight_beats(self) -> list[int]:
        """A row of weights a beat, K filled up with zero codes."""
        return [_joined(row, self.config.w) for row in self._padded(self.w)]

    def activation_beats(self) -> list[int]:
        """Pass by pass, a vector a beat."""
        columns = self._padded(self.x.T).reshape(self.k_passes, self.shape.rows, len(self.x))
        return [_joined(vector, self.config.x) for part in columns for vector in part.T]

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        missing = self.k_passes * self.shape.rows - len(rows)
        return np.pad(rows, ((0, missing), (0, 0)))

    def describe(self, row: int, column: int) -> str:
        """The inputs of one result."""
        return (
            f"{self.shape.name}, job {self.config.name}, row {row}, column {column}, "
            f"x={[hex(code) for code in self.x[row]]} w={[hex(code) for code in self.w[:, column]]}"
        )


def _joined(codes: np.ndarray, number: Format) -> int:
    """Element 0 lowest."""
    return sum(int(code) << (i * number.code_bits) for i, code in enumerate(codes))


def random_job(shape: Shape, rng: Random, *, m_rows: int | None = None, k: int | None = None) -> Job:
    """A job of random size, offsets and codes, directed at overflow more often than not."""
    config = MacConfig.parse(shape.config)
    if not shape.hardwired and rng.random() < 0.7:
        config = with_offsets(config, _random_offsets(config, rng))
    if k is None:
        k = rng.randint(1, 3 * config.chunk_size)
    if m_rows is None:
        m_rows = rng.choice([1, shape.depth, rng.randint(1, shape.depth)])
    one_sign = rng.random() < 0.5
    return Job(
        config=config,
        x=directed_codes(config.x, (m_rows, k), rng, one_sign=one_sign),
        w=directed_codes(config.w, (k, shape.cols), rng, one_sign=one_sign),
        shape=shape,
    )


def _random_offsets(config: MacConfig, rng: Random) -> Offsets:
    """Within some places of the configuration's own, where sums are of interest, or anything at all."""
    own, ranges = config.offsets, offset_ranges(config)

    def near(name: str) -> int | None:
        offset = getattr(own, name)
        if offset is None:
            return None
        allowed = getattr(ranges, name)
        anything = rng.random() < 0.2
        return (
            rng.randint(allowed.low, allowed.high) if anything else allowed.clamp(offset + rng.randint(-4, 4))
        )

    fixed_to_fixed = isinstance(config.accumulator, FixedAccumulator) and isinstance(
        config.outer_accumulator, FixedAccumulator
    )
    return Offsets(
        product=near("product"), acc=near("acc"), outer=own.outer if fixed_to_fixed else near("outer")
    )


def directed_codes(number: Format, size: tuple[int, int], rng: Random, *, one_sign: bool) -> np.ndarray:
    """Random codes, in half of the cases large ones only; of one sign, sums overflow soonest."""
    noise = np.random.default_rng(rng.getrandbits(32))
    codes = noise.integers(0, 2**number.code_bits, size)
    if rng.random() < 0.5:
        match number:
            case FloatFormat():
                codes |= number.max_exp_code // 2 << number.man_bits
            case FixedFormat():
                codes |= number.max_integer & ~(number.max_integer >> 2)
    if one_sign:
        codes &= 2 ** (number.code_bits - 1) - 1
    zeros = noise.random(size) < 0.1
    return np.where(zeros, 0, codes)

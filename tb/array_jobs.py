"""Jobs for a systolic array, as beats of its streams, with the results that golden expects."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from golden.arith import Words, dot, dot_events
from golden.config import ArrayConfig, FixedAccumulator, FixedFormat, FloatFormat, Format, MacConfig, Offsets
from golden.datapath import offset_ranges, with_offsets
from golden.random_words import RandomWords, Stage, key
from hw.mac import EVENTS
from hw.random_words import key_name

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
    events: bool
    job_fields: dict[str, list[int]]  #: Lowest bit and width of each field of a job.

    @property
    def array(self) -> ArrayConfig:
        mac = MacConfig.parse(self.config)
        return ArrayConfig(
            silicon=mac.hardwired if self.hardwired else mac.silicon,
            rows=self.rows,
            cols=self.cols,
            stages=self.stages,
            depth=self.depth,
            events=self.events,
        )

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
    random: RandomWords  #: Of the product that this is a tile of.
    m_base: int  #: Number of the tile's first row in the product.
    n_base: int  #: Number of its first column.

    @property
    def k_passes(self) -> int:
        return -(-self.x.shape[1] // self.shape.rows)

    @property
    def words(self) -> Words:
        m = self.m_base + np.arange(len(self.x))[:, None]
        n = self.n_base + np.arange(self.w.shape[1])
        return lambda stage, bits, k: self.random.words(stage, bits, m, n, k)

    @property
    def steps(self) -> tuple:
        """Arguments of :func:`golden.arith.dot`."""
        k = self.x.shape[1]
        x, w = [self.x[:, i, None] for i in range(k)], [self.w[i] for i in range(k)]
        return x, w, self.config, self.words

    def expected(self) -> np.ndarray:
        """Codes [m, n] of golden."""
        return np.broadcast_to(dot(*self.steps), (len(self.x), self.w.shape[1]))

    def expected_events(self) -> dict[str, np.ndarray]:
        """Whether a rounding on the way to each result has each of :data:`hw.mac.EVENTS`: bool [m, n]."""
        shape = (len(self.x), self.w.shape[1])
        return {
            event: np.broadcast_to(flags, shape)
            for event, flags in zip(EVENTS, dot_events(*self.steps), strict=True)
        }

    def offset_words(self) -> dict[str, int]:
        """What the offset registers that there are are loaded with."""
        offsets, ranges = self.config.offsets, offset_ranges(self.config)
        return {
            f"{name}_offset": getattr(ranges, name).clamp(getattr(offsets, name))
            for name in ("product", "acc", "outer")
            if f"{name}_offset" in self.shape.job_fields
        }

    def job_beat(self) -> int:
        values: dict[str, Any] = {"k": self.x.shape[1], "m_rows": len(self.x)}
        values |= {"m_base": self.m_base, "n_base": self.n_base}
        for stage in Stage:
            for side, name in enumerate(("row", "column")):
                values[key_name(stage, name)] = key(self.random.seed, self.random.call, stage, side)
        values |= self.offset_words()
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
        random=RandomWords(seed=rng.getrandbits(64), call=rng.getrandbits(32)),
        m_base=rng.getrandbits(32),
        n_base=rng.getrandbits(32),
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
    if isinstance(number, FloatFormat):  # neither infinity nor NaN
        magnitude = codes & (2 ** (number.code_bits - 1) - 1)
        codes += np.minimum(magnitude, number.max_magnitude_code) - magnitude
    if one_sign:
        codes &= 2 ** (number.code_bits - 1) - 1
    zeros = noise.random(size) < 0.1
    return np.where(zeros, 0, codes)

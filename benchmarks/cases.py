"""Configurations that are measured, the operands that they get, and what these make the kernels do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.catalog import find
from golden.config import FixedFormat, Format, MacConfig
from sim.kernels.geometry import Conv2dGeometry, patches
from sim.kernels.product import extent_of, quantize

__all__ = ["CASES", "GEOMETRY", "Case", "Premise", "Shape", "draw", "find_case", "matrices", "operands"]

GEOMETRY = Conv2dGeometry(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)

#: Rows of a kernel's tile are a multiple of this in all instruction sets.
_TILE_ROWS = 4


class Premise(ValueError):  # noqa: N818 -- what a row claims about its operands
    """Operands are not what their row says they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A configuration and the operands that it gets."""

    label: str
    name: str  #: Of the configuration, short or in full.
    operands: str  #: In words.
    spread: float  #: Standard deviation of a bell curve, before operands are rounded to their formats.
    largest: float | None = None  #: Magnitudes are cut off here.
    overflow: bool | None = None  #: Whether every chunk may overflow, or none can; None: not looked at.
    most: float | None = None  #: The target: time over that of torch's float32.
    narrower: bool = False  #: Whether it is measured with narrower instruction sets, too.
    twice: bool = False  #: Whether it is measured with two threads, too.
    statistics: bool = False  #: Whether it is measured with statistics, too.
    convolution: bool = False  #: Whether it is measured as a convolution, too.

    @property
    def config(self) -> MacConfig:
        return find(self.name)


_WIDE = "a bell curve of standard deviation 4"
_NARROW = "a bell curve of standard deviation 1/2"
_NO_PRODUCT = "e2m1_e2m2_p_e4m7b10_rz_a_e4m7b10_rz_c16"
_FLOAT32 = "e8m23ieee_e8m23ieee_p_e4m7b12_rz_a_e4m7b10_rz_c16"


def _integers(bits: int, largest: int, **fields) -> Case:
    words = f"integers up to {largest}"
    return Case(name=f"int{bits}", operands=words, spread=0.4 * largest, largest=largest, **fields)


CASES = (
    Case(
        label="float12, every check kept",
        name="float12",
        operands=_WIDE,
        spread=4,
        overflow=True,
        most=2.8,
        narrower=True,
        twice=True,
        statistics=True,
        convolution=True,
    ),
    Case(
        label="float12, overflow proved away",
        name="float12",
        operands=_NARROW,
        spread=0.5,
        overflow=False,
        most=2.0,
        narrower=True,
        twice=True,
        convolution=True,
    ),
    Case(
        label="float12, no product is rounded",
        name=_NO_PRODUCT,
        operands="a bell curve, most of it cut off",
        spread=6,
        overflow=True,
        narrower=True,
    ),
    Case(
        label="float12, no product is rounded, overflow proved away",
        name=_NO_PRODUCT,
        operands="a bell curve of standard deviation 3/4",
        spread=0.75,
        overflow=False,
        narrower=True,
    ),
    Case(
        label="float12 of float32, every check kept",
        name=_FLOAT32,
        operands=_WIDE,
        spread=4,
        overflow=True,
        most=2.8,
        narrower=True,
        convolution=True,
    ),
    Case(
        label="float12 of float32, overflow proved away",
        name=_FLOAT32,
        operands=_NARROW,
        spread=0.5,
        overflow=False,
        most=2.0,
        narrower=True,
    ),
    Case(
        label="float12, nearest even",
        name="float12-rne",
        operands=_WIDE,
        spread=4,
        overflow=True,
        most=5.0,
        narrower=True,
        twice=True,
        statistics=True,
        convolution=True,
    ),
    Case(
        label="float12, stochastic, 4 random bits",
        name="e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16",
        operands=_WIDE,
        spread=4,
        overflow=True,
        most=10.0,
        narrower=True,
        twice=True,
        convolution=True,
    ),
    Case(
        label="float12, no guard bits",
        name="float12-g0",
        operands=_WIDE,
        spread=4,
        overflow=True,
        narrower=True,
    ),
    Case(
        label="float12, subnormals",
        name="e3m4_e3m4_p_e4m7sb12_rz_a_e4m7sb10_rz_c16",
        operands=_WIDE,
        spread=4,
        overflow=True,
    ),
    Case(label="float32, exact products", name="float32-px", operands=_WIDE, spread=4),
    Case(
        label="fixed12 of FP8",
        name="fixed12",
        operands=_WIDE,
        spread=4,
        narrower=True,
        statistics=True,
        convolution=True,
    ),
    Case(label="fixed16 of FP8", name="fixed16", operands=_WIDE, spread=4, twice=True),
    _integers(8, 11, label="int8, saturating", most=1.0),
    _integers(12, 45, label="int12, saturating", most=1.0),
    _integers(12, 127, label="int12, saturating, all bits of the operands", most=1.0),
    _integers(
        16,
        127,
        label="int16, saturating",
        most=1.0,
        narrower=True,
        twice=True,
        statistics=True,
        convolution=True,
    ),
    _integers(20, 127, label="int20, saturating"),
    Case(
        label="int16, wrapping",
        name="int16-wrap",
        operands="integers up to 127",
        spread=50,
        largest=127,
        most=1 / 2.5,
        twice=True,
        convolution=True,
    ),
    Case(label="exact", name="exact", operands=_WIDE, spread=4),
)


def find_case(label: str) -> Case:
    return next(case for case in CASES if case.label == label)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A matrix product [m, k] @ [k, n], or a 3x3 convolution of so many images, channels and pixels."""

    m: int = 0
    k: int = 0
    n: int = 0
    images: int = 0
    channels: int = 0
    side: int = 0

    @property
    def is_convolution(self) -> bool:
        return self.images > 0

    @property
    def label(self) -> str:
        if self.is_convolution:
            side = f"{self.side}x{self.side}"
            return f"3x3 convolution, {self.channels} channels, {side}, batch {self.images}"
        return f"{self.m}x{self.k} @ {self.k}x{self.n}"

    @property
    def macs(self) -> int:
        if self.is_convolution:
            return self.images * self.side**2 * 9 * self.channels**2
        return self.m * self.k * self.n

    @property
    def operand_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self.is_convolution:
            channels = self.channels
            return (self.images, channels, self.side, self.side), (channels, channels, 3, 3)
        return (self.m, self.k), (self.k, self.n)


def draw(number: Format, shape: tuple[int, ...], spread: float, largest: float | None, seed: int) -> Tensor:
    """float32 values of the format, from a bell curve."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * spread
    if isinstance(number, FixedFormat):
        values = values.round()
    return quantize(values if largest is None else values.clamp(-largest, largest), number, 1.0).float()


def operands(case: Case, shape: Shape, seed: int) -> tuple[Tensor, Tensor]:
    """Both operands; :class:`Premise` where they are not what the case says."""
    config, (of_a, of_b) = case.config, shape.operand_shapes
    a = draw(config.x, of_a, case.spread, case.largest, seed)
    b = draw(config.w, of_b, case.spread, case.largest, seed + 1)
    if case.overflow is not None:
        _need_overflow(case, *matrices(a, b))
    return a, b


def matrices(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The operands of the matrix product that a convolution is."""
    if a.ndim == 2:
        return a, b
    return patches(a, b.shape[2:], GEOMETRY), b.flatten(1).t()


def _need_overflow(case: Case, a: Tensor, b: Tensor) -> None:
    """Raise unless the checks of overflow stay in all chunks of all tiles, or fall in all."""
    config, chunk = case.config, case.config.chunk_size
    sides = []
    for values in (a, b.t()):
        parts = [part for part in values.abs().split(chunk, dim=1)]
        for measure in (
            torch.stack([part.square().sum(1).sqrt() for part in parts]),
            torch.stack([part.amax(1) for part in parts]),
        ):
            tiles = torch.stack([tile.amax(1) for tile in measure.split(_TILE_ROWS, dim=1)])
            sides.append((float(tiles.min()), float(measure.max())))
    norms, peaks = ([sides[i][end] * sides[i + 2][end] for end in (0, 1)] for i in (0, 1))
    limits = [(norms, config.accumulator.format.max_value)]
    if config.product is not None and extent_of(a, config.x).largest * extent_of(b, config.w).largest > (
        config.product.format.max_value
    ):
        limits.append((peaks, config.product.format.max_value))
    margin = 1 + 2**-7
    for (least, most), limit in limits:
        if case.overflow and least <= limit * margin:
            raise Premise(f"{case.label}: some chunk has a bound of {least}, not above {limit}")
        if not case.overflow and most * margin >= limit:
            raise Premise(f"{case.label}: some chunk has a bound of {most}, not below {limit}")

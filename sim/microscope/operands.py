"""The operands of one product as the accumulator gets them, and the dot products in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from golden.codes import encode
from golden.config import MacConfig
from golden.random_words import RandomWords, Stage
from sim.kernels.geometry import Conv2dGeometry, output_size, patches

__all__ = ["Dot", "Operands", "exact_result"]


def exact_result(x: Tensor, w: Tensor, geometry: Conv2dGeometry | None, dtype: torch.dtype) -> Tensor:
    """The same product of quantized operands, added up in ``dtype``: as good as exactly."""
    x, w = x.to(dtype), w.to(dtype)
    if geometry is None:
        return x @ w
    return torch.conv2d(x, w, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dot:
    """One output of a product: the operands of its sum, in the order of summation."""

    place: tuple[int, ...]  #: Index of the output in the result.
    x: Tensor  #: float64 [k], values of ``config.x``.
    w: Tensor  #: float64 [k]
    config: MacConfig
    random: RandomWords
    row: int  #: What the output counts as in random words.
    column: int

    @property
    def codes(self) -> tuple[list[int], list[int]]:
        return encode(self.x, self.config.x).tolist(), encode(self.w, self.config.w).tolist()

    @property
    def words(self) -> Callable[[Stage, int, int], int]:
        """Random words as :func:`golden.arith.dot` takes them."""
        return lambda stage, bits, k: self.random.words(stage, bits, self.row, self.column, k)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operands:
    """One product: values of the formats, scales taken away."""

    name: str  #: Of the layer.
    x: Tensor  #: [..., m, k], or images [i, c, h, w].
    w: Tensor  #: [..., k, n], or weights [o, c / groups, kh, kw].
    config: MacConfig
    geometry: Conv2dGeometry | None
    random: RandomWords

    @property
    def length(self) -> int:
        """Products in a sum."""
        return self.w.shape[-2] if self.geometry is None else self.w[0].numel()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        if self.geometry is None:
            batch = torch.broadcast_shapes(self.x.shape[:-2], self.w.shape[:-2])
            return (*batch, self.x.shape[-2], self.w.shape[-1])
        return (len(self.x), len(self.w), *output_size(self.x.shape[2:], self.w.shape[2:], self.geometry))

    @property
    def axes(self) -> tuple[str, ...]:
        """What each index of an output means."""
        if self.geometry is None:
            return (*(f"batch {i}" for i in range(len(self.shape) - 2)), "row", "channel")
        return ("image", "channel", "pixel row", "pixel column")

    def dot(self, place: tuple[int, ...]) -> Dot:
        """The dot product that the output at this index is."""
        x, w, row, column = (self._matrix if self.geometry is None else self._pixel)(place)
        return Dot(
            place=tuple(place),
            x=x.double(),
            w=w.double(),
            config=self.config,
            random=self.random,
            row=row,
            column=column,
        )

    def _matrix(self, place: tuple[int, ...]) -> tuple[Tensor, Tensor, int, int]:
        *batch, m, n = place
        shape = self.shape[:-2]
        x = self.x.expand(*shape, *self.x.shape[-2:])[tuple(batch)]
        w = self.w.expand(*shape, *self.w.shape[-2:])[tuple(batch)]
        before = sum(i * math.prod(shape[axis + 1 :]) for axis, i in enumerate(batch))
        return x[m], w[:, n], before * self.shape[-2] + m, n

    def _pixel(self, place: tuple[int, ...]) -> tuple[Tensor, Tensor, int, int]:
        image, channel, row, column = place
        geometry, groups = self.geometry, self.geometry.groups
        group = channel // (len(self.w) // groups)
        part = self.x[image : image + 1].chunk(groups, dim=1)[group]
        rows = patches(part, self.w.shape[2:], geometry)
        height, width = self.shape[2:]
        pixel = row * width + column
        return rows[pixel], self.w[channel].flatten(), image * height * width + pixel, channel

    def dots(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Operands x[count, k] and w[count, k] of outputs that are drawn at random, or of all of them."""
        total = math.prod(self.shape)
        picked = torch.arange(total)
        if count < total:
            picked = torch.randint(total, (count,), generator=generator)
        places = torch.unravel_index(picked, self.shape)
        if self.geometry is None:
            shape = self.shape[:-2]
            x = self.x.expand(*shape, *self.x.shape[-2:])[places[:-1]]
            w = self.w.expand(*shape, *self.w.shape[-2:]).transpose(-1, -2)[(*places[:-2], places[-1])]
            return x.double(), w.double()
        images, channels = places[:2]
        width = self.shape[3]
        columns, groups = len(self.w) // self.geometry.groups, self.geometry.groups
        x = torch.empty(len(picked), self.length, dtype=torch.float64)
        for image in images.unique():
            for group, part in enumerate(self.x[image : image + 1].chunk(groups, dim=1)):
                here = (images == image) & (channels // columns == group)
                rows = patches(part, self.w.shape[2:], self.geometry)
                x[here] = rows[(places[2] * width + places[3])[here]].double()
        return x, self.w[channels].flatten(1).double()

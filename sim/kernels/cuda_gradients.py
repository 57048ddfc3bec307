"""Gradients through the accumulator on a graphics card: masks as bits for some rows, then masked products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from golden.gradients import GradientRule
from golden.random_words import RandomWords
from sim.kernels.cuda_library import Job, Kernels, Masked, Masks
from sim.kernels.cuda_plan import mask_job, nothing_is_masked
from sim.kernels.exact import conv2d_gradients
from sim.kernels.geometry import Conv2dGeometry

if TYPE_CHECKING:
    from sim.kernels.cuda import Placed

__all__ = ["masks", "of_images", "of_matrices"]

_SCRATCH = 256 << 20  #: Bytes of bits, or of gradients of patches, that are there at once.
_WORD = 32  #: Steps in a word of bits.
_DEPTH = 64  #: Rows of x whose terms a tile adds up at once.
_NO_OVERFLOW, _CHANGE, _LARGE_CHANGE = range(3)  # fmaq::Rule


def of_matrices(
    kernels: Kernels,
    placed: Placed,
    grad: Tensor,
    a: Tensor,
    b: Tensor,
    rule: GradientRule,
    random: RandomWords,
) -> tuple[Tensor, Tensor]:
    """Gradients of a[..., m, k] and b[..., k, n], float32."""
    grad = grad.detach().to(placed.x.device, torch.float32).expand(placed.shape)
    if placed.is_empty:
        return torch.zeros_like(a, dtype=torch.float32), torch.zeros_like(b, dtype=torch.float32)
    if nothing_is_masked(placed.config, placed.length, *placed.extents, rule):
        x, w = placed.x.float(), placed.w.float()
        of_result = grad.reshape(len(x), -1, grad.shape[-1])
        of_x, of_w = of_result @ w.mT, x.mT @ of_result
    else:
        work = _Work(kernels, placed, grad.contiguous(), rule, random)
        fields = work.fields
        batch, m, length = fields["batch"], fields["m"], placed.length
        of_x = grad.new_empty(batch, m, length)
        of_w = grad.new_zeros(batch, fields["n"], length)
        to = dict(to_batch=m * length, to_image=0, to_pixel=length)
        for first, last in work.blocks(1, batch * length * 4):
            bits = work.bits(first, last)
            work.of_x(bits, first, last, of_x, to, step=1)
            of_w += work.of_w(bits, first, last)
        of_w = of_w.mT
    batch = placed.shape[:-2]
    of_x = of_x.reshape(*batch, *a.shape[-2:]).sum_to_size(a.shape)
    of_w = of_w.sum(0) if b.ndim == 2 else of_w.reshape(*batch, *b.shape[-2:])
    return of_x, of_w.sum_to_size(b.shape)


def masks(kernels: Kernels, placed: Placed, rule: GradientRule, random: RandomWords) -> Tensor:
    """:func:`golden.gradients.masks` of all rows: bool [..., m, n, k]."""
    shape = (*placed.shape, placed.length)
    if placed.is_empty or nothing_is_masked(placed.config, placed.length, *placed.extents, rule):
        return torch.ones(shape, dtype=torch.bool, device=placed.x.device)
    work = _Work(kernels, placed, placed.x.new_empty(0), rule, random)
    bits = work.bits(0, work.fields["m"])
    single = bits.unsqueeze(-1) >> torch.arange(_WORD, dtype=torch.int32, device=bits.device) & 1
    steps = single.movedim(1, 3).flatten(3)[..., : placed.length].bool()
    return torch.empty_like(steps).index_copy_(3, work.order, steps).reshape(shape)


def of_images(
    kernels: Kernels,
    placed: Placed,
    grad: Tensor,
    images: Tensor,
    weight: Tensor,
    geometry: Conv2dGeometry,
    rule: GradientRule,
    random: RandomWords,
) -> tuple[Tensor, Tensor]:
    """Gradients of images[i, c, h, w] and weight[o, c / groups, kh, kw], float32."""
    device = placed.x.device
    grad = grad.detach().to(device, torch.float32)
    if placed.is_empty:
        return torch.zeros_like(images, dtype=torch.float32), torch.zeros_like(weight, dtype=torch.float32)
    if nothing_is_masked(placed.config, placed.length, *placed.extents, rule):
        return conv2d_gradients(grad, images.detach().to(device).float(), placed.w.float(), geometry)
    work = _Work(kernels, placed, grad.contiguous(), rule, random)
    groups, length = geometry.groups, placed.length
    pixels = work.fields["pixel_rows"] * work.fields["pixel_columns"]
    of_weight = grad.new_zeros(weight.shape)
    of_images = []
    for first, last in work.blocks(pixels, groups * length * 4):
        bits = work.bits(first, last)
        count = (last - first) // pixels
        patches = grad.new_empty(count, groups * length, pixels)
        to = dict(to_batch=length * pixels, to_image=groups * length * pixels, to_pixel=1)
        work.of_x(bits, first, last, patches, to, step=pixels)
        of_weight += work.of_w(bits, first, last).view(weight.shape)
        where = dict(dilation=geometry.dilation, padding=geometry.padding, stride=geometry.stride)
        of_images.append(functional.fold(patches, images.shape[2:], weight.shape[2:], **where))
    return of_images[0] if len(of_images) == 1 else torch.cat(of_images), of_weight


class _Work:
    """The masks of one product, and what is computed with them, block of rows by block of rows."""

    def __init__(
        self, kernels: Kernels, placed: Placed, grad: Tensor, rule: GradientRule, random: RandomWords
    ):
        self.kernels, self.placed, self.grad, self.rule = kernels, placed, grad, rule
        self.fields, self.device = placed.fields, placed.x.device
        self.job = mask_job(placed.config, placed.length, *placed.extents, random)
        self.steps = placed.place(self.job)
        self.words = -(-placed.length // _WORD)
        order = torch.arange(placed.length, device=self.device) if placed.order is None else placed.order
        self.order = order

    def blocks(self, unit: int, bytes_of_row: int) -> Iterator[tuple[int, int]]:
        """First and last rows of blocks of whole units, whose bits and other bytes are not too many."""
        bits = self.fields["batch"] * self.words * self.fields["n"] * 4
        rows = max(_SCRATCH // max(bits, bytes_of_row) // unit, 1) * unit
        for first in range(0, self.fields["m"], rows):
            yield first, min(first + rows, self.fields["m"])

    def bits(self, first: int, last: int) -> Tensor:
        """Masks of some rows: int32 [batch, words, rows, columns]."""
        shape = (self.fields["batch"], self.words, last - first, self.fields["n"])
        bits = torch.empty(shape, dtype=torch.int32, device=self.device)
        difference = self.rule.estimator.is_difference
        masks = Masks(
            job=self._rows_until(last),
            rule=_NO_OVERFLOW if not difference else _LARGE_CHANGE if self.rule.threshold else _CHANGE,
            recursive=int(self.rule.estimator.is_recursive),
            fraction=self.rule.threshold,
            first=first,
            bits=bits.data_ptr(),
        )
        self.kernels.call("mask", masks, self.device)
        return bits

    def of_x(
        self, bits: Tensor, first: int, last: int, out: Tensor, to: dict[str, int], *, step: int
    ) -> None:
        """Write the gradients of these rows of x; ``step``: from one k to the next."""
        offsets = self.order * step
        masked = self._masked(bits, first, last, out, offsets)
        masked.slices = 1
        for field, value in to.items():
            setattr(masked, field, value)
        # Rows are counted from the first image of the block.
        masked.out = out.data_ptr() - self._skipped(first, to) * out.element_size()
        self.kernels.call("masked_product", masked, self.device)

    def _skipped(self, first: int, to: dict[str, int]) -> int:
        """Elements before the first row, where ``out`` has those of a block of images only."""
        pixels = self.fields["pixel_rows"] * self.fields["pixel_columns"]
        return first // pixels * to["to_image"]

    def of_w(self, bits: Tensor, first: int, last: int) -> Tensor:
        """What these rows add to the gradient of w: [batch, n, k]."""
        batch, n, length = self.fields["batch"], self.fields["n"], self.placed.length
        tiles = batch * -(-n // _WORD) * self.words
        wanted = -(-4 * max(self.kernels.processors(self.device), 1) // tiles)
        slices = max(1, min(wanted, (last - first) // (4 * _DEPTH)))
        out = self.grad.new_empty(slices, batch, n, length)
        masked = self._masked(bits, first, last, out, self.order)
        masked.of_w, masked.slices = 1, slices
        masked.to_batch, masked.to_n, masked.to_slice = n * length, length, batch * n * length
        self.kernels.call("masked_product", masked, self.device)
        return out.sum(0) if slices > 1 else out[0]

    def _rows_until(self, last: int) -> Job:
        job = Job.from_buffer_copy(self.job)
        job.m = last
        return job

    def _masked(self, bits: Tensor, first: int, last: int, out: Tensor, offsets: Tensor) -> Masked:
        return Masked(
            job=self._rows_until(last),
            first=first,
            bits=bits.data_ptr(),
            grad=self.grad.data_ptr(),
            out=out.data_ptr(),
            out_k=offsets.data_ptr(),
        )

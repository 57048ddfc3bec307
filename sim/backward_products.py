"""Backward products through an accumulator of their own: gradients summed as a configuration says.

Operands are fitted to the configuration's formats by a bias or a scale for each tensor, as a layer's are. A
masked term is a product that is zero, so it stays a step of its sum. Where there are masks this is slow, and
all of them are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from golden.config import MAX_OPERAND_FIXED_BITS, MacConfig
from golden.gradients import Estimator, GradientRule
from golden.random_words import RandomWords
from sim.backends import Backend, Conv2dGeometry, patches, unpatched
from sim.operands import fit_operands
from sim.orders import Order, asked
from sim.straight_through import quantized

__all__ = ["Forward", "conv2d_through", "matmul_through"]

#: Terms of masked sums that are in memory at a time, beside their masks.
_MOST_TERMS = 1 << 22

#: Calls of the two backward products' random words, apart from those of the forward one.
_OF_X, _OF_W = 1 << 31, 1 << 30


class Forward(Protocol):
    """The product whose gradients are asked for."""

    config: MacConfig
    rule: GradientRule
    backend: Backend
    order: Tensor | None
    of_x_order: Order
    of_w_order: Order
    random: RandomWords


class _Product:
    """left @ right by a configuration, both fitted to it, and products of parts of them; float32."""

    def __init__(self, config: MacConfig, left: Tensor, right: Tensor, forward: Forward, calls: int):
        largest = [float(each.abs().max()) if each.numel() else 0.0 for each in (left, right)]
        layer = fit_operands(config, *largest, int_bits=MAX_OPERAND_FIXED_BITS, length=None)
        self.config, self.scale = layer.config, layer.x_scale * layer.w_scale
        self.left = quantized(left, self.config.x, layer.x_scale)
        self.right = quantized(right, self.config.w, layer.w_scale)
        self.backend, self.random, self.calls = forward.backend, forward.random, calls

    def of(self, left: Tensor, right: Tensor, part: int, order: Tensor | None) -> Tensor:
        """The product of two tensors that hold fitted values; ``part`` has random words of its own."""
        words = replace(self.random, call=(self.random.call + part) % _OF_W | self.calls)
        result = self.backend.matmul(left, right, self.config, order, words, dtype=torch.float64)
        return (result * self.scale).float()


def matmul_through(
    config: MacConfig, grad: Tensor, x: Tensor, w: Tensor, forward: Forward
) -> tuple[Tensor, Tensor]:
    """Gradients of x[..., m, k] and w[..., k, n] from that of their product, float32.

    Each is a sum of the configuration, over n for x, over m for w. Where w is one matrix for all of x's,
    their rows are one sum; where either is broadcast otherwise, its gradients are added up in float32.
    """
    if w.ndim == 2 and x.ndim > 2:
        of_x, of_w = matmul_through(config, grad.flatten(0, -2), x.flatten(0, -2), w, forward)
        return of_x.reshape(x.shape), of_w
    of_x = _Product(config, grad, w.mT, forward, _OF_X)
    of_w = _Product(config, x.mT, grad, forward, _OF_W)
    x_order = asked(forward.of_x_order, *of_x.right.shape[-2:], grad.device)
    w_order = asked(forward.of_w_order, *of_w.right.shape[-2:], grad.device)
    if forward.rule.estimator is Estimator.IDENTITY:
        sums = of_x.of(of_x.left, of_x.right, 0, x_order), of_w.of(of_w.left, of_w.right, 0, w_order)
        return sums[0].sum_to_size(x.shape), sums[1].sum_to_size(w.shape)
    f = forward
    kept = f.backend.gradient_masks(x, w, f.config, f.rule, f.order, f.random)
    x_columns = _by_column(x_order, *of_x.right.shape[-2:]).to(grad.device)
    x_parts, w_parts = [], []
    for block in _blocks(kept):
        some = kept[..., block].movedim(-1, -3)  # [..., k, m, n]
        left, right = of_x.left.unsqueeze(-3) * some, of_x.right.mT[..., block, :].unsqueeze(-1)
        picked = x_columns[block]  # each column of this product is a matrix of its own
        left, right = left.take_along_dim(picked[:, None], -1), right.take_along_dim(picked[..., None], -2)
        x_parts.append(of_x.of(left, right, block.start, None).squeeze(-1))
        left, right = of_w.left[..., block, :].unsqueeze(-2), of_w.right.unsqueeze(-3) * some
        w_parts.append(of_w.of(left, right, block.start, w_order).squeeze(-2))
    of_a, of_b = torch.cat(x_parts, dim=-2).mT, torch.cat(w_parts, dim=-2)
    return of_a.sum_to_size(x.shape), of_b.sum_to_size(w.shape)


def _by_column(order: Tensor | None, length: int, columns: int) -> Tensor:
    """The order [columns, length] of each column."""
    if order is None:
        order = torch.arange(length)
    return (order[:, None] if order.ndim == 1 else order).expand(length, columns).t()


def _blocks(kept: Tensor) -> Iterator[slice]:
    """Parts of k whose masked terms are few enough."""
    length = kept.shape[-1]
    size = max(1, _MOST_TERMS // max(kept[..., 0].numel(), 1))
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def conv2d_through(
    config: MacConfig,
    grad: Tensor,
    images: Tensor,
    weight: Tensor,
    geometry: Conv2dGeometry,
    forward: Forward,
) -> tuple[Tensor, Tensor]:
    """Gradients of images and weight: of patches and columns by :func:`matmul_through`, group by group.

    The sum over output channels, or over pixels, is the configuration's; where patches overlap, their
    gradients are added up in float32.
    """
    groups = geometry.groups
    columns = len(weight) // groups
    of_images, of_weight = [], []
    for group, part in enumerate(images.chunk(groups, dim=1)):
        channels = slice(group * columns, (group + 1) * columns)
        rows = grad[:, channels].transpose(0, 1).flatten(1).t()
        b = weight[channels].flatten(1).t()
        of_a, of_b = matmul_through(config, rows, patches(part, weight.shape[2:], geometry), b, forward)
        of_images.append(unpatched(of_a, images.shape, weight.shape[2:], geometry))
        of_weight.append(of_b.t().unflatten(1, weight.shape[1:]))
    return torch.cat(of_images, dim=1), torch.cat(of_weight)

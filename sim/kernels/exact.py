"""Convolutions of torch's, and gradients of exact products: what is there without an accumulator or a mask.

In the operands' own type and the same bits each time, on a card, too, where torch would shorten float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from sim.kernels.geometry import Conv2dGeometry

__all__ = ["conv2d", "conv2d_gradients", "matmul_gradients"]

Asked = tuple[bool, bool]  #: Of which operand the gradient is asked for.
BOTH: Asked = (True, True)


def _whole_operands() -> AbstractContextManager:
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def conv2d(images: Tensor, weight: Tensor, geometry: Conv2dGeometry) -> Tensor:
    """images[i, c, h, w] * weight[o, c / groups, kh, kw] -> [i, o, h', w']."""
    where = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    with _whole_operands():
        return torch.conv2d(images, weight, None, *where)


def matmul_gradients(
    grad: Tensor, a: Tensor, b: Tensor, asked: Asked = BOTH
) -> tuple[Tensor | None, Tensor | None]:
    """Of a[..., m, k] and b[..., k, n], from that of a @ b."""
    rows, of_rows = (a.flatten(0, -2), grad.flatten(0, -2)) if b.ndim == 2 else (a, grad)
    return (
        (grad @ b.mT).sum_to_size(a.shape) if asked[0] else None,
        (rows.mT @ of_rows).sum_to_size(b.shape) if asked[1] else None,
    )


def conv2d_gradients(
    grad: Tensor, images: Tensor, weight: Tensor, geometry: Conv2dGeometry, asked: Asked = BOTH
) -> tuple[Tensor | None, Tensor | None]:
    """Of images and weight, from that of :func:`conv2d`."""
    with _whole_operands():
        of_images, of_weight, _ = torch.ops.aten.convolution_backward(
            *(grad, images, weight, None, geometry.stride, geometry.padding, geometry.dilation),
            *(False, [0, 0], geometry.groups, [*asked, False]),
        )
    return (of_images if asked[0] else None), (of_weight if asked[1] else None)

"""The kernels as torch operators, ``torch.ops.fmaq``: under autograd, ``torch.compile`` and fake tensors.

Operands are float32 or float64 values that the configuration's formats hold (see
:func:`sim.operands.quantize_operand`); the result has the type of the first. Gradients are those of the exact
product: the accumulator's roundings count as the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from golden.catalog import find
from golden.random_words import RandomWords
from sim.kernels import product
from sim.kernels.geometry import Conv2dGeometry, output_size

__all__ = ["conv2d", "matmul"]


def _result_type(a: Tensor) -> torch.dtype:
    return a.dtype if a.dtype in (torch.float32, torch.float64) else torch.float64


@torch.library.custom_op("fmaq::matmul", mutates_args=(), device_types="cpu")
def matmul(a: Tensor, b: Tensor, config: str, seed: int = 0, call: int = 0) -> Tensor:
    """a[..., m, k] @ b[..., k, n] by the configuration of a short or canonical name.

    ``seed`` and ``call`` choose the words of stochastic rounding. Raises ValueError for values that the
    formats do not hold, ConfigError for a name that is none.
    """
    random = RandomWords(seed=seed, call=call)
    return product.multiply(a, b, find(config), None, random, out_dtype=_result_type(a))[0]


@matmul.register_fake
def _(a, b, config, seed=0, call=0):
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return a.new_empty((*batch, a.shape[-2], b.shape[-1]), dtype=_result_type(a))


def _keep_operands(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[2:]


def _matmul_gradients(ctx, gradient):
    a, b = ctx.saved_tensors
    of_a = (gradient @ b.transpose(-1, -2)).sum_to_size(a.shape) if ctx.needs_input_grad[0] else None
    of_b = (a.transpose(-1, -2) @ gradient).sum_to_size(b.shape) if ctx.needs_input_grad[1] else None
    return of_a, of_b, None, None, None


matmul.register_autograd(_matmul_gradients, setup_context=_keep_operands)


@torch.library.custom_op("fmaq::conv2d", mutates_args=(), device_types="cpu")
def conv2d(
    images: Tensor,
    weight: Tensor,
    config: str,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int = 1,
    seed: int = 0,
    call: int = 0,
) -> Tensor:
    """images[i, c, h, w] * weight[o, c / groups, kh, kw] -> [i, o, h', w'], as :func:`matmul`."""
    geometry = _geometry(stride, padding, dilation, groups)
    random = RandomWords(seed=seed, call=call)
    return product.convolve(
        images, weight, find(config), geometry, None, random, out_dtype=_result_type(images)
    )[0]


def _geometry(stride: list[int], padding: list[int], dilation: list[int], groups: int) -> Conv2dGeometry:
    return Conv2dGeometry(
        stride=tuple(stride), padding=tuple(padding), dilation=tuple(dilation), groups=groups
    )


@conv2d.register_fake
def _(images, weight, config, stride, padding, dilation, groups=1, seed=0, call=0):
    size = output_size(images.shape[2:], weight.shape[2:], _geometry(stride, padding, dilation, groups))
    return images.new_empty((images.shape[0], weight.shape[0], *size), dtype=_result_type(images))


def _conv2d_gradients(ctx, gradient):
    images, weight = ctx.saved_tensors
    _, stride, padding, dilation, groups, *_ = ctx.options
    options = (stride, padding, dilation, groups)
    of_images = of_weight = None
    if ctx.needs_input_grad[0]:
        of_images = conv2d_input(images.shape, weight, gradient, *options)
    if ctx.needs_input_grad[1]:
        of_weight = conv2d_weight(images, weight.shape, gradient, *options)
    return of_images, of_weight, *(None,) * 7


conv2d.register_autograd(_conv2d_gradients, setup_context=_keep_operands)

"""The kernels as torch operators, ``torch.ops.fmaq``: under autograd, ``torch.compile`` and fake tensors.

Operands are float32 or float64 values that the configuration's formats hold (see
:func:`sim.operands.quantize_operand`); the result has the type of the first. Gradients are those of a rule of
:mod:`golden.gradients`, by its name.
"""

from __future__ import annotations

import torch
from torch import Tensor

from golden.catalog import find
from golden.gradients import Estimator, GradientRule
from golden.random_words import RandomWords
from sim.kernels import backward, exact, product
from sim.kernels.geometry import Conv2dGeometry, output_size

__all__ = ["conv2d", "matmul"]


def _result_type(a: Tensor) -> torch.dtype:
    return a.dtype if a.dtype in (torch.float32, torch.float64) else torch.float64


@torch.library.custom_op("fmaq::matmul", mutates_args=(), device_types="cpu")
def matmul(a: Tensor, b: Tensor, config: str, seed: int = 0, call: int = 0, rule: str = "identity") -> Tensor:
    """a[..., m, k] @ b[..., k, n] by the configuration of a short or canonical name.

    ``seed`` and ``call`` choose the words of stochastic rounding, ``rule`` the gradients. ValueError for
    values that the formats do not hold, ConfigError for a name that is none.
    """
    GradientRule.parse(rule)  # now, and not in the backward pass
    random = RandomWords(seed=seed, call=call)
    return product.multiply(a, b, find(config), None, random, out_dtype=_result_type(a))[0]


@matmul.register_fake
def _(a, b, config, seed=0, call=0, rule="identity"):
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return a.new_empty((*batch, a.shape[-2], b.shape[-1]), dtype=_result_type(a))


def _keep_operands(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[2:]


@torch.library.custom_op("fmaq::matmul_backward", mutates_args=(), device_types="cpu")
def matmul_backward(
    gradient: Tensor, a: Tensor, b: Tensor, config: str, seed: int, call: int, rule: str
) -> tuple[Tensor, Tensor]:
    """Gradients of a and b from that of their product, by a rule."""
    random = RandomWords(seed=seed, call=call)
    of_a, of_b = backward.multiply_backward(
        gradient, a, b, find(config), GradientRule.parse(rule), None, random
    )
    return of_a.to(a.dtype).contiguous(), of_b.to(b.dtype).contiguous()


@matmul_backward.register_fake
def _(gradient, a, b, config, seed, call, rule):
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _is_identity(rule: str) -> bool:
    return GradientRule.parse(rule).estimator is Estimator.IDENTITY


def _matmul_gradients(ctx, gradient):
    a, b = ctx.saved_tensors
    config, seed, call, rule = ctx.options
    if not _is_identity(rule):
        return *matmul_backward(gradient, a, b, config, seed, call, rule), *(None,) * 4
    return *exact.matmul_gradients(gradient, a, b, ctx.needs_input_grad[:2]), *(None,) * 4


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
    rule: str = "identity",
) -> Tensor:
    """images[i, c, h, w] * weight[o, c / groups, kh, kw] -> [i, o, h', w'], as :func:`matmul`."""
    GradientRule.parse(rule)
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
def _(images, weight, config, stride, padding, dilation, groups=1, seed=0, call=0, rule="identity"):
    size = output_size(images.shape[2:], weight.shape[2:], _geometry(stride, padding, dilation, groups))
    return images.new_empty((images.shape[0], weight.shape[0], *size), dtype=_result_type(images))


@torch.library.custom_op("fmaq::conv2d_backward", mutates_args=(), device_types="cpu")
def conv2d_backward(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    config: str,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    seed: int,
    call: int,
    rule: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of images and weight from that of their convolution, by a rule."""
    geometry = _geometry(stride, padding, dilation, groups)
    random = RandomWords(seed=seed, call=call)
    of_images, of_weight = backward.convolve_backward(
        gradient, images, weight, find(config), geometry, GradientRule.parse(rule), None, random
    )
    return of_images.to(images.dtype).contiguous(), of_weight.to(weight.dtype).contiguous()


@conv2d_backward.register_fake
def _(gradient, images, weight, config, stride, padding, dilation, groups, seed, call, rule):
    return images.new_empty(images.shape), weight.new_empty(weight.shape)


def _conv2d_gradients(ctx, gradient):
    images, weight = ctx.saved_tensors
    _, stride, padding, dilation, groups, *_, rule = ctx.options
    if not _is_identity(rule):
        return *conv2d_backward(gradient, images, weight, *ctx.options), *(None,) * 8
    geometry = _geometry(stride, padding, dilation, groups)
    gradients = exact.conv2d_gradients(gradient, images, weight, geometry, ctx.needs_input_grad[:2])
    return *gradients, *(None,) * 8


conv2d.register_autograd(_conv2d_gradients, setup_context=_keep_operands)

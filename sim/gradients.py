"""Products through the accumulator that autograd differentiates, with a rule of :mod:`golden.gradients`.

The forward pass is a backend's product, bit for bit; the backward pass is the exact product's, in float32,
less the terms that the rule masks. Masks are not kept in between: a backend computes the chains anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from golden.accumulate import FIRST_WORDS
from golden.config import MacConfig
from golden.gradients import Estimator, GradientRule
from golden.random_words import RandomWords
from sim.backends import Backend, Conv2dGeometry, find_backend
from sim.backward_products import conv2d_through, matmul_through
from sim.kernels.exact import conv2d_gradients, matmul_gradients
from sim.orders import Order, ascending

__all__ = ["conv2d", "matmul"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Options:
    """What a product's gradients depend on beside its operands."""

    config: MacConfig
    rule: GradientRule
    backend: Backend
    backward: MacConfig | None
    order: Tensor | None
    of_x_order: Order
    of_w_order: Order
    random: RandomWords


def matmul(
    x: Tensor,
    w: Tensor,
    config: MacConfig,
    *,
    rule: GradientRule,
    backend: Backend | str,
    backward: MacConfig | None = None,
    order: Tensor | None = None,
    of_x_order: Order = ascending,
    of_w_order: Order = ascending,
    random: RandomWords = FIRST_WORDS,
) -> Tensor:
    """x[..., m, k] @ w[..., k, n] as :meth:`sim.backends.Backend.matmul`, in x's type.

    ``x`` and ``w`` hold values of the configuration's formats. ``backward``: None for gradients by float32
    products, or a configuration by which these are computed, too, their operands fitted to its formats, in
    the orders of :class:`sim.orders.Orders`.
    """
    options = _Options(
        config=config,
        rule=rule,
        backend=find_backend(backend),
        backward=backward,
        order=order,
        of_x_order=of_x_order,
        of_w_order=of_w_order,
        random=random,
    )
    return _Matmul.apply(x, w, options)


def conv2d(
    images: Tensor,
    weight: Tensor,
    config: MacConfig,
    geometry: Conv2dGeometry,
    *,
    rule: GradientRule,
    backend: Backend | str,
    backward: MacConfig | None = None,
    order: Tensor | None = None,
    of_x_order: Order = ascending,
    of_w_order: Order = ascending,
    random: RandomWords = FIRST_WORDS,
) -> Tensor:
    """images[i, c, h, w] * weight[o, c / groups, kh, kw] -> [i, o, h', w']; see :func:`matmul`."""
    options = _Options(
        config=config,
        rule=rule,
        backend=find_backend(backend),
        backward=backward,
        order=order,
        of_x_order=of_x_order,
        of_w_order=of_w_order,
        random=random,
    )
    return _Conv2d.apply(images, weight, geometry, options)


def _result_type(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor, options: _Options) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.options = options
        result = options.backend.matmul(
            x, w, options.config, options.order, options.random, dtype=_result_type(x)
        )
        return result.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (x, w), o = ctx.saved_tensors, ctx.options
        grad = grad.float()
        if o.backward is not None:
            of_x, of_w = matmul_through(o.backward, grad, x, w, o)
        elif o.rule.estimator is Estimator.IDENTITY:
            of_x, of_w = matmul_gradients(grad, x.float(), w.float(), ctx.needs_input_grad[:2])
        else:
            of_x, of_w = o.backend.matmul_backward(grad, x, w, o.config, o.rule, o.order, o.random)
        return *_as_asked(ctx, (of_x, of_w), (x, w)), None


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images: Tensor, weight: Tensor, geometry: Conv2dGeometry, options: _Options) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.geometry, ctx.options = geometry, options
        result = options.backend.conv2d(
            *(images, weight, options.config, geometry, options.order, options.random),
            dtype=_result_type(images),
        )
        return result.to(images.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (images, weight), geometry, o = ctx.saved_tensors, ctx.geometry, ctx.options
        grad = grad.float()
        if o.backward is not None:
            gradients = conv2d_through(o.backward, grad, images, weight, geometry, o)
        elif o.rule.estimator is Estimator.IDENTITY:
            asked = ctx.needs_input_grad[:2]
            gradients = conv2d_gradients(grad, images.float(), weight.float(), geometry, asked)
        else:
            gradients = o.backend.conv2d_backward(
                grad, images, weight, o.config, geometry, o.rule, o.order, o.random
            )
        return *_as_asked(ctx, gradients, (images, weight)), None, None


def _as_asked(ctx, gradients, operands) -> list[Tensor | None]:
    """Gradients in the operands' types, None where nobody asks."""
    asked = zip(gradients, operands, ctx.needs_input_grad[:2], strict=True)
    return [gradient.to(operand.dtype) if needed else None for gradient, operand, needed in asked]

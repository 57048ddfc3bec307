"""The twin's products: the same operands, quantized the same way, with float32 accumulators."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight

from golden.accumulate import FIRST_WORDS
from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.backends import Backend
from sim.kernels.geometry import Conv2dGeometry

__all__ = ["Float32Backend"]


class Float32Backend(Backend):
    """Ordinary products on the device of the tensors; of a configuration it takes nothing but the operands.

    Not bit-exact for a configuration as the others are: it is what they are compared with. Gradients are
    those of the exact product, whatever the rule.
    """

    name = "float32"

    def matmul(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        return (a.float() @ b.float()).to(dtype)

    def conv2d(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        return functional.conv2d(images.float(), weight.float(), None, *_options(geometry)).to(dtype)

    def matmul_backward(
        self, grad: Tensor, a: Tensor, b: Tensor, config: MacConfig, rule, order=None, random=FIRST_WORDS
    ) -> tuple[Tensor, Tensor]:
        """Float32 gradients of a @ b with respect to a and b."""
        grad, a, b = grad.float(), a.float(), b.float()
        of_a = (grad @ b.transpose(-1, -2)).sum_to_size(a.shape)
        return of_a, (a.transpose(-1, -2) @ grad).sum_to_size(b.shape)

    def conv2d_backward(
        self,
        grad: Tensor,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        rule,
        order=None,
        random=FIRST_WORDS,
    ) -> tuple[Tensor, Tensor]:
        """Float32 gradients of the convolution with respect to images and weights."""
        grad, images, weight = grad.float(), images.float(), weight.float()
        options = _options(geometry)
        return (
            conv2d_input(images.shape, weight, grad, *options),
            conv2d_weight(images, weight.shape, grad, *options),
        )


def _options(geometry: Conv2dGeometry) -> tuple:
    return geometry.stride, geometry.padding, geometry.dilation, geometry.groups

"""The twin's products: the same operands, quantized the same way, with float32 accumulators."""

from __future__ import annotations

import torch
from torch import Tensor

from golden.accumulate import FIRST_WORDS
from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.backends import Backend
from sim.kernels import exact
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
        return exact.conv2d(images.float(), weight.float(), geometry).to(dtype)

    def matmul_backward(
        self, grad: Tensor, a: Tensor, b: Tensor, config: MacConfig, rule, order=None, random=FIRST_WORDS
    ) -> tuple[Tensor, Tensor]:
        """Float32 gradients of a @ b with respect to a and b."""
        return exact.matmul_gradients(grad.float(), a.float(), b.float())

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
        return exact.conv2d_gradients(grad.float(), images.float(), weight.float(), geometry)

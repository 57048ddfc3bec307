"""The products of a model's forward pass: which layer asks for them, and their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sim.kernels.geometry import output_size
from sim.product_mode import Product, ProductMode, caught

__all__ = ["ProductShape", "as_arguments", "products_of"]


@dataclass(frozen=True, kw_only=True)
class ProductShape:
    """One product of a forward pass."""

    name: str  #: As :class:`sim.module_names.ModuleNames` gives it.
    outputs: int  #: Dot products.
    length: int  #: Products in each.

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.outputs * self.length


class _ShapeMode(ProductMode):
    """Computes in float and keeps shapes."""

    def __init__(self):
        super().__init__(strict=True)
        self.shapes: list[ProductShape] = []

    def compute(self, product: Product) -> Tensor:
        product.need_finite()
        x, w, geometry = product.x, product.w, product.geometry
        if geometry is None:
            result = x @ w
            outputs = result.numel()
        else:
            options = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
            result = torch.conv2d(x, w, None, *options)
            rows, columns = output_size(x.shape[2:], w.shape[2:], geometry)
            outputs = len(x) * len(w) * rows * columns
        self.shapes.append(ProductShape(name=self.where, outputs=outputs, length=product.length))
        return result


def as_arguments(batch: Tensor | Sequence) -> tuple:
    """What a model is called with: a batch is one argument, or a tuple of them."""
    return tuple(batch) if isinstance(batch, tuple | list) else (batch,)


@torch.no_grad()
def products_of(model: nn.Module, batch: Tensor | Sequence) -> list[ProductShape]:
    """The products of one forward pass, in order."""
    mode = _ShapeMode()
    with caught(mode, model):
        model(*as_arguments(batch))
    return mode.shapes

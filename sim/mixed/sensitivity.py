"""What each layer costs by each configuration: the error that it alone puts into the network's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sim.backends import Backend, find_backend
from sim.microscope.runner import angle_error
from sim.mixed.areas import Candidate
from sim.mixed.plan import Layers, fit_layer
from sim.mixed.products import as_arguments
from sim.operands import LayerConfig, result_scale, weight_scale
from sim.product_mode import Product, ProductMode, caught
from sim.straight_through import quantized
from sim.workload import first_tensor

__all__ = ["fitted", "sensitivities"]


class _SomeLayers(ProductMode):
    """Computes products of these places in a forward pass by their configurations, the rest in float."""

    def __init__(self, layers: Mapping[int, LayerConfig], products: int, backend: Backend):
        super().__init__(strict=True)
        self.layers = layers
        self.products = products
        self.backend = backend
        self.calls = 0

    def compute(self, product: Product) -> Tensor:
        layer = self.layers.get(self.calls % self.products)
        self.calls += 1
        x, w, geometry = product.x, product.w, product.geometry
        if layer is None:
            if geometry is None:
                return x @ w
            options = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
            return torch.conv2d(x, w, None, *options)
        convolution = geometry is not None
        x = quantized(x, layer.config.x, layer.x_scale)
        w = quantized(w, layer.config.w, weight_scale(layer, convolution=convolution))
        if convolution:
            result = self.backend.conv2d(x, w, layer.config, geometry)
        else:
            result = self.backend.matmul(x, w, layer.config)
        return result * result_scale(layer, convolution=convolution)


def fitted(layers: Layers, candidate: Candidate) -> list[LayerConfig]:
    """Each layer by a candidate, its accumulator calibrated."""
    return [
        fit_layer(candidate.config, sample, calibrated=True, longest=longest)
        for sample, longest in zip(layers.samples, layers.longest, strict=True)
    ]


@torch.no_grad()
def sensitivities(
    model: nn.Module,
    batches: Sequence[Any],
    plan: Sequence[LayerConfig],
    *,
    backend: str | Backend,
    done: Callable[[], None],
) -> list[float]:
    """For each product the error of the outputs if it alone is by its configuration, the rest in float32.

    It is :func:`sim.microscope.runner.angle_error`: no labels are needed, and independent errors add up in
    it.
    """
    wanted = [first_tensor(model(*as_arguments(batch))) for batch in batches]
    errors = []
    for place, layer in enumerate(plan):
        mode = _SomeLayers({place: layer}, len(plan), find_backend(backend))
        with caught(mode, model):
            outputs = [first_tensor(model(*as_arguments(batch))) for batch in batches]
        errors.append(angle_error(outputs, wanted))
        done()
    return errors

"""Computes the products that are caught through an accumulator, above autograd or below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from golden.accumulate import Events
from golden.config import MAX_OPERAND_FIXED_BITS, ConfigError, MacConfig
from golden.gradients import GradientRule
from golden.random_words import RandomWords
from sim import gradients
from sim.backends import Backend
from sim.layers import LayersByName, extents
from sim.operands import LayerConfig, fit_operands, result_scale, weight_scale
from sim.orders import Orders, asked
from sim.product_mode import Product, ProductMode, is_computing
from sim.straight_through import quantized, straight_through

__all__ = ["AccumulateMode", "taker"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Weight:
    """A right operand and what it was quantized to. It holds the tensor, so that no other has its memory."""

    tensor: Tensor
    version: int
    quantized: Tensor

    def is_of(self, other: Tensor) -> bool:
        """Whether ``other`` is the same memory, seen the same way and not written since."""
        ours = self.tensor
        return (
            (ours.data_ptr(), ours.dtype, ours.shape) == (other.data_ptr(), other.dtype, other.shape)
            and ours.stride() == other.stride()
            and ours.storage_offset() == other.storage_offset()
            and self.version == other._version
        )


def _repeats() -> bool:
    """Whether this is in a backward pass: autograd's own, or a forward pass that a checkpoint repeats."""
    return torch._C._current_graph_task_id() != -1


def _in_backward() -> bool:
    """Whether autograd runs, and not a forward pass that a checkpoint repeats."""
    return _repeats() and not torch.is_grad_enabled()


def _innermost() -> AccumulateMode | None:
    """The innermost context that is open in this thread; autograd's threads have those of the caller."""
    for place in reversed(range(torch._C._len_torch_dispatch_stack())):
        mode = torch._C._get_dispatch_stack_at(place)
        if isinstance(mode, AccumulateMode):
            return mode
    return None


def taker():
    """Who takes products above autograd, now; for :func:`sim.autograd_override.overridden`."""
    mode = None if is_computing() or _in_backward() else _innermost()
    return None if mode is None or mode.gradient is None else mode.take


class AccumulateMode(ProductMode):
    """Computes products through an accumulator; see :func:`accumulate`."""

    def __init__(
        self,
        layers: MacConfig | Sequence[LayerConfig] | LayersByName,
        backend: Backend,
        *,
        strict: bool,
        count_events: bool,
        seed: int,
        gradient: GradientRule | None,
        backward: MacConfig | None,
        orders: Orders,
    ):
        super().__init__(strict=strict)
        self.seed = seed
        self.layers = layers
        self.backend = backend
        self.count_events = count_events
        self.gradient = gradient
        self.backward = backward
        self.orders = orders
        self._above = False  # whether the product was caught above autograd
        self._weights: dict[int, _Weight] = {}  # by the product's place in a forward pass
        self.seen: list[str] = []  #: The name of each product so far.
        self.events: list[Events] = []  #: Of each of them, if they are counted.

    @property
    def calls(self) -> int:
        """Products so far."""
        return len(self.seen)

    @property
    def planned(self) -> int | None:
        """Products of a forward pass by the plan; None where it is not a plan of products in order."""
        return len(self.layers) if isinstance(self.layers, Sequence) else None

    def take(self, name: str, args: tuple, options: dict[str, Any]) -> Tensor:
        """A product that was caught above autograd, differentiable; or NotImplemented."""
        self._above = True
        try:
            result = self.replacement(name.removesuffix("_"), args, options)
        finally:
            self._above = False
        return args[0].copy_(result) if name.endswith("_") and result is not NotImplemented else result

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if self.gradient is not None and _in_backward():
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def compute(self, product: Product) -> Tensor:
        layer = self._layer(product)
        if _repeats():
            self._check_repeated(layer.config)
        random = RandomWords(seed=self.seed, call=self.calls)
        if self.gradient is not None and not self._above and _wants_gradient(product):
            self.refuse(self.operator, (product.x, product.w), "it would have no gradient by the rule here")
        order = asked(self.orders.forward, product.length, product.columns, product.w.device)
        result = (self._differentiable if self._above else self._plain)(product, layer, order, random)
        self.seen.append(self.where)
        return result

    def _check_repeated(self, config: MacConfig) -> None:
        """Refuse what cannot be the same in a backward pass, or in the forward pass that it repeats."""
        if self.gradient is None:
            raise ConfigError(
                "a backward pass inside the context needs a gradient rule, or its products are taken for the "
                "network's; give gradient= such as 'recursive/of'"
            )
        if self.planned is not None or config.stochastic:
            what = "a stochastic rounding" if config.stochastic else "a plan of products in order"
            raise ConfigError(
                f"{what} is not the same when a checkpoint repeats a part of the forward pass; leave out the "
                "checkpoint, or use configurations by the names of layers that round without random words"
            )

    def _differentiable(
        self, product: Product, layer: LayerConfig, order: Tensor | None, random: RandomWords
    ) -> Tensor:
        config, fitted, convolution = layer.config, self.planned is None, product.geometry is not None
        x = straight_through(product.x, config.x, layer.x_scale, saturates=not fitted)
        w = straight_through(
            product.w, config.w, weight_scale(layer, convolution=convolution), saturates=not fitted
        )
        scale = result_scale(layer, convolution=convolution)
        if config.outer_accumulator.format.significand_bits > 24 and not _is_single(product, scale):
            x, w = x.double(), w.double()  # so that results are not rounded to float32 on the way
        options = dict(
            rule=self.gradient,
            backend=self.backend,
            backward=self.backward,
            order=order,
            of_x_order=self.orders.of_x,
            of_w_order=self.orders.of_w,
            random=random,
        )
        if convolution:
            result = gradients.conv2d(x, w, config, product.geometry, **options)
        else:
            result = gradients.matmul(x, w, config, **options)
        return result if _is_one(scale) else (result.double() * _beside(scale, result)).to(product.x.dtype)

    @torch.inference_mode(False)  # whose tensors other threads must not write
    @torch.no_grad()
    def _plain(
        self, product: Product, layer: LayerConfig, order: Tensor | None, random: RandomWords
    ) -> Tensor:
        x = quantized(product.x, layer.config.x, layer.x_scale)
        w = self._quantized_weight(product, layer)
        if product.geometry is None:
            operation, arguments = "matmul", (x, w, layer.config)
        else:
            operation, arguments = "conv2d", (x, w, layer.config, product.geometry)
        scale = result_scale(layer, convolution=product.geometry is not None)
        if self.count_events:
            result, events = getattr(self.backend, f"{operation}_events")(
                *arguments, order=order, random=random
            )
            self.events.append(events)
        else:
            # A result that is to be scaled is rounded to the tensor's type after that.
            dtype = torch.float32 if _is_single(product, scale) else torch.float64
            result = getattr(self.backend, operation)(*arguments, order=order, random=random, dtype=dtype)
        return result if _is_one(scale) else result * _beside(scale, result)

    def _quantized_weight(self, product: Product, layer: LayerConfig) -> Tensor:
        """The quantized right operand; under a plan kept, in case the next pass has the same tensor here."""
        w, scale = product.w, weight_scale(layer, convolution=product.geometry is not None)
        batched = product.geometry is None and w.ndim > 2  # an activation
        if batched or self.planned is None or w.is_inference():  # which counts no changes
            return quantized(w, layer.config.w, scale)
        place = self.calls % self.planned
        known = self._weights.get(place)
        if known is None or not known.is_of(w):
            rounded = quantized(w, layer.config.w, scale)
            known = self._weights[place] = _Weight(tensor=w, version=w._version, quantized=rounded)
        return known.quantized

    def _layer(self, product: Product) -> LayerConfig:
        if self.planned is not None:
            return self._planned_layer(product)
        config = self.layers if isinstance(self.layers, MacConfig) else self.layers.config_of(self.where)
        x_largest, w_largest = extents(product.x, product.w)
        return fit_operands(config, x_largest, w_largest, int_bits=MAX_OPERAND_FIXED_BITS, length=None)

    def _planned_layer(self, product: Product) -> LayerConfig:
        layer = self.layers[self.calls % self.planned]
        if layer.length not in (None, product.length):
            raise ConfigError(
                f"product {self.calls} sums {product.length} products, and its plan is for {layer.length}; "
                f"the plan has {self.planned} products, and the code asked for {self.calls + 1} so far; "
                "calibrate the same network on the same path"
            )
        return layer

    def check(self) -> None:
        """Raise ConfigError where the code has not asked for the products that ``layers`` is for."""
        if self.planned is not None and self.calls % self.planned:
            raise ConfigError(
                f"the code asked for {self.calls} products, and the plan is for {self.planned} in each "
                "forward pass; calibrate the same network on the same path"
            )
        if not isinstance(self.layers, (MacConfig, Sequence)) and self.seen:
            self.layers.check(self.seen)


def _is_one(scale: float | Tensor) -> bool:
    return not isinstance(scale, Tensor) and scale == 1


def _is_single(product: Product, scale: float | Tensor) -> bool:
    """Whether the accumulator's results are rounded to float32, and nothing else."""
    return _is_one(scale) and product.x.dtype is torch.float32


def _beside(scale: float | Tensor, result: Tensor) -> float | Tensor:
    """The scale, on the result's device."""
    return scale.to(result.device) if isinstance(scale, Tensor) else scale


def _wants_gradient(product: Product) -> bool:
    return torch.is_grad_enabled() and (product.x.requires_grad or product.w.requires_grad)

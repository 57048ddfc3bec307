"""The layers of a network as a certificate sees them: integer weights, and what they multiply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from golden.codes import quantize_values
from golden.config import (
    MAX_OPERAND_FIXED_BITS,
    ConfigError,
    FixedAccumulator,
    FixedFormat,
    Format,
    MacConfig,
    Rounding,
)
from sim.calibrate import calibrate, sample_layers
from sim.operands import LayerConfig, fit_operands, quantize_operand, weight_scale
from sim.product_mode import Product, ProductMode, caught
from sim.workloads import Workload
from sim.zero_shot.rows import operands_are_fitted

__all__ = ["Layer", "check_config", "layers_of"]

#: Integers of a wider operand are not certified: they are compared, and stored, as 64-bit integers.
_MAX_INTEGER_BITS = 48


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One product of a forward pass, its operands as integers in units of their formats' last bit."""

    name: str
    plan: LayerConfig  #: The arithmetic it runs on.
    length: int  #: Products in a sum; where that varies, the most that were seen.
    weights: np.ndarray | None  #: int64 [channels, length], or None: the right operand is an activation, too.
    x_range: tuple[int, int]  #: Of the calibration inputs, widened to hold 0.
    is_conv: bool

    @property
    def config(self) -> MacConfig:
        return self.plan.config

    @property
    def channels(self) -> int:
        """Output channels; 1 where every output has the same bounds."""
        return 1 if self.weights is None else len(self.weights)


def check_config(config: MacConfig) -> None:
    """Raise :class:`ConfigError` for a configuration that is not certified."""
    inner, outer = config.accumulator, config.outer_accumulator
    if isinstance(inner, FixedAccumulator) is not isinstance(outer, FixedAccumulator):
        raise ConfigError(
            f"{config.name} adds sums of {inner.name} up in {outer.name}; certificates are for a fixed-point "
            "accumulator into a fixed-point one, or a float one into a float one"
        )
    for operand in (config.x, config.w):
        if operand.max_magnitude.bit_length() > _MAX_INTEGER_BITS:
            raise ConfigError(
                f"numbers of {operand.name} span {operand.max_magnitude.bit_length()} bits, and certificates "
                f"are for {_MAX_INTEGER_BITS}; use FP8, binary16 or integer operands"
            )


@dataclass
class _Seen:
    """What a product multiplied so far, in float."""

    name: str
    length: int
    is_conv: bool
    weight: Tensor | None
    x_low: float = 0.0
    x_high: float = 0.0
    w_largest: float = 0.0


class _RangeMode(ProductMode):
    """Runs products in float and keeps their extent, by their place in a forward pass."""

    def __init__(self, model: nn.Module):
        super().__init__(strict=True)
        tensors = [*model.parameters(), *model.buffers()]
        self._stored = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.seen: list[_Seen] = []
        self.place = 0

    def compute(self, product: Product) -> Tensor:
        product.need_finite()
        x, w, geometry = product.x, product.w, product.geometry
        if self.place == len(self.seen):
            stored = w.untyped_storage().data_ptr() in self._stored and (geometry is not None or w.ndim == 2)
            self.seen.append(
                _Seen(
                    name=self.where,
                    length=product.length,
                    is_conv=geometry is not None,
                    weight=w.detach().clone() if stored else None,
                )
            )
        seen = self.seen[self.place]
        if seen.name != self.where:
            raise ConfigError(
                f"a forward pass asks for {self.where} where another asked for {seen.name}; certificates are "
                "for networks that always ask for the same products"
            )
        self.place += 1
        seen.length = max(seen.length, product.length)
        seen.x_low, seen.x_high = min(seen.x_low, float(x.min())), max(seen.x_high, float(x.max()))
        seen.w_largest = max(seen.w_largest, float(w.abs().max()))
        if geometry is None:
            return x @ w
        return torch.conv2d(x, w, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)


@torch.no_grad()
def layers_of(
    workload: Workload,
    config: MacConfig,
    *,
    calibrated: bool,
    seed: int,
    report: Callable[[int, int], None],
) -> list[Layer]:
    """Every product of a forward pass, its operands fitted to the calibration inputs.

    An unsigned operand is for activations that are never negative on the calibration inputs; other layers
    get the signed format of as many bits. ``calibrated``: accumulators set layer by layer by
    :func:`sim.calibrate.calibrate`, else as they are named. ``report`` is told how many batches are done.
    """
    check_config(config)
    mode = _RangeMode(workload.model)
    with caught(mode, workload.model):
        for done, arguments in enumerate(workload.calibration):
            mode.place = 0
            workload.model(*arguments)
            report(done + 1, len(workload.calibration))
    if not mode.seen:
        raise ConfigError(f"{workload.name} asks for no products")
    if calibrated:
        samples = sample_layers(workload.model, *workload.calibration[0], seed=seed)
        accumulators = [each.config for each in calibrate(samples, config, shared=None)]
    else:
        accumulators = [config] * len(mode.seen)
    return [_layer(each, own, calibrated) for each, own in zip(mode.seen, accumulators, strict=True)]


def _layer(seen: _Seen, config: MacConfig, calibrated: bool) -> Layer:
    if isinstance(config.x, FixedFormat) and not config.x.signed and seen.x_low < 0:
        config = replace(config, x=replace(config.x, signed=True))
    if operands_are_fitted(config):
        largest = max(-seen.x_low, seen.x_high)
        plan = fit_operands(config, largest, seen.w_largest, int_bits=MAX_OPERAND_FIXED_BITS, length=None)
        if calibrated and not config.all_integer:
            plan = replace(plan, config=replace(config, x=plan.config.x, w=plan.config.w))
    else:
        plan = LayerConfig(config=config, x_scale=1.0, w_scale=1.0, length=None)
    weights = None
    if seen.weight is not None:
        scale = weight_scale(plan, convolution=seen.is_conv)
        values = quantize_operand(seen.weight, plan.config.w, scale)
        weights = _integers(values.flatten(1) if seen.is_conv else values.t(), plan.config.w)
    ends = np.array([seen.x_low, seen.x_high]) / plan.x_scale
    low, high = _integers(
        torch.from_numpy(quantize_values(ends, plan.config.x, Rounding.NEAREST_EVEN)), plan.config.x
    ).tolist()
    return Layer(
        name=seen.name,
        plan=plan,
        length=seen.length,
        weights=weights,
        x_range=(low, high),
        is_conv=seen.is_conv,
    )


def _integers(values: Tensor, number: Format) -> np.ndarray:
    """Values of a format in units of its last bit, exact: int64."""
    return (values.double() * 2.0**-number.lsb_exponent).to(torch.int64).contiguous().numpy()


def integer_range(number: Format) -> tuple[int, int]:
    """The least and the greatest integer of an operand, in units of its last bit."""
    if isinstance(number, FixedFormat):
        return number.min_integer, number.max_integer
    return -number.max_magnitude, number.max_magnitude


def plans(layers: Sequence[Layer]) -> list[LayerConfig]:
    """What :func:`sim.inject.accumulate` runs the same network on."""
    return [layer.plan for layer in layers]

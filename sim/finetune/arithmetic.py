"""What a stage computes with: a configuration for each layer, with and without underflow, and its twin."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from enum import Enum

from torch import Tensor, nn

from golden.config import (
    MAX_EXP_BITS,
    MAX_OPERAND_FIXED_BITS,
    Accumulator,
    ConfigError,
    FixedAccumulator,
    FloatFormat,
    MacConfig,
)
from sim.backends import Backend, find_backend
from sim.calibrate import LayerSample, calibrate, sample_layers, shared_setting
from sim.finetune.float32 import Float32Backend
from sim.finetune.training import Products, Stage
from sim.inject import accumulate
from sim.operands import LayerConfig, channel_scales, fit_operands

__all__ = ["Biases", "on_device", "plan", "products", "two_stages", "without_underflow"]

#: Exponent bits of the first stage are one more, and at least so many: no product of FP8 numbers is lost.
_LEAST_EXP_BITS = 5


class Biases(Enum):
    """Which tensors share the bias of a float operand."""

    TENSOR = "tensor"  #: Each tensor has its own: the paper's flexible bias.
    CHANNEL = "channel"  #: Activations by tensor; weights by output channel.
    FIXED = "fixed"  #: One for the activations of all layers, one for their weights, one accumulator.


def without_underflow(config: MacConfig) -> MacConfig:
    """The same with the same largest values, and exponents or bits enough that nothing small is lost.

    Float parts get exponent codes below those they have: one bit more of exponent, and at least five. A
    fixed-point accumulator keeps the products' last bit.
    """
    product = config.product
    if product is not None:
        product = replace(product, format=_extended(product.format))
    outer = config.outer
    return replace(
        config,
        product=product,
        accumulator=_lossless(config.accumulator, config),
        outer=None if outer is None else _lossless(outer, config),
    )


def _extended(number: FloatFormat) -> FloatFormat:
    exp_bits = min(max(number.exp_bits + 1, _LEAST_EXP_BITS), MAX_EXP_BITS)
    return replace(number, exp_bits=exp_bits, bias=number.bias + 2**exp_bits - 2**number.exp_bits)


def _lossless(part: Accumulator, config: MacConfig) -> Accumulator:
    if isinstance(part, FixedAccumulator):
        more = max(part.format.lsb - config.product_lsb, 0)
        number = replace(part.format, bits=part.format.bits + more, lsb=part.format.lsb - more)
    else:
        number = _extended(part.format)
    return replace(part, format=number)


def plan(
    model: nn.Module,
    inputs: Sequence[Tensor],
    config: MacConfig,
    biases: Biases,
    *,
    seed: int,
) -> list[LayerConfig]:
    """The arithmetic of each product of a forward pass, its biases taken from training inputs.

    Operand biases are the largest that hold the largest magnitude; accumulators are calibrated as
    :mod:`sim.calibrate` says. ``inputs``: tensors that the model takes one after the other; where a product's
    length differs between them, the layer is good for any.
    """
    if not inputs:
        raise ConfigError("biases are taken from training inputs, and there are none; give a batch of them")
    model.eval()
    passes = [sample_layers(model, batch, seed=seed) for batch in inputs]
    samples = [_joined(same) for same in zip(*passes, strict=True)]
    varying = [len({sample.length for sample in same}) > 1 for same in zip(*passes, strict=True)]
    match biases:
        case Biases.TENSOR:
            layers = calibrate(samples, config, shared=None)
        case Biases.CHANNEL:
            layers = [_by_channel(sample, config) for sample in samples]
        case Biases.FIXED:
            x, w = max(each.x_largest for each in samples), max(each.w_largest for each in samples)
            alike = [replace(sample, x_largest=x, w_largest=w) for sample in samples]
            layers = calibrate(alike, config, shared=shared_setting(alike, config))
    return [
        replace(layer, length=None if varies else layer.length)
        for layer, varies in zip(layers, varying, strict=True)
    ]


def _joined(samples: Sequence[LayerSample]) -> LayerSample:
    """Samples of one product in several passes: the extents of all, and the rows of the middle one."""
    return replace(
        samples[len(samples) // 2],
        x_largest=max(sample.x_largest for sample in samples),
        w_largest=max(sample.w_largest for sample in samples),
    )


def _by_channel(sample: LayerSample, config: MacConfig) -> LayerConfig:
    """Calibrated with each output channel of the weights scaled up as far as it goes."""
    if sample.w.ndim > 2:  # an activation, or the weights of groups
        return calibrate([sample], config, shared=None)[0]
    if not isinstance(config.w, FloatFormat):
        raise ConfigError(
            f"biases by channel are of float weights, and {config.name} has {config.w.name}; use e3m4, or "
            "biases by tensor"
        )
    fitted = fit_operands(
        config, sample.x_largest, sample.w_largest, int_bits=MAX_OPERAND_FIXED_BITS, length=sample.length
    )
    scales = channel_scales(sample.w.t(), fitted.config.w)
    scaled = replace(sample, w=sample.w / scales)
    (layer,) = calibrate([replace(scaled, w_largest=float(scaled.w.abs().max()))], config, shared=None)
    return replace(layer, w_scale=scales)


def on_device(layers: Sequence[LayerConfig], device: str) -> list[LayerConfig]:
    """The plan with its scales where the tensors are."""
    return [
        replace(layer, w_scale=layer.w_scale.to(device)) if layer.per_channel else layer for layer in layers
    ]


def products(
    layers: Sequence[LayerConfig] | MacConfig,
    *,
    rule: str | None,
    backend: str | Backend,
    backward: MacConfig | None,
    underflow: bool,
    narrow: bool,
) -> Products:
    """The context of a stage.

    Parameters
    ----------
    layers : sequence of LayerConfig or MacConfig
        A plan; or one configuration, to whose operand formats each tensor is fitted when it is used.
    rule : str or None
        The gradient's estimator; None: forward passes only.
    backward : MacConfig or None
        Of the backward products; None: float32.
    underflow : bool
        Whether small numbers are lost, as they are on the hardware.
    narrow : bool
        False: the twin, whose accumulators are float32 and whose operands are the same.
    """
    if not underflow:
        layers = (
            without_underflow(layers)
            if isinstance(layers, MacConfig)
            else [replace(layer, config=without_underflow(layer.config)) for layer in layers]
        )
    backward = None if rule is None else backward
    computed_by = find_backend(backend) if narrow else Float32Backend()

    def context(seed: int) -> AbstractContextManager:
        return accumulate(layers, backend=computed_by, seed=seed, gradient=rule, backward=backward)

    return context


def two_stages(
    layers: Sequence[LayerConfig],
    *,
    epochs: tuple[int, int],
    rate: float,
    rule: str = "recursive/of",
    backend: str | Backend = "cpu",
    narrow: bool = True,
) -> list[Stage]:
    """The schedule of the paper: first without underflow, then with it, at a tenth of the rate.

    What underflows has no gradient that would bring it back, so the network first settles where it is heard.
    ``narrow=False`` gives the same schedule to the twin.
    """
    options = dict(rule=rule, backend=backend, backward=None, narrow=narrow)
    names = [layer.config.accumulator.name for layer in layers]
    return [
        Stage(
            name=f"{names[0]}{'' if narrow else ' in float32'}, {rule}, underflow {underflow}",
            epochs=count,
            rate=rate * share,
            products=products(layers, underflow=underflow, **options),
        )
        for count, share, underflow in zip(epochs, (1.0, 0.1), (False, True), strict=True)
    ]

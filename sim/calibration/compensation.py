"""What truncation takes, given back by the weights and biases of the network: nothing of it costs hardware.

:func:`taper` divides the weights of each place in a sum by what the law says the sum keeps of that place;
:func:`compensate` measures on calibration inputs what is left, and folds it in by layer or by output channel.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from golden.config import ConfigError, Encoding, FloatAccumulator, FloatFormat
from sim.backends import Backend, find_backend
from sim.calibrate import LayerSample
from sim.calibration.law import PlaceLosses
from sim.calibration.rule import LayerStatistics, losses_of
from sim.inject import AccumulateMode
from sim.layers import largest
from sim.operands import LayerConfig, bias_that_fits
from sim.orders import Orders
from sim.product_mode import Product, ProductMode, caught

__all__ = ["GAINS", "Compensated", "compensate", "scale_by_law", "taper"]

#: What a measured factor belongs to.
GAINS = ("layer", "channel")

_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True, kw_only=True, eq=False)
class Compensated:
    """A network whose parameters make up for its accumulators, and the plan that goes with them."""

    model: nn.Module  #: A copy.
    layers: list[LayerConfig]  #: Operand formats, or scales, follow the new weights.
    gains: list[Tensor | None]  #: Measured of each product and output channel before it was made up for.
    left: list[int]  #: Products that were left as they are: no module's weights belong to them, say.


class _Names(ProductMode):
    """Runs products in float and keeps the names of those who ask."""

    def __init__(self):
        super().__init__(strict=True)
        self.seen: list[str] = []

    def compute(self, product: Product) -> Tensor:
        self.seen.append(self.where)
        return _in_float(product, product.w)


@torch.no_grad()
def _owners(model: nn.Module, batch: Tensor) -> list[nn.Module | None]:
    """Of each product of a forward pass, the module whose weights it takes: one that asks for no other."""
    mode = _Names()
    with caught(mode, model):
        model(batch)
    names = mode.seen
    modules = dict(model.named_modules())

    def owner(name: str) -> nn.Module | None:
        module = modules.get(name)
        alone = names.count(name) == 1 and f"{name}:1" not in names
        return module if alone and isinstance(module, _LINEAR) else None

    return [owner(name) for name in names]


def _in_float(product: Product, w: Tensor) -> Tensor:
    if product.geometry is None:
        return product.x @ w
    g = product.geometry
    return torch.conv2d(product.x, w, None, g.stride, g.padding, g.dilation, g.groups)


def _refitted(layer: LayerConfig, before: Tensor, after: Tensor) -> LayerConfig:
    """The layer for other weights: a float format gets the bias that fits, others a scale."""
    number = layer.config.w
    if isinstance(number, FloatFormat):
        if number.encoding in (Encoding.FN, Encoding.IEEE):  # which the outside world fixes
            return layer
        fitted = replace(number, bias=bias_that_fits(number, largest(after) / layer.w_scale))
        return replace(layer, config=replace(layer.config, w=fitted))
    return replace(layer, w_scale=layer.w_scale * largest(after) / largest(before))


def _check_plan(layers: Sequence[LayerConfig], products: int) -> None:
    if len(layers) != products:
        raise ConfigError(
            f"the network asks for {products} products, and the plan has {len(layers)}; make the plan from "
            "samples of this network"
        )


@torch.no_grad()
def _scaled_weights(
    model: nn.Module, layers: Sequence[LayerConfig], batch: Tensor, factors: Sequence[Tensor | None]
) -> Compensated:
    """Weights [n, k] of each product multiplied by a factor that broadcasts with them; None: left."""
    model = copy.deepcopy(model)
    owners = _owners(model, batch)
    _check_plan(layers, len(owners))
    fitted, left = list(layers), []
    for i, (owner, factor) in enumerate(zip(owners, factors, strict=True)):
        if owner is None or factor is None:
            left.append(i)
            continue
        old = owner.weight
        new = (old.flatten(1).double() * factor.to(old.device)).to(old.dtype).reshape(old.shape)
        fitted[i] = _refitted(layers[i], old, new)
        owner.weight = nn.Parameter(new, requires_grad=False)
    return Compensated(model=model, layers=fitted, gains=[None] * len(fitted), left=left)


def _law(sample: LayerSample, layer: LayerConfig) -> PlaceLosses | None:
    """None where the accumulator is of another kind."""
    parts = (layer.config.accumulator, layer.config.outer_accumulator)
    if not all(isinstance(part, FloatAccumulator) for part in parts):
        return None
    return losses_of(LayerStatistics.of(sample, layer), layer.config)


def _laws(samples: Sequence[LayerSample], layers: Sequence[LayerConfig]) -> list[PlaceLosses | None]:
    _check_plan(layers, len(samples))
    return [_law(sample, layer) for sample, layer in zip(samples, layers, strict=True)]


def taper(
    model: nn.Module, layers: Sequence[LayerConfig], batch: Tensor, *, samples: Sequence[LayerSample]
) -> Compensated:
    """Divide the weights of place k by what the law says the sum keeps of product k.

    ``batch``: any input of the network; ``samples``: of its products, by :func:`sim.calibrate.sample_layers`.
    """
    factors = [None if law is None else 1 / law.gains for law in _laws(samples, layers)]
    return _scaled_weights(model, layers, batch, factors)


def scale_by_law(
    model: nn.Module, layers: Sequence[LayerConfig], batch: Tensor, *, samples: Sequence[LayerSample]
) -> Compensated:
    """Divide all weights of a layer by its gain, as the law has it."""
    factors = [None if law is None else torch.tensor(1 / law.gain) for law in _laws(samples, layers)]
    return _scaled_weights(model, layers, batch, factors)


@dataclass(eq=False)
class _Sums:
    """Of one product, over all calibration inputs so far, by output channel: float64 [n]."""

    cross: Tensor | float = 0.0  #: accumulated * float, of the same operands
    energy: Tensor | float = 0.0  #: accumulated**2
    wanted: Tensor | float = 0.0  #: float**2
    total: Tensor | float = 0.0  #: accumulated
    count: int = 0
    target: Tensor | float = 0.0  #: float, in the float network
    target_count: int = 0


def _all_but_channels(values: Tensor, product: Product) -> list[int]:
    channels = values.ndim - 1 if product.geometry is None else 1
    return [dim for dim in range(values.ndim) if dim != channels]


class _Targets(ProductMode):
    """Runs products in float and keeps means by output channel, of those that a module has weights of."""

    def __init__(self, sums: list[_Sums], weights: Sequence[Tensor | None]):
        super().__init__(strict=True)
        self.sums, self.weights, self.calls = sums, weights, 0

    def compute(self, product: Product) -> Tensor:
        result = _in_float(product, product.w)
        place = self.calls % len(self.sums)
        self.calls += 1
        if self.weights[place] is not None:
            sums, total = (
                self.sums[place],
                result.sum(_all_but_channels(result, product), dtype=torch.float64),
            )
            sums.target = sums.target + total
            sums.target_count += result.numel() // len(total)
        return result


class _Measuring(AccumulateMode):
    """Makes up for what accumulators lose as it measures it, and hands on what the next layer will get."""

    def __init__(
        self,
        layers: Sequence[LayerConfig],
        weights: Sequence[Tensor | None],
        sums: list[_Sums],
        *,
        gain: str | None,
        bias: bool,
        backend: str | Backend,
    ):
        of_training = dict(gradient=None, backward=None, orders=Orders.of(None))
        options = dict(strict=True, count_events=False, seed=0, **of_training)
        super().__init__(layers, find_backend(backend), **options)
        self.weights, self.sums = weights, sums
        self.gain, self.bias = gain, bias

    def compute(self, product: Product) -> Tensor:
        place = self.calls % len(self.layers)
        result = super().compute(product).to(product.x.dtype)
        weight = self.weights[place]
        if weight is None:
            return result
        wanted = _in_float(product, weight.t() if product.geometry is None else weight)
        sums, over = self.sums[place], _all_but_channels(result, product)
        sums.cross = sums.cross + (result * wanted).sum(over, dtype=torch.float64)
        sums.energy = sums.energy + result.square().sum(over, dtype=torch.float64)
        sums.wanted = sums.wanted + wanted.square().sum(over, dtype=torch.float64)
        sums.total = sums.total + result.sum(over, dtype=torch.float64)
        sums.count += result.numel() // len(sums.total)
        shape = (-1,) if product.geometry is None else (-1, 1, 1)
        factor, shift = (
            each.to(result.dtype).reshape(shape) for each in _correction(sums, self.gain, self.bias)
        )
        return result * factor + shift


def _correction(sums: _Sums, gain: str | None, bias: bool) -> tuple[Tensor, Tensor]:
    """Factor and shift of each output channel."""
    cross, energy = sums.cross, sums.energy
    if gain == "layer":
        cross, energy = cross.sum().expand_as(cross), energy.sum().expand_as(energy)
    factor = torch.ones_like(sums.energy) if gain is None else torch.where(energy > 0, cross / energy, 1.0)
    shift = torch.zeros_like(factor)
    if bias:
        shift = sums.target / max(sums.target_count, 1) - factor * sums.total / sums.count
    return factor, shift


@torch.no_grad()
def compensate(
    model: nn.Module,
    layers: Sequence[LayerConfig],
    inputs: Sequence[Tensor],
    *,
    reference: nn.Module,
    gain: str | None,
    bias: bool,
    backend: str | Backend,
) -> Compensated:
    """Measure on calibration inputs what accumulators take, and fold it into weights and biases.

    Layer after layer, each on inputs that the layers before it have made up for already. A gain is folded
    into weights and into the layer's scale alike: results are multiplied, and weights keep their codes.

    Parameters
    ----------
    model : nn.Module
        The network, its weights tapered or not; a copy is changed.
    layers : sequence of LayerConfig
        Its plan.
    inputs : sequence of Tensor
        Batches, of which the largest goes first: each is made up for by what it and those before it say.
    reference : nn.Module
        The network as it was trained: what is wanted.
    gain : str or None
        ``"channel"`` or ``"layer"``: the factor of least squares, by output channel or one for all. None: 1.
    bias : bool
        Whether the mean of each output channel becomes that of the float network.
    """
    if gain is not None and gain not in GAINS:
        raise ConfigError(f"a gain is measured by {' or '.join(GAINS)}, not by {gain!r}")
    if not inputs:
        raise ConfigError("there are no calibration inputs to measure gains on; give at least one batch")
    model = copy.deepcopy(model)
    owners, wanted = _owners(model, inputs[0]), _owners(reference, inputs[0])
    _check_plan(layers, len(owners))
    weights = [
        None if owner is None or other is None else other.weight
        for owner, other in zip(owners, wanted, strict=True)
    ]
    sums = [_Sums() for _ in layers]
    targets = _Targets(sums, weights)
    measuring = _Measuring(layers, weights, sums, gain=gain, bias=bias, backend=backend)
    for batch in sorted(inputs, key=Tensor.numel, reverse=True):  # what is known first goes on to all others
        with caught(targets, reference):
            reference(batch)
        with caught(measuring, model):
            model(batch)
    fitted, gains, left = list(layers), [], []
    for i, (owner, weight) in enumerate(zip(owners, weights, strict=True)):
        if weight is None:
            left.append(i)
            gains.append(None)
            continue
        gains.append((sums[i].cross / sums[i].wanted.clamp(min=1e-300)).cpu())
        factor, shift = _correction(sums[i], gain, bias)
        if gain is not None:  # a scale of the layer as well, so that weights keep their codes
            old = owner.weight
            new = (old.double() * factor.reshape(-1, *[1] * (old.ndim - 1))).to(old.dtype)
            scale = factor.cpu() if gain == "channel" else float(factor[0])
            fitted[i] = replace(layers[i], w_scale=layers[i].w_scale * scale)
            owner.weight = nn.Parameter(new, requires_grad=False)
        if bias:
            start = torch.zeros_like(shift) if owner.bias is None else owner.bias
            owner.bias = nn.Parameter((start + shift).to(owner.weight.dtype), requires_grad=False)
    return Compensated(model=model, layers=fitted, gains=gains, left=left)

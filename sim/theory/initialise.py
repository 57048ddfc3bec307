"""Weights for networks of N levels, on the accumulator that they will run on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import geometric_mean

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from golden.config import ConfigError, MacConfig
from sim.layers import LayersByName, resolved
from sim.theory.activation import Levels
from sim.theory.mean_field import best_mean_field, check_levels
from sim.theory.sums import EXACT, Sums, measured_sums

__all__ = ["DrawnLayer", "init_"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

#: They multiply by weights that are no linear or convolutional layer's.
_OTHERS = (
    nn.Bilinear,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)

#: The gain depends on the weights' size only where sums leave the accumulator's range.
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnLayer:
    """What a layer's weights were drawn from."""

    fan_in: int  #: Products in a sum.
    sums: Sums  #: As the accumulator makes them of these weights.
    sigma_w: float  #: Weights are normal, of variance sigma_w**2 / fan_in.


@torch.no_grad()
def init_(
    model: nn.Module,
    *,
    levels: int,
    config: MacConfig | str | Mapping[str, str | MacConfig] | LayersByName | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, DrawnLayer]:
    """Draw all weights so that signals go furthest through activations of N levels; biases are set to 0.

    sigma_w is that of largest chi, divided in each layer by what the accumulator multiplies the deviation of
    its sums by, as measured on this arithmetic.

    Each :class:`Levels` gets the slope at which gradients, whose products are taken to be exact, keep their
    variance through the layers that follow it. Where layers and activations alternate as they are registered,
    as in an ``nn.Sequential``, that is the next layer: at each of its places for an activation that has
    several, and the last layer where none is next. Otherwise, as where a class registers one activation after
    all its layers, registration does not say what follows, and it is all layers but the first. For several
    layers it is the geometric mean of their sigma_w, at which gradients keep their variance over all of them
    together.

    Parameters
    ----------
    levels : int
        N, of the activations.
    config : MacConfig, str, mapping or None
        The arithmetic of products, for all layers or by their names, as :func:`sim.inject.accumulate` takes
        it. None: exact.
    generator : torch.Generator, optional
        Of the weights. None: torch's own.

    Returns
    -------
    dict
        By name of linear or convolutional layer. ConfigError where there is none, where a layer has no
        weights yet or multiplies by others than these, where an activation has another number of levels, or
        where sums in the accumulator are not numbers to work with; nothing is drawn then.
    """
    check_levels(levels)
    layers = _layers(model, levels)
    config_of = _configs(config)
    known: dict[tuple[int, MacConfig | None], DrawnLayer] = {}
    drawn = {}
    for name, layer in layers.items():
        case = layer.weight[0].numel(), config_of(name)
        if case not in known:
            known[case] = _drawn(levels, *case)
        drawn[name] = known[case]
    for name, layer in layers.items():
        layer.weight.normal_(0, drawn[name].sigma_w / math.sqrt(drawn[name].fan_in), generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
    _set_slopes(model, {layers[name]: each.sigma_w for name, each in drawn.items()})
    return drawn


def _layers(model: nn.Module, levels: int) -> dict[str, nn.Module]:
    """By name, those to draw weights for; ConfigError where weights or levels are not as they are to be."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"weights are drawn for a model, not for {model!r:.60}; use an nn.Module")
    layers = {}
    for name, module in model.named_modules():
        what = f"{name or 'the model'} ({type(module).__name__})"
        if isinstance(module, _OTHERS):
            raise ConfigError(
                f"{what} has weights that are neither a linear nor a convolutional layer's, and it is not "
                "known how to draw them; use init_ on the parts of the model without it"
            )
        if isinstance(module, Levels) and module.levels != levels:
            raise ConfigError(
                f"{what} has {module.levels} levels, and weights are asked for levels={levels}; use "
                f"levels={module.levels}, or other activations"
            )
        if isinstance(module, _LAYERS):
            if is_lazy(module.weight) or not module.weight.numel():
                raise ConfigError(
                    f"{what} has no weights to draw; use a layer of one input and output at least, and call "
                    "a lazy one once before"
                )
            layers[name] = module
    if not layers:
        raise ConfigError(
            "the model has no linear or convolutional layer to draw weights for; pass one that has"
        )
    return layers


def _configs(config: object) -> Callable[[str], MacConfig | None]:
    """The arithmetic of a layer by its name."""
    found = None if config is None else resolved(config)
    if isinstance(found, MacConfig | None):
        return lambda _: found
    if hasattr(found, "config_of"):
        return found.config_of
    raise ConfigError(
        "a plan is for products in the order of a forward pass, and weights are drawn by layer; use one "
        "configuration, or configurations by the names of layers"
    )


def _drawn(levels: int, length: int, config: MacConfig | None) -> DrawnLayer:
    """The sigma_w at which sums have the deviation that they are to have."""
    wanted = best_mean_field(levels).sigma_w
    if config is None:
        return DrawnLayer(fan_in=length, sums=EXACT, sigma_w=wanted)
    sigma = wanted
    for _ in range(_ROUNDS):
        sums = measured_sums(config, length, levels, sigma_w=sigma)
        sigma = wanted / sums.deviation
    return DrawnLayer(fan_in=length, sums=sums, sigma_w=sigma)


def _set_slopes(model: nn.Module, sigmas: dict[nn.Module, float]) -> None:
    """Slope times sigma_w of the layers that follow is the best field's, by the rule of :func:`init_`."""
    chain = [
        module
        for _, module in model.named_modules(remove_duplicate=False)
        if module in sigmas or isinstance(module, Levels)
    ]
    drawn = [sigmas[module] for module in chain if module in sigmas]
    alternate = all((one in sigmas) != (two in sigmas) for one, two in pairwise(chain))
    following: dict[Levels, list[float]] = {}
    for module, after in pairwise([*chain, None]):
        if isinstance(module, Levels):
            known = [sigmas.get(after, drawn[-1])] if alternate else drawn[1:] or drawn
            following.setdefault(module, []).extend(known)
    for activation, behind in following.items():
        field = best_mean_field(activation.levels)
        activation.slope.fill_(field.slope * field.sigma_w / geometric_mean(behind))

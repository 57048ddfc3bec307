"""Which arithmetic each product of a network gets: one for all, one by one in order, or by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from golden.catalog import CATALOG, CHUNK, FP8, find, float_accumulator
from golden.config import ConfigError, FloatFormat, MacConfig, Rounding, parse_format
from sim.operands import LayerConfig

__all__ = ["Layers", "LayersByName", "extents", "largest", "named_config", "resolved"]


class LayersByName(Protocol):
    """Configurations by the names of layers, such as a TOML file's."""

    def config_of(self, name: str) -> MacConfig:
        """The layer's; ConfigError for a layer that none is given for."""

    def check(self, names: Sequence[str]) -> None:
        """Raise ConfigError where something is given for a layer that is not among all these."""


#: What :func:`accumulate` takes: one for all products, one for each in order, or by name.
Layers = str | Mapping[str, str | MacConfig] | MacConfig | Sequence[LayerConfig] | LayersByName


def named_config(name: str) -> MacConfig:
    """The configuration of a short or canonical name, or of an accumulator alone.

    ``e5m10`` stands for FP8 operands (e3m4, whose biases are fitted to each tensor) into that accumulator:
    toward zero, exactly aligned, in chunks of 16.
    """
    try:
        number = None if name in CATALOG else parse_format(name)
    except ConfigError:
        number = None
    if not isinstance(number, FloatFormat):
        return find(name)
    product, accumulator = float_accumulator(number.exp_bits, number.man_bits, Rounding.TOWARD_ZERO, None)
    if number.bias != number.standard_bias:
        accumulator = replace(accumulator, format=number)
    if number.subnormals:
        product = replace(product, format=replace(product.format, encoding=number.encoding))
        accumulator = replace(accumulator, format=replace(accumulator.format, encoding=number.encoding))
    return MacConfig(x=FP8, w=FP8, product=product, accumulator=accumulator, chunk_size=CHUNK, outer=None)


def resolved(layers: Layers) -> MacConfig | Sequence[LayerConfig] | LayersByName:
    """What ``layers`` stands for: names are looked up, and mappings and TOML files read."""
    if isinstance(layers, str) and not layers.endswith(".toml"):
        return named_config(layers)
    if isinstance(layers, (str, Mapping)):
        from sim.mixed.patterns import LayerPatterns

        return LayerPatterns.read(layers) if isinstance(layers, str) else LayerPatterns.of(layers)
    if isinstance(layers, MacConfig) or hasattr(layers, "config_of"):
        return layers
    if isinstance(layers, Sequence) and layers and all(isinstance(each, LayerConfig) for each in layers):
        return layers
    raise ConfigError(
        f"{layers!r:.60} is no arithmetic of products; use a configuration such as 'e5m10', or a plan, which "
        "has a LayerConfig for each product, as sim.calibrate.calibrate makes it"
    )


def largest(tensor: Tensor) -> float:
    """The largest magnitude; 0 of no elements."""
    return float(tensor.detach().abs().max()) if tensor.numel() else 0.0


def extents(x: Tensor, w: Tensor) -> tuple[float, float]:
    """:func:`largest` of both, in one answer of their device."""
    if not (x.numel() and w.numel()) or x.device != w.device:
        return largest(x), largest(w)
    both = [torch.linalg.vector_norm(each.detach(), torch.inf, dtype=torch.float64) for each in (x, w)]
    return tuple(torch.stack(both).tolist())

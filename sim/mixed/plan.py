"""A configuration for each layer of a model, from patterns, fitted to what the layer multiplies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from golden.catalog import EXACT_LENGTH
from golden.config import MAX_OPERAND_FIXED_BITS, ConfigError, MacConfig
from golden.datapath import exact_accumulator
from sim.calibrate import LayerSample, calibrate, is_exact, sample_layers
from sim.mixed.patterns import LayerPatterns
from sim.mixed.products import as_arguments, products_of
from sim.operands import LayerConfig, fit_operands
from sim.zero_shot.rows import operands_are_fitted

__all__ = ["Layers", "fit_layer", "layers_of", "load_plan", "plan_from"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """The products of a forward pass, in order, and samples of what they multiply."""

    names: list[str]
    samples: list[LayerSample]
    macs: list[int]  #: Multiply-accumulates of each, over all calibration inputs.
    longest: list[int]  #: Products in a sum, at most.


def layers_of(model: nn.Module, inputs: Tensor | tuple | list, *, seed: int) -> Layers:
    """The products of a model on calibration inputs: a tensor, a tuple of arguments, or a list of those.

    Of several batches the extents are those of all, and the sampled rows those of the largest one.
    """
    batches = inputs if isinstance(inputs, list) else [inputs]
    passes = [products_of(model, batch) for batch in batches]
    names = [shape.name for shape in passes[0]]
    if any([shape.name for shape in each] != names for each in passes):
        raise ConfigError(
            "the model asks for other products with other inputs, and a plan is for the same ones in one "
            "order; calibrate on inputs that take one path"
        )
    largest = max(range(len(batches)), key=lambda i: sum(shape.macs for shape in passes[i]))
    sampled = [_sampled(model, batch, seed) for batch in batches]
    of_each = list(zip(*passes, strict=True))
    return Layers(
        names=names,
        samples=[
            replace(
                samples[largest],
                x_largest=max(each.x_largest for each in samples),
                w_largest=max(each.w_largest for each in samples),
            )
            for samples in zip(*sampled, strict=True)
        ],
        macs=[sum(shape.macs for shape in shapes) for shapes in of_each],
        longest=[_longest([shape.length for shape in shapes]) for shapes in of_each],
    )


@torch.no_grad()
def _sampled(model: nn.Module, batch: Tensor | tuple, seed: int) -> list[LayerSample]:
    return sample_layers(lambda given: model(*given), as_arguments(batch), seed=seed)


def _longest(lengths: Sequence[int]) -> int:
    """Of sums whose length varies, as in attention, more than was seen may come."""
    return lengths[0] if len(set(lengths)) == 1 else max(EXACT_LENGTH, *lengths)


def fit_layer(config: MacConfig, sample: LayerSample, *, calibrated: bool, longest: int) -> LayerConfig:
    """One layer's arithmetic on the silicon of ``config``, for sums of any length up to ``longest``.

    Operands get the bias or the scale that fits, but for formats that the outside world fixes.
    ``calibrated``: the accumulator is set by :func:`sim.calibrate.calibrate` as well; else it is as named.
    """
    if not operands_are_fitted(config):
        return LayerConfig(config=config, x_scale=1.0, w_scale=1.0, length=None)
    if calibrated and not is_exact(config):
        (layer,) = calibrate([sample], config, shared=None)
        return replace(layer, length=None)
    layer = fit_operands(
        config, sample.x_largest, sample.w_largest, int_bits=MAX_OPERAND_FIXED_BITS, length=None
    )
    if is_exact(config):
        wide = exact_accumulator(layer.config.x, layer.config.w, longest)
        layer = replace(layer, config=replace(layer.config, accumulator=wide))
    return layer


def plan_from(layers: Layers, patterns: LayerPatterns, *, calibrated: bool) -> list[LayerConfig]:
    """The plan that :func:`sim.inject.accumulate` takes.

    Raises :class:`golden.config.ConfigError` where a pattern matches no layer, or a layer no pattern.
    """
    patterns.check(layers.names)
    return [
        fit_layer(patterns.config_of(name), sample, calibrated=calibrated, longest=longest)
        for name, sample, longest in zip(layers.names, layers.samples, layers.longest, strict=True)
    ]


def load_plan(
    path: Path | str, model: nn.Module, inputs: Tensor | tuple | list, *, calibrated: bool, seed: int
) -> list[LayerConfig]:
    """The plan of a TOML file for a model, fitted to calibration inputs as :func:`layers_of` takes them."""
    patterns = LayerPatterns.read(path)
    return plan_from(layers_of(model, inputs, seed=seed), patterns, calibrated=calibrated)

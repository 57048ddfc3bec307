"""Runs a model by a plan, with some of its accumulators exact, counted or looked into."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sim.inject import accumulate
from sim.microscope.record import Recorder
from sim.mixed.products import as_arguments
from sim.module_names import ModuleNames
from sim.operands import LayerConfig
from sim.workload import first_tensor

__all__ = ["Runner", "angle_error", "first_inputs"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Runner:
    """A model and its arithmetic."""

    model: nn.Module
    plan: Sequence[LayerConfig]
    names: Sequence[str]  #: Of the plan's layers; a module that is called again has its name again.
    seed: int  #: Of random words.

    @property
    def layers(self) -> list[str]:
        """Each name once, in the order of the forward pass."""
        return list(dict.fromkeys(self.names))

    def config_of(self, name: str) -> LayerConfig:
        return self.plan[list(self.names).index(name)]

    @torch.no_grad()
    def run(
        self,
        batches: Sequence[Any],
        *,
        exact: Collection[str] = (),
        patched: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        count: bool = False,
        keep: bool = False,
    ) -> tuple[list[Tensor], Recorder]:
        """Outputs, batch by batch, and what was recorded; parameters as those of :class:`Recorder`."""
        with ModuleNames(self.model) as names:
            recorder = Recorder(
                names=names, exact=frozenset(exact), patched=patched or {}, count=count, keep=keep
            )
            outputs = []
            with accumulate(list(self.plan), backend=recorder, model=self.model, seed=self.seed):
                for batch in batches:
                    outputs.append(first_tensor(self.model(*as_arguments(batch))))
        return outputs, recorder

    @torch.no_grad()
    def float32(self, batches: Sequence[Any]) -> list[Tensor]:
        """Outputs of the model as it is."""
        return [first_tensor(self.model(*as_arguments(batch))) for batch in batches]


def first_inputs(batches: Sequence[Any], count: int) -> list[tuple]:
    """The first ``count`` inputs, in batches."""
    found, left = [], count
    for batch in batches:
        arguments = as_arguments(batch)
        size = len(arguments[0])
        if left <= 0:
            break
        if size > left:
            arguments = tuple(
                each[:left] if isinstance(each, Tensor) and each.ndim and len(each) == size else each
                for each in arguments
            )
        found.append(arguments)
        left -= size
    return found


def angle_error(outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """How far outputs point away from those that are wanted: the mean of 1 - cos * |cos|, input by input.

    The mean over an input's outputs is taken away first, since no class gains by it. A common factor counts
    for nothing, as it does in the choice of the largest.
    """
    errors = []
    for ours, theirs in zip(outputs, wanted, strict=True):
        a, b = (
            each.double().flatten(1) if each.ndim > 1 else each.double()[:, None] for each in (ours, theirs)
        )
        if a.shape[1] > 1:
            a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        energies, along = a.square().sum(1) * b.square().sum(1), (a * b).sum(1)
        cosines = along * along.abs() / energies.clamp_min(torch.finfo(torch.float64).tiny)
        errors.append(1 - torch.where(energies > 0, cosines, 0.0))
    return float(torch.cat(errors).mean())

"""A backend that looks on while a network runs: it counts by layer and channel, or keeps operands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from golden.accumulate import FIRST_WORDS
from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.backends import Conv2dGeometry, CpuBackend
from sim.microscope.events import LayerEvents
from sim.microscope.operands import Operands, exact_result
from sim.module_names import ModuleNames

__all__ = ["Recorder"]


@dataclass(kw_only=True, eq=False)
class Recorder(CpuBackend):
    """Backend ``cpu`` that looks on. It is given to :func:`sim.inject.accumulate` as it is.

    Parameters
    ----------
    names : ModuleNames
        Open around the same forward passes; it is asked once for each product.
    exact : collection of str
        Layers whose quantized operands are multiplied and added up by torch instead, in float32 where that
        holds the operands, else in float64.
    patched : mapping
        Results that are replaced: of a layer, flat indices int64 [n] and values float64 [n].
    count : bool
        Count events by channel, which takes longer.
    keep : bool
        Keep the operands of every product.
    """

    names: ModuleNames
    exact: Collection[str]
    patched: Mapping[str, tuple[Tensor, Tensor]]
    count: bool
    keep: bool
    events: dict[str, LayerEvents] = field(default_factory=dict)  #: By layer, in the order of the pass.
    kept: dict[str, list[Operands]] = field(default_factory=dict)

    def matmul(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        return self._result(a, b, config, None, random, dtype)

    def conv2d(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        return self._result(images, weight, config, geometry, random, dtype)

    def _result(
        self,
        x: Tensor,
        w: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry | None,
        random: RandomWords,
        dtype: torch.dtype,
    ) -> Tensor:
        name = self.names.next()
        if self.keep:
            operands = Operands(name=name, x=x, w=w, config=config, geometry=geometry, random=random)
            self.kept.setdefault(name, []).append(operands)
        if name in self.exact:
            result = exact_result(x, w, geometry, torch.promote_types(x.dtype, w.dtype))
        elif self.count:
            result = self._counted(name, x, w, config, geometry, random)
        elif geometry is None:
            result = super().matmul(x, w, config, None, random, dtype=dtype)
        else:
            result = super().conv2d(x, w, config, geometry, None, random, dtype=dtype)
        if name in self.patched:
            places, values = self.patched[name]
            result = result.contiguous()
            result.view(-1)[places] = values.to(result.dtype)
        return result.to(dtype)

    def _counted(
        self,
        name: str,
        x: Tensor,
        w: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry | None,
        random: RandomWords,
    ) -> Tensor:
        if geometry is None:
            result, statistics = self.statistics(x, w, config, None, random)
        else:
            result, statistics = self.conv2d_statistics(x, w, config, geometry, None, random)
        if name in self.events:
            self.events[name].add(config, statistics)
        else:
            self.events[name] = LayerEvents.of(name, config, statistics)
        return result

"""Two backends for the study: columns of their own orders, fast, and columns that share random words."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from golden.accumulate import FIRST_WORDS
from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.backends import Backend, Conv2dGeometry, CpuBackend
from sim.kernels.plan import plan_product
from sim.kernels.product import extent_of, multiply

__all__ = ["ByColumn", "SharedWords"]


class ByColumn(CpuBackend):
    """Backend ``cpu``, bit for bit: columns of one order together, turned so that lanes are rows.

    The kernels take one output at a time where each column has its own order. Random words belong to rows and
    columns, so a stochastic configuration takes that way.
    """

    name = "by-column"

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
        if order is None or order.ndim == 1 or a.ndim != 2 or b.ndim != 2 or config.stochastic:
            return super().matmul(a, b, config, order, random, dtype=dtype)
        with torch._C._DisableTorchDispatch():  # of no concern to who catches products, and there are many
            return self._by_column(a, b, config, order, random, dtype)

    def _by_column(
        self, a: Tensor, b: Tensor, config: MacConfig, order: Tensor, random: RandomWords, dtype: torch.dtype
    ) -> Tensor:
        """a[m, k] @ b[k, n] in ``order`` [k, n]: one product for all columns that share an order."""
        turned, right = replace(config, x=config.w, w=config.x), a.T.contiguous()
        extents = extent_of(b, turned.x), extent_of(right, turned.w)
        plan = plan_product(turned, len(b), *extents, count=False, isa=None)
        result = torch.empty((len(a), b.shape[1]), dtype=dtype)
        orders, which = torch.unique(order, dim=1, return_inverse=True)
        for i, steps in enumerate(orders.T.contiguous()):
            columns = which == i
            part, _ = multiply(b[:, columns].T, right, turned, steps, random, out_dtype=dtype, plan=plan)
            result[:, columns] = part.T
        return result

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
        one = order is None or order.ndim == 1
        way = super().conv2d if one else super(CpuBackend, self).conv2d
        return way(images, weight, config, geometry, order, random, dtype=dtype)


class SharedWords(CpuBackend):
    """An array that made its random words by row only: every column has those of the first one."""

    name = "shared-words"

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
        columns = [
            super(SharedWords, self).matmul(a, b[..., j : j + 1], config, order, random, dtype=dtype)
            for j in range(b.shape[-1])
        ]
        return torch.cat(columns, dim=-1)

    def conv2d(self, *arguments, dtype: torch.dtype = torch.float64, **options) -> Tensor:
        return Backend.conv2d(self, *arguments, dtype=dtype, **options)

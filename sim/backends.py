"""Backends: who computes a matrix product. All of them compute the same one, bit for bit.

A backend has ``matmul``; whatever else the protocol offers has a default written on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from golden import accumulate as golden
from golden.accumulate import FIRST_WORDS, Events
from golden.config import ConfigError, MacConfig
from golden.gradients import GradientRule, masks
from golden.random_words import RandomWords
from sim.kernels import backward, product
from sim.kernels.geometry import Conv2dGeometry, output_size, patches, unpatched
from sim.kernels.plan import explain
from sim.kernels.product import Statistics, merge_events

__all__ = ["BACKENDS", "Backend", "Conv2dGeometry", "CpuBackend", "GoldenBackend", "find_backend", "patches"]


class Backend(ABC):
    """Computes the products of a configuration."""

    name: str  #: As it is asked for.

    @abstractmethod
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
        """a[..., m, k] @ b[..., k, n] as :func:`golden.accumulate.matmul` defines it.

        ``dtype``: float64, which holds every result, or float32, to which results are then rounded.
        """

    def events(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> Events:
        """Counts of :func:`golden.accumulate.events`."""
        return self.matmul_events(a, b, config, order, random)[1]

    def matmul_events(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Events]:
        """``matmul`` and ``events`` of the same product."""
        return self.matmul(a, b, config, order, random), golden.events(a, b, config, order, random)

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
        """images[i, c, h, w] * weight[o, c / groups, kh, kw] -> [i, o, h', w'], of ``dtype``.

        k runs over (input channel, kernel row, kernel column); padding adds products that are zero.
        Random words are of row m = (image, row, column) and column n = output channel.
        """
        return self._conv2d(
            lambda a, b, order: (self.matmul(a, b, config, order, random), None),
            images,
            weight,
            config,
            geometry,
            order,
        )[0].to(dtype)

    def conv2d_events(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Events]:
        """``conv2d`` and the events of its products; those with padding count as steps."""
        values, parts = self._conv2d(
            lambda a, b, order: self.matmul_events(a, b, config, order, random),
            images,
            weight,
            config,
            geometry,
            order,
        )
        return values, merge_events(parts)

    def gradient_masks(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        rule: GradientRule,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> Tensor:
        """:func:`golden.gradients.masks`: bool [..., m, n, k], all of them in memory."""
        return masks(a, b, config, rule, order, random)

    def matmul_backward(
        self,
        grad: Tensor,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        rule: GradientRule,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Tensor]:
        """Gradients of a and b, float32, from the gradient of the result of ``matmul``.

        float32 sums, in any order, of the terms that :func:`golden.gradients.masks` keeps.
        """
        kept = self.gradient_masks(a, b, config, rule, order, random)
        grad, left, right = grad.float(), a.float(), b.float()
        of_a = torch.einsum("...mn,...mnk,...kn->...mk", grad, kept.float(), right)
        of_b = torch.einsum("...mn,...mnk,...mk->...kn", grad, kept.float(), left)
        return of_a.sum_to_size(a.shape), of_b.sum_to_size(b.shape)

    def conv2d_backward(
        self,
        grad: Tensor,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        rule: GradientRule,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Tensor]:
        """Gradients of images and weight, float32, from that of the result of ``conv2d``."""
        rows = []

        def matmul(a: Tensor, b: Tensor, order: Tensor | None) -> tuple[Tensor, None]:
            columns = slice(len(rows) * b.shape[1], (len(rows) + 1) * b.shape[1])
            of_result = grad[:, columns].transpose(0, 1).flatten(1).t()
            rows.append(self.matmul_backward(of_result, a, b, config, rule, order, random))
            return of_result, None

        self._conv2d(matmul, images, weight, config, geometry, order)
        of_images = [unpatched(of_a, images.shape, weight.shape[2:], geometry) for of_a, _ in rows]
        of_weight = [of_b.t().unflatten(1, weight.shape[1:]) for _, of_b in rows]
        return torch.cat(of_images, dim=1), torch.cat(of_weight)

    @staticmethod
    def _conv2d(
        matmul: Callable,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None,
    ) -> tuple[Tensor, list[Events | None]]:
        """By patches, group by group."""
        groups = geometry.groups
        if images.ndim != 4 or weight.ndim != 4 or images.shape[1] != weight.shape[1] * groups:
            raise ConfigError(
                f"conv2d takes images[i, c, h, w] and weight[o, c / {groups}, kh, kw], not "
                f"{list(images.shape)} and {list(weight.shape)}"
            )
        if groups > 1 and config.stochastic:
            raise ConfigError(
                "this backend numbers the columns of each group from 0, and random words those of all "
                "groups together; use backend 'cpu'"
            )
        count, columns = len(images), len(weight) // groups
        shape = output_size(images.shape[2:], weight.shape[2:], geometry)
        outputs, parts = [], []
        for i, part in enumerate(images.chunk(groups, dim=1)):
            b = weight[i * columns : (i + 1) * columns].flatten(1).t()
            picked = order if order is None or order.ndim == 1 else order[:, i * columns : (i + 1) * columns]
            values, events = matmul(patches(part, weight.shape[2:], geometry), b, picked)
            outputs.append(values.t().unflatten(1, (count, *shape)).transpose(0, 1))
            parts.append(events)
        return torch.cat(outputs, dim=1), parts


class GoldenBackend(Backend):
    """The statement of the arithmetic itself: slow."""

    name = "golden"

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
        return golden.matmul(a, b, config, order, random).to(dtype)


class CpuBackend(Backend):
    """The kernel library: vectors where they are proved exact, integers one by one elsewhere."""

    name = "cpu"

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
        _check_order(order, b)
        return product.multiply(a, b, config, order, random, out_dtype=dtype)[0]

    def statistics(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Statistics]:
        """``matmul`` with events and the extremes of partial sums by output column."""
        _check_order(order, b)
        return product.multiply(a, b, config, order, random, count=True)

    def matmul_events(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Events]:
        values, statistics = self.statistics(a, b, config, order, random)
        return values, statistics.events

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
        _check_order(order, weight.flatten(1).t())
        return product.convolve(images, weight, config, geometry, order, random, out_dtype=dtype)[0]

    def conv2d_statistics(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Statistics]:
        """``conv2d`` with events and the extremes of partial sums by output channel."""
        _check_order(order, weight.flatten(1).t())
        return product.convolve(images, weight, config, geometry, order, random, count=True)

    def conv2d_events(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Events]:
        values, statistics = self.conv2d_statistics(images, weight, config, geometry, order, random)
        return values, statistics.events

    def gradient_masks(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        rule: GradientRule,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> Tensor:
        _check_order(order, b)
        return backward.product_masks(a, b, config, rule, order, random)

    def matmul_backward(
        self,
        grad: Tensor,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        rule: GradientRule,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Tensor]:
        _check_order(order, b)
        return backward.multiply_backward(grad, a, b, config, rule, order, random)

    def conv2d_backward(
        self,
        grad: Tensor,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        rule: GradientRule,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Tensor]:
        _check_order(order, weight.flatten(1).t())
        return backward.convolve_backward(grad, images, weight, config, geometry, rule, order, random)

    @staticmethod
    def explain(config: MacConfig, length: int, x: float | None = None, w: float | None = None) -> str:
        """Which way products are computed, and why; see :func:`sim.kernels.plan.explain`."""
        return explain(config, length, x, w)


def _check_order(order: Tensor | None, b: Tensor) -> None:
    if order is not None and b.ndim >= 2:
        golden.check_order(order, *b.shape[-2:])


BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (GoldenBackend(), CpuBackend())}


def find_backend(name: str | Backend) -> Backend:
    """The backend of that name; :class:`ConfigError` where there is none, or where it cannot run.

    A backend is its own name: one that keeps a record, say, is handed through.
    """
    if isinstance(name, Backend):
        return name
    if name == "cuda":
        from sim.kernels.cuda import CudaBackend  # which looks for a card and a compiler

        return CudaBackend()
    if name == "rtl":
        from sim.rtl import RtlBackend  # which brings the hardware generator along

        return RtlBackend()
    if name not in BACKENDS:
        raise ConfigError(f"there is no backend called {name!r}; use {', '.join(BACKENDS)}, cuda or rtl")
    return BACKENDS[name]

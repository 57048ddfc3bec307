"""Backends: who computes a matrix product. All of them compute the same one, bit for bit.

A backend has ``matmul``; whatever else the protocol offers has a default written on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from golden import accumulate as golden
from golden.accumulate import Events
from golden.codes import encode
from golden.config import ConfigError, FixedFormat, Format, MacConfig
from sim.kernels.plan import plan_matmul
from sim.kernels.product import merge_events, multiply

__all__ = ["BACKENDS", "Backend", "Conv2dGeometry", "CpuBackend", "GoldenBackend", "find_backend", "patches"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv2dGeometry:
    """Where a two-dimensional convolution looks, rows before columns."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class Backend(ABC):
    """Computes the products of a configuration."""

    name: str  #: As it is asked for.

    @abstractmethod
    def matmul(self, a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None = None) -> Tensor:
        """a[..., m, k] @ b[..., k, n] as :func:`golden.accumulate.matmul` defines it."""

    def events(self, a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None = None) -> Events:
        """Counts of :func:`golden.accumulate.events`."""
        return self.matmul_events(a, b, config, order)[1]

    def matmul_events(
        self, a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None = None
    ) -> tuple[Tensor, Events]:
        """``matmul`` and ``events`` of the same product."""
        return self.matmul(a, b, config, order), golden.events(a, b, config, order)

    def conv2d(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
    ) -> Tensor:
        """images[i, c, h, w] * weight[o, c / groups, kh, kw] -> [i, o, h', w'], float64.

        k runs over (input channel, kernel row, kernel column); padding adds products that are zero.
        """
        return self._conv2d(
            lambda a, b, order: (self.matmul(a, b, config, order), None), images, weight, geometry, order
        )[0]

    def conv2d_events(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
    ) -> tuple[Tensor, Events]:
        """``conv2d`` and the events of its products; those with padding count as steps."""
        values, parts = self._conv2d(
            lambda a, b, order: self.matmul_events(a, b, config, order), images, weight, geometry, order
        )
        return values, merge_events(parts)

    @staticmethod
    def _conv2d(
        matmul: Callable, images: Tensor, weight: Tensor, geometry: Conv2dGeometry, order: Tensor | None
    ) -> tuple[Tensor, list[Events | None]]:
        groups = geometry.groups
        if images.ndim != 4 or weight.ndim != 4 or images.shape[1] != weight.shape[1] * groups:
            raise ConfigError(
                f"conv2d takes images[i, c, h, w] and weight[o, c / {groups}, kh, kw], not "
                f"{list(images.shape)} and {list(weight.shape)}"
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


def output_size(image: tuple[int, int], kernel: tuple[int, int], geometry: Conv2dGeometry) -> tuple[int, int]:
    """Rows and columns of a convolution's result."""

    def size(i: int) -> int:
        reach = geometry.dilation[i] * (kernel[i] - 1) + 1
        return (image[i] + 2 * geometry.padding[i] - reach) // geometry.stride[i] + 1

    return size(0), size(1)


def patches(images: Tensor, kernel: tuple[int, int], geometry: Conv2dGeometry) -> Tensor:
    """images[i, c, h, w] -> [i * h' * w', c * kh * kw]: what each output looks at, in the order of k."""
    unfolded = functional.unfold(
        images, kernel, dilation=geometry.dilation, padding=geometry.padding, stride=geometry.stride
    )
    return unfolded.transpose(0, 1).flatten(1).t()


class GoldenBackend(Backend):
    """The statement of the arithmetic itself: slow."""

    name = "golden"

    def matmul(self, a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None = None) -> Tensor:
        return golden.matmul(a, b, config, order)


class CpuBackend(Backend):
    """torch's vector operations, where they are proved exact, and golden's steps elsewhere."""

    name = "cpu"

    def matmul(self, a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None = None) -> Tensor:
        a, b = _held(a, config.x), _held(b, config.w)
        return self._multiply(a, b, config, order, count=False)[0]

    def matmul_events(
        self, a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None = None
    ) -> tuple[Tensor, Events]:
        a, b = _held(a, config.x), _held(b, config.w)
        return self._multiply(a, b, config, order, count=True)

    def conv2d(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
    ) -> Tensor:
        return self._convolve(images, weight, config, geometry, order, count=False)[0]

    def conv2d_events(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
    ) -> tuple[Tensor, Events]:
        values, parts = self._convolve(images, weight, config, geometry, order, count=True)
        return values, merge_events(parts)

    @staticmethod
    def explain(config: MacConfig, length: int) -> str:
        """Which way sums of ``length`` products are computed, and why."""
        return plan_matmul(config, length)[1]

    def _convolve(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None,
        *,
        count: bool,
    ) -> tuple[Tensor, list[Events | None]]:
        """Operands are looked at once, before an image is copied into many patches."""
        images, weight = _held(images, config.x), _held(weight, config.w)
        return self._conv2d(
            lambda a, b, order: self._multiply(a, b, config, order, count=count),
            images,
            weight,
            geometry,
            order,
        )

    @staticmethod
    def _multiply(
        a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None, *, count: bool
    ) -> tuple[Tensor, Events | None]:
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"matmul takes a[..., m, k] and b[..., k, n], not {list(a.shape)} and {list(b.shape)}"
            )
        if order is not None:
            golden.check_order(order, *b.shape[-2:])
        plan, _ = plan_matmul(config, a.shape[-1])
        if plan is not None:
            return multiply(a, b, config, plan, order, count=count)
        values = golden.matmul(a, b, config, order)
        return values, golden.events(a, b, config, order) if count else None


def _held(values: Tensor, number: Format) -> Tensor:
    """The values as float64; ValueError as from golden if the format does not hold them."""
    values = values.detach().double()
    if not _holds(number, values):
        encode(values, number)  # names the first that it does not
    return values


def _holds(number: Format, values: Tensor) -> bool:
    """Whether the format holds all of these float64 values."""
    if values.numel() == 0:
        return True
    low, high = (float(end) for end in values.aminmax())
    if isinstance(number, FixedFormat):
        integers = values * 2.0**-number.lsb
        in_range = (
            number.min_integer * 2.0**number.lsb <= low and high <= number.max_integer * 2.0**number.lsb
        )
        return in_range and bool((integers.trunc() == integers).all())
    if not max(-low, high) <= number.max_value:
        return False
    dropped = (1 << (52 - number.man_bits)) - 1
    too_long = (values.contiguous().view(torch.int64) & dropped).any()
    flushed = (functional.hardshrink(values, number.flush_value) != values).any()
    return not bool(too_long | flushed)


BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (GoldenBackend(), CpuBackend())}


def find_backend(name: str) -> Backend:
    """The backend of that name, or a :class:`ConfigError` that lists them."""
    if name not in BACKENDS:
        raise ConfigError(f"there is no backend called {name!r}; use {' or '.join(BACKENDS)}")
    return BACKENDS[name]

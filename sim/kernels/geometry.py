"""Where a convolution looks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

__all__ = ["Conv2dGeometry", "output_size", "patches", "unpatched"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv2dGeometry:
    """Where a two-dimensional convolution looks, rows before columns."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


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


def unpatched(
    rows: Tensor, images: tuple[int, ...], kernel: tuple[int, int], geometry: Conv2dGeometry
) -> Tensor:
    """Patches added up where :func:`patches` took them from: [i * h' * w', c * kh * kw] -> [i, c, h, w].

    ``images``: the shape of the images, of whose channels these may be one group.
    """
    unfolded = rows.t().unflatten(1, (images[0], -1)).transpose(0, 1)
    return functional.fold(
        unfolded,
        images[2:],
        kernel,
        dilation=geometry.dilation,
        padding=geometry.padding,
        stride=geometry.stride,
    )

"""What treats channels alike in the part of training that no accumulator computes, torch's own in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.kernels.geometry import Conv2dGeometry, patches, unpatched
from sim.studies.symmetry.probe import part_sizes, pattern, tree

__all__ = ["REDUCTIONS", "fused_differs", "measure_torch", "product_orders", "unequal"]

_CHANNELS = 8
_DRAWS = 200


def _norm(x: Tensor, upstream: Tensor) -> list[Tensor]:
    """Batch norm: its output, the gradients and the running statistics, each [..., channels, ...]."""
    norm = nn.BatchNorm2d(_CHANNELS)
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(upstream)
    channels = [norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    return [y.detach(), x.grad, *(each[None, :, None, None] for each in channels)]


def _pooled(x: Tensor, upstream: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = functional.avg_pool2d(x, x.shape[-1] // 2)
    y.backward(upstream[..., : y.shape[2], : y.shape[3]])
    return [y.detach(), x.grad]


def _folded(x: Tensor, upstream: Tensor) -> list[Tensor]:
    """Gradients of overlapping patches, added up to those of an image."""
    geometry = Conv2dGeometry(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    return [unpatched(patches(x, (3, 3), geometry), x.shape, (3, 3), geometry)]


def _bias(x: Tensor, upstream: Tensor) -> list[Tensor]:
    return [(x * upstream).sum((0, 2, 3))[None, :, None, None]]


#: What sums by channel outside the products, each a function of alike channels and of gradients.
REDUCTIONS: Mapping[str, Callable[[Tensor, Tensor], list[Tensor]]] = {
    "batch norm, forward and backward": _norm,
    "mean over pixels, forward and backward": _pooled,
    "gradients of overlapping patches": _folded,
    "gradient of a bias": _bias,
}


def unequal(reduction: Callable[[Tensor, Tensor], list[Tensor]], draws: int, seed: int) -> int:
    """In how many draws of alike channels some result is not the same number for all of them."""
    generator = torch.Generator().manual_seed(seed)
    found = 0
    for draw in range(draws):
        size = (8, 4, 6, 5)[draw % 4]
        x, upstream = (
            torch.randn(16, 1, size, size, generator=generator).expand(-1, _CHANNELS, -1, -1).contiguous()
            for _ in range(2)
        )
        found += any(bool((each != each[:, :1]).any()) for each in reduction(x, upstream))
    return found


def fused_differs(*, fused: bool, taps: int, draws: int, seed: int) -> int:
    """In how many draws torch.optim.SGD moves ``taps`` equal weights with equal gradients apart."""
    generator = torch.Generator().manual_seed(seed)
    found = 0
    for _ in range(draws):
        start, *gradients = torch.randn(4, generator=generator).tolist()
        weight = torch.full((taps,), start, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, foreach=False, fused=fused)
        for gradient in gradients:
            weight.grad = torch.full((taps,), gradient)
            optimizer.step()
        found += len(weight.detach().unique()) > 1
    return found


def product_orders(length: int, columns: int, rows: int) -> list[str]:
    """The orders in which torch's float32 product adds, of all columns and of the first and the last row."""

    def product(row: int) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda a, b: torch.stack([(each.expand(rows, -1) @ b.float())[row] for each in a.float()])

    sizes = [part_sizes(product(row), length, columns, 2.0**40) for row in (0, rows - 1)]
    return sorted({pattern(tree(each)) for each in torch.cat(sizes)})


def measure_torch(quick: bool, report: Callable[[str], None]) -> dict:
    """Reductions by channel, the optimizer and the products of torch on this processor, with one thread."""
    draws = 20 if quick else _DRAWS
    products = []
    for length, columns in ((24, 8), (24, 1)) if quick else ((72, 8), (72, 10), (72, 1), (8, 72)):
        orders = product_orders(length, columns, rows=16)
        products.append({"length": length, "columns": columns, "rows": 16, "orders": orders})
        report(f"torch's product, K = {length}, {columns} columns: {len(orders)} order")
    return {
        "draws": draws,
        "seed": 0,
        "unequal": {name: unequal(each, draws, 0) for name, each in REDUCTIONS.items()},
        "optimizer": {
            str(taps): {
                name: fused_differs(fused=name == "fused", taps=taps, draws=draws, seed=0)
                for name in ("single", "fused")
            }
            for taps in (72, 9)
        },
        "products": products,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }

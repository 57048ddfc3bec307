"""Parts ``digits`` and ``fashion``: trained denoisers of images on narrow accumulators.

Their plateaus are not by design, but their sums cancel too: each pixel is a difference of larger sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from golden.catalog import CHUNK, find
from golden.config import MacConfig, Rounding
from sim.backends import find_backend
from sim.calibration.compensation import compensate
from sim.data import digits_folds, fashion_mnist
from sim.denoisers import empirical_mmse
from sim.denoising import (
    DenoisingNetwork,
    DenoisingTask,
    decibels,
    denoising_network,
    denoising_task,
    plan_of,
    squared_errors,
)
from sim.operands import LayerConfig, quantize_operand
from sim.statistics import paired_decibel_interval
from sim.studies.denoiser.setting import SEED

__all__ = [
    "IMAGE_ORDERS",
    "configs",
    "in_order",
    "measure_digits",
    "measure_fashion",
    "repaired",
    "term_orders",
]

_SIGMAS = (0.1, 0.25, 0.5)
_MIDDLE = 0.25
_BITS = (8, 9, 10, 11, 12, 13, 14)  # of the accumulator; 4 of them are exponent
_RANDOM_BITS = 8
_ONE_CHUNK = 1 << 16
_FASHION_TRAIN, _FASHION_TEST = 3000, 500
_COMMON_ORDERS = ("ascending", "smallest first, shared")  # of all outputs
IMAGE_ORDERS = ("ascending", "alternating", "grouped", "smallest first", "smallest first, shared")


def _stochastic(config: MacConfig) -> MacConfig:
    policy = {"rounding": Rounding.STOCHASTIC, "random_bits": _RANDOM_BITS}
    return replace(
        config, product=replace(config.product, **policy), accumulator=replace(config.accumulator, **policy)
    )


def configs(bits: int) -> dict[str, MacConfig]:
    """The catalogue's float MAC of a width, by rounding."""
    return {
        "toward zero": find(f"float{bits}"),
        "nearest even": find(f"float{bits}-rne"),
        "stochastic": _stochastic(find(f"float{bits}")),
    }


def repaired(network: DenoisingNetwork, plan: Sequence[LayerConfig]) -> np.ndarray:
    """Errors with one factor a channel, and the biases, made up for what the accumulators take."""
    made = compensate(
        network.model,
        plan,
        [network.calibration_noisy],
        reference=network.model,
        gain="channel",
        bias=True,
        backend="cpu",
    )
    return squared_errors(replace(network, model=made.model), made.layers)


def _compared(errors: np.ndarray, reference: np.ndarray) -> dict:
    low, high = paired_decibel_interval(errors, reference)
    psnr = decibels(errors)
    return {"psnr": psnr, "difference": psnr - decibels(reference), "interval": [low, high]}


def _by_width(networks: Sequence[DenoisingNetwork], bits: Sequence[int]) -> dict:
    """PSNR by rounding and width, as it is and repaired: {rounding: {bits: ...}}."""
    reference = np.concatenate([network.errors for network in networks])
    rows: dict = {}
    for width in bits:
        for rounding, config in configs(width).items():
            plans = [plan_of(network, config, shared=None) for network in networks]
            pairs = list(zip(networks, plans, strict=True))
            plain = np.concatenate([squared_errors(*pair) for pair in pairs])
            made_up = np.concatenate([repaired(*pair) for pair in pairs])
            rows.setdefault(rounding, {})[str(width)] = {
                "plain": _compared(plain, reference),
                "repaired": _compared(made_up, reference),
            }
    return rows


def term_orders(name: str, terms: Tensor) -> Tensor | None:
    """An order of each output's terms from their means ``terms`` [k, n] on training images: int64 [k, n] or
    [k].

    ``alternating``: the positive and the negative ones by turns, each from the smallest on; ``grouped``: the
    positive ones, then the negative ones; ``smallest first``: by size whatever the sign, for each output or
    ``shared`` by all; None: ascending k.
    """
    positive, size = terms >= 0, terms.abs()
    match name:
        case "ascending":
            return None
        case "grouped":
            return (~positive).to(torch.int64).argsort(dim=0, stable=True)
        case "smallest first":
            return size.argsort(dim=0, stable=True)
        case "smallest first, shared":
            return size.mean(1).argsort(stable=True)
        case "alternating":
            by_size = torch.where(positive, size, torch.inf).argsort(dim=0).argsort(dim=0)
            negative = torch.where(positive, torch.inf, size).argsort(dim=0).argsort(dim=0)
            turn = torch.where(positive, 2 * by_size, 2 * negative + 1)
            return turn.argsort(dim=0, stable=True)
    raise ValueError(f"there is no order {name!r}; use {', '.join(IMAGE_ORDERS)}")


def ordered_product(x: Tensor, w: Tensor, config: MacConfig, order: Tensor | None) -> Tensor:
    """The contract's product x[m, k] @ w[k, n] in an ``order`` [k] or [k, n], without stochastic rounding.

    An order of each column is a batch of products of permuted operands, which the kernels do faster.
    """
    backend = find_backend("cpu")
    if order is None or order.ndim == 1:
        return backend.matmul(x, w, config, order, dtype=torch.float32)
    columns = backend.matmul(
        x[:, order].permute(2, 0, 1), w.gather(0, order).t()[..., None], config, dtype=torch.float32
    )
    return columns[..., 0].t()


@torch.no_grad()
def in_order(network: DenoisingNetwork, plan: Sequence[LayerConfig], name: str) -> np.ndarray:
    """Errors of the test images with every sum in an order of its own: float64 [n]."""
    y, trained = network.noisy, network.calibration_noisy
    for i, layer in enumerate(plan):
        module = network.model[2 * i]
        weight = module.weight.t()
        order = term_orders(name, trained.mean(0)[:, None] * weight)
        x = quantize_operand(y, layer.config.x, layer.x_scale)
        w = quantize_operand(weight, layer.config.w, layer.w_scale)
        product = ordered_product(x, w, layer.config, order)
        y = product * (layer.x_scale * layer.w_scale) + module.bias
        trained = module(trained)
        if i + 1 < len(plan):
            y, trained = y.relu(), trained.relu()
    return (y.double() - network.clean.double()).square().mean(1).numpy()


def _by_order(
    networks: Sequence[DenoisingNetwork], bits: Sequence[int], chunk_size: int, orders: Sequence[str]
) -> dict:
    """PSNR with exact products by rounding, order and width: {rounding: {order: {bits: ...}}}."""
    reference = np.concatenate([network.errors for network in networks])
    rows: dict = {}
    for rounding, suffix in (("toward zero", ""), ("nearest even", "-rne")):
        for width in bits:
            config = replace(find(f"float{width}{suffix}-px"), chunk_size=chunk_size)
            plans = [plan_of(network, config, shared=None) for network in networks]
            for order in orders:
                errors = np.concatenate(
                    [in_order(network, plan, order) for network, plan in zip(networks, plans, strict=True)]
                )
                by_width = rows.setdefault(rounding, {}).setdefault(order, {})
                by_width[str(width)] = _compared(errors, reference)
    return rows


def _cancellation(network: DenoisingNetwork) -> list[float]:
    """Of each layer, the mean over outputs of sum |terms| / |sum of terms|, as ratio of their means."""
    ratios, x = [], network.noisy
    for module in network.model:
        if isinstance(module, torch.nn.Linear):
            sizes = x.abs() @ module.weight.t().abs()
            sums = (x @ module.weight.t()).abs()
            ratios.append(float(sizes.mean() / sums.mean()))
        x = module(x)
    return ratios


@torch.no_grad()
def _images(task: DenoisingTask, empirical: np.ndarray, bits: Sequence[int]) -> dict:
    return {
        **task.to_json(),
        "description": task.description,
        "empirical_psnr": decibels(empirical),
        "cancellation": _cancellation(task.networks[0]),
        "by_width": _by_width(task.networks, bits),
    }


def _empirical(train: Tensor, network: DenoisingNetwork, sigma: float) -> np.ndarray:
    guessed = empirical_mmse(train.double(), sigma, network.noisy.double())
    return (guessed - network.clean.double()).square().mean(1).numpy()


@torch.no_grad()
def _digits(sigma: float, bits: Sequence[int]) -> tuple[dict, DenoisingTask]:
    with torch.enable_grad():
        task = denoising_task(sigma=sigma, seed=SEED)
    empirical = np.concatenate(
        [
            _empirical(fold.train_images.flatten(1), network, sigma)
            for fold, network in zip(digits_folds(), task.networks, strict=True)
        ]
    )
    return _images(task, empirical, bits), task


def measure_digits(quick: bool, report: Callable[[str], None]) -> dict:
    """All digits at three noise levels, by width and rounding; at the middle one by order too."""
    bits = (8, 12) if quick else _BITS
    result: dict = {"seed": SEED, "random_bits": _RANDOM_BITS, "levels": []}
    for sigma in (_MIDDLE,) if quick else _SIGMAS:
        level, task = _digits(sigma, bits)
        result["levels"].append(level)
        report(f"noise of {sigma:g}")
        if sigma == _MIDDLE:
            with torch.no_grad():
                result["orders"] = _by_order(task.networks, bits, _ONE_CHUNK, IMAGE_ORDERS)
                result["chunked_orders"] = _by_order(task.networks, bits, CHUNK, _COMMON_ORDERS)
            report("orders")
    return result


def measure_fashion(quick: bool, report: Callable[[str], None]) -> dict:
    """Fashion-MNIST at the middle noise; DataError where it is not to be had."""
    train, test = (500, 100) if quick else (_FASHION_TRAIN, _FASHION_TEST)
    data = fashion_mnist(train=train, test=test, download=False)
    images = data.train_images.flatten(1)
    network = denoising_network(images, data.test_images.flatten(1), sigma=_MIDDLE, seed=SEED)
    report("trained")
    task = DenoisingTask(
        name="denoised Fashion-MNIST",
        description=(
            f"the first {test} test images with Gaussian noise of standard deviation {_MIDDLE:g}; perceptron "
            f"784-256-784, trained on the first {train} training images"
        ),
        sigma=_MIDDLE,
        networks=[network],
    )
    return {"seed": SEED, **_images(task, _empirical(images, network, _MIDDLE), (8, 12) if quick else _BITS)}

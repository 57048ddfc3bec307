"""Noise taken off small images by networks whose every product runs through an accumulator.

A regression beside the classifications of :mod:`sim.evaluate`: each pixel of the output counts as it is, so a
sum that is a little too small, which leaves the largest of ten outputs the largest, is an error here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from golden.config import MacConfig
from sim.calibrate import LayerSample, calibrate, is_exact, sample_layers, shared_setting
from sim.data import DIGIT_FOLDS, digits_folds
from sim.inject import accumulate
from sim.operands import LayerConfig
from sim.statistics import paired_decibel_interval

__all__ = [
    "REPORT_SIGMA",
    "DenoisingNetwork",
    "DenoisingTask",
    "decibels",
    "denoising_network",
    "denoising_task",
    "evaluate_denoising",
    "plan_of",
    "squared_errors",
]

#: Standard deviation of the noise of the report's images, whose pixels go from 0 to 1.
REPORT_SIGMA = 0.25

_HIDDEN = 256
_EPOCHS = 100
_BATCH = 64
_CALIBRATION_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class DenoisingNetwork:
    """A trained denoiser, what its layers multiply, and the noisy images that it is judged on."""

    model: nn.Module
    samples: list[LayerSample]
    calibration_noisy: Tensor  #: float32 [n, pixels]: training images that the samples are from,
    calibration_clean: Tensor  #: and the same without noise.
    noisy: Tensor  #: float32 [n, pixels]: test images.
    clean: Tensor
    errors: np.ndarray  #: float64 [n]: squared errors with float32 products.


@dataclass(frozen=True, kw_only=True)
class DenoisingTask:
    """Noisy images; more than one network where each has another part of them as its test set."""

    name: str
    description: str
    sigma: float
    networks: list[DenoisingNetwork]

    @property
    def count(self) -> int:
        """Test images of all networks."""
        return sum(len(network.clean) for network in self.networks)

    @property
    def errors(self) -> np.ndarray:
        """Squared errors of float32, of all test images: float64 [n]."""
        return np.concatenate([network.errors for network in self.networks])

    def to_json(self) -> dict:
        """What the results file says of the images, whatever the accumulator."""
        noisy = np.concatenate([_errors(network.noisy, network.clean) for network in self.networks])
        return {
            "name": self.name,
            "n": self.count,
            "sigma": self.sigma,
            "noisy_psnr": decibels(noisy),
            "float32_psnr": decibels(self.errors),
        }


def decibels(errors: np.ndarray) -> float:
    """Peak signal-to-noise ratio of images from 0 to 1, from the mean of their squared errors."""
    return -10 * math.log10(float(np.mean(errors)))


def _errors(got: Tensor, wanted: Tensor) -> np.ndarray:
    """Mean squared error of each image: float64 [n]."""
    return (got.double() - wanted.double()).square().mean(1).numpy()


def _noisy(clean: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    return clean + sigma * torch.randn(clean.shape, generator=generator)


def denoising_network(train: Tensor, test: Tensor, *, sigma: float, seed: int) -> DenoisingNetwork:
    """One hidden ReLU layer of 256, trained in float32 on ``train`` with new noise in each epoch.

    ``train`` and ``test`` are clean images, float32 [n, pixels] from 0 to 1. On one thread: the weights
    depend on the order of sums.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _network(_trained(train, sigma, seed), train[:_CALIBRATION_IMAGES], test, sigma, seed)
    finally:
        torch.set_num_threads(threads)


def _network(model: nn.Module, clean: Tensor, test: Tensor, sigma: float, seed: int) -> DenoisingNetwork:
    """The trained ``model`` with the noisy images that it is calibrated on and judged on."""
    generator = torch.Generator().manual_seed(seed + 1)
    noisy, tested = _noisy(clean, sigma, generator), _noisy(test, sigma, generator)
    with torch.no_grad():
        errors = _errors(model(tested), test)
    return DenoisingNetwork(
        model=model,
        samples=sample_layers(model, noisy, seed=seed),
        calibration_noisy=noisy,
        calibration_clean=clean,
        noisy=tested,
        clean=test,
        errors=errors,
    )


def _trained(train: Tensor, sigma: float, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    pixels = train.shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(pixels, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, pixels))
    batches = len(train) // _BATCH
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _EPOCHS * batches)
    for _ in range(_EPOCHS):
        for batch in torch.randperm(len(train), generator=generator).split(_BATCH)[:batches]:
            clean = train[batch]
            optimizer.zero_grad()
            (model(_noisy(clean, sigma, generator)) - clean).square().mean().backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def denoising_task(*, sigma: float, seed: int) -> DenoisingTask:
    """All 1797 handwritten digits with Gaussian noise, each tested once by a network that never saw it."""
    networks = [
        denoising_network(
            fold.train_images.flatten(1), fold.test_images.flatten(1), sigma=sigma, seed=seed + i
        )
        for i, fold in enumerate(digits_folds())
    ]
    return DenoisingTask(
        name="denoised digits",
        description=(
            f"all of scikit-learn's 8x8 digits, in {DIGIT_FOLDS} folds, with Gaussian noise of standard "
            f"deviation {sigma:g} on pixels from 0 to 1; perceptron 64-{_HIDDEN}-64"
        ),
        sigma=sigma,
        networks=networks,
    )


@torch.no_grad()
def squared_errors(
    network: DenoisingNetwork, layers: Sequence[LayerConfig], *, backend: str = "cpu"
) -> np.ndarray:
    """Mean squared error of each test image with products by these layers' arithmetic: float64 [n]."""
    return _through(network, layers, network.noisy, network.clean, backend)


def _through(
    network: DenoisingNetwork, layers: Sequence[LayerConfig], noisy: Tensor, clean: Tensor, backend: str
) -> np.ndarray:
    with accumulate(layers, backend=backend):
        return _errors(network.model(noisy), clean)


@torch.no_grad()
def plan_of(
    network: DenoisingNetwork, config: MacConfig, *, shared: int | None, backend: str = "cpu"
) -> list[LayerConfig]:
    """A configuration for each layer, from training images.

    ``shared``: one setting for all layers, as in :func:`sim.calibrate.calibrate`. None: one for each layer,
    or one for all, whichever has the smaller error on those images.
    """
    plan = calibrate(network.samples, config, shared=shared)
    if shared is not None or is_exact(config):
        return plan
    same = calibrate(network.samples, config, shared=shared_setting(network.samples, config))

    def error(layers: Sequence[LayerConfig]) -> float:
        parts = (network.calibration_noisy, network.calibration_clean)
        return float(_through(network, layers, *parts, backend).mean())

    return min((plan, same), key=error)  # the first of equals


def evaluate_denoising(
    task: DenoisingTask, config: MacConfig, *, shared: int | None, backend: str = "cpu"
) -> dict:
    """What a row of the report says of its denoisers: PSNR in dB, beside float32's on the same images."""
    plans = [plan_of(network, config, shared=shared, backend=backend) for network in task.networks]
    errors = np.concatenate(
        [
            squared_errors(network, plan, backend=backend)
            for network, plan in zip(task.networks, plans, strict=True)
        ]
    )
    psnr, reference = decibels(errors), decibels(task.errors)
    return {
        "n": task.count,
        "psnr": psnr,
        "float32_psnr": reference,
        "difference": psnr - reference,
        "interval": list(paired_decibel_interval(errors, task.errors)),
        "layers": [[layer.config.name for layer in plan] for plan in plans],
        "scales": [[[layer.x_scale, layer.w_scale] for layer in plan] for plan in plans],
    }

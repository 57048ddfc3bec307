"""Accuracy of small networks whose every product runs through an accumulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from golden.accumulate import Events
from golden.config import MacConfig
from sim.calibrate import (
    LayerSample,
    calibrate,
    fold_batch_norm,
    is_exact,
    sample_layers,
    shared_setting,
)
from sim.data import DIGIT_FOLDS, Images, digits_folds, fashion_mnist
from sim.inject import accumulate
from sim.kernels.product import merge_events
from sim.models import conv_net, mlp, trained
from sim.operands import LayerConfig
from sim.statistics import paired_interval

__all__ = [
    "Network",
    "Task",
    "TaskResult",
    "digits_task",
    "evaluate",
    "evaluate_all",
    "fashion_task",
    "packed",
]

#: Training images that operand ranges and accumulator offsets are taken from.
CALIBRATION_IMAGES = 256

#: Test images of each network on which events are counted.
EVENT_IMAGES = 100


@dataclass(frozen=True, kw_only=True)
class Network:
    """A trained network, what its layers multiply, and the images it has not seen."""

    model: nn.Module
    samples: list[LayerSample]
    training_images: Tensor  #: Those that the samples are from.
    training_labels: Tensor
    images: Tensor
    labels: Tensor
    correct: Tensor  #: bool [n]: right with float32 products.


@dataclass(frozen=True, kw_only=True)
class Task:
    """Images to classify; more than one network where each has another part of them as its test set."""

    name: str
    description: str
    networks: list[Network]

    @property
    def count(self) -> int:
        return sum(len(network.labels) for network in self.networks)


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """How a configuration did on a task."""

    correct: np.ndarray  #: bool [n]
    float32_correct: np.ndarray  #: bool [n]
    layers: list[list[LayerConfig]]  #: Of each network.
    events: Events  #: Of all layers together.

    def to_json(self) -> dict:
        """What the results file says of it; images that were right as a hexadecimal string of bits."""
        accuracy, reference = float(self.correct.mean()), float(self.float32_correct.mean())
        return {
            "n": len(self.correct),
            "accuracy": accuracy,
            "float32_accuracy": reference,
            "difference": accuracy - reference,
            "interval": list(paired_interval(self.correct, self.float32_correct)),
            "events": asdict(self.events),
            "layers": [[layer.config.name for layer in layers] for layers in self.layers],
            "scales": [[[layer.x_scale, layer.w_scale] for layer in layers] for layers in self.layers],
            "correct": packed(self.correct),
        }


def packed(correct: np.ndarray | Tensor) -> str:
    """Right or wrong, image by image, as a hexadecimal string of bits, the first image in the top one."""
    return np.packbits(np.asarray(correct)).tobytes().hex()


@torch.no_grad()
def _network(model: nn.Module, data: Images, seed: int) -> Network:
    folded = fold_batch_norm(model)
    return Network(
        model=folded,
        samples=sample_layers(folded, data.train_images[:CALIBRATION_IMAGES], seed=seed),
        training_images=data.train_images[:CALIBRATION_IMAGES],
        training_labels=data.train_labels[:CALIBRATION_IMAGES],
        images=data.test_images,
        labels=data.test_labels,
        correct=folded(data.test_images).argmax(1) == data.test_labels,
    )


def digits_task(*, seed: int) -> Task:
    """All 1797 handwritten digits, each tested once by a perceptron trained on the other two thirds."""
    networks = [
        _network(trained(mlp, fold, epochs=30, seed=seed + i), fold, seed)
        for i, fold in enumerate(digits_folds())
    ]
    return Task(
        name="digits",
        description=f"all of scikit-learn's 8x8 digits, in {DIGIT_FOLDS} folds; perceptron 64-128-128-10",
        networks=networks,
    )


def fashion_task(*, train: int, test: int, seed: int) -> Task:
    """The first ``test`` images of Fashion-MNIST's test set, by a convolutional network.

    Raises :class:`sim.data.DataError` where the data are not to be had.
    """
    data = fashion_mnist(train=train, test=test, download=False)
    network = _network(trained(conv_net, data, epochs=3, seed=seed), data, seed)
    return Task(
        name="Fashion-MNIST",
        description=(
            f"the first {test} test images; convolutions of 8 and 16 channels and linear layers of 64 and "
            f"10, trained on the first {train} training images"
        ),
        networks=[network],
    )


def _guesses(network: Network, images: Tensor, plan: Sequence[LayerConfig], backend: str) -> Tensor:
    with accumulate(plan, backend=backend):
        return network.model(images).argmax(1)


def _plan(network: Network, config: MacConfig, shared: int | None, backend: str) -> list[LayerConfig]:
    """The least error of each layer need not be the least of the network: where errors are large, ask it."""
    plan = calibrate(network.samples, config, shared=shared)
    if shared is not None or is_exact(config):
        return plan
    same = calibrate(network.samples, config, shared=shared_setting(network.samples, config))

    def right(layers: Sequence[LayerConfig]) -> int:
        guesses = _guesses(network, network.training_images, layers, backend)
        return int((guesses == network.training_labels).sum())

    return max((plan, same), key=right)  # the first of equals


@torch.no_grad()
def evaluate(task: Task, config: MacConfig, *, shared: int | None, backend: str = "cpu") -> TaskResult:
    """Calibrate ``config`` on training images and classify the test images by its arithmetic.

    ``shared``: one setting for all layers, as in :func:`sim.calibrate.calibrate`. None: one for each layer,
    or one for all, whichever gets more of the training images right.
    """
    correct, layers, events = [], [], []
    for network in task.networks:
        plan = _plan(network, config, shared, backend)
        guesses = _guesses(network, network.images, plan, backend)
        with accumulate(plan, backend=backend, count_events=True) as counted:
            network.model(network.images[:EVENT_IMAGES])
        correct.append(guesses == network.labels)
        layers.append(plan)
        events += counted.events
    return TaskResult(
        correct=torch.cat(correct).numpy(),
        float32_correct=torch.cat([network.correct for network in task.networks]).numpy(),
        layers=layers,
        events=merge_events(events),
    )


def evaluate_all(tasks: Sequence[Task], config: MacConfig, *, wired: bool) -> dict:
    """What a row of the report says of its networks, all tasks together and one by one.

    ``wired``: one product offset for all networks of all tasks, as one chip would have it.
    """
    samples = [sample for task in tasks for network in task.networks for sample in network.samples]
    shared = shared_setting(samples, config) if wired else None
    results = {task.name: evaluate(task, config, shared=shared) for task in tasks}
    correct = np.concatenate([result.correct for result in results.values()])
    reference = np.concatenate([result.float32_correct for result in results.values()])
    return {
        "accuracy": float(correct.mean()),
        "difference": float(correct.mean() - reference.mean()),
        "interval": list(paired_interval(correct, reference)),
        "offset": shared,
        "events": _shares(merge_events([result.events for result in results.values()])),
        "tasks": {task: result.to_json() for task, result in results.items()},
    }


def _shares(events: Events) -> dict[str, float]:
    """Events as shares: of MACs, in the product's rounding or the sum's, and of additions of chunk sums."""
    return {
        **{
            name: (getattr(events.product, name) + getattr(events.inner, name)) / events.inner.steps
            for name in ("overflow", "underflow", "swamped")
        },
        "chunk_overflow": events.outer.overflow / events.outer.steps,
    }

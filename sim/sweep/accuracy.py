"""Accuracy items: a network calibrated on training images and judged on test images by a configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from golden.config import ConfigError, MacConfig
from sim.calibrate import LayerSample, calibrate, is_exact, shared_setting
from sim.data import DataError
from sim.evaluate import Task, digits_task, evaluate, fashion_task, packed
from sim.inject import accumulate
from sim.operands import LayerConfig
from sim.zero_shot.benchmarks import ImageBenchmark
from sim.zero_shot.rows import Row

__all__ = ["float32", "measure", "shared_offset"]

_FASHION_TRAIN = 20_000
_RESNETS = {"resnet20": 20, "resnet56": 56}


class _Judge(ABC):
    """A network with its calibration and its test images."""

    samples: list[LayerSample]  #: What its layers multiply on training images.
    float32_correct: np.ndarray  #: bool [n]

    @abstractmethod
    def judge(self, config: MacConfig, shared: int | None) -> tuple[np.ndarray, list[LayerConfig]]:
        """Right or wrong, bool [n], and the plan: at one setting, or (None) each layer's own if that pays."""


class _Trained(_Judge):
    """Networks that were trained here; :mod:`sim.evaluate` judges them."""

    def __init__(self, task: Task, count: int | None):
        self.task = task
        self.samples = [sample for network in task.networks for sample in network.samples]
        self.count = count
        correct = torch.cat([network.correct for network in task.networks]).numpy()
        self.float32_correct = correct[:count]

    def judge(self, config: MacConfig, shared: int | None) -> tuple[np.ndarray, list[LayerConfig]]:
        result = evaluate(self.task, config, shared=shared)
        return result.correct[: self.count], [layer for plan in result.layers for layer in plan]


class _Pretrained(_Judge):
    """A network that others trained, as :mod:`sim.zero_shot` has it."""

    def __init__(self, depth: int, count: int | None, seed: int):
        self.benchmark = ImageBenchmark(depth, count=count, seed=seed)
        self.samples = self.benchmark.samples
        self.float32_correct = self.benchmark.right(self.benchmark.outputs(self.benchmark.batches))

    def judge(self, config: MacConfig, shared: int | None) -> tuple[np.ndarray, list[LayerConfig]]:
        if shared is None:
            plan = self.benchmark.plan(Row(label="", group="", config=config, calibrated=True), "cpu")
        else:
            plan = calibrate(self.samples, config, shared=shared)
        with accumulate(plan, backend="cpu"):
            outputs = self.benchmark.outputs(self.benchmark.batches)
        return self.benchmark.right(outputs), plan


@cache
def _judge(network: str, images: int | None, seed: int) -> _Judge:
    torch.set_num_threads(1)  # a process a core instead
    try:
        if network == "digits":
            return _Trained(digits_task(seed=seed), images)
        if network == "fashion-mnist":
            return _Trained(fashion_task(train=_FASHION_TRAIN, test=images or 10_000, seed=seed), None)
        return _Pretrained(_RESNETS[network], images, seed)
    except DataError as error:
        raise ConfigError(f"{network} needs data that are not here: {error}") from error


def float32(*, network: str, images: int | None, seed: int) -> dict[str, Any]:
    """The network as it was trained, float32 throughout."""
    judge = _judge(network, images, seed)
    return {
        "n": len(judge.float32_correct),
        "correct": packed(judge.float32_correct),
        "longest_sum": max(sample.length for sample in judge.samples),
    }


def measure(
    *, config: str, network: str, images: int | None, seed: int, setting: str | int
) -> dict[str, Any]:
    """The network by the arithmetic of a configuration.

    ``setting``: ``layer``, each layer has its own, or all have the same if that gets more training images
    right; ``network``, the same for all; a number, that product offset.
    """
    judge, mac = _judge(network, images, seed), MacConfig.parse(config)
    shared = setting if isinstance(setting, int) else None
    if setting == "network" and not is_exact(mac):
        shared = _shared(judge.samples, mac)
    correct, plan = judge.judge(mac, shared)
    return {
        "n": len(correct),
        "correct": packed(correct),
        "setting": shared,
        "layers": [layer.config.name for layer in plan],
    }


def shared_offset(*, config: str, networks: list[str], seed: int) -> dict[str, Any]:
    """The one product offset of a chip on which all these networks run: least error of all their layers."""
    samples = [sample for network in networks for sample in _judge(network, 1, seed).samples]
    return {"offset": _shared(samples, MacConfig.parse(config))}


def _shared(samples: Sequence[LayerSample], config: MacConfig) -> int:
    with torch.no_grad():
        return shared_setting(samples, config)

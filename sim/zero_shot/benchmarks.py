"""Networks and what they are judged by: images classified right, or similarities ranked as people do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from golden.config import MAX_OPERAND_FIXED_BITS
from golden.datapath import exact_accumulator
from sim.benchmark_data import SentencePairs, cifar10_jpeg, sts_benchmark
from sim.calibrate import LayerSample, calibrate, is_exact, sample_layers, shared_setting
from sim.evaluate import packed
from sim.inject import accumulate
from sim.networks.minilm import MiniLm, pretrained_minilm
from sim.networks.resnet import pretrained_resnet
from sim.operands import LayerConfig, fit_operands
from sim.statistics import paired_interval, paired_spearman_interval, spearman
from sim.zero_shot.rows import Row, operands_are_fitted

__all__ = ["BENCHMARKS", "Benchmark", "ImageBenchmark", "SentenceBenchmark"]

#: Training images, and sentences of the development set, that operands and accumulators are fitted to.
CALIBRATION_IMAGES = 256
CALIBRATION_PAIRS = 128

#: Inputs that pass through the network together.
IMAGES_AT_ONCE = 250
SENTENCES_AT_ONCE = 128


class Benchmark(ABC):
    """A network, its test inputs in batches, and what its layers multiply on other inputs."""

    name: str
    description: str
    metric: str  #: What :meth:`score` gives.
    unit: str  #: Of n.
    n: int
    model: nn.Module
    batches: list[Tensor]
    samples: list[LayerSample]  #: One for each product of a forward pass.
    longest: list[int | None]  #: Of each product, the longest sum where lengths vary with the input.
    calibration_batches: list[Tensor]  #: The inputs that the samples are from.

    @abstractmethod
    def score(self, outputs: Sequence[Tensor]) -> float:
        """The metric of the network's outputs, batch by batch."""

    @abstractmethod
    def compared(self, outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> dict[str, Any]:
        """For the results: value, that of the reference, their difference and its 95 % interval."""

    @abstractmethod
    def calibration_score(self) -> float:
        """The metric on the inputs that the samples are from, by whatever computes products now."""

    @torch.no_grad()
    def outputs(self, batches: Sequence[Tensor]) -> list[Tensor]:
        """What the network gives for these batches, by whatever computes products now; in host memory."""
        return [self.model(batch).cpu() for batch in batches]

    def to(self, device: str) -> None:
        """Move the network and its inputs; samples stay in host memory."""
        self.model = self.model.to(device)
        self.batches = [batch.to(device) for batch in self.batches]
        self.calibration_batches = [batch.to(device) for batch in self.calibration_batches]

    def plan(self, row: Row, backend: str) -> list[LayerConfig]:
        """The arithmetic of each product of a forward pass."""
        if not operands_are_fitted(row.config):
            plain = LayerConfig(config=row.config, x_scale=1.0, w_scale=1.0, length=None)
            return [plain] * len(self.samples)
        if not row.calibrated:
            return [self._fitted(row, sample) for sample in self.samples]
        plan = self._any_length(calibrate(self.samples, row.config, shared=None))
        if is_exact(row.config):
            return plan
        shared = shared_setting(self.samples, row.config)
        same = self._any_length(calibrate(self.samples, row.config, shared=shared))

        def score(layers: Sequence[LayerConfig]) -> float:
            with accumulate(layers, backend=backend):
                return self.calibration_score()

        return max((plan, same), key=score)  # the first of equals

    @staticmethod
    def _fitted(row: Row, sample: LayerSample) -> LayerConfig:
        extents = (sample.x_largest, sample.w_largest)
        return fit_operands(row.config, *extents, int_bits=MAX_OPERAND_FIXED_BITS, length=None)

    def _any_length(self, plan: list[LayerConfig]) -> list[LayerConfig]:
        """The plan, where a product's length varies good for all lengths."""
        pairs = zip(plan, self.longest, strict=True)
        return [layer if longest is None else _up_to(layer, longest) for layer, longest in pairs]


def _up_to(layer: LayerConfig, longest: int) -> LayerConfig:
    """The layer for sums of any length up to ``longest``."""
    config = layer.config
    if is_exact(config):
        config = replace(config, accumulator=exact_accumulator(config.x, config.w, longest))
    return replace(layer, config=config, length=None)


class ImageBenchmark(Benchmark):
    """The first ``count`` images of the JPEG copy of CIFAR-10's test set (None: all)."""

    metric, unit = "accuracy", "images of the JPEG copy"

    def __init__(self, depth: int, *, count: int | None, seed: int):
        self.name = f"resnet{depth}"
        self.description = f"ResNet-{depth} on the JPEG copy of CIFAR-10's test set"
        self.model = pretrained_resnet(depth).fold_batch_norm()
        images, self.labels = _cifar10(test=True, count=count)
        self.n = len(images)
        self.batches = list(images.split(IMAGES_AT_ONCE))
        calibration, self.calibration_labels = _cifar10(test=False, count=CALIBRATION_IMAGES)
        self.calibration_batches = [calibration]
        self.samples = sample_layers(self.model, calibration, seed=seed)
        self.longest = [None] * len(self.samples)

    def right(self, outputs: Sequence[Tensor]) -> np.ndarray:
        """Which images are classified right: bool [n]."""
        return (torch.cat(list(outputs)).argmax(1) == self.labels).numpy()

    def score(self, outputs: Sequence[Tensor]) -> float:
        return float(self.right(outputs).mean())

    def compared(self, outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> dict[str, Any]:
        right, wanted = self.right(outputs), self.right(reference)
        value, float32 = float(right.mean()), float(wanted.mean())
        return {
            "value": value,
            "float32_value": float32,
            "difference": value - float32,
            "interval": list(paired_interval(right, wanted)),
            "correct": packed(right),
        }

    def calibration_score(self) -> float:
        guesses = torch.cat(self.outputs(self.calibration_batches)).argmax(1)
        return float((guesses == self.calibration_labels).float().mean())


@cache  # by two networks
def _cifar10(*, test: bool, count: int | None) -> tuple[Tensor, Tensor]:
    return cifar10_jpeg(test=test, count=count)


class _Sentences:
    """Each sentence of some pairs once, sentences of one length together."""

    def __init__(self, model: MiniLm, pairs: SentencePairs):
        self.scores = pairs.scores
        of_length: dict[int, list[str]] = defaultdict(list)
        tokens = {sentence: model.tokens(sentence) for pair in pairs.pairs for sentence in pair}
        for sentence in tokens:
            of_length[len(tokens[sentence])].append(sentence)
        ordered = [of_length[length] for length in sorted(of_length)]
        self.batches = [
            part
            for same in ordered
            for part in torch.tensor([tokens[s] for s in same]).split(SENTENCES_AT_ONCE)
        ]
        place = {sentence: i for i, sentence in enumerate(s for same in ordered for s in same)}
        self.first, self.second = ([place[pair[side]] for pair in pairs.pairs] for side in (0, 1))

    def similarities(self, outputs: Sequence[Tensor]) -> np.ndarray:
        """The cosine of each pair: float64 [n]."""
        vectors = torch.cat(list(outputs)).double()
        return (vectors[self.first] * vectors[self.second]).sum(1).numpy()


class SentenceBenchmark(Benchmark):
    """The first ``count`` pairs of the STS benchmark's test set (None: all)."""

    name, metric, unit = "minilm", "Spearman", "pairs"
    description = "all-MiniLM-L6-v2 on the test set of the English STS benchmark"

    def __init__(self, *, count: int | None, seed: int):
        self.model = pretrained_minilm()
        self.seed = seed
        test = sts_benchmark(test=True, count=count, download=True)
        others = sts_benchmark(test=False, count=CALIBRATION_PAIRS, download=True)
        self.test, self.calibration = _Sentences(self.model, test), _Sentences(self.model, others)
        self.n = len(test.pairs)
        self.batches = self.test.batches
        self.calibration_batches = self.calibration.batches
        passes = [sample_layers(self.model, batch, seed=seed) for batch in self.calibration.batches]
        self.samples = [_merged(samples) for samples in zip(*passes, strict=True)]
        longest = max(batch.shape[1] for batch in (*self.batches, *self.calibration.batches))
        self.longest = [
            longest if len({sample.length for sample in samples}) > 1 else None
            for samples in zip(*passes, strict=True)
        ]

    def score(self, outputs: Sequence[Tensor]) -> float:
        return spearman(self.test.similarities(outputs), self.test.scores)

    def compared(self, outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> dict[str, Any]:
        ours, float32 = self.test.similarities(outputs), self.test.similarities(reference)
        value, wanted = (spearman(each, self.test.scores) for each in (ours, float32))
        return {
            "value": value,
            "float32_value": wanted,
            "difference": value - wanted,
            "interval": list(paired_spearman_interval(ours, float32, self.test.scores, seed=self.seed)),
        }

    def calibration_score(self) -> float:
        outputs = self.outputs(self.calibration_batches)
        return spearman(self.calibration.similarities(outputs), self.calibration.scores)


def _merged(samples: Sequence[LayerSample]) -> LayerSample:
    """Samples of one product in several passes: the extents of all, and the rows of the middle one."""
    return replace(
        samples[len(samples) // 2],
        x_largest=max(sample.x_largest for sample in samples),
        w_largest=max(sample.w_largest for sample in samples),
    )


#: Name -> makes the benchmark, of so many images and pairs, from a seed.
BENCHMARKS: dict[str, Callable[[int | None, int | None, int], Benchmark]] = {
    "resnet20": lambda images, pairs, seed: ImageBenchmark(20, count=images, seed=seed),
    "resnet56": lambda images, pairs, seed: ImageBenchmark(56, count=images, seed=seed),
    "minilm": lambda images, pairs, seed: SentenceBenchmark(count=pairs, seed=seed),
}

"""A network that is small enough to measure whole rows of in tests."""

import json

import torch
from torch import nn

from sim.calibrate import sample_layers
from sim.zero_shot import __main__ as command
from sim.zero_shot.benchmarks import BENCHMARKS, ImageBenchmark

__all__ = ["Toy", "run", "use_toy"]


class Toy(ImageBenchmark):
    """A perceptron on random numbers, whose labels are mostly its own guesses."""

    def __init__(self, count):
        torch.manual_seed(0)
        self.name = "resnet20"
        self.model = (
            nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 10)).eval().requires_grad_(False)
        )
        images = torch.randn(count or 60, 12)
        self.labels = self.model(images).argmax(1)
        self.labels[::7] = 0
        self.n = len(images)
        self.batches = list(images.split(8))
        self.calibration_batches, self.calibration_labels = [images], self.labels
        self.samples = sample_layers(self.model, images, seed=0)
        self.longest = [None] * len(self.samples)


def use_toy(monkeypatch):
    """Put it in the place of resnet20."""
    monkeypatch.setitem(BENCHMARKS, "resnet20", lambda images, pairs, seed: Toy(images))


def run(path, *arguments):
    """The results file of the command."""
    assert command.main(["--networks", "resnet20", "-o", str(path), *arguments]) == 0
    return json.loads(path.read_text())

"""Images to learn from, in batches that are cropped and mirrored where they lie; CIFAR-10 decoded once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.benchmark_data import DATA_FILES, cifar10_jpeg
from sim.data import BUILD, Images, fashion_mnist
from sim.finetune.training import Batches, step_seed

__all__ = ["ImageBatches", "accuracy", "cifar10", "fashion"]

#: Pixels that a crop may be off, to either side.
_MARGIN = 4


class ImageBatches(Batches):
    """Labelled images, shuffled anew in each epoch; what does not fill the last batch is left out.

    Parameters
    ----------
    images, labels : Tensor
        float32 [n, c, h, w] and int64 [n], on the device that trains.
    augment : bool
        Crop each image at random out of itself with a margin of 4 pixels around, and mirror half of them.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, batch_size: int, augment: bool):
        self.images, self.labels = images, labels
        self.batch_size, self.augment = min(batch_size, len(images)), augment
        self.steps = len(images) // self.batch_size
        self.name = f"{len(images)} images in batches of {self.batch_size}" + ", augmented" * augment
        self._order: tuple[tuple[int, int], Tensor] | None = None

    def batch(self, seed: int, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        picked = self._epoch(seed, epoch)[step * self.batch_size :][: self.batch_size]
        picked = picked.to(self.images.device)
        images, labels = self.images[picked], self.labels[picked]
        if self.augment:
            generator = torch.Generator().manual_seed(step_seed(seed, epoch, step))
            images = _augmented(images, generator)
        return images, labels

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return functional.cross_entropy(model(images), labels)

    def _epoch(self, seed: int, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != (seed, epoch):
            generator = torch.Generator().manual_seed(step_seed(seed, epoch))
            self._order = (seed, epoch), torch.randperm(len(self.images), generator=generator)
        return self._order[1]


def _augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image cropped out of itself with a black margin, and mirrored or not."""
    count, _, height, width = images.shape
    down, right = torch.randint(2 * _MARGIN + 1, (2, count, 1), generator=generator).to(images.device)
    mirrored = (torch.rand(count, 1, generator=generator) < 0.5).to(images.device)
    columns = torch.arange(width, device=images.device)
    columns = right + torch.where(mirrored, columns.flip(0), columns)
    rows = down + torch.arange(height, device=images.device)
    padded = functional.pad(images, [_MARGIN] * 4).permute(0, 2, 3, 1)
    which = torch.arange(count, device=images.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """The share of images whose largest output is their label's."""
    return float((outputs.argmax(1) == labels).double().mean())


def cifar10(*, test: bool) -> tuple[Tensor, Tensor]:
    """All of :func:`sim.benchmark_data.cifar10_jpeg`, decoded on the first call and kept under build/."""
    source = f"{DATA_FILES['cifar10-jpeg.npz'].sha256[:12]}-pillow-{version('pillow')}"

    def decoded() -> dict[str, Tensor]:
        images, labels = cifar10_jpeg(test=test, count=None)
        return {"images": images, "labels": labels}

    kept = _kept(f"cifar10-{'test' if test else 'train'}-{source}.npz", decoded)
    return kept["images"], kept["labels"]


def fashion(*, train: int) -> Images:
    """The first training images of Fashion-MNIST, and all test images; kept under build/ as pixels."""

    def read() -> dict[str, Tensor]:
        data = asdict(fashion_mnist(train=train, test=10_000, download=False))
        return {
            name: (values * 255).round().to(torch.uint8) if values.is_floating_point() else values
            for name, values in data.items()
        }

    kept = _kept(f"fashion-mnist-{train}.npz", read)
    pixels = {name: values / 255 for name, values in kept.items() if values.dtype == torch.uint8}
    return Images(**{**kept, **pixels})


def _kept(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of a file under build/, which is made where it is not there."""
    path = BUILD / "finetune" / name
    if not path.is_file():
        arrays = {key: values.numpy() for key, values in make().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{os.getpid()}-{name}")
        try:
            np.savez(unfinished, **arrays)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file}

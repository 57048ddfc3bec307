"""Small networks that are trained on the spot, in float32, from a seed."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.data import BUILD, Images

__all__ = ["conv_net", "mlp", "train", "trained"]


def mlp() -> nn.Module:
    """8x8 digits through two hidden layers of 128."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def conv_net() -> nn.Module:
    """28x28 images through two 3x3 convolutions of 8 and 16 channels, with batch norm, and two layers."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(784, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def train(make: Callable[[], nn.Module], data: Images, *, epochs: int, seed: int) -> nn.Module:
    """Train in float32: Adam with one cosine from 3e-3 to 0, batches of 64. Gives a model in eval mode.

    On one thread: the weights depend on the order of sums, and that on the number of threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(make, data, epochs, seed)
    finally:
        torch.set_num_threads(threads)


def _train(make: Callable[[], nn.Module], data: Images, epochs: int, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
    steps = epochs * (len(data.train_labels) // 64)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(data.train_labels), generator=generator).split(64):
            if len(batch) < 64:
                continue
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(data.train_images[batch]), data.train_labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def trained(make: Callable[[], nn.Module], data: Images, *, epochs: int, seed: int) -> nn.Module:
    """:func:`train`, or what it gave before for the same code, data, seed and library version."""
    path = BUILD / "networks" / f"{_key(make, data, epochs, seed)}.pt"
    if path.is_file():
        model = make()
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    model = train(make, data, epochs=epochs, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{torch.initial_seed()}.tmp")
    torch.save(model.state_dict(), unfinished)
    unfinished.replace(path)
    return model


def _key(make: Callable[[], nn.Module], data: Images, epochs: int, seed: int) -> str:
    digest = hashlib.sha256(inspect.getsource(sys.modules[__name__]).encode())
    digest.update(f"{make.__name__} {epochs} {seed} {torch.__version__}".encode())
    for tensor in (data.train_images, data.train_labels):
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:24]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()

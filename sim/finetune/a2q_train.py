"""One training of the comparison: from the pretrained network, by a method and a seed, to a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from golden.config import MacConfig
from golden.gradients import GradientRule
from sim.backends import Backend, find_backend
from sim.evaluate import packed
from sim.finetune.a2q_bounds import least_bits, reach
from sim.finetune.a2q_methods import Method, Weights
from sim.finetune.a2q_weights import REGULARIZER_WEIGHT, AccumulatorAwareWeights, apply_projection
from sim.finetune.images import ImageBatches, cifar10
from sim.finetune.integer import HIDDEN_BITS, IntegerResNet, WeightQuantizer, integers
from sim.finetune.integer_sums import Counts, ExactSums, NarrowSums
from sim.finetune.training import Optimization, Optimizer, Stage, train
from sim.networks.resnet import pretrained_resnet
from sim.zero_shot.measure import environment

__all__ = ["Settings", "key", "run_one"]

#: Training images that activations' scales start from.
CALIBRATION_IMAGES = 512

#: Test images that pass through the network together.
IMAGES_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all methods share."""

    epochs: int
    rate: float  #: Adam's first; it falls to 0 on a cosine.
    batch_size: int
    train_images: int  #: The first so many.
    test_images: int
    held_out: bool  #: Judged on the last training images instead of test images: for choosing settings.
    device: str
    backend: str


def key(method: Method, seed: int, settings: Settings) -> str:
    """What a finished run is known by."""
    judged = "training images held out" if settings.held_out else "test images"
    return (
        f"{method.name} (rule {method.rule}{', watched' * method.watched}), seed {seed}, "
        f"{settings.epochs} epochs of {settings.train_images} images in batches of {settings.batch_size}, "
        f"rate {settings.rate:g}, {settings.test_images} {judged}, {settings.backend}"
    )


def _stage(method: Method, settings: Settings) -> Stage:
    """The network brings its arithmetic along, so that nothing is to be put around its products."""
    return Stage(
        name=method.name, epochs=settings.epochs, rate=settings.rate, products=lambda seed: nullcontext()
    )


def _narrow(method: Method, backend: Backend) -> NarrowSums:
    return NarrowSums(
        MacConfig.parse(method.config),
        backend,
        rule=GradientRule.parse(method.rule),
        watched=method.watched,
    )


def _network(method: Method, backend: Backend, images: Tensor) -> nn.Module:
    """The network before training."""
    float_model = pretrained_resnet(20).to(images.device)
    if method.weights is Weights.FLOAT:
        return float_model

    def weights(weight: Tensor) -> nn.Module:
        if method.weights is Weights.LEARNED:
            return WeightQuantizer(weight, HIDDEN_BITS)
        plus = method.weights is Weights.A2Q_PLUS
        bits = MacConfig.parse(method.config).accumulator.format.bits
        return AccumulatorAwareWeights(weight, bits=bits, zero_centered=plus).to(weight.device)

    calibration = images[:CALIBRATION_IMAGES]
    network = IntegerResNet(
        float_model,
        weights=weights,
        sums=lambda: _narrow(method, backend) if method.through else ExactSums(),
        images=calibration,
    ).to(images.device)
    if method.weights in (Weights.A2Q, Weights.A2Q_PLUS):
        apply_projection(network, calibration[:2])
        network.calibrate(calibration)
    return network


def _regularizer(network: nn.Module) -> Tensor | float:
    """What accumulator-aware weights add to the loss of a step."""
    aware = [each for each in network.modules() if isinstance(each, AccumulatorAwareWeights)]
    return REGULARIZER_WEIGHT * sum(each.excess() for each in aware)


def run_one(
    method: Method,
    seed: int,
    settings: Settings,
    *,
    checkpoint: Path | None,
    keep: Path | None,
    stop: Callable[[], bool],
    report: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any] | None:
    """Train, judge, and keep the network. None where it was stopped; its checkpoint goes on from there."""
    torch.manual_seed(seed)
    backend = find_backend(settings.backend)
    images, labels, test_images, test_labels = _data(settings)
    start = time.perf_counter()
    network = _network(method, backend, images)
    before = _outputs(network, test_images[:IMAGES_AT_ONCE])
    trained = train(
        network,
        ImageBatches(images, labels, batch_size=settings.batch_size, augment=True),
        [_stage(method, settings)],
        Optimization(
            optimizer=Optimizer.ADAM, momentum=0.9, weight_decay=0.0, train_batch_norm=True, clip_norm=None
        ),
        seed=seed,
        checkpoint=checkpoint,
        extra_loss=_regularizer,
        stop=stop,
        report=report,
    )
    if not trained.finished:
        return None
    seconds = time.perf_counter() - start
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), keep)
    layers = _judged_by(network, method, backend) if isinstance(network, IntegerResNet) else []
    right = _outputs(network, test_images).argmax(1).cpu() == test_labels
    return {
        "key": key(method, seed, settings),
        "method": method.name,
        "label": method.label,
        "rule": method.rule,
        "watched": method.watched,
        "config": method.config,
        "seed": seed,
        "settings": asdict(settings),
        "value": float(right.double().mean()),
        "n": len(test_labels),
        "correct": packed(right.numpy()),
        "start_value": float((before.argmax(1).cpu() == test_labels[: len(before)]).double().mean()),
        "start_n": len(before),
        "losses": trained.losses,
        "seconds": seconds,
        "layers": [each() for each in layers],
        "made_by": environment(settings.backend) | _versions(settings.device),
    }


def _data(settings: Settings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    images, labels = cifar10(test=False)
    if settings.held_out:
        test_images, test_labels = images[-settings.test_images :], labels[-settings.test_images :]
        images, labels = images[: -settings.test_images], labels[: -settings.test_images]
    else:
        test_images, test_labels = (each[: settings.test_images] for each in cifar10(test=True))
    images, labels = images[: settings.train_images], labels[: settings.train_images]
    device = settings.device
    return images.to(device), labels.to(device), test_images.to(device), test_labels


@torch.no_grad()
def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    network.eval()
    return torch.cat([network(batch) for batch in images.split(IMAGES_AT_ONCE)])


def _judged_by(network: IntegerResNet, method: Method, backend: Backend) -> list[Callable[[], dict]]:
    """Put the method's accumulator into every hidden layer, counting; what to ask for afterwards."""
    asked = []
    for name, layer in network.hidden.items():
        if method.config is not None:
            layer.sums = _narrow(method, backend)
        layer.sums.counts = counts = Counts()
        with torch.no_grad():
            weight = integers(layer.weights())
        channels = reach(weight.cpu(), 2**HIDDEN_BITS - 1)
        bits = [least_bits(*channel) for channel in channels]
        magnitudes = weight.abs()

        def row(name=name, counts=counts, bits=bits, weight=weight, magnitudes=magnitudes) -> dict[str, Any]:
            return {
                "name": name,
                "length": weight[0].numel(),
                "guaranteed_bits": max(bits),
                "mean_magnitude": float(magnitudes.mean()),
                "largest_magnitude": int(magnitudes.max()),
                "zeros": float((magnitudes == 0).double().mean()),
                "outputs": counts.outputs,
                "changed": counts.changed,
            }

        asked.append(row)
    return asked


def _versions(device: str) -> dict[str, Any]:
    brevitas = version("brevitas") if find_spec("brevitas") else None
    gpu = torch.cuda.get_device_name() if device.startswith("cuda") else None
    return {"brevitas": brevitas, "gpu": gpu}

"""What commands take as a model: a network with its inputs, and what its outputs are judged by.

A reference names one: ``digits``, ``fashion-mnist``, ``resnet20``, ``resnet56``, ``minilm``; a Python file
and a function in it, ``path/to/file.py:function``; or ``path/to/model.onnx``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from golden.config import ConfigError
from sim.calibrate import fold_batch_norm
from sim.data import DataError, digits_folds, fashion_mnist
from sim.models import conv_net, mlp, trained
from sim.workload import (
    Arguments,
    Classification,
    Likeness,
    Similarity,
    Workload,
    check_runs,
    example_workload,
    in_words,
)

__all__ = [
    "NAMES",
    "Classification",
    "Likeness",
    "Similarity",
    "Workload",
    "example_workload",
    "find_workload",
]

#: Inputs that go through a network together, and those that calibration sees.
_AT_ONCE = 250
_CALIBRATION = 256

#: Test inputs of a built-in network where no number is asked for, and training images of Fashion-MNIST's.
_COUNT = 500
_FASHION_TRAIN = 20_000


def _in_batches(images: Tensor) -> list[Arguments]:
    return [(part,) for part in images.split(_AT_ONCE)]


def _digits(count: int | None, seed: int) -> Workload:
    fold = digits_folds()[0]
    model = fold_batch_norm(trained(mlp, fold, epochs=30, seed=seed))
    return _classification(
        "digits",
        "the digits of scikit-learn that the first fold tests; perceptron 64-128-128-10",
        model,
        (fold.test_images[:count], fold.test_labels[:count]),
        (fold.train_images[:_CALIBRATION], fold.train_labels[:_CALIBRATION]),
    )


def _fashion(count: int | None, seed: int) -> Workload:
    data = fashion_mnist(train=_FASHION_TRAIN, test=count or 10_000, download=False)
    model = fold_batch_norm(trained(conv_net, data, epochs=3, seed=seed))
    return _classification(
        "fashion-mnist",
        f"Fashion-MNIST's test set; two convolutions and two linear layers, {_FASHION_TRAIN} training images",
        model,
        (data.test_images, data.test_labels),
        (data.train_images[:_CALIBRATION], data.train_labels[:_CALIBRATION]),
    )


def _resnet(depth: int) -> Callable[[int | None, int], Workload]:
    def make(count: int | None, _seed: int) -> Workload:
        from sim.benchmark_data import cifar10_jpeg
        from sim.networks.resnet import pretrained_resnet

        return _classification(
            f"resnet{depth}",
            f"ResNet-{depth} on the JPEG copy of CIFAR-10's test set, batch norm folded",
            pretrained_resnet(depth).fold_batch_norm(),
            cifar10_jpeg(test=True, count=count),
            cifar10_jpeg(test=False, count=_CALIBRATION),
        )

    return make


def _minilm(count: int | None, seed: int) -> Workload:
    from sim.benchmark_data import sts_benchmark
    from sim.networks.minilm import pretrained_minilm
    from sim.zero_shot.benchmarks import CALIBRATION_PAIRS, SentenceBenchmark, _Sentences

    model = pretrained_minilm()
    test = sts_benchmark(test=True, count=count, download=True)
    others = sts_benchmark(test=False, count=CALIBRATION_PAIRS, download=True)
    return Similarity(
        name=SentenceBenchmark.name,
        description=SentenceBenchmark.description,
        model=model,
        test=_Sentences(model, test),
        calibrated=_Sentences(model, others),
        unit=SentenceBenchmark.unit,
        seed=seed,
    )


def _classification(
    name: str,
    description: str,
    model: nn.Module,
    test: tuple[Tensor, Tensor],
    calibration: tuple[Tensor, Tensor],
) -> Classification:
    return Classification(
        name=name,
        description=description,
        model=model,
        batches=_in_batches(test[0]),
        labels=test[1],
        calibration=_in_batches(calibration[0]),
        calibration_labels=calibration[1],
        unit="images",
    )


#: Built-in name -> makes the workload of so many test inputs (None: all) from a seed.
_BUILT_IN: dict[str, Callable[[int | None, int], Workload]] = {
    "digits": _digits,
    "fashion-mnist": _fashion,
    "resnet20": _resnet(20),
    "resnet56": _resnet(56),
    "minilm": _minilm,
}

NAMES = tuple(_BUILT_IN)


def find_workload(reference: str, *, count: int | None = _COUNT, seed: int = 0) -> Workload:
    """The workload that ``reference`` names.

    ``count`` limits the test inputs of built-in networks (None: all there are); ``seed`` is of the training
    of those that are trained here, and of random inputs. Raises :class:`ConfigError` with what would work.
    """
    if count is not None and count < 1:
        raise ConfigError(f"a score needs at least one input, not {count}")
    if reference in _BUILT_IN:
        try:
            return _BUILT_IN[reference](count, seed)
        except DataError as error:
            raise ConfigError(f"{reference} needs data that are not here: {error}") from error
    path, colon, function = reference.rpartition(":")
    if colon and path.endswith(".py"):
        return _of_file(Path(path), function, reference)
    if reference.endswith(".onnx"):
        from sim.onnx_import import onnx_workload

        return onnx_workload(Path(reference), seed=seed)
    hint = "add the function that makes it, as in net.py:make" if reference.endswith(".py") else _hint()
    raise ConfigError(f"there is no model called {reference!r}; {hint}")


def _hint() -> str:
    return f"use {', '.join(NAMES)}, path/to/file.py:function or path/to/model.onnx"


def _of_file(path: Path, function: str, reference: str) -> Workload:
    if not path.is_file():
        raise ConfigError(f"{reference}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{reference}: {path} cannot be run ({in_words(error)})") from error
    make = getattr(module, function, None)
    if not callable(make):
        raise ConfigError(f"{reference}: {path} has no function {function!r}")
    try:
        made = make()
    except Exception as error:
        raise ConfigError(
            f"{reference}: {function}() failed ({in_words(error)}); it gets no arguments"
        ) from error
    if not isinstance(made, Workload):
        return _of_returned(made, reference)
    check_runs(reference, made.model, [*made.batches[:1], *made.calibration[:1]])
    return made


def _of_returned(made: Any, reference: str) -> Workload:
    shape = "return (model, inputs), (model, inputs, labels) or a sim.workloads.Workload"
    if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[0], nn.Module):
        raise ConfigError(f"{reference} gave {type(made).__name__}; {shape}")
    return example_workload(*made, name=Path(reference.rpartition(":")[0]).stem)

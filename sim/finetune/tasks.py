"""What is trained, on what, and how it is judged: perceptrons from nothing, ResNet-20 and MiniLM onward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.benchmark_data import sts_benchmark
from sim.data import Images, digits_folds
from sim.finetune.images import ImageBatches, accuracy, cifar10, fashion
from sim.finetune.training import Batches, Products, evaluate, step_seed
from sim.models import conv_net, trained
from sim.networks.minilm import pretrained_minilm
from sim.networks.resnet import pretrained_resnet
from sim.statistics import spearman

__all__ = ["TASKS", "ImageTask", "PairBatches", "Task", "find_task", "perceptron"]

#: Training images at the end that rates are compared on, one in so many.
_HELD_OUT = 10

#: Training inputs that biases are taken from.
_CALIBRATION_IMAGES, _CALIBRATION_PAIRS = 256, 128

_IMAGES_AT_ONCE = 500

#: Of 1500 development pairs: a step of 16 takes a core five seconds.
_TRAINING_PAIRS = 200


class Task(ABC):
    """A network to train and the inputs it is judged by, which it has not seen."""

    name: str
    unit: str  #: Of n.
    trained_on: int  #: Training inputs.
    n: int  #: Inputs it is judged by.
    batches: Batches
    calibration: list[Tensor]  #: Training inputs, each a batch that the model takes.
    chance: float  #: The score of a network that knows nothing.

    @abstractmethod
    def model(self, seed: int) -> nn.Module:
        """The network as training finds it, on the processor."""

    @abstractmethod
    def score(self, model: nn.Module, products: Products) -> float:
        """Of the inputs it is judged by: a share of all, or a correlation."""


class ImageTask(Task):
    """Images to classify."""

    def __init__(
        self,
        name: str,
        make: Callable[[], nn.Module],
        data: Images,
        *,
        unit: str,
        batch_size: int,
        augment: bool,
        device: str,
    ):
        self.name, self._make, self.unit = name, make, unit
        self.trained_on, self.n = len(data.train_labels), len(data.test_labels)
        self.calibration = [data.train_images[:_CALIBRATION_IMAGES]]
        self.chance = 1 / int(data.train_labels.max() + 1)
        self.batches = ImageBatches(
            data.train_images.to(device), data.train_labels.to(device), batch_size=batch_size, augment=augment
        )
        self._images, self._labels = data.test_images.to(device), data.test_labels.to(device)

    def model(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._make()

    def score(self, model: nn.Module, products: Products) -> float:
        outputs = evaluate(model, self._images.split(_IMAGES_AT_ONCE), products)
        return accuracy(outputs, self._labels)


def perceptron(pixels: int, width: int) -> nn.Module:
    """Two hidden layers of ``width``, for ten classes."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


class PairBatches(Batches):
    """Pairs of sentences and how alike they are, with which the cosine of their vectors is to correlate.

    The loss is 1 less Pearson's correlation in the batch: the scale of cosines need not be people's.
    """

    def __init__(self, tokens: Sequence[tuple[list[int], list[int]]], scores: Tensor, *, batch_size: int):
        self.tokens, self.scores, self.batch_size = tokens, scores, min(batch_size, len(tokens))
        self.steps = len(tokens) // self.batch_size
        self.name = f"{len(tokens)} pairs in batches of {self.batch_size}"

    def batch(self, seed: int, epoch: int, step: int) -> tuple[list[tuple[list[int], list[int]]], Tensor]:
        generator = torch.Generator().manual_seed(step_seed(seed, epoch))
        order = torch.randperm(len(self.tokens), generator=generator)
        picked = order[step * self.batch_size :][: self.batch_size]
        return [self.tokens[i] for i in picked.tolist()], self.scores[picked]

    def loss(self, model: nn.Module, batch: tuple[list[tuple[list[int], list[int]]], Tensor]) -> Tensor:
        pairs, scores = batch
        sentences = _Sentences(pairs, scores.device)
        vectors = torch.cat([model(each) for each in sentences.batches])
        cosines = sentences.cosines(vectors)
        return 1 - functional.cosine_similarity(cosines - cosines.mean(), scores - scores.mean(), dim=0)


class _Sentences:
    """Both sentences of some pairs, those of one length together: nothing is padded."""

    def __init__(self, pairs: Sequence[tuple[list[int], list[int]]], device: torch.device | str):
        of_length: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for i, pair in enumerate(pairs):
            for side in (0, 1):
                of_length[len(pair[side])].append((i, side))
        ordered = [place for length in sorted(of_length) for place in of_length[length]]
        self.batches = [
            torch.tensor([pairs[i][side] for i, side in places], device=device)
            for _, places in sorted(of_length.items())
        ]
        where = {place: row for row, place in enumerate(ordered)}
        self._first, self._second = (
            torch.tensor([where[i, side] for i in range(len(pairs))], device=device) for side in (0, 1)
        )

    def cosines(self, vectors: Tensor) -> Tensor:
        """Of each pair, given the vectors of length one of all batches, joined."""
        return (vectors[self._first] * vectors[self._second]).sum(1)


class _MiniLm(Task):
    """The published MiniLM, on the STS benchmark's development pairs, judged by its test pairs."""

    name, chance = "minilm", 0.0

    def __init__(self, *, held_out: bool, limit: int | None, device: str):
        self.unit = _unit("pairs", held_out)
        self._published = pretrained_minilm()
        pairs, scores = self._read(test=False, limit=min(limit or _TRAINING_PAIRS, _TRAINING_PAIRS))
        test_pairs, test_scores = self._read(test=True, limit=limit)
        if held_out:
            kept = len(pairs) - len(pairs) // _HELD_OUT
            test_pairs, test_scores = pairs[kept:], scores[kept:]
            pairs, scores = pairs[:kept], scores[:kept]
        self.trained_on, self.n = len(pairs), len(test_pairs)
        self.batches = PairBatches(pairs, scores.to(device), batch_size=16)
        self.calibration = _Sentences(pairs[:_CALIBRATION_PAIRS], "cpu").batches
        self._test, self._scores = _Sentences(test_pairs, device), test_scores

    def _read(self, *, test: bool, limit: int | None) -> tuple[list[tuple[list[int], list[int]]], Tensor]:
        data = sts_benchmark(test=test, count=limit, download=True)
        tokens = [tuple(self._published.tokens(sentence) for sentence in pair) for pair in data.pairs]
        return tokens, torch.tensor(data.scores, dtype=torch.float32)

    def model(self, seed: int) -> nn.Module:
        return pretrained_minilm()

    def score(self, model: nn.Module, products: Products) -> float:
        vectors = evaluate(model, self._test.batches, products)
        return spearman(self._test.cosines(vectors.double()).cpu().numpy(), self._scores.numpy())


def _unit(what: str, held_out: bool) -> str:
    return f"training {what} put aside" if held_out else f"test {what}"


def _digits(*, held_out: bool, limit: int | None, device: str) -> list[Task]:
    folds = [_cut(fold, held_out=held_out, limit=limit) for fold in digits_folds()]
    options = dict(unit=_unit("images", held_out), batch_size=64, augment=False, device=device)
    return [
        ImageTask(f"digits, fold {i}", partial(perceptron, 64, 256), fold, **options)
        for i, fold in enumerate(folds)
    ]


def _fashion(*, held_out: bool, limit: int | None, device: str) -> list[Task]:
    data = _cut(fashion(train=10_000), held_out=held_out, limit=limit)
    options = dict(unit=_unit("images", held_out), batch_size=100, augment=False, device=device)
    return [ImageTask("fashion-mnist", partial(perceptron, 784, 256), data, **options)]


def _fashion_conv(*, held_out: bool, limit: int | None, device: str) -> list[Task]:
    data = _cut(fashion(train=10_000), held_out=held_out, limit=limit)
    options = dict(unit=_unit("images", held_out), batch_size=100, augment=False, device=device)

    class Trained(ImageTask):
        """Starts from what float32 training gives, one for each seed."""

        def model(self, seed: int) -> nn.Module:
            return trained(conv_net, data, epochs=3, seed=seed)

    return [Trained("fashion-conv", conv_net, data, **options)]


def _resnet20(*, held_out: bool, limit: int | None, device: str) -> list[Task]:
    (images, labels), (test_images, test_labels) = cifar10(test=False), cifar10(test=True)
    data = Images(train_images=images, train_labels=labels, test_images=test_images, test_labels=test_labels)
    data = _cut(data, held_out=held_out, limit=limit)
    options = dict(unit=_unit("images", held_out), batch_size=128, augment=True, device=device)
    return [ImageTask("resnet20", partial(pretrained_resnet, 20), data, **options)]


def _cut(data: Images, *, held_out: bool, limit: int | None) -> Images:
    """The first ``limit`` images of each set; ``held_out``: the last training images are the test's."""
    images, labels = data.train_images[:limit], data.train_labels[:limit]
    test_images, test_labels = data.test_images[:limit], data.test_labels[:limit]
    if held_out:
        kept = len(labels) - len(labels) // _HELD_OUT
        test_images, test_labels = images[kept:], labels[kept:]
        images, labels = images[:kept], labels[:kept]
    return Images(train_images=images, train_labels=labels, test_images=test_images, test_labels=test_labels)


#: Name -> makes the networks of a task: several where each is judged by another part of the data.
TASKS = {
    "digits": _digits,
    "fashion-mnist": _fashion,
    "fashion-conv": _fashion_conv,
    "resnet20": _resnet20,
    "minilm": lambda **options: [_MiniLm(**options)],
}


@cache
def find_task(name: str, *, held_out: bool, limit: int | None, device: str) -> list[Task]:
    """The networks of a task. Raises :class:`sim.data.DataError` where its data are not to be had.

    ``held_out``: judged by the last tenth of the training inputs, which are then not trained on.
    ``limit``: the first so many inputs of each set, for a trial.
    """
    return TASKS[name](held_out=held_out, limit=limit, device=device)

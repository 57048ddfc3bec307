"""A network with its inputs, and what its outputs are judged by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from golden.config import ConfigError
from sim.statistics import paired_interval, paired_spearman_interval, spearman

__all__ = [
    "Arguments",
    "Classification",
    "Likeness",
    "Similarity",
    "Workload",
    "check_runs",
    "example_workload",
    "first_tensor",
    "in_words",
]

#: Arguments of one call of a model.
Arguments = tuple[Any, ...]


class Workload(ABC):
    """A network in eval mode, test inputs in batches, inputs to calibrate on, and a score of its outputs.

    ``batches`` and ``calibration`` are lists of tuples of arguments: ``model(*batches[0])``. Calibration
    inputs are training data where the network has any, and are never among the test inputs of a built-in
    network.
    """

    metric: str  #: What :meth:`score` gives, such as ``accuracy``.
    score_unit: str  #: ``%`` or, for a correlation, nothing.

    def __init__(
        self,
        *,
        name: str,
        description: str,
        model: nn.Module,
        batches: Sequence[Arguments],
        calibration: Sequence[Arguments],
        n: int,
        unit: str,
    ):
        self.name = name
        self.description = description
        self.model = model.eval()
        self.batches = list(batches)
        self.calibration = list(calibration)
        self.n = n  #: Test inputs,
        self.unit = unit  #: and what they are: ``images``.

    @torch.no_grad()
    def outputs(self, batches: Sequence[Arguments] | None = None) -> list[Tensor]:
        """What the network gives for these batches (None: the test inputs), computed as products are now."""
        return [first_tensor(self.model(*batch)) for batch in (self.batches if batches is None else batches)]

    @abstractmethod
    def score(self, outputs: Sequence[Tensor]) -> float:
        """The metric of the outputs for ``batches``, batch by batch: in percent, or a correlation."""

    @abstractmethod
    def calibration_score(self) -> float:
        """The metric on ``calibration``, by whatever computes products now."""

    def compared(self, outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> dict[str, Any]:
        """For the results: value, that of the reference, their difference, and its interval if known."""
        value, wanted = self.score(outputs), self.score(reference)
        return {"value": value, "float32_value": wanted, "difference": value - wanted}


class Classification(Workload):
    """Classes by the largest output, and labels that say what is right."""

    metric, score_unit = "accuracy", "%"

    def __init__(self, *, labels: Tensor, calibration_labels: Tensor, **parts):
        super().__init__(n=len(labels), **parts)
        self.labels = labels
        self.calibration_labels = calibration_labels

    def right(self, outputs: Sequence[Tensor]) -> np.ndarray:
        """Which test inputs are classified right: bool [n]."""
        return (torch.cat(list(outputs)).argmax(-1) == self.labels).numpy()

    def score(self, outputs: Sequence[Tensor]) -> float:
        return 100 * float(self.right(outputs).mean())

    def calibration_score(self) -> float:
        classes = torch.cat(self.outputs(self.calibration)).argmax(-1)
        return 100 * float((classes == self.calibration_labels).float().mean())

    def compared(self, outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> dict[str, Any]:
        low, high = paired_interval(self.right(outputs), self.right(reference))
        return {**super().compared(outputs, reference), "interval": [100 * low, 100 * high]}


class Likeness(Workload):
    """A network without labels: how like its own float32 outputs the outputs are.

    Rows of scores are compared by their largest one (percent that agree), anything else by the correlation of
    all elements.
    """

    def __init__(self, **parts):
        super().__init__(**parts)
        self._wanted = self.outputs()
        self._calibrated = self.outputs(self.calibration)
        self.labels = None
        by_class = all(each.ndim == 2 and each.shape[1] > 1 for each in self._wanted)
        self.metric = "agreement with float32" if by_class else "correlation with float32"
        self.score_unit = "%" if by_class else ""

    def score(self, outputs: Sequence[Tensor]) -> float:
        return self._like(outputs, self._wanted)

    def calibration_score(self) -> float:
        return self._like(self.outputs(self.calibration), self._calibrated)

    def _like(self, outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
        if self.score_unit == "%":
            same = [a.argmax(-1) == b.argmax(-1) for a, b in zip(outputs, wanted, strict=True)]
            return 100 * float(torch.cat(same).float().mean())
        ours, theirs = (torch.cat([each.double().flatten() for each in part]) for part in (outputs, wanted))
        return float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1])


class Similarity(Workload):
    """Vectors of sentences: how the cosines of pairs rank them, against how people do.

    ``test`` and ``calibrated`` have batches of tokens, ``similarities(outputs)`` of pairs, and people's
    ``scores``.
    """

    metric, score_unit = "Spearman", ""

    def __init__(self, *, test: Any, calibrated: Any, seed: int, **parts):
        super().__init__(
            n=len(test.scores),
            batches=[(batch,) for batch in test.batches],
            calibration=[(batch,) for batch in calibrated.batches],
            **parts,
        )
        self.test = test
        self.calibrated = calibrated
        self.seed = seed
        self.labels = None

    def score(self, outputs: Sequence[Tensor]) -> float:
        return spearman(self.test.similarities(outputs), self.test.scores)

    def calibration_score(self) -> float:
        return spearman(self.calibrated.similarities(self.outputs(self.calibration)), self.calibrated.scores)

    def compared(self, outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> dict[str, Any]:
        ours, float32 = self.test.similarities(outputs), self.test.similarities(reference)
        interval = paired_spearman_interval(ours, float32, self.test.scores, seed=self.seed)
        return {**super().compared(outputs, reference), "interval": list(interval)}


@torch.no_grad()
def check_runs(name: str, model: nn.Module, batches: Sequence[Arguments]) -> None:
    """Raise :class:`ConfigError` where there is nothing in a batch, or the model cannot be run on it."""
    model.eval()
    for batch in batches:
        first = batch[0]
        if isinstance(first, Tensor) and first.ndim and not len(first):
            raise ConfigError(
                f"{name}: a batch of shape {list(first.shape)} has no inputs; give one at least"
            )
        try:
            model(*batch)
        except Exception as error:
            raise ConfigError(
                f"{name}: the model cannot be run on its inputs ({in_words(error)}); give those that it takes"
            ) from error


def in_words(error: Exception) -> str:
    """What it is and says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def first_tensor(outputs: Any) -> Tensor:
    """The outputs, or of several the first."""
    while not isinstance(outputs, Tensor):
        if isinstance(outputs, dict):
            outputs = tuple(outputs.values())
        if not isinstance(outputs, (tuple, list)) or not outputs:
            raise ConfigError(f"a model gives tensors here, and this one gave {type(outputs).__name__}")
        outputs = outputs[0]
    return outputs


def example_workload(model: nn.Module, inputs: Any, labels: Tensor | None = None, *, name: str) -> Workload:
    """A model on inputs of its user's, which serve for calibration and test alike.

    ``inputs``: a tensor, the tuple of one call's arguments, or a list of those, batch by batch. With
    ``labels`` [n] the score is accuracy, without them likeness to float32.
    """
    batches = (
        [each if isinstance(each, tuple) else (each,) for each in inputs]
        if isinstance(inputs, list)
        else None
    )
    if batches is None:
        batches = [inputs if isinstance(inputs, tuple) else (inputs,)]
    if not batches or not all(batch and isinstance(batch[0], Tensor) for batch in batches):
        raise ConfigError(
            f"{name}: inputs are a tensor, a tuple of arguments or a list of those, and not empty"
        )
    check_runs(name, model, batches)
    if any(not batch[0].ndim for batch in batches):
        raise ConfigError(f"{name}: inputs are rows of a batch, and one is a single number; unsqueeze it")
    n = sum(len(batch[0]) for batch in batches)
    if labels is not None and len(labels) != n:
        raise ConfigError(f"{name}: there are {n} inputs and {len(labels)} labels")
    parts = dict(name=name, description=f"{name} on its own inputs", model=model, batches=batches)
    parts |= dict(calibration=batches, unit="inputs")
    if labels is None:
        return Likeness(n=n, **parts)
    return Classification(labels=labels, calibration_labels=labels, **parts)

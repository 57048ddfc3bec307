"""The training loop: stages of different arithmetic, checkpoints between any two steps, and no state besides.

What a step draws (its batch, the augmentation, dropout, the words of stochastic rounding) is a function of
(seed, epoch, step), so that a run that was killed and goes on from its checkpoint ends as one that was not.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from golden.config import ConfigError

__all__ = [
    "Batches",
    "Optimization",
    "Optimizer",
    "Products",
    "Stage",
    "Trained",
    "evaluate",
    "step_seed",
    "train",
]

#: Given a seed of random words, the context in which matrix products are computed, forward and backward.
Products = Callable[[int], AbstractContextManager]


class Optimizer(Enum):
    SGD = "sgd"  #: With Nesterov's momentum.
    ADAM = "adam"


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """How gradients become steps; the rate is the stage's."""

    optimizer: Optimizer
    momentum: float  #: Of SGD; Adam's are 0.9 and 0.999.
    weight_decay: float  #: Of matrices and kernels; vectors (biases, norms) have none.
    train_batch_norm: bool  #: Otherwise its statistics and its factors stay as they are.
    clip_norm: float | None  #: The largest norm of all gradients together.


@dataclass(frozen=True, kw_only=True)
class Stage:
    """So many epochs by one arithmetic, the rate falling from ``rate`` to 0 on a cosine."""

    name: str  #: What a checkpoint knows it by; it names the arithmetic.
    epochs: int
    rate: float
    products: Products


class Batches(ABC):
    """What a network learns from."""

    steps: int  #: Batches in an epoch.
    name: str  #: What a checkpoint knows it by.

    @abstractmethod
    def batch(self, seed: int, epoch: int, step: int) -> Any:
        """A batch, from these three and nothing else."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """A scalar."""


@dataclass(kw_only=True)
class Trained:
    """How far it came."""

    steps: int  #: Done, in all stages.
    finished: bool  #: False: it was asked to stop, and its checkpoint goes on from there.
    losses: list[float] = field(default_factory=list)  #: Means of the epochs that are finished.


def step_seed(*numbers: int) -> int:
    """A seed made of others; nearby ones give unlike seeds."""
    mixed = 0
    for number in numbers:
        mixed = ((mixed ^ number) + 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
        mixed ^= mixed >> 31
    return mixed >> 1


def train(
    model: nn.Module,
    batches: Batches,
    stages: Sequence[Stage],
    optimization: Optimization,
    *,
    seed: int,
    checkpoint: Path | None = None,
    checkpoint_every: int = 200,
    extra_loss: Callable[[nn.Module], Tensor] | None = None,
    report: Callable[[int, int, float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train the model in place, and leave it in eval mode.

    Parameters
    ----------
    stages : sequence of Stage
        In order. Each starts with an optimizer of its own.
    checkpoint : Path, optional
        Written whole every ``checkpoint_every`` steps, at the end, and where it stops; if it is there, the
        training goes on from it. :class:`ConfigError` where it is of another run.
    extra_loss : callable, optional
        Added to the loss of each step: a regularizer, given the model.
    report : callable, optional
        Told after each step how many of all are done, and the step's loss every tenth step (else NaN:
        to ask a GPU for a number is to wait for it).
    stop : callable, optional
        Asked after each step; True ends the training there.
    """
    device = next(model.parameters()).device
    model.requires_grad_(True)
    _set_mode(model, optimization)
    state = _State(model, stages, optimization)
    run = _fingerprint(model, batches, stages, optimization, seed)
    if checkpoint is not None and checkpoint.is_file():
        state.load(checkpoint, run, device)
    total = sum(stage.epochs for stage in stages) * batches.steps
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        while state.steps < total:
            loss = _step(model, batches, state, seed, extra_loss)
            if report is not None:
                report(state.steps, total, float(loss) if state.steps % 10 == 0 else math.nan)
            stopped = stop is not None and stop() and state.steps < total
            due = state.steps % checkpoint_every == 0 or state.steps == total
            if checkpoint is not None and (stopped or due):
                state.save(checkpoint, run)
            if stopped:
                break
    model.eval()
    return Trained(steps=state.steps, finished=state.steps == total, losses=state.losses)


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Iterable[Any], products: Products) -> Tensor:
    """The network's outputs for all batches of inputs, joined, by this arithmetic; in eval mode."""
    model.eval()
    outputs = []
    with products(0):
        for batch in inputs:
            outputs.append(model(batch))
    return torch.cat(outputs)


def _set_mode(model: nn.Module, optimization: Optimization) -> None:
    """Training mode; batch norm that is not trained keeps its statistics and its factors."""
    model.train()
    if not optimization.train_batch_norm:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval().requires_grad_(False)


def _step(
    model: nn.Module,
    batches: Batches,
    state: _State,
    seed: int,
    extra_loss: Callable[[nn.Module], Tensor] | None,
) -> Tensor:
    """One step of the optimizer; its loss."""
    epoch, step = divmod(state.steps, batches.steps)
    stage, fraction = state.place(epoch, step, batches.steps)
    optimizer = state.optimizer_of(stage)
    for group in optimizer.param_groups:
        group["lr"] = state.stages[stage].rate * 0.5 * (1 + math.cos(math.pi * fraction))
    drawn = step_seed(seed, epoch, step)
    torch.manual_seed(drawn)
    batch = batches.batch(seed, epoch, step)
    optimizer.zero_grad(set_to_none=True)
    with state.stages[stage].products(drawn):
        loss = batches.loss(model, batch)
        if extra_loss is not None:
            loss = loss + extra_loss(model)
        loss.backward()
    clip_norm = state.optimization.clip_norm
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(state.parameters, clip_norm)
    optimizer.step()
    loss = loss.detach()
    state.advance(loss, ends_epoch=step + 1 == batches.steps)
    return loss


class _State:
    """What a step changes: the model, the stage's optimizer, how many steps are done and their losses."""

    def __init__(self, model: nn.Module, stages: Sequence[Stage], optimization: Optimization):
        self.model, self.stages, self.optimization = model, stages, optimization
        self.parameters = [each for each in model.parameters() if each.requires_grad]
        self.steps, self.stage = 0, -1
        self.optimizer: torch.optim.Optimizer | None = None
        self.epoch_loss: Tensor | float = 0.0
        self.epoch_steps = 0
        self.losses: list[float] = []

    def place(self, epoch: int, step: int, steps: int) -> tuple[int, float]:
        """The stage of an epoch, and how much of the stage is over."""
        first = 0
        for i, stage in enumerate(self.stages):
            if epoch < first + stage.epochs:
                return i, ((epoch - first) * steps + step) / (stage.epochs * steps)
            first += stage.epochs
        raise AssertionError(f"no stage has epoch {epoch}")

    def optimizer_of(self, stage: int) -> torch.optim.Optimizer:
        if stage != self.stage:
            self.stage, self.optimizer = stage, self._made()
        return self.optimizer

    def _made(self) -> torch.optim.Optimizer:
        settings = self.optimization
        groups = [
            {
                "params": [each for each in self.parameters if each.ndim > 1],
                "weight_decay": settings.weight_decay,
            },
            {"params": [each for each in self.parameters if each.ndim <= 1], "weight_decay": 0.0},
        ]
        if settings.optimizer is Optimizer.ADAM:
            return torch.optim.AdamW(groups, lr=0.0)
        momentum = settings.momentum
        return torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=momentum > 0)

    def advance(self, loss: Tensor, *, ends_epoch: bool) -> None:
        self.steps += 1
        self.epoch_loss = self.epoch_loss + loss
        self.epoch_steps += 1
        if ends_epoch:
            self.losses.append(float(self.epoch_loss) / self.epoch_steps)
            self.epoch_loss, self.epoch_steps = 0.0, 0

    def save(self, path: Path, run: str) -> None:
        """Whole or not at all."""
        content = {
            "run": run,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": (self.steps, self.stage, float(self.epoch_loss), self.epoch_steps, self.losses),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            torch.save(content, unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def load(self, path: Path, run: str, device: torch.device) -> None:
        content = torch.load(path, weights_only=True, map_location=device)
        if content["run"] != run:
            raise ConfigError(
                f"{path} is the checkpoint of another training ({content['run']}), and this is {run}; name "
                "another file, or delete that one"
            )
        self.model.load_state_dict(content["model"])
        self.steps, self.stage, epoch_loss, self.epoch_steps, self.losses = content["progress"]
        self.epoch_loss = torch.tensor(epoch_loss, device=device)
        self.optimizer = self._made()
        self.optimizer.load_state_dict(content["optimizer"])


def _fingerprint(
    model: nn.Module,
    batches: Batches,
    stages: Sequence[Stage],
    optimization: Optimization,
    seed: int,
) -> str:
    """What two trainings have in common that may share a checkpoint."""
    parameters = sum(each.numel() for each in model.parameters())
    parts = [f"{stage.name} for {stage.epochs} epochs at {stage.rate}" for stage in stages]
    return f"{batches.name}, {parameters} parameters, {', then '.join(parts)}, {optimization}, seed {seed}"

"""All that the microscope sees of one model by one arithmetic, and how it is put together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from golden.config import ConfigError, MacConfig
from sim.layers import named_config
from sim.microscope.events import LayerEvents
from sim.microscope.locate import Finding, locate
from sim.microscope.restore import Restored, rank_layers
from sim.microscope.runner import Runner, angle_error, first_inputs
from sim.microscope.sums import SumHistogram, sum_histogram
from sim.mixed.patterns import LayerPatterns
from sim.mixed.plan import layers_of, plan_from
from sim.operands import LayerConfig
from sim.workload import Classification, Likeness, Workload, example_workload
from sim.zero_shot.measure import environment

__all__ = ["DEFAULTS", "Profile", "Settings", "profile", "profile_workload"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is looked at."""

    seed: int
    event_inputs: int  #: On which events are counted.
    sum_inputs: int  #: That sampled dot products are from,
    sum_outputs: int  #: so many of each layer.
    restore: bool  #: Make each layer exact by itself, which takes a pass over all inputs for each.
    input: int | None  #: The misclassified input to look into; None: the first.
    calibrated: bool  #: Set accumulators layer by layer; else as they are named.


#: What the command line starts from.
DEFAULTS = Settings(
    seed=0, event_inputs=100, sum_inputs=8, sum_outputs=256, restore=True, input=None, calibrated=False
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """What was found. ``to_json`` has all of it, :mod:`sim.microscope.page` makes a page of that."""

    name: str
    description: str
    config: str  #: As it was asked for.
    settings: Settings
    n: int
    unit: str
    metric: str
    score_unit: str
    scores: dict[str, float]  #: float32, exact sums of the plan's operands, and the plan.
    interval: tuple[float, float] | None  #: 95 %, of the plan's score less float32's.
    angle_errors: dict[str, float]  #: Likewise; see :func:`sim.microscope.runner.angle_error`.
    plan: list[LayerConfig]
    events: list[LayerEvents]
    histograms: list[SumHistogram]
    ranking: list[Restored]
    wrong: list[int]  #: Inputs that float32 and exact sums get right and the plan gets wrong.
    looked_into: int | None
    finding: Finding | None

    def to_json(self) -> dict[str, Any]:
        """Everything, without the waves."""
        return {
            "model": self.name,
            "description": self.description,
            "config": self.config,
            "calibrated": self.settings.calibrated,
            "n": self.n,
            "unit": self.unit,
            "seed": self.settings.seed,
            "metric": self.metric,
            "score_unit": self.score_unit,
            "scores": self.scores,
            "interval": None if self.interval is None else list(self.interval),
            "angle_errors": self.angle_errors,
            "event_inputs": min(self.settings.event_inputs, self.n),
            "layers": [each.to_json() for each in self.events],
            "plan": [layer.config.name for layer in self.plan],
            "histograms": [each.to_json() for each in self.histograms],
            "ranking": [each.to_json() for each in self.ranking],
            "wrong_inputs": self.wrong,
            "finding": None if self.finding is None else {"input": self.looked_into} | self.finding.to_json(),
            "made_by": environment("cpu"),
        }

    def write(self, folder: Path) -> Path:
        """``index.html``, ``profile.json`` and figures in a folder; the page's path."""
        from sim.microscope.results import write_profile  # which brings matplotlib and the RTL along

        return write_profile(self.to_json(), folder)


def profile(
    model: nn.Module,
    inputs: Any,
    config: str | MacConfig | LayerPatterns,
    *,
    labels: Tensor | None = None,
    settings: Settings = DEFAULTS,
) -> Profile:
    """Look at a model on inputs of its user's: a tensor, a tuple of arguments, or a list of those.

    Operands are fitted to these inputs. Without ``labels`` [n] the float32 model's own answers are right.
    """
    workload = example_workload(model, inputs, labels, name=type(model).__name__)
    return profile_workload(workload, config, settings=settings)


def profile_workload(
    workload: Workload, config: str | MacConfig | LayerPatterns, *, settings: Settings = DEFAULTS
) -> Profile:
    """Look at a workload by a configuration, or by a TOML file of patterns."""
    layers = layers_of(workload.model, workload.calibration, seed=settings.seed)
    patterns, label = _patterns(config)
    plan = plan_from(layers, patterns, calibrated=settings.calibrated)
    runner = Runner(model=workload.model, plan=plan, names=layers.names, seed=settings.seed)
    rounds = 4 + (len(runner.layers) if settings.restore else 0) + len(runner.layers)
    with tqdm(total=rounds, desc=f"{workload.name} {label}", disable=not sys.stderr.isatty()) as bar:

        def done(_what: str) -> None:
            bar.update()

        float32 = runner.float32(workload.batches)
        ours, _ = runner.run(workload.batches)
        done("plan")
        exact, _ = runner.run(workload.batches, exact=runner.layers)
        done("exact")
        some = first_inputs(workload.batches, settings.event_inputs)
        events = runner.run(some, count=True)[1].events
        done("events")
        few = first_inputs(workload.batches, settings.sum_inputs)
        kept = runner.run(few, keep=True)[1].kept
        histograms = []
        for products in kept.values():
            histograms.append(sum_histogram(products, outputs=settings.sum_outputs, seed=settings.seed))
            done("sums")
        ranking = []
        if settings.restore:
            ranking = rank_layers(runner, workload, ours=ours, float32=float32, done=done)
        wrong = _wrong(workload, float32, exact, ours)
        place, finding = _look_into(runner, workload, float32, wrong, settings.input)
        done("finding")
    compared = workload.compared(ours, float32)
    return Profile(
        name=workload.name,
        description=workload.description,
        config=label,
        settings=settings,
        n=workload.n,
        unit=workload.unit,
        metric=workload.metric,
        score_unit=workload.score_unit,
        scores={
            "float32": compared["float32_value"],
            "exact sums": workload.score(exact),
            "accumulators": compared["value"],
        },
        interval=tuple(compared["interval"]) if "interval" in compared else None,
        angle_errors={"exact sums": angle_error(exact, float32), "accumulators": angle_error(ours, float32)},
        plan=plan,
        events=list(events.values()),
        histograms=histograms,
        ranking=ranking,
        wrong=wrong,
        looked_into=place,
        finding=finding,
    )


def _patterns(config: str | MacConfig | LayerPatterns) -> tuple[LayerPatterns, str]:
    """Patterns of the configuration, and what to call it."""
    if isinstance(config, LayerPatterns):
        return config, "mixed"
    if isinstance(config, MacConfig):
        return LayerPatterns.of({"*": config}), config.name
    if config.endswith(".toml"):
        return LayerPatterns.read(config), config
    return LayerPatterns.of({"*": named_config(config)}), config


def _classes(workload: Workload, float32: Sequence[Tensor]) -> Tensor | None:
    """The right class of each input: int64 [n]; None where outputs are no scores of classes."""
    if isinstance(workload, Classification):
        return workload.labels
    if isinstance(workload, Likeness) and workload.score_unit == "%":
        return torch.cat([each.argmax(-1) for each in float32])
    return None


def _wrong(
    workload: Workload, float32: Sequence[Tensor], exact: Sequence[Tensor], ours: Sequence[Tensor]
) -> list[int]:
    wanted = _classes(workload, float32)
    if wanted is None:
        return []
    right = [torch.cat([each.argmax(-1) for each in outputs]) == wanted for outputs in (float32, exact, ours)]
    return (right[0] & right[1] & ~right[2]).nonzero().flatten().tolist()


def _look_into(
    runner: Runner, workload: Workload, float32: Sequence[Tensor], wrong: Sequence[int], asked: int | None
) -> tuple[int | None, Finding | None]:
    """The input that is looked into, and what was found: the one that is asked for, or the first."""
    if asked is not None and asked not in wrong:
        known = f"these are: {', '.join(map(str, wrong[:20]))}" if wrong else "none is"
        raise ConfigError(
            f"input {asked} is not one that float32 and exact sums get right and the accumulators wrong; "
            f"{known}"
        )
    wanted = _classes(workload, float32)
    for place in wrong if asked is None else [asked]:
        # An answer may depend on the rest of its batch by the last bit of a float32 sum around the products.
        finding = locate(runner, _single(workload.batches, place), int(wanted[place]))
        if finding is not None:
            return place, finding
    return None, None


def _single(batches: Sequence[tuple], place: int) -> tuple:
    """One input as a batch of one."""
    for batch in batches:
        size = len(batch[0])
        if place < size:
            return tuple(
                each[place : place + 1]
                if isinstance(each, Tensor) and each.ndim and len(each) == size
                else each
                for each in batch
            )
        place -= size
    raise IndexError(place)

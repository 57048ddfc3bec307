"""Searches and judges: the best uniform configuration and the best assignment that an area affords."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from golden.config import ConfigError
from sim.microscope.runner import Runner, angle_error, first_inputs
from sim.mixed.areas import Candidate
from sim.mixed.plan import Layers, layers_of
from sim.mixed.search import Assignment, area_of, best_assignments, front, undominated
from sim.mixed.sensitivity import fitted, sensitivities
from sim.operands import LayerConfig
from sim.workload import Workload
from sim.zero_shot.measure import environment

#: Calibration inputs that layers are tried on one by one.
_SENSITIVITY_INPUTS = 128

__all__ = ["Study", "judge", "table_key"]


def table_key(model: str, candidates: Sequence[Candidate], seed: int) -> str:
    """What a table of errors is known by."""
    return f"{model}, {', '.join(f'{each.name} = {each.config.name}' for each in candidates)}, seed {seed}"


@dataclass(kw_only=True, eq=False)
class Study:
    """A workload, the configurations its layers may have, and what each layer costs by each of them."""

    workload: Workload
    candidates: list[Candidate]
    seed: int
    errors: list[list[float]] = field(default_factory=list)  #: [candidate][layer], on calibration inputs.
    uniform: list[float] = field(default_factory=list)  #: [candidate]: of the whole network by it.
    _scores: dict[tuple[int, ...], list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model, calibration = self.workload.model, self.workload.calibration
        self.layers: Layers = layers_of(model, calibration, seed=self.seed)
        self.plans = [fitted(self.layers, each) for each in self.candidates]
        self.wanted = self.workload.outputs(calibration)
        self.float32 = self.workload.outputs()

    @property
    def areas(self) -> list[float]:
        return [each.um2 for each in self.candidates]

    def measure(self, done: Callable[[], None]) -> None:
        """Fill the tables; ``done`` is called after each product of a candidate, and after each candidate."""
        some = first_inputs(self.workload.calibration, _SENSITIVITY_INPUTS)
        for number, plan in enumerate(self.plans):
            self.errors.append(sensitivities(self.workload.model, some, plan, backend="cpu", done=done))
            self.uniform.append(self._error((number,) * len(plan)))
            done()

    def plan(self, choice: Sequence[int]) -> list[LayerConfig]:
        return [self.plans[c][place] for place, c in enumerate(choice)]

    def _runner(self, choice: Sequence[int]) -> Runner:
        return Runner(
            model=self.workload.model, plan=self.plan(choice), names=self.layers.names, seed=self.seed
        )

    def _error(self, choice: Sequence[int]) -> float:
        """Of the outputs for calibration inputs, measured."""
        return angle_error(self._runner(choice).run(self.workload.calibration)[0], self.wanted)

    def _outputs(self, choice: tuple[int, ...]) -> list[Tensor]:
        """For the test inputs."""
        if choice not in self._scores:
            self._scores[choice] = self._runner(choice).run(self.workload.batches)[0]
        return self._scores[choice]

    def row(self, *, budget: float, cost: str, arrays: int) -> dict[str, Any]:
        """The best uniform configuration within the budget, and the best assignment, on test inputs.

        Both are chosen by the error of the outputs for calibration inputs: predicted as the sum of what
        layers cost by themselves, then measured for those that are best by that. Raises
        :class:`ConfigError` where the budget affords nothing.
        """
        started = time.perf_counter()
        affordable = [c for c, um2 in enumerate(self.areas) if um2 <= budget]
        if not affordable:
            smallest = self.candidates[0]
            raise ConfigError(
                f"no candidate's MAC is as small as {budget:g} um2; use {smallest.um2:.0f} "
                f"({smallest.name}) or more"
            )
        products = len(self.layers.names)
        best = min(affordable, key=lambda c: self.uniform[c])
        uniform = (best,) * products
        found = best_assignments(
            self.areas, self.layers.macs, self.errors, budget=budget, cost=cost, arrays=arrays
        )
        choices = list(dict.fromkeys([uniform, *(each.choice for each in found)]))
        mixed = min(choices, key=self._error)
        row = {
            "budget_um2": budget,
            "cost": cost,
            "arrays": arrays,
            "n": self.workload.n,
            "unit": self.workload.unit,
            "metric": self.workload.metric,
            "score_unit": self.workload.score_unit,
            "float32_value": self.workload.score(self.float32),
            "uniform": self._judged(uniform, cost),
            "mixed": self._judged(mixed, cost),
            "mixed_against_uniform": self._against(mixed, uniform),
            "tried": len(choices),
        }
        if cost == "shares":
            small = self._as_good(uniform, arrays)
            row["as_good"] = self._judged(small.choice, cost)
            row["as_good_against_uniform"] = self._against(small.choice, uniform)
        return row | {"seconds": time.perf_counter() - started, "made_by": environment("cpu")}

    def _as_good(self, uniform: tuple[int, ...], arrays: int) -> Assignment:
        """The smallest assignment that is predicted to be no worse than this one."""
        limit = sum(self.errors[c][layer] for layer, c in enumerate(uniform))
        kept = undominated(self.areas, self.errors)
        options = [
            each
            for picked in _subsets(kept, arrays)
            for each in front(self.areas, self.layers.macs, self.errors, picked)
            if each.error <= limit
        ]
        return min(options, key=lambda each: (each.area, each.error))

    def _judged(self, choice: tuple[int, ...], cost: str) -> dict[str, Any]:
        compared = self.workload.compared(self._outputs(choice), self.float32)
        names = [self.candidates[c].name for c in choice]
        return {
            "layers": dict(zip(self.layers.names, names, strict=True)),
            "configs": sorted(set(names)),
            "area_um2": area_of(choice, self.areas, self.layers.macs, cost),
            "predicted_error": sum(self.errors[c][layer] for layer, c in enumerate(choice)),
            "calibration_error": self._error(choice),
            "value": compared["value"],
            "difference": compared["difference"],
            "interval": list(compared["interval"]) if "interval" in compared else None,
        }

    def _against(self, choice: tuple[int, ...], other: tuple[int, ...]) -> dict[str, Any]:
        compared = self.workload.compared(self._outputs(choice), self._outputs(other))
        interval = compared.get("interval")
        return {
            "difference": compared["difference"],
            "interval": None if interval is None else list(interval),
        }


def _subsets(items: Sequence[int], most: int) -> list[tuple[int, ...]]:
    return [picked for count in range(1, most + 1) for picked in combinations(items, count)]


@torch.no_grad()
def judge(workload: Workload, plan: Sequence[LayerConfig], names: Sequence[str], seed: int) -> dict[str, Any]:
    """A plan on the test inputs, against float32."""
    runner = Runner(model=workload.model, plan=plan, names=names, seed=seed)
    compared = workload.compared(runner.run(workload.batches)[0], workload.outputs())
    keep = ("value", "float32_value", "difference", "interval")
    return {key: compared[key] for key in keep if key in compared}

"""Cost items: what a MAC takes at a clock, as :mod:`hw.cost.record` measures it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from golden.config import MacConfig, Silicon
from hw.cost.power import Stimulus
from hw.cost.record import cost_point

__all__ = ["NO_STIMULUS", "measure"]

#: No energy is measured.
NO_STIMULUS = "none"


def measure(
    *,
    config: str,
    hardwired: bool,
    stages: int,
    technology: str,
    clock_ps: int | None,
    stimulus: str,
    seed: int,
) -> dict[str, Any]:
    """The cost record of a silicon, as JSON has it."""
    silicon = Silicon(config=MacConfig.parse(config), hardwired=hardwired)
    driven = None if stimulus == NO_STIMULUS else _stimulus(stimulus, silicon, seed)
    return asdict(cost_point(silicon, stages, technology, clock_ps, driven))


def _stimulus(name: str, silicon: Silicon, seed: int) -> Stimulus:
    from sim.activity import stimulus  # loads torch

    return stimulus(name, silicon.config, hardwired=silicon.hardwired, seed=seed)

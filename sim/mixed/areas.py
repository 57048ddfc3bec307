"""Areas of MACs: those that the report has measured already, others from the same flow."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.config import MacConfig
from hw.cost.area import area
from hw.cost.cells import builtin_library
from hw.cost.synth import golden_vectors
from sim.layers import named_config

__all__ = ["REPORTED", "Candidate", "candidates_of"]

#: Results of ``python -m sim.report``.
REPORTED = Path(__file__).resolve().parent.parent.parent / "docs" / "results" / "results.json"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A configuration that layers may have, and what one MAC of it takes."""

    name: str
    config: MacConfig
    um2: float  #: With exponent offsets in registers, so that each layer has its own.


def candidates_of(
    names: Sequence[str], *, reported: Path = REPORTED, progress: Callable[[str], None]
) -> list[Candidate]:
    """Candidates by name, the smallest first.

    An area that ``reported`` does not have is measured: the netlist is mapped and proved on golden vectors,
    which takes about a minute each the first time.
    """
    known = {}
    if reported.is_file():
        rows = json.loads(reported.read_text())["rows"]
        known = {row["config"]: row["area"]["um2"] for row in rows if row["offsets"] != "wired"}
    configs = {name: named_config(name) for name in names}
    missing = [config for config in configs.values() if config.name not in known]
    if missing:
        found = area(
            [config.silicon for config in missing],
            library=builtin_library(),
            stages=0,
            vectors=golden_vectors,
            progress=progress,
        )
        known |= {config.name: row.um2 for config, row in zip(missing, found, strict=True)}
    made = [Candidate(name=name, config=config, um2=known[config.name]) for name, config in configs.items()]
    return sorted(made, key=lambda each: each.um2)

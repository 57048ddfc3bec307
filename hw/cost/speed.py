"""Mapping for a clock: the smallest of many netlists that meets it, or the fastest if none does.

ABC's script and target decide about area and delay as much as a design does, so several are tried. First the
logic is restructured, once for all clocks: for few gates, for few levels, and for few levels by rewriting as
sums of products, each followed by rewriting that keeps the levels. Then every structure is mapped at several
targets, buffered and sized for the clock, and timed by the timer whose figure is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hw.cost.abc_timing import last_delay_ps
from hw.cost.cells import Library
from hw.cost.flow import (
    AREA_REWRITING,
    RECIPES,
    map_to_cells,
    read_design,
    run_yosys,
    sources,
    to_gates,
)

__all__ = [
    "RELAXED_PS",
    "SPEED_VERSION",
    "STRUCTURES",
    "Attempt",
    "Target",
    "candidates",
    "map_targets",
    "restructured",
]

#: Part of every cache key of what is mapped for a clock.
SPEED_VERSION = 3

#: Recovers area without adding levels; :data:`AREA_REWRITING` may add some.
_KEEPING_LEVELS = (
    "resub -K 6; rewrite; resub -K 6 -N 2; refactor; resub -K 8; resub -K 8 -N 2; rewrite; resub -K 10; "
    "rewrite -z; resub -K 10 -N 2; resub -K 12; refactor -z; resub -K 12 -N 2; rewrite -z"
)
_PRODUCTS = "if -g -K 6; strash"

#: Name -> what ABC does to the logic ahead of mapping.
STRUCTURES = {
    "small": f"{AREA_REWRITING}; dc2",
    "levels": f"{AREA_REWRITING}; if -x -K 6; strash; {_KEEPING_LEVELS}",
    "products": f"{AREA_REWRITING}; {_PRODUCTS}; {_KEEPING_LEVELS}; balance; {_KEEPING_LEVELS}; balance; "
    f"{_KEEPING_LEVELS}",
    "products2": f"{AREA_REWRITING}; if -g -K 6 -C 8; strash; {_KEEPING_LEVELS}; dch -f; {_PRODUCTS}; "
    f"{_KEEPING_LEVELS}; {_KEEPING_LEVELS}",
}

_MAP = {
    "small": "strash; dch -f; amap; topo",
    **dict.fromkeys(("levels", "products", "products2"), "strash; dch -f; map -B 0.9 -D {map_ps}; topo"),
}
#: A target that no sizing is needed for.
RELAXED_PS = 100_000

_SIZE = "buffer -c -N 10; topo; upsize -c -D {size_ps}; dnsize -c -D {size_ps}; stime -p"
_MARK = "TARGET "


@dataclass(frozen=True, slots=True)
class Target:
    """One way to map: a structure of the logic, and what ABC is told about the clock."""

    multiplier: str  #: Of :data:`hw.cost.flow.RECIPES`.
    structure: str  #: Of :data:`STRUCTURES`.
    slack: float  #: Of the mapper's target, in multiples of the sizer's.
    size_ps: int  #: The sizer's target: the time between registers.

    @property
    def recipe(self) -> str:
        """``booth products x1.8``."""
        return f"{self.multiplier} {self.structure} x{self.slack:g}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a target led to."""

    target: Target
    netlist: str
    abc_ps: float  #: ABC's own delay, without the registers.


def candidates(
    multiplier: str, logic_ps: float, structures: Sequence[str], slacks: Sequence[float]
) -> Iterator[Target]:
    """Targets to try for logic that has this long between registers.

    ``slacks``: the mapper's target in multiples of the sizer's. It counts gates at a load of its own choice,
    and comes to nearly twice the delay after sizing.
    """
    size_ps = max(1, round(logic_ps))
    for structure in structures:
        for slack in slacks if "{map_ps}" in _MAP[structure] else (1.0,):
            yield Target(multiplier, structure, slack, size_ps)


def restructured(
    verilog: str, top: str, library: Library, multiplier: str, structures: Sequence[str]
) -> dict[str, str]:
    """The design by structure, as RTLIL of and-gates, inverters, and flip-flops of the library."""
    commands = [*read_design(top), *to_gates(top, library, RECIPES[multiplier]), "design -save gates"]
    for name in structures:
        # No gates but these: what ABC found is not to be mapped yet.
        script = f"{STRUCTURES[name]}; strash; map".replace("; ", ";").replace(" ", ",")
        commands += ["design -load gates", f"abc -g AND -script +{script}", f"write_rtlil {name}.il"]
    texts = run_yosys(commands, sources(verilog, library), [f"{name}.il" for name in structures])
    return dict(zip(structures, texts, strict=True))


def map_targets(
    designs: Mapping[tuple[str, str], str], library: Library, targets: Sequence[Target]
) -> list[Attempt]:
    """Map designs of :func:`restructured`, by multiplier and structure, to each target.

    Raises :class:`hw.cost.flow.SynthesisError` if one cannot be mapped.
    """
    files, commands, outputs = {}, [], []
    for index, target in enumerate(targets):
        design = f"{target.multiplier}-{target.structure}.il"
        files[design] = designs[target.multiplier, target.structure]
        script = f"{_MAP[target.structure]}; {_SIZE}".format(
            map_ps=round(target.slack * target.size_ps), size_ps=target.size_ps
        )
        outputs.append(f"netlist{index}.v")
        commands += [
            "design -reset",
            f"read_rtlil {design}",
            f"log {_MARK}{index}",
            *map_to_cells(library, script, outputs[-1]),
        ]
    *netlists, log = run_yosys(commands, sources("", library) | files, [*outputs, "yosys.log"])
    logs = re.split(rf"^{_MARK}\d+$", log, flags=re.MULTILINE)[1:]
    return [
        Attempt(target, netlist, last_delay_ps(text))
        for target, netlist, text in zip(targets, netlists, logs, strict=True)
    ]

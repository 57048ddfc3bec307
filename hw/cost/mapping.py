"""Netlists and their areas, kept by content: the Verilog, the library, and the flow that maps."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import fsum
from pathlib import Path
from threading import get_ident

from hw.cost.cells import Library
from hw.cost.clocked import search
from hw.cost.flow import FLOW_VERSION, RECIPES, cell_counts, flat_netlists, instances, module_counts
from hw.cost.parted import parted_netlist
from hw.cost.speed import RELAXED_PS, SPEED_VERSION, candidates, map_targets, restructured
from hw.cost.timing import timer_name

__all__ = [
    "CACHE",
    "Area",
    "Netlist",
    "area_of",
    "cached_counts",
    "map_flat",
    "map_parted",
    "map_parts",
    "parted_twin",
]

#: Ignored by git. Holds builds only, never verdicts.
CACHE = Path(__file__).resolve().parents[2] / "build" / "cost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """Area of counted cells, in um2."""

    um2: float
    register_um2: float  #: The flip-flops among it.


@dataclass(frozen=True, kw_only=True, slots=True)
class Netlist:
    """A design as cells, flat: the smallest that the recipes gave, of those that meet the clock."""

    verilog: str  #: One module, which instantiates cells of the library only.
    recipe: str  #: Its first word is the multiplier's, of :data:`hw.cost.flow.RECIPES`.
    recipe_um2: dict[str, float]  #: Least area by multiplier, for any clock.
    delay_ps: float | None = None  #: By ``timer``; None where no clock was asked for.
    timer: str | None = None

    @property
    def multiplier(self) -> str:
        """How multipliers are built: a key of :data:`hw.cost.flow.RECIPES`."""
        return self.recipe.split()[0]


def area_of(counts: Mapping[str, int], library: Library) -> Area:
    """Area of instances counted by kind. Raises :class:`ConfigError` for a cell the library lacks."""
    for name in counts:
        library.model(name)
    areas = {name: count * library.cells[name].area for name, count in counts.items()}
    registers = [um2 for name, um2 in areas.items() if library.cells[name].flip_flop is not None]
    return Area(um2=fsum(areas.values()), register_um2=fsum(registers))


def map_flat(verilog: str, top: str, library: Library, cache: Path, clock_ps: float | None = None) -> Netlist:
    """Map ``top`` with every recipe and keep the smallest netlist, of those that meet the clock.

    ``clock_ps`` is the period between registers in front of the inputs and behind the outputs; None: any.
    Where no netlist meets it, the fastest is kept: look at ``delay_ps``.

    Raises :class:`hw.cost.flow.SynthesisError` if it cannot be mapped, and :class:`ConfigError` where a clock
    is asked for and the library has no timing.
    """
    if clock_ps is not None:
        return _map_for_clock(verilog, top, library, cache, clock_ps)

    def make() -> dict:
        netlists = flat_netlists(verilog, top, library)
        areas = {recipe: _um2(netlists[recipe], library) for recipe in RECIPES}
        smallest = min(RECIPES, key=areas.__getitem__)
        found = {"verilog": netlists[smallest], "recipe": smallest, "recipe_um2": areas}
        return _with_few_levels(found, verilog, top, library, cache) if library.has_timing else found

    content = [verilog, top] + ([f"levels {SPEED_VERSION}"] if library.has_timing else [])
    return Netlist(**_cached(cache / "netlists", content, library, make))


def _um2(netlist: str, library: Library) -> float:
    return area_of(cell_counts(netlist), library).um2


def _with_few_levels(found: dict, verilog: str, top: str, library: Library, cache: Path) -> dict:
    """The smaller of what was found and a netlist of fewer levels: in ASAP7 often the latter."""
    multiplier = found["recipe"]
    targets = list(candidates(multiplier, RELAXED_PS, ["levels"], [1.0]))
    designs = _structures(verilog, top, library, cache, multiplier, ["levels"])
    (attempt,) = map_targets({(multiplier, "levels"): designs["levels"]}, library, targets)
    um2 = _um2(attempt.netlist, library)
    if um2 >= found["recipe_um2"][multiplier]:
        return found
    areas = found["recipe_um2"] | {multiplier: um2}
    return {"verilog": attempt.netlist, "recipe": attempt.target.recipe, "recipe_um2": areas}


#: Structures that are made in one run.
_GROUPS = (("small", "levels"), ("products", "products2"))


def _structures(
    verilog: str, top: str, library: Library, cache: Path, multiplier: str, names: Sequence[str]
) -> dict[str, str]:
    found = {}
    for group in _GROUPS:
        if set(group) & set(names):
            found |= _cached(
                cache / "structures",
                [verilog, top, multiplier, *group, str(SPEED_VERSION)],
                library,
                partial(restructured, verilog, top, library, multiplier, group),
            )
    return {name: found[name] for name in names}


def _map_for_clock(verilog: str, top: str, library: Library, cache: Path, clock_ps: float) -> Netlist:
    def make() -> dict:
        least = map_flat(verilog, top, library, cache)
        choice = search(
            least.verilog,
            least.recipe,
            least.recipe_um2,
            partial(_structures, verilog, top, library, cache),
            top,
            library,
            clock_ps,
            partial(_um2, library=library),
        )
        return {
            "verilog": choice.netlist,
            "recipe": choice.recipe,
            "recipe_um2": least.recipe_um2,
            "delay_ps": choice.timing.delay_ps,
            "timer": choice.timing.timer,
        }

    content = [verilog, top, f"clock {clock_ps!r}", timer_name(), str(SPEED_VERSION)]
    return Netlist(**_cached(cache / "netlists", content, library, make))


def map_parted(
    verilog: str, top: str, library: Library, recipe: str, cache: Path, delay_ps: float | None = None
) -> str:
    """A flat netlist whose cells are called ``PART.number``: see :func:`hw.cost.parted.parted_netlist`.

    ``recipe`` is a :class:`Netlist`'s. ``delay_ps``: about the delay to have; None: for least area.
    """
    multiplier = recipe.split()[0]
    made = _cached(
        cache / "parted",
        [verilog, top, multiplier, repr(delay_ps), timer_name(), str(SPEED_VERSION)],
        library,
        lambda: {"verilog": parted_netlist(verilog, top, library, multiplier, delay_ps)},
    )
    return made["verilog"]


def parted_twin(verilog: str, top: str, library: Library, netlist: Netlist, cache: Path) -> str:
    """The parted netlist beside one of :func:`map_flat`: of the same multiplier, and about as fast."""
    return map_parted(verilog, top, library, netlist.recipe, cache, netlist.delay_ps)


def cached_counts(
    verilog: str, top: str, library: Library, recipe: str, cache: Path, **hierarchy
) -> dict[str, Counter[str]]:
    """:func:`hw.cost.flow.module_counts`, which takes ``hierarchy``; from the cache if it is there."""
    found = _cached(
        cache / "parts",
        [verilog, top, recipe, json.dumps(hierarchy)],
        library,
        lambda: module_counts(verilog, top, library, recipe, **hierarchy),
    )
    return {module: Counter(counts) for module, counts in found.items()}


def map_parts(verilog: str, top: str, library: Library, recipe: str, cache: Path) -> dict[str, Area]:
    """Area of each submodule of ``top``, mapped apart with all it contains, by instance name.

    What ``top`` has outside of them stands under ``""``.
    """
    modules = instances(verilog)
    parts = {name: kind for kind, name in modules[top] if kind in modules}
    kept = sorted(set(parts.values()))
    counts = cached_counts(verilog, top, library, recipe, cache, kept=kept, left_out=[], memories=[])
    own = Counter({kind: count for kind, count in counts[top].items() if kind not in kept})
    # A part that optimisation emptied is not in the netlist: it was wires.
    areas = {name: area_of(counts.get(kind, {}), library) for name, kind in parts.items()}
    return {"": area_of(own, library)} | areas


def _cached(folder: Path, content: list[str], library: Library, make: Callable[[], dict]) -> dict:
    """What ``make`` returns, kept in one file under a hash of all that it depends on."""
    versions = [str(FLOW_VERSION), importlib.metadata.version("pyosys"), library.fingerprint]
    key = hashlib.sha256("\0".join([*content, *versions]).encode()).hexdigest()
    file = folder / f"{key}.json"
    if file.is_file():
        return json.loads(file.read_text())
    made = make()
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{key}.{os.getpid()}.{get_ident()}"
    scratch.write_text(json.dumps(made))
    scratch.rename(file)
    return made

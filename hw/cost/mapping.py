"""Netlists and their areas, kept by content: the Verilog, the library, and the flow that maps."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from threading import get_ident

from hw.cost.cells import Library
from hw.cost.flow import FLOW_VERSION, RECIPES, cell_counts, flat_netlists, instances, module_counts

__all__ = ["CACHE", "Area", "Netlist", "area_of", "cached_counts", "map_flat", "map_parts"]

#: Ignored by git. Holds builds only, never verdicts.
CACHE = Path(__file__).resolve().parents[2] / "build" / "cost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """Area of counted cells, in um2."""

    um2: float
    register_um2: float  #: The flip-flops among it.


@dataclass(frozen=True, kw_only=True, slots=True)
class Netlist:
    """A design as cells, flat: the smallest that the recipes gave."""

    verilog: str  #: One module, which instantiates cells of the library only.
    recipe: str
    recipe_um2: dict[str, float]  #: Area by recipe, of all that were tried.


def area_of(counts: Mapping[str, int], library: Library) -> Area:
    """Area of instances counted by kind. Raises :class:`ConfigError` for a cell the library lacks."""
    for name in counts:
        library.model(name)
    areas = {name: count * library.cells[name].area for name, count in counts.items()}
    registers = [um2 for name, um2 in areas.items() if library.cells[name].flip_flop is not None]
    return Area(um2=fsum(areas.values()), register_um2=fsum(registers))


def map_flat(verilog: str, top: str, library: Library, cache: Path) -> Netlist:
    """Map ``top`` with every recipe and keep the smallest netlist.

    Raises :class:`hw.cost.flow.SynthesisError` if it cannot be mapped.
    """

    def make() -> dict:
        netlists = flat_netlists(verilog, top, library)
        areas = {recipe: area_of(cell_counts(netlists[recipe]), library).um2 for recipe in RECIPES}
        smallest = min(RECIPES, key=areas.__getitem__)
        return {"verilog": netlists[smallest], "recipe": smallest, "recipe_um2": areas}

    return Netlist(**_cached(cache / "netlists", [verilog, top], library, make))


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

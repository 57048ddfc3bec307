"""Areas of MACs and arrays, as rows of a report: measured, attributed to parts, and proved on vectors."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import fsum
from pathlib import Path

from golden.config import ArrayConfig, ConfigError, Silicon
from hw.array import SystolicArray
from hw.cost.cells import Library
from hw.cost.check import Simulator, Vectors, check_mac
from hw.cost.flow import cell_counts, instances
from hw.cost.mapping import CACHE, Netlist, area_of, cached_counts, map_flat, map_parts
from hw.mac import Mac
from hw.verilator_env import tool_versions
from hw.verilog import verilog_text

__all__ = ["PARTS", "AreaRow", "ArrayArea", "area", "array_area", "need_mappable"]

#: Parts of a MAC, in the order of its data path; a MAC has those that its arithmetic needs.
#: ``glue`` is the logic outside of all modules: exponent sums, offsets, signs; and the multiplexers of
#: registers with enable where the library has no flip-flop for that.
PARTS = (
    *("multiplier", "product_normalizer", "quantizer"),
    *("addend_normalizer", "acc_normalizer"),  # of numbers with subnormals
    *("aligner", "adder", "normalizer", "rounder", "glue", "registers"),
)

#: More words than this are a memory macro, whose area no table of cells knows.
MAX_MAPPED_WORDS = 512

_PROCESSES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaRow:
    """The area of one MAC: that of the flat netlist, which answered all vectors as golden does."""

    silicon: str  #: ``Silicon.mac_name``.
    stages: int
    library: str
    um2: float
    nand2: float  #: ``um2`` in two-input NANDs of the smallest drive.
    cells: int
    parts: dict[str, float]  #: um2 of each part, mapped apart; keys are of ``PARTS``.
    remainder: float  #: ``um2`` less all parts: what mapping across their borders saved, if negative.
    recipe: str  #: The smallest of those tried; its first word is the multiplier's.
    recipe_um2: dict[str, float]  #: Least area by multiplier.
    vectors: int  #: Golden vectors that the netlist was simulated on.
    events: dict[str, int]  #: Vectors among them that hit each event.
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayArea:
    """The area of an array: its MACs, each as large as the one measured, and what is around them."""

    array: str  #: ``ArrayConfig.name``.
    um2: float
    nand2: float
    parts: dict[str, float]  #: um2, of all columns together. Memories are of flip-flops.


def _mapped(mac: Mac, library: Library, cache: Path) -> tuple[Netlist, dict[str, float]]:
    """The netlist, and the areas of the parts."""
    verilog = verilog_text(mac, "mac")
    netlist = map_flat(verilog, "mac", library, cache)
    apart = map_parts(verilog, "mac", library, netlist.multiplier, cache)
    own = apart.pop("")
    parts = {name: part.um2 for name, part in apart.items()}
    parts |= {"glue": own.um2 - own.register_um2, "registers": own.register_um2}
    return netlist, {name: parts[name] for name in sorted(parts, key=PARTS.index)}


def area(
    silicons: Sequence[Silicon],
    *,
    library: Library,
    stages: int,
    vectors: Callable[[Silicon], Vectors],
    progress: Callable[[str], None],
    cache: Path = CACHE,
) -> list[AreaRow]:
    """Map, attribute and prove the MAC of each silicon; a row for each, in their order.

    Parameters
    ----------
    vectors : Callable[[Silicon], Vectors]
        Golden vectors of a silicon, at least ``MIN_VECTORS`` with every event, such as
        :func:`golden.stimulus.mac_vectors` makes. Called for every silicon every time: netlists and
        simulators are kept, verdicts never.
    progress : Callable[[str], None]
        Takes a line at a time.

    Raises :class:`hw.cost.check.NetlistError` for a netlist that is wrong or was not tried enough.
    """
    macs = [Mac(silicon, stages, events=False) for silicon in silicons]
    simulator = Simulator(library, cache)
    mapped = []
    with ThreadPoolExecutor(_PROCESSES) as pool:  # each waits for a process of its own
        results = pool.map(lambda mac: _mapped(mac, library, cache), macs)
        for count, (mac, (netlist, parts)) in enumerate(zip(macs, results, strict=True), 1):
            mapped.append((netlist, parts))
            um2 = netlist.recipe_um2[netlist.multiplier]
            progress(f"mapped {count}/{len(macs)} {mac.silicon.mac_name}: {um2:.0f} um2 ({netlist.recipe})")
    simulator.build([netlist.verilog for netlist, _ in mapped], progress)
    rows = []
    for mac, (netlist, parts) in zip(macs, mapped, strict=True):
        golden = vectors(mac.silicon)
        check_mac(simulator, netlist.verilog, mac, golden)
        rows.append(_row(mac, netlist, parts, golden, library))
        progress(f"checked {len(rows)}/{len(macs)} {mac.silicon.mac_name}: {len(golden.x)} vectors")
    return rows


def _row(
    mac: Mac, netlist: Netlist, parts: Mapping[str, float], golden: Vectors, library: Library
) -> AreaRow:
    cells = cell_counts(netlist.verilog)
    um2 = area_of(cells, library).um2
    return AreaRow(
        silicon=mac.silicon.mac_name,
        stages=mac.stages,
        library=library.name,
        um2=um2,
        nand2=um2 / library.nand2_um2,
        cells=cells.total(),
        parts=dict(parts),
        remainder=um2 - fsum(parts.values()),
        recipe=netlist.recipe,
        recipe_um2=netlist.recipe_um2,
        vectors=len(golden.x),
        events=dict(golden.counts),
        versions={"pyosys": importlib.metadata.version("pyosys")} | tool_versions(),
    )


def need_mappable(config: ArrayConfig) -> None:
    """Raise :class:`ConfigError` if the array's memories are too deep to be made of flip-flops."""
    if config.depth > MAX_MAPPED_WORDS:
        raise ConfigError(
            f"a memory of {config.depth} words is a macro, whose area the cells do not give; "
            f"use a depth of {MAX_MAPPED_WORDS} at most"
        )


def array_area(config: ArrayConfig, mac: AreaRow, *, library: Library, cache: Path = CACHE) -> ArrayArea:
    """The area of an array around a MAC that :func:`area` measured with the same library and stages.

    One column is mapped, with its MACs left out, and counted ``cols`` times; what it holds stays a module
    each. Raises :class:`ConfigError` if a memory is too deep to be made of flip-flops.
    """
    need_mappable(config)
    top = "array"
    verilog = verilog_text(SystolicArray(config), top)
    modules = instances(verilog)
    (column,) = {kind for kind, name in modules[top] if name.startswith("column_")}
    (mac_module,) = {kind for kind, name in modules[column] if name.startswith("mac_")}
    (foot,) = (kind for kind, name in modules[column] if name == "chunk_adder")
    memories = ["outer_memory"] + (["inner_memory"] if config.passes > 1 else [])
    counts = cached_counts(
        verilog,
        top,
        library,
        mac.recipe.split()[0],
        cache,
        kept=[column, foot],
        left_out=[mac_module],
        memories=[(column, memory) for memory in memories],
    )
    own = {
        module: area_of({k: n for k, n in counts[module].items() if k in library.cells}, library)
        for module in (top, column)
    }
    parts = {
        "MACs": config.rows * config.cols * mac.um2,
        "column feet": config.cols * area_of(counts.get(foot, {}), library).um2,
        **{
            memory.replace("_", " "): config.cols * area_of(counts[f"{column}_{memory}"], library).um2
            for memory in memories
        },
        "column registers": config.cols * own[column].register_um2,
        "column logic": config.cols * (own[column].um2 - own[column].register_um2),
        "edge registers": own[top].register_um2,
        "control logic": own[top].um2 - own[top].register_um2,
    }
    um2 = fsum(parts.values())
    return ArrayArea(array=config.name, um2=um2, nand2=um2 / library.nand2_um2, parts=parts)

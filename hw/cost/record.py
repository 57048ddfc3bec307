"""Everything about one design point: what it costs, how fast it is, and what it was proved on."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from math import fsum
from pathlib import Path

from golden.config import Silicon
from golden.stimulus import MacVectors
from hw.cost.cells import Library
from hw.cost.check import Replayer, check_mac
from hw.cost.flow import cell_counts
from hw.cost.mapping import CACHE, area_of, map_flat, parted_twin
from hw.cost.netlist import parse_netlist
from hw.cost.power import Power, Stimulus, energy
from hw.cost.synth import golden_vectors
from hw.cost.technologies import find_technology
from hw.cost.timing import timing
from hw.mac import Mac
from hw.verilog import verilog_text

__all__ = ["CostRecord", "cost_point"]

_TOP = "mac"


@dataclass(frozen=True, kw_only=True, slots=True)
class CostRecord:
    """One MAC at one clock in one technology. :func:`dataclasses.asdict` of it is JSON.

    Fields that a technology without timing, or a point without stimulus, does not have are None, or empty.
    """

    silicon: str  #: ``Silicon.mac_name``.
    stages: int  #: Pipeline registers besides the output's.
    technology: str
    clock_ps: float | None  #: The period that was asked for; None: mapped for area alone.
    met: bool | None  #: Whether the netlist meets it.
    um2: float
    nand2: float  #: ``um2`` in two-input NANDs of the smallest drive.
    cells: int
    parts: dict[str, float]  #: um2 of each part, mapped with its borders kept; the last is ``remainder``.
    delay_ps: float | None  #: The least period, between registers.
    fmax_mhz: float | None
    timer: str | None
    critical: dict[str, float]  #: ps of the critical path by part, of the netlist with borders.
    energy_pj: float | None  #: A multiply-accumulate, at ``clock_ps``, or at ``delay_ps`` where that is None.
    energy_kinds: dict[str, float]  #: pJ: switching, internal, clock, leakage.
    energy_parts: dict[str, float]  #: pJ by part.
    glitch_pj: float | None  #: What glitches would add, estimated; not in ``energy_pj``.
    leakage_uw: float | None
    stimulus: str | None
    vectors: int  #: Golden vectors that the netlist answered.
    events: dict[str, int]  #: Vectors among them that hit each event.
    recipe: str
    versions: dict[str, str]


def cost_point(
    silicon: Silicon,
    stages: int,
    technology: str,
    clock_ps: float | None,
    stimulus: Stimulus | None = None,
    *,
    cache: Path = CACHE,
) -> CostRecord:
    """Map, prove and measure one MAC. The same arguments give the same record, in whatever process.

    Parameters
    ----------
    stages : int
        Pipeline registers besides the output's.
    technology : str
        As :func:`hw.cost.technologies.find_technology` takes it.
    clock_ps : float or None
        The period to meet with least area; None: least area alone.
    stimulus : Stimulus or None
        What energy is measured with; None: it is not.
    cache : Path
        Folder of netlists, kept by content; nothing else is kept.

    Raises :class:`golden.config.ConfigError` for what cannot be asked,
    :class:`hw.cost.check.NetlistError` for a netlist that is not golden, and
    :class:`hw.cost.flow.SynthesisError` where a tool fails.
    """
    library = find_technology(technology)
    mac = Mac(silicon, stages, events=False)
    verilog = _verilog(silicon, stages)
    netlist = map_flat(verilog, _TOP, library, cache, clock_ps)
    golden = _vectors(silicon)
    check_mac(Replayer(library), netlist.verilog, mac, golden)

    timed = timing(netlist.verilog, _TOP, library, clock_ps) if library.has_timing else None
    parted = parted_twin(verilog, _TOP, library, netlist, cache)
    critical = timing(parted, _TOP, library, clock_ps).by_part if timed is not None and timed.path else {}
    power = None
    if stimulus is not None and timed is not None:
        power = energy(
            netlist.verilog,
            mac,
            library,
            stimulus,
            clock_ps=clock_ps or timed.delay_ps,
            parted=parted,
            glitches=True,
        )
    counts = cell_counts(netlist.verilog)
    um2 = area_of(counts, library).um2
    return CostRecord(
        silicon=silicon.mac_name,
        stages=stages,
        technology=technology,
        clock_ps=clock_ps,
        met=None if clock_ps is None else timed.met,
        um2=um2,
        nand2=um2 / library.nand2_um2,
        cells=counts.total(),
        parts=_part_areas(parted, library, um2),
        delay_ps=None if timed is None else timed.delay_ps,
        fmax_mhz=None if timed is None else timed.fmax_mhz,
        timer=None if timed is None else timed.timer,
        critical=critical,
        **_energies(power),
        vectors=len(golden.x),
        events=dict(golden.counts),
        recipe=netlist.recipe,
        versions={"pyosys": importlib.metadata.version("pyosys")},
    )


def _energies(power: Power | None) -> dict:
    if power is None:
        return {
            "energy_pj": None,
            "energy_kinds": {},
            "energy_parts": {},
            "glitch_pj": None,
            "leakage_uw": None,
            "stimulus": None,
        }
    return {
        "energy_pj": power.energy_pj,
        "energy_kinds": dict(power.kinds),
        "energy_parts": dict(power.parts),
        "glitch_pj": power.glitch_pj,
        "leakage_uw": power.leakage_uw,
        "stimulus": power.stimulus,
    }


@lru_cache(maxsize=8)
def _verilog(silicon: Silicon, stages: int) -> str:
    return verilog_text(Mac(silicon, stages, events=False), _TOP)


@lru_cache(maxsize=8)
def _vectors(silicon: Silicon) -> MacVectors:
    return golden_vectors(silicon)


def _part_areas(parted: str, library: Library, um2: float) -> dict[str, float]:
    """um2 by part, of a netlist whose cells are named after them, and what the whole has beyond them all."""
    counts: dict[str, Counter[str]] = {}
    for instance in parse_netlist(parted, library).instances:
        counts.setdefault(instance.part, Counter())[instance.cell] += 1
    parts = {part: area_of(cells, library).um2 for part, cells in sorted(counts.items())}
    return parts | {"remainder": um2 - fsum(parts.values())}

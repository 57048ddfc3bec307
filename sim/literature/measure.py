"""One row measured: mapped for the clock with the stages that make it smallest, proved, timed, its energy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.arith import fmaq
from golden.config import MAX_STAGES, MacConfig
from golden.stimulus import MacVectors
from hw.cost.baseline import FIRST_LOOP, FirstLoopMac, first_loop_verilog
from hw.cost.cells import Library
from hw.cost.check import NetlistError, Replayer, check_mac
from hw.cost.flow import cell_counts
from hw.cost.mapping import CACHE, Netlist, area_of, map_flat
from hw.cost.power import Power, Stimulus, energy
from hw.cost.synth import golden_vectors
from hw.cost.technologies import find_technology
from hw.cost.timing import timing
from hw.mac import Mac
from hw.verilog import verilog_text
from sim.activity import stimulus
from sim.literature.rows import Design

__all__ = ["Measured", "check_element", "measure"]

_TOP = "mac"

#: Logic that takes so many times the clock, mapped for area, is not pressed into it while more stages do.
_FARTHEST = 1.6

_ELEMENT_CYCLES = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A row's figures in one technology at one clock."""

    key: str
    technology: str
    clock_ps: float
    stages: int  #: Pipeline registers besides the output's.
    met: bool
    um2: float
    nand2: float  #: ``um2`` in two-input NANDs of the smallest drive: gate equivalents.
    cells: int
    delay_ps: float
    timer: str
    recipe: str
    energy_pj: float | None  #: A multiply-accumulate; None for a row that no stimulus is made for.
    glitch_pj: float | None  #: What glitches would add to it, as estimated: see docs/power.md.
    leakage_uw: float | None
    relaxed_um2: float  #: Least area without a clock, over the stages.
    vectors: int  #: That the netlist was checked on.


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A pipeline depth of a design."""

    stages: int
    verilog: str
    relaxed_um2: float
    relaxed_ps: float


def measure(design: Design, technology: str, clock_ps: float, activity: str | None, seed: int) -> dict:
    """A :class:`Measured` as a dictionary. Netlists are kept by content, so a second call is quick.

    ``activity`` names a stimulus of :func:`sim.activity.stimulus`; None: no energies.
    """
    library = find_technology(technology)
    candidates = [_candidate(design, stages, library) for stages in _depths(design)]
    netlist, chosen = _smallest(candidates, library, clock_ps)
    timed = timing(netlist.verilog, _TOP, library, clock_ps)
    if design.source.endswith(".v"):
        vectors, power = check_element(netlist.verilog, design.config, library, seed), None
    else:
        mac = _interface(design, chosen.stages)
        golden = _vectors(design.silicon)
        check_mac(Replayer(library), netlist.verilog, mac, golden)
        vectors, power = (
            len(golden.x),
            _power(design, netlist.verilog, mac, library, activity, seed, clock_ps),
        )
    counts = cell_counts(netlist.verilog)
    um2 = area_of(counts, library).um2
    return asdict(
        Measured(
            key=design.key,
            technology=technology,
            clock_ps=clock_ps,
            stages=chosen.stages,
            met=timed.met,
            um2=um2,
            nand2=um2 / library.nand2_um2,
            cells=counts.total(),
            delay_ps=timed.delay_ps,
            timer=timed.timer,
            recipe=netlist.recipe,
            energy_pj=None if power is None else power.energy_pj,
            glitch_pj=None if power is None else power.glitch_pj,
            leakage_uw=None if power is None else power.leakage_uw,
            relaxed_um2=min(candidate.relaxed_um2 for candidate in candidates),
            vectors=vectors,
        )
    )


def _depths(design: Design) -> range:
    return range(1) if design.source.endswith(".v") else range(MAX_STAGES + 1)


def _interface(design: Design, stages: int) -> Mac | FirstLoopMac:
    if design.source in FIRST_LOOP:
        return FirstLoopMac(design.silicon, stages)
    return Mac(design.silicon, stages, events=False)


def _text(design: Design, stages: int) -> str:
    if design.source.endswith(".v"):
        return Path(__file__).with_name(design.source).read_text()
    if design.source in FIRST_LOOP:
        return first_loop_verilog(design.source, stages)
    return verilog_text(Mac(design.silicon, stages, events=False), _TOP)


def _candidate(design: Design, stages: int, library: Library) -> _Candidate:
    verilog = _text(design, stages)
    relaxed = map_flat(verilog, _TOP, library, CACHE)
    um2 = area_of(cell_counts(relaxed.verilog), library).um2
    return _Candidate(stages, verilog, um2, timing(relaxed.verilog, _TOP, library, None).delay_ps)


def _smallest(candidates: list[_Candidate], library: Library, clock_ps: float) -> tuple[Netlist, _Candidate]:
    """The smallest netlist that meets the clock, over all depths; the fastest where none does."""
    order = sorted(candidates, key=lambda candidate: (candidate.relaxed_ps > clock_ps, candidate.relaxed_um2))
    near = [candidate for candidate in order if candidate.relaxed_ps <= _FARTHEST * clock_ps]
    found = _search(near, library, clock_ps)
    if not any(netlist.delay_ps <= clock_ps for netlist, _ in found):
        found += _search([candidate for candidate in order if candidate not in near], library, clock_ps)
    meeting = [pair for pair in found if pair[0].delay_ps <= clock_ps]
    if meeting:
        return min(meeting, key=lambda pair: _um2(pair[0], library))
    return min(found, key=lambda pair: pair[0].delay_ps)


def _search(
    candidates: list[_Candidate], library: Library, clock_ps: float
) -> list[tuple[Netlist, _Candidate]]:
    """Netlists of the candidates, without those that are larger than one before them at their very least."""
    found, least = [], float("inf")
    for candidate in candidates:
        if candidate.relaxed_um2 >= least:
            continue
        netlist = map_flat(candidate.verilog, _TOP, library, CACHE, clock_ps)
        found.append((netlist, candidate))
        if netlist.delay_ps <= clock_ps:
            least = min(least, _um2(netlist, library))
    return found


def _um2(netlist: Netlist, library: Library) -> float:
    return area_of(cell_counts(netlist.verilog), library).um2


@lru_cache(maxsize=4)
def _vectors(silicon) -> MacVectors:
    return golden_vectors(silicon)


@lru_cache(maxsize=4)
def _stimulus(name: str, config: MacConfig, hardwired: bool, seed: int) -> Stimulus:
    return stimulus(name, config, hardwired=hardwired, seed=seed)


def _power(
    design: Design,
    netlist: str,
    mac: Mac | FirstLoopMac,
    library: Library,
    activity: str | None,
    seed: int,
    clock_ps: float,
) -> Power | None:
    if activity is None:
        return None
    given = _stimulus(activity, design.config, design.silicon.hardwired, seed)
    return energy(netlist, mac, library, given, clock_ps=clock_ps, glitches=True)


def check_element(netlist: str, config: MacConfig, library: Library, seed: int) -> int:
    """Simulate ``weight_stationary_pe.v`` against golden; the cycles it was simulated for.

    One weight works while the other is loaded. Raises :class:`NetlistError` where a result differs.
    """
    rng = np.random.default_rng(seed)

    def draw(bits: int) -> NDArray[np.int64]:
        return rng.integers(0, 1 << bits, _ELEMENT_CYCLES)

    columns = {"x": draw(8), "w": draw(8), "acc": draw(20), "propagate": draw(1), "en": draw(1)}
    got = Replayer(library).run(netlist, columns)
    weights, active = [None, None], []
    for propagate, w, en in zip(columns["propagate"], columns["w"], columns["en"], strict=True):
        active.append(weights[propagate])
        if en:
            weights[1 - propagate] = w
    known = np.array([weight is not None for weight in active]) & (columns["en"] == 1)
    known[-1] = False
    w = np.array([0 if weight is None else weight for weight in active])
    wanted = np.asarray(fmaq(columns["acc"], columns["x"], w, config, None, None))
    cycles = np.flatnonzero(known)
    wrong = cycles[got[cycles + 1] != wanted[cycles]]
    if len(wrong) or not len(cycles):
        raise NetlistError(f"the restated element is wrong in {len(wrong)} of {len(cycles)} cycles")
    return len(cycles)

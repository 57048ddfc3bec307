"""Energy of a mapped MAC at the activity of given stimuli, by what it is spent on and where.

    energy(netlist, mac, library, stimulus, clock_ps=10_000)

The netlist is replayed on the stimuli, and refused unless each of its results is golden's. Then energies of
the cell library are summed over what every pin of every cell did. docs/power.md says what is in the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import fsum

import numpy as np
from numpy.typing import NDArray

from golden.arith import fmaq
from golden.config import ConfigError, MacConfig, Silicon
from golden.datapath import offset_ranges
from hw.cost.cells import Library
from hw.cost.check import NetlistError
from hw.cost.energies import KINDS, Conditions, Energies, netlist_energies
from hw.cost.liberty_power import power_library
from hw.cost.netlist import parse_netlist
from hw.cost.replay import Activity, replay
from hw.mac import Mac

__all__ = ["KINDS", "Power", "Stimulus", "energy", "mac_columns", "replay_mac"]

#: The result carries the input pins of the next MAC in its column, which is the same MAC.
_CHAINED = {"result": "acc"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Stimulus:
    """Operands and incoming sums of a MAC, one row a cycle. Codes are int64 [n]."""

    name: str  #: Such as ``resnet20``.
    description: str
    config: MacConfig  #: Whose codes these are, with the biases that the offsets follow from.
    x: NDArray[np.int64]
    w: NDArray[np.int64]
    acc: NDArray[np.int64]
    product_word: NDArray[np.int64] | None  #: Random words, of a stochastic rounding of the product;
    acc_word: NDArray[np.int64] | None  #: of the sum.

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def result(self) -> NDArray[np.int64]:
        """What golden makes of each row."""
        return np.asarray(
            fmaq(self.acc, self.x, self.w, self.config, self.product_word, self.acc_word), dtype=np.int64
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """Energies in pJ a cycle, in each of which a multiply-accumulate begins."""

    energy_pj: float
    kinds: dict[str, float]  #: By :data:`KINDS`. They add up to ``energy_pj``.
    parts: dict[str, float]  #: Likewise. With a parted netlist the last is ``remainder``.
    leakage_uw: float
    toggle_rate: float  #: Mean toggles of a net in a cycle, the clock's left out.
    pins: int  #: Pins of cells, all of which have an activity.
    cycles: int  #: That energies are the mean of.
    stimulus: str
    clock_ps: float
    voltage: float
    glitch_ratio: float | None  #: Toggles of gates that take time over those of gates that do not, estimated,
    glitch_pj: float | None  #: and what they would add to ``energy_pj``.


def mac_columns(mac: Mac, stimulus: Stimulus) -> dict[str, NDArray[np.int64]]:
    """The stimulus as inputs of the MAC, one row a cycle.

    Raises :class:`ConfigError` if it is of another MAC's arithmetic, or of other offsets than are wired in.
    """
    config = stimulus.config
    if Silicon(config=config, hardwired=mac.silicon.hardwired).mac_name != mac.silicon.mac_name:
        raise ConfigError(
            f"the stimulus {stimulus.name} is of {config.name}, which is not the arithmetic of "
            f"{mac.silicon.mac_name}; make one for it"
        )
    count, members = len(stimulus), mac.signature.members
    columns = {"x": stimulus.x, "w": stimulus.w, "en": np.ones(count, dtype=np.int64)}
    # The sum comes later than its operands, by the pipeline's lag.
    columns["acc"] = np.concatenate([np.zeros(mac.acc_lag, np.int64), stimulus.acc])[:count]
    ranges = offset_ranges(config)
    for name in ("product", "acc"):
        if f"{name}_offset" in members:
            offset = getattr(ranges, name).clamp(getattr(config.offsets, name))
            columns[f"{name}_offset"] = np.full(count, offset)
        if f"{name}_word" in members:
            columns[f"{name}_word"] = getattr(stimulus, f"{name}_word")
    return columns


def replay_mac(netlist: str, mac: Mac, library: Library, stimulus: Stimulus) -> tuple[Activity, int]:
    """Activity of a MAC's netlist, and the cycle in which the first result is out.

    Raises :class:`hw.cost.check.NetlistError` where a result is not golden's.
    """
    columns = mac_columns(mac, stimulus)
    parsed = parse_netlist(netlist, library)
    if "rst" in parsed.inputs:
        columns["rst"] = np.zeros(len(stimulus), dtype=np.int64)
    activity = replay(parsed, library, columns)
    latency = mac.acc_lag + mac.acc_latency
    got = activity.word(parsed.outputs["result"])[latency:]
    wanted = stimulus.result[: len(got)]
    wrong = np.flatnonzero(got != wanted)
    if len(wrong) or not len(got):
        i = wrong[0] if len(wrong) else 0
        raise NetlistError(
            f"{mac.silicon.mac_name}: the netlist differs from golden in {len(wrong)} of {len(got)} cycles "
            f"of {stimulus.name}, so its energy means nothing; the first, x={stimulus.x[i]}, "
            f"w={stimulus.w[i]}, acc={stimulus.acc[i]}: netlist {got[i]:#x}, golden {wanted[i]:#x}"
        )
    return activity, latency


def energy(
    netlist: str,
    mac: Mac,
    library: Library,
    stimulus: Stimulus,
    *,
    clock_ps: float,
    parted: str | None = None,
    slew_ps: float | None = None,
    glitches: bool = False,
) -> Power:
    """Energy of a MAC's netlist in a cycle of the stimulus.

    Parameters
    ----------
    netlist : str
        Flat Verilog of cells.
    mac : Mac
        What the netlist is of: its inputs and latencies.
    clock_ps : float
        Period of the clock: a cell leaks as long.
    parted : str, optional
        Another netlist of the same MAC, mapped with the borders of parts kept, its cells named
        ``PART.anything``: parts are its, and ``remainder`` is what ``netlist`` spends beyond them all.
    slew_ps : float, optional
        Of every transition; None: the middle entry of each table.
    glitches : bool
        Estimate them, too.

    Raises :class:`hw.cost.check.NetlistError` where a netlist's results are not golden's, and
    :class:`ConfigError` where a pin has no activity or the library no energies.
    """
    powers = power_library(library)

    def energies(text: str, *, estimate: bool) -> Energies:
        activity, first = replay_mac(text, mac, library, stimulus)
        conditions = Conditions(
            first=first, clock_ps=clock_ps, chained=_CHAINED, slew_ps=slew_ps, glitches=estimate
        )
        return netlist_energies(activity, library, powers, conditions)

    found = energies(netlist, estimate=glitches)
    whole = found.of()
    parts = found.parts
    if parted is not None:
        parts = energies(parted, estimate=False).parts
        parts["remainder"] = whole - fsum(parts.values())
    return Power(
        energy_pj=whole,
        kinds=found.kinds,
        parts=parts,
        leakage_uw=found.of(kind="leakage") / clock_ps * 1e6,
        toggle_rate=found.toggle_rate,
        pins=found.pins,
        cycles=found.cycles,
        stimulus=stimulus.name,
        clock_ps=clock_ps,
        voltage=powers.voltage,
        glitch_ratio=found.glitch_ratio,
        glitch_pj=found.glitch_pj,
    )

"""One MAC's energy at several stimuli, as a row of the results."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass

import numpy as np

from golden.catalog import find
from hw.cost.cells import Library
from hw.cost.check import NetlistError, Replayer, check_mac
from hw.cost.flow import cell_counts
from hw.cost.liberty_power import power_library
from hw.cost.mapping import CACHE, area_of, map_flat, parted_twin
from hw.cost.power import Power, Stimulus, energy, mac_columns, replay_mac
from hw.cost.saif import differences, saif_activity
from hw.cost.synth import golden_vectors
from hw.cost.technologies import find_technology
from hw.cost.timing import timing
from hw.mac import Mac
from hw.verilog import verilog_text
from sim.activity import stimulus

__all__ = ["Point", "measure"]

#: Other slews that energies are tried at, in the middle one of the library.
_SLEWS = (0.25, 2)

#: Cycles on which toggles are compared with Verilator's.
_SAIF_CYCLES = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What is measured."""

    name: str  #: Of the configuration.
    wired: bool  #: With the offset that the first stimulus is calibrated to as a constant.
    stages: int
    technology: str
    clock_ns: float
    stimuli: tuple[str, ...]
    seed: int
    saif: bool  #: Compare the toggles of every pin with Verilator's.

    @property
    def command(self) -> str:
        """What measures this alone."""
        words = [self.name, "--tech", self.technology, "--clock", f"{self.clock_ns:g}"]
        words += ["--stages", str(self.stages), "--stimulus", *self.stimuli, "--seed", str(self.seed)]
        words += [option for option, given in (("--wired", self.wired), ("--saif", self.saif)) if given]
        return shlex.join(["python", "-m", "sim.power", *words])


def measure(point: Point) -> dict:
    """A row of the results: the energy of a cycle with each stimulus, in plain numbers.

    Raises :class:`hw.cost.check.NetlistError` where the netlist is not golden's on vectors or stimuli.
    """
    library, config = find_technology(point.technology), find(point.name)
    first = stimulus(point.stimuli[0], config, hardwired=False, seed=point.seed)
    calibrated = first.config
    silicon = calibrated.hardwired if point.wired else config.silicon
    stimuli = [first] + [
        stimulus(name, calibrated, hardwired=point.wired, seed=point.seed) for name in point.stimuli[1:]
    ]
    mac, clock_ps = Mac(silicon, point.stages, events=False), 1000 * point.clock_ns
    verilog = verilog_text(mac, "mac")
    netlist = map_flat(verilog, "mac", library, CACHE, clock_ps)
    parted = parted_twin(verilog, "mac", library, netlist, CACHE)
    simulator = Replayer(library)
    vectors = golden_vectors(silicon)
    for text in (netlist.verilog, parted):
        check_mac(simulator, text, mac, vectors)
    timed = timing(netlist.verilog, "mac", library, clock_ps)

    def measured(text: str, each: Stimulus, **options) -> Power:
        return energy(text, mac, library, each, clock_ps=clock_ps, **options)

    powers = {first.name: measured(netlist.verilog, first, parted=parted, glitches=True)}
    powers |= {each.name: measured(netlist.verilog, each) for each in stimuli[1:]}
    middle = power_library(library).middle_slew(library.inverter.name)
    slews = [share * middle for share in _SLEWS]
    counts = cell_counts(netlist.verilog)
    row = {
        "config": point.name,
        "wired": point.wired,
        "silicon": silicon.mac_name,
        "stages": point.stages,
        "technology": point.technology,
        "clock_ns": point.clock_ns,
        "recipe": netlist.recipe,
        "um2": area_of(counts, library).um2,
        "cells": counts.total(),
        "delay_ns": timed.delay_ps / 1000,
        "timer": timed.timer,
        "voltage": powers[first.name].voltage,
        "vectors": len(vectors),
        "pins": powers[first.name].pins,
        "saif_pins": _compared_with_saif(netlist.verilog, mac, library, first) if point.saif else None,
        "slew_ps": middle,
        "energy_at_slew_ps": {
            f"{slew:g}": measured(netlist.verilog, first, slew_ps=slew).energy_pj for slew in slews
        },
        "parts": powers[first.name].parts,
        "stimuli": {
            each.name: {
                "layer": each.config.name,
                "description": each.description,
                **{name: value for name, value in asdict(powers[each.name]).items() if name in _KEPT},
            }
            for each in stimuli
        },
        "command": point.command,
    }
    return _rounded(row)


_KEPT = ("energy_pj", "kinds", "toggle_rate", "cycles", "leakage_uw", "glitch_ratio", "glitch_pj")


def _rounded(value):
    """Six digits of every figure: sums differ in the last bits from machine to machine."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _compared_with_saif(netlist: str, mac: Mac, library: Library, whole: Stimulus) -> int:
    """How many pins do in a replay what Verilator says that they do: all, or :class:`NetlistError`."""
    words = (whole.product_word, whole.acc_word)
    product_word, acc_word = (None if each is None else each[:_SAIF_CYCLES] for each in words)
    part = Stimulus(
        name=whole.name,
        description=whole.description,
        config=whole.config,
        x=whole.x[:_SAIF_CYCLES],
        w=whole.w[:_SAIF_CYCLES],
        acc=whole.acc[:_SAIF_CYCLES],
        product_word=product_word,
        acc_word=acc_word,
    )
    activity, first = replay_mac(netlist, mac, library, part)
    columns = mac_columns(mac, part)
    if "rst" in activity.netlist.inputs:
        columns["rst"] = np.zeros(len(part), dtype=np.int64)
    found = saif_activity(netlist, library, columns, first=first)
    if wrong := differences(found, activity, first=first):
        raise NetlistError(
            f"Verilator counts other toggles than the replay at {wrong[0]} and {len(wrong)} pins"
        )
    return len(found)

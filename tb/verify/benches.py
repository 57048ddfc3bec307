"""The testbenches of tb/, run on one design at a time without a simulator: gates in Python instead.

Stimuli, expected results and comparison are those of :mod:`tb.mac_tests` and :mod:`tb.array_tests`.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
from amaranth.back import rtlil
from amaranth.lib import wiring

from golden.catalog import find
from golden.config import ArrayConfig, Silicon
from hw.array import SystolicArray
from hw.cost.cycles import ArrayJob, array_results
from hw.mac import Mac
from tb import test_array, test_mac
from tb.array_jobs import Shape, random_job
from tb.verify.machine import Machine

__all__ = ["ArrayBench", "MacBench", "Watch", "array_benches", "mac_benches", "rtlil_of"]

Watch = Callable[[Any, dict[str, int], dict[str, int]], None]  #: Takes a lane, inputs and outputs by port.


def rtlil_of(component: wiring.Component) -> str:
    """The design with module ``top``."""
    return rtlil.convert(component, name="top", emit_src=False)


def _testbench(module: str, parameters: dict) -> ModuleType:
    """A module that is written for the inside of a simulator, and reads its parameters from a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "parameters.json")
        file.write_text(json.dumps(parameters))
        before = os.environ.get("TB_PARAMETERS")
        os.environ["TB_PARAMETERS"] = str(file)
        try:
            return importlib.import_module(module)
        finally:
            if before is None:
                del os.environ["TB_PARAMETERS"]
            else:
                os.environ["TB_PARAMETERS"] = before


@dataclass(frozen=True)
class MacBench:
    """A lane of tb/test_mac.py."""

    name: str
    config: str
    silicon: Silicon
    stages: int
    seed: int

    def build(self, load: Callable[[str], ModuleType]) -> wiring.Component:
        """The MAC, of a ``hw`` that ``load`` imports."""
        return load("hw.mac").Mac(self.silicon, self.stages, events=self.stages > 0)

    def difference(self, machine: Machine) -> str | None:
        """The first difference from golden, if there is one."""
        lane, inputs, cycles = self._stimuli
        columns = {port: values.tolist() for port, values in inputs.items()}
        outputs: list[dict[str, int]] = []
        for cycle in range(cycles):
            outputs.append(machine.evaluate({port: values[cycle] for port, values in columns.items()}))
            machine.clock()
        outputs.append(machine.evaluate({port: values[-1] for port, values in columns.items()}))
        ports = {port: np.array([values[port] for values in outputs[1:]]) for port in outputs[0]}
        return lane.check(ports)

    @property
    def _stimuli(self) -> tuple:
        return _mac_stimuli(self)


@cache
def _mac_stimuli(bench: MacBench) -> tuple:
    lane = _mac_tests().Lane(bench.name, bench.seed)
    cycles = int(lane.cycle[-1]) + 1
    return lane, lane.inputs(cycles), cycles


@cache
def mac_benches() -> tuple[MacBench, ...]:
    """All lanes of tb/test_mac.py, those with all registers and events first."""
    silicons = [(find(name), False) for name in test_mac.CONFIGURATIONS]
    silicons += [(find(name), True) for name in test_mac.HARDWIRED]
    found = []
    for i, (config, hardwired) in enumerate(silicons):
        silicon = config.hardwired if hardwired else config.silicon
        for stages in (0, 1, 2):
            name = f"mac_{i}_stages_{stages}"
            found.append(MacBench(name, config.name, silicon, stages, test_mac.SEED + len(found)))
    return tuple(sorted(found, key=lambda bench: (2, 0, 1).index(bench.stages)))


@cache
def _mac_tests() -> ModuleType:
    lanes = {
        bench.name: test_mac.describe(
            bench.config, bench.silicon, Mac(bench.silicon, bench.stages, events=bench.stages > 0)
        )
        for bench in mac_benches()
    }
    return _testbench("tb.mac_tests", {"lanes": lanes, "seed": test_mac.SEED, "count": test_mac.COUNT})


#: As in tb/test_array.py: configuration, hardwired, (rows, cols, stages, depth), events. Of small formats.
_ARRAYS = (
    ("int4_int4_p_exact_a_int7_floor_sat_c4", False, (2, 2, 0, 4), False),
    ("int4_int4_p_exact_a_int7_floor_wrap_c2_o_int6l1_rne_sat", False, (1, 3, 1, 2), True),
    ("e2m1_e2m1_p_e3m2_rz_a_e3m3_rz_c2", False, (2, 2, 2, 4), True),
    ("e2m1_e2m1_p_e3m2_rz_a_e3m3_rne_c3_o_e3m4_sr2", False, (1, 2, 2, 4), False),
    ("e2m1_e2m1_p_e3m2_sr2_a_e3m3_sr2_c4", False, (2, 1, 1, 3), False),
)
_JOBS = 6  # a round
_STALLS = (0.4, 0.4)  # of senders and receiver
_RESETS = 3
_PATIENCE = 100  # cycles without a beat after which a round is over


@dataclass(frozen=True)
class ArrayBench:
    """An array under what tb/array_tests.py does: jobs with stalls, after a reset, and by the cycle."""

    name: str
    config: ArrayConfig
    shape: Shape

    def build(self, load: Callable[[str], ModuleType]) -> wiring.Component:
        """The array, of a ``hw`` that ``load`` imports."""
        return load("hw.array").SystolicArray(self.config)

    def difference(self, machine: Machine, watch: Watch | None = None) -> str | None:
        """The first difference from golden or from the stated cycles, if there is one.

        ``watch`` is told what stood at the ports in every cycle.
        """
        rng = Random(test_array.SEED)
        self._reset(machine)
        for cycles in (None, *(rng.randint(1, 80) for _ in range(_RESETS))):
            if cycles is not None:
                self._run(machine, self._lane(rng, _STALLS), cycles, watch)
                self._reset(machine)
            lane = self._lane(rng, _STALLS)
            self._run(machine, lane, None, watch)
            if (difference := lane.difference()) is not None:
                return difference
        self._reset(machine)
        lane = self._lane(rng, (0.0, 0.0))
        self._run(machine, lane, None, watch)
        return lane.difference() or self._late(lane)

    def _lane(self, rng: Random, stalls: tuple[float, float]):
        return _array_tests().Lane(
            self.name, [random_job(self.shape, rng) for _ in range(_JOBS)], stalls, rng
        )

    def _reset(self, machine: Machine) -> None:
        machine.evaluate(dict.fromkeys(machine.inputs, 0) | {"rst": 1})
        machine.clock()

    def _run(self, machine: Machine, lane, cycles: int | None, watch: Watch | None) -> None:
        """As :func:`tb.array_tests.run` does with all lanes at once."""
        progress, progress_at = 0, 0
        masks = {port: 2**width - 1 for port, width in machine.widths.items()}
        for cycle in count():
            if lane.progress > progress:
                progress, progress_at = lane.progress, cycle
            if cycle == cycles or (cycles is None and cycle - progress_at > _PATIENCE):
                return
            driven = {port: value & masks[port] for port, value in lane.drive().items()}
            outputs = machine.evaluate(driven)
            if watch is not None:
                watch(lane, driven, outputs)
            lane.step(outputs, cycle)
            machine.clock()

    def _late(self, lane) -> str | None:
        offsets = [job.offset_words() for job in lane.jobs]
        jobs = [
            ArrayJob(k=job.x.shape[1], m_rows=len(job.x), settled=own == before)
            for job, own, before in zip(lane.jobs, offsets, [None, *offsets], strict=False)
        ]
        expected = [cycle for cycles in array_results(self.shape.array, jobs) for cycle in cycles]
        return None if lane.results_at == expected else f"{self.shape.name}: results come in other cycles"


@cache
def array_benches() -> tuple[ArrayBench, ...]:
    found = []
    for i, (name, hardwired, (rows, cols, stages, depth), events) in enumerate(_ARRAYS):
        mac = find(name)
        silicon = mac.hardwired if hardwired else mac.silicon
        config = ArrayConfig(silicon=silicon, rows=rows, cols=cols, stages=stages, depth=depth, events=events)
        array = SystolicArray(config)
        array._MustUse__silence = True  # it is not to be built, and Amaranth would warn of that
        shape = test_array.describe(mac, array)
        found.append(ArrayBench(f"array_{i}", config, shape))
    return tuple(found)


@cache
def _array_tests() -> ModuleType:
    lanes = {bench.name: asdict(bench.shape) for bench in array_benches()}
    ports: dict = {"in_ports": [], "out_ports": []}
    module = _testbench("tb.array_tests", {"lanes": lanes, "seed": test_array.SEED, **ports})
    module.get_sim_time = lambda unit: 0.0  # there is no simulator to ask
    return module

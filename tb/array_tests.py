"""Inside the simulator: systolic arrays take jobs under stalls and resets and must give golden's codes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer
from cocotb.utils import get_sim_time

from hw.cost.cycles import ArrayJob, array_results
from tb.array_jobs import Job, Shape, random_job
from tb.bank import Port
from tb.mismatch import PERIOD_NS, Mismatch, MismatchError, mac_signals
from tb.streams import Sink, Source

PARAMETERS = json.loads(Path(os.environ["TB_PARAMETERS"]).read_text())
LANES = {name: Shape(**shape) for name, shape in PARAMETERS["lanes"].items()}
IN_PORTS = [Port(*port) for port in PARAMETERS["in_ports"]]
OUT_PORTS = [Port(*port) for port in PARAMETERS["out_ports"]]

_LOOK_NS = 1  # after a falling edge: inputs have had their effect
PATIENCE = 100  #: Cycles without a beat on any stream after which a run is over.


class WrongCode(NamedTuple):
    """A result that is not golden's."""

    job: Job
    row: int
    column: int
    index: int  #: Of its beat.
    got: int
    wanted: int


class Lane:
    """One array with sources of jobs, weights and activations, and a sink of results."""

    def __init__(self, name: str, jobs: list[Job], stalls: tuple[float, float], rng: Random):
        self.name = name
        self.jobs = jobs
        send, take = stalls
        self.sources = {
            "job": Source([job.job_beat() for job in jobs], send, rng),
            "weights": Source([beat for job in jobs for beat in job.weight_beats()], send, rng),
            "activations": Source([beat for job in jobs for beat in job.activation_beats()], send, rng),
        }
        self.sink = Sink(take, rng)
        self.results_at: list[int] = []  #: Cycle of each result.
        self.began_ns = 0  #: Time of its cycle 0 in the simulation.

    def drive(self) -> dict[str, int]:
        values = {"results__ready": self.sink.offer()}
        for stream, source in self.sources.items():
            values[f"{stream}__valid"], values[f"{stream}__payload"] = source.offer()
        return values

    def step(self, outputs: dict[str, int], cycle: int) -> None:
        for stream, source in self.sources.items():
            source.step(bool(outputs[f"{stream}__ready"]))
        taken = len(self.sink.beats)
        self.sink.step(bool(outputs["results__valid"]), outputs["results__payload"])
        self.results_at += [cycle] * (len(self.sink.beats) - taken)

    @property
    def progress(self) -> int:
        """Beats that have passed on all streams."""
        return sum(source.sent for source in self.sources.values()) + len(self.sink.beats)

    def wrong_codes(self) -> Iterator[WrongCode]:
        """Every code that differs from golden's."""
        beats = iter(enumerate(self.sink.beats))
        for job in self.jobs:
            bits = job.config.outer_accumulator.format.code_bits
            for row, (wanted, (index, beat)) in enumerate(zip(job.expected(), beats, strict=False)):
                for column, want in enumerate(wanted):
                    got = beat >> (bits * column) & (2**bits - 1)
                    if got != want:
                        yield WrongCode(job, row, column, index, got, int(want))

    def time_ns(self, code: WrongCode) -> int:
        """When a code stood on the wires and was taken."""
        return self.began_ns + self.results_at[code.index] * PERIOD_NS + _LOOK_NS

    def difference(self) -> str | None:
        """None, or where the results first differ from golden's."""
        if self.sink.violation:
            return f"{LANES[self.name].name}: {self.sink.violation}"
        beats = iter(self.sink.beats)
        for job in self.jobs:
            codes = job.expected()
            events = job.expected_events() if job.shape.events else {}
            bits = job.config.outer_accumulator.format.code_bits
            for row, wanted in enumerate(codes):
                beat = next(beats, None)
                if beat is None:
                    return f"{job.describe(row, 0)}: no result came"
                for column, want in enumerate(wanted):
                    got = beat >> (bits * column) & (2**bits - 1)
                    if got != want:
                        return f"{job.describe(row, column)}: RTL gives {got:#x}, golden gives {int(want):#x}"
                beat >>= bits * len(wanted)
                if beat & 1 != (row == len(codes) - 1):
                    return f"{job.describe(row, 0)}: wrong `last` of {len(codes)} rows"
                for i, (event, flags) in enumerate(events.items()):
                    got = beat >> (1 + i * len(wanted)) & (2 ** len(wanted) - 1)
                    want = sum(int(flag) << column for column, flag in enumerate(flags[row]))
                    if got != want:
                        return f"{job.describe(row, 0)}: {event} is {got:#x}, golden gives {want:#x}"
        return f"{job.shape.name}: a result too many" if next(beats, None) is not None else None


async def run(dut, lanes: list[Lane], cycles: int | None = None) -> None:
    """Clock the lanes, for a number of cycles or until for a while nothing more has happened."""
    by_name = {lane.name: lane for lane in lanes}
    progress, progress_at = 0, 0
    for lane in lanes:
        lane.began_ns = int(get_sim_time("ns"))
    for cycle in count():
        now = sum(lane.progress for lane in lanes)
        if now > progress:
            progress, progress_at = now, cycle
        if cycle == cycles or (cycles is None and cycle - progress_at > PATIENCE):
            return
        driven = {name: lane.drive() for name, lane in by_name.items()}
        word = 0
        for port in IN_PORTS:
            word |= (driven[port.lane][port.name] & (2**port.width - 1)) << port.offset
        dut.inputs.value = word
        await Timer(_LOOK_NS, "ns")
        outputs = int(dut.outputs.value)
        seen: dict[str, dict[str, int]] = {name: {} for name in by_name}
        for port in OUT_PORTS:
            seen[port.lane][port.name] = outputs >> port.offset & (2**port.width - 1)
        for name, lane in by_name.items():
            lane.step(seen[name], cycle)
        await FallingEdge(dut.clk)


async def reset(dut) -> None:
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def start(dut) -> None:
    dut.inputs.value = 0
    dut.rst.value = 0
    Clock(dut.clk, PERIOD_NS, "ns").start()
    await FallingEdge(dut.clk)
    await reset(dut)


async def check(dut, lanes: list[Lane]) -> None:
    wrong = {lane: text for lane in lanes if (text := lane.difference()) is not None}
    codes = [(lane, code) for lane in wrong for code in lane.wrong_codes()]
    if codes:
        lane, code = min(codes, key=lambda each: each[0].time_ns(each[1]))
        raise MismatchError(await locate(dut, lane, code))
    assert not wrong, f"seed {PARAMETERS['seed']}: " + "\n".join(wrong.values())


async def locate(dut, lane: Lane, code: WrongCode) -> Mismatch:
    """Where a wrong code comes from: the same job is run with the first product only, with two, ..."""
    number, (job, row, column, _, got, wanted) = code.job.config.outer_accumulator.format, code
    parts = [replace(job, x=job.x[:, : k + 1], w=job.w[: k + 1]) for k in range(job.x.shape[1])]
    lanes = [Lane(name, parts if name == lane.name else [], (0.0, 0.0), Random(0)) for name in LANES]
    await reset(dut)
    await run(dut, lanes)
    (again,) = [each for each in lanes if each.name == lane.name]
    wrong = [
        each.job.x.shape[1] - 1 for each in again.wrong_codes() if (each.row, each.column) == (row, column)
    ]
    return Mismatch(
        instance=lane.name,
        column=column,
        port="results__payload",
        lsb=column * number.code_bits,
        time_ns=lane.time_ns(code),
        place={"m": row, "n": column, "k": min(wrong, default=None)},
        got=got,
        wanted=wanted,
        number=number.name,
        what=f"seed {PARAMETERS['seed']}, {job.describe(row, column)}",
        signals=mac_signals(job.config),
    )


@cocotb.test()
@cocotb.parametrize(send=[0.0, 0.5], take=[0.0, 0.6])
async def every_result_matches_golden(dut, send: float, take: float):
    """Under stalls of the senders, of the receiver, of both, of none."""
    rng = Random(f"{PARAMETERS['seed']} {send} {take}")
    lanes = [
        Lane(name, [random_job(shape, rng) for _ in range(PARAMETERS["jobs"])], (send, take), rng)
        for name, shape in LANES.items()
    ]
    await start(dut)
    await run(dut, lanes)
    await check(dut, lanes)
    tame = {
        LANES[lane.name].config
        for lane in lanes
        if not any(job.expected_events()["overflow"].any() for job in lane.jobs)
    }
    assert tame == set(PARAMETERS["exact"]), f"seed {PARAMETERS['seed']}: no addition of these overflows"


@cocotb.test()
async def reset_leaves_no_residue(dut):
    """Reset at random moments; the jobs after it give what they would have given without the past."""
    rng = Random(PARAMETERS["seed"])
    await start(dut)
    for _ in range(6):
        before, after = (
            [
                Lane(name, [random_job(shape, rng) for _ in range(2)], (0.2, 0.2), rng)
                for name, shape in LANES.items()
            ]
            for _ in range(2)
        )
        await run(dut, before, cycles=rng.randint(1, 80))
        await reset(dut)
        await run(dut, after)
        await check(dut, after)


@cocotb.test()
async def cycles_are_as_stated(dut):
    """Without stalls a result comes after all weights, activations and gaps before it, and the latency."""
    rng = Random(PARAMETERS["seed"])
    await start(dut)
    for _ in range(3):
        lanes = [
            Lane(name, [random_job(shape, rng) for _ in range(3)], (0.0, 0.0), rng)
            for name, shape in LANES.items()
        ]
        await run(dut, lanes)
        for lane in lanes:
            shape = LANES[lane.name]
            offsets = [job.offset_words() for job in lane.jobs]
            jobs = [
                ArrayJob(k=job.x.shape[1], m_rows=len(job.x), settled=own == before)
                for job, own, before in zip(lane.jobs, offsets, [None, *offsets], strict=False)
            ]
            expected = [cycle for cycles in array_results(shape.array, jobs) for cycle in cycles]
            assert lane.results_at == expected, shape.name
        await reset(dut)

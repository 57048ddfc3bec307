"""Inside the simulator: a bank of MACs takes a vector a cycle, with pauses, and must give golden's codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from cocotb.utils import get_sim_time

from golden.config import MacConfig
from golden.stimulus import MacVectors, mac_vectors
from tb.bank import Port, pack_words, unpack_words
from tb.mismatch import PERIOD_NS, Mismatch, MismatchError, mac_signals

PARAMETERS = json.loads(Path(os.environ["TB_PARAMETERS"]).read_text())


class Lane:
    """One MAC: its vectors, and when they go in and come out.

    Vector i enters at enabled step ``step[i]``, one a step. Where the offsets change the pipeline
    drains first. ``acc`` follows ``acc_lag`` steps later. Everything else on the inputs is noise.
    """

    def __init__(self, name: str, seed: int):
        self.name, self.seed = name, seed
        self.about = PARAMETERS["lanes"][name]
        self.config = MacConfig.parse(self.about["config"])
        self.vectors: MacVectors = mac_vectors(
            self.config, PARAMETERS["count"], seed, hardwired=self.about["hardwired"]
        )
        self.offsets = {"product_offset": self.vectors.product_offset}
        if self.vectors.acc_offset is not None:
            self.offsets["acc_offset"] = self.vectors.acc_offset
        drain = self.about["acc_lag"] + self.about["acc_latency"]
        changed = np.any(
            [np.diff(offset, prepend=offset[0]) != 0 for offset in self.offsets.values()], axis=0
        )
        self.step = np.arange(len(self.vectors)) + drain * np.cumsum(changed)
        self.steps = int(self.step[-1]) + drain
        rng = np.random.default_rng(seed)
        self.enabled = np.append(rng.random(self.steps * 3 // 2) < 0.75, np.ones(self.steps, dtype=bool))
        self.cycle = np.flatnonzero(self.enabled)[: self.steps]  # of each step
        self.rng = rng
        self.acc_events = rng.integers(0, 4, len(self.vectors))
        self.mismatch: Mismatch | None = None  #: The first wrong result that :meth:`check` has found.
        self.began_ns = 0  #: Time of the first cycle in the simulation.

    def inputs(self, cycles: int) -> dict[str, np.ndarray]:
        """Values of every input port, cycle by cycle."""
        v, lag = self.vectors, self.about["acc_lag"]
        formats = {"x": self.config.x, "w": self.config.w, "acc": self.config.accumulator.format}
        ports = {name: self.rng.integers(0, 2**f.code_bits, cycles) for name, f in formats.items()}
        ports["x"][self.cycle[self.step]] = v.x
        ports["w"][self.cycle[self.step]] = v.w
        ports["acc"][self.cycle[self.step + lag]] = v.acc
        for name in ("product_word", "acc_word"):
            if (words := getattr(v, name)) is not None:
                ports[name] = self.rng.integers(0, 2**16, cycles)
                ports[name][self.cycle[self.step]] = words
        if self.about["events"]:
            ports["acc_events"] = self.rng.integers(0, 4, cycles)
            ports["acc_events"][self.cycle[self.step + lag]] = self.acc_events
        started = np.searchsorted(self.cycle[self.step], np.arange(cycles), side="right") - 1
        ports |= {name: offset[np.maximum(started, 0)] for name, offset in self.offsets.items()}
        return ports | {"en": self.enabled[:cycles]}

    def check(self, outputs: dict[str, np.ndarray]) -> str | None:
        """None, or the first difference. ``outputs`` are the ports after each clock edge."""
        wanted = {"result": self.vectors.result}
        if self.about["events"]:
            wanted["result_events"] = self.acc_events | self.vectors.overflow | (self.vectors.underflow << 1)
        texts = (self._difference(port, outputs[port], codes) for port, codes in wanted.items())
        return next((text for text in texts if text is not None), None)

    def _difference(self, port: str, results: np.ndarray, wanted: np.ndarray) -> str | None:
        v = self.vectors
        comes_out = self.step + self.about["acc_lag"] + self.about["acc_latency"] - 1
        steps_done = np.cumsum(self.enabled[: len(results)]) - 1
        expected = np.full(self.steps, -1)
        expected[comes_out] = np.arange(len(v))
        index = np.where(steps_done < 0, -1, expected[np.clip(steps_done, 0, self.steps - 1)])
        index[steps_done >= self.steps] = -1
        cycles = np.flatnonzero((index >= 0) & (results != wanted[index]))
        assert set(index[index >= 0]) == set(range(len(v))), "not every vector was looked at"
        if len(cycles) == 0:
            return None
        i, got = index[cycles[0]], results[cycles[0]]
        given = self.offsets | {"product_word": v.product_word, "acc_word": v.acc_word}
        given = ", ".join(f"{name}={values[i]}" for name, values in given.items() if values is not None)
        text = (
            f"{self.about['config']} hardwired={self.about['hardwired']} stages={self.about['stages']} "
            f"seed={self.seed}: {len(cycles)} cycles differ, first vector {i}: x={v.x[i]:#x} w={v.w[i]:#x} "
            f"acc={v.acc[i]:#x} {given}: {port} is {got:#x}, golden gives {wanted[i]:#x}"
        )
        if port == "result":
            self.mismatch = Mismatch(
                instance=self.name,
                column=None,
                port=port,
                lsb=0,
                time_ns=self.began_ns + int(cycles[0] + 1) * PERIOD_NS,
                place={"vector": int(i)},
                got=int(got),
                wanted=int(wanted[i]),
                number=self.config.accumulator.format.name,
                what=text,
                signals=mac_signals(self.config),
            )
        return text


async def differences(dut) -> dict[str, str | None]:
    """The first difference from golden of every lane."""
    return {lane.name: text for lane, text in (await look(dut)).items()}


async def look(dut) -> dict[Lane, str | None]:
    """Run all lanes; what is wrong with each."""
    seed = PARAMETERS["seed"]
    lanes = [Lane(name, seed + i) for i, name in enumerate(PARAMETERS["lanes"])]
    in_ports = [Port(*port) for port in PARAMETERS["in_ports"]]
    out_ports = [Port(*port) for port in PARAMETERS["out_ports"]]
    cycles = max(int(lane.cycle[-1]) + 1 for lane in lanes)
    values = {}
    for lane in lanes:
        missing = lane.vectors.missing
        assert not missing, f"{lane.about['config']} seed={lane.seed}: no vector hits {missing}"
        values |= {(lane.name, port): array for port, array in lane.inputs(cycles).items()}

    Clock(dut.clk, PERIOD_NS, "ns").start()
    await FallingEdge(dut.clk)
    for lane in lanes:
        lane.began_ns = int(get_sim_time("ns"))
    outputs = []
    for word in pack_words(in_ports, values, cycles):
        dut.inputs.value = word
        await FallingEdge(dut.clk)
        outputs.append(int(dut.outputs.value))
    results = unpack_words(out_ports, outputs)
    ports = {lane.name: {} for lane in lanes}
    for (lane, port), values in results.items():
        ports[lane][port] = values
    return {lane: lane.check(ports[lane.name]) for lane in lanes}


@cocotb.test()
async def every_vector_matches_golden(dut):
    wrong = {lane: text for lane, text in (await look(dut)).items() if text}
    found = [lane.mismatch for lane in wrong if lane.mismatch is not None]
    if found:
        raise MismatchError(min(found, key=lambda mismatch: mismatch.time_ns))
    assert not wrong, "\n".join(wrong.values())

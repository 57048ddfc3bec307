"""Designs as AND gates and inverters: flattened by Yosys, evaluated for hundreds of inputs at a time.

The registers of a design are cut as in :mod:`tb.verify.equivalence`, so that what is evaluated is a function:
of the inputs, and of ``NAME_held``, to the outputs, ``NAME_next`` for one that is a register.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.verilator_env import tool_versions, verilator_environment
from tb.verify.equivalence import cut_registers, flatten, run_yosys
from tb.verify.rows import ROOT

__all__ = ["Aig", "Net"]

_BUILDS = ROOT / "build" / "verify"
_LOOP = Path(__file__).with_name("aig.cpp")
_COMPILE = (
    *("c++", "-std=c++17", "-O2", "-march=native", "-w", "-shared", "-fPIC"),
    *("-o", "gates.so", "gates.cpp"),
)

Net = int  #: Of a gate, in Yosys' numbers; 0 and 1 are the constants.


@dataclass(frozen=True)
class Aig:
    """A combinational design as AND gates and inverters, each after those that it takes."""

    inputs: dict[str, list[Net]]  #: By port, lowest bit first.
    outputs: dict[str, list[Net]]
    gates: list[tuple[Net, ...]]  #: (output, a) inverts, (output, a, b) is a AND b.

    @classmethod
    def of(cls, text: str, top: str, *, language: str, hidden: bool) -> Aig:
        """The gates of module ``top``; for the arguments see :func:`tb.verify.equivalence.compare`."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            flatten(folder, "design", text, top, language=language, hidden=hidden)
            cut_registers(folder / "design.json", "design", hidden=hidden)
            to_gates = ("opt_expr -fine", "wreduce", "techmap", "aigmap", "opt_clean -purge")
            run_yosys(folder, ["read_json design.json", *to_gates, "write_json gates.json"])
            module = json.loads((folder / "gates.json").read_text())["modules"]["design"]
        sides: dict[str, dict[str, list[Net]]] = {"input": {}, "output": {}}
        for port, about in module["ports"].items():
            sides[about["direction"]][port] = [int(bit) for bit in about["bits"]]
        pins = [cell["connections"] for cell in module["cells"].values()]
        driven = {pin["Y"][0]: tuple(int(pin[name][0]) for name in "AB" if name in pin) for pin in pins}
        return cls(sides["input"], sides["output"], _ordered(driven))

    def with_constants(self, constants: Mapping[str, int]) -> Aig:
        """The same with some inputs fixed, without what that makes superfluous."""
        known: dict[Net, Net] = {0: 0, 1: 1}  # net -> constant, or the net that is the same
        for port, value in constants.items():
            known |= {net: value >> i & 1 for i, net in enumerate(self.inputs[port])}
        inverse: dict[Net, Net] = {0: 1, 1: 0}
        made: dict[tuple[Net, ...], Net] = {}
        for output, *taken in self.gates:
            nets = tuple(sorted(known.get(net, net) for net in taken))
            if len(nets) == 1:
                same = inverse.get(nets[0])
            elif nets[0] == 0 or inverse.get(nets[0]) == nets[1]:
                same = 0
            elif nets[0] == 1 or nets[0] == nets[1]:
                same = nets[1]
            else:
                same = made.get(nets)
            if same is not None:
                known[output] = same
                continue
            made[nets] = output
            if len(nets) == 1:
                inverse |= {nets[0]: output, output: nets[0]}
        outputs = {port: [known.get(net, net) for net in nets] for port, nets in self.outputs.items()}
        needed = {net for nets in outputs.values() for net in nets}
        gates = []
        for nets, output in reversed(made.items()):
            if output in needed:
                needed |= set(nets)
                gates.append((output, *nets))
        inputs = {port: nets for port, nets in self.inputs.items() if port not in constants}
        return Aig(inputs, outputs, gates[::-1])

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
        """Outputs by port, for inputs by port, arrays of equal length; what is left out is 0."""
        arrays = {port: np.asarray(inputs.get(port, 0), dtype=np.int64) for port in self.inputs}
        count = max(values.size for values in arrays.values())
        words = _pack(self.inputs, arrays, count)
        out = np.zeros((count, _words(self.outputs)), dtype=np.int64)
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (words, out))
        self._library.run(ctypes.c_long(count), *pointers)
        return _unpack(self.outputs, out)

    @cached_property
    def _library(self) -> ctypes.CDLL:
        return ctypes.CDLL(str(_build(self._source())))

    def _source(self) -> str:
        """The loop, with the gates written out."""
        lines = [f"const Bits n{net} = in[{place}];" for place, net in _places(self.inputs)]
        for output, *taken in self.gates:
            value = " & ".join(map(_name, taken)) if len(taken) == 2 else f"~{_name(*taken)}"
            lines.append(f"const Bits n{output} = {value};")
        lines += [f"out[{place}] = {_name(net)};" for place, net in _places(self.outputs)]
        sizes = f"enum {{ IN = {_words(self.inputs)}, OUT = {_words(self.outputs)} }};"
        return _LOOP.read_text().replace("// SIZES", sizes).replace("// GATES", "\n  ".join(lines))


def _pack(
    ports: Mapping[str, list[Net]], arrays: Mapping[str, NDArray[np.int64]], count: int
) -> NDArray[np.int64]:
    words = np.zeros((count, _words(ports)), dtype=np.int64)
    for port, at in _starts(ports):
        words[:, at // 64] |= (arrays[port] & (2 ** len(ports[port]) - 1)) << (at % 64)
    return words


def _unpack(ports: Mapping[str, list[Net]], words: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    return {
        port: (words[:, at // 64] >> (at % 64)) & (2 ** len(ports[port]) - 1) for port, at in _starts(ports)
    }


def _starts(ports: Mapping[str, list[Net]]) -> Iterator[tuple[str, int]]:
    """Where the bits of each port begin in a row of words of 64; none lies across two."""
    at = 0
    for port, bits in ports.items():
        if at % 64 + len(bits) > 64:
            at += 64 - at % 64
        yield port, at
        at += len(bits)


def _places(ports: Mapping[str, list[Net]]) -> Iterator[tuple[int, Net]]:
    for port, at in _starts(ports):
        yield from enumerate(ports[port], at)


def _words(ports: Mapping[str, list[Net]]) -> int:
    return 1 + max(place for place, _ in _places(ports)) // 64


def _ordered(driven: Mapping[Net, tuple[Net, ...]]) -> list[tuple[Net, ...]]:
    """Gates after those that drive them."""
    done: dict[Net, tuple[Net, ...]] = {}
    for start in driven:
        stack = [start]
        while stack:
            net = stack[-1]
            missing = [taken for taken in driven[net] if taken in driven and taken not in done]
            if net in done or not missing:
                stack.pop()
                done.setdefault(net, (net, *driven[net]))
            else:
                stack += missing
    return list(done.values())


def _name(net: Net) -> str:
    return ("all(0)", "all(1)")[net] if net < 2 else f"n{net}"


def _build(source: str) -> Path:
    """The library of this C++, kept by content."""
    key = hashlib.sha256("\0".join([source, *_COMPILE, tool_versions()["c++"]]).encode()).hexdigest()[:24]
    folder = _BUILDS / f"gates-{key}"
    if not (folder / "gates.so").is_file():
        _BUILDS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_BUILDS, prefix="build-") as scratch:
            built = Path(scratch, "built")
            built.mkdir()
            (built / "gates.cpp").write_text(source)
            run = subprocess.run(
                _COMPILE, cwd=built, env=verilator_environment(), capture_output=True, text=True, check=False
            )
            if run.returncode:
                raise RuntimeError(f"the gates do not compile: {run.stderr[-2000:]}")
            try:
                built.rename(folder)
            except OSError:  # another process was first, with the same content
                if not folder.is_dir():
                    raise
    return folder / "gates.so"

"""Simulates mapped netlists on golden vectors: no area is quoted of a netlist that has not passed.

Many netlists are Verilated into one shared library, each on a clock of its own so that only the one
under test is evaluated. Libraries are kept by content; what they answer is never kept.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hw.cost.cells import Library
from hw.cost.flow import cell_counts
from hw.cost.netlist import parse_netlist
from hw.cost.replay import replay
from hw.mac import Mac
from hw.verilator_env import tool_versions, verilator_environment

__all__ = ["MIN_VECTORS", "NetlistError", "Replayer", "Simulator", "Vectors", "check_mac"]

#: Fewer vectors than this prove too little.
MIN_VECTORS = 1 << 16

_MAX_INPUTS = 8
_SMALL_BUILD = 12  # netlists that one build takes before two run side by side
_LARGE_BUILD = 40
_STALL_SHARE = 8  # one cycle in so many comes after one without enable


class NetlistError(RuntimeError):
    """A netlist without proof: it differs from the golden model, or was not tried on enough."""


class Vectors(Protocol):
    """Golden vectors, as :func:`golden.stimulus.mac_vectors` makes them. Arrays are int64, one row each."""

    x: NDArray[np.int64]
    w: NDArray[np.int64]
    acc: NDArray[np.int64]
    result: NDArray[np.int64]
    product_offset: NDArray[np.int64]
    acc_offset: NDArray[np.int64] | None
    product_word: NDArray[np.int64] | None
    acc_word: NDArray[np.int64] | None
    counts: dict[str, int]  #: Rows that hit each event.
    missing: Sequence[str]  #: Events that can happen and are not hit.


@dataclass(frozen=True, slots=True)
class _Port:
    name: str
    width: int
    is_input: bool


_PORT = re.compile(r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+);$", re.MULTILINE)
_CONTROL = ("clk", "rst")
_OFFSETS = ("product_offset", "acc_offset")
_WORDS = ("product_word", "acc_word")


def _ports(verilog: str) -> list[_Port]:
    """Data ports of a flat netlist, inputs first; clock and reset are not among them."""
    found = [_Port(name, int(top or 0) + 1, way == "input") for way, top, name in _PORT.findall(verilog)]
    return sorted((port for port in found if port.name not in _CONTROL), key=lambda port: not port.is_input)


class Simulator:
    """Verilated netlists of one cell library.

    Parameters
    ----------
    library : Library
        Its cells' functions become the models that the netlists are simulated with.
    cache : Path
        Folder of the builds.
    """

    def __init__(self, library: Library, cache: Path):
        self._library = library
        self._cache = cache / "simulators"
        self._versions = json.dumps(tool_versions(), sort_keys=True)
        self._loaded: dict[Path, ctypes.CDLL] = {}
        self._places: dict[str, tuple[Path, int]] = {}
        for members in self._cache.glob("*/members.json"):
            self._add(members.parent)

    def _add(self, folder: Path) -> None:
        members = json.loads((folder / "members.json").read_text())
        self._places |= {key: (folder, index) for index, key in enumerate(members)}

    def _key(self, netlist: str) -> str:
        content = [_bench([netlist], self._library), self._versions, _HARNESS, *_OPTIONS]
        return hashlib.sha256("\0".join(content).encode()).hexdigest()

    def build(self, netlists: Sequence[str], progress: Callable[[str], None]) -> None:
        """Verilate those that no earlier build holds. A netlist is Verilog with one flat module, ``mac``."""
        wanted = {self._key(netlist): netlist for netlist in netlists}
        missing = [(key, netlist) for key, netlist in wanted.items() if key not in self._places]
        if not missing:
            return
        batches = 1 if len(missing) <= _SMALL_BUILD else 2 * ceil(len(missing) / (2 * _LARGE_BUILD))
        progress(f"building the simulator of {len(missing)} netlists, in {batches} parts")
        with ThreadPoolExecutor(2) as pool:
            jobs = 2 if batches == 1 else 1
            for folder in pool.map(lambda i: self._build(dict(missing[i::batches]), jobs), range(batches)):
                self._add(folder)
                progress(f"built {folder.name[:12]}")

    def _build(self, netlists: Mapping[str, str], jobs: int) -> Path:
        name = hashlib.sha256("".join(netlists).encode()).hexdigest()[:24]
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache, prefix="build-") as scratch:
            Path(scratch, "check.v").write_text(_bench(list(netlists.values()), self._library))
            Path(scratch, "harness.cpp").write_text(_harness(f"V{name}", len(netlists)))
            options = [*_OPTIONS, "--prefix", f"V{name}", "-j", str(jobs)]
            command = ["verilator", *options, "check.v", "harness.cpp"]
            run = subprocess.run(
                command, cwd=scratch, env=verilator_environment(), capture_output=True, text=True, check=False
            )
            if run.returncode:
                raise NetlistError(
                    f"Verilator could not build the netlists: {(run.stderr + run.stdout)[-2000:]}"
                )
            finished = Path(scratch, "finished")
            finished.mkdir()
            shutil.move(Path(scratch, "obj", "netlists.so"), finished)
            (finished / "members.json").write_text(json.dumps(list(netlists)))
            try:
                finished.rename(self._cache / name)
            except OSError:  # another process was first, with the same content
                if not (self._cache / name).is_dir():
                    raise
        return self._cache / name

    def run(self, netlist: str, columns: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Drive the inputs, one row a clock cycle; the output after each edge.

        Inputs pass a register first, so row i acts at the edge of row i + 1. ``columns`` are all inputs
        by name, of equal length; negative numbers stand for their two's complement.
        """
        folder, index = self._places[self._key(netlist)]
        if folder not in self._loaded:
            self._loaded[folder] = ctypes.CDLL(str(folder / "netlists.so"))
        inputs = [port.name for port in _ports(netlist) if port.is_input]
        if set(inputs) != set(columns):
            raise ValueError(f"the netlist's inputs are {inputs}, and there are values of {list(columns)}")
        cycles = len(columns[inputs[0]])
        words = np.zeros((cycles, _MAX_INPUTS), dtype=np.int64)
        for place, name in enumerate(inputs):
            words[:, place] = columns[name]
        output = np.zeros(cycles, dtype=np.int64)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (words, output)]
        self._loaded[folder].run(ctypes.c_int(index), ctypes.c_long(cycles), *pointers)
        return output


_OPTIONS = (
    *("--cc", "--exe", "--build", "--Mdir", "obj", "--top-module", "check", "-o", "netlists.so"),
    *("-CFLAGS", "-fPIC", "-LDFLAGS", "-shared", "-Wno-fatal", "--x-initial", "unique"),
    *("-fno-gate", "-fno-subst"),  # they cost more time than they save: most of it goes into compiling
    *("-MAKEFLAGS", "OPT_FAST=-O0 OPT_SLOW=-O0"),
)

_HARNESS = """#include <cstdint>
#include "{prefix}.h"
extern "C" void run(int which, long cycles, const uint64_t* in, uint64_t* out) {{
  static {prefix}* const top = new {prefix};
  for (long i = 0; i < cycles; ++i, in += {inputs}) {{
    {drive}
    switch (which) {{
{cases}
    }}
  }}
}}
"""


def _harness(prefix: str, count: int) -> str:
    case = (
        "case {0}: top->clk{0} = 0; top->eval(); top->clk{0} = 1; top->eval(); out[i] = top->out{0}; break;"
    )
    return _HARNESS.format(
        prefix=prefix,
        inputs=_MAX_INPUTS,
        drive=" ".join(f"top->in{i} = in[{i}];" for i in range(_MAX_INPUTS)),
        cases="\n".join("      " + case.format(i) for i in range(count)),
    )


def _bench(netlists: Sequence[str], library: Library) -> str:
    """Verilog: the netlists side by side behind shared input words, and models of their cells."""
    clocks, outputs, body, modules, cells = [], [], [], [], set()
    for i, netlist in enumerate(netlists):
        ports = _ports(netlist)
        inputs = [port for port in ports if port.is_input]
        (output,) = (port for port in ports if not port.is_input)
        clocks.append(f"input clk{i}")
        outputs.append(f"output [63:0] out{i}")
        connections = [f".clk(clk{i})"] + (
            [".rst(1'b0)"] if re.search(r"^  input rst;", netlist, re.M) else []
        )
        for place, port in enumerate(inputs):
            body.append(f"reg [{port.width - 1}:0] {port.name}_{i};")
            body.append(f"always @(posedge clk{i}) {port.name}_{i} <= in{place}[{port.width - 1}:0];")
            connections.append(f".{port.name}({port.name}_{i})")
        body.append(f"wire [{output.width - 1}:0] result_{i};")
        body.append(f"assign out{i} = {{{64 - output.width}'b0, result_{i}}};")
        body.append(f"mac_{i} netlist_{i}({', '.join([*connections, f'.{output.name}(result_{i})'])});")
        modules.append(re.sub(r"^module mac\(", f"module mac_{i}(", netlist, count=1, flags=re.MULTILINE))
        cells |= set(cell_counts(netlist))
    words = [f"input [63:0] in{i}" for i in range(_MAX_INPUTS)]
    head = f"module check({', '.join(clocks + words + outputs)});"
    models = [library.model(name) for name in sorted(cells)]
    return "\n".join([head, *body, "endmodule", *modules, *models])


class Runs(Protocol):
    """What :func:`check_mac` simulates with."""

    def run(self, netlist: str, columns: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Drive the inputs, one row a clock cycle; the output after each edge."""


class Replayer:
    """Simulates netlists without a build: all cycles at once, by :func:`hw.cost.replay.replay`.

    It reads the cells' functions from the library, as :class:`Simulator` does, and shares no more with it.
    """

    def __init__(self, library: Library):
        self._library = library

    def run(self, netlist: str, columns: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """See :meth:`Simulator.run`."""
        parsed = parse_netlist(netlist, self._library)
        idle = {"rst": np.zeros_like(next(iter(columns.values())))} if "rst" in parsed.inputs else {}
        activity = replay(parsed, self._library, {**columns, **idle})
        (output,) = parsed.outputs.values()
        return activity.word(output)


def check_mac(simulator: Runs, netlist: str, mac: Mac, vectors: Vectors) -> None:
    """Raise :class:`NetlistError` unless ``netlist`` answers all vectors as golden does.

    There must be ``MIN_VECTORS`` of them, and every event that can happen must be among them. Vectors
    of equal offsets stream through the pipeline, with cycles in between when nothing is enabled.
    """
    name = mac.silicon.mac_name
    if len(vectors.x) < MIN_VECTORS:
        raise NetlistError(
            f"{name}: {len(vectors.x)} vectors are too few to quote an area; use {MIN_VECTORS}"
        )
    if vectors.missing:
        raise NetlistError(
            f"{name}: no vector hits {', '.join(vectors.missing)}, and an area needs every event"
        )
    columns, rows = _schedule(mac, vectors)
    got = simulator.run(netlist, columns)[rows]
    wrong = np.flatnonzero(got != vectors.result)
    if len(wrong):
        i = wrong[0]
        given = {field: getattr(vectors, field) for field in ("x", "w", "acc", *_OFFSETS, *_WORDS)}
        inputs = ", ".join(f"{field}={values[i]}" for field, values in given.items() if values is not None)
        raise NetlistError(
            f"{name}: the netlist differs from golden in {len(wrong)} of {len(got)} vectors; the first, "
            f"{inputs}: netlist {got[i]:#x}, golden {vectors.result[i]:#x}"
        )


def _schedule(mac: Mac, vectors: Vectors) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """Inputs by name for each cycle, and for each vector the cycle after which its result is out."""
    offsets = {name: getattr(vectors, name) for name in _OFFSETS if name in mac.signature.members}
    count = len(vectors.x)
    starts = np.zeros(count, dtype=bool)
    for values in offsets.values():
        starts[1:] |= values[1:] != values[:-1]
    drain = mac.acc_lag + mac.acc_latency
    position = np.arange(count) + drain * np.cumsum(starts)  # in enabled cycles
    enabled = position[-1] + 1 + drain

    # Cycles between groups repeat the vector before them: its offsets last until it is through.
    source = np.zeros(enabled, dtype=np.int64)
    source[position] = np.arange(count)
    source = np.maximum.accumulate(source)
    columns = {"x": vectors.x[source], "w": vectors.w[source]}
    columns |= {name: getattr(vectors, name)[source] for name in _WORDS if name in mac.signature.members}
    columns["acc"] = vectors.acc[np.roll(source, mac.acc_lag)]
    columns |= {name: values[source] for name, values in offsets.items()}

    stalls = np.random.default_rng(0).integers(0, _STALL_SHARE, enabled) == 0
    repeats = 1 + stalls
    cycle = np.repeat(np.arange(enabled), repeats)
    last = np.cumsum(repeats) - 1
    en = np.zeros(len(cycle), dtype=np.int64)
    en[last] = 1
    shown = np.where(en == 1, cycle, enabled - 1 - cycle)  # without enable, anything may stand there
    columns = {name: values[shown] for name, values in columns.items()}
    # A result lasts until the next cycle with enable acts, so it is looked at just before that.
    return columns | {"en": en}, last[position + drain]

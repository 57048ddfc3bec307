"""A MAC's gates in software: the Verilog as Yosys elaborates it, hundreds of sums at a time."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.config import MacConfig
from golden.datapath import offset_ranges
from hw.verilog import verilog_text
from tb.verify.native import compile_library
from tb.verify.rows import ARITHMETIC, sources
from tb.verify.step_loop import EVENTS_AT, FIRST, StepLoop, register_bits

__all__ = ["SlicedLoop"]

_LOOP = Path(__file__).with_name("sliced.cpp")
_DEPENDS = ("tb/verify/sliced.cpp", "tb/verify/sliced.py", *ARITHMETIC)

#: Runs in a process of its own: Yosys prints to file descriptor 1, and ends its process on an error.
_YOSYS = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    design.run_pass(command)
"""
#: Elaboration and no more: operators become gates one by one, and constants are folded.
_PASSES = (
    "read_verilog design.v",
    "hierarchy -top mac",
    "proc",
    "flatten",
    "opt_dff",  # registers with an enable, which then never holds
    "opt_expr",
    "opt_clean",
    "techmap",
    "opt_expr",
    "opt_merge",
    "opt_clean",
    "delete t:$scopeinfo",
    "write_json gates.json",
)

#: What a gate is in C++; the registers of a pipeline through which nothing flows back are wires.
_GATES = {
    "$_BUF_": "{A}",
    "$_NOT_": "~{A}",
    "$_AND_": "{A} & {B}",
    "$_NAND_": "~({A} & {B})",
    "$_OR_": "{A} | {B}",
    "$_NOR_": "~({A} | {B})",
    "$_XOR_": "{A} ^ {B}",
    "$_XNOR_": "~({A} ^ {B})",
    "$_ANDNOT_": "{A} & ~{B}",
    "$_ORNOT_": "{A} | ~{B}",
    "$_MUX_": "{A} ^ (({A} ^ {B}) & {S})",
    "$_DFF_P_": "{D}",
    "$_DFFE_PP_": "{D}",
}
_INPUTS = ("x", "w", "acc", "product_word", "acc_word", "product_offset", "acc_offset")
_OUTPUT_PINS = ("Y", "Q")


class _Job(ctypes.Structure):
    _fields_ = (
        ("pairs", ctypes.c_void_p),
        ("pair_count", ctypes.c_int64),
        ("x_bits", ctypes.c_int32),
        ("w_bits", ctypes.c_int32),
        ("acc_bits", ctypes.c_int32),
        ("acc_first", ctypes.c_int32),
        ("acc_count", ctypes.c_int32),
        ("product_bits", ctypes.c_int32),
        ("acc_word_bits", ctypes.c_int32),
        ("product_offset_bits", ctypes.c_int32),
        ("acc_offset_bits", ctypes.c_int32),
        ("product_offset", ctypes.c_int64),
        ("acc_offset", ctypes.c_int64),
        ("addends", ctypes.c_void_p),
        ("planes", ctypes.c_void_p),
        ("compared", ctypes.c_int64),
        ("differences", ctypes.c_int64),
        ("first", ctypes.c_int64 * len(FIRST)),
    )


def _vector(acc_bits: int) -> tuple[int, tuple[str, ...]]:
    """Bytes of a vector, no more than all sums take, and the compiler's option for it on this machine."""
    flags = set()
    if Path("/proc/cpuinfo").is_file():
        flags = set(Path("/proc/cpuinfo").read_text().split())
    size, options = 16, ()
    for flag, wider in (("avx2", 32), ("avx512f", 64)):
        if flag in flags:
            size, options = wider, (f"-m{flag}",)
    return min(size, 2**acc_bits // 8), options


class SlicedLoop(StepLoop):
    """As :class:`StepLoop`, some fifty times faster, of what the Verilog means to Yosys.

    Sums are a multiple of the lanes, 512 at most, from a multiple of them on.
    """

    def depends(self) -> str:
        return verilog_text(self.mac, "mac") + sources(_DEPENDS)

    @cached_property
    def library(self) -> ctypes.CDLL:
        size, options = self._vector
        text = _LOOP.read_text().replace("GATES\n", self._gates(), 1)
        return compile_library(f"#define LANE_BYTES {size}\n{text}", options)

    def _run(
        self, config: MacConfig, pairs: NDArray, index: NDArray, table: NDArray, sums: range
    ) -> ctypes.Structure:
        ranges, offsets = offset_ranges(config), config.offsets
        job = _Job(
            pairs=pairs.ctypes.data,
            pair_count=len(pairs),
            x_bits=config.x.code_bits,
            w_bits=config.w.code_bits,
            acc_bits=config.accumulator.format.code_bits,
            acc_first=sums.start,
            acc_count=len(sums),
            product_bits=self.product_words.bit_length() - 1,
            acc_word_bits=self.acc_words.bit_length() - 1,
            product_offset_bits=ranges.product.width,
            acc_offset_bits=0 if ranges.acc is None else ranges.acc.width,
            product_offset=register_bits(offsets.product, ranges.product),
            acc_offset=0 if ranges.acc is None else register_bits(offsets.acc, ranges.acc),
            addends=index.ctypes.data,
            planes=table.ctypes.data,
        )
        self.library.run(ctypes.byref(job))
        return job

    @property
    def _vector(self) -> tuple[int, tuple[str, ...]]:
        return _vector(self.config.accumulator.format.code_bits)

    @property
    def _places(self) -> list[int]:
        """Of the outputs' bits in a word of the table."""
        bits = list(range(self.config.accumulator.format.code_bits))
        return [*bits, EVENTS_AT, EVENTS_AT + 1] if self.events else bits

    def _prepared(self, table: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """[addend, acc word, block of sums, output] vectors, aligned."""
        size, _ = self._vector
        places = self._places
        shape = (*table.shape[:2], table.shape[2] // (8 * size), len(places), size)
        store = np.empty(int(np.prod(shape)) + 64, dtype=np.uint8)
        start = -store.ctypes.data % 64
        planes = store[start : start + int(np.prod(shape))].reshape(shape)
        for i, place in enumerate(places):
            bits = np.packbits((table >> place & 1).astype(np.uint8), axis=-1, bitorder="little")
            planes[..., i, :] = bits.reshape(*shape[:3], size)
        return planes

    def _gates(self) -> str:
        """C++: the netlist as a function of planes."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "design.v").write_text(verilog_text(self.mac, "mac"))
            yosys = subprocess.run(
                [sys.executable, "-c", _YOSYS, *_PASSES],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if yosys.returncode:
                raise RuntimeError(f"Yosys could not elaborate {self.subject}: {yosys.stderr.strip()}")
            module = json.loads(Path(folder, "gates.json").read_text())["modules"]["mac"]
        ports, nets, lines, planes = module["ports"], {"0": "zero", "1": "ones", "x": "zero"}, [], 0
        heads = []
        for name in _INPUTS:
            heads.append(f"#define IN_{name.upper()} {planes if name in ports else -1}")
            for bit in ports[name]["bits"] if name in ports else ():
                nets[bit] = f"in[{planes}]"
                planes += 1
        for name in ("en", "acc_events", "clk", "rst"):
            for bit in ports[name]["bits"] if name in ports else ():
                nets[bit] = "ones" if name == "en" else "zero"
        for cell in _ordered(module["cells"].values(), set(nets)):
            pins = {
                pin: nets[bits[0]] for pin, bits in cell["connections"].items() if pin not in _OUTPUT_PINS
            }
            out = _output(cell)
            nets[out] = f"n{out}"
            lines.append(f"  const V n{out} = {_GATES[cell['type']].format(**pins)};")
        results = [*ports["result"]["bits"], *(ports["result_events"]["bits"] if self.events else ())]
        lines += [f"  out[{i}] = {nets[bit]};" for i, bit in enumerate(results)]
        heads += [f"#define INPUTS {planes}", f"#define OUTPUTS {len(results)}"]
        heads.append(f"constexpr int PLACES[] = {{{', '.join(map(str, self._places))}}};")
        return "\n".join(
            [
                *heads,
                "static void gates(const V* __restrict in, V* __restrict out) {",
                "  const V zero = {}, ones = ~zero;",
                *lines,
                "}",
                "",
            ]
        )


def _output(cell: dict) -> int:
    (pin,) = (pin for pin in _OUTPUT_PINS if pin in cell["connections"])
    return cell["connections"][pin][0]


def _ordered(cells, known: set) -> list[dict]:
    """The cells, each after those that drive it. Raises ValueError for one that is not a gate, or a loop."""
    waiting = list(cells)
    if odd := {cell["type"] for cell in waiting} - set(_GATES):
        raise ValueError(f"cells that are no gates: {', '.join(sorted(odd))}")
    drivers = {_output(cell): cell for cell in waiting}
    ordered: list[dict] = []
    known = set(known)
    under_way: set[int] = set()

    def inputs(cell: dict) -> list:
        unused = (*_OUTPUT_PINS, "C", "E") if cell["type"].startswith("$_DFF") else _OUTPUT_PINS
        return [bits[0] for pin, bits in cell["connections"].items() if pin not in unused]

    for cell in waiting:
        stack = [cell]
        while stack:
            top = stack[-1]
            out = _output(top)
            if out in known:
                stack.pop()
                continue
            missing = [net for net in inputs(top) if net not in known]
            if not missing:
                known.add(out)
                ordered.append(top)
                stack.pop()
                continue
            if out in under_way:
                raise ValueError("the gates form a loop")
            under_way.add(out)
            stack += [drivers[net] for net in missing]
    return ordered

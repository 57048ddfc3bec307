"""A Verilated MAC in a loop: chosen operands and sums through it, and golden's table of what comes out."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.arith import Unpacked, add, add_events, addend_of, multiply, quantize_events
from golden.config import MacConfig, Silicon
from golden.datapath import OffsetRange, offset_ranges
from hw.mac import Mac
from hw.verilog import verilog_text
from tb.verify.native import load
from tb.verify.rows import ARITHMETIC, Outcome, Task, sources

__all__ = ["EVENTS_AT", "FIRST", "Addends", "Found", "StepLoop", "inputs_of", "register_bits", "run_all"]

_LOOP = Path(__file__).with_name("step.cpp")
_DEPENDS = ("tb/verify/step.cpp", *ARITHMETIC)
_LANES = 4  # MACs side by side, of which each takes every fourth sum
_BLOCK = 16  # addends at a time: what stays in the cache
_EXPONENT_AT = 44  # in an integer that stands for an addend, above its significand, sign and events

#: Where the bits of events stand in a word of the table.
EVENTS_AT = 14
_SUMS = 4096  # at a time, so that tables are of moderate size
_PARTS = 64  # calls of the loop in one comparison, so that progress shows

#: What is known of the first difference.
FIRST = ("x", "w", "acc", "product_word", "acc_word", "got")


class _Job(ctypes.Structure):
    _fields_ = (
        ("pairs", ctypes.c_void_p),
        ("pair_count", ctypes.c_int64),
        ("x_bits", ctypes.c_int32),
        ("acc_first", ctypes.c_int32),
        ("acc_count", ctypes.c_int32),
        ("product_words", ctypes.c_int32),
        ("acc_words", ctypes.c_int32),
        ("product_offset", ctypes.c_int64),
        ("acc_offset", ctypes.c_int64),
        ("addends", ctypes.c_void_p),
        ("table", ctypes.c_void_p),
        ("latency", ctypes.c_int32),
        ("compared", ctypes.c_int64),
        ("differences", ctypes.c_int64),
        ("first", ctypes.c_int64 * len(FIRST)),
    )


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a comparison found."""

    compared: int
    differences: int
    first: str | None  #: The first difference: inputs and both answers.


@dataclass(frozen=True, kw_only=True)
class StepLoop:
    """The MAC of a configuration; it runs at any offsets where they are registers."""

    config: MacConfig
    wired: bool
    stages: int
    events: bool  #: Overflow and underflow are reported, and compared.

    @property
    def subject(self) -> str:
        variants = [(self.wired, "wired"), (self.events, "events"), (self.stages, f"s{self.stages}")]
        return " ".join([self.config.name, *(text for applies, text in variants if applies)])

    @property
    def silicon(self) -> Silicon:
        return self.config.hardwired if self.wired else self.config.silicon

    @property
    def product_words(self) -> int:
        part = self.config.product
        return 1 if part is None else 2 ** (part.random_bits or 0)

    @property
    def acc_words(self) -> int:
        return 2 ** (self.config.accumulator.random_bits or 0)

    @property
    def pair_count(self) -> int:
        """Of operands: x and, above it, w."""
        return 2 ** (self.config.x.code_bits + self.config.w.code_bits)

    @property
    def size(self) -> int:
        """How many inputs there are."""
        return self.pair_count * len(self.sums) * self.product_words * self.acc_words

    @property
    def sums(self) -> range:
        """Codes of all running sums."""
        return range(2**self.config.accumulator.format.code_bits)

    @cached_property
    def mac(self) -> Mac:
        return Mac(self.silicon, self.stages, events=self.events)

    def depends(self) -> str:
        return self._verilog() + sources(_DEPENDS)

    @cached_property
    def library(self) -> ctypes.CDLL:
        return load(self._verilog(), self._loop())

    def compare(
        self, config: MacConfig, pairs: NDArray[np.uint32], sums: range, report: Callable[[float], None]
    ) -> Found:
        """All these pairs of operands with all these sums and all random words, at the biases of ``config``.

        ``sums`` are a multiple of four, from a multiple of four on.
        """
        addends = Addends.of(self, config, pairs)
        table = addends.table(self, config, sums)
        ready = self._prepared(table)
        compared, differences, first = 0, 0, None
        parts = np.array_split(np.arange(len(pairs)), max(1, min(len(pairs), _PARTS)))
        for done, part in enumerate(parts):
            job = self._run(
                config,
                np.ascontiguousarray(pairs[part]),
                np.ascontiguousarray(addends.index[:, part]),
                ready,
                sums,
            )
            compared += job.compared
            if job.differences and not differences:
                first = self._describe(config, list(job.first), addends, table, pairs, sums)
            differences += job.differences
            report((done + 1) / len(parts))
        return Found(compared=compared, differences=differences, first=first)

    def _prepared(self, table: NDArray[np.uint16]) -> NDArray:
        """The table as the loop wants it."""
        return table

    def _run(
        self, config: MacConfig, pairs: NDArray, index: NDArray, table: NDArray, sums: range
    ) -> ctypes.Structure:
        """A job that the loop has done."""
        ranges, offsets = offset_ranges(config), config.offsets
        job = _Job(
            pairs=pairs.ctypes.data,
            pair_count=len(pairs),
            x_bits=config.x.code_bits,
            acc_first=sums.start,
            acc_count=len(sums),
            product_words=self.product_words,
            acc_words=self.acc_words,
            product_offset=register_bits(offsets.product, ranges.product),
            acc_offset=0 if ranges.acc is None else register_bits(offsets.acc, ranges.acc),
            addends=index.ctypes.data,
            table=table.ctypes.data,
            latency=self.mac.acc_lag + self.mac.acc_latency,
        )
        self.library.run(ctypes.byref(job))
        return job

    def _describe(
        self,
        config: MacConfig,
        first: list[int],
        addends: Addends,
        table: NDArray[np.uint16],
        pairs: NDArray,
        sums: range,
    ) -> str:
        x, w, acc, product_word, acc_word, got = first
        pair = int(np.flatnonzero(pairs == x + (w << config.x.code_bits))[0])
        wanted = int(table[addends.index[product_word, pair], acc_word, acc - sums.start])
        inputs = " ".join(f"{name}={value:#x}" for name, value in zip(FIRST, first[:-1], strict=False))
        moved = "" if config == self.config else f" as {config.name}"
        return f"{self.subject}{moved}: {inputs}: RTL gives {got:#x}, golden gives {wanted:#x}"

    def _verilog(self) -> str:
        return verilog_text(self.mac, "mac") + self._bench()

    def _bench(self) -> str:
        """Verilog: the lanes behind registers, so that the inputs change with the clock and only then."""
        mac, config = self.mac, self.config
        acc_bits = config.accumulator.format.code_bits
        lag = mac.acc_lag
        inputs = {"x": config.x.code_bits, "w": config.w.code_bits, "acc": acc_bits - 2}
        inputs |= {name: self._width(name) for name in ("product_word", "acc_word") if self._has(name)}
        offsets = {name: self._width(name) for name in ("product_offset", "acc_offset") if self._has(name)}
        lines = [
            "module top(input clk, output [63:0] result, "
            + ", ".join(f"input [{width - 1}:0] {name}" for name, width in (inputs | offsets).items())
            + ");"
        ]
        for name, width in inputs.items():
            lines.append(f"reg [{width - 1}:0] {name}_0; always @(posedge clk) {name}_0 <= {name};")
        for i in range(lag):
            lines.append(f"reg [{acc_bits - 3}:0] acc_{i + 1}; always @(posedge clk) acc_{i + 1} <= acc_{i};")
        for lane in range(_LANES):
            connections = {name: f"{name}_0" for name in inputs} | {name: name for name in offsets}
            connections |= {"acc": f"{{acc_{lag}, 2'd{lane}}}", "clk": "clk", "en": "1'b1"}
            connections["result"] = f"code_{lane}"
            lines.append(f"wire [{acc_bits - 1}:0] code_{lane};")
            word = f"{{{16 - acc_bits}'b0, code_{lane}}}" if acc_bits < 16 else f"code_{lane}"
            if self.events:
                connections |= {"acc_events": "2'b0", "result_events": f"events_{lane}"}
                lines.append(f"wire [1:0] events_{lane};")
                word = f"{{events_{lane}, {EVENTS_AT - acc_bits}'b0, code_{lane}}}"
            ports = ", ".join(f".{name}({wire})" for name, wire in connections.items())
            lines.append(f"mac mac_{lane}({ports});")
            lines.append(f"assign result[{16 * lane + 15}:{16 * lane}] = {word};")
        return "\n".join([*lines, "endmodule", ""])

    def _loop(self) -> str:
        """The C++, told which inputs there are."""

        def drive(names: dict[str, str]) -> str:
            return " ".join(f"top_->{name} = {value};" for name, value in names.items() if self._has(name))

        offsets = drive({"product_offset": "job.product_offset", "acc_offset": "job.acc_offset"})
        words = drive({"product_word": "going_in.product_word", "acc_word": "going_in.acc_word"})
        head = f"#define DRIVE_OFFSETS {offsets}\n#define DRIVE_WORDS {words}\n"
        return head + _LOOP.read_text()

    def _has(self, port: str) -> bool:
        return port in self.mac.signature.members

    def _width(self, port: str) -> int:
        return len(getattr(self.mac, port))


def run_all(step: StepLoop, task: Task) -> Outcome:
    """Compare all inputs, or all sums with some of the pairs."""
    pairs = np.arange(step.pair_count, dtype=np.uint32)
    if not task.whole:
        count = max(1, int(len(pairs) * task.share))
        pairs = np.sort(np.random.default_rng(task.seed).choice(pairs, count, replace=False))
    compared = differences = 0
    details: dict = {"inputs": step.size}
    pieces = [step.sums[first : first + _SUMS] for first in range(0, len(step.sums), _SUMS)]
    for done, sums in enumerate(pieces):

        def report(part: float, done: int = done) -> None:
            task.report((done + part) / len(pieces))

        found = step.compare(step.config, pairs, sums, report)
        compared += found.compared
        if found.differences and not differences:
            details["first_difference"] = found.first
        differences += found.differences
    return Outcome(compared=compared, differences=differences, details=details)


def inputs_of(step: StepLoop) -> str:
    """What there is to compare, for a row."""
    what = "sums and random words" if step.config.stochastic else "sums"
    return f"all operands and {what}" + (", events too" if step.events else "")


def register_bits(offset: int, bounds: OffsetRange) -> int:
    """The bits of the port: an offset that it does not hold is one that makes no difference."""
    half = 2 ** (bounds.width - 1)
    held = offset if -half <= offset < half else bounds.clamp(offset)
    return held % (2 * half)


@dataclass(frozen=True)
class Addends:
    """What the products of pairs of operands are to the adder, each once."""

    numbers: NDArray[np.int64]  #: [addend, (negative, significand, exponent, events of the product)]
    index: NDArray[np.int32]  #: [product word, pair]: the addend.

    @classmethod
    def of(cls, step: StepLoop, config: MacConfig, pairs: NDArray[np.uint32]) -> Addends:
        x = (pairs & (2**config.x.code_bits - 1)).astype(np.int64)
        w = (pairs >> config.x.code_bits).astype(np.int64)
        columns = []
        for word in range(step.product_words):
            addend = addend_of(x, w, config, np.int64(word))
            events = np.zeros_like(x)
            if step.events and config.product is not None:
                rounded = quantize_events(multiply(x, w, config), config.product, np.int64(word))
                events = rounded.overflow + 2 * rounded.underflow
            negative, significand, exponent = np.broadcast_arrays(*addend)
            columns.append(
                exponent.astype(np.int64) * 2**_EXPONENT_AT + significand * 8 + negative * 4 + events
            )
        keys, index = np.unique(np.concatenate(columns), return_inverse=True)
        fields = (
            keys >> 2 & 1,
            keys >> 3 & 2 ** (_EXPONENT_AT - 3) - 1,
            keys >> _EXPONENT_AT,
            keys & 3,
        )
        index = index.reshape(step.product_words, len(pairs)).astype(np.int32)
        return cls(np.stack(fields, axis=-1), index)

    def table(self, step: StepLoop, config: MacConfig, sums: range) -> NDArray[np.uint16]:
        """Golden's sums [addend, acc word, acc], with events in the upper bits if they are compared."""
        accumulator = config.accumulator
        acc, word = np.array(sums), np.arange(step.acc_words)[:, None]
        table = np.empty((len(self.numbers), step.acc_words, len(acc)), dtype=np.uint16)
        for start in range(0, len(self.numbers), _BLOCK):
            negative, significand, exponent, events = self.numbers[start : start + _BLOCK].T[:, :, None, None]
            addend = Unpacked(negative == 1, significand, exponent)
            codes = add(acc, addend, accumulator, word)
            if step.events:
                happened = add_events(acc, addend, accumulator, word)
                codes = codes | (events | happened.overflow | 2 * happened.underflow) << EVENTS_AT
            table[start : start + _BLOCK] = codes
        return table

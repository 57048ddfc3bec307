"""The worked example of docs/integration.md, simulated: its beats, its instance and its timing diagram.

    python -m tb.timing_diagram

writes docs/results/tile-timing.svg and the marked parts of docs/integration.md. Everything in them comes out
of a simulation of the tile (Amaranth's own simulator: no tool is needed), so it is the same every time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from random import Random

import numpy as np
from amaranth.sim import Simulator

from golden.random_words import RandomWords
from golden.tile import lane_bits
from hw.design import design
from hw.files import write_files
from hw.options import parser
from hw.registers import Register, register_map
from hw.tile import Tile
from hw.tile_product import Beat, TileProduct
from tb.timing_svg import Row, Track, drawing
from tb.verify.rows import ROOT

__all__ = ["PAGE", "PICTURE", "PRODUCT", "TILE", "beats_text", "page", "picture", "simulate"]

PAGE = ROOT / "docs" / "integration.md"
PICTURE = ROOT / "docs" / "results" / "tile-timing.svg"

#: Of hw.generate, for the tile of the example.
ARGUMENTS = "--operands int8 --acc-bits 16 --chunk 2 --outer int24_floor_sat --rows 2 --cols 2 --depth 4"

_DESIGN = design(parser().parse_args(ARGUMENTS.split()))
MAC, TILE = _DESIGN.mac, _DESIGN.tile
PRODUCT = TileProduct(
    tile=TILE,
    mac=MAC,
    x=np.array([[1, 2, 3, 4], [5, 6, 7, 8], [-1, -2, -3, -4]]) % 256,
    w=np.array([[1, 0], [0, 1], [1, 0], [0, 1]]),
    random=RandomWords(seed=0, call=0),
    m_base=0,
    n_base=0,
    output=None,
)

_WEIGHTS, _ACTIVATIONS, _RESULTS = "s_axis_weights", "s_axis_activations", "m_axis_results"
_EARLY = 1  # cycles before the first operand, with which the diagram begins
_LATE = 4  # cycles after the last result
_ACTIVATIONS_PAUSE = (3, 2)  # the sender holds back this beat for so many cycles
_RESULTS_HELD = 3  # cycles for which the first result is not taken
_MOST_CYCLES = 200


@dataclass
class _Source:
    """Sends beats; once offered, a beat stays."""

    beats: list[Beat]
    pause: tuple[int, int] | None = None
    sent: int = 0

    def offer(self) -> Beat | None:
        if self.sent == len(self.beats):
            return None
        if self.pause is not None and self.sent == self.pause[0] and self.pause[1] > 0:
            self.pause = (self.pause[0], self.pause[1] - 1)
            return None
        return self.beats[self.sent]


@dataclass
class _Bench:
    """Drives the tile through the example and keeps what is on its ports in each cycle."""

    tile: Tile
    writes: list[tuple[int, int]]
    samples: list[dict[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        noise = Random(0)
        self.sources = {
            _WEIGHTS: _Source(PRODUCT.weight_beats(noise)),
            _ACTIVATIONS: _Source(PRODUCT.activation_beats(noise), _ACTIVATIONS_PAUSE),
        }
        self.ports = [path[0] for path, _, _ in self.tile.signature.flatten(self.tile)]
        self.waiting = {"aw": False, "w": False}  # not yet taken
        self.answered = True
        self.held = _RESULTS_HELD
        self.after = None  # cycles since the last result

    async def run(self, ctx) -> None:
        """Inputs change while the clock is low; what is seen is what the rising edge sees."""
        for cycle in range(_MOST_CYCLES):
            self.drive(ctx, cycle)
            await ctx.delay(5e-9)
            seen = {port: ctx.get(getattr(self.tile, port)) for port in self.ports}
            self.samples.append(seen)
            self.step(seen)
            ctx.set(self.tile.aclk, 1)
            await ctx.delay(5e-9)
            ctx.set(self.tile.aclk, 0)
            if self.after == _LATE:
                return
        raise RuntimeError("the example does not come to its end")

    def drive(self, ctx, cycle: int) -> None:
        def put(port: str, value: int) -> None:
            ctx.set(getattr(self.tile, port), value)

        put("aresetn", cycle >= 2)
        if cycle < 4:
            return
        if self.answered and self.writes:
            address, word = self.writes.pop(0)
            put("s_axi_awaddr", address)
            put("s_axi_wdata", word)
            put("s_axi_wstrb", 0b1111)
            self.waiting, self.answered = {"aw": True, "w": True}, False
        for channel, waits in self.waiting.items():
            put(f"s_axi_{channel}valid", waits)
        put("s_axi_bready", 1)
        for name, source in self.sources.items():
            beat = source.offer() if len(self.writes) <= 1 else None
            put(f"{name}_tvalid", beat is not None)
            if beat is not None:
                put(f"{name}_tdata", beat.data)
                put(f"{name}_tkeep", beat.keep)
                put(f"{name}_tlast", beat.last)
        put(f"{_RESULTS}_tready", self.held == 0)

    def step(self, seen: dict[str, int]) -> None:
        for channel in self.waiting:
            if seen[f"s_axi_{channel}valid"] and seen[f"s_axi_{channel}ready"]:
                self.waiting[channel] = False
        self.answered |= bool(seen["s_axi_bvalid"])
        for name, source in self.sources.items():
            source.sent += seen[f"{name}_tvalid"] & seen[f"{name}_tready"]
        if seen[f"{_RESULTS}_tvalid"] and self.held:
            self.held -= 1
        if self.after is not None:
            self.after += 1
        elif seen[f"{_RESULTS}_tvalid"] & seen[f"{_RESULTS}_tready"] & seen[f"{_RESULTS}_tlast"]:
            self.after = 0


@cache
def _bench() -> _Bench:
    """The tile after the example.

    Raises RuntimeError if the results are not golden's.
    """
    registers = {register.name: register for register in register_map(TILE)}
    writes = [
        *PRODUCT.register_writes(),
        (registers["INTERRUPT"].address, _bit(registers["INTERRUPT"], "done")),
        (registers["CONTROL"].address, _bit(registers["CONTROL"], "start")),
    ]
    bench = _Bench(Tile(TILE), writes)
    simulator = Simulator(bench.tile)
    simulator.add_testbench(bench.run)
    simulator.run()
    taken = [seen for seen in bench.samples if seen[f"{_RESULTS}_tvalid"] & seen[f"{_RESULTS}_tready"]]
    wanted = PRODUCT.result_beats(PRODUCT.expected().codes)
    got = [Beat(*(seen[f"{_RESULTS}_t{part}"] for part in ("data", "keep", "last"))) for seen in taken]
    if got != wanted:
        raise RuntimeError(f"the example gives {got}, and golden {wanted}")
    return bench


def _bit(register: Register, name: str) -> int:
    (found,) = [field for field in register.fields if field.name == name]
    return 1 << found.lsb


def simulate() -> tuple[dict[str, int], ...]:
    """What is on the tile's ports at each rising edge, from shortly before its start on."""
    samples = _bench().samples
    start = next(i for i, seen in enumerate(samples) if seen[f"{_WEIGHTS}_tvalid"])
    return tuple(samples[start - _EARLY :])


def picture() -> str:
    """The timing diagram."""
    samples = simulate()

    def level(label: str, port: str) -> Row:
        return Row(label, tuple(seen[port] for seen in samples), None)

    def stream(name: str, lane: int) -> Iterator[Row]:
        beats = [
            _lanes(seen[f"{name}_tdata"], lane, 2) if seen[f"{name}_tvalid"] else None for seen in samples
        ]
        taken = tuple(bool(seen[f"{name}_tvalid"] & seen[f"{name}_tready"]) for seen in samples)
        yield level(f"{name}_tvalid", f"{name}_tvalid")
        yield level(f"{name}_tready", f"{name}_tready")
        yield Row(f"{name}_tdata", tuple(beats), taken)
        yield Row(
            f"{name}_tlast",
            tuple(seen[f"{name}_tlast"] if seen[f"{name}_tvalid"] else 0 for seen in samples),
            None,
        )

    tracks = [
        Track(
            "INTERRUPT, then CONTROL",
            tuple(level(f"s_axi_{name}", f"s_axi_{name}") for name in ("awvalid", "awready", "bvalid")),
        ),
        Track("weights", tuple(stream(_WEIGHTS, lane_bits(MAC.w)))),
        Track("activations", tuple(stream(_ACTIVATIONS, lane_bits(MAC.x)))),
        Track("results", tuple(stream(_RESULTS, lane_bits(TILE.result)))),
        Track("interrupt", (level("irq", "irq"),)),
    ]
    return drawing("A product of M = 3, N = 2, K = 4 on a tile of 2 x 2", len(samples), tracks)


def _lanes(word: int, bits: int, count: int) -> str:
    """Signed numbers, lane 0 first."""
    values = [word >> i * bits & (2**bits - 1) for i in range(count)]
    return " ".join(str(value - 2**bits if value >> (bits - 1) else value) for value in values)


def beats_text() -> str:
    """The beats of the example, as a table."""
    noise = Random(0)
    streams = {
        "weights": (PRODUCT.weight_beats(noise), lane_bits(MAC.w)),
        "activations": (PRODUCT.activation_beats(noise), lane_bits(MAC.x)),
        "results": (PRODUCT.result_beats(PRODUCT.expected().codes), lane_bits(TILE.result)),
    }
    rows = [
        "| stream | beat | tdata | lanes 0, 1 | tkeep | tlast |",
        "| --- | ---: | --- | --- | --- | --- |",
    ]
    for name, (beats, lane) in streams.items():
        for i, beat in enumerate(beats):
            data = f"0x{beat.data:0{2 * lane // 4}x}"
            keep = f"{beat.keep:0{2 * lane // 8}b}"
            lanes = _lanes(beat.data, lane, 2).replace(" ", ", ")
            rows.append(f"| {name} | {i} | `{data}` | {lanes} | {keep} | {int(beat.last)} |")
    return "\n".join(rows)


def instance_text() -> str:
    """The tile in Verilog, each port on a wire of its name."""
    lines = ",\n".join(f"  .{port}({port})" for port in _bench().ports)
    return f"```verilog\n{TILE.name} matmul (\n{lines}\n);\n```"


def command_text() -> str:
    """The command that makes the tile."""
    return f"    python -m hw.generate {ARGUMENTS} -o generated"


_PARTS = {"command": command_text, "instance": instance_text, "example": beats_text}


def page(text: str) -> str:
    """The page with its marked parts as they are now."""
    for name, part in _PARTS.items():
        begin, end = f"<!-- {name}: python -m tb.timing_diagram -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"the page has not one part between {begin} and {end}")
        content = part()
        text = pattern.sub(lambda _, b=begin, c=content, e=end: f"{b}\n\n{c}\n\n{e}", text)
    return text


def main() -> int:
    """Write both."""
    write_files({PICTURE.name: picture()}, PICTURE.parent)
    write_files({PAGE.name: page(PAGE.read_text())}, PAGE.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())

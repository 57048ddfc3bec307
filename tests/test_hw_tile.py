"""Whole tiles, as Verilog, in plain-Verilog testbenches: products, abuse and recovery, cycles."""

from __future__ import annotations

import random
import re
from functools import partial

from golden.config import ArrayConfig, MacConfig, Rounding, parse_format
from golden.tile import OutputStage, TileConfig
from hw.cost.cycles import cycles
from hw.registers import register_map
from hw.tile_program import Program, random_product
from tests.tile_bench import run_programs

#: Three blocks of M and tiles of N, the last ones short, two and a half passes; one output; whole blocks.
SHAPES = ((9, 5, 7), (1, 1, 1), (4, 2, 4))
MEASURED = ((9, 5, 7), (12, 4, 8), (1, 3, 2), (4, 2, 13))

INTEGERS = "int8_int8_p_exact_a_int16_floor_sat_c2_o_int24_floor_sat"
FLOATS = "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz"
STOCHASTIC = "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr5_c4_o_e5m10_sr3"


def stage(
    target: str, rounding: Rounding, multiplier_bits: int | None = None, channels: int = 7
) -> OutputStage:
    return OutputStage(
        target=parse_format(target), rounding=rounding, channels=channels, multiplier_bits=multiplier_bits
    )


def tile(
    mac: str,
    output: OutputStage | None = None,
    *,
    rows: int = 2,
    cols: int = 2,
    stages: int = 0,
    depth: int = 4,
    events: bool = False,
    hardwired: bool = False,
) -> tuple[TileConfig, MacConfig]:
    config = MacConfig.parse(mac)
    silicon = config.hardwired if hardwired else config.silicon
    array = ArrayConfig(silicon=silicon, rows=rows, cols=cols, stages=stages, depth=depth, events=events)
    return TileConfig(array=array, output=output), config


#: Tiles that differ in what is built.
TILES = {
    "float": tile(f"{FLOATS}_c2", stages=1),
    "float, hard-wired": tile(f"{FLOATS}_c2", hardwired=True, rows=1, cols=3, depth=1),
    "float to float, events": tile(
        f"{FLOATS}_c4", stage("e3m4", Rounding.NEAREST_EVEN), stages=2, cols=3, depth=3, events=True
    ),
    "subnormals": tile(
        "e4m3s_e4m3fn_p_e5m10s_rne_a_e5m10ieee_rne_c2",
        stage("e4m3fn", Rounding.NEAREST_EVEN),
        cols=1,
        events=True,
    ),
    "stochastic": tile(STOCHASTIC, events=True),
    "stochastic to float": tile(
        "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_sr5_c2", stage("e2m3s", Rounding.TOWARD_ZERO)
    ),
    "integers to integers": tile(INTEGERS, stage("int8", Rounding.NEAREST_EVEN, 8), stages=1, events=True),
    "unsigned, floor": tile(
        "uint8_int8_p_exact_a_int12_floor_wrap_c4", stage("uint8", Rounding.FLOOR, 4), depth=3, events=True
    ),
    "wide integers, toward zero": tile(
        "int8_int8_p_exact_a_int40_floor_sat_c1", stage("int16", Rounding.TOWARD_ZERO, 12), rows=1, cols=1
    ),
    "exact to float": tile(
        "e3m4_e3m4_p_exact_a_int37ln14_rz_wrap_c2", stage("e3m4", Rounding.NEAREST_EVEN), events=True
    ),
}

#: Abused below: with every register that a deterministic tile can have.
ABUSED, ABUSED_MAC = tile(INTEGERS, stage("int8", Rounding.NEAREST_EVEN, 8), events=True)


class Session:
    """A program under construction, with its randomness."""

    def __init__(self, seed: int, config: TileConfig, mac: MacConfig):
        self.rng = random.Random(seed)
        self.config, self.mac = config, mac
        self.program = Program(config=config)

    def product(self, *shape: int) -> None:
        """A product to its end, checked in all respects."""
        self.program.product(random_product(self.config, self.mac, shape, self.rng), self.rng)

    def prepare(self, *shape: int):
        """A product in the registers, its operands ready to be sent; gives what computes its results."""
        product = random_product(self.config, self.mac, shape, self.rng)
        for address, word in product.register_writes():
            self.program.write(address, word)
        self.program.weights += product.weight_beats(self.rng)
        self.program.activations += product.activation_beats(self.rng)
        return lambda: product.result_beats(product.expected().codes)

    def command(self, name: str) -> None:
        self.program.write("CONTROL", self.program.bit("CONTROL", name))

    def status(self, *names: str) -> int:
        return sum(self.program.bit("STATUS", name) for name in names)

    def expect_status(self, *names: str, but: tuple[str, ...] = ()) -> None:
        """These bits and no others, but for some that may be anything; then clear the flags."""
        self.program.read("STATUS", self.status(*names), ~self.status(*but))
        self.program.write("STATUS", -1)


def products(config: TileConfig, mac: MacConfig, seed: int) -> Program:
    """Products with pauses on every stream; then at full rate, in as many cycles as the model says.

    For the latter the first operands are at the tile when it starts.
    """
    session = Session(seed, config, mac)
    session.program.pauses(True)
    for shape in SHAPES:
        session.product(*shape)
    session.program.pauses(False)
    for shape in MEASURED:
        results = session.prepare(*shape)
        session.program.allow()
        session.program.pause(8)
        session.command("start")
        session.program.results += results()
        session.program.taken()
        session.program.pause(2)
        m, n, k = shape
        session.program.read("CYCLES", cycles(config, m, k, n))
    return session.program


def abused_registers() -> Program:
    """Accesses that are refused, and starts that cannot be: nothing happens but an error."""
    session = Session(3, ABUSED, ABUSED_MAC)
    program = session.program
    program.pauses(True)
    session.command("start")  # all dimensions are 0 after reset
    session.expect_status("error", "bad_m", "bad_n", "bad_k")
    for address in (0x7FC, 0x054, 0x140, 0xFFC):  # nothing there, or not in this tile
        program.read(address, 0, refused=True)
        program.write(address, 1, refused=True)
    program.read(0x7FF, 0, refused=True)  # its lowest bits are ignored
    program.read(0x111, 0)
    for name in ("MAGIC", "FORMAT_X", "CYCLES", "CHANNELS"):
        program.write(name, 1, refused=True)
    program.read("CHANNEL_BIAS", 0, refused=True)
    program.write("CONTROL", 3, refused=True)  # start and clear at once
    program.write("M", 2**24, refused=True)
    program.write("CHANNEL_SHIFT", 64, refused=True)
    program.write("OUTPUT_OFFSET", 256, refused=True)
    program.write("OUTPUT_OFFSET", -257, refused=True)
    program.write("OUTPUT_OFFSET", -256)
    program.read("OUTPUT_OFFSET", -256)
    program.write("CHANNEL", 1, refused=True)
    for n in range(7):
        program.read("CHANNEL", n)
        program.write("CHANNEL_BIAS", -n)
    program.write("CHANNEL_BIAS", 0, refused=True)
    program.write("CHANNEL_BIAS", 2**23, refused=True)
    for m, n, k, names in ((1, 8, 1, ["bad_n"]), (0, 7, 0, ["bad_m", "bad_k"])):
        for name, value in (("M", m), ("N", n), ("K", k)):
            program.write(name, value)
        session.command("start")
        session.expect_status("error", *names)
    for register in register_map(ABUSED):
        for field in register.fields:
            if field.constant is not None:
                mask = (2**field.width - 1) << field.lsb
                program.read(register.address, field.constant << field.lsb, mask)
    session.product(3, 3, 3)
    return program


def abused_while_busy() -> Program:
    session = Session(4, ABUSED, ABUSED_MAC)
    program = session.program
    program.pauses(True)
    results = session.prepare(5, 3, 4)
    session.command("start")
    program.read("STATUS", session.status("busy"))
    session.command("start")
    program.read("STATUS", session.status("busy", "error", "start_busy"))
    program.write("STATUS", session.status("start_busy"))
    program.read("STATUS", session.status("busy"))
    for name in ("M", "N", "K", "RELU", "OUTPUT_OFFSET", "CHANNEL", "CHANNEL_SHIFT", "CHANNEL_BIAS"):
        program.write(name, 0, refused=True)
    program.read("M", 5)
    program.write("INTERRUPT", program.bit("INTERRUPT", "done"))
    program.irq(0)
    program.results += results()
    program.allow()
    program.taken()
    program.pause(3)
    program.irq(1)
    session.expect_status("done", but=("overflow", "underflow", "output_overflow"))
    program.pause(2)
    program.irq(0)
    session.product(2, 2, 2)
    return program


def cleared(*, weights: int, activations: int, results: int, offered: bool) -> Program:
    """Give up a product at some point of it, with a result on offer; the next one is as good as ever."""
    session = Session(5, ABUSED, ABUSED_MAC)
    program = session.program
    before = session.prepare(8, 4, 4)
    session.command("start")
    program.hold(results)
    program.allow(weights=weights, activations=activations)
    program.sent()
    program.pause(60)
    session.command("clear")
    program.pause(2)
    program.hold(-1)
    # The beat on offer cannot be withdrawn.
    program.results += before()[: results + offered]
    program.taken()
    session.expect_status(but=("overflow", "underflow", "output_overflow"))
    program.weights[weights:], program.activations[activations:] = [], []
    session.product(5, 3, 5)
    return program


def misplaced_last(stream: str, at: int, *, last: bool) -> Program:
    """A tlast too early or missing halts the tile; what comes is dropped until it is cleared."""
    session = Session(6, ABUSED, ABUSED_MAC)
    program = session.program
    program.write("INTERRUPT", program.bit("INTERRUPT", "error"))
    session.prepare(3, 2, 4)
    beats = getattr(program, stream)
    beats[at] = beats[at]._replace(last=last)
    beats += beats[:5]  # a sender that goes on
    session.command("start")
    program.hold(0)
    program.allow()
    program.sent()
    program.pause(60)
    program.irq(1)
    program.read(
        "STATUS",
        session.status("halted", "error", f"{stream}_last"),
        ~session.status("overflow", "underflow", "output_overflow"),
    )
    session.command("start")
    program.read("STATUS", session.status("start_halted"), session.status("start_halted", "busy"))
    session.command("clear")
    session.expect_status(
        "error", f"{stream}_last", "start_halted", but=("overflow", "underflow", "output_overflow")
    )
    program.hold(-1)
    session.product(5, 3, 5)
    return program


def interrupted(config: TileConfig, mac: MacConfig, *, reset: bool) -> Program:
    """Clear, or reset, in every cycle of a product that is sent without pauses; then one to its end."""
    session = Session(7, config, mac)
    program = session.program
    for cycle in range(cycles(config, 3, 3, 3) + 3):
        session.prepare(3, 3, 3)
        program.ignore(True)
        session.command("start")
        program.allow()
        program.pause(cycle)
        program.give_up(True)
        if reset:
            program.reset()
        else:
            session.command("clear")
        program.pause(3)
        program.give_up(False)
        program.ignore(False)
        program.write("STATUS", -1)
        session.product(2, 2, 3)
    return program


ABUSE = {
    "registers": abused_registers,
    "busy": abused_while_busy,
    "cleared at once": partial(cleared, weights=0, activations=0, results=0, offered=False),
    "cleared in weights": partial(cleared, weights=3, activations=2, results=0, offered=False),
    "cleared before a result": partial(cleared, weights=6, activations=4, results=0, offered=False),
    "cleared with the first result on offer": partial(
        cleared, weights=7, activations=6, results=0, offered=True
    ),
    "cleared with a result on offer": partial(cleared, weights=8, activations=12, results=2, offered=True),
    "cleared in every cycle": partial(interrupted, ABUSED, ABUSED_MAC, reset=False),
    "cleared in every cycle, stochastic": partial(interrupted, *TILES["stochastic"], reset=False),
    "reset in every cycle": partial(interrupted, ABUSED, ABUSED_MAC, reset=True),
    "weights end early": partial(misplaced_last, "weights", 2, last=True),
    "weights do not end": partial(misplaced_last, "weights", 3, last=False),
    "activations end early": partial(misplaced_last, "activations", 0, last=True),
    "activations do not end": partial(misplaced_last, "activations", 5, last=False),
}


def test_tiles():
    """All in one simulation, and in one test, so that one worker makes it."""
    programs = {name: products(*made, seed) for seed, (name, made) in enumerate(TILES.items())}
    programs |= {name: make() for name, make in ABUSE.items()}
    printed = run_programs(programs, "hw_tile")
    wrong = {name: text for name, text in printed.items() if "PASS" not in text or "FAIL" in text}
    assert not wrong, "\n".join(f"{name}:\n{text}" for name, text in wrong.items())
    assert len(printed) == len(TILES) + len(ABUSE)


def test_a_wrong_expectation_is_found():
    """The testbench is a test itself: one bit of one result, of one register, and a result too many."""
    config, mac = TILES["float, hard-wired"]
    program = products(config, mac, 1)
    program.results[3] = program.results[3]._replace(data=program.results[3].data ^ 1)
    program.read("MAGIC", 0)
    printed = run_programs({"wrong": program}, "hw_tile_wrong")["wrong"]
    assert re.search(r"result 3: got \w+, expected", printed)
    assert re.search(r"read of 000: 464d4151 with response 00, expected 00000000", printed)
    assert "2 errors" in printed and "PASS" not in printed

"""What a testbench does with a tile: register accesses, operands, and everything that it expects."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from golden.config import FloatFormat, Format, MacConfig
from golden.output import OutputSettings
from golden.random_words import RandomWords
from golden.tile import TileConfig
from hw.axi import Response
from hw.registers import register_map
from hw.tile_product import Beat, TileProduct

__all__ = ["Kind", "Program", "random_product", "shipped_program"]


SEED = 1
MAX_ROWS = 64  # of a block of M that the shipped vectors fill
MAX_K = 256
UNMAPPED = 0xFFC


class Kind(IntEnum):
    """Steps of a program, as the Verilog knows them."""

    WRITE = 0
    READ = 1
    POLL = 2
    ALLOW_WEIGHTS = 3
    ALLOW_ACTIVATIONS = 4
    SENT = 5
    RESULTS = 6
    IRQ = 7
    PAUSE = 8
    HOLD = 9
    PAUSES = 10
    GIVE_UP = 11
    IGNORE = 12
    RESET = 13


@dataclass(kw_only=True)
class Program:
    """What a testbench does with a tile, step by step."""

    config: TileConfig
    steps: list[int] = field(default_factory=list)
    weights: list[Beat] = field(default_factory=list)
    activations: list[Beat] = field(default_factory=list)
    results: list[Beat] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registers = {register.name: register for register in register_map(self.config)}

    def _step(self, kind: Kind, address: int = 0, data: int = 0, mask: int = 0, response: int = 0) -> None:
        self.steps.append(kind << 80 | response << 76 | address << 64 | data % 2**32 << 32 | mask % 2**32)

    def address(self, name: str) -> int:
        return self.registers[name].address

    def bit(self, register: str, name: str) -> int:
        """A field's bits, all ones."""
        (found,) = [each for each in self.registers[register].fields if each.name == name]
        return (2**found.width - 1) << found.lsb

    def write(self, address: str | int, data: int, *, refused: bool = False) -> None:
        """Write a register, by name or address, and see that it is taken, or refused."""
        at = self.address(address) if isinstance(address, str) else address
        self._step(Kind.WRITE, at, data, response=Response.SLVERR if refused else Response.OKAY)

    def read(self, address: str | int, data: int, mask: int = -1, *, refused: bool = False) -> None:
        """Read a register and compare those bits that are set in the mask."""
        at = self.address(address) if isinstance(address, str) else address
        self._step(Kind.READ, at, data, mask, Response.SLVERR if refused else Response.OKAY)

    def poll(self, name: str, data: int, mask: int) -> None:
        """Read until those bits are so."""
        self._step(Kind.POLL, self.address(name), data, mask)

    def allow(self, *, weights: int | None = None, activations: int | None = None) -> None:
        """Let so many more beats be sent; all that there are by now if None."""
        self._step(Kind.ALLOW_WEIGHTS, data=len(self.weights) if weights is None else weights)
        self._step(Kind.ALLOW_ACTIVATIONS, data=len(self.activations) if activations is None else activations)

    def sent(self) -> None:
        """Wait until all beats that are allowed are taken."""
        self._step(Kind.SENT)

    def taken(self) -> None:
        """Wait until all results that are expected by now are taken."""
        self._step(Kind.RESULTS, data=len(self.results))

    def irq(self, level: int) -> None:
        """Compare the interrupt."""
        self._step(Kind.IRQ, data=level)

    def hold(self, results: int) -> None:
        """Take no result behind so many of those that are expected by now, or behind all ever if -1."""
        self._step(Kind.HOLD, data=results)

    def pauses(self, on: bool) -> None:
        """From now on operands and results pause at random, or, as in the beginning, do not."""
        self._step(Kind.PAUSES, data=int(on))

    def give_up(self, on: bool) -> None:
        """From now on send nothing; or go on, behind what was allowed before."""
        self._step(Kind.GIVE_UP, data=int(on))

    def ignore(self, on: bool) -> None:
        """From now on take results without a look; or compare them again."""
        self._step(Kind.IGNORE, data=int(on))

    def reset(self) -> None:
        """Hold the tile in reset for a cycle."""
        self._step(Kind.RESET)

    def pause(self, cycles: int) -> None:
        self._step(Kind.PAUSE, data=cycles)

    def product(self, product: TileProduct, noise: random.Random) -> None:
        """Run a product to its end and compare everything that it leaves."""
        expected = product.expected()
        for address, word in product.register_writes():
            self.write(address, word)
        self.write("CONTROL", self.bit("CONTROL", "start"))
        self.weights += product.weight_beats(noise)
        self.activations += product.activation_beats(noise)
        beats = product.result_beats(expected.codes)
        self.results += beats
        self.allow()
        self.taken()
        flags = {"done": True}
        counts = {"RESULT_BEATS": len(beats), "CHUNKS": product.chunks}
        if self.config.array.events:
            flags |= {"overflow": expected.overflows > 0, "underflow": expected.underflows > 0}
            counts |= {"OVERFLOWS": expected.overflows, "UNDERFLOWS": expected.underflows}
        if self.config.output is not None:
            flags |= {"output_overflow": expected.output_overflows > 0}
            counts |= {"OUTPUT_OVERFLOWS": expected.output_overflows}
        self.pause(4)
        self.read("STATUS", sum(self.bit("STATUS", name) for name, is_set in flags.items() if is_set))
        self.write("STATUS", -1)
        self.read("STATUS", 0)
        for name, count in counts.items():
            self.read(name, count)


def random_product(
    config: TileConfig, mac: MacConfig, shape: tuple[int, int, int], rng: random.Random
) -> TileProduct:
    """A product of M, N, K with random codes, some zero; row 0 times column 0 overflows if it can."""
    m, n, k = shape
    x = np.array([[_code(mac.x, rng) for _ in range(k)] for _ in range(m)], dtype=np.int64)
    w = np.array([[_code(mac.w, rng) for _ in range(n)] for _ in range(k)], dtype=np.int64)
    x[0], w[:, 0] = _largest(mac.x), _largest(mac.w)
    return TileProduct(
        tile=config,
        mac=mac,
        x=x,
        w=w,
        random=RandomWords(seed=rng.getrandbits(64), call=rng.getrandbits(32)),
        m_base=rng.getrandbits(20),
        n_base=rng.getrandbits(10),
        output=None if config.output is None else _settings(config, n, rng),
    )


def _settings(config: TileConfig, n: int, rng: random.Random) -> OutputSettings:
    """Biases of any size, and scales by which results come out in the middle of the target."""
    outer, target = config.outer.format, config.output.target
    bias = np.array([_code(outer, rng) for _ in range(n)])
    relu = rng.random() < 0.5
    if isinstance(target, FloatFormat):
        offset = config.biased.bias - target.bias + rng.randint(-3, 3)
        offset = config.output_offset_range.clamp(offset)
        return OutputSettings(relu=relu, offset=offset, bias=bias, multiplier=None, shift=None)
    bits = config.output.multiplier_bits
    multiplier = np.array([rng.getrandbits(bits) for _ in range(n)])
    middle = max(0, outer.code_bits + bits - target.code_bits - 2)
    shift = np.array([min(63, max(0, middle + rng.randint(-3, 3))) for _ in range(n)])
    offset = rng.randint(-(2 ** (target.bits - 1)), 2 ** (target.bits - 1) - 1)
    return OutputSettings(relu=relu, offset=offset, bias=bias, multiplier=multiplier, shift=shift)


def _code(number: Format, rng: random.Random) -> int:
    """Any finite code, in one of eight cases zero."""
    if not rng.randrange(8):
        return 0
    if not isinstance(number, FloatFormat):
        return rng.getrandbits(number.code_bits)
    return rng.randint(0, number.max_magnitude_code) | rng.getrandbits(1) << (number.code_bits - 1)


def _largest(number: Format) -> int:
    return number.max_magnitude_code if isinstance(number, FloatFormat) else number.max_integer


def shipped_program(config: TileConfig, mac: MacConfig) -> Program:
    """The program that goes with generated Verilog: who it is, what it refuses, products, a recovery."""
    rng, program = random.Random(SEED), Program(config=config)
    for register in program.registers.values():
        for part in register.fields:
            if part.constant is not None:
                program.read(register.address, part.constant << part.lsb, (2**part.width - 1) << part.lsb)
    program.read(UNMAPPED, 0, refused=True)
    program.write("MAGIC", 0, refused=True)
    program.write("CONTROL", program.bit("CONTROL", "start"))  # with all dimensions 0
    errors = sum(program.bit("STATUS", name) for name in ("error", "bad_m", "bad_n", "bad_k"))
    program.read("STATUS", errors)
    program.write("STATUS", -1)

    array, chunk = config.array, mac.chunk_size
    rows, cols = array.rows, min(array.cols, config.max_n)
    shapes = (
        # A block of M and a short one, a tile of N and a short one, a short last chunk.
        (min(array.depth, MAX_ROWS) + 1, min(cols + 1, config.max_n), min(chunk, MAX_K) + rows // 2 + 1),
        (1, 1, 1),
        (min(array.depth, MAX_ROWS), cols, min(2 * chunk, MAX_K)),
    )
    program.pauses(True)
    for shape in shapes[:2]:
        program.product(random_product(config, mac, shape, rng), rng)
    # Weights that end too early, with one pass of two, halt the tile, until it is cleared.
    program.write("K", rows + 1)
    program.write("CONTROL", program.bit("CONTROL", "start"))
    program.weights.append(Beat(0, 0, True))
    program.allow()
    program.sent()
    program.poll("STATUS", program.bit("STATUS", "halted"), program.bit("STATUS", "halted"))
    program.write("CONTROL", program.bit("CONTROL", "clear"))
    program.read("STATUS", sum(program.bit("STATUS", name) for name in ("error", "weights_last")))
    program.write("STATUS", -1)
    program.pauses(False)
    program.product(random_product(config, mac, shapes[2], rng), rng)
    return program

"""The one table of a tile's registers: the gates, the JSON, the C header and the Markdown follow from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from golden.config import Encoding, FixedAccumulator, FixedFormat, FloatFormat, Format, Rounding
from golden.random_words import Stage
from golden.tile import DIMENSION_BITS, SHIFT_BITS, TileConfig
from hw.array import K_BITS
from hw.column import offset_members
from hw.mac import ChunkAdder, Mac
from hw.random_words import key_name, stochastic_stages

__all__ = ["MAGIC", "VERSION", "Access", "Field", "Register", "key_names", "register_map"]

MAGIC = int.from_bytes(b"FMAQ", "big")
VERSION = 1  #: Of the register map; another number where software has to know.

KINDS = ("none", "float", "signed", "unsigned")
ROUNDINGS = (None, Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN, Rounding.FLOOR, Rounding.STOCHASTIC)
NO_GUARD_LIMIT = 31  #: In place of guard bits: the sum is exact before it is rounded.


class Access(Enum):
    """What software does with a field."""

    READ = "ro"  #: Reads.
    WRITE = "rw"  #: Reads and writes.
    CLEAR = "rw1c"  #: Reads; a 1 that is written clears the bit.
    PULSE = "w1"  #: A 1 that is written does something at once; reads as 0.
    PUSH = "wo"  #: Each write counts; a read is refused.
    REWIND = "rw0"  #: Reads a count; a write of 0 sets it back, another is refused.


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Bits of a register."""

    name: str
    lsb: int
    width: int
    signed: bool
    access: Access
    constant: int | None  #: What a field that never changes reads as.
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """A word at an address."""

    name: str
    address: int  #: In bytes. The same in every tile that has the register.
    fields: tuple[Field, ...]
    locked: bool  #: A write is refused while a product is under way.
    meaning: str

    def port(self, field: Field) -> str:
        """The name of a field inside the tile."""
        return self.name.lower() if field.name == "value" else f"{self.name}_{field.name}".lower()

    @property
    def writable(self) -> bool:
        return any(field.access is not Access.READ for field in self.fields)


def register_map(config: TileConfig) -> tuple[Register, ...]:
    """The registers of a tile, in the order of their addresses."""
    found = [
        *_identity(config),
        *_control(config),
        *_offsets(config),
        *_random_words(config),
        *_output(config),
        *_counters(config),
    ]
    return tuple(sorted(found, key=lambda register: register.address))


def key_names(config: TileConfig) -> dict[str, tuple[Stage, int]]:
    """The keys of a tile's jobs, and the stage and side that golden.random_words.key takes for each."""
    return {
        key_name(stage, name): (stage, side)
        for stage in stochastic_stages(config.array.silicon.config)
        for side, name in enumerate(("row", "column"))
    }


def _one(
    name: str,
    address: int,
    meaning: str,
    *,
    width: int = 32,
    access: Access = Access.WRITE,
    signed: bool = False,
    constant: int | None = None,
) -> Register:
    """A register that is one field."""
    field = Field(
        name="value", lsb=0, width=width, signed=signed, access=access, constant=constant, meaning=meaning
    )
    locked = access in (Access.WRITE, Access.PUSH, Access.REWIND)
    return Register(name=name, address=address, fields=(field,), locked=locked, meaning=meaning)


def _several(name: str, address: int, meaning: str, *fields: tuple, locked: bool = False) -> Register:
    """A register of unsigned fields: name, lsb, width, access, constant or None, meaning."""
    return Register(
        name=name,
        address=address,
        fields=tuple(
            Field(
                name=field, lsb=lsb, width=width, signed=False, access=access, constant=constant, meaning=text
            )
            for field, lsb, width, access, constant, text in fields
        ),
        locked=locked,
        meaning=meaning,
    )


def _constant(name: str, address: int, value: int, meaning: str) -> Register:
    return _one(name, address, meaning, access=Access.READ, constant=value)


def _identity(config: TileConfig) -> Iterator[Register]:
    """The build configuration."""
    array, mac = config.array, config.array.silicon.config
    digest = hashlib.sha256(config.name.encode()).digest()
    yield _constant("MAGIC", 0x000, MAGIC, "the letters FMAQ")
    yield _constant("VERSION", 0x004, VERSION, "version of this register map")
    yield _constant(
        "NAME_HASH",
        0x008,
        int.from_bytes(digest[:4], "big"),
        "first 32 bits of the SHA-256 of the configuration's name",
    )
    output = config.output
    kind = 0 if output is None else 1 if isinstance(output.target, FixedFormat) else 2
    features = (
        ("stages", 0, 2, array.stages, "pipeline registers in a MAC, besides its output register"),
        ("events", 4, 1, int(array.events), "overflows and underflows are counted"),
        ("hardwired", 5, 1, int(array.silicon.hardwired), "exponent offsets are constants"),
        ("stochastic", 6, 1, int(mac.stochastic), "a rounding takes random words"),
        ("output", 8, 2, kind, "output stage: 0 none, 1 to integers, 2 to floats"),
        ("multiplier_bits", 10, 6, (output and output.multiplier_bits) or 0, "of the output stage"),
    )
    yield _several(
        "FEATURES",
        0x00C,
        "choices made at generation",
        *((name, lsb, width, Access.READ, value, text) for name, lsb, width, value, text in features),
    )
    yield _constant("ROWS", 0x010, array.rows, "rows of the array: codes in a beat of activations")
    yield _constant("COLS", 0x014, array.cols, "columns: codes in a beat of weights and of results")
    yield _constant("DEPTH", 0x018, array.depth, "rows of a block of M")
    yield _constant("CHUNK_SIZE", 0x01C, mac.chunk_size, "products that are summed before the outer addition")
    parts = {
        "X": mac.x,
        "W": mac.w,
        "PRODUCT": mac.product,
        "ACC": mac.accumulator,
        "OUTER": mac.outer_accumulator,
        "RESULT": config.result if config.output is None else config.output,
    }
    for i, (name, part) in enumerate(parts.items()):
        number = getattr(part, "target", getattr(part, "format", part))
        yield _format_register(f"FORMAT_{name}", 0x020 + 4 * i, number)
    for i, name in enumerate(("PRODUCT", "ACC", "OUTER")):
        yield _policy_register(f"POLICY_{name}", 0x040 + 4 * i, parts[name])
    if output is not None:
        yield _constant("CHANNELS", 0x050, output.channels, "the most columns of a product")


def _format_register(name: str, address: int, number: Format | None) -> Register:
    words = {"kind": 0, "bits": 0, "exp_bits": 0, "man_bits": 0, "encoding": 0}
    if isinstance(number, FloatFormat):
        encoding = list(Encoding).index(number.encoding)
        words |= {"kind": 1, "exp_bits": number.exp_bits, "man_bits": number.man_bits, "encoding": encoding}
    elif number is not None:
        words |= {"kind": 2 if number.signed else 3}
    if number is not None:
        words |= {"bits": number.code_bits}
    places = {
        "kind": (0, 2, "0 none (the exact product), 1 float, 2 two's complement, 3 unsigned"),
        "bits": (2, 6, "of a code"),
        "exp_bits": (8, 4, "of a float"),
        "man_bits": (12, 5, "stored mantissa bits of a float"),
        "encoding": (18, 2, "of a float: 0 normals only, 1 subnormals, 2 fn, 3 ieee"),
    }
    return _several(
        name,
        address,
        f"format of {name.removeprefix('FORMAT_').lower()}",
        *(
            (field, lsb, width, Access.READ, words[field], text)
            for field, (lsb, width, text) in places.items()
        ),
    )


def _policy_register(name: str, address: int, part) -> Register:
    rounding = 0 if part is None else ROUNDINGS.index(part.rounding)
    guard = getattr(part, "alignment_bits", None)
    wraps = isinstance(part, FixedAccumulator) and part.overflow.value == "wrap"
    return _several(
        name,
        address,
        f"how {name.removeprefix('POLICY_').lower()} rounds",
        ("rounding", 0, 3, Access.READ, rounding, "0 none, 1 rz, 2 rne, 3 floor, 4 sr"),
        ("random_bits", 3, 5, Access.READ, getattr(part, "random_bits", None) or 0, "of sr"),
        (
            "guard_bits",
            8,
            5,
            Access.READ,
            NO_GUARD_LIMIT if guard is None else guard,
            f"of a float sum; {NO_GUARD_LIMIT}: it is exact before it is rounded",
        ),
        ("wraps", 13, 1, Access.READ, int(wraps), "a fixed-point sum wraps; else it saturates"),
    )


def _control(config: TileConfig) -> Iterator[Register]:
    yield _several(
        "CONTROL",
        0x100,
        "commands",
        ("start", 0, 1, Access.PULSE, None, "begin a product"),
        ("clear", 1, 1, Access.PULSE, None, "give up what is under way, empty the array and the streams"),
    )
    flag = Access.CLEAR
    status = [
        ("busy", 0, 1, Access.READ, None, "a product is under way"),
        ("halted", 1, 1, Access.READ, None, "a stream was wrong: beats are dropped until CONTROL.clear"),
        ("error", 2, 1, Access.READ, None, "one of the error bits, 8 to 15, is set"),
        ("done", 4, 1, flag, None, "the last result of a product was taken; cleared by the next start, too"),
        ("start_busy", 8, 1, flag, None, "error: start while busy; it was ignored"),
        ("start_halted", 9, 1, flag, None, "error: start while halted; it was ignored"),
        ("bad_m", 10, 1, flag, None, "error: start with M = 0; it was ignored"),
        ("bad_n", 11, 1, flag, None, "error: start with N = 0 or more than CHANNELS; it was ignored"),
        ("bad_k", 12, 1, flag, None, "error: start with K = 0; it was ignored"),
        ("weights_last", 13, 1, flag, None, "error: tlast of weights in a wrong place; the tile halted"),
        ("activations_last", 14, 1, flag, None, "error: tlast of activations in a wrong place; it halted"),
    ]
    if config.array.events:
        status += [
            ("overflow", 16, 1, flag, None, "a rounding of a dot product overflowed"),
            ("underflow", 17, 1, flag, None, "a rounding of a dot product underflowed"),
        ]
    if config.output is not None:
        status += [("output_overflow", 18, 1, flag, None, "the output stage saturated")]
    yield _several("STATUS", 0x104, "state, error bits and sticky flags", *status)
    yield _several(
        "INTERRUPT",
        0x108,
        "when irq is high",
        ("done", 0, 1, Access.WRITE, None, "while STATUS.done is set"),
        ("error", 1, 1, Access.WRITE, None, "while STATUS.error is set"),
    )
    yield _one("M", 0x110, "rows of the product", width=DIMENSION_BITS)
    yield _one("N", 0x114, "columns of the product", width=DIMENSION_BITS)
    yield _one("K", 0x118, "products per dot product", width=K_BITS)


def _offsets(config: TileConfig) -> Iterator[Register]:
    silicon, events = config.array.silicon, config.array.events
    mac, chunk_adder = Mac(silicon, config.array.stages, events=events), ChunkAdder(silicon, events=events)
    members = offset_members(mac, chunk_adder)
    meanings = {
        "product_offset": "bias of activations plus bias of weights, minus that of the product quantizer "
        "(without one: of the accumulator)",
        "acc_offset": "bias of the product quantizer minus that of the accumulator",
        "outer_offset": "bias of the accumulator minus that of the outer accumulator",
    }
    for i, (name, meaning) in enumerate(meanings.items()):
        if name in members:
            width = members[name].shape.width
            yield _one(name.upper(), 0x120 + 4 * i, meaning, width=width, signed=True)


def _random_words(config: TileConfig) -> Iterator[Register]:
    keys = key_names(config)
    if not keys:
        return
    yield _one("M_BASE", 0x140, "row number of row 0, for the random words")
    yield _one("N_BASE", 0x144, "column number of column 0, for the random words")
    for name, (stage, side) in keys.items():
        meaning = f"key(seed, call, stage {int(stage)}, side {side}) of the random words"
        yield _one(name.upper(), 0x148 + 4 * (2 * int(stage) + side), meaning)


def _output(config: TileConfig) -> Iterator[Register]:
    stage = config.output
    if stage is None:
        return
    integers = isinstance(stage.target, FixedFormat)
    fixed = isinstance(config.outer.format, FixedFormat)
    bits = config.outer.format.code_bits
    yield _one("RELU", 0x180, "1: a negative sum becomes zero", width=1)
    meaning = "zero point, added after scaling" if integers else "exponent offset to the target"
    yield _one("OUTPUT_OFFSET", 0x184, meaning, width=config.output_offset_range.width, signed=True)
    meaning = "channel of the next CHANNEL_BIAS; write 0 to go back to channel 0"
    width = stage.channels.bit_length()
    yield _one("CHANNEL", 0x188, meaning, width=width, access=Access.REWIND)
    bias = f"bias, code of {config.outer.format.name}" + (", its low 32 bits" if bits > 32 else "")
    yield _one(
        "CHANNEL_BIAS",
        0x18C,
        f"{bias}; writing it stores bias, multiplier and shift for CHANNEL, which moves on",
        width=min(bits, 32),
        access=Access.PUSH,
        signed=fixed and bits < 32,
    )
    if bits > 32:
        meaning = "bits of the bias from 32 up, stored with the next CHANNEL_BIAS"
        yield _one("CHANNEL_BIAS_HIGH", 0x190, meaning, width=bits - 32, signed=fixed)
    if integers:
        meaning = "unsigned factor, stored with the next CHANNEL_BIAS"
        yield _one("CHANNEL_MULTIPLIER", 0x194, meaning, width=stage.multiplier_bits)
        meaning = "places to the right, stored with the next CHANNEL_BIAS"
        yield _one("CHANNEL_SHIFT", 0x198, meaning, width=SHIFT_BITS)


def _counters(config: TileConfig) -> Iterator[Register]:
    """Of the product that runs or ran last."""
    names = {
        "CYCLES": "cycles busy",
        "RESULT_BEATS": "beats of results that were taken",
        "CHUNKS": "chunks of a dot product that went in; at the end: K / CHUNK_SIZE, rounded up",
    }
    if config.array.events:
        names |= {
            "OVERFLOWS": "results whose dot product had an overflow",
            "UNDERFLOWS": "results whose dot product had an underflow",
        }
    if config.output is not None:
        names |= {"OUTPUT_OVERFLOWS": "results that the output stage saturated"}
    places = ("CYCLES", "RESULT_BEATS", "CHUNKS", "OVERFLOWS", "UNDERFLOWS", "OUTPUT_OVERFLOWS")
    for name, meaning in names.items():
        address = 0x1C0 + 4 * places.index(name)
        width = K_BITS if name == "CHUNKS" else 32
        yield _one(name, address, f"{meaning}, since start", access=Access.READ, width=width)

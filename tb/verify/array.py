"""Method ``array``: matrix products of all kinds through Verilated arrays of many configurations."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from golden.arith import dot, dot_events
from golden.catalog import find
from golden.codes import encode
from golden.config import ArrayConfig, FixedAccumulator, MacConfig, Offsets
from golden.datapath import offset_ranges, with_offsets
from golden.random_words import RandomWords, Stage
from hw.array import SystolicArray
from hw.verilated import Stalls, VerilatedArray
from hw.verilog import verilog_text
from sim.backends import find_backend
from sim.kernels.cases import KINDS, draw
from tb.verify.rows import ARITHMETIC, Outcome, Row, Task, simulator_versions, sources

__all__ = ["METHODS", "ArrayRow", "rows"]

METHODS = {
    "array": "Matrix products, at least 15 million multiply-accumulates a row, through a Verilated array of "
    "a few rows and columns: operands of every kind that the kernels are tried on (large, small, "
    "cancelling, at the ends of formats, ...), products of any size, offsets drawn anew for each "
    "where they are registers, and in half of them pauses at random on every stream. All codes are "
    "compared with those of backend cpu, whose equality with golden is proved apart, and a corner "
    "of each product of moderate length with golden itself: in arrays that tell overflow and "
    "underflow (`events`), these as well.",
}

_VERSION = "1"
_DEPENDS = (*ARITHMETIC, "golden/random_words.py")

_MACS = 15_000_000  # of a row
_PRODUCT_MACS = 1 << 20  # of one product, about
_CORNER = (4, 3)  # rows and columns that golden computes
_CORNERS = 6  # products of which it does
_CORNER_LENGTH = 600

#: Rows and columns, stages, depth, and whether events are told: taken in turn.
_SHAPES = (
    (4, 4, 0, 16, False),
    (2, 8, 1, 33, False),
    (8, 2, 2, 64, False),
    (4, 3, 2, 7, True),
    (16, 1, 0, 128, False),
    (1, 6, 1, 5, True),
    (4, 4, 1, 40, False),
    (4, 4, 0, 1, False),
    (8, 2, 0, 20, True),
)

_CONFIGURATIONS = (
    # each kind of accumulation once, then others
    "float12",
    "int12",
    "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16",
    "e3m4s_e3m4s_p_e4m7sb12_rne_a_e4m7sb10_rne_c16",
    "exact",
    "fixed12-wrap",
    "float12-g1-px",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16_o_e8m23b127_rne",
    "int8_int8_p_exact_a_int12_floor_sat_c64_o_int24_floor_sat",
    *("float6", "float8-rne", "float9-rne-g3", "float10", "float12-rne", "float12-g0", "float12-g2"),
    *("float12-rne-g2", "float12-px", "float12-rne-px", "float14-g3", "float16", "float16-rne-px"),
    *("float20", "float24-rne", "float32", "float32-rne-px", "float32-px"),
    *("fixed8", "fixed10-rne", "fixed12", "fixed16-wrap", "fixed20", "fixed24-rne"),
    *("int8", "int10-wrap", "int12-wrap", "int16", "int20-wrap", "int32"),
    # stochastic rounding
    "e3m4_e3m4_p_e4m7b12_rne_a_e4m7b10_sr8_c16",
    "e3m4_e3m4_p_e4m7b12_sr3_a_e4m7b10_rz_g1_c32",
    "e3m4_e3m4_p_exact_a_e4m7b10_sr5_g2_c16",
    "e3m4_e3m4_p_e4m7b12_sr16_a_e5m10b15_sr12_c8_o_e8m15b127_sr11",
    "int8_int8_p_exact_a_int20_floor_sat_c16_o_e5m6b8_sr7",
    # subnormals and formats of others
    "e4m3s_e5m2s_p_e5m10sb15_rz_a_e5m10sb15_rne_g1_c16",
    "e4m3fn_e4m3fn_p_exact_a_e5m10sb15_rne_c32",
    "e5m2ieee_e4m3fn_p_e5m10ieee_rne_a_e5m10ieee_rne_c16",
    "e2m1s_e2m1s_p_exact_a_e3m4sb2_rne_c32",
    "e3m4s_e3m4s_p_e4m7sb12_sr3_a_e4m7sb10_sr6_g0_c16",
    # operands of all kinds
    "e5m2_e4m3_p_e5m10_rne_a_e6m9b20_rz_c16",
    "int8_e2m1_p_e4m3_rz_a_e5m0_rne_c16",
    "uint8_int8_p_exact_a_e4m3_rz_g0_c16",
    "uint4_uint4_p_exact_a_int7l2_rne_wrap_c16",
    "e1m2_e2m0_p_exact_a_int9ln2_floor_sat_c16",
    "int5ln2_e3m2_p_exact_a_int12ln6_floor_wrap_c16",
    # chunks of one and of many passes, outer accumulators of another kind
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c8_o_e5m10b15_rz",
    "e3m4_e3m4_p_e4m7b12_rne_a_e4m7b10_rne_c128",
    "e3m4_e3m4_p_e4m5b12_rz_a_e4m5b10_rz_g0_c16_o_e4m9b8_rz_g2",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16_o_int20ln8_rne_sat",
    "e3m4_e3m4_p_exact_a_int12ln5_rz_sat_c16_o_e5m10b15_rne",
    "e3m4_e3m4_p_exact_a_int14ln6_rne_wrap_c32_o_int24ln4_floor_sat",
    "int8_int8_p_exact_a_int16_floor_wrap_c256_o_int32_floor_wrap",
    "int4_int4_p_exact_a_int7_floor_sat_c16_o_e4m7b4_rne",
)
_WIRED = ("float12", "float12-rne-px", "fixed16-wrap", "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16")


@dataclass(frozen=True, kw_only=True)
class ArrayRow:
    """An array, and the configuration whose products go through it."""

    config: MacConfig
    array: ArrayConfig

    @property
    def subject(self) -> str:
        a = self.array
        wired = " wired" if a.silicon.hardwired and not self.config.always_hardwired else ""
        events = " events" if a.events else ""
        return f"{self.config.name}{wired} {a.rows}x{a.cols} s{a.stages} d{a.depth}{events}"

    def depends(self) -> str:
        return _VERSION + verilog_text(SystolicArray(self.array), "array") + sources(_DEPENDS)

    def run(self, task: Task) -> Outcome:
        """Products until there are enough of them."""
        wanted = max(_PRODUCT_MACS // 16, int(_MACS * min(task.share, 1)))
        rng = Random(f"{task.seed} {self.subject}")
        driver = VerilatedArray(self.array, trace=None)
        corners = 0
        macs = compared = differences = cycles = 0
        details: dict = {}
        while macs < wanted or not corners:
            product = _Product(self, driver, rng, min(_PRODUCT_MACS, wanted - macs))
            macs += product.macs
            found = [product.check_all()]
            if corners < _CORNERS and product.is_short:
                corners += 1
                found.append(product.check_corner())
            for count, first, wrong in found:
                compared += count
                if wrong and not differences:
                    details["first_difference"] = first
                differences += wrong
            cycles += product.result.cycles
            task.report(macs / wanted)
        details |= {"macs": macs, "results": compared, "corners": corners, "cycles": cycles}
        return Outcome(compared=macs, differences=differences, details=details)


class _Product:
    """A random product, and what the array made of it."""

    def __init__(self, row: ArrayRow, driver: VerilatedArray, rng: Random, macs: int):
        self.row = row
        self.config = config = row.config
        if not row.array.silicon.hardwired:
            self.config = config = _moved(row.config, rng)
        m = rng.choice([1, 2, row.array.depth, rng.randint(1, 100), rng.randint(1, 300)])
        n = rng.choice([1, row.array.cols, rng.randint(1, 3 * row.array.cols), 4 * row.array.cols])
        k = min(max(1, macs // (m * n)), rng.choice([1, 5, config.chunk_size, 500, 5000, 60000]))
        m = max(m, min(macs // (k * n), 4096))
        self.kind = rng.choice(KINDS)
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        self.a, self.b = draw(config, m, k, n, self.kind, generator)
        self.x, self.w = encode(self.a, config.x).numpy(), encode(self.b, config.w).numpy()
        self.words = RandomWords(seed=rng.getrandbits(64), call=rng.getrandbits(32))
        stalls = None
        if rng.random() < 0.5:
            stalls = Stalls(share=rng.choice([0.05, 0.3, 0.7]), seed=rng.getrandbits(32))
        self.result = driver.matmul_codes(self.x, self.w, config, self.words, stalls=stalls)
        self.macs = m * k * n

    @property
    def is_short(self) -> bool:
        """Whether golden has the patience."""
        return self.x.shape[1] <= _CORNER_LENGTH

    def check_all(self) -> tuple[int, str | None, int]:
        """Every code with the one of backend cpu."""
        values = find_backend("cpu").matmul(self.a, self.b, self.config, random=self.words)
        expected = encode(values, self.config.outer_accumulator.format).numpy()
        return self._compare("codes", self.result.codes, expected, "backend cpu")

    def check_corner(self) -> tuple[int, str | None, int]:
        """Some codes, and events, with golden's own."""
        x, w = self.x[: _CORNER[0], :, None], self.w[:, : _CORNER[1]]
        corner = tuple(slice(0, end) for end in (len(x), w.shape[1]))
        m, n = np.arange(len(x))[:, None], np.arange(w.shape[1])

        def words(stage: Stage, bits: int, k: int) -> NDArray:
            return self.words.words(stage, bits, m, n, np.int64(k))

        operands = ([*x.transpose(1, 0, 2)], [*w], self.config, words)
        found = [self._compare("codes", self.result.codes[corner], dot(*operands), "golden")]
        if self.row.array.events:
            overflow, underflow = dot_events(*operands)
            found.append(self._compare("overflow", self.result.overflow[corner], overflow, "golden"))
            found.append(self._compare("underflow", self.result.underflow[corner], underflow, "golden"))
        counts, firsts, wrongs = zip(*found, strict=True)
        return sum(counts), next((first for first in firsts if first), None), sum(wrongs)

    def _compare(self, what: str, got: NDArray, wanted: NDArray, whose: str) -> tuple[int, str | None, int]:
        wanted = np.broadcast_to(wanted, got.shape)
        wrong = np.argwhere(got != wanted)
        if not len(wrong):
            return got.size, None, 0
        m, n = wrong[0]
        return (
            got.size,
            f"{self.row.subject}: {what} of {self.config.name}, {self.kind} operands "
            f"{list(self.x.shape)} x {list(self.w.shape)}, {self.words}, row {m}, column {n}: RTL gives "
            f"{int(got[m, n]):#x}, {whose} gives {int(wanted[m, n]):#x}",
            len(wrong),
        )


def _moved(config: MacConfig, rng: Random) -> MacConfig:
    """The same with other offsets: near its own, or now and then anything in the useful ranges."""
    own, ranges = config.offsets, offset_ranges(config)

    def draw_offset(name: str) -> int | None:
        offset, allowed = getattr(own, name), getattr(ranges, name)
        if offset is None:
            return None
        if rng.random() < 0.1:
            return rng.randint(allowed.low, allowed.high)
        return allowed.clamp(offset + rng.randint(-3, 3))

    is_fixed = [isinstance(part, FixedAccumulator) for part in (config.accumulator, config.outer_accumulator)]
    outer = own.outer if all(is_fixed) else draw_offset("outer")
    return with_offsets(config, Offsets(product=draw_offset("product"), acc=draw_offset("acc"), outer=outer))


def _all_rows() -> list[ArrayRow]:
    found = []
    silicons = [(find(name), False) for name in _CONFIGURATIONS] + [(find(name), True) for name in _WIRED]
    for i, (config, wired) in enumerate(silicons):
        rows, cols, stages, depth, events = _SHAPES[i % len(_SHAPES)]
        array = ArrayConfig(
            silicon=config.hardwired if wired else config.silicon,
            rows=rows if config.chunk_size % rows == 0 else 1,
            cols=cols,
            stages=stages,
            depth=depth,
            events=events,
        )
        found.append(ArrayRow(config=config, array=array))
    return found


def rows() -> list[Row]:
    return [
        Row(
            method="array",
            subject=row.subject,
            what="Verilated RTL with backend cpu, and corners with golden",
            depends=row.depends,
            run=row.run,
            versions=simulator_versions,
            seconds=40,
            divides=True,
        )
        for row in _all_rows()
    ]

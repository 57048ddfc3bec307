"""RTL with one line changed: what the vectors are worth."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder, SourceFileLoader
from types import ModuleType

__all__ = ["ARRAY_MUTANTS", "MAC_MUTANTS", "Mutant"]


class _ChangedSource(SourceFileLoader):
    """Loads a module with one line changed, never from a cached compilation."""

    old: str
    new: str

    def get_code(self, fullname: str):
        text = self.get_data(self.path).decode()
        if text.count(self.old) != 1:
            raise ValueError(f"{fullname} has {text.count(self.old)} places that read {self.old!r}, not one")
        return compile(text.replace(self.old, self.new), self.path, "exec")


@dataclass(frozen=True)
class Mutant:
    """A line of the hardware's source replaced by another, and the configuration it is shown with."""

    name: str
    config: str  #: A name that :func:`golden.catalog.find` knows.
    module: str
    old: str
    new: str
    shape: tuple[int, int, int, int] = (2, 2, 0, 4)  #: Rows, columns, stages, depth; a MAC has stages only.

    def load(self, module: str) -> ModuleType:
        """``module``, imported afresh with everything of ``hw`` that it imports."""
        ours = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "hw"}
        sys.meta_path.insert(0, self)
        try:
            return importlib.import_module(module)
        finally:
            sys.meta_path.remove(self)
            for name in [name for name in sys.modules if name.split(".")[0] == "hw"]:
                del sys.modules[name]
            sys.modules.update(ours)

    def find_spec(self, fullname: str, path, target=None):
        """The import system asks: change the one module, leave all others alone."""
        if fullname != self.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        spec.loader = _ChangedSource(fullname, spec.origin)
        spec.loader.old, spec.loader.new = self.old, self.new
        return spec


MAC_MUTANTS = (
    Mutant(
        "guard_bit_dropped", "float12-rne", "hw.rounder", "(guard & (sticky | kept[0]))", "(sticky & kept[0])"
    ),
    Mutant(
        "sticky_bit_dropped", "float12-rne", "hw.rounder", "guard & (sticky | kept[0])", "guard & kept[0]"
    ),
    Mutant("tie_to_odd", "float12-rne", "hw.rounder", "sticky | kept[0]", "sticky | ~kept[0]"),
    Mutant("alignment_loses_sticky", "float12", "hw.adder", "Cat(sticky, aligned)", "aligned << 1"),
    Mutant("aligned_one_bit_short", "float12-rne", "hw.adder", "own + 1 + guard", "own + guard"),
    Mutant("guard_bits_off_by_one", "float12-g2", "hw.adder", "own + accumulator.alignment_bits", "own + 1"),
    Mutant("far_addend_kept", "float12", "hw.adder", "Mux(beyond, 0, value)", "value"),
    Mutant("smaller_taken_for_larger", "float12", "hw.adder", "addend > acc", "addend < acc"),
    Mutant(
        "flush_skipped", "float12", "hw.quantizer", "(exponent < 0) | ((exponent == 0)", "((exponent == 0)"
    ),
    Mutant("overflow_wraps", "float12", "hw.quantizer", "Mux(overflow, largest,", "Mux(0, largest,"),
    Mutant(
        "overflow_one_late",
        "float12",
        "hw.quantizer",
        "overflow = exponent > target.max_exp_code",
        "overflow = exponent > target.max_exp_code + 1",
    ),
    Mutant("zero_has_hidden_bit", "float12", "hw.fields", "code[:-1].any()", "Const(1, 1)"),
    Mutant(
        "saturate_is_wrap",
        "int12",
        "hw.fixed",
        "self.accumulator.overflow is Overflow.WRAP",
        "self.accumulator.overflow",
    ),
    Mutant(
        "fixed_sum_one_bit_short",
        "int16",
        "hw.fixed",
        "max(bits, self.addend_bits) + 1",
        "max(bits, self.addend_bits)",
    ),
    Mutant("huge_addend_overlooked", "fixed16", "hw.fixed", "overflow = self.huge |", "overflow = "),
    Mutant("negation_not_completed", "fixed16-wrap", "hw.fixed", "self.negative ^ up", "up"),
    Mutant(
        "stage_ignores_enable",
        "float12",
        "hw.mac",
        "with m.If(self.en):\n                m",
        "if 1:\n                m",
        (1, 1, 1, 1),
    ),
    Mutant("product_sign_lost", "float12-px", "hw.multiplier", "x_negative ^ w_negative", "x_negative"),
)

# Small MACs: what is changed is around them. Only float MACs have offsets and two cycles a row.
_ONE_PASS = "int4_int4_p_exact_a_int7_floor_sat_c2"
_TWO_PASSES = "int4_int4_p_exact_a_int7_floor_sat_c4"
_FLOAT = "e2m1_e2m1_p_e3m2_rz_a_e3m3_rz_c2"

ARRAY_MUTANTS = (
    Mutant("chunk_ends_early", _TWO_PASSES, "hw.array", "chunk_pass == config.passes - 1", "chunk_pass == 0"),
    Mutant(
        "short_chunk_is_lost",
        _TWO_PASSES,
        "hw.array",
        "(chunk_pass == config.passes - 1) | token.emits",
        "chunk_pass == 1",
    ),
    Mutant(
        "outer_accumulator_not_cleared",
        _ONE_PASS,
        "hw.column",
        "Mux(self.foot_right.starts, 0, stored)",
        "stored",
    ),
    Mutant(
        "partial_sum_not_cleared",
        _TWO_PASSES,
        "hw.column",
        "Mux(self.top_right.opens, 0, self._read(m, inner, self.top))",
        "self._read(m, inner, self.top)",
    ),
    Mutant(
        "partial_sum_read_too_early",
        _TWO_PASSES,
        "hw.array",
        "self._depth_cycles - config.rows + 1",
        "self._depth_cycles - config.rows",
    ),
    Mutant(
        "weights_overtake_activations",
        "e2m1_e2m1_p_e3m2_rz_a_e3m3_rz_c3",
        "hw.array",
        "max(0, (config.rows - 1) * (self.acc_latency - 1) - 1)",
        "0",
        (3, 2, 2, 4),
    ),
    Mutant(
        "back_pressure_ignored",
        _ONE_PASS,
        "hw.array",
        "self._en.eq(~self.results.valid | self.results.ready)",
        "self._en.eq(1)",
    ),
    Mutant(
        "offsets_change_too_early",
        _FLOAT,
        "hw.array",
        "in_flight == 0 if self._offsets else 1",
        "1",
    ),
    Mutant(
        "columns_out_of_step", _ONE_PASS, "hw.array", "self.config.cols - 1 - i,", "self.config.cols - 1,"
    ),
    Mutant("rows_out_of_step", _FLOAT, "hw.array", "1 + row * self.acc_latency", "1 + row", (2, 2, 2, 4)),
    Mutant(
        "last_one_late",
        _TWO_PASSES,
        "hw.array",
        "self.results.payload.last.eq(done.last)",
        "self.results.payload.last.eq(0)",
    ),
    Mutant(
        "reset_forgets_a_pass",
        _ONE_PASS,
        "hw.array",
        "busy, loaded = Signal(), Signal()",
        "busy, loaded = Signal(), Signal(reset_less=True)",
    ),
)

"""RTL with one line changed: what the vectors are worth."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import PathFinder, SourceFileLoader
from types import ModuleType

__all__ = ["ARRAY_MUTANTS", "MAC_MUTANTS", "ChangedModule", "Mutant"]


class ChangedModule:
    """A module of ``hw`` that is loaded from another text than its file's."""

    module: str

    def changed(self, text: str) -> str:
        """What is read in place of the file's ``text``."""
        raise NotImplementedError

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
        spec.loader.change = self.changed
        return spec


class _ChangedSource(SourceFileLoader):
    """Loads a module from changed text, never from a cached compilation."""

    change: Callable[[str], str]

    def get_code(self, fullname: str):
        return compile(self.change(self.get_data(self.path).decode()), self.path, "exec")


@dataclass(frozen=True)
class Mutant(ChangedModule):
    """A line of the hardware's source replaced by another, and the configuration it is shown with."""

    name: str
    config: str  #: A name that :func:`golden.catalog.find` knows.
    module: str
    old: str
    new: str
    shape: tuple[int, int, int, int] = (2, 2, 0, 4)  #: Rows, columns, stages, depth; a MAC has stages only.

    def changed(self, text: str) -> str:
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.module} has {text.count(self.old)} places that read {self.old!r}, not one"
            )
        return text.replace(self.old, self.new)


_SUBNORMAL = "e3m4s_e3m4_p_e4m7sb12_rne_a_e4m7sb10_rne_c16"
_STOCHASTIC = "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16"

MAC_MUTANTS = (
    Mutant(
        "guard_bit_dropped", "float12-rne", "hw.rounder", "(guard & (sticky | kept[0]))", "(sticky & kept[0])"
    ),
    Mutant(
        "sticky_bit_dropped", "float12-rne", "hw.rounder", "guard & (sticky | kept[0])", "guard & kept[0]"
    ),
    Mutant("tie_to_odd", "float12-rne", "hw.rounder", "sticky | kept[0]", "sticky | ~kept[0]"),
    Mutant("alignment_loses_sticky", "float12-rne", "hw.adder", "Cat(sticky, aligned)", "aligned << 1"),
    Mutant("nothing_is_borrowed", "float12", "hw.adder", "self.below.eq(sticky)", "self.below.eq(0)"),
    Mutant("aligned_one_bit_short", "float12-rne", "hw.adder", "max(addend_bits, own + 2)", "own + 1"),
    Mutant("cut_one_bit_short", "float12", "hw.adder", "random_bits or 0)) + 1", "random_bits or 0))"),
    Mutant("sum_one_place_off", "float12", "hw.adder", "((acc >> 1) & higher", "(acc & higher"),
    Mutant("distance_of_the_sum", "float12", "hw.adder", "distance[:-1] ^ higher", "distance[:-1] ^ first"),
    Mutant("zero_addend_is_larger", "float12", "hw.adder", "acc_zero) & ~addend_zero)", "acc_zero))"),
    Mutant("zero_addend_is_added", "float12", "hw.adder", "~self.swapped & ~addend_zero", "~self.swapped"),
    Mutant("taken_from_zero", "float12", "hw.step", "differ & ~total.zero", "differ"),
    Mutant("guard_bits_off_by_one", "float12-g2", "hw.adder", "own + accumulator.alignment_bits", "own + 1"),
    Mutant("far_addend_kept", "float12", "hw.shift", "Mux(beyond, 0, value)", "value"),
    Mutant(
        "smaller_taken_for_larger", "float12", "hw.adder", "addend[:-1] > acc[:-1]", "addend[:-1] < acc[:-1]"
    ),
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
    Mutant(
        "subnormal_has_hidden_bit",
        _SUBNORMAL,
        "hw.fields",
        "Cat(mantissa, normal)",
        "Cat(mantissa, code[:-1].any())",
    ),
    Mutant("subnormal_one_binade_low", _SUBNORMAL, "hw.fields", "exponent | ~normal", "exponent"),
    Mutant(
        "grid_one_place_off",
        _SUBNORMAL,
        "hw.quantizer",
        "Mux(below, self.target.min_exp_code - self.exponent, 0)",
        "Mux(below, 0 - self.exponent, 0)",
    ),
    Mutant(
        "grid_loses_sticky", _SUBNORMAL, "hw.quantizer", "shifted | sticky if nearest else shifted", "shifted"
    ),
    Mutant(
        "guard_bits_below_grid",
        "e3m4_e3m4_p_exact_a_e4m7sb10_rz_g0_c16",
        "hw.adder",
        "self.larger.eq(larger & mask), self.smaller.eq(aligned & mask)",
        "self.larger.eq(larger), self.smaller.eq(aligned)",
    ),
    Mutant(
        "nan_is_reached",
        "e4m3fn_e5m2ieee_p_e4m3fn_rne_a_e4m3fn_rz_c16",
        "hw.quantizer",
        "if target.encoding is Encoding.FN and target.man_bits:",
        "if False:",
    ),
    Mutant(
        "word_ignored",
        _STOCHASTIC,
        "hw.rounder",
        "Cat(padding, first_bits, kept) + self.word",
        "Cat(padding, first_bits, kept)",
    ),
    Mutant(
        "word_of_the_next_product",
        _STOCHASTIC,
        "hw.mac",
        "second(first(acc_word))",
        "second(acc_word)",
        (1, 1, 1, 1),
    ),
    Mutant("stochastic_bits_short", _STOCHASTIC, "hw.adder", "accumulator.random_bits or", "False or"),
    Mutant(
        "exact_zero_is_underflow",
        "float12",
        "hw.step",
        "~exact_zero & ~rounder.code.any()",
        "~rounder.code.any()",
    ),
    Mutant(
        "cut_to_zero_overlooked",
        "e3m4_e3m4_p_exact_a_e4m3_rz_g0_c16",
        "hw.step",
        "underflow = ~exact_zero & ~rounder.code.any()",
        "underflow = rounder.underflow",
    ),
    Mutant(
        "product_events_lost",
        "float12",
        "hw.mac",
        "before |= second(first(product_events))",
        "pass",
        (1, 1, 1, 1),
    ),
    Mutant(
        "wrap_is_no_overflow",
        "int12-wrap",
        "hw.fixed",
        "self.overflow.eq(overflow)",
        "self.overflow.eq(overflow & (self.accumulator.overflow is not Overflow.WRAP))",
    ),
    Mutant("product_sign_lost", "float12-px", "hw.multiplier", "self.x[-1] ^ self.w[-1]", "self.x[-1]"),
    Mutant("product_sign_lost_2", _SUBNORMAL, "hw.multiplier", "x_negative ^ w_negative", "x_negative"),
    Mutant("zero_times_anything", "float12", "hw.multiplier", ".any() & self", ".any() | self"),
    Mutant(
        "upper_place_not_counted", "float12", "hw.multiplier", "w.man_bits : -1] + upper", "w.man_bits : -1]"
    ),
    Mutant(
        "zero_flag_too_early",
        "float12",
        "hw.step",
        "register(self.zero_flag)",
        "self.zero_flag",
        (1, 1, 1, 1),
    ),
)

# Small MACs: what is changed is around them. Only float MACs have offsets and two cycles a row.
_ONE_PASS = "int4_int4_p_exact_a_int7_floor_sat_c2"
_TWO_PASSES = "int4_int4_p_exact_a_int7_floor_sat_c4"
_FLOAT = "e2m1_e2m1_p_e3m2_rz_a_e3m3_rz_c2"
_HALVES = "e2m1_e2m1_p_e3m2_sr2_a_e3m3_sr2_c2"

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
        "Mux(self.foot_right.starts, 0, self._read(m, outer, self.foot))",
        "self._read(m, outer, self.foot)",
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
        "hw.timing",
        "depth_cycles + 2 if config.passes > 1",
        "depth_cycles + 1 if config.passes > 1",
    ),
    Mutant(
        "weights_overtake_activations",
        "e2m1_e2m1_p_e3m2_rz_a_e3m3_rz_c3",
        "hw.timing",
        "max(1, (config.rows - 1) * (mac.acc_latency - 1))",
        "1",
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
        "((in_flight == 0) & ~token.valid) | ~Cat(changes).any()",
        "1",
    ),
    Mutant(
        "columns_out_of_step", _ONE_PASS, "hw.array", "self.config.cols - 1 - i,", "self.config.cols - 1,"
    ),
    Mutant(
        "swap_with_the_second_vector",
        _ONE_PASS,
        "hw.array",
        "first.eq(token.valid & (index == 0))",
        "first.eq(token.valid & (index == last_index))",
    ),
    Mutant(
        "weights_not_swapped_by_row",
        _FLOAT,
        "hw.column",
        "self.en & self.swap[row]",
        "self.en & self.swap[0]",
        (2, 2, 2, 4),
    ),
    Mutant("sum_taken_too_early", _TWO_PASSES, "hw.array", "return count <= last_index", "return Const(1)"),
    Mutant(
        "flags_not_kept",
        "e2m1_e2m1_p_e3m2_rz_a_e3m3_rz_c4",
        "hw.column",
        "return Cat(mac.result, mac.result_events)",
        "return Cat(mac.result, Value.cast(0).replicate(2))",
    ),
    Mutant(
        "row_half_of_the_wrong_row",
        _HALVES,
        "hw.random_words",
        "step + _times_step(row)",
        "step + _times_step(0)",
    ),
    Mutant(
        "column_half_of_the_wrong_column",
        _HALVES,
        "hw.random_words",
        "lines[i + 1] if i + 1 < config.cols else new",
        "new",
    ),
    Mutant(
        "chunk_not_counted",
        _HALVES,
        "hw.random_words",
        "self.chunk_step.eq(self.chunk_step + K_STEP)",
        "self.chunk_step.eq(self.chunk_step)",
    ),
    Mutant(
        "outer_half_swapped_too_late",
        _HALVES,
        "hw.column",
        "self.foot.valid & self.foot.first",
        "self.foot.valid & ~self.foot.first",
    ),
    Mutant(
        "words_of_the_job_before",
        _HALVES,
        "hw.array",
        "may_load &= self._column_halves.valid & self._weights_due(m, load, weight_row)",
        "may_load &= self._column_halves.valid",
    ),
    Mutant(
        "rows_out_of_step", _FLOAT, "hw.array", "1 + row * self.timing.acc_latency", "1 + row", (2, 2, 2, 4)
    ),
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

"""Tiles with one line changed: what the scenarios are worth."""

from __future__ import annotations

from tb.mutants import Mutant

__all__ = ["TILE_MUTANTS"]

_MAC = "int4_int4_p_exact_a_int7_floor_sat_c2"
_CHANGES = {
    "slice_drops_a_beat": ("hw.axi", "ready.eq(~(spare_valid | taken))", "ready.eq(1)"),
    "slice_changes_a_waiting_beat": (
        "hw.axi",
        "taken, given = self.i.valid & ready, ~valid | self.o.ready",
        "taken, given = self.i.valid & ready, Const(1)",
    ),
    "kept_bytes_ignored": (
        "hw.axi",
        "Mux(beat.tkeep[i * size : (i + 1) * size].any(), beat.tdata[i * bits :][:code_bits], 0)",
        "beat.tdata[i * bits :][:code_bits]",
    ),
    "answer_withdrawn": ("hw.axi", "with m.If(bvalid & self.bready):", "with m.If(bvalid):"),
    "strobes_ignored": ("hw.axi", "bus.write.eq(perform & strobes.all())", "bus.write.eq(perform)"),
    "every_column_kept": ("hw.tile", "keep.eq(Cat(i < walk.cols for i in range(cols)))", "keep.eq(-1)"),
    "last_of_every_block": ("hw.tile", "results.payload.last & walk.last)", "results.payload.last)"),
    "clear_forgets_the_array": (
        "hw.tile",
        "core.rst.eq(~self.aresetn | control.flush)",
        "core.rst.eq(~self.aresetn)",
    ),
    "clear_withdraws_a_result": (
        "hw.tile",
        "RegisterSlice(lanes(cols, self._result_lane), withdraws=False)",
        "RegisterSlice(lanes(cols, self._result_lane), withdraws=True)",
    ),
    "missing_last_unnoticed": (
        "hw.tile",
        "walk.step & (beat.tlast != walk.last)",
        "walk.step & beat.tlast & ~walk.last",
    ),
    "error_without_interrupt": ("hw.tile", "(file.interrupt_error & file.status_error)", "0"),
    "start_while_busy_begins": (
        "hw.tile_control",
        "idle_start = self.start & ~busy & ~halted",
        "idle_start = self.start & ~halted",
    ),
    "k_of_zero_begins": (
        "hw.tile_control",
        "self.bad_k.eq(idle_start & (self.k == 0))",
        "self.bad_k.eq(0)",
    ),
    "reset_forgets_a_walk": ("hw.tile_walk", "active = Signal()", "active = Signal(reset_less=True)"),
    "locked_registers_written": ("hw.register_file", "[self.busy] if register.locked else []", "[]"),
}

TILE_MUTANTS = tuple(Mutant(name, _MAC, *change, (2, 2, 0, 2)) for name, change in _CHANGES.items())

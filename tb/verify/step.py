"""Method ``step``: one multiply-accumulate of the Verilated RTL on every operand, sum and random word."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from golden.config import MacConfig
from tb.verify.rows import Outcome, Row, Task, simulator_versions
from tb.verify.step_loop import StepLoop, inputs_of, run_all

__all__ = ["METHODS", "Step", "rows"]

METHODS = {
    "step": "One multiply-accumulate in Verilator: every pair of operands, every running sum and every "
    "random word of a stochastic rounding go through the Verilated RTL of the MAC, and the code "
    "that comes out is compared with golden's. Those are a table, computed by `golden.arith.add` "
    "for each addend that pairs of operands make and for every sum. Offsets stand at the "
    "configuration's own. `wired` is the MAC that has the offsets as constants, `events` the one "
    "that reports overflow and underflow, which are then compared too, and `s2` one with two "
    "pipeline registers.",
}

_VERSION = "1"


class Step(StepLoop):
    """The MAC of a configuration, at the configuration's own offsets."""

    def run(self, task: Task) -> Outcome:
        """Compare all inputs, or all sums with some of the pairs."""
        return run_all(self, task)


def _config(x: str, w: str, product: str, accumulator: str) -> MacConfig:
    return MacConfig.parse(f"{x}_{w}_p_{product}_a_{accumulator}_c16")


def _steps() -> Iterator[Step]:
    """Each kind of MAC."""
    plain = partial(Step, wired=False, stages=0, events=False)
    paper = _config("e3m4", "e3m4", "e4m7b12_rz", "e4m7b10_rz")
    nearest = _config("e3m4", "e3m4", "e4m7b12_rne", "e4m7b10_rne")
    yield plain(config=paper)
    for accumulator in ("int12_floor_sat", "int12_floor_wrap", "int12l2_rne_sat", "int12l2_rz_wrap"):
        yield plain(config=_config("int8", "int8", "exact", accumulator))
    yield plain(config=_config("e3m4", "e3m4", "e4m7b12_sr1", "e4m7b10_sr1"))
    for rounding, alignment in (("rne", ""), ("rz", "_g0")):
        product, accumulator = f"e4m7sb12_{rounding}", f"e4m7sb10_{rounding}{alignment}"
        yield plain(config=_config("e3m4s", "e3m4s", product, accumulator))
    yield plain(config=nearest)
    yield plain(config=_config("e3m4", "e3m4", "e4m7b12_rz", "e4m7b10_rz_g0"))
    yield plain(config=_config("e3m4", "e3m4", "e4m7b12_rne", "e4m7b10_rne_g2"))
    for accumulator in ("e4m7b10_rz", "e4m7b10_rne_g1", "int12ln5_rz_sat", "int12ln5_rne_wrap"):
        yield plain(config=_config("e3m4", "e3m4", "exact", accumulator))
    yield plain(config=paper, wired=True)
    yield plain(config=nearest, events=True)
    yield plain(config=nearest, stages=2)


def rows() -> list[Row]:
    return [
        Row(
            method="step",
            subject=step.subject,
            what=f"Verilated RTL with golden, {inputs_of(step)}",
            depends=lambda step=step: _VERSION + step.depends(),
            run=step.run,
            versions=simulator_versions,
            seconds=8 + step.size / 16e6,
            divides=True,
        )
        for step in _steps()
    ]

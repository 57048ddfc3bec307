"""Method ``gates``: one multiply-accumulate on every operand, sum and random word, as Yosys elaborates it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product as crossed

from golden.catalog import find
from golden.config import MacConfig
from sim.rows import ROWS, WIRED_ROWS
from tb.verify.rows import Outcome, Row, Task, simulator_versions
from tb.verify.sliced import SlicedLoop
from tb.verify.step_loop import inputs_of, run_all

__all__ = ["METHODS", "Gates", "rows"]

METHODS = {
    "gates": "One multiply-accumulate, exhaustively and for every configuration of the report whose "
    "accumulator has no more than 16 bits, every deterministic rounding and alignment of the 12-bit "
    "one, subnormals, and stochastic rounding with every random word of one and two bits. The "
    "generated Verilog is elaborated by Yosys into single gates, without mapping or optimising "
    "beyond constants, and each gate is evaluated on up to 512 running sums at a time; every pair "
    "of operands, every sum and every word is compared with golden, as in `step`, which does the "
    "same in Verilator for one configuration of each kind.",
}

_VERSION = "1"
_MOST_BITS = 16  # of an accumulator: 2^32 inputs


class Gates(SlicedLoop):
    """The MAC of a configuration, at the configuration's own offsets."""

    def run(self, task: Task) -> Outcome:
        """Compare all inputs, or all sums with some of the pairs."""
        return run_all(self, task)


def _config(x: str, w: str, product: str, accumulator: str) -> MacConfig:
    return MacConfig.parse(f"{x}_{w}_p_{product}_a_{accumulator}_c16")


def _floats(suffix: str, products, accumulators, alignments) -> Iterator[MacConfig]:
    for product, rounding, alignment in crossed(products, accumulators, alignments):
        quantizer = "exact" if product == "exact" else f"e4m7{suffix}b12_{product}"
        operand, accumulator = f"e3m4{suffix}", f"e4m7{suffix}b10_{rounding}{alignment}"
        yield _config(operand, operand, quantizer, accumulator)


def _policies() -> Iterator[MacConfig]:
    """Every rounding and alignment of 12 bits, and others that the report has not."""
    close, far = ("", "_g0", "_g1", "_g2", "_g3"), ("_g5", "_g8")
    yield from _floats("", ("rz", "rne", "exact"), ("rz", "rne"), (*close, *far))
    yield from _floats("s", ("rz", "rne", "exact"), ("rz", "rne"), close)
    yield from _floats("", ("sr1",), ("sr1",), (*close, *far))
    yield from _floats("s", ("sr1",), ("sr1",), ("", "_g0", "_g2"))
    for suffix in ("", "s"):
        yield from _floats(suffix, ("rz", "rne", "sr2", "exact"), ("sr2",), ("",))
        yield from _floats(suffix, ("sr2",), ("rz", "rne"), ("",))
    for lsb, rounding, overflow in crossed(("", "l2"), ("rz", "rne", "floor"), ("sat", "wrap")):
        yield _config("int8", "int8", "exact", f"int12{lsb}_{rounding}_{overflow}")
    for rounding, overflow in crossed(("rz", "rne", "floor"), ("sat", "wrap")):
        yield _config("e3m4", "e3m4", "exact", f"int12ln5_{rounding}_{overflow}")
    for x, w in (
        ("e4m3s", "e4m3s"),
        ("e5m2s", "e4m3s"),
        ("e4m3", "e5m2"),
        ("e2m5", "e2m5"),
        ("e2m1s", "e4m3"),
    ):
        yield _config(x, w, "e4m7b12_rz", "e4m7b10_rz")
        yield _config(x, w, "exact", "e5m8sb14_rne")
    for x, w in (("int8", "e3m4"), ("uint8", "int8"), ("uint4", "e2m3s"), ("int6ln2", "int7")):
        yield _config(x, w, "exact", "e5m6b8_rne_g2")
        yield _config(x, w, "exact", "int14l1_rne_sat")


def _all() -> Iterator[Gates]:
    plain = partial(Gates, wired=False, stages=0, events=False)
    for config in _policies():
        yield plain(config=config)
    for names, wired in ((ROWS, False), (WIRED_ROWS, True)):
        for config in map(find, names):
            if config.accumulator.format.code_bits <= _MOST_BITS:
                yield plain(config=config, wired=wired)
    variants = (
        *_floats("", ("rz", "rne", "sr1"), ("rne",), ("", "_g1")),
        *_floats("s", ("rne",), ("rne",), ("",)),
        *_floats("", ("exact",), ("rz",), ("",)),
        _config("e3m4", "e3m4", "exact", "int12ln5_rne_sat"),
        _config("e3m4", "e3m4", "exact", "int12ln5_floor_wrap"),
    )
    for config in variants:
        yield plain(config=config, wired=True)
        yield plain(config=config, events=True)
        yield plain(config=config, stages=1)
        yield plain(config=config, stages=2, events=True)


def rows() -> list[Row]:
    unique = dict.fromkeys(_all())
    return [
        Row(
            method="gates",
            subject=gates.subject,
            what=f"gates of the RTL with golden, {inputs_of(gates)}",
            depends=lambda gates=gates: _VERSION + gates.depends(),
            run=gates.run,
            versions=simulator_versions,
            seconds=2 + gates.size / 5e8,
            divides=True,
        )
        for gates in unique
    ]

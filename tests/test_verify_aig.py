"""Gates in C++ and gates in Python give what golden gives, with inputs free or fixed."""

import importlib

import numpy as np

from golden.arith import fmaq
from golden.catalog import find
from golden.datapath import offset_ranges
from golden.stimulus import mac_vectors
from hw.mac import Mac
from tb.verify.aig import Aig
from tb.verify.benches import rtlil_of
from tb.verify.machine import Machine

CONFIG = find("float8")
TEXT = rtlil_of(Mac(CONFIG.silicon, 0, events=False))
VECTORS = mac_vectors(CONFIG, 1000, 1)  # not a multiple of what goes in at a time
CODES = {name: getattr(VECTORS, name) for name in ("x", "w", "acc", "product_offset", "acc_offset")}


def test_gates_in_cpp():
    gates = Aig.of(TEXT, "top", language="rtlil", hidden=True)
    got = gates.run(CODES | {"en": np.ones(1000, dtype=np.int64)})["HIDDEN_next"]
    assert got.tolist() == VECTORS.result.tolist()
    held = gates.run({"HIDDEN_held": np.arange(256)})["HIDDEN_next"]
    assert held.tolist() == list(range(256))


def test_fixed_inputs_leave_less_to_do():
    gates = Aig.of(TEXT, "top", language="rtlil", hidden=True)
    ranges, own = offset_ranges(CONFIG), CONFIG.offsets
    fixed = {"w": 0x35, "en": 1, "rst": 0, "clk": 0}
    fixed |= {name: 0 for name in ("HIDDEN_held",)}
    fixed["product_offset"] = own.product % 2**ranges.product.width
    fixed["acc_offset"] = own.acc % 2**ranges.acc.width
    less = gates.with_constants({port: value for port, value in fixed.items() if port in gates.inputs})
    assert set(less.inputs) == {"x", "acc"}
    assert 0 < len(less.gates) < len(gates.gates)
    x, acc = (column.ravel() for column in np.meshgrid(np.arange(256), np.arange(256)))
    got = less.run({"x": x, "acc": acc})["HIDDEN_next"]
    assert np.array_equal(got, fmaq(acc, x, np.full_like(x, 0x35), CONFIG))


def test_a_machine_keeps_its_registers_until_it_is_enabled():
    machine = Machine(Aig.of(TEXT, "top", language="rtlil", hidden=True))
    given = {name: int(values[0]) for name, values in CODES.items()}
    outputs = []
    for enable in (0, 1, 0, 0):
        outputs.append(machine.evaluate(given | {"en": enable})["result"])
        machine.clock()
    assert outputs == [0, 0, *2 * [int(VECTORS.result[0])]]


def test_pipelines_of_one_design_have_registers_of_one_name():
    """Which is what relates a mutant's registers with the original's."""
    text = rtlil_of(importlib.import_module("hw.mac").Mac(CONFIG.silicon, 2, events=True))
    gates = Aig.of(text, "top", language="rtlil", hidden=True)
    assert len(gates.inputs["HIDDEN_held"]) == len(gates.outputs["HIDDEN_next"]) > 30

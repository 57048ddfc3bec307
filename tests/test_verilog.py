"""Verilog from Amaranth: plain names, shared modules, errors that say what Yosys said."""

import re

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.catalog import find
from golden.config import ArrayConfig
from hw import verilog
from hw.array import SystolicArray
from hw.verilog import verilog_text


def array_text(rows, cols):
    config = ArrayConfig(
        silicon=find("float12").silicon, rows=rows, cols=cols, stages=1, depth=4, events=False
    )
    return verilog_text(SystolicArray(config), "array")


def test_equal_modules_are_written_once():
    modules = re.findall(r"^module (\w+)\(", array_text(4, 4), re.MULTILINE)
    assert modules.count("array") == modules.count("array_column") == modules.count("array_mac") == 1
    assert len(modules) == len(set(modules))
    assert re.findall(r"^module (\w+)\(", array_text(8, 5), re.MULTILINE) == modules


def test_every_mac_is_instantiated():
    text = array_text(8, 5)
    assert len(re.findall(r"^  array_column column_\d+ \(", text, re.MULTILINE)) == 5
    assert len(re.findall(r"^  array_mac mac_\d+ \(", text, re.MULTILINE)) == 8


def test_names_are_plain_and_nothing_is_attributed():
    text = array_text(2, 2)
    assert "\\" not in text  # escaped identifiers
    assert "(*" not in text  # attributes
    assert "/*" not in text  # banner
    assert all(name.startswith("array") for name in re.findall(r"^module (\w+)", text, re.MULTILINE))


class Twice(wiring.Component):
    """Doubles, in a submodule that sees its parent's signal under a name of its own."""

    def __init__(self):
        super().__init__({"x": In(4), "y": Out(5)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Module()
        y = Signal(5)
        inner.d.comb += y.eq(self.x + self.x)
        m.d.comb += self.y.eq(y)
        return m


def test_a_submodule_is_named_after_its_parent():
    assert re.findall(r"^module (\w+)", verilog_text(Twice(), "twice"), re.MULTILINE) == [
        "twice",
        "twice_inner",
    ]


def test_what_yosys_says_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(verilog, "_PASSES", ("read_rtlil design.il", "no_such_pass"))
    with pytest.raises(RuntimeError, match=r"could not write twice: .*no_such_pass"):
        verilog_text(Twice(), "twice")

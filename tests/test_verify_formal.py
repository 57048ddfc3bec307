"""Formal equality: what is equal is proved, what is not is refuted, and every quoted area has its row."""

import json

import pytest

from golden.catalog import find
from hw.cost.cells import builtin_library
from hw.cost.mapping import CACHE, map_flat
from hw.mac import Mac
from hw.verilog import verilog_text
from tb.verify import formal
from tb.verify.equivalence import ENGINES, Difference, Equal, EquivalenceError, Unknown, compare
from tb.verify.rows import ROOT, Task

LIBRARY = builtin_library()
PREFIX = "sky130_fd_sc_hd__"

#: What is done to a netlist, by replacing one piece of text, at a share of its occurrences.
CORRUPTIONS = {
    "nand for nor": ("nor2_1 ", "nand2_1 ", 0.3),
    "nor for nand": ("nand2_1 ", "nor2_1 ", 0.9),
    "an inverted pin": (".B(", ".B(~", 0.6),
    "an ignored enable": (".DE(en)", ".DE(1'b1)", 0.0),
    "a bit that sticks": (".DE(en)", ".DE(1'b0)", 1.0),
}


@pytest.fixture(scope="module")
def float8():
    """The RTL of a MAC, and its netlist without cells."""
    verilog = verilog_text(Mac(find("float8").silicon, 0, events=False), "mac")
    return verilog, map_flat(verilog, "mac", LIBRARY, CACHE).verilog


def prove(verilog, netlist, engines=tuple(ENGINES), seconds=300.0):
    cells = formal.netlist_with_cells(netlist, LIBRARY)
    return compare(verilog, cells, "mac", engines=engines, seconds=seconds)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_netlist_is_proved(float8, engine):
    assert prove(*float8, engines=[engine]) == Equal(8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("what", CORRUPTIONS)
def test_a_broken_netlist_is_refuted(float8, what, engine):
    verilog, netlist = float8
    old, new, share = CORRUPTIONS[what]
    pieces = netlist.split(old)
    cut = 1 + int(share * (len(pieces) - 2))
    broken = old.join(pieces[:cut]) + new + old.join(pieces[cut:])
    found = prove(verilog, broken, engines=[engine])
    assert isinstance(found, Difference)
    values = dict(pair.split("=") for pair in found.example.split())
    assert {"x", "w", "acc", "en", "result_held", "product_offset", "acc_offset"} < set(values)
    assert values["gold_result_next"] != values["gate_result_next"]


def test_another_mac_is_refuted():
    """Rounding toward zero is not rounding to nearest, at the same ports."""
    texts = [
        verilog_text(Mac(find(name).silicon, 0, events=True), "mac") for name in ("float8", "float8-rne")
    ]
    assert isinstance(compare(*texts, "mac", engines=["sweeping"], seconds=300), Difference)


def test_registers_that_no_output_shows_are_refused(float8):
    deep = verilog_text(Mac(find("float8").silicon, 1, events=False), "mac")
    with pytest.raises(EquivalenceError, match="register bits that no output shows"):
        compare(deep, deep, "mac", engines=["sweeping"], seconds=300)


def test_other_ports_are_refused(float8):
    wider = verilog_text(Mac(find("float9").silicon, 0, events=False), "mac")
    with pytest.raises(EquivalenceError, match="ports or registers differ"):
        compare(float8[0], wider, "mac", engines=["sweeping"], seconds=300)


def test_what_takes_too_long_is_unknown(float8):
    assert prove(*float8, engines=["kissat"], seconds=0.01) == Unknown("kissat")


def test_every_quoted_area_has_a_row():
    report = json.loads((ROOT / "docs" / "results" / "results.json").read_text())["rows"]
    subjects = {row.subject for row in formal.rows()}
    assert len(report) > 100
    assert {row["area"]["silicon"] for row in report} <= subjects


def test_a_row_that_quotes_another_area_is_red():
    silicon = find("float8").silicon
    (um2,) = (um2 for quoted, um2 in formal.quoted().items() if quoted == silicon)
    task = Task(share=0.1, seed=0, report=lambda part: None)
    assert formal.Netlist(silicon, False, um2).run(task).green
    wrong = formal.Netlist(silicon, False, um2 + 1).run(task)
    assert not wrong.green and "the report quotes" in wrong.details["first_difference"]

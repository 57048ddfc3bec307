"""Timing: a delay that can be looked up by hand, clocks that are met, and what is refused."""

import json
import re
from dataclasses import asdict

import pytest

from golden.catalog import find
from golden.config import ConfigError
from hw.cost import opensta
from hw.cost.abc_timing import abc_delay
from hw.cost.cells import builtin_library, liberty_library
from hw.cost.check import NetlistError, Replayer, Simulator, check_mac
from hw.cost.clocked import search
from hw.cost.flow import cell_counts
from hw.cost.mapping import CACHE, area_of, map_flat, parted_twin
from hw.cost.netlist import lists_taken_apart
from hw.cost.record import cost_point
from hw.cost.synth import golden_vectors
from hw.cost.timing import ABC, REGISTERS, timing
from hw.mac import Mac
from hw.verilog import verilog_text
from tests.timing_tools import need_timer, technology


def arc(pin, rise, fall, kind=""):
    """A timing group of constant delays."""
    tables = {"cell_rise": rise, "cell_fall": fall, "rise_transition": 5, "fall_transition": 5}
    texts = [f'{name} (two) {{ values ("{ps}, {ps}", "{ps}, {ps}"); }}' for name, ps in tables.items()]
    return (
        f'timing () {{ related_pin : "{pin}"; {kind or "timing_sense : negative_unate;"} {" ".join(texts)} }}'
    )


def cell(name, area, inputs, output, function, arcs, register=""):
    """A cell group; ``inputs``: pin -> more of its group."""
    pins = [f"pin ({pin}) {{ direction : input; capacitance : 1; {more} }}" for pin, more in inputs.items()]
    last = f'pin ({output}) {{ direction : output; function : "{function}"; max_capacitance : 100; {arcs} }}'
    return f"cell ({name}) {{ area : {area}; {register} {' '.join(pins)} {last} }}"


SETUP = """timing () { related_pin : "CK"; timing_type : setup_rising;
  rise_constraint (edge) { values ("7, 7", "7, 7"); } fall_constraint (edge) { values ("9, 9", "9, 9"); } }"""

#: Delays do not depend on loads and slopes, so paths can be added up by hand. Times in ps, as the unit says.
CONSTANT = "\n".join(
    [
        "library (constant) {",
        'time_unit : "1ps"; capacitive_load_unit (1, ff); voltage_unit : "1V"; current_unit : "1mA";',
        "delay_model : table_lookup; default_max_transition : 1000;",
        "lu_table_template (two) { variable_1 : input_net_transition; "
        'variable_2 : total_output_net_capacitance; index_1 ("1, 100"); index_2 ("1, 100"); }',
        "lu_table_template (edge) { variable_1 : related_pin_transition; "
        'variable_2 : constrained_pin_transition; index_1 ("1, 100"); index_2 ("1, 100"); }',
        cell("INV", 1.0, {"A": ""}, "Y", "!A", arc("A", 30, 20)),
        cell("BUF", 1.5, {"A": ""}, "Y", "A", arc("A", 40, 40, "timing_sense : positive_unate;")),
        cell("NOR", 2.0, {"A": "", "B": ""}, "Y", "!(A | B)", arc("A", 50, 40) + arc("B", 70, 60)),
        cell("NAND", 2.0, {"A": "", "B": ""}, "Y", "!(A & B)", arc("A", 50, 40) + arc("B", 70, 60)),
        cell(
            "DFF",
            5.0,
            {"CK": "clock : true;", "D": SETUP},
            "Q",
            "IQ",
            arc("CK", 100, 110, "timing_type : rising_edge; timing_sense : non_unate;"),
            'ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }',
        ),
        "}\n",
    ]
)

#: a -> adder's NAND -> rounder's INV -> y, with b at the other pin of the NAND.
NETLIST = """module mac(a, b, clk, y);
  input a;
  wire a;
  input b;
  wire b;
  input clk;
  wire clk;
  output signed [1:0] y;
  wire signed [1:0] y;
  wire \\adder.n ;
  NAND \\adder._1_  (
    .A(a),
    .B(b),
    .Y(\\adder.n )
  );
  INV \\rounder._1_  (
    .A(\\adder.n ),
    .Y(y[0])
  );
  assign y[1] = 1'h0;
endmodule
"""


@pytest.fixture
def constant(tmp_path):
    """The library of constant delays."""
    path = tmp_path / "constant.lib"
    path.write_text(CONSTANT)
    return liberty_library([path])


def test_a_delay_is_clock_to_output_gates_and_set_up(constant):
    need_timer()
    # Slowest: Q falls (110), NAND's B to a rising output (70), INV falls (20), set-up of a fall (9).
    found = timing(NETLIST, "mac", constant, 250)
    assert found.delay_ps == pytest.approx(110 + 70 + 20 + 9)
    assert found.slack_ps == pytest.approx(250 - 209)
    assert found.met
    assert found.fmax_mhz == pytest.approx(1e6 / 209)
    assert found.by_part == pytest.approx({REGISTERS: 119, "adder": 70, "rounder": 20})
    assert [(name, pin) for name, pin, _ in found.path] == [
        ("source_b_0", "CK"),
        ("source_b_0", "Q"),
        ("adder._1_", "Y"),
        ("rounder._1_", "Y"),
        ("sink_y_0", "D"),
    ]


def test_a_clock_that_is_too_fast_shows(constant):
    need_timer()
    found = timing(NETLIST, "mac", constant, 208)
    assert not found.met
    assert found.slack_ps == pytest.approx(-1, abs=1e-3)
    assert found.delay_ps == pytest.approx(209)  # the period changes no delay


def test_the_unit_of_time_is_the_librarys(tmp_path, constant):
    need_timer()
    path = tmp_path / "nanoseconds.lib"
    path.write_text(CONSTANT.replace('"1ps"', '"1ns"'))
    slow = timing(NETLIST, "mac", liberty_library([path]), None)
    assert slow.delay_ps == pytest.approx(1000 * 209)


def test_a_netlist_without_a_path_is_an_error(constant):
    need_timer()
    nothing = "module mac(clk, y);\n  input clk;\n  output y;\n  assign y = 1'h0;\nendmodule\n"
    with pytest.raises(opensta.TimerError, match="no path between registers"):
        timing(nothing, "mac", constant, None)
    with pytest.raises(opensta.TimerError):
        timing(NETLIST.replace("NAND", "XOR"), "mac", constant, None)


def test_without_opensta_the_figure_is_abcs_and_says_so(constant, monkeypatch):
    monkeypatch.setattr("hw.cost.timing.opensta_version", lambda: None)
    found = timing(NETLIST, "mac", constant, 250)
    assert found.timer == ABC
    assert found.delay_ps == abc_delay(NETLIST, constant)
    # One inverter drives b: 30 rising or 20 falling; no register is in the figure.
    assert 60 <= found.delay_ps <= 130
    assert (found.path, found.by_part) == ((), {})


def test_a_table_of_areas_times_nothing():
    with pytest.raises(ConfigError, match="has no timing"):
        timing(NETLIST, "mac", builtin_library(), None)
    with pytest.raises(ConfigError, match="has no timing to meet a clock by"):
        search(NETLIST, "array", {"array": 1.0}, None, "mac", builtin_library(), 100.0, None)
    with pytest.raises(ConfigError, match="0 ns is not"):
        search(NETLIST, "array", {"array": 1.0}, None, "mac", builtin_library(), 0, None)


@pytest.fixture(scope="module")
def float8():
    """A small float MAC in sky130hd: its Verilog and library."""
    need_timer()
    library = technology("sky130hd")
    silicon = find("float8").silicon
    return Mac(silicon, 0, events=False), verilog_text(Mac(silicon, 0, events=False), "mac"), library


def test_a_clock_costs_area_and_the_netlist_meets_it(float8):
    mac, verilog, library = float8
    relaxed = map_flat(verilog, "mac", library, CACHE)
    slow = timing(relaxed.verilog, "mac", library, None)
    assert relaxed.delay_ps is None
    netlist = map_flat(verilog, "mac", library, CACHE, 7000)
    fast = timing(netlist.verilog, "mac", library, 7000)
    assert fast.met
    assert netlist.delay_ps == fast.delay_ps < 7000 < slow.delay_ps
    area, least = (area_of(cell_counts(each.verilog), library).um2 for each in (netlist, relaxed))
    assert least < area < 2 * least
    check_mac(Replayer(library), netlist.verilog, mac, golden_vectors(mac.silicon))
    # A clock that the smallest netlist meets costs nothing.
    lazy = map_flat(verilog, "mac", library, CACHE, round(slow.delay_ps) + 1)
    assert lazy.verilog == relaxed.verilog


def test_a_clock_is_met_by_abcs_figure_where_there_is_no_other(monkeypatch):
    library = technology("sky130hd")
    monkeypatch.setattr("hw.cost.timing.opensta_version", lambda: None)
    verilog = verilog_text(Mac(find("int6-wrap").silicon, 0, events=False), "mac")
    relaxed = map_flat(verilog, "mac", library, CACHE)
    slow = abc_delay(relaxed.verilog, library)
    netlist = map_flat(verilog, "mac", library, CACHE, 0.8 * slow)
    assert netlist.timer == ABC
    assert netlist.delay_ps == abc_delay(netlist.verilog, library) <= 0.8 * slow


def test_parts_of_a_path_are_the_macs(float8):
    mac, verilog, library = float8
    netlist = map_flat(verilog, "mac", library, CACHE)
    parted = parted_twin(verilog, "mac", library, netlist, CACHE)
    check_mac(Replayer(library), parted, mac, golden_vectors(mac.silicon))
    found = timing(parted, "mac", library, None)
    assert sum(found.by_part.values()) == pytest.approx(found.delay_ps)
    parts = set(re.findall(r"^  mac_(\w+) ", verilog, re.MULTILINE))
    assert {"multiplier", "aligner", "adder"} < set(found.by_part) <= parts | {"glue", REGISTERS}


def test_the_replay_and_verilator_refuse_the_same_netlist(float8):
    mac, verilog, library = float8
    netlist = map_flat(verilog, "mac", library, CACHE).verilog
    golden = golden_vectors(mac.silicon)
    wrong = netlist.replace("nand2_1 ", "nor2_1 ", 1)
    assert wrong != netlist
    simulator = Simulator(library, CACHE)
    simulator.build([netlist, wrong], print)
    messages = []
    for runs in (simulator, Replayer(library)):
        check_mac(runs, netlist, mac, golden)
        with pytest.raises(NetlistError) as refusal:
            check_mac(runs, wrong, mac, golden)
        messages.append(str(refusal.value))
    assert messages[0] == messages[1]  # the same vectors differ, by the same codes


def test_a_record_is_json_and_agrees_with_its_parts():
    need_timer()
    technology("sky130hd")
    record = cost_point(find("int6-wrap").silicon, 1, "sky130hd", 3000)
    assert json.loads(json.dumps(asdict(record))) == asdict(record)
    assert record == cost_point(find("int6-wrap").silicon, 1, "sky130hd", 3000)
    assert record.met and record.delay_ps <= 3000
    assert not cost_point(find("int6-wrap").silicon, 0, "sky130hd", 500).met
    assert record.fmax_mhz == pytest.approx(1e6 / record.delay_ps)
    assert sum(record.parts.values()) == pytest.approx(record.um2)
    assert list(record.parts)[-1] == "remainder"
    assert record.energy_pj is None and record.stimulus is None
    assert record.vectors >= 65536


def test_a_record_of_the_table_has_areas_only():
    record = cost_point(find("int6-wrap").silicon, 0, "builtin", None)
    assert record.um2 > 0 and record.parts["registers"] == pytest.approx(6 * 30.0288)
    assert (record.delay_ps, record.fmax_mhz, record.timer, record.met) == (None,) * 4
    assert record.critical == {}
    with pytest.raises(ConfigError, match="no timing"):
        cost_point(find("int6-wrap").silicon, 0, "builtin", 5000)


def test_assignments_to_lists_are_taken_apart():
    netlist = (
        "module m(a, b);\n  input [2:0] a;\n  output [2:0] b;\n  wire [3:0] \\x.y ;\n  wire z;\n"
        "  assign { \\x.y [3], \\x.y [1:0], z } = { a, 1'h1 };\n  assign b[2:1] = { z, a[0] };\nendmodule\n"
    )
    apart = lists_taken_apart(netlist)
    assert re.findall(r"assign .*", apart) == [
        "assign z = 1'b1;",
        "assign \\x.y [0] = a[0];",
        "assign \\x.y [1] = a[1];",
        "assign \\x.y [3] = a[2];",
        "assign b[2:1] = { z, a[0] };",
    ]

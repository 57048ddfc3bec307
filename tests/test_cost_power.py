"""Energies are the library's own numbers, summed over what the netlist does; activity is Verilator's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from golden.catalog import find
from golden.config import ConfigError, FixedFormat
from hw.cost.cells import builtin_library, liberty_library
from hw.cost.check import NetlistError
from hw.cost.energies import KINDS, Conditions, netlist_energies
from hw.cost.glitches import delayed_toggles
from hw.cost.liberty_power import power_library
from hw.cost.mapping import CACHE, map_flat
from hw.cost.netlist import ONE, ZERO, parse_netlist
from hw.cost.power import energy, mac_columns, replay_mac
from hw.cost.replay import Activity, replay
from hw.cost.saif import differences, saif_activity
from hw.mac import Mac
from hw.verilog import verilog_text
from sim.activity import stimulus

#: 2 V, so a toggle of 1 fF switches 2 fJ. Tables: slews 10, 20, 40 ps, of which the middle one is taken.
TINY = """
library (tiny) {
  time_unit : "1ps"; voltage_unit : "1V"; leakage_power_unit : "1nW"; nom_voltage : 2.0;
  capacitive_load_unit (1, ff);
  power_lut_template (two) { variable_1 : input_transition_time; variable_2 : total_output_net_capacitance; }
  power_lut_template (swapped) {
    variable_1 : total_output_net_capacitance; variable_2 : input_transition_time;
  }
  power_lut_template (one) { variable_1 : input_transition_time; index_1 ("10, 20, 40"); }
  lu_table_template (delay) { variable_1 : total_output_net_capacitance; index_1 ("0, 10"); }
  cell (INV) {
    area : 1;
    leakage_power () { when : "A"; value : 3; }
    leakage_power () { when : "!A"; value : 5; }
    pin (A) { direction : input; capacitance : 1; }
    pin (Y) {
      direction : output; function : "!A";
      timing () {
        related_pin : "A";
        cell_rise (delay) { values ("6, 16"); }
        cell_fall (delay) { values ("10, 20"); }
      }
      internal_power () {
        related_pin : "A";
        rise_power (two) { index_1 ("10, 20, 40"); index_2 ("0, 10"); values ("9, 9", "2, 22", "9, 9"); }
        fall_power (two) { index_1 ("10, 20, 40"); index_2 ("0, 10"); values ("9, 9", "-1, -11", "9, 9"); }
      }
    }
  }
  cell (NAND) {
    area : 2;
    cell_leakage_power : 7;
    pin (A) {
      direction : input; capacitance : 2;
      internal_power () {
        when : "!B & Y";
        related_pg_pin : VDD;
        rise_power (one) { values ("9, 0.25, 9"); }
        fall_power (one) { values ("9, 0.5, 9"); }
      }
      internal_power () {
        when : "!B & Y";
        related_pg_pin : VSS;
        rise_power (one) { values ("9, 0.125, 9"); }
        fall_power (one) { values ("9, 0.0625, 9"); }
      }
    }
    pin (B) { direction : input; capacitance : 3; }
    pin (Y) {
      direction : output; function : "!(A & B)";
      timing () { related_pin : "A B"; cell_rise (delay) { values ("8, 18"); } }
      internal_power () {
        related_pin : "A";
        rise_power (swapped) { index_1 ("0, 10"); index_2 ("10, 20, 40"); values ("9, 4, 9", "9, 14, 9"); }
        fall_power (two) { index_1 ("10, 20, 40"); index_2 ("0, 10"); values ("9, 9", "1, 1", "9, 9"); }
      }
      internal_power () {
        related_pin : "B";
        rise_power (scalar) { values ("40"); }
        fall_power (scalar) { values ("80"); }
      }
    }
  }
  cell (DFF) {
    area : 4;
    leakage_power () { when : "CK"; value : 1; }
    leakage_power () { when : "!CK"; value : 2; }
    ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }
    pin (CK) {
      direction : input; clock : true; capacitance : 0.5;
      internal_power () { when : "D & Q"; rise_power (scalar) { values ("100"); } }
      internal_power () { when : "!(D & Q)"; rise_power (scalar) { values ("200"); } }
      internal_power () { fall_power (scalar) { values ("10"); } }
    }
    pin (D) {
      direction : input; capacitance : 4;
      internal_power () { when : "CK"; power (scalar) { values ("0.75"); } }
      internal_power () { when : "!CK"; power (scalar) { values ("1000"); } }
    }
    pin (Q) {
      direction : output; function : "IQ";
      internal_power () { related_pin : "CK"; rise_power (scalar) { values ("20"); } }
      internal_power () { related_pin : "CK"; fall_power (scalar) { values ("30"); } }
    }
  }
}
"""

CHAIN = """
module mac(a, b, clk, q);
  input a;
  wire a;
  input b;
  wire b;
  input clk;
  wire clk;
  output [1:0] q;
  wire [1:0] q;
  wire n;
  wire \\the.net ;
  NAND _0_ (
    .A(a),
    .B(b),
    .Y(n)
  );
  INV \\adder._1_  (
    .A(n),
    .Y(\\the.net )
  );
  DFF _2_ (
    .CK(clk),
    .D(\\the.net ),
    .Q(q[0])
  );
  assign q[1] = \\the.net ;
endmodule
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    file = tmp_path_factory.mktemp("liberty") / "tiny.lib"
    file.write_text(TINY)
    return liberty_library([file])


@pytest.fixture(scope="module")
def sky130():
    file = Path(__file__).resolve().parents[2] / "shared" / "data" / "liberty" / "sky130hd_tt.lib.gz"
    if not file.is_file():
        pytest.skip(f"no data set: there is no {file}")
    return liberty_library([file])


def bits(*values):
    return np.array(values, dtype=np.int64)


def conditions(**changes):
    plain = Conditions(first=0, clock_ps=1e6, chained={}, slew_ps=None, glitches=False)
    return replace(plain, **changes)


def chain_energies(library, *, netlist=CHAIN, **changes):
    # n = 1 1 1 0 1, the.net = 0 0 0 1 0, q = 0 0 0 0 1
    columns = {"a": bits(0, 1, 0, 1, 1), "b": bits(0, 0, 1, 1, 0)}
    activity = replay(parse_netlist(netlist, library), library, columns)
    return netlist_energies(activity, library, power_library(library), conditions(**changes))


def test_energies_of_a_chain_are_those_added_up_by_hand(tiny):
    found = chain_energies(tiny)
    pj = 1 / 4 / 1e3  # of fJ in the four changes
    # Half C V**2 is 2 fJ/fF: a toggles 3 times at 2 fF, b twice at 3 fF, n twice at 1, the.net twice at 4.
    assert found.spent["inputs", "switching"] == pytest.approx((3 * 2 * 2 + 2 * 3 * 2) * pj)
    assert found.spent["glue", "switching"] == pytest.approx(2 * 1 * 2 * pj)
    assert found.spent["adder", "switching"] == pytest.approx(2 * 4 * 2 * pj)
    # The NAND: A rises where B is 0 and Y 1, on two rails; A falls as B rises, likewise; A rises where B is 1
    # and Y falls; B falls and Y rises.
    assert found.spent["glue", "internal"] == pytest.approx((0.25 + 0.125 + 0.5 + 0.0625 + 1 + 40) * pj)
    # The inverter at 4 fF, up and down.
    assert found.spent["adder", "internal"] == pytest.approx((2 + 0.4 * 20 - 1 - 0.4 * 10) * pj)
    # The flip-flop: D up and down while the clock is high; Q up once, as the last cycle begins.
    assert found.spent["registers", "internal"] == pytest.approx((2 * 0.75 + 20) * pj)
    # Its clock: never D and Q both before an edge; and 0.5 fF up and down.
    assert found.spent["registers", "clock"] == pytest.approx(4 * (200 + 10 + 0.5 * 4) * pj)
    # 1 us at so many nW: 1 fJ each.
    assert found.spent["glue", "leakage"] == pytest.approx(4 * 7 * pj)
    assert found.spent["adder", "leakage"] == pytest.approx((3 * 3 + 5) * pj)
    assert found.spent["registers", "leakage"] == pytest.approx(4 * 1.5 * pj)
    assert (found.pins, found.cycles) == (3 + 2 + 3, 4)
    assert found.toggle_rate == pytest.approx((3 + 2 + 2 + 2 + 1) / 5 / 4)
    assert found.of() == pytest.approx(sum(found.spent.values())) == pytest.approx(sum(found.parts.values()))
    assert sum(found.kinds.values()) == pytest.approx(found.of())
    assert set(found.kinds) == set(KINDS)


def test_a_chained_output_carries_the_input_it_drives(tiny):
    alone = chain_energies(tiny)
    chained = chain_energies(
        tiny,
        netlist=CHAIN.replace("[1:0] ", "").replace("q[0]", "q").replace("  assign q[1] = \\the.net ;\n", ""),
        chained={"q": "b"},
    )
    pj = 1 / 4 / 1e3
    # b at 3 fF is charged by the copy before, and q rises once at 3 fF.
    assert chained.spent["inputs", "switching"] == pytest.approx(3 * 2 * 2 * pj)
    assert chained.spent["registers", "switching"] == pytest.approx(1 * 3 * 2 * pj)
    assert alone.spent["registers", "switching"] == 0


def test_energies_follow_the_slew(tiny):
    middle, stated, between = (chain_energies(tiny, slew_ps=slew).spent for slew in (None, 20, 30))
    assert middle == stated
    pj = 1 / 4 / 1e3
    up, down = (2 + 0.4 * 20 + 9) / 2, (-1 - 0.4 * 10 + 9) / 2
    assert between["adder", "internal"] == pytest.approx((up + down) * pj)


def test_energies_of_sky130_cells_are_those_of_its_file(sky130):
    netlist = """
module mac(a, b, clk, q);
  input a;
  input b;
  input clk;
  output q;
  wire n;
  sky130_fd_sc_hd__nand2_1 _0_ (
    .A(a),
    .B(b),
    .Y(n)
  );
  sky130_fd_sc_hd__dfxtp_1 _1_ (
    .CLK(clk),
    .D(n),
    .Q(q)
  );
endmodule
"""
    columns = {"a": bits(0, 1, 1), "b": bits(1, 1, 1)}  # n = 1 0 0, q = 0 1 0
    activity = replay(parse_netlist(netlist, sky130), sky130, columns)
    found = netlist_energies(activity, sky130, power_library(sky130), conditions())
    pj = 1 / 2
    assert found.spent["inputs", "switching"] == pytest.approx(0.5 * 0.002315 * 1.8**2 * pj)
    assert found.spent["logic", "switching"] == pytest.approx(0.5 * 0.001678 * 1.8**2 * pj)
    # At a slew of 0.1224745 ns: A rises; Y falls, by A, at D's 1.678 fF between 1.316547 and 3.466593.
    share = (1.678 - 1.316547) / (3.466593 - 1.316547)
    falls = 0.0003119 + share * (-0.0030612 - 0.0003119)
    assert found.spent["logic", "internal"] == pytest.approx((-0.0038845 + falls) * pj, rel=1e-6)
    # D falls; Q rises and falls at no load, below the first entry of the table.
    below = -0.0005 / (0.001310449 - 0.0005)
    rises = 0.0174417 + below * (0.0190740 - 0.0174417)
    falls = 0.0186857 + below * (0.0176924 - 0.0186857)
    assert found.spent["registers", "internal"] == pytest.approx((0.0053518 + rises + falls) * pj, rel=1e-6)
    assert found.spent["registers", "clock"] == pytest.approx(
        2 * (0.0174497 + 0.0224266 + 0.001794 * 1.8**2) * pj, rel=1e-6
    )


def test_gates_that_take_time_glitch_as_paths_differ(tiny):
    # q = NAND(a, INV(INV(INV(a)))): without delays it never falls; with delays it does as a rises, only then.
    inverters = "".join(f"  INV i{i} (.A(n{i}), .Y(n{i + 1}));\n" for i in range(3))
    text = "module mac(a, q);\n  input a;\n  output q;\n" + "".join(f"  wire n{i};\n" for i in range(4))
    text += "  assign n0 = a;\n" + inverters + "  NAND g (.A(n0), .B(n3), .Y(q));\nendmodule\n"
    columns = {"a": bits(0, 1, 0, 1, 1, 0)}
    activity = replay(parse_netlist(text, tiny), tiny, columns, clock="none")
    assert activity.toggles("q", 0) == 0
    loads = {"n1": 1.0, "n2": 1.0, "n3": 3.0}
    powers, after = power_library(tiny), np.arange(5)
    assert delayed_toggles(activity, tiny, powers, loads, after=after)["q"] == 2 * 2
    assert delayed_toggles(activity, tiny, powers, loads, after=np.array([1, 3]))["q"] == 0
    # A gate that is slower than the difference of its paths lets nothing through: 3 x 11 against 8 + 100 ps.
    slow = delayed_toggles(activity, tiny, powers, loads | {"q": 100.0}, after=after)
    assert slow == {"n1": 4, "n2": 4, "n3": 4, "q": 0}


@pytest.fixture(scope="module")
def small():
    """A small MAC with a register inside, and real codes for it."""
    operand = FixedFormat(bits=3, lsb=0, signed=True)
    config = replace(find("int6"), x=operand, w=operand)
    mac = Mac(config.silicon, 1, events=False)
    return mac, stimulus("gaussian", config, hardwired=False, count=640)


def mapped(mac, library):
    return map_flat(verilog_text(mac, "mac"), "mac", library, CACHE).verilog


def test_toggles_of_every_pin_are_those_of_verilators_saif_file(sky130, small):
    mac, codes = small
    netlist = mapped(mac, sky130)
    activity, first = replay_mac(netlist, mac, sky130, codes)
    columns = mac_columns(mac, codes)
    if "rst" in activity.netlist.inputs:
        columns["rst"] = np.zeros(len(codes), dtype=np.int64)
    found = saif_activity(netlist, sky130, columns, first=first)
    assert len(found) == sum(len(instance.pins) for instance in activity.netlist.instances)
    assert differences(found, activity, first=first) == []
    # And the comparison can fail: one cycle of one net is another.
    net = next(iter(activity.netlist.outputs["result"]))
    values = dict(activity.values)
    values[net] = values[net].copy()
    values[net][first + 100] ^= True
    assert differences(found, replace(activity, values=values), first=first)


def test_a_mac_is_refused_unless_every_result_is_goldens(sky130, small):
    mac, codes = small
    netlist = mapped(mac, sky130)
    power = energy(netlist, mac, sky130, codes, clock_ps=10_000)
    assert 0 < power.energy_pj == pytest.approx(sum(power.parts.values()))
    assert power.cycles == len(codes) - 1 - mac.acc_lag - mac.acc_latency
    wrong = netlist.replace("nand2_1 ", "nor2_1 ", 1)
    assert wrong != netlist
    with pytest.raises(NetlistError, match="differs from golden"):
        energy(wrong, mac, sky130, codes, clock_ps=10_000)
    late = Mac(mac.silicon, 2, events=False)
    with pytest.raises(NetlistError, match="differs from golden"):
        energy(netlist, late, sky130, codes, clock_ps=10_000)
    with pytest.raises(NetlistError, match="differs from golden"):
        energy(netlist, mac, sky130, codes, clock_ps=10_000, parted=wrong)


def test_a_stimulus_of_another_arithmetic_is_refused(sky130, small):
    mac, codes = small
    with pytest.raises(ConfigError, match="make one for it"):
        energy(mapped(mac, sky130), mac, sky130, replace(codes, config=find("int6")), clock_ps=10_000)


def test_a_pin_without_activity_is_refused(tiny):
    netlist = parse_netlist(CHAIN, tiny)
    activity = replay(netlist, tiny, {"a": bits(0, 1), "b": bits(1, 1)})
    values = {net: each for net, each in activity.values.items() if net != "n"}
    lacking = Activity(netlist=netlist, clock=activity.clock, values=values)
    with pytest.raises(
        ConfigError, match=r"pin Y of _0_ \(NAND\) is on the net n, of which there is no activity"
    ):
        netlist_energies(lacking, tiny, power_library(tiny), conditions())


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("is not connected", ".B(b),", ".B(),"),
        ("has two drivers", ".Y(n)", ".Y(\\the.net )"),
        ("has no driver", ".Y(n)", ".Y()"),
        ("a loop of gates", ".B(b)", ".B(n)"),
        ("is not clocked by", ".CK(clk)", ".CK(a)"),
        ("does not declare", ".B(b)", ".B(c)"),
        ("whose function the library tiny lacks", "INV ", "XOR "),
        ("one flat module", "module mac", "module other;\nendmodule\nmodule mac"),
    ],
)
def test_netlists_that_cannot_be_replayed_are_refused(tiny, what, old, new):
    assert old in CHAIN
    with pytest.raises(ConfigError, match=what):
        replay(parse_netlist(CHAIN.replace(old, new), tiny), tiny, {"a": bits(0, 1), "b": bits(1, 1)})


def test_registers_that_feed_themselves_are_refused(tiny):
    with pytest.raises(ConfigError, match="feed themselves"):
        columns = {"a": np.ones(200, dtype=np.int64), "b": np.ones(200, dtype=np.int64)}
        counts = CHAIN.replace(".B(b)", ".B(q[0])").replace(".D(\\the.net )", ".D(n)")
        replay(parse_netlist(counts, tiny), tiny, columns)


def test_inputs_that_are_not_driven_are_named(tiny):
    with pytest.raises(ConfigError, match="there are stimuli of a"):
        replay(parse_netlist(CHAIN, tiny), tiny, {"a": bits(0, 1)})


def test_names_constants_and_lists_of_bits_are_read(tiny):
    text = """
module mac(a, q);
  input [2:0] a;
  output [5:0] q;
  wire [1:0] \\x.y ;
  wire z;
  assign { q[0], \\x.y  } = { a[1:0], z };
  assign q[5:1] = { \\x.y [1], 4'hx };
  assign z = 1'h1;
endmodule
"""
    netlist = parse_netlist(text, tiny)
    assert netlist.inputs == {"a": ("a[0]", "a[1]", "a[2]")}
    assert netlist.outputs == {"q": ("a[1]", ZERO, ZERO, ZERO, ZERO, "a[0]")}
    assert parse_netlist(text.replace("\\x.y [1], 4", "z, 4"), tiny).outputs["q"][5] == ONE


def test_a_library_without_energies_is_refused():
    with pytest.raises(ConfigError, match="says nothing of power"):
        power_library(builtin_library())

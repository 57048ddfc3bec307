"""Areas belong to netlists that have been proved: mapping, attribution, and what is refused."""

import json
import re
from dataclasses import replace
from math import fsum

import pytest

from golden.catalog import find
from golden.config import ArrayConfig, ConfigError
from golden.stimulus import mac_vectors
from hw.cost import flow
from hw.cost.area import PARTS, area, array_area
from hw.cost.cells import builtin_library
from hw.cost.check import MIN_VECTORS, NetlistError, Simulator, check_mac
from hw.cost.flow import cell_counts
from hw.cost.mapping import CACHE, map_flat
from hw.cost.synth import main
from hw.mac import Mac
from hw.verilog import verilog_text

LIBRARY = builtin_library()
PREFIX = "sky130_fd_sc_hd__"


def golden_vectors(silicon, count=MIN_VECTORS):
    return mac_vectors(silicon.config, count, 1, hardwired=silicon.hardwired)


def areas(names, *, stages=0, vectors=golden_vectors, **options):
    silicons = [find(name).silicon for name in names]
    return area(
        silicons, library=LIBRARY, stages=stages, vectors=vectors, progress=lambda line: None, **options
    )


def mapped(name, stages):
    mac = Mac(find(name).silicon, stages, events=False)
    return mac, map_flat(verilog_text(mac, "mac"), "mac", LIBRARY, CACHE).verilog


def replaced(netlist, old, new, share):
    """The text at that share of the occurrences of ``old`` replaced by ``new``."""
    pieces = netlist.split(old)
    assert len(pieces) > 1, f"no {old} in the netlist"
    cut = 1 + int(share * (len(pieces) - 2))
    return old.join(pieces[:cut]) + new + old.join(pieces[cut:])


#: What is done to a netlist, by replacing one piece of text; each must be noticed.
CORRUPTIONS = {
    "nand for nor, early": ("nor2_1 ", "nand2_1 ", 0.0),
    "nor for nand, late": ("nand2_1 ", "nor2_1 ", 1.0),
    "and-or for or-and": (f"{PREFIX}o21ai_1 ", f"{PREFIX}a21oi_1 ", 0.5),
    "an inverted pin": (".B(", ".B(~", 0.4),
    "an inverted enable": (".DE(en)", ".DE(~en)", 0.5),
    "an ignored enable": (".DE(en)", ".DE(1'b1)", 0.0),
    "a bit stuck": (".DE(en)", ".DE(1'b0)", 1.0),
}


@pytest.fixture(scope="module")
def proving_ground():
    """A simulator of some netlists, right and corrupted, in one build."""
    macs = {
        (name, stages): mapped(name, stages)
        for name, stages in (("float8", 0), ("float8-px", 2), ("int12", 1))
    }
    corrupted = {what: replaced(macs["float8", 0][1], *how) for what, how in CORRUPTIONS.items()}
    simulator = Simulator(LIBRARY, CACHE)
    simulator.build([netlist for _, netlist in macs.values()] + list(corrupted.values()), print)
    return simulator, macs, corrupted


def test_right_netlists_pass_at_every_depth_of_pipeline(proving_ground):
    simulator, macs, _ = proving_ground
    for mac, netlist in macs.values():
        check_mac(simulator, netlist, mac, golden_vectors(mac.silicon))


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_a_corrupted_netlist_is_refused(proving_ground, what):
    simulator, macs, corrupted = proving_ground
    mac, netlist = macs["float8", 0]
    assert corrupted[what] != netlist
    with pytest.raises(NetlistError, match="differs from golden") as refusal:
        check_mac(simulator, corrupted[what], mac, golden_vectors(mac.silicon))
    assert re.search(
        r"x=\d+, w=\d+, acc=\d+, product_offset=-?\d+.*netlist 0x\w+, golden 0x", str(refusal.value)
    )


def test_too_few_vectors_and_missing_events_are_refused(proving_ground):
    simulator, macs, _ = proving_ground
    mac, netlist = macs["float8", 0]
    with pytest.raises(NetlistError, match=f"{MIN_VECTORS - 1} vectors are too few"):
        check_mac(simulator, netlist, mac, golden_vectors(mac.silicon, MIN_VECTORS - 1))
    with pytest.raises(NetlistError, match="no vector hits inner_underflow"):
        check_mac(simulator, netlist, mac, replace(golden_vectors(mac.silicon), missing=("inner_underflow",)))


def test_a_row_adds_up():
    names = ["float8", "float8-px", "int12"]
    for row in areas(names):
        _, netlist = mapped(next(name for name in names if find(name).silicon.mac_name == row.silicon), 0)
        counts = cell_counts(netlist)
        assert row.cells == counts.total()
        assert row.um2 == fsum(LIBRARY.cells[cell].area * count for cell, count in counts.items())
        assert row.nand2 == row.um2 / 3.7536
        assert row.recipe_um2[row.recipe] == row.um2 == min(row.recipe_um2.values())
        assert list(row.recipe_um2) == list(flow.RECIPES)
        assert row.remainder == row.um2 - fsum(row.parts.values())
        assert list(row.parts) == [part for part in PARTS if part in row.parts]
        assert row.vectors == MIN_VECTORS
        assert row.events


def test_parts_are_those_of_the_data_path():
    float8, int12 = areas(["float8", "int12"])
    (subnormal,) = areas(["e2m1s_e2m1_p_e3m2s_rz_a_e3m2s_rz_c16"])
    assert set(subnormal.parts) == set(PARTS)
    assert set(float8.parts) == set(PARTS) - {"product_normalizer", "addend_normalizer", "acc_normalizer"}
    assert set(int12.parts) == {"multiplier", "aligner", "adder", "glue", "registers"}
    # One output register with enable; nothing else is clocked.
    assert float8.parts["registers"] == 8 * 30.0288
    assert int12.parts["registers"] == 12 * 30.0288


def test_mapping_is_reproducible_and_kept(tmp_path, monkeypatch):
    verilog = verilog_text(Mac(find("int6-wrap").silicon, 0, events=False), "mac")
    first = map_flat(verilog, "mac", LIBRARY, tmp_path / "first")
    assert map_flat(verilog, "mac", LIBRARY, tmp_path / "second") == first

    def no_synthesis(*_):
        raise AssertionError("mapped once more")

    monkeypatch.setattr(flow, "run_yosys", no_synthesis)
    assert map_flat(verilog, "mac", LIBRARY, tmp_path / "first") == first
    with pytest.raises(AssertionError, match="once more"):
        map_flat(verilog.replace("mac", "mac2"), "mac2", LIBRARY, tmp_path / "first")


def test_no_verdict_is_kept():
    areas(["float8"])

    def wrong(silicon):
        vectors = golden_vectors(silicon)
        vectors.result[-1] ^= 1
        return vectors

    with pytest.raises(NetlistError, match="differs from golden in 1 of 65536"):
        areas(["float8"], vectors=wrong)


def test_an_array_is_its_macs_and_what_is_around_them():
    (mac,) = areas(["int12"])
    silicon = replace(find("int12"), chunk_size=4).silicon

    def around(rows, cols, depth=8):
        config = ArrayConfig(silicon=silicon, rows=rows, cols=cols, stages=0, depth=depth, events=False)
        return array_area(config, mac, library=LIBRARY)

    small, wide, tall, deep = around(2, 2), around(2, 4), around(4, 2), around(2, 2, depth=16)
    assert small.um2 == fsum(small.parts.values())
    assert small.parts["MACs"] == 4 * mac.um2
    assert wide.parts["MACs"] == tall.parts["MACs"] == 8 * mac.um2
    for part in ("column feet", "outer memory", "inner memory"):
        assert wide.parts[part] == 2 * small.parts[part] > 0, part
    assert "inner memory" not in tall.parts  # one pass is a chunk
    for part in ("outer memory", "inner memory"):
        assert small.parts[part] >= 2 * 8 * 12 * 30.0288, part
        assert deep.parts[part] > 1.9 * small.parts[part], part
    assert deep.parts["column feet"] == small.parts["column feet"]
    with pytest.raises(ConfigError, match="is a macro"):
        around(2, 2, depth=1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: CONFIG"),
        (["float13x"], "no configuration called 'float13x'"),
        (["float12", "--stages", "3"], "invalid choice: 3"),
        (["float12", "--array", "16"], "write ROWSxCOLS"),
        (["float12", "--array", "0x4"], "rows must be an integer from 1"),
        (["float12", "--array", "5x5"], "not a multiple of rows 5"),
        (["float12", "--depth", "4"], "give --array"),
        (["float12", "--array", "4x4", "--depth", "4096"], "is a macro"),
        (["float12", "--liberty", "absent.lib"], "absent.lib cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_answered_in_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1
    assert output.out == ""


def test_the_command_prints_what_the_library_measures(capsys):
    assert main(["float8", "int12", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    rows = areas(["float8", "int12"])
    assert [row["um2"] for row in printed["macs"]] == [row.um2 for row in rows]
    assert [row["config"] for row in printed["macs"]] == ["float8", "int12"]
    assert printed["arrays"] == []
    assert main(["int12", "--array", "4x4", "--depth", "8"]) == 0
    text = capsys.readouterr().out
    assert f"{rows[1].um2:.1f} um2" in text and "r4x4_s0_d8" in text and "on 65536 vectors" in text

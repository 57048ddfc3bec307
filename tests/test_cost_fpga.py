"""ECP5: what is placed, how it is counted, and what is refused."""

import json

import pytest

from golden.catalog import find
from hw.cost import ecp5, fpga
from hw.cost.ecp5 import place, registered
from hw.cost.flow import SynthesisError
from hw.mac import Mac
from hw.verilator_env import ToolMissingError
from hw.verilog import verilog_text


def need_nextpnr():
    try:
        ecp5.nextpnr()
    except ToolMissingError:
        pytest.skip("no program: nextpnr-ecp5 is not installed")


COUNTER = """module count(clk, step, total);
  input clk;
  input [3:0] step;
  output [7:0] total;
  reg [7:0] total;
  always @(posedge clk) total <= total + step * step;
endmodule
"""


def test_every_input_but_the_clock_gets_a_register():
    verilog = verilog_text(Mac(find("float8").silicon, 0, events=False), "mac")
    text, bits = registered(verilog, "mac")
    config = find("float8").silicon
    members = Mac(config, 0, events=False).signature.members
    widths = {name: len(Mac(config, 0, events=False).__dict__[name]) for name in members if name != "result"}
    assert bits == sum(widths.values())
    for name, width in widths.items():
        assert f"[{width - 1}:0] held_{name};" in text
        assert f".{name}(held_{name})" in text
    assert ".clk(clk)" in text and ".result(result)" in text and "held_clk" not in text
    with pytest.raises(ValueError, match="no module other"):
        registered(verilog, "other")


def test_a_design_is_placed_with_and_without_multiplier_blocks(tmp_path):
    need_nextpnr()
    plain = place(COUNTER, "count", dsp=False, device="25k", seeds=(1, 2, 3), cache=tmp_path)
    assert plain.ffs == 8 and plain.ffs_around == 4 and plain.dsps == plain.brams == 0
    assert 8 <= plain.luts <= 40
    assert plain.fmax_mhz == sorted(plain.fmax_by_seed.values())[1]
    assert 50 < plain.fmax_mhz < 700
    assert list(plain.fmax_by_seed) == ["1", "2", "3"]


def test_a_placement_is_kept_and_given_again(tmp_path, monkeypatch):
    need_nextpnr()
    wanted = {"dsp": True, "device": "25k", "cache": tmp_path}
    first = place(COUNTER, "count", seeds=(5,), **wanted)

    def no_synthesis(*_, **__):
        raise AssertionError("mapped once more")

    monkeypatch.setattr(ecp5, "_synthesize", no_synthesis)
    assert place(COUNTER, "count", seeds=(5,), **wanted) == first
    with pytest.raises(AssertionError, match="once more"):
        place(COUNTER, "count", seeds=(6,), **wanted)


def test_a_design_that_does_not_fit_is_refused(tmp_path):
    need_nextpnr()
    products = 29  # and 28 multiplier blocks
    names = [f"p{i}" for i in range(products)]
    many = "\n".join(
        [
            f"module many(clk, a, b, {', '.join(names)});",
            *("  input clk;", "  input [17:0] a;", "  input [17:0] b;"),
            *(f"  output [35:0] {name};\n  reg [35:0] {name};" for name in names),
            *(f"  always @(posedge clk) {name} <= a * (b ^ {i});" for i, name in enumerate(names)),
            "endmodule\n",
        ]
    )
    with pytest.raises(SynthesisError, match=r"nextpnr failed: .*ERROR"):
        place(many, "many", dsp=True, device="25k", seeds=(1,), cache=tmp_path)


def test_a_design_without_a_path_has_no_clock(tmp_path):
    need_nextpnr()
    wires = COUNTER.replace("always @(posedge clk) total <= total + step * step;", "").replace(
        "reg [7:0] total;", "assign total = 8'd0;"
    )
    with pytest.raises(SynthesisError, match="no path between registers"):
        place(wires, "count", dsp=False, device="25k", seeds=(1,), cache=tmp_path)


def test_without_nextpnr_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(ecp5.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(ecp5.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit) as exit_:
        fpga.main(["float12"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert "nextpnr-ecp5 is not installed" in error and "pip install 'fmaq[fpga]'" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no configuration was named"),
        (["float13x"], "no configuration called 'float13x'"),
        (["float12", "--array", "4"], "write ROWSxCOLS"),
        (["float12", "--array", "5x5"], "not a multiple of rows 5"),
        (["float12", "--results"], "--results has its own rows"),
    ],
)
def test_what_cannot_be_asked_is_answered_in_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        fpga.main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_command_prints_what_was_placed(monkeypatch, capsys):
    calls = []

    def placed(verilog, top, *, dsp, device, seeds, cache, kept=()):
        calls.append((top, dsp, device, tuple(seeds), tuple(kept)))
        if top == "array" and device == "25k":
            raise SynthesisError("too large")
        return ecp5.Placement(
            device=device,
            dsp=dsp,
            luts=100,
            ffs=12,
            ffs_around=30,
            dsps=int(dsp),
            brams=0,
            fmax_mhz=55.5,
            fmax_by_seed={"1": 55.5},
            versions={},
        )

    monkeypatch.setattr(fpga, "place", placed)
    assert fpga.main(["float12", "--hardwired", "--stages", "0", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["placement"]["dsp"] for row in rows] == [True, False]
    assert {row["command"] for row in rows} == {"python -m hw.cost.fpga float12 --hardwired --stages 0"}
    assert calls == [("mac", True, "25k", (1, 2, 3), ()), ("mac", False, "25k", (1, 2, 3), ())]
    calls.clear()
    assert fpga.main(["float8", "--array", "2x2"]) == 0
    out = capsys.readouterr().out
    assert "float8: 2x2 array, 1 stages, with multiplier blocks: 100 LUT4" in out and "ECP5-85k" in out
    assert [call[2] for call in calls] == ["25k", "85k"]
    assert calls[0][4] == ("array_chunk_adder", "array_mac")

"""Areas over the clock, pipeline stages for a clock, and the page that is made of both."""

from dataclasses import asdict
from itertools import pairwise

import pytest

from golden.catalog import find
from golden.config import MAX_STAGES, ConfigError
from hw.cost import curve, timing_results
from hw.cost.cells import builtin_library
from hw.cost.check import NetlistError
from hw.cost.curve import ClockPoint, clock_curve, curve_chart, map_mac
from hw.cost.mapping import CACHE, map_flat
from hw.cost.stages import choose_stages
from hw.cost.synth import golden_vectors
from hw.cost.technologies import TECHNOLOGIES
from hw.cost.timing_page import figures, section
from hw.cost.trials import VARIANTS, full_adder, trial
from hw.mac import Mac
from hw.verilog import verilog_text
from tests.timing_tools import need_timer, technology


def point(clock_ps, delay_ps, um2):
    """A point without a netlist."""
    return ClockPoint(
        clock_ps=clock_ps, delay_ps=delay_ps, um2=um2, nand2=um2 / 2, recipe="array", timer="OpenSTA"
    )


def test_a_curve_falls_from_the_fastest_to_the_smallest(monkeypatch):
    """Made-up netlists: a slower clock never costs more, even where the search was less lucky there."""
    asked = []

    def mapped(silicon, stages, library, clock_ps, cache):
        asked.append(clock_ps)
        if clock_ps is None:
            return point(1600, 1600, 100.0)
        if clock_ps < 400:
            return point(clock_ps, 400, 300.0)
        return point(clock_ps, clock_ps - 1, 500.0 if clock_ps == 800 else 200.0 - clock_ps / 100)

    monkeypatch.setattr(curve, "map_mac", mapped)
    points = clock_curve(find("int8").silicon, 0, None, steps=5)
    assert asked[0] is None
    assert [each.clock_ps for each in points] == pytest.approx([400, 400 * 2**0.5, 800, 800 * 2**0.5, 1600])
    assert all(each.met for each in points)
    assert all(fast.um2 >= slow.um2 for fast, slow in pairwise(points))
    assert points[0].um2 == 300 and points[2].um2 == points[1].um2 and points[-1].um2 == 100


def test_the_number_of_stages_is_the_cheapest_that_meets_the_clock(monkeypatch):
    made = {0: (1200, 90.0), 1: (900, 110.0), 2: (700, 105.0)}

    def mapped(silicon, stages, library, clock_ps, cache):
        return point(clock_ps, *made[stages])

    monkeypatch.setattr("hw.cost.stages.map_mac", mapped)
    silicon = find("int8").silicon
    assert choose_stages(silicon, None, 1300).stages == 0
    assert choose_stages(silicon, None, 1000).stages == 2  # faster than needed, and still smaller
    assert choose_stages(silicon, None, 650).stages is None
    assert sorted(choose_stages(silicon, None, 1300).points) == list(range(MAX_STAGES + 1))
    assert list(choose_stages(silicon, None, 800).points) == [2, 1]  # no stage at all would be slower still


def test_a_real_curve_point_is_proved(monkeypatch):
    need_timer()
    library = technology("sky130hd")
    silicon = find("int6-wrap").silicon
    found = map_mac(silicon, 0, library, None)
    assert found.met and found.clock_ps == found.delay_ps

    def wrong(silicon):
        vectors = golden_vectors(silicon)
        vectors.result[0] ^= 1
        return vectors

    monkeypatch.setattr(curve, "golden_vectors", wrong)
    with pytest.raises(NetlistError, match="differs from golden in 1 of"):
        map_mac(silicon, 0, library, None)


def results():
    """A results file of made-up netlists."""
    points = [asdict(point(1000, 990, 200.0)), asdict(point(2000, 1500, 150.0))]
    rows = {
        name: {"stages": stages, "points": {"0": asdict(point(1200, delay, um2))}}
        for name, stages, delay, um2 in (
            ("float32-px", 0, 1100, 400.0),
            ("int8", 0, 900, 100.0),
            ("x", None, 1300, 7.0),
        )
    }
    timers = [{"config": "int8", "timer_ps": 100.0, "registers_ps": 10.0, "abc_ps": 80.0}]
    variants = {"as it is": {"um2": 50.0, "delay_ps": 900}, "clock gate": {"um2": 45.0, "delay_ps": 800}}
    moved = {"clock_ps": 700, "as it is": variants["as it is"], "retimed": {"um2": 70.0, "delay_ps": 690}}
    trials = [{"config": "int8", "stages": 1, "variants": variants, "retimed": moved}]
    return {
        "command": "python -m hw.cost.timing_results",
        "vectors": 65536,
        "baseline": "float32-px",
        "versions": {"timer": "OpenSTA 1", "pyosys": "0"},
        "technologies": {
            "asap7": {
                "what": "7 nm",
                "curves": {"int8": points},
                "stages": {"1.2": rows},
                "timers": timers,
                "trials": trials,
            }
        },
    }


def test_the_page_says_what_was_measured():
    page = section(results())
    assert page.startswith("## Timing")
    assert "| `int8` | 200.0 at 1.00 | 150.0 at 2.00 | -25% |" in page
    assert "| `int8` | 100.0 | 0 | 100.0 | 50 | -75.0% |" in page
    assert "| `x` | 7.0 (1.30) | none | | | |" in page
    assert "0.80 to 0.80 times that of OpenSTA 1" in page
    assert "| `int8` | 1 | 50.0 (+0.0%), 0.90 | 45.0 (-10.0%), 0.80 |" in page
    assert "at 0.7 ns, ABC's retiming of the inner registers makes 70.0 um2 and 0.69 ns of 50.0 um2" in page


def test_trials_use_the_cells_that_they_are_named_after():
    need_timer()
    library = technology("sky130hd")
    assert full_adder(library)[0] == "sky130_fd_sc_hd__fa_1"
    verilog = verilog_text(Mac(find("int6-wrap").silicon, 0, events=False), "mac")
    plain, adders, gate = (trial(verilog, "mac", library, each) for each in (VARIANTS[0], *VARIANTS[-2:]))
    least = map_flat(verilog, "mac", library, CACHE).recipe_um2["array"]
    assert plain.um2 == pytest.approx(least, abs=0.01)
    assert adders.um2 != plain.um2
    # Six enables of 10.0 um2 make way for one clock gate of 17.5.
    assert gate.um2 == pytest.approx(plain.um2 - 6 * (30.0288 - 20.0192) + 17.5168, abs=0.01)
    with pytest.raises(ConfigError, match="has no full adder"):
        full_adder(builtin_library())


def test_the_chart_has_a_line_for_each_configuration():
    (name, svg), *others = figures(results()).items()
    assert name == "timing-asap7.svg" and not others
    assert svg.count("<polyline") == 1 and svg.count("<circle") == 2 and ">int8</text>" in svg
    assert svg == figures(results())[name]
    two = curve_chart({"a": [point(1, 1, 1.0)], "b&c": [point(2, 2, 3.0)]}, "t")
    assert two.count("<polyline") == 2 and "b&amp;c" in two


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("timing_report", ["float12", "--tech", "builtin"], "areas only"),
        ("timing_report", ["float12", "--sweep", "--clock", "3"], "leave out --clock 3"),
        ("timing_report", ["float12", "--tech", "tsmc5"], "no technology called 'tsmc5'"),
        ("stages", ["float12"], "required: --clock"),
        ("stages", ["floot12", "--clock", "5"], "did you mean"),
        ("curve", ["float12", "--steps", "1"], "makes no curve"),
        ("curve", ["float12", "--tech", "asap7", "--liberty", "a.lib"], "two libraries"),
    ],
)
def test_what_cannot_be_asked_is_answered_in_one_sentence(module, arguments, message, capsys):
    command = __import__(f"hw.cost.{module}", fromlist=["main"])
    with pytest.raises(SystemExit) as exit_:
        command.main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_results_command_names_its_clocks():
    assert set(timing_results.CLOCKS_NS) == set(TECHNOLOGIES)
    assert all(find(name) for name in timing_results.CONFIGS)

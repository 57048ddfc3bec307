"""Gates counted on paper, the MACs of the first issue, and the table of the literature."""

import json
from dataclasses import replace
from math import ceil, log2

import numpy as np
import pytest

from golden.catalog import find
from golden.config import ConfigError
from golden.formats import parse_format
from golden.stimulus import mac_vectors
from hw.cost.baseline import FIRST_LOOP, FirstLoopMac, first_loop_verilog
from hw.cost.cells import builtin_library
from hw.cost.check import MIN_VECTORS, NetlistError, Replayer, check_mac
from hw.cost.gates import COMPONENTS, PUBLISHED_SAVING, AlignedWidth, Reading, gates, readings, saving
from hw.cost.mapping import CACHE, map_flat
from sim.literature import __main__ as command
from sim.literature import page, sentences
from sim.literature.fpga_page import section as fpga_section
from sim.literature.measure import check_element
from sim.literature.rows import GROUPS, analytic_formats, designs

LIBRARY = builtin_library()
FP8 = parse_format("e3m4")


def reading(width, xor=1, incrementer=False):
    return Reading(width=width, xor=xor, incrementer=incrementer)


def test_gates_of_a_case_counted_by_hand():
    # e2m1 operands into e3m2; an XOR is one gate, so a half adder has 2, a full adder 5, a multiplexer 3.
    count = gates(
        parse_format("e2m1"), parse_format("e3m2"), reading(AlignedWidth.ACCUMULATOR, incrementer=True)
    )
    assert count == {
        "exponent adder": 5 + 2,  # two bits
        "exponent difference": 2 * 5 + 2,  # three bits: the sum of two exponents of two bits has three
        "exponent maximum": 3 * 3,
        "multiplier": 4 + (5 + 2),  # four ANDs, one row of two bits
        "sorting": 2 * 3 * 3,  # two significands of three bits
        "alignment": 3 * 5 * 3,  # three stages of five places
        "adder": (4 * 5 + 2) + 5,  # and an XOR at each place
        "leading zeros": 2 * 5 + 3,
        "normalisation": 3 * 5 * 3,
        "exponent correction": 2 * 5 + 2,
        "rounding": 3 * 2,
    }
    assert tuple(count) == COMPONENTS


@pytest.mark.parametrize(
    ("width", "places"),
    [
        (AlignedWidth.ACCUMULATOR, 10),
        (AlignedWidth.WIDER_ADDEND, 12),
        (AlignedWidth.SIDE_BY_SIDE, 19),
        (AlignedWidth.DOUBLE, 17),
        (AlignedWidth.FUSED, 28),
    ],
)
def test_aligned_widths_of_the_papers_accumulator(width, places):
    assert width.of(4, 7) == places
    count = gates(FP8, parse_format("e4m7"), reading(width, xor=2))
    assert count["alignment"] == 3 * places * ceil(log2(places))
    assert count["multiplier"] == 25 + 4 * (4 * 7 + 3)


def test_every_reading_is_counted_once_and_the_papers_figure_is_among_them():
    found = list(readings())
    assert len(set(found)) == len(found) == len(AlignedWidth) * 3 * 2
    savings = [saving(FP8, parse_format("e4m7"), parse_format("e8m23"), each) for each in found]
    assert min(savings) < PUBLISHED_SAVING < max(savings)
    wider = [saving(FP8, parse_format("e5m10"), parse_format("e8m23"), each) for each in found]
    assert all(sixteen < twelve for sixteen, twelve in zip(wider, savings, strict=True))
    assert saving(FP8, parse_format("e4m7"), parse_format("e4m7"), found[0]) == 0


def test_the_first_loops_macs_are_those_that_the_table_has():
    rows = {design.source for design in designs() if design.group == "first-loop"}
    assert rows == set(FIRST_LOOP)
    with pytest.raises(ConfigError, match="no MAC 'float13' with 1 stages was kept"):
        first_loop_verilog("float13", 1)


@pytest.mark.parametrize(("name", "stages"), [("float12", 2), ("float8", 0)])
def test_the_first_loops_macs_compute_what_golden_does(name, stages):
    silicon = find(name.replace("_", "-")).silicon
    netlist = map_flat(first_loop_verilog(name, stages), "mac", LIBRARY, CACHE).verilog
    golden = mac_vectors(silicon.config, MIN_VECTORS, 1, hardwired=False)
    check_mac(Replayer(LIBRARY), netlist, FirstLoopMac(silicon, stages), golden)
    golden.result[-1] ^= 1
    with pytest.raises(NetlistError, match="differs from golden in 1 of"):
        check_mac(Replayer(LIBRARY), netlist, FirstLoopMac(silicon, stages), golden)


def test_the_restated_element_computes_what_golden_does():
    (design,) = (design for design in designs() if design.source.endswith(".v"))
    text = (command.ROOT / "sim" / "literature" / design.source).read_text()
    netlist = map_flat(text, "mac", LIBRARY, CACHE).verilog
    assert check_element(netlist, design.config, LIBRARY, seed=1) > 10_000
    wrong = map_flat(text.replace("propagate ? second", "!propagate ? second"), "mac", LIBRARY, CACHE)
    with pytest.raises(NetlistError, match="the restated element is wrong in"):
        check_element(wrong.verilog, design.config, LIBRARY, seed=1)


def test_rows_are_in_groups_and_have_keys_of_their_own():
    rows = designs()
    assert len({design.key for design in rows}) == len(rows)
    assert [group for group in GROUPS if any(design.group == group for design in rows)] == list(GROUPS)
    assert all(design.key.startswith(f"{design.group}/") for design in rows)
    integers = {design.config.accumulator.name for design in rows if design.group == "integer"}
    assert integers == {f"int{bits}_floor_{how}" for bits in (32, 24, 20, 16, 12) for how in ("sat", "wrap")}
    assert set(analytic_formats()) == {d.key for d in rows if d.group in ("float", "e4m3")}


def made_up(**changes) -> dict:
    """Results with made-up figures: 100 gate equivalents a bit of the accumulator, and changes to some."""
    rows = []
    for design in designs():
        for technology in ("sky130hd", *(["asap7"] if design.asap7 else [])):
            nand2 = changes.get(design.key, 100.0 * design.config.accumulator.format.code_bits)
            rows.append(
                {
                    "key": design.key,
                    "group": design.group,
                    "label": design.label,
                    "technology": technology,
                    "stages": 1,
                    "met": design.key != "float/float32",
                    "um2": 3.7536 * nand2,
                    "nand2": nand2,
                    "delay_ps": 12_345.0,
                    "energy_pj": None if design.group == "others" else nand2 / 1000,
                    "glitch_pj": None if design.group == "others" else 0.5,
                }
            )
    return {
        "meta": {
            "clock_ps": {"sky130hd": 10_000.0, "asap7": 1500.0},
            "stimulus": "uniform",
            "seed": 0,
            "timer": "a timer",
            "groups": GROUPS,
        },
        "rows": rows,
        "analytic": command._analytic(),
        "claims": command._claims(rows),
        "same_flow": [],
        "same_flow_reference": command.asdict(command.SAME_FLOW_REFERENCE),
    }


@pytest.mark.parametrize(
    ("areas", "verdict"),
    [
        ({"float/float12": 370, "float/float12-px": 375}, "yes"),
        ({"float/float12": 400, "float/float12-px": 500}, "it is too much"),
        ({"float/float12": 300, "float/float12-px": 340}, "it is too little"),
        ({"float/float12": 300, "float/float12-px": 500}, "that depends on the product"),
    ],
)
def test_whether_63_per_cent_is_right_follows_from_the_figures(areas, verdict):
    results = made_up(**areas, **{"float/float32": 1000, "float/float32-px": 1000})
    text = sentences.is_63_right(results)
    assert f"Is 63 % right? By our netlists{',' if verdict == 'yes' else ''} {verdict}:**" in text
    assert f"{100 - areas['float/float12'] / 10:.0f} % with the product rounded" in text
    assert "include the paper's figure" in text


def test_the_section_has_every_row_and_says_which_miss_the_clock():
    results = made_up(**{"exact/exact": 999_999})
    text = page.section(json.loads(json.dumps(results)))
    for design in designs():
        assert f"| {design.label}" in text, design.key
    assert "| FP32, e8m23, product rounded to it (misses the clock) | 1 | 12.3 |" in text
    assert "999 999" in text
    assert "| 1.20 | −62 % | 1.70 |" in text  # M7E4's energy, over FP32's, with glitches
    assert "is smaller than an exact one" in text
    doubled = page.section(made_up(**{"exact/exact": 2400}))
    assert "the exact sum +100 % area, +100 % energy (+71 % with glitches)" in doubled
    assert "is not even smaller" in page.section(made_up(**{"exact/exact": 1}))
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {5, 6, 9, 14}  # four tables, every line of which has its columns
    for claim in results["claims"]:
        assert claim["source"] in text


def test_a_claim_is_measured_by_its_rows():
    by_paper = next(claim for claim in made_up()["claims"] if "63 %" in claim["published"])
    assert by_paper["measured"] == 12 / 32
    assert next(claim for claim in made_up()["claims"] if claim["ours"] is None)["measured"] is None


def test_what_cannot_be_asked_is_answered_in_one_sentence(capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main(["--rows", "float/float13"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert "there is no row 'float/float13'; rows are float/float32," in error and error.count("\n") == 1


def test_the_page_of_the_fpga_compares_what_was_placed():
    def row(config, luts, mhz, *, dsp, side=1):
        placement = {
            "device": "25k",
            "dsp": dsp,
            "luts": luts,
            "ffs": 12,
            "dsps": int(dsp),
            "brams": 0,
            "fmax_mhz": mhz,
            "fmax_by_seed": {"1": mhz, "2": mhz},
            "versions": {"nextpnr-ecp5": "1"},
        }
        return {
            "config": config,
            "hardwired": False,
            "stages": 1,
            "rows": side,
            "cols": side,
            "placement": placement,
        }

    luts = {"float32": 1000, "float12": 400, "int32": 500, "int12": 300, "exact": 200}
    rows = [row(name, n, 50.0, dsp=dsp) for name, n in luts.items() for dsp in (True, False)]
    text = fpga_section({"rows": [*rows, row("float12", 7777, 33.3, dsp=True, side=4)]})
    assert "takes 60 % fewer LUTs than one of float32" in text
    assert "12-bit integers take 40 % fewer" in text
    assert "0.50 times the LUTs of the 12-bit float" in text
    assert "Arrays of 4x4" in text and "| `float12` | ECP5-25k | 7777 | 12 | 1 | 0 | 33.3 |" in text


def test_random_words_of_stochastic_rows_are_as_wide_as_they_say():
    rows = {design.key: design for design in designs()}
    for bits in (2, 4, 8):
        accumulator = rows[f"rounding/float12-sr{bits}"].config.accumulator
        assert accumulator.random_bits == bits
        plain = find("float12").accumulator
        assert replace(accumulator, rounding=plain.rounding, random_bits=None) == plain
    assert np.unique([rows[f"exact/range{n}"].config.accumulator.format.lsb for n in (30, 24, 20)]).size == 1

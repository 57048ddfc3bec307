"""What is exported of a sweep, and the sentences that are made of it."""

import json

import numpy as np
import pytest

from golden.catalog import find
from golden.config import ConfigError
from sim.evaluate import packed
from sim.sweep import answer, page
from sim.sweep.export import export, export_text
from sim.sweep.items import Needs
from sim.sweep.space import read_space
from sim.sweep.store import Store

SPACE = """
[[network]]
name = "digits"
images = 1000
[[space]]
configs = ["float32-px", "float12", "float8"]
stages = "search"
clock_ns = 5
[[space]]
configs = "float8"
offsets = "wired"
"""
N = 1000


class FixedCode:
    """Fingerprints of a code that never changes."""

    @staticmethod
    def accuracy(_config) -> str:
        return "accuracy"

    @staticmethod
    def cost() -> str:
        return "cost"


def right(count: int) -> dict:
    """The result of a network that gets the first so many of 1000 images right."""
    return {"n": N, "correct": packed(np.arange(N) < count), "setting": None, "layers": []}


def cost(um2: float, stages: int, met: bool) -> dict:
    return {
        **{"um2": um2, "nand2": um2 / 4, "cells": 10, "stages": stages, "met": met, "delay_ps": 4000.0},
        **{
            "fmax_mhz": 250.0,
            "energy_pj": um2 / 1000,
            "glitch_pj": 1.0,
            "leakage_uw": 0.5,
            "timer": "OpenSTA",
            "recipe": "booth",
        },
        **{
            "stimulus": "none",
            "vectors": 65536,
            "parts": {"adder": um2},
            "energy_parts": {"adder": um2 / 1000},
        },
        **{"critical": {"adder": 3000.0}, "versions": {"pyosys": "0"}},
    }


@pytest.fixture
def needs(tmp_path) -> Needs:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return Needs(read_space(path), FixedCode, cost=True, accuracy=True)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store.sqlite") as made:
        yield made


@pytest.fixture
def filled(needs, store):
    """Float12 loses 0.1 points and needs a stage; float8 loses 0.7."""
    (network,) = needs.space.networks
    wide, middle, narrow, _ = needs.space.points
    store.add(needs.float32(network), {**right(905), "longest_sum": 64}, 1.0)
    store.add(needs.reference(find("float12"), network), right(900), 1.0)
    for point, count in ((wide, 900), (middle, 899), (narrow, 893)):
        store.add(needs.accuracy(point.config, network, None), right(count), 1.0)
    for point, stages, clock, um2, met in (
        *((wide, 0, None, 4900.0, None), (wide, 0, 5000, 5000.0, True)),
        *((middle, 0, None, 1500.0, None), (middle, 0, 5000, 1900.0, False)),
        *((middle, 1, 5000, 2000.0, True), (middle, 2, 5000, 2100.0, True)),
        *((narrow, 0, None, 990.0, None), (narrow, 0, 5000, 1000.0, True)),
    ):
        store.add(needs.cost(point, None, stages, clock), cost(um2, stages, met), 1.0)
    return export(needs, store)


def test_a_point_has_all_that_is_known_of_it(filled):
    wide, middle, narrow, wired = filled["points"]
    assert middle["stages"] == 1 and middle["um2"] == 2000.0 and middle["met"]
    assert middle["accuracy"] == {"digits": 89.9}
    assert middle["loss"] == {"digits": 0.1}
    low, high = middle["interval"]["digits"]
    assert low < 0.1 < high
    assert narrow["throughput_per_area"] == pytest.approx(200 / 1000)  # at the clock that was asked for
    assert wired["label"] == "float8 wired" and wired["um2"] is None and wired["accuracy"] == {}
    assert wide["loss"]["digits"] == 0
    assert filled["meta"]["missing"] == {"cost": 1, "accuracy": 1}
    assert filled["meta"]["networks"]["digits"]["float32"] == 90.5
    assert filled["meta"]["references"] == {"e3m4": {"digits": 90.0}}
    assert len({point["id"] for point in filled["points"]}) == 4


def test_commands_name_what_they_make(filled):
    middle, wired = filled["points"][1], filled["points"][3]
    assert middle["commands"]["generate"] == (
        f"python -m hw.generate --config {find('float12').name} --rows 16 --stages 1 -o generated"
    )
    assert "e3m4_e3m4_p_e4m7_rz_a_e4m7_rz_c16_r16x16_s1_d64_tb.v" in middle["commands"]["test"]
    assert middle["commands"]["evaluate"].endswith(f"--only {find('float12').name} --accuracy-only")
    assert wired["commands"] == {}  # no offset is known


def test_the_text_is_json_with_a_line_a_point(needs, store):
    text = export_text(needs, store)
    assert json.loads(text)["points"][0]["label"] == "float32-px"
    assert sum(line.startswith('{"id"') for line in text.splitlines()) == 4


def test_sentences_name_the_smallest_that_loses_no_more(filled):
    tenth, half, one = answer.sentences(filled)
    assert tenth.startswith("For at most 0.1 points lost against float32 accumulators build `float12`")
    assert "1 stage inside" in tenth and "2000 µm²" in tenth and "at 5 ns, 2.00 pJ" in tenth
    assert "60 % less area and 60 % less energy" in tenth
    assert "points lost: +0.10 on digits (1000 images; 95 % interval" in tenth
    assert half == (
        "For at most 0.5 points lost the answer is the same, `float12`: of what is smaller, `float8` "
        "(1000 µm²) loses least, 0.70 points on digits."
    )
    assert one.startswith("For at most 1 point lost") and "`float8`" in one and "80 % less area" in one


def test_a_loss_that_none_keeps_is_said(filled):
    for point in filled["points"]:
        point["loss"] = {name: 3.0 for name in point["loss"]}
    assert answer.sentences(filled)[0] == (
        "For at most 0.1 points lost none of the accumulators of this sweep will do."
    )


def test_what_misses_the_clock_or_a_network_is_no_choice(filled):
    points = {point["label"]: point for point in filled["points"]}
    points["float8"]["met"] = False
    assert answer.choices(filled, "e3m4", (1.0,))[0].smallest is points["float12"]
    points["float12"]["loss"] = {}
    assert answer.choices(filled, "e3m4", (1.0,))[0].smallest is points["float32-px"]
    points["float32-px"]["met"] = False
    with pytest.raises(ConfigError, match="no float32 accumulator under e3m4"):
        answer.choices(filled, "e3m4")


def test_the_table_has_a_row_for_each_choice(filled):
    lines = answer.table(filled).splitlines()
    assert len(lines) == 2 + 1 + 2 * len(answer.LOSSES)
    assert all(line.count("|") == lines[0].count("|") for line in lines)


def test_pages_quote_sentences_table_and_how_they_were_made(filled):
    text = page.section(filled)
    assert text.startswith("## Which accumulator to build\n")
    for sentence in answer.sentences(filled):
        assert f"* {sentence}\n" in text and f"* {sentence}\n" in page.quotation(filled)
    assert answer.table(filled) in text
    assert "4 designs of 3 configurations, " in text and "judged on digits (1000 images)" in text
    for words in (text, page.quotation(filled)):
        assert "One image of digits is 0.1 points" in words
    assert "Seed 0; stimulus none; " in text
    drawn = page.figures(filled)
    assert set(drawn) == {"sweep.svg", "explorer.html"} and "(results/sweep.svg)" in text

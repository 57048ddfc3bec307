"""The explorer without a browser: exports good and bad, the page's text, fronts, the summary, the command."""

import copy
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from golden.config import ConfigError
from sim.explorer.axes import AXES
from sim.explorer.export import default_view, read_export, tidy
from sim.explorer.front import best_within, pareto_front
from sim.explorer.page import explorer_page
from sim.explorer.summary import FIGURE, shown_points, summary
from tests.explorer_cases import BETTER, HOSTILE, NETWORKS, export, figure, front, shown, worst_loss

ROOT = Path(__file__).resolve().parent.parent
EXPORT = export()


def data_of(page: str) -> dict:
    """What the page's script reads."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page).group(1))


def test_the_axes_are_those_whose_better_end_is_known():
    assert {axis.key: axis.better for axis in AXES} == BETTER


@pytest.mark.parametrize("network", ["digits", "ResNet-20"])
@pytest.mark.parametrize("x", BETTER)
@pytest.mark.parametrize("y", ["accuracy", "energy_pj", "fmax_mhz"])
def test_fronts_are_those_of_a_comparison_of_each_with_each(x, y, network):
    if x == y:
        return
    found = pareto_front(EXPORT["points"], x, y, network)
    assert {point["id"] for point in found} == front(EXPORT["points"], x, y, network)
    xs = [figure(point, x, network) for point in found]
    assert xs == sorted(xs)


def test_points_of_equal_figures_are_on_the_front_together():
    point = {"um2": 1.0, "accuracy": {"n": 90.0}}
    points = [{"id": "a", **point}, {"id": "b", **point}, {"id": "c", **point, "um2": 2.0}]
    assert [each["id"] for each in pareto_front(points, "um2", "accuracy", "n")] == ["a", "b"]


@pytest.mark.parametrize("limit", [-1, 0.1, 0.5, 1, 100])
def test_the_best_design_is_the_cheapest_that_loses_little(limit):
    enough = [p for p in EXPORT["points"] if worst_loss(p) <= limit]
    best = best_within(EXPORT["points"], limit, "um2", list(NETWORKS))
    assert (best is None) == (not enough)
    if enough:
        assert best["um2"] == min(point["um2"] for point in enough)
        assert best in enough
        swift = best_within(EXPORT["points"], limit, "throughput_per_area", list(NETWORKS))
        assert swift["throughput_per_area"] == max(point["throughput_per_area"] for point in enough)


def test_a_loss_of_as_much_as_may_be_lost_is_allowed():
    point = {"um2": 1.0, "loss": {"n": 100 * (0.917 - 0.916)}}
    assert point["loss"]["n"] > 0.1  # by rounding alone
    assert best_within([point], 0.1, "um2", ["n"]) is point


def test_the_page_holds_the_data_and_nothing_in_it_is_markup():
    page = explorer_page(tidy(EXPORT))
    assert page == explorer_page(tidy(copy.deepcopy(EXPORT)))
    data = data_of(page)
    assert data["points"][0]["label"] == HOSTILE
    assert data["meta"]["notes"] == [HOSTILE]
    assert len(data["points"]) == len(EXPORT["points"])
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert not re.search(r"\{\{(title|style|script|data)\}\}", page)


def test_the_page_names_no_other_place():
    page = explorer_page(tidy(EXPORT))
    assert re.findall(r"https?://[^\"'\s]+", page) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=[\"'](?!data:,)", page)


def test_a_title_is_escaped():
    page = explorer_page(tidy({"meta": {"title": "<b>&"}, "points": [{"id": 1}]}))
    assert "<title>&lt;b&gt;&amp;</title>" in page


def test_figures_that_are_no_numbers_are_absent_ones():
    points = [{"id": 1, "um2": math.nan, "energy_pj": math.inf, "accuracy": {"n": -math.inf}, "bits": 12}]
    (point,) = tidy({"points": points})["points"]
    assert point["um2"] is point["energy_pj"] is point["accuracy"]["n"] is None
    assert point["bits"] == 12
    assert point["id"] == point["label"] == "1"
    json.loads(json.dumps(data_of(explorer_page(tidy({"points": points}))), allow_nan=False))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "points"),
        ('{"points": 3}', "points"),
        ('{"points": []}', "no points yet"),
        ('{"points": [{}], "meta": 3}', "meta must be an object"),
        ('{"points": [3]}', "point 0 must be an object"),
        ('{"points": [{"id": "a", "um2": "12"}]}', "um2 of point a must be a number"),
        ('{"points": [{"id": "a", "um2": true}]}', "um2 of point a must be a number"),
        ('{"points": [{"id": "a", "label": 3}]}', "label of point a must be text"),
        ('{"points": [{"id": "a", "accuracy": 90}]}', "accuracy of point a must be an object"),
        ('{"points": [{"id": "a", "met": "yes"}]}', "met of point a must be true, false or null"),
        ('{"points": [{"id": "a", "interval": {"n": 3}}]}', "interval of n of point a must be [low, high]"),
        ('{"points": [{"id": "a", "commands": {"test": 3}}]}', "command test of point a must be text"),
        ('{"points": [{"id": "a"}, {"id": "a"}]}', "2 points have the id a"),
    ],
)
def test_what_is_no_export_is_refused_in_one_sentence(tmp_path, text, words):
    path = tmp_path / "export.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        read_export(path)
    assert "\n" not in str(caught.value)


def test_a_first_view_mixes_neither_clocks_nor_technologies():
    view = default_view(EXPORT["points"])
    assert view == {"network": "ResNet-20", "technology": "sky130hd", "clock_ns": 5.0}
    assert [point["id"] for point in shown_points(tidy(EXPORT))[0]] == [
        p["id"] for p in shown(EXPORT["points"])
    ]


def test_a_first_view_of_what_is_there():
    assert default_view([{"id": "a"}]) == {"network": None, "technology": None, "clock_ns": None}
    missed = {"um2": 1.0, "technology": "t", "clock_ns": 2.0, "met": False}
    relaxed = {"um2": 1.0, "technology": "t", "clock_ns": None, "met": None}
    assert default_view([missed, relaxed])["clock_ns"] == 2.0
    assert default_view([missed, missed, missed | {"clock_ns": 4.0, "met": True}])["clock_ns"] == 4.0


def test_the_summary_shows_the_front():
    tidied = tidy(EXPORT)
    text, figures = summary(tidied)
    assert summary(tidied) == (text, figures)
    assert f"]({FIGURE})" in text
    assert figures[FIGURE].startswith("<svg")
    points = shown(EXPORT["points"])
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    close = max(p["accuracy"].get("ResNet-20", 0) for p in points) - 5
    names = front(points, "um2", "accuracy", "ResNet-20")
    on_front = {p["label"] for p in points if p["id"] in names and p["accuracy"]["ResNet-20"] >= close}
    assert {re.match(r"\| `(.*?)`", row).group(1) for row in rows} == on_front


@pytest.mark.parametrize(
    "gone", ["accuracy loss", "um2 nand2 energy_pj", "technology clock_ns met", "energy_pj"]
)
def test_the_summary_and_the_page_do_without_what_is_missing(gone):
    points = [{k: v for k, v in point.items() if k not in gone.split()} for point in EXPORT["points"]]
    tidied = tidy({"points": points})
    text, figures = summary(tidied)
    assert text and figures[FIGURE].startswith("<svg")
    assert len(data_of(explorer_page(tidied))["points"]) == len(points)


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "sim.explorer", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_the_command_writes_the_page_and_the_summary(tmp_path):
    (tmp_path / "e.json").write_text(json.dumps(EXPORT))
    done = run("e.json", "-o", "out/page.html", "--summary", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "330 points" in done.stdout
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"page.html", "summary.md", "summary.svg", "summary.png"}
    assert (tmp_path / "out" / "page.html").read_text(encoding="utf-8") == explorer_page(tidy(EXPORT))


@pytest.mark.parametrize("text", [None, "{", '{"points": []}'])
def test_the_command_refuses_in_one_sentence(tmp_path, text):
    if text is not None:
        (tmp_path / "e.json").write_text(text)
    done = run("e.json", "-o", "page.html", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("python -m sim.explorer: error: ")
    assert not (tmp_path / "page.html").exists()

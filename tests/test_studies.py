"""The frame of studies: parts are kept as they come, pages are what the kept results say."""

import json
import re
from pathlib import Path

import pytest

from golden.config import ConfigError
from sim.data import DataError
from sim.studies import NAMES, __main__, find_study
from sim.studies.page import measured, study_page
from sim.studies.runner import read_results, run
from sim.studies.study import Expected, Part, Study
from sim.studies.together import price, read_together, together

ROOT = Path(__file__).resolve().parent.parent


class Toy:
    """A study of two parts that counts how often each is measured."""

    def __init__(self, optional: bool = False):
        self.runs = []
        self.study = Study(
            name="toy",
            title="Toy",
            question="Does it run?",
            parts=(Part("first", self._first), Part("second", self._second, optional=optional)),
            page=lambda data: f"## Table\n\n{len(data)} parts",
            headline=lambda data: f"It gave {data['first']['value']}.",
            answer=lambda data: f"First gave {data['first']['value']}.",
            figures=lambda _: {"toy-plot.svg": "<svg/>"},
            expected=lambda data: [Expected("a|b", "1", str(data["first"]["value"]))],
        )
        self.second = {"value": 2}

    def _first(self, quick, report):
        report("works")
        self.runs.append("first")
        return {"value": 0 if quick else 1}

    def _second(self, quick, report):
        self.runs.append("second")
        if isinstance(self.second, BaseException):
            raise self.second
        return self.second


def test_what_is_kept_is_not_measured_again(tmp_path):
    toy = Toy()
    toy.second = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(toy.study, tmp_path, quick=False)
    assert list(read_results(toy.study, tmp_path)["parts"]) == ["first"]
    toy.second = {"value": 2}
    results = run(toy.study, tmp_path, quick=False)
    assert toy.runs == ["first", "second", "second"]
    assert measured(results) == {"first": {"value": 1}, "second": {"value": 2}}
    run(toy.study, tmp_path, quick=False)
    assert len(toy.runs) == 3
    run(toy.study, tmp_path, quick=False, only=["first"])
    assert toy.runs[3:] == ["first"]
    run(toy.study, tmp_path, quick=False, again=True)
    assert toy.runs[4:] == ["first", "second"]


def test_missing_data_are_said_and_tried_again(tmp_path):
    toy = Toy(optional=True)
    toy.second = DataError("no images; install them")
    results = run(toy.study, tmp_path, quick=False)
    assert measured(results).keys() == {"first"}
    assert "* Part second is missing: no images; install them." in study_page(toy.study, results)
    toy.second = {"value": 2}
    assert measured(run(toy.study, tmp_path, quick=False)).keys() == {"first", "second"}
    assert toy.runs == ["first", "second", "second"]


def test_a_part_that_the_page_needs_ends_the_run(tmp_path):
    toy = Toy()
    toy.second = DataError("no images; install them")
    with pytest.raises(DataError):
        run(toy.study, tmp_path, quick=False)
    assert list(read_results(toy.study, tmp_path)["parts"]) == ["first"]


def test_what_cannot_be_written_is_not_measured(tmp_path):
    toy = Toy()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="name another folder with -o"):
        run(toy.study, tmp_path / "file", quick=False)
    assert not toy.runs


def test_parts_are_kept_in_their_order(tmp_path):
    toy = Toy()
    run(toy.study, tmp_path, quick=False, only=["second"])
    run(toy.study, tmp_path, quick=False)
    assert list(json.loads((tmp_path / toy.study.file).read_text())["parts"]) == ["first", "second"]


def test_the_page_has_the_answer_first_and_escapes_cells(tmp_path):
    toy = Toy()
    text = study_page(toy.study, run(toy.study, tmp_path, quick=True))
    assert text.startswith("# Toy\n\n*Does it run?*\n\nFirst gave 0.\n\n## Table\n\n2 parts\n")
    assert "| a\\|b | 1 | 0 |" in text
    assert "| first | `python -m sim.studies toy --parts first --quick` |" in text
    assert "Small versions, not the full measurement: first, second." in text


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", '{"study": "other", "parts": {}}', '{"study": "toy", "parts": 3}'),
        '{"study": "toy", "parts": {"first": {}}}',
    ],
)
def test_a_file_of_something_else_is_kept(tmp_path, text):
    toy = Toy()
    (tmp_path / toy.study.file).write_text(text)
    with pytest.raises(ConfigError, match="is not a results file of study toy"):
        run(toy.study, tmp_path, quick=False)
    assert (tmp_path / toy.study.file).read_text() == text
    assert not toy.runs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nix"], "there is no study called 'nix'; use chunk, depth, symmetry, denoiser"),
        (["chunk", "--parts", "nix"], "study chunk has no part 'nix'; use "),
        (["chunk", "--threads", "0"], "--threads must be from 1 to 256, not 0"),
        ([], "which study? name one of chunk, depth, symmetry, denoiser, or all"),
        (["chunk", "--parts", ","], "study chunk has no part ''; use "),
        (["chunk", "--page", "--again"], "not allowed with argument"),
        (["chunk", "--page", "-o", "nowhere"], "nowhere/results has no results of law, roundings, "),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_parts_of_all_studies_are_listed(capsys):
    assert __main__.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_pages_are_what_the_kept_results_say(name):
    study = find_study(name)
    results = read_results(study, ROOT / "docs" / "results")
    page, data = ROOT / "docs" / "studies" / f"{name}.md", measured(results)
    assert page.read_text() == study_page(study, results), f"run python -m sim.studies {name} --page"
    figures = study.figures(data)
    assert set(re.findall(r"\]\(([^)]+\.svg)\)", page.read_text())) == figures.keys()
    for file, text in figures.items():
        assert text.startswith("<svg")
        assert (page.parent / file).is_file()
    assert [part.name for part in study.parts] == list(results["parts"])
    assert not any(part["quick"] for part in results["parts"].values())


def test_the_page_over_them_is_what_the_kept_results_say():
    studies, points = read_together(ROOT / "docs" / "results")
    assert (ROOT / "docs" / "studies" / "README.md").read_text() == together(studies, points)
    for name, (study, data) in studies.items():
        assert len(study.answer(data).split("\n\n")) == 1, f"{name}: one paragraph"


def test_software_makes_up_for_what_truncation_takes():
    """The page's conclusion: repaired truncation is as good as rounding to nearest, to a bit."""
    studies, points = read_together(ROOT / "docs" / "results")
    for name, (study, data) in studies.items():
        found = study.bits(data)
        if name != "symmetry":
            assert found.repaired <= found.truncating - 2
            assert found.repaired <= found.nearest + 1
    cost = price(points)
    assert 0 < cost["bit"] < cost["even"]


def test_prices_are_of_the_least_area_that_meets_the_clock():
    point = {
        **{"kind": "float", "technology": "sky130hd", "clock_ns": 8.0, "operands": "e3m4", "exp_bits": 4},
        **{"offsets": "registers", "alignment": None, "met": True, "product": "e4m7_rz"},
    }
    points = []
    for bits in (4, 5, 6):
        for rounding, extra in (("rz", 0), ("rne", 30)):
            made = {**point, "man_bits": bits, "rounding": rounding, "um2": 100 + 20 * bits + extra}
            points += [made, {**made, "um2": made["um2"] + 5}, {**made, "met": False, "um2": 1}]
            points += [{**made, "product": "exact", "um2": 1}, {**made, "offsets": "wired", "um2": 1}]
    cost = price(points)
    assert cost["bit"] == pytest.approx(20)
    assert (cost["even"], cost["count"], cost["middle"]) == (30, 3, 5)
    assert cost["bit_share"] == pytest.approx(20 / 200)

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
from sim.studies.together import together

ROOT = Path(__file__).resolve().parent.parent


class Toy:
    """A study of two parts that counts how often each is measured."""

    def __init__(self):
        self.runs = []
        self.study = Study(
            name="toy",
            title="Toy",
            question="Does it run?",
            parts=(Part("first", self._first), Part("second", self._second)),
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
    toy = Toy()
    toy.second = DataError("no images; install them")
    results = run(toy.study, tmp_path, quick=False)
    assert measured(results).keys() == {"first"}
    assert "* Part second is missing: no images; install them." in study_page(toy.study, results)
    toy.second = {"value": 2}
    assert measured(run(toy.study, tmp_path, quick=False)).keys() == {"first", "second"}
    assert toy.runs == ["first", "second", "second"]


def test_the_page_has_the_answer_first_and_escapes_cells(tmp_path):
    toy = Toy()
    text = study_page(toy.study, run(toy.study, tmp_path, quick=True))
    assert text.startswith("# Toy\n\n*Does it run?*\n\nFirst gave 0.\n\n## Table\n\n2 parts\n")
    assert "| a\\|b | 1 | 0 |" in text
    assert "| first | `python -m sim.studies toy --parts first --quick` |" in text
    assert "Small versions, not the full measurement: first, second." in text


@pytest.mark.parametrize(
    "text", ["", "[]", '{"study": "other", "parts": {}}', '{"study": "toy", "parts": 3}']
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
    ],
)
def test_bad_input_is_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


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
    studies = {name: find_study(name) for name in NAMES}
    kept = {
        name: (study, measured(read_results(study, ROOT / "docs" / "results")))
        for name, study in studies.items()
    }
    assert (ROOT / "docs" / "studies" / "README.md").read_text() == together(kept)
    for name, (study, data) in kept.items():
        assert json.dumps(data)
        assert len(study.answer(data).split("\n\n")) == 1, f"{name}: one paragraph"

"""The report: what it says follows from its rows, and the command is kind to its users."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sim.answer import answer, correct_images, pareto_front
from sim.evaluate import packed
from sim.page import html_page
from sim.readme import QUOTES, README, between, marks
from sim.report import as_csv
from sim.rows import describe, rows_of
from sim.statistics import paired_interval

ROOT = Path(__file__).resolve().parent.parent
IMAGES = 400


def result(right: int, of: int, seed: int) -> tuple[dict, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    correct, reference = (rng.permutation(np.arange(of) < n) for n in (right, of - 10))
    return (
        {
            "n": of,
            "accuracy": float(correct.mean()),
            "float32_accuracy": float(reference.mean()),
            "difference": float(correct.mean() - reference.mean()),
            "interval": list(paired_interval(correct, reference)),
            "correct": packed(correct),
        },
        correct,
        reference,
    )


def made_up_row(name: str, wired: bool, um2: float, right: int) -> dict:
    """A row as the report makes it, of chosen area and accuracy."""
    task, correct, reference = result(right, IMAGES, seed=right)
    return describe(name, wired) | {
        "accuracy": float(correct.mean()),
        "difference": float(correct.mean() - reference.mean()),
        "interval": list(paired_interval(correct, reference)),
        "offset": 3 if wired else None,
        "events": {"overflow": 0.01, "underflow": 0.02, "swamped": 0.03, "chunk_overflow": 0.04},
        "tasks": {"digits": task},
        "denoising": {
            "n": IMAGES,
            "psnr": 18 - (400 - right) / 100,
            "float32_psnr": 18.0,
            "difference": -(400 - right) / 100,
            "interval": [-(400 - right) / 100 - 0.01, -(400 - right) / 100 + 0.01],
        },
        "area": {
            "um2": um2,
            "nand2": um2 / 4,
            "relative": um2 / 6000,
            "vectors": 65536,
            "parts": {"multiplier": um2 / 2, "adder": um2 / 4, "registers": um2 / 4},
        },
    }


@pytest.fixture
def rows():
    return [
        made_up_row("float12", False, 3000, 388),
        made_up_row("float8", False, 2000, 300),
        made_up_row("fixed16", False, 2500, 391),
        made_up_row("int12", False, 2900, 200),
        made_up_row("exact", False, 3300, 392),
        made_up_row("float12", True, 2600, 387),
        made_up_row("float32-px", True, 6000, 390),
    ]


@pytest.fixture
def results(rows):
    return {
        "meta": {
            "title": "A title",
            "provenance": {"seed": 0, "cell library": "cells", "versions": "torch 1"},
            "notes": ["A note."],
        },
        "reference": "float12",
        "baseline": "float32-px wired",
        "tasks": {"digits": {"n": IMAGES}},
        "denoising": {
            "name": "denoised digits",
            "n": IMAGES,
            "sigma": 0.25,
            "noisy_psnr": 12.0,
            "float32_psnr": 18.0,
        },
        "rows": rows,
    }


def test_the_winner_at_equal_area_is_the_most_accurate_that_fits(rows):
    words = answer(rows, "float12").paragraph
    assert "the most accurate is fixed-point, fixed16 (2\u202f500 µm²" in words
    assert "the best float one, float12 (" in words
    assert "the best integer one, int12 (" in words
    assert "none that is exact fits" in words
    smallest = words.partition("The smallest MAC")[2]
    assert smallest.index("fixed16 (") < smallest.index("exact (") < smallest.index("none that is integer")


def test_what_the_images_cannot_tell_apart_is_said(rows):
    against = answer(rows, "float12").paragraph.split("the best ")
    assert "cannot tell them apart" in next(part for part in against if part.startswith("float one"))
    assert "cannot tell them apart" not in next(part for part in against if part.startswith("integer one"))


def test_the_front_has_no_row_that_another_beats(rows):
    assert [row["label"] for row in pareto_front(rows)] == ["float8", "fixed16", "exact"]


def test_the_smallest_that_still_denoises_is_named(rows):
    _, regression = answer(rows, "float12").points
    assert regression.index("fixed16 (") < regression.index("exact (") < regression.index("none that is")
    assert "none that is integer" in regression
    assert "float32-px wired (" in regression  # the only float that loses no more
    assert "float12 loses 0.12 dB" in regression


def test_correct_images_come_back(rows):
    assert correct_images(rows[0]).sum() == 388


def test_the_page_is_self_contained_and_reproducible(results):
    page = html_page(results)
    assert page == html_page(json.loads(json.dumps(results)))
    assert page.count("<svg") == 4
    assert "-0.12 [-0.13, -0.11]" in page  # dB, float12
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    for row in results["rows"]:
        assert f">{row['label']}</td>" in page
        assert f"<code>{row['config']}</code>" in page


def test_csv_has_a_line_a_row(results):
    lines = list(csv.DictReader(io.StringIO(as_csv(results["rows"], ["digits"]))))
    assert [line["label"] for line in lines] == [row["label"] for row in results["rows"]]
    assert float(lines[0]["um2"]) == 3000
    assert float(lines[0]["digits accuracy"]) == 388 / IMAGES
    assert float(lines[0]["denoising psnr"]) == 17.88
    assert float(lines[0]["denoising low"]) < -0.12 < float(lines[0]["denoising high"])


def test_rows_come_with_what_they_are_compared_with():
    assert rows_of(["int12"]) == [
        ("int12", False),
        ("float12", False),
        ("float32-px", False),
        ("float12", True),
        ("float32-px", True),
    ]


def test_no_row_is_there_twice():
    rows = rows_of(None)
    assert len(rows) == len(set(rows))
    assert ("float12", True) in rows


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--fashion", "20000"], "--fashion must be from 0 to 10000, not 20000"),
        (["--jobs", "0"], "--jobs must be from 1 to 256, not 0"),
        (["--rows", "flaot12"], "there is no configuration called 'flaot12'; did you mean float12"),
        (["--liberty", "nowhere.lib"], "nowhere.lib cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(arguments, sentence, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "sim.report", "-o", str(tmp_path / "out"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "out").exists()


def test_a_small_report_from_end_to_end(tmp_path):
    """Digits only, one configuration and what it is compared with: trained, mapped, simulated, written."""
    command = [sys.executable, "-m", "sim.report", "--rows", "fixed8", "--fashion", "0", "-o", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    results = json.loads((tmp_path / "results.json").read_text())
    said = answer(results["rows"], "float12")
    assert all(words in run.stdout for words in (said.paragraph, *said.points))
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "results.csv", "index.html"}
    by_label = {row["label"]: row for row in results["rows"]}
    assert list(by_label) == [
        "fixed8",
        "float12",
        "float32-px",
        "fixed8 wired",
        "float12 wired",
        "float32-px wired",
    ]
    for row in by_label.values():
        assert row["area"]["vectors"] >= 2**16
        assert row["tasks"]["digits"]["n"] == 1797
        assert row["accuracy"] == correct_images(row).mean()
        low, high = row["denoising"]["interval"]
        assert low <= row["denoising"]["difference"] <= high
        assert row["denoising"]["float32_psnr"] == results["denoising"]["float32_psnr"]
        if row["offsets"] == "registers":  # with any offset in reach every event is possible
            assert all(hits > 0 for hits in row["area"]["events"].values())
    areas = {label: row["area"]["um2"] for label, row in by_label.items()}
    assert areas["fixed8 wired"] < areas["fixed8"] < areas["float12"] < areas["float32-px"]
    assert by_label["float32-px wired"]["area"]["relative"] == 1


@pytest.mark.parametrize(("files", "subject", "written"), QUOTES, ids=[subject for _, subject, _ in QUOTES])
def test_the_readme_quotes_the_results_that_are_kept(files, subject, written):
    kept = [json.loads((ROOT / "docs" / "results" / file).read_text()) for file in files]
    assert between(README.read_text(), *marks(subject, *files))[1] == written(*kept)

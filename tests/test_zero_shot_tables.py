"""Tables are made of results files and of nothing else, and rank correlations have intervals."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from golden.config import ConfigError
from sim.statistics import paired_spearman_interval, spearman
from sim.zero_shot import table
from tests.zero_shot_toy import run, use_toy


@pytest.fixture
def toy(monkeypatch):
    use_toy(monkeypatch)


def test_tables_are_made_of_the_rows(toy, tmp_path, capsys):
    path = tmp_path / "out.json"
    results = run(path, "--rows", "f32-e5m10,float12,int12", "--images", "40")
    text = table.tables(results)
    for row in results["rows"]:
        low, high = (100 * end for end in row["interval"])
        difference = f"{100 * row['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
        assert f"| `{row['label']}` | {100 * row['value']:.2f} | {difference} |" in text
    assert "40 images of the JPEG copy of CIFAR-10; float32 gets" in text
    assert table.main([str(path), "--print"]) == 0
    assert text in capsys.readouterr().out


def test_tables_do_not_mix_test_inputs(toy, tmp_path):
    run(tmp_path / "out.json", "--rows", "int12", "--images", "40")
    results = run(tmp_path / "out.json", "--rows", "int12", "--images", "20")
    with pytest.raises(ConfigError, match="of different test inputs"):
        table.tables(results)


def test_the_page_is_written_from_its_results(tmp_path, monkeypatch, toy):
    monkeypatch.setattr(table, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(table, "KEPT", tmp_path / "results" / "kept.json")
    table.PAGE.write_text(f"before\n{table.BEGIN}old\n{table.END}after\n")
    results = run(tmp_path / "out.json", "--rows", "int12", "--images", "20")
    assert table.main([str(tmp_path / "out.json")]) == 0
    page = table.PAGE.read_text()
    assert page == f"before\n{table.BEGIN}{table.tables(results)}{table.END}after\n"
    assert json.loads(table.KEPT.read_text()) == results


def test_a_table_of_nothing_is_refused(tmp_path, capsys):
    for content in (None, "{}", '{"rows": []}'):
        path = tmp_path / "out.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(SystemExit) as ended:
            table.main([str(path), "--print"])
        assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_the_published_page_has_the_tables_of_the_published_results():
    results = json.loads(table.KEPT.read_text())
    page = table.PAGE.read_text()
    assert table.BEGIN + table.tables(results) + table.END in page
    baselines = {row["network"]: round(row["float32_value"], 4) for row in results["rows"]}
    known = {"resnet20": 0.8103, "resnet56": 0.8320, "minilm": 0.8203}
    assert baselines and baselines.items() <= known.items()


def test_spearman_is_scipy_s():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 50), rng.normal(size=50)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-14)
    assert spearman(np.ones(50), b) == 0


def test_the_interval_of_spearman_holds_the_difference_and_mirrors():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=300)
    a, b = truth + rng.normal(size=300), truth + 2 * rng.normal(size=300)
    low, high = paired_spearman_interval(a, b, truth, seed=0)
    assert low < spearman(a, truth) - spearman(b, truth) < high
    assert paired_spearman_interval(b, a, truth, seed=0) == pytest.approx((-high, -low), abs=1e-12)
    assert paired_spearman_interval(a, a, truth, seed=0) == (0, 0)
    with pytest.raises(ValueError, match="three numbers for each item"):
        paired_spearman_interval(a, b, truth[:-1], seed=0)

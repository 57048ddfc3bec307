"""The benchmark of gradients: what it measures is what it says, and the page is the file's."""

import json

import pytest
import torch

from benchmarks import bench_gradients
from benchmarks.bench_gradients import (
    MARKS,
    PAGE,
    QUICK,
    RESULTS,
    RULES,
    Case,
    Step,
    block,
    measure,
    operands,
)
from golden.config import ConfigError
from sim.readme import between


@pytest.fixture(scope="module")
def results():
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_gradients, "_peak_apart", lambda *_: 3 << 20)
        made = measure(QUICK, rounds=2, seed=0, least_seconds=0.0, quick=True)
    torch.set_num_threads(threads)
    return json.loads(json.dumps(made))


def test_every_rule_has_a_row_and_the_target_is_judged(results):
    assert [(row["shape"], row["rule"]) for row in results["rows"]] == [
        (case.label, rule) for case in QUICK for rule in RULES
    ]
    for row in results["rows"]:
        assert (row["met"] is None) == (row["rule"] != "recursive/of")
        assert 0.05 <= row["outputs"] <= 0.5
        assert row["seconds"]["min"] > 0
    text = block(results)
    assert text.count("\n| ") == len(results["rows"]) + 2
    assert "2 of 2 rows" in text or "1 of 2 rows" in text or "0 of 2 rows" in text


def test_a_step_gives_both_gradients():
    for case in QUICK:
        x, w, _, _ = operands(case, 0)
        identity, masked = (Step(case, rule, x, w, 0)() for rule in ("identity", "recursive/of"))
        for some, other, operand in zip(identity, masked, (x, w), strict=True):
            assert some.shape == other.shape == operand.shape
            assert not torch.equal(some, other)


def test_operands_that_never_overflow_are_refused():
    with pytest.raises(ConfigError, match="masked term"):
        operands(Case(config="float32", m=4, k=4, n=4), 0)


def test_the_page_is_the_files():
    quoted = between(PAGE.read_text(), *MARKS)[1]
    assert quoted == block(json.loads(RESULTS.read_text()))


def test_quick_figures_make_no_page(results, tmp_path, capsys):
    (tmp_path / RESULTS.name).write_text(json.dumps(results))
    with pytest.raises(SystemExit) as end:
        bench_gradients.main(["--page", str(tmp_path)])
    assert end.value.code == 2
    assert "quick run" in capsys.readouterr().err

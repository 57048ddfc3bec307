"""The benchmark of the kernels: all fields are there, the page is the file's, what is absent is named."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import bench_kernels, object_code, rivals
from benchmarks.cases import CASES, Premise, Shape, find_case, operands
from benchmarks.kernels_page import PAGE, block, marks, page, readme_block, write_page
from benchmarks.kernels_plot import plot
from benchmarks.measure import Contender, interleave, spread_of
from benchmarks.ours import Slice, contender
from golden.accumulate import matmul
from golden.config import ConfigError
from sim.kernels.library import instruction_sets

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "kernels.json"

TINY = (Shape(m=8, k=32, n=24), Shape(images=1, channels=16, side=8))
SOME = tuple(
    find_case(label)
    for label in ("float12, every check kept", "float12, overflow proved away", "int16, saturating")
)

ROW = {
    *("who", "what", "config", "operands", "isa", "way", "reason", "note", "statistics", "overflow"),
    *("checked", "instructions", "threads", "clock", "seconds", "gmacs", "ratio", "targets"),
}


@pytest.fixture(scope="module")
def results():
    with pytest.MonkeyPatch.context() as patch:
        for name in rivals.PACKAGES:
            patch.setitem(sys.modules, name, None)  # not to be imported, installed or not
        return bench_kernels.measure(TINY, rounds=2, seed=0, least_seconds=0.0, quick=False, cases=SOME)


def test_the_results_have_every_field(results):
    results = json.loads(json.dumps(results))
    assert set(results) == {
        *("machine", "seed", "rounds", "quick", "least_seconds", "unit", "clocks", "panels", "absent")
    }
    assert {"processor", "mhz", "cores", "instruction_sets", "versions", "load"} <= set(results["machine"])
    assert {"python", "torch", "numpy", "compiler of the kernels"} <= set(results["machine"]["versions"])
    assert [panel["label"] for panel in results["panels"]] == [shape.label for shape in TINY]
    for panel in results["panels"]:
        assert panel["rows"]
        for row in panel["rows"]:
            assert set(row) == ROW
            for spread in (row["gmacs"], row["ratio"], row["seconds"]["cpu"], row["seconds"]["wall"]):
                assert 0 <= spread["min"] <= spread["median"] <= spread["max"]
            assert row["clock"] == results["clocks"][str(row["threads"])]


def test_every_row_of_the_contract_was_compared_with_golden(results):
    rows = [row for panel in results["panels"] for row in panel["rows"]]
    ours = [row for row in rows if row["who"] == "ours"]
    assert {row["isa"] for row in ours} == set(instruction_sets())
    assert all(row["checked"].startswith("equal to golden") for row in ours)
    assert all(row["checked"] for row in rows if row["config"])
    assert any(row["statistics"] for row in ours)


def test_targets_are_asked_where_there_are_some(results):
    widest = instruction_sets()[0]
    product, convolution = (panel["rows"] for panel in results["panels"])

    def asked(rows, what, threads=1, statistics=False):
        row = next(
            row
            for row in rows
            if (row["what"], row["threads"], row["statistics"]) == (what, threads, statistics)
            and row["isa"] in (None, widest)
        )
        return [(target["most"], target["least"]) for target in row["targets"]]

    kept = "float12, every check kept"
    assert asked(product, kept) == [(2.8, None)]
    assert asked(product, kept, statistics=True) == [(2.0, None)]
    assert asked(convolution, kept) == [(1.6, None)]
    assert asked(product, rivals.UNIT) == []
    if results["machine"]["cores"] >= 2:
        assert asked(product, kept, threads=2) == [(None, 1.8)]


def test_what_is_not_installed_is_named(results):
    absent = {each["what"]: each["reason"] for each in results["absent"]}
    for what, name in (
        ("numba, float12", "numba"),
        ("mptorch", "mptorch"),
        ("loop over k, qtorch", "qtorch"),
    ):
        assert absent[what] == f"{name} is not installed"
    assert all(f"* {what}: {reason}" in block(results) for what, reason in absent.items())


def test_a_package_that_does_not_work_is_named(monkeypatch):
    class Broken:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "numba":
                raise RuntimeError("built for another numpy\nand more")
            if name in rivals.PACKAGES:
                raise ModuleNotFoundError(name, name=name)

    for name in rivals.PACKAGES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    found, absent = rivals.rivals(TINY[0], 0, slow=True)
    assert [each.facts["what"] for each in found] == ["eager loop over k, float12"]
    assert "numba cannot be imported: RuntimeError: built for another numpy" in [
        each["reason"] for each in absent
    ]


def test_the_eager_loop_is_golden():
    case = find_case("float12, every check kept")
    a, b = operands(case, Shape(m=8, k=48, n=8), 1)
    assert torch.equal(rivals.eager_matmul(a.double(), b.double(), case.config), matmul(a, b, case.config))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_operands_are_what_a_case_says(case):
    shape = Shape(m=16, k=64, n=16)
    a, b = operands(case, shape, 5)
    assert a.shape == (16, 64) and b.shape == (64, 16)
    assert a.dtype == b.dtype == torch.float32
    Slice.of(a, b, case.config, 0)  # golden takes them


@pytest.mark.parametrize(("overflow", "spread"), [(True, 0.5), (False, 4.0)])
def test_operands_that_do_not_do_what_a_case_says_are_refused(overflow, spread):
    case = replace(find_case("float12, every check kept"), overflow=overflow, spread=spread)
    with pytest.raises(Premise, match="some chunk has a bound"):
        operands(case, Shape(m=16, k=64, n=16), 0)


def test_a_wrong_result_is_not_timed(monkeypatch):
    case, shape = SOME[0], TINY[0]
    a, b = operands(case, shape, 0)
    expected = Slice.of(a, b, case.config, 0)
    wrong = replace(expected, values=expected.values + 2.0**-10)
    with pytest.raises(AssertionError, match="not golden's"):
        contender(case, shape, a, b, wrong, isa="generic", threads=1, statistics=False)


def test_runs_are_interleaved():
    ran = []
    contenders = [
        Contender(key=name, threads=1, run=lambda name=name: ran.append(name), facts={}) for name in "abc"
    ]
    times = interleave(contenders, rounds=5, seed=0, least_seconds=0.0)
    assert all(len(each.cpu) == len(each.wall) == 5 for each in times.values())
    rounds = ["".join(ran[i : i + 6 : 2]) for i in range(6, 36, 6)]  # each once to warm up, and once
    assert all(sorted(each) == list("abc") for each in rounds)
    assert len(set(rounds)) > 1


def test_spreads():
    assert spread_of([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert spread_of([1.0, 2.0]) == {"median": 1.5, "min": 1.0, "max": 2.0}


LOOP = """
  10:	vxorps %xmm0,%xmm0,%xmm0
  14:	mov    %rsi,%rax
  20:	vmovups (%rcx),%zmm1
  24:	vmulps %zmm1,%zmm2,%zmm3
  28:	vmulps %zmm1,%zmm4,%zmm5
  2c:	vfmadd231ps %zmm3,%zmm6,%zmm7
  30:	vfmadd231ps %zmm5,%zmm6,%zmm8
  34:	jne    20 <chunk_loop+0x10>
  38:	cmp    %rax,%rdx
  3c:	jne    14 <chunk_loop+0x4>
  40:	ret
"""


def test_the_innermost_loop_is_counted():
    assert object_code.count_loop(LOOP.splitlines()) == {"instructions": 6, "vectors": 2}
    assert object_code.count_loop(["  10:	ret"]) is None


def test_the_page_is_the_files():
    results = json.loads(RESULTS.read_text())
    text = (ROOT / PAGE).read_text()
    assert page(text, block(results, "results/kernels.svg")) == text
    assert (RESULTS.parent / "kernels.svg").read_text() == plot(results)
    readme = (ROOT / "README.md").read_text()
    if marks()[0] in readme:
        assert page(readme, readme_block(results)) == readme


def test_what_is_written_by_hand_has_no_figure():
    before, _, rest = (ROOT / PAGE).read_text().partition(marks()[0])
    written = before + rest.partition(marks()[1])[2]
    named = re.sub(r"float\d+|int\d+|FP8|M7E4|8-bit", "", written)
    assert not re.search(r"\d", named)


def test_the_page_is_made_of_a_folder(results, tmp_path):
    source = tmp_path / "measured"
    source.mkdir()
    (source / "kernels.json").write_text(json.dumps(results))
    (tmp_path / "docs").mkdir()
    (tmp_path / PAGE).write_text("before\n" + "".join(marks()) + "after\n")
    (tmp_path / "README.md").write_text("readme\n" + "".join(marks()))
    write_page(source, tmp_path)
    made = (tmp_path / PAGE).read_text()
    assert made.startswith("before\n") and made.endswith("after\n")
    assert block(results, "results/kernels.svg") in made
    assert readme_block(results) in (tmp_path / "README.md").read_text()
    assert json.loads((tmp_path / "docs" / "results" / "kernels.json").read_text()) == results
    assert (tmp_path / "docs" / "results" / "kernels.svg").read_text().startswith("<svg")
    write_page(source, tmp_path)
    assert (tmp_path / PAGE).read_text() == made


def test_no_page_is_made_of_a_quick_run(results, tmp_path):
    (tmp_path / "kernels.json").write_text(json.dumps(results | {"quick": True}))
    with pytest.raises(ConfigError, match="quick run"):
        write_page(tmp_path, ROOT)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["--page", "nowhere"], "there is no nowhere"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        bench_kernels.main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1

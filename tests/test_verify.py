"""The proof: that it is complete, green and current, that parts of it hold again, and that it can fail."""

import hashlib
import json
import queue
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property
from random import Random

import pytest

from golden.catalog import find
from golden.config import ArrayConfig
from tb.mutants import ARRAY_MUTANTS, MAC_MUTANTS
from tb.verify import __main__ as command
from tb.verify import array, matrix, report
from tb.verify import runner as runner_module
from tb.verify.array import ArrayRow
from tb.verify.gates import Gates
from tb.verify.matrix import RESULTS, Record, all_rows, explanations, forget, read_records, store
from tb.verify.native import BuildError, load
from tb.verify.rows import Outcome, Row, Task, sources
from tb.verify.runner import Runner, _work, is_stale
from tb.verify.step import Step

#: Rows of each method that are run again, and the part of each: another choice with each state of the proof.
AGAIN = {
    "step": (1, 2**-7),
    "gates": (4, 2**-6),
    "offsets": (1, 2**-5),
    "array": (1, 2**-5),
    "protocol": (1, 2**-6),
}
#: Rows whose Verilog is generated again to see whether what was proved is still what is there.
LOOKED_AT = 12


def picked(method: str, count: int) -> list[Row]:
    """Some rows; which ones hangs on the results file, and a failure shows it."""
    rows = [row for row in all_rows().values() if row.method == method]
    state = hashlib.sha256(RESULTS.read_bytes()).hexdigest()
    return Random(f"{state} {method}").sample(rows, count)


def task(share: float) -> Task:
    seed = int(hashlib.sha256(RESULTS.read_bytes()).hexdigest()[:8], 16)
    print(f"seed {seed}")
    return Task(share=share, seed=seed, report=lambda part: None)


def test_the_proof_is_complete_and_green():
    records = read_records()
    assert set(records) == set(all_rows()), "run make verify"
    assert all(record.green for record in records.values())


def test_the_proof_is_of_this_hardware():
    rows = Random(RESULTS.read_bytes()).sample(sorted(all_rows()), LOOKED_AT)
    records = read_records()
    stale = [key for key in rows if records[key].digest != all_rows()[key].digest()]
    assert not stale, "what they depend upon has changed; run make verify"


def test_the_page_and_the_picture_are_current():
    records = list(read_records().values())
    assert report.PAGE.read_text() == report.page(records), "run python -m tb.verify --report"
    assert report.PICTURE.read_text() == report.picture(records)
    assert all(f"## {method}" in report.PAGE.read_text() for method in explanations())


def test_the_proof_is_as_large_as_it_is_said_to_be():
    records = read_records().values()
    steps = [record for record in records if record.method in ("step", "gates")]
    assert all(record.compared == record.details["inputs"] for record in steps)
    assert sum(record.compared >= 2**28 for record in steps) >= 200
    arrays = [record for record in records if record.method == "array"]
    assert len({record.subject.split()[0] for record in arrays}) >= 60
    assert sum(record.details["macs"] for record in arrays) >= 10**9


@pytest.mark.parametrize(
    ("method", "place"), [(method, i) for method, (count, _) in AGAIN.items() for i in range(count)]
)
def test_a_part_of_a_row_again(method, place):
    count, share = AGAIN[method]
    row = picked(method, count)[place]
    print(row.key)
    outcome = row.run(task(share))
    assert outcome.green, outcome.details


class Mutated:
    """A MAC with one line of its source changed."""

    mutant = next(each for each in MAC_MUTANTS if each.name == "tie_to_odd")

    @cached_property
    def mac(self):
        return self.mutant.load("hw.mac").Mac(self.silicon, self.stages, events=self.events)


class MutatedStep(Mutated, Step):
    pass


class MutatedGates(Mutated, Gates):
    pass


@pytest.mark.parametrize("method", [MutatedStep, MutatedGates])
def test_a_wrong_step_turns_red(method):
    config = find(method.mutant.config)
    outcome = method(config=config, wired=False, stages=0, events=False).run(task(2**-8))
    assert not outcome.green
    assert 0 < outcome.differences < outcome.compared
    assert "golden gives" in outcome.details["first_difference"]


def test_both_methods_find_the_same_difference():
    """Verilator and the gates agree on a wrong MAC as well: same count, same first inputs, same answer."""
    config = find(Mutated.mutant.config)
    fields = {"config": config, "wired": False, "stages": 0, "events": False}
    step, gates = (method(**fields).run(task(2**-8)) for method in (MutatedStep, MutatedGates))
    assert step == gates


def test_a_wrong_array_turns_red(monkeypatch):
    mutant = next(each for each in ARRAY_MUTANTS if each.name == "outer_accumulator_not_cleared")
    monkeypatch.setattr(array, "VerilatedArray", mutant.load("hw.verilated").VerilatedArray)
    config, (rows, cols, stages, depth) = find(mutant.config), mutant.shape
    shape = ArrayConfig(
        silicon=config.silicon, rows=rows, cols=cols, stages=stages, depth=depth, events=False
    )
    outcome = ArrayRow(config=config, array=shape).run(task(2**-8))
    assert not outcome.green
    assert "backend cpu gives" in outcome.details["first_difference"]


def a_row(subject: str, outcome: Outcome, *, depends: str = "") -> Row:
    return Row(
        method="step",
        subject=subject,
        what="this with that",
        depends=lambda: depends,
        run=lambda task: outcome,
        versions=dict,
        seconds=1,
        divides=True,
    )


def a_record(row: Row, outcome: Outcome) -> Record:
    return Record.of(row, outcome, seed=0, seconds=1.0, digest=row.digest())


def test_stale_rows():
    good, bad, none = (Outcome(compared=c, differences=d) for c, d in ((1, 0), (1, 1), (0, 0)))
    row = a_row("a", good)
    assert not is_stale(row, a_record(row, good), row.digest())
    assert is_stale(row, None, row.digest())
    assert is_stale(row, a_record(row, good), a_row("a", good, depends="changed").digest())
    assert is_stale(row, a_record(row, good), a_row("b", good).digest())
    assert is_stale(row, a_record(row, bad), row.digest())
    assert is_stale(row, a_record(row, none), row.digest())
    assert is_stale(row, replace(a_record(row, good), versions={"other": "1"}), row.digest())


def test_an_outcome_is_kept_beside_others(tmp_path):
    path = tmp_path / "verification.json"
    for subject, differences in (("a", 0), ("b", 3), ("b", 0)):
        outcome = Outcome(compared=7, differences=differences, details={"first_difference": "none"})
        store(a_record(a_row(subject, outcome), outcome), path)
    records = read_records(path)
    assert list(records) == ["step a", "step b"]
    assert records["step b"].green
    assert json.loads(path.read_text())["rows"][0]["compared"] == 7


def test_rows_that_are_no_more_are_forgotten(tmp_path):
    path = tmp_path / "verification.json"
    outcome = Outcome(compared=1, differences=0)
    there = next(iter(all_rows().values()))
    store(Record.of(there, outcome, seed=0, seconds=1.0, digest=""), path)
    store(a_record(a_row("no more", outcome), outcome), path)
    forget(path)
    assert list(read_records(path)) == [there.key]


def test_a_run_keeps_what_it_finds(tmp_path, monkeypatch, capsys):
    """As in a worker: what is known is not done again; and what comes back is kept at once."""
    rows = {subject: a_row(subject, Outcome(compared=7, differences=i)) for i, subject in enumerate("ab")}
    monkeypatch.setattr(runner_module, "all_rows", lambda: {row.key: row for row in rows.values()})
    monkeypatch.setattr(runner_module, "_reports", queue.Queue())
    path = tmp_path / "verification.json"
    runner = Runner(rows=list(rows.values()), path=path, jobs=1, budget=0, seed=5)
    runner.run()
    for row in rows.values():
        ended = Future()
        ended.set_result(_work(row.key, None, 5))
        runner._finish(row, ended)
    records = read_records(path)
    assert _work("step a", records["step a"], 5) is None
    assert _work("step b", records["step b"], 5).seed == 5
    assert runner.failures == ["step b: 1 DIFFERENCES"]
    broken = Future()
    broken.set_exception(BuildError("no compiler"))
    runner._finish(rows["a"], broken)
    assert "could not be run: no compiler" in capsys.readouterr().out
    assert read_records(path) == records


def test_the_time_may_be_spent_before_the_first_row(tmp_path, capsys):
    rows = list(all_rows().values())[:3]
    Runner(rows=rows, path=tmp_path / "v.json", jobs=1, budget=0, seed=0).run()
    assert "3 not started" in capsys.readouterr().out
    assert not read_records(tmp_path / "v.json")


def test_sources_are_what_python_does():
    assert "rows()" not in sources(["tb/verify/rows.py"])  # of the docstring
    assert "What a run of a row gave" not in sources(["tb/verify/matrix.py"])
    assert sources(["tb/verify/rows.py"]) != sources(["tb/verify/matrix.py"])


def test_a_design_that_cannot_be_built():
    with pytest.raises(BuildError, match="verilator ended with status"):
        load("module top(input clk; endmodule", "#include <none>")


def test_a_red_row_shows_in_the_page():
    row = a_row("float12 again", Outcome(compared=1, differences=0))
    good = a_record(row, Outcome(compared=5, differences=0))
    name = "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"
    bad = a_record(a_row(name, Outcome(compared=4, differences=2)), Outcome(compared=4, differences=2))
    assert "**2 of 4 differ**" in report.page([good, bad])
    assert "**" not in report.page([good])
    assert report.picture([bad]).count("<rect") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "luck"], "there is no method 'luck'"),
        (["--jobs", "0"], "use 1 or more"),
        (["--subject", "no such thing"], "see --list"),
        (["--onl", "step"], "unrecognized arguments"),
    ],
)
def test_usage_errors(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_the_list_says_what_is_known(capsys, tmp_path):
    arguments = ["--list", "--only", "step", "--subject", "int12_floor_sat"]
    assert command.main([*arguments, "--results", str(tmp_path / "none.json")]) == 0
    assert "not run, about" in capsys.readouterr().out


def test_rows_have_one_key_each():
    assert len(all_rows()) == len({(row.method, row.subject) for row in all_rows().values()})
    assert {row.method for row in all_rows().values()} == set(explanations())
    assert set(matrix.MODULES) >= {"step", "units", "array"}

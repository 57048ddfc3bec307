"""Declared runs: what they are known by, who starts first, and that a row is there whole or not at all."""

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from golden.catalog import find
from golden.config import ConfigError
from golden.gradients import GradientRule
from sim.finetune import measure, runner
from sim.finetune.__main__ import main
from sim.finetune.experiments import GROUPS, RATES, find_runs
from sim.finetune.results import figures, headline, section
from sim.finetune.runner import Results, Settings, run_all

ROOT = Path(__file__).resolve().parent.parent
EVERY = [run for runs in GROUPS.values() for run in runs]
RESNET20 = GROUPS["resnet20"]
DIGITS = replace(
    next(run for run in GROUPS["mlp"] if run.label == "digits, recursive/of"),
    phases=(replace(GROUPS["mlp"][0].phases[0], epochs=1),),
)


def settings(runs, *, jobs=1, limit=None, deadline=None):
    commands = {run.key(limit): f"make {run.label}" for run in runs}
    return Settings(device="cpu", jobs=jobs, limit=limit, deadline=deadline, commands=commands)


def row(run, value, limit=None, **more):
    """A row as a run gives it."""
    return {
        "key": run.key(limit),
        "group": run.group,
        "label": run.label,
        "task": run.task,
        "config": run.config,
        "accumulators": "narrow" if run.narrow else "float32",
        "rule": run.rule,
        "schedule": run.schedule,
        "epochs": run.epochs,
        "rate": run.rate or 0.02,
        "seed": run.seed,
        "trained_on": 15000,
        "n": 10000,
        "unit": "test images",
        "losses": [[1.0, 0.5]],
        "backward": run.backward or "float32",
        "before": value - 0.1,
        "value": value,
        "diverged": False,
        "seconds": 12.0,
        "made_by": {
            "backend": "cpu",
            "device": "processor",
            "processor": "P",
            "python": "3",
            "torch": "2",
            "numpy": "2",
            "pillow": "13",
        },
        **more,
    }


def test_runs_are_known_apart_and_have_configurations_and_rules():
    keys = [run.key(None) for run in EVERY]
    assert len(set(keys)) == len(keys) > 300
    for run in EVERY:
        assert find(run.config).name == run.config
        GradientRule.parse(run.rule)
        assert run.rate is not None or any(each.label.split()[0] == run.tuning for each in EVERY)


def test_a_key_has_all_that_decides_the_result():
    base = RESNET20[0]
    changed = [
        replace(base, seed=7),
        replace(base, rule="immediate/of"),
        replace(base, narrow=not base.narrow),
        replace(base, phases=base.phases[:1]),
        replace(base, optimization=replace(base.optimization, weight_decay=0.5)),
        replace(base, rate=0.5),
        replace(base, held_out=True),
    ]
    assert len({run.key(None) for run in [base, *changed]} | {base.key(50)}) == len(changed) + 2
    assert replace(base, priority=9).key(None) == base.key(None)


@pytest.mark.parametrize("group", ["resnet20", "conv", "minilm"])
def test_the_twin_differs_in_nothing_but_its_sums(group):
    """Same operands, start, schedule, optimizer, and rates tried."""
    twin = next(run for run in GROUPS[group] if not run.narrow)
    ours = next(run for run in GROUPS[group] if run.label == "two stages, recursive/of")
    changed = dict(label=twin.label, narrow=False, rule=twin.rule, tuning=twin.tuning, priority=twin.priority)
    assert replace(ours, **changed) == twin
    trials = GROUPS.get(f"{group}-rates", [])
    rates = [[run.rate for run in trials if run.narrow is narrow] for narrow in (False, True)]
    assert rates[0] == rates[1] and (len(rates[0]) > 1 or twin.rate is not None)


@pytest.mark.parametrize("group", ["resnet20", "conv"])
def test_each_ablation_differs_in_one_thing(group):
    base = next(run for run in GROUPS[group] if run.label == "two stages, recursive/of")
    for run in GROUPS[group]:
        if run.seed == 0 and run.narrow and run is not base:
            names = ("config", "rule", "phases", "biases")
            assert sum(getattr(run, name) != getattr(base, name) for name in names) == 1, run.label


def test_seeds_are_three_at_least():
    for name in ("resnet20", "conv", "mlp", "diff", "backward", "minilm"):
        arms = {}
        for run in GROUPS[name]:
            arms.setdefault((run.label, run.config), set()).add(run.seed)
        assert min(len(seeds) for seeds in arms.values()) >= 3


def test_finding_runs_brings_those_along_that_find_their_rate():
    runs = find_runs(["resnet20:one stage"], [1], None)
    assert [run.group for run in runs] == ["resnet20-rates"] * len(RATES) + ["resnet20"]
    assert {run.label.split()[0] for run in runs[:-1]} == {"narrow"} and runs[-1].seed == 1


@pytest.mark.parametrize(
    ("names", "seeds", "configs", "message"),
    [
        (["resnet"], None, None, "there is no group of runs called 'resnet'; use resnet20"),
        (["mlp:digits"], None, None, "group mlp has no runs labelled 'digits'; use one of digits, float32"),
        (["mlp"], [99], None, "mlp has no runs of these seeds and configurations"),
    ],
)
def test_what_is_not_declared_is_named(names, seeds, configs, message):
    with pytest.raises(ConfigError, match=message):
        find_runs(names, seeds, configs)


@pytest.fixture
def performed(monkeypatch):
    """Runs that take no time, in the order in which they start; by rate, 0.02 is the best."""
    started = []

    def perform(run, *, rate, limit, stop, **_):
        started.append((run.label, run.seed, rate))
        return None if stop() else row(run, 0.9 - abs(rate - 0.02), limit)

    monkeypatch.setattr(runner, "perform", perform)
    return started


def test_rates_are_found_before_they_are_used(tmp_path, performed):
    runs = find_runs(["resnet20:one stage"], None, None)
    results = Results(tmp_path / "rows.json")
    assert run_all(runs, results, settings(runs)) == (0, 0)
    assert [label for label, *_ in performed] == [f"narrow {rate:g}" for rate in RATES] + ["one stage"] * 3
    assert {rate for label, _, rate in performed if label == "one stage"} == {0.02}
    written = json.loads((tmp_path / "rows.json").read_text())
    assert [each["label"] for each in written["rows"]] == [label for label, *_ in performed]


def test_a_rate_that_nobody_has_found_is_asked_for(tmp_path, performed):
    runs = [run for run in RESNET20 if run.label == "one stage"]
    with pytest.raises(ConfigError, match="is to be found by group resnet20-rates; run that first"):
        run_all(runs, Results(tmp_path / "rows.json"), settings(runs))


def test_rows_that_are_there_are_not_computed_again(tmp_path, performed):
    runs = find_runs(["diff"], None, None)
    assert run_all(runs[:5], Results(tmp_path / "rows.json"), settings(runs)) == (0, 0)
    assert run_all(runs, Results(tmp_path / "rows.json"), settings(runs)) == (0, 0)
    assert len(performed) == len(runs) == len(set(performed))
    assert len(json.loads((tmp_path / "rows.json").read_text())["rows"]) == len(runs)


def test_no_run_starts_after_the_time(tmp_path, performed):
    runs = find_runs(["diff"], None, None)
    assert run_all(runs, Results(tmp_path / "rows.json"), settings(runs, deadline=time.time() - 1)) == (12, 0)
    assert not performed and not (tmp_path / "rows.json").exists()


def test_results_are_joined_by_run(tmp_path, capsys):
    runs = find_runs(["diff"], None, None)
    Results(tmp_path / "a.json").add(row(runs[0], 0.5), row(runs[1], 0.6))
    Results(tmp_path / "b.json").add(row(runs[1], 0.7), row(runs[2], 0.8))
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    assert main(["merge", *files, "-o", str(tmp_path / "all.json")]) == 0
    assert [each["value"] for each in Results(tmp_path / "all.json").rows.values()] == [0.5, 0.7, 0.8]
    with pytest.raises(SystemExit, match="2"):
        main(["merge", str(tmp_path / "c.json"), "-o", str(tmp_path / "all.json")])
    assert "c.json; name results files of" in capsys.readouterr().err


def test_a_file_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "rows.json").write_text('{"rows": [1]}')
    with pytest.raises(ConfigError, match="is not a results file of this command; name another --output"):
        Results(tmp_path / "rows.json")


def test_a_run_that_was_stopped_goes_on_and_leaves_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "WORK", tmp_path)
    options = dict(rate=1e-3, device="cpu", limit=130, command="make it")
    whole = measure.perform(DIGITS, stop=lambda: False, **options)
    asked = 0

    def after_three():
        nonlocal asked
        asked += 1
        return asked == 3

    assert measure.perform(DIGITS, stop=after_three, **options) is None
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    resumed = measure.perform(DIGITS, stop=lambda: False, **options)
    assert not list((tmp_path / "checkpoints").iterdir())
    for name in ("value", "before", "losses", "n", "key"):
        assert resumed[name] == whole[name], name
    assert whole["n"] == 390 and whole["command"] == "make it" and not whole["diverged"]


def test_numbers_that_are_no_longer_finite_are_a_result(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "WORK", tmp_path)
    result = measure.perform(
        DIGITS, rate=math.inf, device="cpu", limit=130, command="make it", stop=lambda: False
    )
    assert result["diverged"] and result["value"] == pytest.approx(0.1)


def test_the_command_in_several_processes(tmp_path):
    path = tmp_path / "rows.json"
    command = [sys.executable, "-m", "sim.finetune", "run", "diff:digits, immediate/diff", "--limit", "30"]
    command += ["--jobs", "2", "--seeds", "0,1", "-o", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert sorted(each["seed"] for each in rows) == [0, 1]
    for each in rows:
        assert each["command"] == (
            f"python -m sim.finetune run 'diff:digits, immediate/diff' --seeds {each['seed']} --limit 30"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "resnet2"], "there is no group of runs called 'resnet2'; use resnet20"),
        (["run", "diff", "--jobs", "0"], "--jobs must be from 1 to 256, not 0"),
        (["run", "diff", "--minutes", "0"], "--minutes must be more than 0, not 0"),
        (["run", "diff", "--seeds", "a"], "write numbers with commas between, not 'a'"),
    ],
)
def test_what_cannot_be_is_one_sentence(capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "-o", str(tmp_path / "rows.json")])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_list_names_every_label(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {run.label}: " in listed for run in EVERY)


def test_the_page_has_means_spreads_differences_and_a_command_for_each_row():
    runs = [run for run in EVERY if run.group != "mlp"]
    values = {0: 0.80, 1: 0.81, 2: 0.82}
    rows = [row(run, values[run.seed] + (0 if run.narrow else 0.01), held_out=run.held_out) for run in runs]
    trial = row(replace(RESNET20[0], label="a trial"), 0.5, limit=100)
    text = section({"rows": [*rows, trial]})
    assert "a trial" not in text
    line = next(line for line in text.splitlines() if "'resnet20:one stage'" in line)
    assert line.startswith("| one stage |") and "| 81.00 ± 1.00 | -1.00 ± 0.00 |" in line
    assert line.endswith("| `python -m sim.finetune run 'resnet20:one stage'` |")
    for run in runs:
        assert f"{run.group}:{run.label}" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    bodies = [line for line in lines if "---" not in line and not line.endswith("| command |")]
    assert bodies and all("`python -m sim.finetune run" in line for line in bodies)


def test_findings_say_where_an_estimator_is_ahead_and_where_not():
    def value(run):
        if run.group == "resnet20":
            return 0.8 + 0.001 * run.seed
        saturates = "a_e3m4b7_" in run.config
        return 0.9 + 0.01 * run.seed - (0.3 if run.rule == "identity" and saturates else 0)

    runs = [run for run in EVERY if run.group == "resnet20" or run.task == "digits"]
    text = headline({"rows": [row(run, value(run)) for run in runs]})
    assert (
        "gets 80.10 ± 0.10 % of 10000 test images" in text and "80.10 ± 0.10 %: +0.00 ± 0.00 points" in text
    )
    ahead, equal = text.partition("recursive/of is ahead of identity by ")[2].split(". In ")
    assert ahead == "30.0 points in e3m4 with sums up to 1.9375"
    assert equal.count("(+0.0)") == 9 and "Fashion" not in text
    assert headline({"rows": []}) == ""


def test_figures_have_a_curve_for_each_estimator_and_are_the_same_each_time():
    runs = [run for run in GROUPS["mlp"] if run.task == "digits"]
    results = {"rows": [row(run, 0.8 + 0.01 * run.seed) for run in runs]}
    (name, figure), *others = figures(results).items()
    assert name == "finetune-digits.svg" and not others
    assert all(run.rule in figure for run in runs if run.narrow)
    assert figures(results)[name] == figure
    assert f"results/{name}" in section(results)

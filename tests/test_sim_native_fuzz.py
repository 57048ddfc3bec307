"""The fuzz run and the exhaustive one: that they pass, and that they find, shrink and show what is wrong."""

import json

import pytest
import torch

from golden import accumulate as golden
from golden.catalog import find
from golden.codes import decode
from golden.config import MacConfig
from sim.kernels import exhaustive, fuzz, shrink
from sim.kernels.cases import KINDS, draw, random_config, thresholds
from sim.kernels.library import instruction_sets
from sim.kernels.product import extent_of
from sim.kernels.shrink import Case, find_plan, snippet
from tests.kernel_matrix import WORDS


def broken(multiply, *, spoil, isas):
    """A kernel that is wrong in rows that hold a number above 4, or raises, on some instruction sets."""

    def other(a, b, config, order, words, *, isa=None, **options):
        values, statistics = multiply(a, b, config, order, words, isa=isa, **options)
        if isa in isas and spoil is None and (a > 4).any():
            raise RuntimeError("out of luck")
        if isa in isas and spoil is not None:
            values = torch.where((a.double().abs() > 4).any(dim=1, keepdim=True), spoil(values), values)
        return values, statistics

    return other


def test_a_short_run_passes_and_says_what_it_compared(tmp_path, capsys):
    output = tmp_path / "fuzz.json"
    arguments = ["--macs", "2e5", "--configs", "6", "--seed", "5", "--output", str(output)]
    assert fuzz.main(arguments) == 0
    assert "seed 5" in capsys.readouterr().out
    results = json.loads(output.read_text())
    assert results["seed"] == 5
    assert results["configurations"] == len(results["names"]) >= 6
    if instruction_sets() != ("generic",):
        assert results["macs"] >= 2e5
        assert {name.split()[0] for name in results["macs_by_way"]} == set(instruction_sets()) - {"generic"}
    assert results["macs_by_golden"] > 0
    assert all(MacConfig.parse(name).name == name for name in results["names"])


def test_a_seed_is_drawn_and_shown(capsys):
    assert fuzz.main(["--macs", "1000", "--configs", "1"]) == 0
    assert capsys.readouterr().out.startswith("seed ")


@pytest.mark.parametrize(
    "arguments", [["--configs", "0"], ["--configs", "10", "--macs", "9"], ["--seeds", "1"]]
)
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        fuzz.main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("culprit", ["vectors", "generic", "raises"])
def test_what_is_wrong_is_shrunk_and_shown(monkeypatch, capsys, culprit):
    """By a program that fails as long as the kernel does."""
    isas = set(instruction_sets()) - {"generic"} if culprit == "vectors" else ("generic",)
    if not isas:
        return
    spoil = None if culprit == "raises" else lambda values: values + 1
    wrong = broken(shrink.multiply, spoil=spoil, isas=isas)
    for module in (shrink, fuzz):
        monkeypatch.setattr(module, "multiply", wrong)
    assert fuzz.main(["--macs", "4e5", "--configs", "20", "--seed", "1"]) == 1
    program = capsys.readouterr().out.partition("fails:\n\n")[2]
    monkeypatch.setattr("sim.kernels.product.multiply", wrong)
    with pytest.raises((AssertionError, RuntimeError)):
        exec(program, {})
    monkeypatch.undo()
    exec(program, {})


@pytest.mark.parametrize("rows", [1, 6])
def test_shrinking_leaves_what_is_needed(monkeypatch, rows):
    config = find("float12")
    a, b = draw(config, rows, 40, 9, "any", torch.Generator().manual_seed(0))
    a[0, 13] = 31.0
    isa = instruction_sets()[0]
    case = Case(config=config, a=a, b=b, words=WORDS, isa=isa, path="scalar")
    assert not case.differs()
    monkeypatch.setattr(shrink, "multiply", broken(shrink.multiply, spoil=lambda values: -values, isas={isa}))
    small = shrink.shrink(case)
    assert small.differs()
    assert small.a.shape[0] == small.b.shape[1] == 1
    assert small.a.shape[1] <= 2
    assert f'isa="{isa}"' in snippet(small)
    assert find_plan(config, small.a, small.b, isa, "nowhere") is None


def test_exhaustive_run_passes_and_fails(monkeypatch, capsys, tmp_path):
    output = tmp_path / "triples.json"
    assert exhaustive.main(["--block", "4", "--every", "256", "--output", str(output)]) == 0
    results = json.loads(output.read_text())
    assert results["blocks_that_differ"] == 0
    assert set(results["triples"].values()) == {4 * 2**18}
    assert "generic scalar" in results["triples"]
    wrong = broken(exhaustive.multiply, spoil=lambda values: values + 1, isas={"generic"})
    monkeypatch.setattr(exhaustive, "multiply", wrong)
    assert exhaustive.main(["--block", "4", "--every", "1024"]) == 1
    assert "generic scalar: acc" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        exhaustive.main(["--product", "e4m7b14_rz"])
    assert end.value.code == 2


def test_a_random_part_of_all_triples():
    """2**22 of them by the steps on integers, and some of these by all ways in vectors."""
    triples = exhaustive.Triples("e4m7b12_rz", "e4m7b10_rz")
    accs = torch.randint(0, 2**12, (64,), generator=torch.Generator().manual_seed(0))
    assert triples.compare(accs, isas=("generic",)) == []
    assert triples.compare(accs[:8]) == []
    rows, columns = triples.operands(accs)
    ones = columns.clone()
    ones[-1] = 0
    reached = golden.matmul(rows[:: 2**8], ones[:, :1], triples.wide)[:, 0]
    assert torch.equal(
        reached, decode(accs, triples.number)
    )  # the accumulators are those that were asked for


def test_configurations_and_operands_are_as_described():
    """Every kind of operand is held by its formats, and brings about what it is named for."""
    import random

    rng = random.Random(0)
    for seed in range(12):
        config = random_config(rng)
        assert MacConfig.parse(config.name) == config
        assert all(target > 0 for target in thresholds(config))
        for kind in KINDS:
            a, b = draw(config, 2, 6, 3, kind, torch.Generator().manual_seed(seed))
            extent_of(a, config.x)
            extent_of(b, config.w)
    config = MacConfig.parse("e4m3_e4m3_p_e4m7b10_rz_a_e4m7b8_rz_c16")
    drawn = {kind: draw(config, 8, 64, 8, kind, torch.Generator().manual_seed(0)) for kind in KINDS}
    events = {kind: golden.events(*operands, config) for kind, operands in drawn.items()}
    assert events["overflow"].inner.overflow > 0.5 * events["overflow"].inner.steps
    assert events["underflow"].product.underflow > 0.2 * events["underflow"].inner.steps
    assert events["threshold"].inner.underflow > 0
    assert events["threshold"].product.overflow > 0
    assert events["swamp"].inner.swamped > 2 * events["any"].inner.swamped

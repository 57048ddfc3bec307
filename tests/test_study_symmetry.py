"""The study of symmetry: its claims in short runs, and what it says of the results that are kept."""

import copy
import json
from pathlib import Path

import pytest
import torch

from golden.config import MacConfig
from sim.backends import find_backend
from sim.orders import rotated, strided, tiled
from sim.studies.symmetry import STUDY
from sim.studies.symmetry.dataflows import DATAFLOWS
from sim.studies.symmetry.leaky import differing
from sim.studies.symmetry.runs import ACCUMULATORS, CHANNELS, Run, perform
from sim.studies.symmetry.torch_order import REDUCTIONS, fused_differs, unequal
from tests.symmetry_inputs import halves, one_thread

__all__ = ["one_thread"]

CPU = find_backend("cpu")
RESULTS = Path(__file__).parents[1] / "docs" / "results" / STUDY.file


def short(**options):
    return perform(Run(**{"steps": 6, "batch": 32, **options}))


@pytest.mark.parametrize("accumulator", ["e8m4", "e8m7", "e8m10", "e8m23", "fixed20"])
def test_one_order_for_all_columns_keeps_one_filter_at_every_width(accumulator):
    result = short(accumulator=accumulator, steps=30)
    assert result["most_distinct"] == 1 and result["first_difference"] is None
    assert result["shown"]["correlation"] == [1.0] * len(result["shown"]["steps"])
    assert result["loss"] < 2.2, "filters that never move are alike, too"


@pytest.mark.parametrize("dataflow", [name for name, flow in DATAFLOWS.items() if flow.alike])
def test_whatever_that_order_is(dataflow):
    assert short(dataflow=dataflow, accumulator="e8m4", steps=5)["most_distinct"] == 1


@pytest.mark.parametrize("accumulator", ["e8m4", "e8m10", "e8m23"])
def test_a_rotated_order_makes_all_filters_differ_in_every_float(accumulator):
    result = short(dataflow="rotated", accumulator=accumulator, steps=4)
    assert result["first_difference"] == 2 and result["distinct"] == CHANNELS


def test_a_rotated_order_does_nothing_in_fixed_point_that_wraps():
    assert short(dataflow="rotated", accumulator="fixed24 wrap", steps=6)["most_distinct"] == 1


def test_saturation_is_what_makes_the_order_matter_in_fixed_point():
    a, b, order = 64 * halves(9, 40), halves(40, 8, seed=1), rotated(40, 8)
    for overflow, wide in (("sat", False), ("wrap", False), ("sat", True)):
        bits = 40 if wide else 16
        config = MacConfig.parse(f"e5m10_e5m10_p_exact_a_int{bits}ln6_rz_{overflow}_c8")
        same = torch.equal(CPU.matmul(a, b, config), CPU.matmul(a, b, config, order))
        assert CPU.events(a, b, config).inner.overflow > 0 or wide
        assert same == (overflow == "wrap" or wide)


@pytest.mark.parametrize("dataflow", ["tiled", "shuffled by column"])
def test_so_does_every_order_that_is_not_the_same_for_all_columns(dataflow):
    result = short(dataflow=dataflow, steps=3, batch=8)
    assert result["first_difference"] == 2 and result["distinct"] > 3


@pytest.mark.parametrize(
    ("only", "first"), [("forward", 3), ("of_w", 2), ("of_x", 2), ("of_x of convolutions", None)]
)
def test_in_which_product_the_order_matters(only, first):
    result = short(dataflow="rotated", only=only, steps=5)
    assert result["first_difference"] == first
    assert result["distinct"] == (1 if first is None else CHANNELS)


@pytest.mark.parametrize("accumulator", [name for name in ACCUMULATORS if "sr" not in name])
def test_equal_terms_have_one_sum_in_any_order(accumulator):
    """Why the order of a convolution's dx, a sum over filters that are the same, breaks no symmetry."""
    config, _ = ACCUMULATORS[accumulator].configs(4)
    a, b = (
        (torch.randint(-15, 16, (5, 1)) / 4).expand(-1, 12),
        (torch.randint(-15, 16, (1, 9)) / 4).expand(12, -1),
    )
    for order in (rotated, tiled(2), strided(5)):
        assert torch.equal(CPU.matmul(a, b, config), CPU.matmul(a, b, config, order(12, 9)))


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"accumulator": "e8m7 sr8"}, 2),
        ({"accumulator": "e8m7 sr8", "backward": "e8m7"}, 3),
        ({"backward": "e8m7 sr8"}, 2),
        ({"accumulator": "e8m7 sr8", "backward": "e8m7", "backend": "shared-words"}, None),
        ({"accumulator": "e8m7 sr8", "backend": "shared-words"}, 2),
        ({"dropout": "elements"}, 2),
        ({"dropout": "pixels"}, None),
    ],
    ids=str,
)
def test_random_numbers_that_channels_do_not_share(options, first):
    result = short(**options, batch=8, steps=3)
    assert result["first_difference"] == first
    if options.get("dropout") == "elements":  # alike inputs of the layer above have alike gradients
        assert result["of_layers"]["first"] == 1 < result["of_layers"]["blocks.1.conv"]


@pytest.mark.parametrize(("dataflow", "most"), [("chunked", 1), ("rotated", CHANNELS)])
def test_leakynet_has_the_same_symmetry(dataflow, most):
    assert short(network="LeakyNet", dataflow=dataflow, steps=5)["most_distinct"] == most


@pytest.mark.parametrize("accumulator", ["e8m4", "e8m7", "e8m23", "e8m7 rne"])
def test_pairs_of_leakynet_are_linear_in_every_float(accumulator):
    config, _ = ACCUMULATORS[accumulator].configs(16)
    assert differing(config, 0.5) == differing(config, 0.25) == 0
    assert differing(config, 0.3) > 0.3


def test_pairs_of_leakynet_are_not_linear_in_fixed_point():
    config, _ = ACCUMULATORS["fixed20"].configs(16)
    assert differing(config, 0.5) > 0.02


@pytest.mark.parametrize("name", REDUCTIONS)
def test_sums_outside_the_products_treat_channels_alike(name):
    assert unequal(REDUCTIONS[name], draws=8, seed=1) == 0


def test_the_check_of_reductions_sees_a_difference():
    def uneven(x, _):
        return [x * torch.tensor([1.0] * 7 + [1 + 2**-22])[:, None, None]]

    assert unequal(uneven, draws=3, seed=0) == 3


@pytest.mark.parametrize("taps", [9, 72, 64])
def test_the_optimizer_moves_equal_weights_alike(taps):
    assert fused_differs(fused=False, taps=taps, draws=20, seed=0) == 0


# What is kept


@pytest.fixture
def parts():
    return {name: part["data"] for name, part in json.loads(RESULTS.read_text())["parts"].items()}


def steps_of(runs):
    return [run["first_difference"] for run in runs]


def test_the_kept_results_hold_the_claims(parts):
    """What headline, answer and page say of the training runs in words."""
    alike = parts["alike"]["runs"]
    assert {run["most_distinct"] for run in alike} == {1} and {run["steps"] for run in alike} == {320}
    assert {flow.name for flow in DATAFLOWS.values() if flow.alike} == {run["dataflow"] for run in alike}
    for run in parts["apart"]["runs"]:
        assert run["distinct"] == CHANNELS and not DATAFLOWS[run["dataflow"]].alike
        assert run["first_difference"] == 2 or run["accumulator"] == "fixed20"
    assert steps_of(parts["fixed"]["runs"]) == [None, None]
    assert steps_of(parts["products"]["runs"]) == [3, 2, 2, None]


def test_the_kept_results_hold_what_is_said_of_random_numbers(parts):
    runs = parts["words"]["runs"]
    assert steps_of(runs) == [2, 3, 2, 2, None, 2, None]
    elements, pixels = runs[-2:]
    assert (elements["dropout"], pixels["dropout"]) == ("elements", "pixels")
    assert list(elements["of_layers"].values()) == [1, *[CHANNELS] * 3]


def test_the_kept_results_hold_what_is_said_of_the_array_and_of_torch(parts):
    assert all(row["contract"] and row["ascending"] for row in parts["array"]["found"])
    assert {row["distinct"] for row in parts["array"]["found"]} == {1}
    assert not any(parts["torch"]["unequal"].values())
    counts = parts["torch"]["optimizer"].values()
    assert not any(each["single"] for each in counts) and any(each["fused"] for each in counts)


def test_the_kept_results_hold_what_is_said_of_leakynet(parts):
    short, short_rotated, long, long_rotated = parts["leaky"]["runs"]
    assert steps_of([short, short_rotated, long, long_rotated]) == [None, 2, None, 2]
    assert short_rotated["shown"]["correlation"][-1] < long_rotated["shown"]["correlation"][-1] < 1
    assert short_rotated["accuracy"] - short["accuracy"] > long_rotated["accuracy"] - long["accuracy"] > 0
    for row in parts["leaky"]["pairs"]["rows"]:
        linear = row["differing"]["0.5"] == row["differing"]["0.25"] == 0
        assert linear != row["accumulator"].startswith("fixed") and row["differing"]["0.3"] > 0


def test_the_answer_and_the_page_follow_the_results(parts):
    said = STUDY.answer(parts), STUDY.page(parts), STUDY.headline(parts)
    assert len(said[2].split()) <= 45

    def changed(part, wanted, **values):
        """The texts where the runs or rows of a part that are as wanted have other values."""
        data = copy.deepcopy(parts)
        found = [
            run
            for run in data[part].get("runs", data[part].get("found"))
            if all(run[name] == value for name, value in wanted.items())
        ]
        assert found
        for run in found:
            run.update(values)
        return STUDY.answer(data), STUDY.page(data), STUDY.headline(data)

    never = {"first_difference": None}
    answer, _, _ = changed("words", {"dropout": None}, **never)
    assert "never by stochastic rounding" in answer and "never by stochastic rounding" not in said[0]
    answer, _, _ = changed("words", {"dropout": "elements"}, **never)
    assert "never by dropout" in answer and "never by dropout" not in said[0]
    answer, _, headline = changed("apart", {"accumulator": "e8m7", "dataflow": "rotated"}, **never)
    assert "differed from step 2 or never in" in answer and "they differ never" in headline
    answer, page, _ = changed("fixed", {"accumulator": "fixed24 wrap"}, first_difference=7)
    assert "from step 7 with 24 that wrap" in answer and "from step 7 with 24 that wrap" in " ".join(
        page.split()
    )
    _, _, headline = changed("alike", {"accumulator": "e8m10"}, most_distinct=5)
    assert "keeps 5 distinct" in headline
    for name in ("contract", "ascending"):
        answer, page, _ = changed("array", {"kind": "tile"}, **{name: False})
        assert "in 6 of 12 probes" in answer and "**no**" in page
    for accumulator in ("e8m4", "e8m7"):
        answer, page, _ = changed("random", {"accumulator": accumulator, "dataflow": "chunked"}, accuracy=0.3)
        assert "30.0 % chunked (30.0 to 30.0 over 3 seeds)" in answer
        designer = page[page.index("**What it costs**") :]
        assert designer != said[1][said[1].index("**What it costs**") :]
    assert "sequential e8m7 -67.9" in changed("random", {"dataflow": "sequential"}, accuracy=0.3)[0]

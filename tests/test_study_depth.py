"""The depth study's claims, on small versions of what it measures, and its page."""

import copy
import itertools
import json
import math
import re

import pytest
import torch

from sim.layers import named_config
from sim.studies.__main__ import DOCS
from sim.studies.depth import STUDY
from sim.studies.depth.arithmetic import config_of
from sim.studies.depth.closed_form import kept_depth, measure_bits, measure_theory
from sim.studies.depth.signals import drawn_sigma, measure_reach, measure_signal, reach, walk
from sim.studies.depth.training import (
    accuracy,
    digits,
    frontier,
    measure_frontier,
    measure_trained,
    measure_width,
    network,
    train,
)
from sim.studies.runner import read_results
from sim.theory import EXACT, Signal, best_mean_field, init_, level_step, propagate, sums_by_law


def last(levels, config, sigma_w, depth=24, start=0.8):
    """Second moment, over the best one's, and correlation, behind so many layers."""
    signals = walk(levels, config, sigma_w, start=start, pairs=32, seed=0)
    signal = next(itertools.islice(signals, depth, None))
    return signal.second_moment, signal.correlation


def test_truncation_collapses_the_variance_and_its_inverse_restores_it():
    config, best = named_config("e4m7"), best_mean_field(16).sigma_w
    variance, correlation = last(16, config, best)
    assert variance == pytest.approx(0.16, abs=0.03)
    assert correlation == pytest.approx(0.36, abs=0.06)
    exact = last(16, None, best)
    repaired = last(16, config, drawn_sigma(16, config))
    assert exact == pytest.approx((1.0, 0.617), abs=0.07)
    assert repaired == pytest.approx(exact, abs=0.07)


def test_nearest_even_needs_no_repair():
    variance, correlation = last(16, named_config("float12-rne"), best_mean_field(16).sigma_w)
    assert 0.8 < variance < 1.05
    assert correlation == pytest.approx(0.61, abs=0.06)


@pytest.mark.parametrize(("levels", "man_bits"), [(4, 4), (16, 5), (16, 6)])
def test_theory_says_how_far_signals_reach_through_the_accumulator(levels, man_bits):
    config, field = config_of(man_bits, "rz"), best_mean_field(levels)
    sums = sums_by_law(config, 512, levels)
    predicted = reach(iter(propagate(levels, 60, Signal(field.second_moment, 0.9), sums=sums)))
    found = reach(walk(levels, config, field.sigma_w, start=0.9, pairs=64, seed=0))
    assert found == pytest.approx(predicted, rel=0.1)


def test_reach_is_where_a_correlation_has_fallen_by_e():
    decay = [Signal(1.0, 0.9 * 0.8**layer) for layer in range(30)]
    assert reach(iter(decay)) == pytest.approx(-1 / math.log(0.8))
    assert reach(iter(decay[:4])) is None


def bits_for(levels, rounding, repaired):
    """Whole mantissa bits for half the depth, sums of 512."""
    return next(
        bits
        for bits in range(2, 21)
        if kept_depth(levels, sums_by_law(config_of(bits, rounding), 512, levels), repaired) >= 0.5
    )


def test_truncation_takes_nearly_two_bits_a_bit_of_activation_and_less_than_one_repaired():
    plain = bits_for(64, "rz", False) - bits_for(8, "rz", False)
    repaired = bits_for(64, "rz", True) - bits_for(8, "rz", True)
    even = bits_for(64, "rne", False) - bits_for(8, "rne", False)
    assert plain == pytest.approx(3 * 1.8, abs=1)
    assert repaired == pytest.approx(3 * 0.9, abs=1)
    assert even == pytest.approx(repaired, abs=1)
    assert bits_for(16, "rz", False) - bits_for(16, "rz", True) >= 5
    assert kept_depth(16, EXACT, False) == pytest.approx(1, rel=1e-6)


def trained(levels, depth, *, steps, config=None, repaired=False):
    """Accuracy on the training set."""
    images, labels, *_ = digits()
    model = network(levels, depth)
    generator = torch.Generator().manual_seed(0)
    init_(model, levels=levels, config=config if repaired else None, generator=generator)
    train(model, images, labels, steps=steps, seed=0, config=config)
    return accuracy(model, images, labels, config)


def test_depths_that_learn_end_near_six_depth_scales():
    assert 6 * best_mean_field(2).depth_scale == pytest.approx(13.3, abs=0.1)
    assert trained(2, 8, steps=60) > 0.5
    assert trained(2, 24, steps=60) < 0.2
    assert trained(8, 24, steps=60) > 0.7


def test_weights_by_init_make_a_truncating_accumulator_trainable():
    config = config_of(3, "rz")
    collapsed = trained(16, 16, steps=40, config=config)
    repaired = trained(16, 16, steps=40, config=config, repaired=True)
    assert collapsed < 0.4
    assert repaired > 0.7


def test_gradients_keep_their_size_where_weights_are_repaired():
    """Without the slope that init_ sets they would grow by 1 / gain a layer."""
    config = config_of(4, "rz")
    images, labels, *_ = digits()
    model = network(16, 16)
    init_(model, levels=16, config=config, generator=torch.Generator().manual_seed(0))
    train(model, images, labels, steps=1, seed=0, config=config)
    norms = [float(layer.weight.grad.norm()) for layer in model if isinstance(layer, torch.nn.Linear)]
    assert 0.4 < norms[1] / norms[-2] < 2.5


def test_frontier_lies_between_what_is_trained_and_what_is_not():
    assert frontier([(4, 0.9), (8, 0.8), (16, 0.2)]) == pytest.approx(8 * 2**0.5)
    assert frontier([(4, 0.9), (8, 0.9)]) is None
    assert frontier([(4, 0.2), (8, 0.1)]) is None


@pytest.fixture(scope="module")
def data():
    """What the quick version measures, as JSON gives it back."""
    parts = {
        "theory": measure_theory,
        "bits": measure_bits,
        "signal": measure_signal,
        "reach": measure_reach,
        "frontier": measure_frontier,
        "width": measure_width,
        "trained": measure_trained,
    }
    assert list(parts) == [part.name for part in STUDY.parts]
    measured = {name: measure(True, lambda _: None) for name, measure in parts.items()}
    return json.loads(json.dumps(measured, allow_nan=False))


def test_random_layers_agree_with_the_theory(data):
    for row in data["theory"]["layers"]:
        assert row["after"] == pytest.approx(row["predicted"], abs=0.004)


def test_page_has_its_figures_and_every_expected_figure(data):
    drawn = STUDY.figures(data)
    text = STUDY.page(data)
    for name, svg in drawn.items():
        assert f"]({name})" in text
        assert svg.startswith("<svg")
    by_name = {row.what: row for row in STUDY.expected(data)}
    for levels in (4, 8, 16, 32):
        row = by_name[f"1 - χ, N = {levels}"]
        assert abs(float(row.known) - float(row.measured)) < 1e-5
    assert len(STUDY.headline(data).split()) <= 45
    assert "517" in STUDY.headline(data)
    assert STUDY.answer(data).count("\n") == 0


@pytest.fixture(scope="module")
def kept():
    """The results that the page is of."""
    return {name: part["data"] for name, part in read_results(STUDY, DOCS / "results")["parts"].items()}


def test_expected_trajectories_are_those_measured(kept):
    def numbers(text):
        return {name: float(value) for name, value in re.findall(r"(variance|correlation) ([\d.]+)", text)}

    compared = 0
    for row in STUDY.expected(kept):
        measured = numbers(row.measured)
        for name, value in numbers(row.known).items():
            assert measured[name] == pytest.approx(value, abs=0.08 if name == "variance" else 0.025)
            compared += 1
    assert compared == 7


def test_networks_learn_to_six_depth_scales_where_they_are_wide_enough(kept):
    """What the answer says of the frontier, and the page of widths."""
    ratios = {
        each["levels"]: each["frontier"] / each["depth_scale"]
        for each in kept["frontier"]["frontiers"]
        if each["frontier"] is not None
    }
    assert list(ratios) == [2, 3, 4, 6, 8]
    assert all(5 < ratios[levels] < 7 for levels in (2, 3, 4, 6))
    assert ratios[8] < 4.5
    text = STUDY.answer(kept)
    assert f"to {max(ratios.values()):.1f} for N up to 6; {ratios[8]:.1f} for N = 8, too narrow" in text
    wider = [row["train"] for row in kept["width"]["rows"]]
    narrow = [row["train"] for row in kept["frontier"]["rows"] if (row["levels"], row["depth"]) == (8, 128)]
    assert [*narrow, *wider] == sorted([*narrow, *wider])
    assert wider[-1] > 2 * narrow[0]


def test_a_gain_takes_the_depth_and_its_inverse_gives_it_back(kept):
    """The answer: a gain "takes over long before its errors matter", down to "the innermost levels"."""
    cases = {row["name"]: row for row in kept["signal"]["rows"]}
    exact = cases["exact"]["max_depth"]
    assert cases["rz"]["max_depth"] < 0.2 * exact
    assert cases["rz repaired"]["max_depth"] > 0.95 * exact
    # Two deviations of sums end before threshold 2 D: 19 of 20 sums reach the innermost four levels only.
    moment = best_mean_field(16).second_moment * cases["rz"]["settled_variance"]
    assert 2 * cases["rz"]["sigma_w"] * cases["rz"]["deviation"] * math.sqrt(moment) < 2 * level_step(16)


def test_bits_rise_with_levels_and_lengths_as_the_page_says(kept):
    exponent = -kept["theory"]["exponents"]["all"]
    bits = {(row["fan_in"], row["levels"]): row for row in kept["bits"]["rows"]}
    longer = math.log2(4608 / 512)
    for mode, factor in (("rz", 1), ("rz repaired", 0.5), ("rne", 0.5)):
        doubling = (bits[512, 256][mode] - bits[512, 16][mode]) / 4
        assert doubling == pytest.approx(exponent * factor, abs=0.1)
        length = (bits[4608, 64][mode] - bits[512, 64][mode]) / longer
        assert length == pytest.approx(factor, abs=0.15)


def test_the_law_of_gains_is_good_from_four_bits_on(kept):
    for row in kept["reach"]["rows"]:
        if row["man_bits"] is not None:
            off = abs(row["deviation"] / row["predicted_deviation"] - 1)
            assert off < (0.015 if row["man_bits"] >= 4 else 0.06)


def test_answer_has_both_roundings_as_measured(kept):
    """It compares nothing that results could contradict."""
    other = copy.deepcopy(kept)
    for row in other["bits"]["rows"]:
        row["rne"] = 12
    assert "nearest even, with weights for exact sums, 12.0 and 0.0 more" in STUDY.answer(other)
    other["frontier"]["frontiers"] = []
    assert "(on digits, not found on this grid)" in STUDY.answer(other)

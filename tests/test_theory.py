"""The mean-field theory of N levels: exact where it is exact, and against simulation where it is a law."""

import doctest
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import multivariate_normal

from golden.catalog import find
from golden.config import ConfigError
from sim.layers import named_config
from sim.theory import (
    EXACT,
    Levels,
    MeanField,
    Signal,
    asymptotic_error,
    best_mean_field,
    covariance,
    least_quantizer_error,
    level_step,
    measured_sums,
    propagate,
    quantizer_error,
    second_moment,
    settled,
    sums_by_law,
    thresholds,
)

#: 1 - chi as it was tabulated before.
TABLE = {4: 0.118846, 8: 0.037440, 16: 0.011543, 32: 0.003495}


def wide(man_bits: int, rounding: str):
    """An accumulator that only its mantissa limits."""
    number = f"e6m{man_bits}_{rounding}"
    return named_config(f"e5m10_e5m10_p_{number}_a_{number}_c16")


@pytest.mark.parametrize("levels", TABLE)
def test_chi_is_the_tabulated_one(levels):
    assert 1 - best_mean_field(levels).chi == pytest.approx(TABLE[levels], abs=1e-6)


@pytest.mark.parametrize("levels", [*range(2, 34), 100, 1025, 2**16])
def test_what_chi_lacks_is_the_error_of_the_best_uniform_quantizer(levels):
    error, step = least_quantizer_error(levels)
    field = best_mean_field(levels)
    assert 1 - field.chi == pytest.approx(error, abs=1e-9, rel=1e-6)
    assert field.spacing == pytest.approx(step, rel=1e-4)  # an error is flat where it is least
    assert field.sigma_w == pytest.approx(1 / math.sqrt(field.chi), rel=1e-9)


@pytest.mark.parametrize(("levels", "step"), [(2, 1.2), (5, 0.7), (8, 0.586)])
def test_quantizer_error_is_the_integral(levels, step):
    def squared(z):
        index = min(max(math.floor(z / step + levels / 2), 0), levels - 1)
        return (z - step * (index - (levels - 1) / 2)) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    cuts = [-9.0, *(step * thresholds(levels)), 9.0]
    whole = sum(quad(squared, a, b)[0] for a, b in pairwise(cuts))
    assert quantizer_error(levels, step) == pytest.approx(whole, abs=1e-10)


@pytest.mark.parametrize("levels", [3, 4, 7, 16, 64])
def test_no_other_spacing_has_a_larger_chi(levels):
    best = best_mean_field(levels)
    others = [MeanField(levels, best.spacing * factor).chi for factor in np.geomspace(0.1, 10, 401)]
    assert max(others) <= best.chi + 1e-15
    assert MeanField(levels, best.spacing * 1.02).chi < best.chi > MeanField(levels, best.spacing * 0.98).chi


def test_exponent_over_the_published_range():
    levels = np.arange(2, 1026)
    errors = [1 - best_mean_field(int(n)).chi for n in levels]
    slope = np.polyfit(np.log(levels + 1), np.log(errors), 1)[0]
    assert -1.84 <= slope <= -1.79


def test_true_asymptote_is_not_a_power():
    far = [2**power for power in (8, 11, 14, 17)]
    exponents = [math.log2((1 - best_mean_field(n).chi) / (1 - best_mean_field(2 * n).chi)) for n in far]
    assert exponents == sorted(exponents)
    assert exponents == pytest.approx([2 - 1 / math.log(n) for n in far], abs=0.015)
    ratios = [(1 - best_mean_field(n).chi) / asymptotic_error(n) for n in far]
    assert ratios == sorted(ratios)
    assert 0.84 < ratios[-1] < 1


@pytest.mark.parametrize(("levels", "deviation"), [(2, 0.8), (5, 0.3), (16, 1.0)])
def test_second_moment_is_that_of_the_levels(levels, deviation):
    edges = np.concatenate([[-np.inf], level_step(levels) * thresholds(levels) / deviation, [np.inf]])
    values = np.linspace(-1, 1, levels)
    assert second_moment(levels, deviation) == pytest.approx(np.diff(ndtr(edges)) @ values**2, rel=1e-12)


@pytest.mark.parametrize("correlation", [-0.6, 0.3, 0.9])
def test_covariance_is_that_of_a_bivariate_normal(correlation):
    levels, deviation = 4, 0.6
    t = level_step(levels) * thresholds(levels) / deviation
    law = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]])
    both = [law.cdf([a, b]) - ndtr(a) * ndtr(b) for a in t for b in t]
    expected = level_step(levels) ** 2 * sum(both)
    assert covariance(levels, deviation, correlation) == pytest.approx(expected, abs=1e-6)


def test_covariance_of_the_same_input_is_the_second_moment_and_its_slope_is_chi():
    field = best_mean_field(8)
    assert covariance(8, field.deviation, 1 - 1e-9) == pytest.approx(field.second_moment, rel=1e-3)
    assert covariance(8, field.deviation, 1e-5) / field.second_moment == pytest.approx(
        1e-5 * field.chi, rel=1e-8
    )


def test_levels_are_even_from_one_end_to_the_other():
    for levels in (2, 3, 4, 16):
        values = Levels(levels)(torch.linspace(-3, 3, 10_001)).unique()
        assert values.tolist() == pytest.approx(np.linspace(-1, 1, levels).tolist(), abs=1e-6)
        assert torch.equal(values, -values.flip(0))


def test_thresholds_are_midway_between_levels():
    activation, half = Levels(4), level_step(4) / 2
    for level in np.linspace(-1, 1, 4):
        near = torch.tensor([level - 0.99 * half, level, level + 0.99 * half], dtype=torch.float64)
        assert activation(near).tolist() == pytest.approx([level] * 3, abs=1e-12)


def test_gradient_passes_straight_within_one():
    x = torch.tensor([-1.5, -1.0, -0.2, 0.0, 0.7, 1.0, 1.1], requires_grad=True)
    Levels(4, slope=0.5)(x).backward(torch.full_like(x, 3.0))
    assert x.grad.tolist() == [0, 1.5, 1.5, 1.5, 1.5, 1.5, 0]


def test_slope_keeps_the_variance_of_gradients():
    field = best_mean_field(4)
    u = (
        torch.randn(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        * field.deviation
    )
    inside = float((u.abs() <= 1).double().mean())
    assert field.sigma_w**2 * field.slope**2 * inside == pytest.approx(1, abs=0.01)
    assert Levels(4).slope.item() == pytest.approx(field.slope)


def test_signals_stay_at_the_fixed_point_and_lose_correlation_by_chi():
    field = best_mean_field(8)
    signals = propagate(8, 40, Signal(field.second_moment, 0.02))
    assert signals[-1].second_moment == pytest.approx(field.second_moment, rel=1e-9)
    assert signals[-1].correlation == pytest.approx(0.02 * field.chi**40, rel=1e-3)
    end = settled(8)
    assert (end.variance, end.chi) == pytest.approx((1, field.chi), rel=1e-6)


def test_a_gain_moves_the_fixed_point_and_its_inverse_restores_it():
    sums = sums_by_law(wide(7, "rz"), 512, 16)
    field = best_mean_field(16)
    assert settled(16, sums=sums).variance < 0.15
    restored = settled(16, sums=sums, sigma_w=field.sigma_w / sums.deviation)
    assert restored.variance == pytest.approx(1, abs=1e-6)
    assert restored.chi == pytest.approx(field.chi / (1 + sums.noise), rel=1e-9)


def test_levels_with_a_zero_may_all_become_zero():
    assert settled(3, sigma_w=1.0).variance > 0.5
    with pytest.raises(ConfigError, match=r"all become 0.*larger weights"):
        settled(3, sigma_w=0.3)
    with pytest.raises(ConfigError, match=r"all become 0"):
        propagate(3, 60, Signal(0.5, 0.5), sigma_w=0.3)


@pytest.mark.parametrize(
    ("rounding", "man_bits", "within"), [("rz", 4, 0.03), ("rz", 7, 0.01), ("rne", 5, 0.01), ("sr8", 4, 0.01)]
)
@pytest.mark.parametrize("fan_in", [128, 512])
def test_law_of_sums_against_the_accumulator(rounding, man_bits, within, fan_in):
    config = wide(man_bits, rounding)
    law, measured = sums_by_law(config, fan_in, 16), measured_sums(config, fan_in, 16)
    assert measured.deviation == pytest.approx(law.deviation, rel=within)
    assert measured.noise == pytest.approx(law.noise, abs=0.004)


def test_law_is_of_float_accumulators():
    with pytest.raises(ConfigError, match=r"float accumulators.*measured_sums"):
        sums_by_law(find("fixed16"), 512, 16)


def test_exact_sums_are_measured_as_exact():
    sums = measured_sums(find("exact"), 256, 16)
    assert sums.deviation == pytest.approx(EXACT.deviation, abs=0.01)
    assert abs(sums.noise) < 0.005


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: level_step(1), r"levels=1"),
        (lambda: thresholds(0), r"levels=0"),
        (lambda: asymptotic_error(1), r"levels=1"),
        (lambda: second_moment(1, 1.0), r"levels=1"),
        (lambda: second_moment(16, 0), r"deviation=0;"),
        (lambda: covariance(16, -1.0, 0.5), r"deviation=-1\.0"),
        (lambda: covariance(16, 1.0, 1.2), r"correlation=1\.2"),
        (lambda: MeanField(4, 0), r"spacing=0"),
        (lambda: settled(16, sigma_w=0), r"sigma_w=0;"),
        (lambda: settled(16, sigma_w=-1), r"sigma_w=-1;"),
        (lambda: propagate(16, 3, Signal(0.1, 0.5), sigma_w=-1), r"sigma_w=-1;"),
        (lambda: measured_sums("e4m7", 0, 16), r"fan_in=0;"),
        (lambda: measured_sums("e4m7", 16, 16, sigma_w=0), r"sigma_w=0;"),
        (lambda: sums_by_law("e4m7", 2.5, 16), r"fan_in=2\.5;"),
        (lambda: sums_by_law({"0": "e4m7"}, 64, 16), r"has several; use one configuration"),
        (lambda: sums_by_law(None, 64, 16), r"None is no arithmetic"),
    ],
)
def test_what_has_no_mean_field(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_sums_are_of_a_configuration_or_its_name():
    assert sums_by_law("e4m7", 512, 16) == sums_by_law(named_config("e4m7"), 512, 16)
    assert measured_sums("e4m7", 64, 16) == measured_sums(named_config("e4m7"), 64, 16)


def test_noise_is_a_variance_also_where_pairs_share_their_errors():
    """Saturated sums correlate better than the exact ones."""
    sums = measured_sums("fixed12", 512, 16)
    assert sums.noise == 0
    assert settled(16, sums=sums).chi <= best_mean_field(16).chi


def test_equal_inputs_stay_equal():
    signals = propagate(4, 30, Signal(best_mean_field(4).second_moment, 1.0))
    assert all(0.999 < signal.correlation <= 1 for signal in signals[:2])
    assert signals[-1].correlation <= 1


def test_page_is_right():
    page = Path(__file__).resolve().parent.parent / "docs" / "theory.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 10
    assert failed == 0

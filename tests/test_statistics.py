"""Paired intervals against the table of their paper, against resampling and against themselves."""

import numpy as np
import pytest

from sim.statistics import paired_decibel_interval, paired_interval


def answers(both, only_a, only_b, neither):
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe 1998, table II, first example
        ((43, 0, 1, 6), -0.0979, 0.0518),
    ],
)
def test_against_published_figures(counts, low, high):
    got = paired_interval(*answers(*counts))
    assert tuple(round(end, 4) for end in got) == (low, high)


def test_swapping_the_answers_mirrors_the_interval():
    a, b = answers(900, 30, 12, 58)
    low, high = paired_interval(a, b)
    assert paired_interval(b, a) == pytest.approx((-high, -low), abs=1e-15)


def test_equal_answers_still_have_a_width():
    a, _ = answers(950, 0, 0, 50)
    low, high = paired_interval(a, a)
    assert low < 0 < high


def test_different_images_are_refused():
    with pytest.raises(ValueError, match="two answers for the same images"):
        paired_interval(np.ones(3, bool), np.ones(4, bool))


def test_decibels_agree_with_resampling():
    generator = np.random.default_rng(0)
    b = generator.exponential(size=400)
    a = b * 1.1 + 0.1 * generator.exponential(size=400)
    picked = generator.integers(400, size=(4000, 400))
    resampled = 10 * np.log10(b[picked].mean(1) / a[picked].mean(1))
    assert paired_decibel_interval(a, b) == pytest.approx(np.quantile(resampled, (0.025, 0.975)), abs=0.02)


def test_decibels_of_a_common_factor_are_certain():
    errors = np.random.default_rng(0).exponential(size=50)
    assert paired_decibel_interval(10 * errors, errors) == pytest.approx((-10, -10), abs=1e-12)


def test_decibels_of_other_images_are_refused():
    with pytest.raises(ValueError, match="two errors for each of the same images"):
        paired_decibel_interval(np.ones(3), np.ones(4))

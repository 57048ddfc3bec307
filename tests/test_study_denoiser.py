"""The claims of the study of cancellation, on small versions, and its page."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from golden import accumulate as golden
from golden.config import Rounding
from sim.denoisers import (
    accumulator_config,
    empirical_mmse,
    error_bound,
    narrow_output,
    narrow_terms,
    term_order,
)
from sim.denoising import DenoisingNetwork, decibels, denoising_network, plan_of, squared_errors
from sim.studies import find_study
from sim.studies.denoiser import errors, forms, images, plateaus
from sim.studies.denoiser.image_sections import least_close
from sim.studies.denoiser.setting import POINTS, RADII, SIGMA, evenly_spaced, least_winning, planar
from sim.studies.page import measured, study_page

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def main():
    """The line at the main noise, 2000 samples."""
    return errors.measure(True, lambda line: None)["main"]


def test_the_exact_denoiser_beats_the_empirical_one_at_low_noise_only():
    rows = {row["sigma"]: row for row in errors.by_sigma(4000)}
    assert rows[0.003]["exact"] < rows[0.003]["empirical"] / 50
    assert rows[0.01]["exact"] < rows[0.01]["empirical"] / 5
    assert rows[0.035]["exact"] > rows[0.035]["empirical"]


def test_toward_zero_sorting_is_worth_four_mantissa_bits_over_grouping_and_two_over_alternating(main):
    least = main["least"]["toward zero"]
    assert (least["smallest first"], least["alternating"], least["grouped"]) == (5, 7, 9)
    assert least["random"] == 5


def test_with_neurons_on_the_accumulator_too_the_least_bits_are_the_known_ones():
    form = evenly_spaced(POINTS, RADII * SIGMA)
    x, y = errors.scene(form, SIGMA, 2000)
    empirical = float((empirical_mmse(form.points, SIGMA, y) - x).square().mean())
    whole = errors.swept(form, x, y, ("smallest first", "grouped"), whole=True)
    least = {
        rounding: [least_winning(by_bits, empirical) for by_bits in by_order.values()]
        for rounding, by_order in whole.items()
    }
    assert (least["toward zero"], least["nearest even"]) == ([5, 9], [4, 6])


def test_rounding_to_nearest_needs_fewer_bits_in_every_order(main):
    for order, toward_zero in main["least"]["toward zero"].items():
        for rounding in ("nearest even", "stochastic"):
            assert main["least"][rounding][order] <= toward_zero
    assert main["least"]["nearest even"]["grouped"] == 6


def test_the_least_bits_are_those_from_which_on_all_win():
    assert least_winning({"1": 0.1, "2": 3.0, "3": 0.9, "4": 0.1}, 1.0) == 3
    assert least_winning({"1": 0.1, "2": 3.0}, 1.0) is None


def test_no_result_of_the_small_format_is_beyond_the_bound():
    every = plateaus.every_input(calls=2)
    assert every["compared"] == 256 * 4 * 10 * (1 + 1 + 2)
    assert every["violated"] == 0
    assert every["tightest"] > 0.9  # and some come close, so that the bound says something


def test_truncation_only_lowers_plateaus_whose_partial_sums_are_positive():
    form = evenly_spaced(POINTS, RADII * SIGMA)
    y = torch.linspace(-1, 1, 501, dtype=torch.float64)[:, None]
    for order in ("alternating", "grouped"):
        network = form.network.ordered(term_order(order, len(form.network)))
        for man_bits in (3, 6, 9):
            config = accumulator_config(man_bits, Rounding.TOWARD_ZERO)
            exact = narrow_terms(network, y, config).sum(-1) + network.c
            assert (narrow_output(network, y, config) <= exact).all()


@pytest.mark.parametrize("order", ["smallest first", "alternating", "grouped"])
def test_where_the_bound_is_within_the_plateau_nothing_leaves_it(order):
    form = evenly_spaced(POINTS, RADII * SIGMA)
    network = form.network.ordered(term_order(order, len(form.network)))
    places = torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None, None]
    y = form.points + plateaus.WITHIN * form.rho * places
    for man_bits in range(2, 14):
        config = accumulator_config(man_bits, Rounding.TOWARD_ZERO)
        at = plateaus.on_plateaus(network, form.points, y, config)
        assert at["beyond_bound"] == 0
        assert at["uneven"] <= 2 * at["bound"]
        if at["bound"] <= form.rho:
            assert at["left"] == 0
            assert at["drift"] <= at["bound"] + 1e-7  # and what the operands' 24 bits take
            break
    else:
        pytest.fail("13 bits are not enough for the bound")


def test_the_order_decides_by_the_sum_of_partial_sums():
    """With m ramps left of a plateau, gaps g: 3/2 m^2 g alternating, 1/2 m^2 g sorted, 1/2 m^3 g grouped."""
    form = evenly_spaced(41, 1e-4)
    config, m = accumulator_config(20, Rounding.TOWARD_ZERO), 40
    y = form.points[-1:]
    bounds, sums = {}, {}
    for order in ("alternating", "smallest first", "grouped"):
        terms = narrow_terms(form.network.ordered(term_order(order, len(form.network))), y, config)
        sums[order] = float(terms.cumsum(-1).abs().sum()) / (2 / m)
        bounds[order] = float(error_bound(terms, config.accumulator)) * 2.0**20 / (2 / m)
    assert sums["alternating"] == pytest.approx(1.5 * m**2, rel=0.05)
    assert sums["smallest first"] == pytest.approx(0.5 * m**2, rel=0.05)
    assert sums["grouped"] == pytest.approx(0.5 * m**3, rel=0.1)
    for order, bound in bounds.items():
        assert sums[order] / 2 < bound <= sums[order] * (1 + 2.0**-20) ** 80


def test_a_hundred_thousand_points_contract():
    for form in (evenly_spaced(POINTS, RADII * SIGMA), *planar(0.1).values()):
        inside = forms.contraction(form, forms.between(form, 100_000))
        assert inside["nearer"] == inside["points"] == 100_000
    two_rays = planar(0.1)["two rays"]
    outside = forms.contraction(two_rays, torch.tensor([[0.8, 0.8]], dtype=torch.float64))
    assert outside["nearer"] == 0  # toward the corner (1, 1), which is no clean point


@pytest.fixture(scope="module")
def stripes() -> DenoisingNetwork:
    generator = torch.Generator().manual_seed(0)
    images_ = ((torch.rand(512, 4, 1, generator=generator) > 0.5).float() * torch.ones(4)).flatten(1)
    return denoising_network(images_[:384], images_[384:], sigma=0.1, seed=0)


def test_repair_takes_back_most_of_what_truncation_takes_from_images(stripes):
    config = images.configs(9)["toward zero"]
    plan = plan_of(stripes, config, shared=None)
    plain, repaired = squared_errors(stripes, plan), images.repaired(stripes, plan)
    assert decibels(plain) < decibels(repaired) - 1
    assert decibels(repaired) <= decibels(stripes.errors) + 0.1


def test_image_orders_are_orders_of_the_same_sums(stripes):
    plan = plan_of(stripes, images.configs(14)["nearest even"], shared=None)
    ascending = images.in_order(stripes, plan, "ascending")
    assert ascending == pytest.approx(squared_errors(stripes, plan), rel=1e-6)
    for name in images.IMAGE_ORDERS[1:]:
        assert np.mean(images.in_order(stripes, plan, name)) == pytest.approx(ascending.mean(), rel=0.05)


def test_products_in_order_are_the_contracts():
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randint(-8, 9, shape, generator=generator).double() for shape in ((5, 24), (24, 7)))
    order = torch.rand(24, 7, generator=generator).argsort(0)
    config = accumulator_config(2, Rounding.TOWARD_ZERO)
    assert (images.ordered_product(x, w, config, order) == golden.matmul(x, w, config, order)).all()
    assert (
        images.ordered_product(x, w, config, order[:, 0]) == golden.matmul(x, w, config, order[:, 0])
    ).all()
    assert (images.ordered_product(x, w, config, order) != golden.matmul(x, w, config)).any()


def test_image_orders_by_hand():
    terms = torch.tensor([[3.0], [-1.0], [-2.0], [1.0], [-4.0]])
    orders = {name: images.term_orders(name, terms) for name in images.IMAGE_ORDERS}
    assert orders["smallest first, shared"].tolist() == [1, 3, 2, 0, 4]
    assert orders["ascending"] is None
    assert orders["grouped"].flatten().tolist() == [0, 3, 1, 2, 4]
    assert orders["smallest first"].flatten().tolist() == [1, 3, 2, 0, 4]
    assert orders["alternating"].flatten().tolist() == [3, 1, 0, 2, 4]


@pytest.fixture(scope="module")
def kept() -> dict:
    """The kept results: {part: data}."""
    return measured(json.loads((DOCS / "results" / find_study("denoiser").file).read_text()))


def test_the_kept_results_bear_out_what_is_said_of_orders(kept):
    found = kept["errors"]
    tables = [found["main"]["least"], found["main"]["least_doubled"], found["whole"]["least"]]
    for least in (row for rows in tables for row in rows.values()):
        assert least["random"] <= least["alternating"]
        assert least["grouped"] == max(least.values())
    for by_bits in kept["plateaus"]["plateaus"]["toward zero"].values():
        assert by_bits["7"]["uneven"] < by_bits["7"]["largest_error"]


def test_the_kept_results_bear_out_what_is_said_of_noise(kept):
    """The more noise, the smaller the lead over the empirical denoiser, the terms and what is lost."""
    lead = [row["empirical"] / row["exact"] for row in kept["errors"]["sigmas"]]
    assert lead == sorted(lead, reverse=True)
    levels = sorted(kept["digits"]["levels"], key=lambda level: level["sigma"])
    assert len(levels) == 3
    for value in (
        lambda level: level["float32_psnr"] - level["empirical_psnr"],
        lambda level: level["cancellation"][-1],
        lambda level: -level["by_width"]["toward zero"]["12"]["plain"]["difference"],
    ):
        assert [value(level) for level in levels] == sorted(map(value, levels), reverse=True)


def test_repaired_truncation_is_close_to_nearest_even_from_a_width_on(kept):
    least = least_close(kept)
    assert least == 11
    behind = [
        level["by_width"]["nearest even"][bits]["repaired"]["psnr"]
        - level["by_width"]["toward zero"][bits]["repaired"]["psnr"]
        for level in (*kept["digits"]["levels"], kept["fashion"])
        for bits in ("10", "11")
    ]
    assert max(behind[1::2]) < 0.1 < max(behind[::2])


def test_the_bits_are_those_of_the_order_as_built(kept):
    bits = find_study("denoiser").bits(kept)
    assert (bits.truncating, bits.repaired, bits.nearest) == (7, 5, 5)


def test_the_page_follows_from_the_kept_results(kept):
    study = find_study("denoiser")
    results = json.loads((DOCS / "results" / study.file).read_text())
    assert (DOCS / "studies" / "denoiser.md").read_text() == study_page(study, results)
    without = {name: part for name, part in kept.items() if name != "fashion"}
    assert "Fashion-MNIST, σ" not in study.page(without)
    assert len(study.headline(kept).split()) <= 45
    for name, text in study.figures(kept).items():
        assert f"]({name})" in study.page(kept)
        assert text.startswith("<svg")

"""Minimum-norm denoisers: closed forms against networks and convex programs; narrow sums and their bound."""

import math

import pytest
import torch

from golden import accumulate as golden
from golden.catalog import find
from golden.config import ConfigError, Rounding
from golden.random_words import RandomWords
from sim.denoisers import (
    ORDERS,
    ReluNetwork,
    accumulator_config,
    drift,
    empirical_mmse,
    equilateral_triangle,
    error_bound,
    least_norm_bound,
    least_norm_line,
    line,
    narrow_hidden,
    narrow_output,
    narrow_terms,
    obtuse_simplex,
    rays,
    subspace,
    term_order,
    train_with_weight_decay,
)
from sim.studies.denoiser.setting import corner_samples, planar

RHO = 0.1


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def basis(dimensions, seed=0):
    return torch.linalg.qr(normal(dimensions, dimensions, seed=seed)).Q


def tetrahedron():
    """An obtuse corner in four dimensions, away from the origin."""
    edges = torch.tensor([[2.0, 0, 0, 0], [-0.5, 1.5, 0, 0], [-0.5, -0.5, 1, 0]], dtype=torch.float64)
    return torch.cat([torch.zeros(1, 4, dtype=torch.float64), edges]) @ basis(4) + normal(4, seed=3)


FORMS = {
    "line": line([0.3, -1.0, 1.0, -0.2], RHO),
    "line in space": subspace(line([-1, 0, 0.5], RHO), basis(5)[:, :1]),
    "plane in space": subspace(planar(RHO)["equilateral triangle"], basis(3)[:, :2]),
    "rays": rays(basis(4)[:3], [1.0, 0.5, 2.0], RHO),
    "simplex": obtuse_simplex(tetrahedron(), RHO),
    **planar(RHO),
}
of_each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@of_each_form
def test_network_and_function_are_the_same(form):
    y = 2 * normal(2000, form.points.shape[1])
    assert (form(y) - form.network(y)).abs().max() < 1e-13
    assert form.cost == pytest.approx(form.network.cost, rel=1e-14)


@of_each_form
def test_clean_points_come_back_from_anywhere_in_their_balls(form):
    direction = normal(500, form.points.shape[1], seed=1)
    within = RHO * direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-9)
    for x in form.points:
        assert (form(x + within) - x).abs().max() < 1e-13


@of_each_form
def test_inputs_of_less_precision_are_taken_as_they_are(form):
    y = normal(100, form.points.shape[1]).float()
    assert (form(y) == form(y.double())).all()
    assert (form.network(y) == form.network(y.double())).all()


@of_each_form
def test_a_balanced_network_decays_by_its_cost(form):
    balanced, y = form.network.balanced(), normal(100, form.points.shape[1])
    assert balanced.weight_decay == pytest.approx(form.cost, rel=1e-12)
    assert form.network.weight_decay >= form.cost
    assert (balanced(y) - form(y)).abs().max() < 1e-13


def test_costs_by_hand():
    assert line([-1, 0, 2], 0.25).cost == pytest.approx(2 * (1 / 0.5 + 2 / 1.5))
    assert [round(form.cost, 5) for form in planar(RHO).values()] == [4.61538, 5.0, 4.80769]
    assert FORMS["line in space"].cost == line([-1, 0, 0.5], RHO).cost


def test_the_line_is_what_the_linear_program_finds():
    form = FORMS["line"]
    samples = (form.points + RHO * torch.linspace(-1, 1, 5, dtype=torch.float64)).flatten()
    solved = least_norm_line(samples, form.points.repeat_interleave(5))
    y = torch.linspace(-3, 3, 1201, dtype=torch.float64)[:, None]
    assert solved.cost == pytest.approx(form.cost, abs=1e-9)
    assert (solved(y) - form(y)).abs().max() < 1e-9


@pytest.mark.parametrize("name", planar(RHO))
def test_no_network_in_the_plane_is_cheaper(name):
    form = planar(RHO)[name]
    bound = least_norm_bound(*corner_samples(form), gap=5e-6)
    assert form.cost - 1e-5 < bound <= form.cost + 1e-9


def test_the_bound_is_below_what_a_network_of_the_same_samples_costs():
    """Where no closed form is known: an acute triangle that is not equilateral."""
    points = torch.tensor([[0, 0], [1, 0.2], [0.3, 0.9]], dtype=torch.float64)
    angles = torch.arange(4, dtype=torch.float64) * math.pi / 2
    ring = RHO * torch.stack([angles.cos(), angles.sin()], dim=1)
    samples, targets = (points[:, None] + ring).flatten(0, 1), points.repeat_interleave(4, dim=0)
    bound = least_norm_bound(samples, targets, gap=1e-3)
    fitted = train_with_weight_decay(samples, targets, neurons=60, decay=1e-4, steps=2500, seed=0)
    assert (fitted(samples) - targets).abs().max() < 0.03
    assert 0.97 * bound < fitted.cost < 1.1 * bound


def test_training_with_weight_decay_finds_the_line():
    form = line([-1, 1], 0.2)
    samples = (form.points + 0.2 * torch.linspace(-1, 1, 7, dtype=torch.float64)).reshape(-1, 1)
    targets = form.points.repeat_interleave(7, dim=0)
    fitted = train_with_weight_decay(samples, targets, neurons=40, decay=1e-5, steps=2000, seed=0)
    y = torch.linspace(-1.2, 1.2, 201, dtype=torch.float64)[:, None]
    assert (fitted(y) - form(y)).abs().max() < 0.03
    assert fitted.cost == pytest.approx(form.cost, rel=0.1)


def test_empirical_mmse_by_hand():
    points, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [0.6]])
    odds = math.exp((0.6**2 - 0.4**2) / (2 * 0.1**2))
    assert empirical_mmse(points, 0.1, y)[:, 0].tolist() == pytest.approx([0.5, odds / (1 + odds)])


@pytest.mark.parametrize("rounding", [Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN, Rounding.STOCHASTIC])
@pytest.mark.parametrize("order", ORDERS)
def test_narrow_sums_are_the_contracts_and_within_the_bound(rounding, order):
    form = line(torch.linspace(-1, 1, 8).tolist(), 0.03)
    terms = term_order(order, len(form.network), seed=5)
    network, y = form.network.ordered(terms), torch.linspace(-1.5, 1.5, 173, dtype=torch.float64)[:, None]
    words = RandomWords(seed=1, call=2)
    for man_bits in (1, 4, 9):
        config = accumulator_config(
            man_bits, rounding, random_bits=4 if rounding is Rounding.STOCHASTIC else None
        )
        got = narrow_output(network, y, config, words)
        products = narrow_terms(network, y, config)
        hidden, a = form.network.hidden(y).float().double(), form.network.a.float().double()
        wanted = golden.matmul(hidden, a, config, torch.tensor(terms), words) + form.network.c
        assert (got == wanted).all()
        error = (got - form.network.c - products.sum(-1)).abs()
        assert (error <= error_bound(products, config.accumulator)).all()


def test_a_whole_network_sums_its_neurons_too():
    network, y = line([-1, 1], 0.3).network, torch.tensor([[-0.9], [0.43], [1.1]], dtype=torch.float64)
    config = accumulator_config(3, Rounding.TOWARD_ZERO)
    inputs = torch.cat([y, torch.ones_like(y)], dim=1).float().double()
    weights = torch.stack([network.w[:, 0], network.b]).float().double()
    hidden = golden.matmul(inputs, weights, config).clamp(min=0)
    assert (narrow_hidden(network, y, config) == hidden).all()
    wanted = golden.matmul(hidden, network.a.float().double(), config) + network.c
    assert (narrow_output(network, y, config, whole=True) == wanted).all()
    assert (narrow_output(network, y, config) != wanted).any()


def test_the_bound_step_by_step():
    """3 + 2.75 - 5.75 to 1 mantissa bit, toward zero: units of 1, 2 and 1 at most."""
    accumulator = accumulator_config(1, Rounding.TOWARD_ZERO).accumulator
    terms = torch.tensor([3.0, 0.0, 2.75, -5.75], dtype=torch.float64)
    first, second, third = 1.0, 2.0, 1.0  # of 3, of 5.75 + 1 and of 0 + 3
    assert error_bound(terms, accumulator).item() == first + second + third


def test_orders():
    assert term_order("grouped", 6) == [0, 2, 4, 1, 3, 5]
    assert term_order("smallest first", 4) == [3, 2, 1, 0]
    with pytest.raises(ValueError, match="there is no order 'sorted'"):
        term_order("sorted", 4)


def test_smallest_first_sorts_the_terms_of_every_input():
    network = line(torch.linspace(-1, 1, 6).tolist(), 0.03).network
    ordered = network.ordered(term_order("smallest first", len(network)))
    y = torch.linspace(-1.2, 1.2, 99, dtype=torch.float64)[:, None]
    sizes = narrow_terms(ordered, y, accumulator_config(8, Rounding.TOWARD_ZERO)).abs()[:, 0]
    assert (sizes.diff(dim=1) >= 0).all()


def test_drift_denoises_again_and_again():
    network = line([-1, 1], 0.3).network
    y = torch.tensor([[-0.5], [0.4]], dtype=torch.float64)
    config = accumulator_config(5, Rounding.TOWARD_ZERO)
    assert (
        drift(network, y, config, 2) == narrow_output(network, narrow_output(network, y, config), config)
    ).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: line([0, 0.2], RHO), "are not apart"),
        (lambda: line([0], RHO), "are not apart"),
        (lambda: line([0, 1], -RHO), "a noise radius of -0.1 is below 0"),
        (lambda: rays(torch.eye(2), [1, 1], -RHO), "a noise radius of -0.1 is below 0"),
        (lambda: rays(torch.eye(3), [1.0], RHO), "3 rays have a length each, and 1 are given"),
        (lambda: obtuse_simplex([[0, 0]], RHO), "a simplex of 1 points has no edge"),
        (lambda: error_bound(torch.ones(3), find("fixed12").accumulator), "the bound is of float"),
        (
            lambda: rays(torch.ones(2, 2), [1, 1], RHO),
            "directions of rays are orthonormal, and these are not",
        ),
        (lambda: rays(torch.eye(2), [1, 0.2], RHO), "touch; use less than 0.1"),
        (lambda: obtuse_simplex([[0, 0], [1, 0], [1, 1]], RHO), "meet at less than 90 degrees"),
        (lambda: equilateral_triangle([[0, 0], [1, 0], [0, 1]], RHO), "these are not"),
        (lambda: subspace(line([-1, 1], RHO), torch.ones(3, 1)), "a basis of the subspace"),
        (lambda: least_norm_bound(torch.eye(3), torch.eye(3), gap=1), "not in 3 dimensions"),
        (lambda: FORMS["line"].network.ordered([0, 0]), "an order of 6 terms"),
        (
            lambda: ReluNetwork(a=torch.ones(2, 1), w=torch.ones(2, 1), b=torch.ones(3), c=torch.ones(1)),
            "for a of",
        ),
    ],
)
def test_what_is_not_known_is_refused(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()

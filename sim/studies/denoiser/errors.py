"""Part ``errors``: mean squared error against mantissa bits, rounding and order, beside the empirical
MMSE.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sim.denoisers import (
    ORDERS,
    ClosedForm,
    accumulator_config,
    empirical_mmse,
    narrow_output,
    rays,
    subspace,
    term_order,
)
from sim.studies.denoiser.setting import (
    POINTS,
    RADII,
    ROUNDINGS,
    SEED,
    SIGMA,
    evenly_spaced,
    least_winning,
    planar,
)

__all__ = ["by_sigma", "measure", "scene", "swept"]

_MAN_BITS = range(1, 15)
_SIGMAS = (0.003, 0.01, 0.02, 0.03, 0.035)
_MANY = (5, 10, 20)  # points of the line
_PICTURE = 5  # mantissa bits of the pictured functions


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def scene(form: ClosedForm, sigma: float, count: int) -> tuple[Tensor, Tensor]:
    """Clean x on the segments from the first point to the others, or along the line; y = x + noise."""
    generator = torch.Generator().manual_seed(SEED)
    along = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    points = form.points
    collinear = torch.linalg.matrix_rank(points - points[0]) == 1
    first = len(points) - 1 if collinear else 1
    ends = points[torch.randint(first, len(points), (count,), generator=generator)]
    x = points[0] + along * (ends - points[0])
    return x, x + sigma * _normal(tuple(x.shape), generator)


def _mean_square(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).square().sum(1).mean())


def swept(
    form: ClosedForm, x: Tensor, y: Tensor, orders: tuple[str, ...] = ORDERS, *, whole: bool = False
) -> dict:
    """Mean squared error by rounding, order and mantissa bits: {rounding: {order: {M: error}}}.

    ``whole``: neurons are summed by the accumulator, too.
    """
    networks = {
        order: form.network.ordered(term_order(order, len(form.network), seed=SEED)) for order in orders
    }
    return {
        rounding: {
            order: {
                str(man_bits): _mean_square(
                    narrow_output(
                        network, y, accumulator_config(man_bits, mode, random_bits=random_bits), whole=whole
                    ),
                    x,
                )
                for man_bits in _MAN_BITS
            }
            for order, network in networks.items()
        }
        for rounding, (mode, random_bits) in ROUNDINGS.items()
    }


def _compared(form: ClosedForm, sigma: float, count: int, orders: tuple[str, ...] = ORDERS) -> dict:
    x, y = scene(form, sigma, count)
    errors = swept(form, x, y, orders)
    exact, empirical = _mean_square(form(y), x), _mean_square(empirical_mmse(form.points, sigma, y), x)
    return {
        "sigma": sigma,
        "rho": form.rho,
        "points": len(form.points),
        "n": count,
        "noise": _mean_square(y, x),
        "empirical": empirical,
        "exact": exact,
        "errors": errors,
        "least": _least(errors, empirical),
        "least_doubled": _least(errors, 2 * exact),
    }


def _least(errors: dict, limit: float) -> dict:
    """The least M from which on the error is below a limit, by rounding and order."""
    return {
        rounding: {order: least_winning(by_bits, limit) for order, by_bits in by_order.items()}
        for rounding, by_order in errors.items()
    }


def _in_space(rho: float) -> dict[str, ClosedForm]:
    """Shapes of more dimensions, in a basis that is no axis of theirs."""
    normal = _normal((8, 8), torch.Generator().manual_seed(SEED))
    basis = torch.linalg.qr(normal).Q
    return {
        **planar(rho),
        f"{POINTS} points of a line in 8 dimensions": subspace(evenly_spaced(POINTS, rho), basis[:, :1]),
        "eight rays in 8 dimensions": rays(basis, [1.0] * 8, rho),
    }


def by_sigma(count: int) -> list[dict]:
    """The exact denoiser against the empirical one: which wins is a matter of the noise."""
    rows = []
    for sigma in _SIGMAS:
        form = evenly_spaced(POINTS, RADII * sigma)
        x, y = scene(form, sigma, count)
        empirical = _mean_square(empirical_mmse(form.points, sigma, y), x)
        rows.append({"sigma": sigma, "exact": _mean_square(form(y), x), "empirical": empirical})
    return rows


def _pictures(form: ClosedForm) -> dict:
    """The function itself through a truncating accumulator, by order."""
    y = torch.linspace(-1.1, 1.1, 551, dtype=torch.float64)[:, None]
    config = accumulator_config(_PICTURE, ROUNDINGS["toward zero"][0])
    drawn = {
        order: narrow_output(form.network.ordered(term_order(order, len(form.network))), y, config)
        for order in ORDERS[:3]
    }
    return {
        "man_bits": _PICTURE,
        "y": y[:, 0].tolist(),
        "exact": form(y)[:, 0].tolist(),
        **{order: values[:, 0].tolist() for order, values in drawn.items()},
    }


def measure(quick: bool, report: Callable[[str], None]) -> dict:
    """The line at the main noise, at other noises and with other numbers of points; shapes in the plane."""
    count = 2000 if quick else 20_000
    main = evenly_spaced(POINTS, RADII * SIGMA)
    result: dict = {"seed": SEED, "main": _compared(main, SIGMA, count), "pictures": _pictures(main)}
    report("the line")
    x, y = scene(main, SIGMA, count)
    whole, empirical = swept(main, x, y, ORDERS, whole=True), result["main"]["empirical"]
    result["whole"] = {"errors": whole, "least": _least(whole, empirical)}
    report("the line, neurons too")
    result["sigmas"] = by_sigma(count)
    result["points"] = [
        _compared(evenly_spaced(points, RADII * SIGMA), SIGMA, count, ORDERS[:3]) for points in _MANY
    ]
    report("other numbers of points")
    result["space"] = {
        name: _compared(form, SIGMA, count, ORDERS[:3]) for name, form in _in_space(RADII * SIGMA).items()
    }
    return result

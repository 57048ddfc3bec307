"""Minimum-norm shallow denoisers: in closed form, by convex programs, trained, and on narrow accumulators.

C. Zeno, G. Ongie, Y. Blumenfeld, N. Weinberger and D. Soudry, How do minimum-norm shallow denoisers look in
function space?, NeurIPS 2023, arXiv 2311.06748.
"""

from sim.denoisers.closed_form import (
    ClosedForm,
    Ramp,
    equilateral_triangle,
    line,
    obtuse_simplex,
    rays,
    subspace,
)
from sim.denoisers.empirical import empirical_mmse
from sim.denoisers.least_norm import least_norm_bound, least_norm_line
from sim.denoisers.narrow import (
    ORDERS,
    accumulator_config,
    drift,
    error_bound,
    narrow_hidden,
    narrow_output,
    narrow_terms,
    term_order,
)
from sim.denoisers.network import ReluNetwork
from sim.denoisers.trained import train_with_weight_decay

__all__ = [
    "ORDERS",
    "ClosedForm",
    "Ramp",
    "ReluNetwork",
    "accumulator_config",
    "drift",
    "empirical_mmse",
    "equilateral_triangle",
    "error_bound",
    "least_norm_bound",
    "least_norm_line",
    "line",
    "narrow_hidden",
    "narrow_output",
    "narrow_terms",
    "obtuse_simplex",
    "rays",
    "subspace",
    "term_order",
    "train_with_weight_decay",
]

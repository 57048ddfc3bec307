"""How deep a network of N-level activations can be, exactly and on a narrow accumulator; see
docs/theory.md.
"""

from sim.theory.activation import Levels
from sim.theory.initialise import DrawnLayer, init_
from sim.theory.mean_field import (
    MeanField,
    asymptotic_error,
    best_mean_field,
    covariance,
    level_step,
    second_moment,
    thresholds,
)
from sim.theory.quantizer import least_quantizer_error, quantizer_error
from sim.theory.sums import EXACT, Settled, Signal, Sums, measured_sums, propagate, settled, sums_by_law

__all__ = [
    "EXACT",
    "DrawnLayer",
    "Levels",
    "MeanField",
    "Settled",
    "Signal",
    "Sums",
    "asymptotic_error",
    "best_mean_field",
    "covariance",
    "init_",
    "least_quantizer_error",
    "level_step",
    "measured_sums",
    "propagate",
    "quantizer_error",
    "second_moment",
    "settled",
    "sums_by_law",
    "thresholds",
]

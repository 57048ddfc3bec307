"""How deep can a network of N-level activations be, and when is it the accumulator that says so?"""

from sim.studies.depth.closed_form import measure_bits, measure_theory
from sim.studies.depth.expected import expected
from sim.studies.depth.page import answer, bits, figures, headline, page
from sim.studies.depth.signals import measure_reach, measure_signal
from sim.studies.depth.training import measure_frontier, measure_trained, measure_width
from sim.studies.study import Part, Study

__all__ = ["STUDY"]

STUDY = Study(
    name="depth",
    title="How deep can it go?",
    question=(
        "How deep can a network of N-level activations be, and how many mantissa bits does a sum need before "
        "the accumulator, not the activation, limits that?"
    ),
    parts=(
        Part("theory", measure_theory),
        Part("bits", measure_bits),
        Part("signal", measure_signal),
        Part("reach", measure_reach),
        Part("frontier", measure_frontier),
        Part("width", measure_width),
        Part("trained", measure_trained),
    ),
    page=page,
    headline=headline,
    answer=answer,
    figures=figures,
    expected=expected,
    bits=bits,
)

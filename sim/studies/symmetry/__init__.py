"""Does the order of summation matter? Networks that begin symmetric tell (arXiv 2007.01038)."""

from sim.studies.study import Part, Study
from sim.studies.symmetry.answer import answer, expected, headline
from sim.studies.symmetry.array_order import measure_array
from sim.studies.symmetry.figure import figures
from sim.studies.symmetry.measure import (
    measure_alike,
    measure_apart,
    measure_fixed,
    measure_leaky,
    measure_long,
    measure_products,
    measure_random,
    measure_words,
)
from sim.studies.symmetry.page import page
from sim.studies.symmetry.torch_order import measure_torch

__all__ = ["STUDY"]

STUDY = Study(
    name="symmetry",
    title="Does the order of summation matter?",
    question=(
        "Which dataflows give every output position the same bits, and what does it cost or buy in training?"
    ),
    parts=(
        Part("array", measure_array),
        Part("torch", measure_torch),
        Part("alike", measure_alike),
        Part("apart", measure_apart),
        Part("fixed", measure_fixed),
        Part("long", measure_long),
        Part("products", measure_products),
        Part("words", measure_words),
        Part("random", measure_random),
        Part("leaky", measure_leaky),
    ),
    page=page,
    headline=headline,
    answer=answer,
    figures=figures,
    expected=expected,
)

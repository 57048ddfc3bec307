"""What survives cancellation? Minimum-norm denoisers and denoisers of images on narrow accumulators."""

from __future__ import annotations

from sim.studies.denoiser import errors, forms, images, plateaus
from sim.studies.denoiser.page import answer, bits, expected, figures, headline, page
from sim.studies.study import Part, Study

__all__ = ["STUDY"]

STUDY = Study(
    name="denoiser",
    title="What survives cancellation",
    question=(
        "A denoiser's flat parts are large sums that cancel. How many mantissa bits does that take, in which "
        "order of terms, and what does a narrow accumulator cost a denoiser of real images?"
    ),
    parts=(
        Part("forms", forms.measure),
        Part("errors", errors.measure),
        Part("plateaus", plateaus.measure),
        Part("digits", images.measure_digits),
        Part("fashion", images.measure_fashion, optional=True),
    ),
    page=page,
    headline=headline,
    answer=answer,
    figures=figures,
    expected=expected,
    bits=bits,
)

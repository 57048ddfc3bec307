"""Study chunk: what a truncating accumulator loses, which chunk is best, and what that costs a network."""

from sim.studies.chunk.grid import measure_law, measure_roundings
from sim.studies.chunk.layers import measure_layers
from sim.studies.chunk.networks import network_part
from sim.studies.chunk.page import answer, bits, expected, headline, page
from sim.studies.chunk.plots import figures
from sim.studies.chunk.rtl import measure_rtl
from sim.studies.study import Part, Study

__all__ = ["STUDY"]

STUDY = Study(
    name="chunk",
    title="Truncation is a gain",
    question=(
        "How much of the dot product does a truncating accumulator lose, which chunk is best, and what does "
        "that cost a network?"
    ),
    parts=(
        Part("law", measure_law),
        Part("roundings", measure_roundings),
        Part("layers", measure_layers),
        Part("rtl", measure_rtl),
        *(Part(name, network_part(name), optional=True) for name in ("resnet20", "resnet56", "minilm")),
    ),
    page=page,
    headline=headline,
    answer=answer,
    figures=figures,
    expected=expected,
    bits=bits,
)

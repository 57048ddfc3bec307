"""The page over the studies, docs/studies/README.md: what they say together about accumulators."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from hw.files import write_files
from sim.explorer.export import default_view
from sim.studies import NAMES, find_study
from sim.studies.page import measured
from sim.studies.runner import read_results
from sim.studies.study import MantissaBits, Study

__all__ = ["headlines", "price", "read_together", "together", "write_together"]

#: What each study is about, in a word.
_WORDS = {"chunk": "Gain", "depth": "Noise", "symmetry": "Order", "denoiser": "Cancellation"}

_INTRODUCTION = """# Four studies on one arithmetic

A narrow accumulator does four things to a sum. It multiplies it by a factor (**gain**), it adds an error
that no factor takes back (**noise**), what it gives depends on the **order** of the terms, and it keeps or
breaks the **cancellation** of large terms. Each study takes one paper's networks and runs them on this
project's bit-accurate arithmetic: `python -m sim.studies NAME`.
"""


def together(studies: Mapping[str, tuple[Study, dict]], points: Sequence[dict]) -> str:
    """Markdown of the page, from each study and its ``{part: data}``, and the points of a sweep."""
    sections = [_INTRODUCTION.strip(), _bits_section(studies, price(points))]
    for name, (study, data) in studies.items():
        figures = list(study.figures(data))
        shown = f"\n\n![{study.title}]({figures[0]})" if figures else ""
        heading = f"## {_WORDS[name]}: [{study.title}]({name}.md)"
        sections.append(f"{heading}\n\n*{study.question}*\n\n{study.answer(data)}{shown}")
    return "\n\n".join(sections) + "\n"


def _bits_section(studies: Mapping[str, tuple[Study, dict]], price: Mapping[str, Any]) -> str:
    known = {name: found for name, (study, data) in studies.items() if (found := study.bits(data))}
    rows = list(known.values())
    lines = [
        "## What they say together",
        "",
        "Mantissa bits of a float accumulator that it takes:",
        "",
        "| for | truncating | truncating, made up for | by what | nearest even |",
        "| --- | ---: | ---: | --- | ---: |",
        *(
            f"| {row.what} ([{name}]({name}.md)) | {row.truncating:g} | {row.repaired:g} | {row.how} | "
            f"{row.nearest:g} |"
            for name, row in ((name, _rounded(row)) for name, row in known.items())
        ),
        "",
        "What truncation does is of one sign, so most of it can be foreseen: what is made up for without "
        f"other hardware is worth {_span(row.truncating - row.repaired for row in rows)} mantissa bits here, "
        f"and rounding to nearest {_span(row.truncating - row.nearest for row in rows)}. In "
        f"{price['technology']} at {price['clock_ns']:g} ns a mantissa bit of a truncating float accumulator "
        f"takes {price['bit']:.0f} µm² "
        f"({100 * price['bit_share']:.0f} % of the MAC with {price['middle']:.0f}), and rounding to nearest "
        f"even as much as {price['even'] / price['bit']:.1f} of them (median of {price['count']:.0f} widths, "
        "least area that meets the clock; [results](../results.md)). So calibrate first, round to nearest "
        "where nothing can be calibrated, and add bits last. Whether two output columns get the same bits is "
        "no matter of width: it is the dataflow's ([symmetry](symmetry.md)).",
    ]
    return "\n".join(lines)


def _rounded(row: MantissaBits) -> MantissaBits:
    """To tenths, where a theory gives fractions."""
    fields = {name: getattr(row, name) for name in ("what", "how")}
    return MantissaBits(
        **fields, **{name: round(getattr(row, name), 1) for name in ("truncating", "repaired", "nearest")}
    )


def _span(values) -> str:
    """The least and the largest."""
    ordered = sorted(values)
    return f"{ordered[0]:.0f} to {ordered[-1]:.0f}"


def price(points: Sequence[dict]) -> dict[str, Any]:
    """What a mantissa bit and rounding to nearest take, from a sweep's points: area in um2.

    In the technology and at the clock that the explorer shows first. Of 4 exponent bits, products rounded to
    the accumulator's format, offsets in registers; of each width and rounding the least area that meets the
    clock.
    """
    view = default_view(list(points))
    technology, clock_ns = view["technology"], view["clock_ns"]
    least: dict[tuple[str, int], float] = {}
    for point in points:
        alike = (
            *(point["kind"], point["technology"], point["clock_ns"], point["operands"], point["exp_bits"]),
            *(point["offsets"], point["alignment"], point["met"], point["product"] != "exact"),
        )
        if alike == ("float", technology, clock_ns, "e3m4", 4, "registers", None, True, True):
            key = point["rounding"], point["man_bits"]
            least[key] = min(point["um2"], least.get(key, point["um2"]))
    widths = sorted(bits for rounding, bits in least if rounding == "rz" and ("rne", bits) in least)
    areas = [least["rz", bits] for bits in widths]
    slope = float(np.polyfit(widths, areas, 1)[0])
    middle = widths[len(widths) // 2]
    return {
        "technology": technology,
        "clock_ns": clock_ns,
        "bit": slope,
        "bit_share": slope / least["rz", middle],
        "middle": middle,
        "even": median(least["rne", bits] - least["rz", bits] for bits in widths),
        "count": len(widths),
    }


def headlines(results: dict[str, dict]) -> str:
    """A sentence on each study, as Markdown for the README; from results files by name of the study."""
    lines = []
    for name in NAMES:
        study = find_study(name)
        sentence = study.headline(measured(results[name]))
        lines.append(f"* **{_WORDS[name]}.** {sentence} [{study.title}](docs/studies/{name}.md)")
    return "\n".join(lines) + "\n"


def read_together(results: Path) -> tuple[dict[str, tuple[Study, dict]], list[dict]]:
    """What :func:`together` takes, from a folder of results."""
    studies = {name: find_study(name) for name in NAMES}
    data = {name: (study, measured(read_results(study, results))) for name, study in studies.items()}
    return data, json.loads((results / "sweep.json").read_text())["points"]


def write_together(docs: Path) -> None:
    """Write the page from the results of all studies in ``docs``, once all of them have a page."""
    if all((docs / "studies" / f"{name}.md").is_file() for name in NAMES):
        write_files({"README.md": together(*read_together(docs / "results"))}, docs / "studies")

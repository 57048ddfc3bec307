"""The page over the studies, docs/studies/README.md: what they say together about accumulators."""

from __future__ import annotations

from pathlib import Path

from hw.files import write_files
from sim.studies import NAMES, find_study
from sim.studies.page import measured
from sim.studies.runner import read_results
from sim.studies.study import Study

__all__ = ["headlines", "together", "write_together"]

#: What each study is about, in a word.
_WORDS = {"chunk": "Gain", "depth": "Noise", "symmetry": "Order", "denoiser": "Cancellation"}

_INTRODUCTION = """# Four studies on one arithmetic

A narrow accumulator does four things to a sum. It multiplies it by a factor (**gain**), it adds an error
that no factor takes back (**noise**), what it gives depends on the **order** of the terms, and it keeps or
breaks the **cancellation** of large terms. Each study takes one paper's networks and runs them on this
project's bit-accurate arithmetic: `python -m sim.studies NAME`.
"""


def together(studies: dict[str, tuple[Study, dict]]) -> str:
    """Markdown of the page, from each study and ``{part: data}``."""
    sections = [_INTRODUCTION.strip()]
    for name, (study, data) in studies.items():
        figures = list(study.figures(data))
        shown = f"\n\n![{study.title}]({figures[0]})" if figures else ""
        heading = f"## {_WORDS[name]}: [{study.title}]({name}.md)"
        sections.append(f"{heading}\n\n*{study.question}*\n\n{study.answer(data)}{shown}")
    return "\n\n".join(sections) + "\n"


def headlines(results: dict[str, dict]) -> str:
    """A sentence on each study, as Markdown for the README; from results files by name of the study."""
    lines = []
    for name in NAMES:
        study = find_study(name)
        sentence = study.headline(measured(results[name]))
        lines.append(f"* **{_WORDS[name]}.** {sentence} [{study.title}](docs/studies/{name}.md)")
    return "\n".join(lines) + "\n"


def write_together(docs: Path) -> None:
    """Write the page from the results of all studies in ``docs``, once all of them are there."""
    studies = {}
    for name in NAMES:
        if not (docs / "studies" / f"{name}.md").is_file():
            return
        study = find_study(name)
        studies[name] = study, measured(read_results(study, docs / "results"))
    write_files({"README.md": together(studies)}, docs / "studies")

"""A study's page, from its results; the page over all of them is :mod:`sim.studies.together`'s."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sim.markdown import table
from sim.studies.study import Expected, Study

__all__ = ["expected_table", "measured", "study_page"]


def measured(results: dict) -> dict[str, dict]:
    """What each part measured, without the parts that miss something."""
    return {name: part["data"] for name, part in results["parts"].items() if "data" in part}


def study_page(study: Study, results: dict) -> str:
    """Markdown of the whole page; the same results give the same text."""
    data = measured(results)
    sections = [
        f"# {study.title}",
        f"*{study.question}*",
        study.answer(data),
        study.page(data).strip(),
        _against(study.expected(data)),
        _made(study, results),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _against(rows: Sequence[Expected]) -> str:
    """Nothing where nothing was known before."""
    text = (
        "Published figures, and first estimates: what a quick trial with one seed gave before this study was "
        "built."
    )
    return f"## Against what was expected\n\n{text}\n\n{expected_table(rows)}" if rows else ""


def expected_table(rows: Sequence[Expected]) -> str:
    """Figures that were known before, beside ours."""
    head = ["figure", "published or first estimate", "measured here", "why they differ"]
    cells = ([row.what, row.known, row.measured, row.note] for row in rows)
    return table(head, ([_cell(cell) for cell in each] for each in cells), words=4)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _made(study: Study, results: dict) -> str:
    parts = results["parts"]
    lines = [f"`python -m sim.studies {study.name}` runs all parts and writes this page.", ""]
    cells = ([name, f"`{part['made_by']}`", f"{part['seconds']:.0f}"] for name, part in parts.items())
    lines.append(table(["part", "command", "seconds"], cells, words=2))
    remarks = [
        f"* Part {name} is missing: {part['missing']}." for name, part in parts.items() if "missing" in part
    ]
    quick = [name for name, part in parts.items() if part["quick"]]
    if quick:
        remarks.append(f"* Small versions, not the full measurement: {', '.join(quick)}.")
    if remarks:
        lines += ["", *remarks]
    used = {
        f"{name} {version}": None for part in parts.values() for name, version in part["versions"].items()
    }
    lines += [
        "",
        "Seconds are of a machine that others used as well. Seeds and numbers of samples are in the results "
        f"file. {', '.join(used)}.",
    ]
    return "## How it was made\n\n" + "\n".join(lines)

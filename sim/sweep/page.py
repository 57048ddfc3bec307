"""What a sweep's export makes: a section of the results page with its figure, a quotation for the README."""

from __future__ import annotations

from typing import Any

from sim.explorer.export import tidy
from sim.explorer.page import explorer_page
from sim.explorer.summary import FIGURE, summary
from sim.sweep.answer import sentences, table

__all__ = ["figures", "quotation", "section"]

_NAME = "sweep.svg"


def section(export: dict[str, Any]) -> str:
    """Markdown, from a heading of the second level on."""
    meta, points = export["meta"], export["points"]
    judged = sum(1 for point in points if point["accuracy"])
    configs = len({point["config"] for point in points})
    lines = [
        "## Which accumulator to build",
        "",
        f"Written by `{meta['command']}`: {len(points)} designs of {configs} configurations, {judged} judged "
        f"on {_networks(export)}. Loss is against float32 accumulators under the same operands, and a design "
        "is chosen where none of the networks loses more than is allowed. Energies are without glitches and "
        "wires ([power.md](power.md)). [explorer.html](results/explorer.html) has all of them to look around "
        "in: one file, to be opened in a browser.",
        "",
        *(f"* {sentence}" for sentence in sentences(export)),
        "",
        _trust(export),
        "",
        *_shown(export, f"results/{_NAME}"),
        "",
        "The smallest, and those of least energy, for other operands as well:",
        "",
        table(export),
        "",
        f"Seed {meta['seed']}; stimulus {meta['stimulus']}; {_versions(meta)}.",
    ]
    return "\n".join(lines)


def figures(export: dict[str, Any]) -> dict[str, str]:
    """The figure, and the page to look around in, by the names of their files."""
    tidied = tidy(export)
    _, drawn = summary(tidied)
    return {_NAME: drawn[FIGURE], "explorer.html": explorer_page(tidied)}


def quotation(export: dict[str, Any]) -> str:
    """What the README quotes: a sentence for each loss, how far to trust them, and the figure."""
    lines = [
        *(f"* {sentence}" for sentence in sentences(export)),
        "",
        f"{len(export['points'])} designs. {_trust(export)}",
        "",
        f"![Accuracy against area and energy](docs/results/{_NAME})",
        "",
        "Every design with its figures, fronts and filters: [explorer.html](docs/results/explorer.html), one "
        f"file to be opened in a browser. {_versions(export['meta'])}.",
        "",
    ]
    return "\n".join(lines)


def _trust(export: dict[str, Any]) -> str:
    """What the losses can tell apart."""
    networks = export["meta"]["networks"]
    coarsest = max(networks, key=lambda name: 100 / networks[name]["n"])
    step = 100 / networks[coarsest]["n"]
    return (
        f"One image of {coarsest} is {step:.2g} points, and designs were picked on the images that they are "
        "judged on, which the intervals do not allow for. Networks are as they were trained in float32; "
        "training through the accumulator recovers more."
    )


def _shown(export: dict[str, Any], path: str) -> list[str]:
    """The explorer's summary without its own sentences, which allow a loss on one network at a time."""
    text, _ = summary(tidy(export))
    return [line.replace(f"({FIGURE})", f"({path})") for line in text.splitlines() if line[:2] != "* "]


def _networks(export: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({facts['n']} images)" for name, facts in export["meta"]["networks"].items())


def _versions(meta: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in meta["versions"].items())

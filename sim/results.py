"""``python -m sim.results``: docs/results.md, from the results files and never by hand.

A topic is a results file in docs/results/, which a command of its own wrote, and the function that turns it
into a section of the page. Its figures are written beside the file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.config import ConfigError
from hw.command_line import Parser
from hw.cost import timing_page
from hw.files import write_files
from sim import calibration, mixed, onnx_results, power_page
from sim.certify import page as certificates
from sim.finetune import a2q_page
from sim.finetune import results as finetune
from sim.kernels import cuda_results
from sim.literature import fpga_page
from sim.literature import page as literature
from sim.microscope import results as microscope
from sim.sweep import page as sweep

__all__ = ["TOPICS", "Topic", "main", "page"]

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "results.md"


def _no_figures(_: dict) -> dict[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A section of the page."""

    file: str  #: In docs/results/.
    made_by: str  #: The command that writes it.
    section: Callable[[dict], str]  #: Results -> Markdown, from a heading of the second level on.
    figures: Callable[[dict], dict[str, str]] = _no_figures  #: Results -> name of a file beside it -> text.


TOPICS = (
    Topic(
        file="sweep.json",
        made_by="sim.sweep spaces/main.toml --export docs/results/sweep.json",
        section=sweep.section,
        figures=sweep.figures,
    ),
    Topic(
        file="timing.json",
        made_by="hw.cost.timing_results",
        section=timing_page.section,
        figures=timing_page.figures,
    ),
    Topic(file="power.json", made_by="sim.power --results", section=power_page.section),
    Topic(file="fpga.json", made_by="hw.cost.fpga --results", section=fpga_page.section),
    Topic(file="literature.json", made_by="sim.literature", section=literature.section),
    Topic(
        file="finetune.json",
        made_by="sim.finetune",
        section=finetune.section,
        figures=finetune.figures,
    ),
    Topic(file="a2q.json", made_by="sim.finetune.a2q", section=a2q_page.section),
    Topic(
        file="calibration.json",
        made_by="sim.calibration",
        section=calibration.section,
        figures=calibration.figures,
    ),
    Topic(file="certificates.json", made_by="sim.certify.measure", section=certificates.section),
    Topic(file="microscope.json", made_by="sim.microscope", section=microscope.section),
    Topic(file="mixed.json", made_by="sim.mixed", section=mixed.section),
    Topic(
        file="cuda-gradients.json",
        made_by="benchmarks.bench_cuda_gradients",
        section=cuda_results.section,
    ),
    Topic(file="onnx.json", made_by="sim.onnx_results", section=onnx_results.section),
)

_INTRODUCTION = """# Results: cost, and accuracy at fewer bits

Written by `python -m sim.results` from the files in [results](results), each of which a command wrote, with
its seeds, numbers of images and versions. What stands elsewhere: accuracy against area without a clock, row
by row, in the [README](../README.md) and `make report`; pretrained networks as they are in
[zero-shot.md](zero-shot.md); networks on the simulated RTL in [hardware-runs.md](hardware-runs.md); speeds in
[kernels.md](kernels.md) and [gradients.md](gradients.md).

"""


def page(results: dict[str, dict]) -> str:
    """The page, from the results of each topic by the name of its file."""
    sections = [f"{topic.section(results[topic.file]).strip()}\n" for topic in TOPICS]
    titles = [re.search(r"^## (.+)$", section, re.MULTILINE).group(1) for section in sections]
    contents = "".join(f"* [{title}](#{_anchor(title)})\n" for title in titles)
    return _INTRODUCTION + contents + "\n" + "\n".join(sections)


def _anchor(title: str) -> str:
    """Where a heading is found, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and its figures; 0, or 2 with one sentence where a results file is missing."""
    parser = Parser(prog="python -m sim.results", description=__doc__.splitlines()[0])
    parser.parse_args(arguments)
    try:
        results = {topic.file: _read(topic) for topic in TOPICS}
    except ConfigError as error:
        parser.error(str(error))
    figures = [topic.figures(results[topic.file]) for topic in TOPICS]
    write_files({name: text for each in figures for name, text in each.items()}, KEPT)
    write_files({PAGE.name: page(results)}, PAGE.parent)
    return 0


def _read(topic: Topic) -> dict:
    path = KEPT / topic.file
    if not path.is_file():
        raise ConfigError(f"there is no {path}; python -m {topic.made_by} writes it (see docs/)")
    return json.loads(path.read_text())


if __name__ == "__main__":
    sys.exit(main())

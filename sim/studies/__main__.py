"""``python -m sim.studies NAME``: run a study and write its page.

Each part's results are kept as they come, and parts that are there are not run again; the same command goes
on after an interruption. Results are in docs/results/study-NAME.json, the page in docs/studies/NAME.md; of
``--quick`` in report/results and report/studies. A full study takes minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from hw.verilator_env import ToolMissingError
from sim.data import DataError
from sim.studies import NAMES, find_study
from sim.studies.page import measured, study_page
from sim.studies.runner import read_results, run
from sim.studies.study import Study
from sim.studies.together import write_together

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m sim.studies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        resumes=True,
    )
    parser.add_argument("study", metavar="NAME", nargs="?", help=f"{', '.join(NAMES)}, or all")
    parser.add_argument("--quick", action="store_true", help="small versions of all parts")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--parts", metavar="A,B", help="only these, and again if they are there")
    what.add_argument("--again", action="store_true", help="measure all parts anew")
    what.add_argument("--page", action="store_true", help="measure nothing; write the page of what is there")
    what.add_argument("--list", action="store_true", help="print the parts of the study, or of all")
    parser.add_argument("--threads", type=int, help="of torch in this process (default: its own choice)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of results/ and studies/ (default: docs, or report)",
    )
    return parser


def _only(study: Study, names: str | None) -> list[str]:
    known = [part.name for part in study.parts]
    wanted = [] if names is None else names.split(",")
    for name in wanted:
        if name not in known:
            raise ConfigError(f"study {study.name} has no part {name!r}; use {', '.join(known)}")
    return wanted


def _studies(name: str | None, *, listed: bool) -> list[Study]:
    if name is None and not listed:
        raise ConfigError(f"which study? name one of {', '.join(NAMES)}, or all")
    return [find_study(each) for each in (NAMES if name in (None, "all") else [name])]


def _study(study: Study, folder: Path, options: argparse.Namespace) -> None:
    only = _only(study, options.parts)
    if options.page:
        results = read_results(study, folder / "results")
    else:
        results = run(study, folder / "results", quick=options.quick, only=only, again=options.again)
    missing = [part.name for part in study.parts if part.name not in results["parts"]]
    if missing and options.page:
        raise ConfigError(
            f"{folder / 'results'} has no results of {', '.join(missing)}; run python -m sim.studies "
            f"{study.name}"
        )
    if missing:
        print(f"{study.name}: no page yet, {', '.join(missing)} to be measured", file=sys.stderr)
        return
    pages = {f"{study.name}.md": study_page(study, results), **study.figures(measured(results))}
    write_files(pages, folder / "studies")
    print(folder / "studies" / f"{study.name}.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0, or 2 with one sentence where it cannot be done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    folder = options.output or (ROOT / "report" if options.quick else DOCS)
    try:
        if options.threads is not None:
            if not 1 <= options.threads <= 256:
                raise ConfigError(f"--threads must be from 1 to 256, not {options.threads}")
            torch.set_num_threads(options.threads)
        for study in _studies(options.study, listed=options.list):
            if options.list:
                print(f"{study.name}: {', '.join(part.name for part in study.parts)}")
            else:
                _study(study, folder, options)
        if folder == DOCS and not options.list:
            write_together(DOCS)
    except (ConfigError, DataError, ToolMissingError, OSError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())

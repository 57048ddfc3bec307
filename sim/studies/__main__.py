"""``python -m sim.studies NAME``: run a study and write its page.

Each part's results are kept as they come, and parts that are there are not run again. Full results are in
docs/results/study-NAME.json, the page in docs/studies/NAME.md; those of ``--quick`` in report/studies.
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
from sim.studies import NAMES, find_study
from sim.studies.page import measured, study_page
from sim.studies.runner import read_results, run
from sim.studies.study import Study
from sim.studies.together import write_together

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent.parent


def _parser() -> Parser:
    parser = Parser(
        prog="python -m sim.studies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        resumes=True,
    )
    parser.add_argument("study", metavar="NAME", help=f"{', '.join(NAMES)}, or all")
    parser.add_argument(
        "--quick", action="store_true", help="small versions of all parts, into report/studies"
    )
    parser.add_argument("--parts", metavar="A,B", default="", help="only these, and again if they are there")
    parser.add_argument("--again", action="store_true", help="measure all parts anew")
    parser.add_argument(
        "--page", action="store_true", help="measure nothing; write the page of what is there"
    )
    parser.add_argument("--list", action="store_true", help="print the study's parts")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    return parser


def _only(study: Study, names: str) -> list[str]:
    known = [part.name for part in study.parts]
    wanted = [name for name in names.split(",") if name]
    for name in wanted:
        if name not in known:
            raise ConfigError(f"study {study.name} has no part {name!r}; use {', '.join(known)}")
    return wanted


def _study(study: Study, options: argparse.Namespace) -> None:
    only = _only(study, options.parts)
    if options.list:
        print("\n".join(part.name for part in study.parts))
        return
    results_folder = ROOT / "report" / "studies" if options.quick else ROOT / "docs" / "results"
    page_folder = ROOT / "report" / "studies" if options.quick else ROOT / "docs" / "studies"
    if options.page:
        results = read_results(study, results_folder)
    else:
        results = run(study, results_folder, quick=options.quick, only=only, again=options.again)
    missing = [part.name for part in study.parts if part.name not in results["parts"]]
    if missing:
        print(f"{study.name}: no page yet, {', '.join(missing)} to be measured", file=sys.stderr)
        return
    pages = {f"{study.name}.md": study_page(study, results), **study.figures(measured(results))}
    write_files(pages, page_folder)
    print(page_folder / f"{study.name}.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0, or 2 with one sentence where it cannot be done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.threads is not None:
            if not 1 <= options.threads <= 256:
                raise ConfigError(f"--threads must be from 1 to 256, not {options.threads}")
            torch.set_num_threads(options.threads)
        studies = [find_study(name) for name in (NAMES if options.study == "all" else [options.study])]
        for study in studies:
            _study(study, options)
        if not (options.quick or options.list):
            write_together(ROOT / "docs")
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())

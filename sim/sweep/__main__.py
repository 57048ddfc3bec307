"""``python -m sim.sweep SPACE.toml``: cost and accuracy of every point of a declared space, each once.

Results are kept in a store as they come, and the same command goes on after any interruption. docs/sweep.md
says how a space is declared.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from sim.sweep.executors import Executor, LocalProcesses, RayCluster
from sim.sweep.items import Needs
from sim.sweep.listing import figures, listing, only, status
from sim.sweep.run import run
from sim.sweep.space import read_space
from sim.sweep.store import Store

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]

_MAX_JOBS = 256


def _parser() -> Parser:
    parser = Parser(prog="python -m sim.sweep", resumes=True, description=__doc__)
    add = parser.add_argument
    add("space", type=Path, metavar="SPACE.toml", help="what is swept, such as spaces/main.toml")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="print the points, and compute nothing")
    what.add_argument("--status", action="store_true", help="print what is there and what is missing")
    add(
        "--only", metavar="CONFIG", help="the points of this configuration, by any name; prints their figures"
    )
    half = parser.add_mutually_exclusive_group()
    half.add_argument("--cost-only", action="store_true", help="no accuracy")
    half.add_argument("--accuracy-only", action="store_true", help="no cost")
    add("-j", "--jobs", type=int, metavar="N", help="workers at a time (default: one a core)")
    add("--ray", metavar="ADDRESS", help="compute on this Ray cluster; local starts one here")
    add(
        "--store", type=Path, default=ROOT / "build" / "sweep.sqlite", metavar="FILE",
        help="where results are kept (default: build/sweep.sqlite)",
    )  # fmt: skip
    add("--export", type=Path, metavar="FILE", help="write the points as JSON, with all that is known")
    return parser


def _executor(options: argparse.Namespace) -> Executor:
    if options.ray is not None:
        return RayCluster(options.ray, options.jobs)
    return LocalProcesses(options.jobs or os.cpu_count() or 1)


def _sweep(options: argparse.Namespace) -> int:
    if options.jobs is not None and not 1 <= options.jobs <= _MAX_JOBS:
        raise ConfigError(f"-j must be from 1 to {_MAX_JOBS}, not {options.jobs}")
    space = read_space(options.space)
    if options.only is not None:
        space = only(space, options.only)
    if options.list:
        print(listing(space))
        return 0
    from sim.sweep.code import Fingerprints

    needs = Needs(space, Fingerprints, cost=not options.accuracy_only, accuracy=not options.cost_only)
    with Store(options.store) as store:
        failed = {} if options.status else _run(needs, store, options)
        if options.status:
            print(status(needs, store))
        if options.export is not None:
            from sim.sweep.export import export_text

            whole = Needs(space, Fingerprints, cost=True, accuracy=True)
            write_files({options.export.name: export_text(whole, store)}, options.export.parent)
            print(options.export)
        if options.only is not None and not options.status:
            from sim.sweep.export import export

            print(figures(export(needs, store)["points"]))
    for item, sentence in failed.items():
        print(f"failed: {item.kind} {item.arguments}: {sentence}", file=sys.stderr)
    return 1 if failed else 0


def _run(needs: Needs, store: Store, options: argparse.Namespace) -> dict:
    halves = ["cost"] * needs.wants_cost + ["accuracy"] * needs.wants_accuracy
    with store.writing(halves):
        executor = _executor(options)
        try:
            return run(needs, store, executor)
        finally:
            executor.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep; 0, 1 if some items failed, or 2 with one sentence where what was asked cannot be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _sweep(options)
    except (ConfigError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())

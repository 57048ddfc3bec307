"""``python -m sim.finetune``: networks trained through narrow accumulators, and their float32 twins.

``list`` shows the groups of runs, ``run`` performs them. Rows are written one by one, and those that the
output has already are not computed again; a run that was interrupted goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from golden.config import ConfigError
from hw.command_line import Parser
from sim.data import DataError
from sim.finetune.experiments import GROUPS, Run, find_runs
from sim.finetune.runner import Results, Settings, run_all

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent.parent


def _parser() -> Parser:
    parser = Parser(prog="python -m sim.finetune", description=__doc__.splitlines()[0], resumes=True)
    actions = parser.add_subparsers(dest="action", required=True, parser_class=Parser)
    actions.add_parser("list", help="groups, their labels and how many runs they have")
    run = actions.add_parser("run", help="perform the runs of groups")
    run.add_argument(
        "groups",
        nargs="+",
        metavar="GROUP",
        help=f"of {', '.join(GROUPS)}; GROUP:LABEL for one label's runs",
    )
    run.add_argument("--seeds", type=_numbers, metavar="N,...", help="of the declared ones (default: all)")
    run.add_argument(
        "--configs", type=_names, metavar="CONFIG,...", help="of these accumulators only, by canonical name"
    )
    run.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    run.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    run.add_argument(
        "--minutes", type=float, help="after which runs stop and leave checkpoints (default: none)"
    )
    run.add_argument(
        "--limit", type=int, help="the first so many inputs of each set, for a trial (default: all)"
    )
    run.add_argument("--threads", type=int, help="of torch, with one job (default: its own choice)")
    run.add_argument(
        "-o", "--output", type=Path, default=ROOT / "report" / "finetune.json", metavar="FILE",
        help="results (default: report/finetune.json)",
    )  # fmt: skip
    merge = actions.add_parser("merge", help="join results files; of rows of the same run the last one stays")
    merge.add_argument("files", nargs="+", type=Path, metavar="FILE")
    merge.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"write numbers with commas between, not {text!r}") from None


def _check(options: argparse.Namespace) -> None:
    for name, low, high in (("jobs", 1, 256), ("limit", 20, 60_000), ("threads", 1, 256)):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"--{name} must be from {low} to {high}, not {value}")
    if options.minutes is not None and options.minutes <= 0:
        raise ConfigError(f"--minutes must be more than 0, not {options.minutes:g}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda needs an NVIDIA GPU that torch sees, and there is none; use cpu")


def _list() -> None:
    for group, runs in GROUPS.items():
        print(f"{group}: {len(runs)} runs")
        for label in dict.fromkeys(run.label for run in runs):
            same = [run for run in runs if run.label == label]
            print(f"  {label}: {len(same)} runs of {same[0].epochs} epochs")


def _command(options: argparse.Namespace, run: Run) -> str:
    """What makes this run's row again."""
    words = ["python", "-m", "sim.finetune", "run", f"{run.group}:{run.label}", "--seeds", str(run.seed)]
    if sum(each.label == run.label and each.seed == run.seed for each in GROUPS[run.group]) > 1:
        words += ["--configs", run.config]
    if options.device != "cpu":
        words += ["--device", options.device]
    if options.limit is not None:
        words += ["--limit", str(options.limit)]
    return shlex.join(words)


def _merge(options: argparse.Namespace) -> None:
    for path in options.files:
        if not path.is_file():
            raise ConfigError(f"there is no {path}; name results files of python -m sim.finetune run")
    joined = Results(options.output)
    for path in options.files:
        joined.add(*Results(path).rows.values())
    print(f"{options.output}: {len(joined.rows)} rows")


def _run(options: argparse.Namespace) -> int:
    _check(options)
    runs = find_runs(options.groups, options.seeds, options.configs)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    settings = Settings(
        device=options.device,
        jobs=options.jobs,
        limit=options.limit,
        deadline=None if options.minutes is None else time.time() + 60 * options.minutes,
        commands={run.key(options.limit): _command(options, run) for run in runs},
    )
    left, failed = run_all(runs, Results(options.output), settings)
    print(options.output)
    if left:
        print(f"{left} runs are still to do; the same command goes on with them", file=sys.stderr)
    if failed:
        print(f"{failed} runs failed", file=sys.stderr)
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform what is asked; 0, 1 where a run failed, or 2 with one sentence where it cannot be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.action == "list":
        _list()
        return 0
    try:
        if options.action == "merge":
            _merge(options)
            return 0
        return _run(options)
    except (ConfigError, DataError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())

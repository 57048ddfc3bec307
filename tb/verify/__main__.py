"""The proof of the RTL: runs every row whose outcome is not known, and writes the report.

    python -m tb.verify
    python -m tb.verify --only step --budget 600 --jobs 2

Outcomes are kept in docs/results/verification.json, row by row, so a run that was stopped goes on where it
was. A row runs again when the hardware, the method or a tool has changed, or when it was not green.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hw.command_line import Parser
from tb.verify.matrix import RESULTS, all_rows, explanations, forget, read_records
from tb.verify.report import write_report
from tb.verify.runner import Runner, is_stale

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run, or list. 0 if everything that was run is green, 1 if not, 2 for a wrong command."""
    parser = Parser(prog="python -m tb.verify", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", metavar="METHOD", action="append", help="this method's rows; may be repeated"
    )
    parser.add_argument("--subject", metavar="TEXT", default="", help="rows whose subject has this in it")
    parser.add_argument("--list", action="store_true", help="print the rows and what is known, and end")
    parser.add_argument("--report", action="store_true", help="write the report, and end")
    parser.add_argument("--budget", metavar="SECONDS", type=float, help="start no row after this time")
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="rows at a time (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="JSON file (docs/results/verification.json)"
    )
    options = parser.parse_args(arguments)
    for method in options.only or ():
        if method not in explanations():
            parser.error(f"there is no method {method!r}; choose from {', '.join(explanations())}")
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs} runs nothing; use 1 or more")
    rows = [
        row
        for row in all_rows().values()
        if (not options.only or row.method in options.only) and options.subject in row.subject
    ]
    if not rows:
        parser.error(f"no row has {options.subject!r} in its subject; see --list")
    if options.list:
        return _list(rows, options.results)
    if not options.report:
        runner = Runner(
            rows=rows, path=options.results, jobs=options.jobs, budget=options.budget, seed=options.seed
        )
        runner.run()
    if not options.only and not options.subject:
        forget(options.results)
    if options.results == RESULTS:
        write_report()
    return 1 if not options.report and runner.failures else 0


def _list(rows, path: Path) -> int:
    known = read_records(path)
    for row in rows:
        record = known.get(row.key)
        if record is None:
            state = f"not run, about {row.seconds:.0f} s"
        elif not record.green:
            state = f"{record.differences} differences"
        else:
            state = f"{record.compared} compared" + (", stale" if is_stale(row, record, row.digest()) else "")
        print(f"{row.key}: {state}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

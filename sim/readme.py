"""``python -m sim.readme``: quote the report in README.md, from the results file and never by hand.

Copies results.json and results.csv to docs/results/, so that every quoted figure has its source beside
it, and rewrites what stands between the two marks in README.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from sim.answer import answer

__all__ = ["block", "main"]

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "results"
README = ROOT / "README.md"
BEGIN = "<!-- results: begin. Written by python -m sim.readme from docs/results/results.json. -->\n"
END = "<!-- results: end -->\n"

#: Rows that are quoted; the report has all.
_LABELS = (
    *("float32-px wired", "float32", "float16", "float12", "float12 wired", "float12-px wired", "float8-rne"),
    *("exact", "fixed16", "fixed12", "fixed12 wired", "fixed10-rne", "int32", "int16", "int12"),
)


def block(results: dict) -> str:
    """The text between the marks, Markdown."""
    rows = {row["label"]: row for row in results["rows"]}
    if missing := [label for label in _LABELS if label not in rows]:
        raise ConfigError(f"this report has no row {missing[0]}; make the whole report")
    tasks = ", ".join(f"{task} ({facts['n']} images)" for task, facts in results["tasks"].items())
    made = results["meta"]["provenance"]
    lines = [
        answer(results["rows"], results["reference"]).paragraph,
        "",
        f"Some of the {len(rows)} rows. The area is that of one MAC, the images are {tasks}, and intervals "
        "are 95 % for the paired difference:",
        "",
        f"| accumulator | bits | offsets | µm² | NAND2 | of `{results['baseline']}` "
        "| right, % | against float32, points |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in (rows[label] for label in _LABELS):
        measured, (low, high) = row["area"], (100 * end for end in row["interval"])
        lines.append(
            f"| `{row['name']}` | {row['bits']} | {row['offsets']} | {measured['um2']:.0f} | "
            f"{measured['nand2']:.0f} | {100 * measured['relative']:.0f} % | {100 * row['accuracy']:.2f} | "
            f"{100 * row['difference']:+.2f} [{low:+.2f}, {high:+.2f}] |"
        )
    lines += [
        "",
        f"Cells: {made['cell library']}, mapped for least area. Seed {made['seed']}; {made['versions']}. "
        "Rows were picked on the images that they are judged on, and intervals do not allow for that. "
        "Everything is in [docs/results](docs/results).",
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Quote the report; 0, or 2 with one sentence where there is none."""
    parser = Parser(prog="python -m sim.readme", description=__doc__.splitlines()[0])
    parser.add_argument(
        "report", type=Path, nargs="?", default=ROOT / "report", help="folder (default: report)"
    )
    folder = parser.parse_args(arguments).report
    try:
        files = {name: _read(folder / name) for name in ("results.json", "results.csv")}
        before, marked, rest = README.read_text().partition(BEGIN)
        _, ended, after = rest.partition(END)
        if not marked or not ended:
            raise ConfigError(
                f"README.md has no place for results; put the lines {BEGIN.strip()} and {END.strip()}"
            )
        quoted = before + BEGIN + block(json.loads(files["results.json"])) + END + after
    except ConfigError as error:
        parser.error(str(error))
    write_files(files, KEPT)
    write_files({README.name: quoted}, ROOT)
    return 0


def _read(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"there is no {path}; make report, or name the folder of a report")
    return path.read_text()


if __name__ == "__main__":
    sys.exit(main())

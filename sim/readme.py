"""``python -m sim.readme``: quote results in README.md, from their files and never by hand.

Copies results.json and results.csv of a report, if one is named, to docs/results/, so that every quoted
figure has its source beside it, and rewrites what stands between the marks in README.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from sim import calibration
from sim.answer import answer
from sim.finetune import a2q_page
from sim.finetune import results as finetune
from sim.hardware_page import paragraph
from sim.studies import NAMES
from sim.studies.together import headlines
from sim.sweep.page import quotation

__all__ = ["QUOTES", "between", "block", "main", "marks"]

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "results"
README = ROOT / "README.md"
HARDWARE_RUNS = "hardware-runs.json"
VERIFICATION = "verification.json"

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
    made, denoising = results["meta"]["provenance"], results["denoising"]
    lines = [
        answer(results["rows"], results["reference"]).paragraph,
        "",
        f"Some of the {len(rows)} rows. The area is that of one MAC, the images are {tasks}, and intervals "
        "are 95 % for the paired difference; the last column is the PSNR of "
        f"{denoising['n']} denoised digits, of which float32's is {denoising['float32_psnr']:.2f} dB and "
        f"that of the noisy images {denoising['noisy_psnr']:.2f} dB:",
        "",
        f"| accumulator | bits | offsets | µm² | NAND2 | of `{results['baseline']}` "
        "| right, % | against float32, points | denoising against float32, dB |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in (rows[label] for label in _LABELS):
        measured, (low, high) = row["area"], (100 * end for end in row["interval"])
        lines.append(
            f"| `{row['name']}` | {row['bits']} | {row['offsets']} | {measured['um2']:.0f} | "
            f"{measured['nand2']:.0f} | {100 * measured['relative']:.0f} % | {100 * row['accuracy']:.2f} | "
            f"{100 * row['difference']:+.2f} [{low:+.2f}, {high:+.2f}] | "
            f"{row['denoising']['difference']:+.2f} |"
        )
    lines += [
        "",
        f"Cells: {made['cell library']}, mapped for least area. Seed {made['seed']}; {made['versions']}. "
        "Rows were picked on the images that they are judged on, and intervals do not allow for that. "
        "Everything is in [docs/results](docs/results).",
        "",
    ]
    return "\n".join(lines)


def hardware_block(results: dict) -> str:
    """What stands between the marks of the runs on simulated hardware."""
    return f"{paragraph(results)}\n"


def verification_block(results: dict) -> str:
    """What stands between the marks of the proof."""
    rows = results["rows"]
    compared, differ = (sum(row[key] for row in rows) for key in ("compared", "differences"))
    macs = sum(row["details"].get("macs", 0) for row in rows if row["method"] == "array")
    methods = len({row["method"] for row in rows})
    return (
        f"{len(rows)} rows by {methods} methods, {compared:,} comparisons, of which {differ:,} differ; among "
        f"them {macs:,} multiply-accumulates of whole products through arrays.\n"
    )


def accuracy_block(trained: dict, integers: dict, calibrated: dict) -> str:
    """What stands between the marks of accuracy at fewer bits."""
    sentences = (
        calibration.headline(calibrated),
        finetune.headline(trained),
        a2q_page.headline(integers),
    )
    return "".join(f"* {each}\n" for each in sentences)


def studies_block(*results: dict) -> str:
    """What stands between the marks of the studies."""
    return headlines({each["study"]: each for each in results})


def marks(subject: str, *files: str) -> tuple[str, str]:
    """The lines between which a page quotes results files."""
    written = f"Written by python -m sim.readme from docs/results/{', '.join(files)}."
    return f"<!-- {subject}: begin. {written} -->\n", f"<!-- {subject}: end -->\n"


#: Results files, what their place in the README is called, and what is written there.
QUOTES = (
    (("sweep.json",), "which accumulator", quotation),
    (("results.json",), "results", block),
    ((HARDWARE_RUNS,), "hardware runs", hardware_block),
    ((VERIFICATION,), "verification", verification_block),
    (("finetune.json", "a2q.json", "calibration.json"), "accuracy", accuracy_block),
    (tuple(f"study-{name}.json" for name in NAMES), "studies", studies_block),
)


def between(text: str, begin: str, end: str) -> tuple[str, str, str]:
    """The page before its quotation, the quotation, and the page after it; the marks are not in it.

    Raises :class:`ConfigError` where the page has no place for it.
    """
    before, marked, rest = text.partition(begin)
    quoted, ended, after = rest.partition(end)
    if not marked or not ended:
        raise ConfigError(
            f"the page has no place for results; put the lines {begin.strip()} and {end.strip()}"
        )
    return before + begin, quoted, end + after


def main(arguments: Sequence[str] | None = None) -> int:
    """Quote the results; 0, or 2 with one sentence where there are none."""
    parser = Parser(prog="python -m sim.readme", description=__doc__.splitlines()[0])
    parser.add_argument(
        "report", type=Path, nargs="?", help="folder of a new report (default: quote what is kept)"
    )
    folder = parser.parse_args(arguments).report
    try:
        files = {name: _read(folder / name) for name in ("results.json", "results.csv")} if folder else {}
        page = README.read_text()
        for names, subject, written in QUOTES:
            before, _, after = between(page, *marks(subject, *names))
            texts = [files[name] if name in files else _read(KEPT / name) for name in names]
            page = before + written(*map(json.loads, texts)) + after
    except ConfigError as error:
        parser.error(str(error))
    write_files(files, KEPT)
    write_files({README.name: page}, ROOT)
    return 0


def _read(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"there is no {path}; make report, or name the folder of a report")
    return path.read_text()


if __name__ == "__main__":
    sys.exit(main())

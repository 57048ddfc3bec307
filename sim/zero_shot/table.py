"""``python -m sim.zero_shot.table``: tables of zero-shot results, in docs/zero-shot.md and never by hand.

Copies the results to docs/results/, so that every figure has its source beside it, and rewrites what stands
between the two marks in docs/zero-shot.md. With ``--print`` the tables go to the terminal, and no file is
touched.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from sim.zero_shot.rows import GROUPS, ROWS

__all__ = ["main", "tables"]

ROOT = Path(__file__).resolve().parent.parent.parent
KEPT = ROOT / "docs" / "results" / "zero-shot.json"
PAGE = ROOT / "docs" / "zero-shot.md"
BEGIN = (
    "<!-- results: begin. Written by python -m sim.zero_shot.table from docs/results/zero-shot.json. -->\n"
)
END = "<!-- results: end -->\n"

#: Network -> its name in a title, what is counted, and the title of the column.
_TITLES = {
    "resnet20": ("ResNet-20", "images of the JPEG copy of CIFAR-10", "right, %"),
    "resnet56": ("ResNet-56", "images of the JPEG copy of CIFAR-10", "right, %"),
    "minilm": ("MiniLM", "pairs of the STS benchmark", "Spearman × 100"),
}

#: Published for ResNet-18 on ImageNet, top-1 in percent, by the same formats: arXiv 2401.14110, appendix.
_PAPER_FLOAT32 = 69.75
_PAPER_LONGEST = 512 * 3 * 3
_PAPER = {"e5m10": 69.50, "e5m9": 68.95, "e5m8": 66.70, "e5m7": 57.09, "e5m6": 20.49, "e4m7": 60.14}


def tables(results: dict) -> str:
    """The text between the marks, Markdown."""
    rows = results["rows"]
    lines: list[str] = []
    for network, (title, what, _) in _TITLES.items():
        measured = {row["label"]: row for row in rows if row["network"] == network}
        if not measured:
            continue
        counts = {(row["n"], row["float32_value"]) for row in rows if row["network"] == network}
        if len(counts) > 1:
            raise ConfigError(
                f"rows of {network} are of different test inputs; make a results file of one kind"
            )
        (n, float32) = counts.pop()
        longest = max(row["longest_sum"] for row in measured.values())
        lines += [
            f"### {title}",
            "",
            f"{n} {what}; float32 gets {_figure(network, float32)}. Sums have up to {longest} products.",
            "",
        ]
        for group, heading in GROUPS.items():
            labels = [label for label in _in_order(measured) if measured[label]["group"] == group]
            if labels:
                lines += _table(network, group, heading, [measured[label] for label in labels])
    if not lines:
        raise ConfigError("there are no rows in these results; run python -m sim.zero_shot")
    return "\n".join([*lines, *_made_by(rows)])


def _in_order(measured: dict[str, dict]) -> list[str]:
    """Labels as the rows are listed, and then the others."""
    return [label for label in ROWS if label in measured] + [label for label in measured if label not in ROWS]


def _figure(network: str, value: float) -> str:
    return f"{value:.4f}" if network == "minilm" else f"{100 * value:.2f} %"


def _table(network: str, group: str, heading: str, rows: Sequence[dict]) -> list[str]:
    """One group's rows; with float32 operands, what the paper published stands beside them."""
    with_paper = group == "float32" and network != "minilm"
    column = _TITLES[network][2]
    titles = ["row", column, "against float32 [95 % interval]", "s", "× float32"]
    titles += ["paper, against float32"] * with_paper
    lines = [f"{heading[0].upper()}{heading[1:]}:", ""]
    lines += [f"| {' | '.join(titles)} |", f"| --- |{' ---: |' * (len(titles) - 1)}"]
    for row in rows:
        low, high = (100 * end for end in row["interval"])
        cells = [
            f"`{row['label']}`",
            f"{100 * row['value']:.2f}",
            f"{100 * row['difference']:+.2f} [{low:+.2f}, {high:+.2f}]",
            f"{row['seconds']:.1f}",
            f"{row['ratio']:.1f}",
        ]
        if with_paper:
            published = _PAPER.get(row["label"].removeprefix("f32-"))
            cells.append("" if published is None else f"{published - _PAPER_FLOAT32:+.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *(_cliff(rows) if with_paper else [])]


def _cliff(rows: Sequence[dict]) -> list[str]:
    """The losses of mantissas that get shorter, in one sentence, beside those of the paper."""
    labels = [f"e5m{man_bits}" for man_bits in range(10, 3, -1)]
    ours = {row["label"].removeprefix("f32-"): -row["difference"] for row in rows}
    ours = {label: f"{label} {100 * ours[label]:.2f}" for label in labels if label in ours}
    paper = [f"{label} {_PAPER_FLOAT32 - _PAPER[label]:.2f}" for label in ours if label in _PAPER]
    if len(ours) < 2:
        return []
    return [
        f"Points lost as the mantissa gets shorter, toward zero: {', '.join(ours.values())}; by the paper's "
        f"ResNet-18, whose sums have up to {_PAPER_LONGEST} products: {', '.join(paper)}.",
        "",
    ]


def _made_by(rows: Sequence[dict]) -> list[str]:
    """Who measured: one sentence for each machine and set of versions."""
    lines = []
    for made in {json.dumps(row["made_by"], sort_keys=True): row["made_by"] for row in rows}.values():
        packages = ", ".join(f"{name} {made[name]}" for name in ("torch", "numpy", "pillow", "safetensors"))
        lines.append(
            f"Measured with the {made['backend']} backend on {made['threads']} of {made['cores']} threads, "
            f"{made['processor']}; Python {made['python']}, {packages}."
        )
    seeds = ", ".join(sorted({str(row["seed"]) for row in rows}))
    return [*lines, f"Seed {seeds}.", ""]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables; 0, or 2 with one sentence where there are no results."""
    parser = Parser(prog="python -m sim.zero_shot.table", description=__doc__.splitlines()[0])
    parser.add_argument(
        "results",
        type=Path,
        nargs="?",
        default=ROOT / "report" / "zero-shot.json",
        help="file of python -m sim.zero_shot (default: report/zero-shot.json)",
    )
    parser.add_argument("--print", action="store_true", help="print the tables and touch no file")
    options = parser.parse_args(arguments)
    try:
        text = _read(options.results)
        written = tables(json.loads(text))
        if options.print:
            print(written)
            return 0
        page = _quoted(written)
    except ConfigError as error:
        parser.error(str(error))
    except (ValueError, KeyError, TypeError):
        parser.error(f"{options.results} is not a results file of python -m sim.zero_shot")
    write_files({KEPT.name: text}, KEPT.parent)
    write_files({PAGE.name: page}, PAGE.parent)
    return 0


def _read(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"there is no {path}; run python -m sim.zero_shot, or name a results file")
    return path.read_text()


def _quoted(written: str) -> str:
    """The page with these tables between its marks."""
    before, marked, rest = PAGE.read_text().partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not marked or not ended:
        raise ConfigError(
            f"{PAGE.name} has no place for results; put the lines {BEGIN.strip()} and {END.strip()}"
        )
    return before + BEGIN + written + END + after


if __name__ == "__main__":
    sys.exit(main())

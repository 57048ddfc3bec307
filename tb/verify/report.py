"""docs/verification.md and the picture beside it, written from docs/results/verification.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from golden.config import ConfigError, MacConfig
from hw.files import write_files
from tb.verify.matrix import RESULTS, Record, explanations, read_records
from tb.verify.rows import ROOT

__all__ = ["PAGE", "PICTURE", "page", "picture", "write_report"]

PAGE = ROOT / "docs" / "verification.md"
PICTURE = ROOT / "docs" / "verification.svg"

_INTRODUCTION = f"""# Why the RTL is believed

<!-- Written by python -m tb.verify --report from docs/results/{RESULTS.name}. -->

`make verify` runs what this page shows and writes [{RESULTS.name}](results/{RESULTS.name}): for each row what
was compared, how often, how many comparisons differed, the seed, the seconds and the versions of the tools. A
run that is stopped goes on where it was; a row runs again when the hardware it is about, its method or a tool
has changed. Equality is of bit patterns. The tests run small random parts of some of the rows again.
"""

_MATRIX_NOTE = """Rows are multiply-accumulates as built: configurations that differ in biases only share
their gates. A cell says how many comparisons there were, over all variants; none of them differed unless it
says so.
"""


def write_report() -> None:
    """Write the page and the picture from what is known."""
    records = list(read_records().values())
    write_files({PAGE.name: page(records), PICTURE.name: picture(records)}, PAGE.parent)


def page(records: Sequence[Record]) -> str:
    """The page, Markdown."""
    methods = [name for name in explanations() if any(record.method == name for record in records)]
    parts = [_INTRODUCTION, _totals(records, methods), f"![The matrix]({PICTURE.name})\n"]
    parts += ["## Configuration by method\n", _MATRIX_NOTE, _matrix(records, methods)]
    for method in methods:
        parts += [f"## {method}\n", f"{_wrapped(explanations()[method])}\n", _listing(records, method)]
    return "\n".join(parts)


def _totals(records: Iterable[Record], methods: Sequence[str]) -> str:
    lines = [
        "| method | rows | comparisons | differences | seconds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for method in methods:
        own = [record for record in records if record.method == method]
        lines.append(
            f"| [{method}](#{method}) | {len(own)} | {_number(sum(record.compared for record in own))} "
            f"| {sum(record.differences for record in own)} | {sum(record.seconds for record in own):.0f} |"
        )
    return "\n".join([*lines, ""])


def silicon_of(subject: str) -> str | None:
    """The MAC that a subject is about, by the name of its gates; None where it is about no one MAC."""
    name = subject.split()[0]
    for candidate in (name, f"{name.removesuffix('_hw')}_c16"):
        try:
            return MacConfig.parse(candidate).silicon.mac_name.removesuffix("_hw")
        except ConfigError:
            continue
    return None


def table(records: Iterable[Record]) -> dict[str, dict[str, list[Record]]]:
    """MAC -> method -> its rows."""
    cells: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        silicon = silicon_of(record.subject)
        if silicon is not None:
            cells.setdefault(silicon, {}).setdefault(record.method, []).append(record)
    return dict(sorted(cells.items()))


def _matrix(records: Sequence[Record], methods: Sequence[str]) -> str:
    cells = table(records)
    columns = [method for method in methods if any(method in row for row in cells.values())]
    lines = [
        f"| multiply-accumulate | {' | '.join(columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for silicon, row in cells.items():
        texts = [_cell(row.get(method, [])) for method in columns]
        lines.append(f"| `{silicon}` | {' | '.join(texts)} |")
    return "\n".join([*lines, ""])


def _cell(records: Sequence[Record]) -> str:
    if not records:
        return ""
    differences = sum(record.differences for record in records)
    compared = _number(sum(record.compared for record in records))
    return compared if all(record.green for record in records) else f"**{differences} of {compared} differ**"


def _listing(records: Iterable[Record], method: str) -> str:
    lines = [
        "<details><summary>all rows</summary>\n",
        "| subject | what | comparisons | differences |",
        "| --- | --- | ---: | ---: |",
    ]
    for record in sorted(records, key=lambda record: record.subject):
        if record.method == method:
            lines.append(
                f"| `{record.subject}` | {record.what} | {_number(record.compared)} | {record.differences} |"
            )
    return "\n".join([*lines, "\n</details>", ""])


def _number(count: int) -> str:
    """With thin groups of three, or as a power of two where it is one."""
    if count >= 1 << 20 and count & (count - 1) == 0:
        return f"2^{count.bit_length() - 1}"
    return f"{count:,}".replace(",", " ")


def _wrapped(text: str, width: int = 110) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


_ROW, _COLUMN, _LEFT, _TOP = 13, 110, 430, 34  # pixels
_GREEN, _RED, _INK, _PAPER = "#2f8f4e", "#c0392b", "#222222", "#ffffff"


def picture(records: Sequence[Record]) -> str:
    """The matrix as SVG: a cell's depth of colour is the logarithm of how much was compared."""
    cells = table(records)
    columns = [name for name in explanations() if any(name in row for row in cells.values())]
    width, height = _LEFT + _COLUMN * len(columns) + 10, _TOP + _ROW * len(cells) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="monospace" font-size="10" fill="{_INK}">',
        f'<rect width="{width}" height="{height}" fill="{_PAPER}"/>',
    ]
    parts += [
        f'<text x="{_LEFT + _COLUMN * i + 4}" y="{_TOP - 8}" font-size="12">{escape(name)}</text>'
        for i, name in enumerate(columns)
    ]
    for line, (silicon, row) in enumerate(cells.items()):
        y = _TOP + _ROW * line
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 10}" text-anchor="end">{escape(silicon)}</text>')
        for i, method in enumerate(columns):
            if own := row.get(method):
                compared = sum(record.compared for record in own)
                colour = _GREEN if all(record.green for record in own) else _RED
                depth = 0.25 + 0.75 * min(compared.bit_length() / 34, 1)
                parts.append(
                    f'<rect x="{_LEFT + _COLUMN * i + 2}" y="{y + 1}" width="{_COLUMN - 4}" '
                    f'height="{_ROW - 2}" fill="{colour}" fill-opacity="{depth:.2f}">'
                    f"<title>{escape(f'{silicon}, {method}: {_cell(own)}')}</title></rect>"
                )
    return "\n".join([*parts, "</svg>", ""])

"""The report as one self-contained HTML page, made from results.json alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sim.answer import answer, pareto_front
from sim.plots import (
    KINDS,
    accuracy_against_width,
    area_against_accuracy,
    area_by_component,
    denoising_against_width,
)

__all__ = ["html_page"]

#: Rows of the second plot's right panel lose at most so many points.
_CLOSE = 2.0

_CSS = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; }
body { max-width: 76rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin-bottom: .3rem; } h2 { font-size: 1.1rem; margin-top: 2.4rem; }
p.answer { font-size: 1.08rem; border-left: 4px solid #0072b2; padding: .2rem 0 .2rem 1rem; }
p, li { max-width: 62rem; } figure { margin: 1rem 0; overflow-x: auto; } figcaption { color: #555; }
svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; max-height: 46rem; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eee; }
th { position: sticky; top: 0; background: #f6f6f6; cursor: pointer; vertical-align: bottom; }
td.l, th.l { text-align: left; } tr:hover td { background: #f3f8fc; } code { font-size: .95em; }
td.front { font-weight: 600; }
"""

_SORT = """
document.querySelectorAll('th').forEach((head) => head.addEventListener('click', () => {
  const table = head.closest('table'), body = table.tBodies[0], i = head.cellIndex;
  const up = head.dataset.up = head.dataset.up === '1' ? '0' : '1';
  const key = (row) => row.cells[i].dataset.v ?? row.cells[i].textContent;
  const order = (a, b) => isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b);
  [...body.rows].sort((a, b) => (up === '1' ? 1 : -1) * order(a, b)).forEach((row) => body.append(row));
}));
"""


def html_page(results: dict) -> str:
    """The page of a results file; the same results give the same bytes."""
    rows, tasks, meta = results["rows"], list(results["tasks"]), results["meta"]
    front = pareto_front(rows)
    said = answer(rows, results["reference"])
    baseline = next(row for row in rows if row["label"] == results["baseline"])
    sections = [
        f"<h1>{escape(meta['title'])}</h1>",
        f'<p class="answer">{escape(said.paragraph)}</p>',
        "<ul>" + "".join(f"<li>{escape(point)}</li>" for point in said.points) + "</ul>",
        _figure(
            "Accuracy against the width of the accumulator",
            accuracy_against_width(_one_per_width(rows), tasks),
            "Every matrix product of the network runs through the accumulator. In brackets the operands: "
            "float ones have a bias a tensor, integers a scale. Where an accumulator can have its offsets "
            "in registers or wired in, the curve shows registers. Points further down are left out.",
        ),
        _figure(
            "Denoising against the width of the accumulator",
            denoising_against_width(_one_per_width(rows), results["denoising"]),
            "The same accumulators in a regression: the error of every pixel counts, so what truncation "
            "takes from each sum is lost, where a classifier's largest output stays the largest.",
        ),
        _figure(
            "Area against accuracy",
            area_against_accuracy(rows, front, baseline, _CLOSE),
            "One point a row of the table. The line is the Pareto front, its points named. The dashed line "
            "is the float32-accumulator MAC. Open markers have exponent offsets in registers, so that each "
            "layer has its own; filled ones have them as constants, the same for all layers, or none at all.",
        ),
        _figure(
            "Area by component",
            area_by_component(_for_components(rows)),
            "Each part mapped alone, its boundary kept. The flattened whole, which is what the other "
            "figures and the table quote, is smaller or larger than the stack by what is gained or lost "
            "across boundaries: the remainder.",
        ),
        "<h2>All rows</h2><p>Click a heading to sort. Bold: on the Pareto front.</p>",
        _table(rows, results, {row["label"] for row in front}),
        _provenance(results),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(meta['title'])}</title><style>{_CSS}</style></head><body>\n"
        + "\n".join(sections)
        + f"\n<script>{_SORT}</script></body></html>\n"
    )


def _figure(title: str, svg: str, caption: str) -> str:
    return f"<h2>{escape(title)}</h2><figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _one_per_width(rows: Sequence[dict]) -> list[dict]:
    """One row a configuration: with its offsets in registers, if it has any."""
    return [row for row in rows if row["offsets"] != "wired"]


def _for_components(rows: Sequence[dict]) -> list[dict]:
    """Toward zero, saturating, exactly aligned, of some widths, wired in or not."""
    return [
        row
        for row in rows
        if (row["bits"] in (8, 12, 16, 20, 24, 32) or row["kind"] == "exact")
        and row["alignment_bits"] is None
        and row["rounding"] != "rne"
        and (row["overflow"] == "sat" or row["kind"] == "exact")
    ]


def _table(rows: Sequence[dict], results: dict, front: set[str]) -> str:
    tasks, baseline, denoising = results["tasks"], results["baseline"], results["denoising"]
    heads = [
        ("name", True),
        ("accumulator", True),
        ("operands", True),
        ("bits", False),
        ("offsets", True),
        ("area (µm²)", False),
        ("NAND2 eq.", False),
        (f"of {baseline}", False),
        ("all images (%)", False),
        ("against float32 (points, 95 %)", False),
    ]
    for task, facts in tasks.items():
        heads += [(f"{task}, n = {facts['n']} (%)", False), ("points (95 %)", False)]
    heads += [
        (f"{denoising['name']}, n = {denoising['n']} (PSNR, dB)", False),
        ("against float32 (dB, 95 %)", False),
        ("overflow", False),
        ("underflow", False),
        ("swamped", False),
        ("chunk overflow", False),
        ("vectors", False),
        ("configuration", True),
    ]
    head = "".join(f"<th{' class=l' if left else ''}>{escape(text)}</th>" for text, left in heads)
    body = "".join(f"<tr>{_row(row, tasks, row['label'] in front)}</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(row: dict, tasks: Sequence[str], on_front: bool) -> str:
    area = row["area"]
    cells = [
        f'<td class="l{" front" if on_front else ""}">{escape(row["label"])}</td>',
        _left(KINDS[row["kind"]][0]),
        _left(row["operands"]),
        _number(row["bits"], "d"),
        _left(row["offsets"]),
        _number(area["um2"], ".0f"),
        _number(area["nand2"], ".0f"),
        _number(100 * area["relative"], ".1f", " %"),
        _number(100 * row["accuracy"], ".2f"),
        _interval(row["difference"], row["interval"]),
    ]
    for task in tasks:
        result = row["tasks"][task]
        cells += [
            _number(100 * result["accuracy"], ".2f"),
            _interval(result["difference"], result["interval"]),
        ]
    denoised = row["denoising"]
    cells += [_number(denoised["psnr"], ".2f"), _interval(denoised["difference"], denoised["interval"], 1)]
    cells += [
        _number(100 * row["events"][event], ".3f", " %")
        for event in ("overflow", "underflow", "swamped", "chunk_overflow")
    ]
    cells += [_number(area["vectors"], "d"), f'<td class="l"><code>{escape(row["config"])}</code></td>']
    return "".join(cells)


def _left(text: str) -> str:
    return f'<td class="l">{escape(text)}</td>'


def _number(value: float, spec: str, unit: str = "") -> str:
    return f'<td data-v="{value}">{value:{spec}}{unit}</td>'


def _interval(difference: float, interval: Sequence[float], scale: float = 100) -> str:
    low, high = (scale * end for end in interval)
    return f'<td data-v="{difference}">{scale * difference:+.2f} [{low:+.2f}, {high:+.2f}]</td>'


def _provenance(results: dict) -> str:
    meta = results["meta"]
    facts = [f"{name}: {value}" for name, value in meta["provenance"].items()]
    items = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    notes = "".join(f"<p>{escape(note)}</p>" for note in meta["notes"])
    return f"<h2>How this was made</h2>{notes}<ul>{items}</ul>"

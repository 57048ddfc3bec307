"""The kernels' figures as tables and sentences: made from the results file alone, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.kernels_plot import plot
from golden.config import ConfigError
from hw.files import write_files
from sim.readme import between

__all__ = ["PAGE", "block", "marks", "page", "readme_block", "write_page"]

PAGE = Path("docs") / "kernels.md"
_KEPT = Path("docs") / "results"
_README = Path("README.md")
_COMMAND = "python -m benchmarks.bench_kernels --page"


def marks() -> tuple[str, str]:
    """The lines between which a page quotes the results."""
    return (
        f"<!-- kernels: begin. Written by {_COMMAND} from docs/results/kernels.json. -->\n",
        "<!-- kernels: end -->\n",
    )


def block(results: dict, plot_file: str = "kernels.svg") -> str:
    """All tables, and sentences that say what they show, Markdown."""
    parts = [_answer(results), f"![GMAC/s by way]({plot_file})", _provenance(results)]
    for panel in results["panels"]:
        parts += [f"### {panel['label']}", _table(panel, results)]
    parts.append(_absent(results))
    return "\n\n".join(part for part in parts if part) + "\n"


def readme_block(results: dict) -> str:
    """The first shapes' rows of the widest instruction set on one thread, Markdown."""
    panels = [panel for panel in results["panels"] if "convolution" not in panel["label"]]
    widest = results["machine"]["instruction_sets"][0]
    heads = [f"{panel['label']}, GMAC/s | time, {results['unit']} = 1" for panel in panels]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " ---: | ---: |" * len(panels)]
    for row in panels[0]["rows"]:
        if row["threads"] > 1 or row["statistics"] or row["isa"] not in (None, widest):
            continue
        cells = [row["what"]]
        for panel in panels:
            same = _same(panel, row)
            cells += [_short(same["gmacs"]["median"]), _short(same["ratio"]["median"])] if same else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    described = results["machine"]
    said = (
        f"{described['processor']}, one thread, {widest}; medians of {results['rounds']} interleaved runs, "
        f"CPU time. {_tally(results)} All rows: [docs/kernels.md](docs/kernels.md)."
    )
    return "\n".join(lines) + f"\n\n{said}\n"


def page(text: str, quoted: str) -> str:
    """A page with what stands between its marks replaced; ConfigError where it has none."""
    before, _, after = between(text, *marks())
    return before + quoted + after


def write_page(folder: Path, root: Path) -> None:
    """Quote a folder's kernels.json in docs/kernels.md, and in README.md if that has a place for it.

    The file itself goes to docs/results, and the plot beside it.
    """
    source = folder / "kernels.json"
    if not source.is_file():
        raise ConfigError(f"there is no {source}; run python -m benchmarks.bench_kernels -o {folder} first")
    text = source.read_text()
    results = json.loads(text)
    if results["quick"]:
        raise ConfigError(f"{source} is of a quick run, whose figures mean nothing; run it without --quick")
    made = page((root / PAGE).read_text(), block(results, "results/kernels.svg"))
    readme = (root / _README).read_text() if (root / _README).is_file() else ""
    write_files({"kernels.json": text, "kernels.svg": plot(results)}, root / _KEPT)
    write_files({PAGE.name: made}, root / PAGE.parent)
    if marks()[0] in readme:
        write_files({_README.name: page(readme, readme_block(results))}, root)


def _same(panel: dict, row: dict) -> dict | None:
    """The row of another panel about the same thing."""
    fields = ("what", "isa", "threads", "statistics")
    return next((each for each in panel["rows"] if all(each[f] == row[f] for f in fields)), None)


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _range(value: dict[str, float]) -> str:
    return f"{_short(value['median'])} ({_short(value['min'])} to {_short(value['max'])})"


def _targets(results: dict) -> list[tuple[dict, dict, dict]]:
    """(panel, row, target) wherever something is asked."""
    return [
        (panel, row, target)
        for panel in results["panels"]
        for row in panel["rows"]
        for target in row["targets"]
        if target["met"] is not None
    ]


def _tally(results: dict) -> str:
    asked = _targets(results)
    met = sum(target["met"] for _, _, target in asked)
    return f"{met} of {len(asked)} targets are met."


def _asked(target: dict) -> str:
    if target["most"] is not None:
        return f"at most {target['most']:g}"
    return f"at least {target['least']:g}" if target["least"] is not None else ""


def _named(row: dict) -> str:
    words = row["what"] + (", with statistics" if row["statistics"] else "")
    return words + (f", {row['threads']} threads" if row["threads"] > 1 else "")


def _answer(results: dict) -> str:
    first = results["panels"][0]
    widest = results["machine"]["instruction_sets"][0]
    unit = next(r for r in first["rows"] if r["what"] == results["unit"] and r["threads"] == 1)
    said = [
        f"{first['label']} on one thread: {results['unit']} computes {_range(unit['gmacs'])} thousand "
        "million MACs a second (GMAC/s; median, least and most of the rounds)."
    ]
    asked = [
        row
        for row in first["rows"]
        if row["isa"] == widest and row["threads"] == 1 and row["targets"] and not row["statistics"]
    ]
    told = [f"{row['what']} {_short(row['ratio']['median'])}" for row in asked]
    if told:
        said.append(f"Its time is 1; ours with {widest}: {'; '.join(told)}.")
    if results["quick"]:
        return " ".join([*said, "A quick run: none of its figures means anything."])
    said.append(_tally(results))
    missed = [
        f"{_named(row)}, {panel['label']}: {target['what']} {_range(target['value'])}, "
        f"{_asked(target)} is asked{_bound(row)}"
        for panel, row, target in _targets(results)
        if not target["met"]
    ]
    lines = [" ".join(said)]
    if missed:
        lines += ["", "Missed:", "", *(f"* {each}" for each in missed)]
    return "\n".join(lines)


def _bound(row: dict) -> str:
    """What a step costs at least."""
    counted = row["instructions"]
    if counted is None or row["threads"] > 1:
        return ""
    each = counted["instructions"] / counted["vectors"]
    return f"; the innermost loop has {each:.1f} instructions for {counted['macs_per_vector']} products"


def _provenance(results: dict) -> str:
    machine = results["machine"]
    mhz = f", {machine['mhz']:g} MHz as the system says" if machine["mhz"] else ""
    load = machine["load"]
    busy = f" The load average was {load[0]:.1f} at the start." if load else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    sets = ", ".join(machine["instruction_sets"])
    return (
        f"{machine['processor']}{mhz}; {machine['cores']} cores; {machine['system']}; kernels for {sets}, "
        f"torch uses {machine['torch_instruction_set']}; {versions}. {results['rounds']} interleaved rounds, "
        f"seed {results['seed']}.{busy} One thread is measured in CPU time of the process, two in wall time. "
        "A ratio is taken in each round; of ratios, too, the median, least and most are given. Instructions "
        "are those of the innermost loop for each vector of products, over the products in a vector; counted "
        "from the object code."
    )


def _table(panel: dict, results: dict) -> str:
    lines = [
        "| what | configuration | way | instruction set | threads | instructions | GMAC/s | "
        f"time, {results['unit']} = 1 | target |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in panel["rows"]:
        cells = [
            row["what"] + (", with statistics" if row["statistics"] else ""),
            f"`{row['config']}`" if row["config"] else "",
            row["way"] or row["note"] or "",
            row["isa"] or "",
            str(row["threads"]),
            _instructions(row["instructions"]),
            _range(row["gmacs"]),
            _range(row["ratio"]),
            "; ".join(map(_verdict, row["targets"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _instructions(counted: dict | None) -> str:
    if counted is None:
        return ""
    return f"{counted['instructions'] / counted['vectors']:.1f} / {counted['macs_per_vector']}"


def _verdict(target: dict) -> str:
    value = f"{target['what']} {_range(target['value'])}"
    if target["met"] is None:
        return value
    if target["what"].startswith("time over torch"):
        value = ""
    return f"{value + ', ' if value else ''}{_asked(target)}: {'met' if target['met'] else '**missed**'}"


def _absent(results: dict) -> str:
    lines = [f"* {each['what']}: {each['reason']}" for each in results["absent"]]
    return "\n".join(["Not measured:", "", *lines]) if lines else ""

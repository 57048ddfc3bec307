"""The section of the results page that compares mixed widths with uniform ones."""

from __future__ import annotations

__all__ = ["section"]


def section(results: dict) -> str:
    """Markdown of a results file of ``python -m sim.mixed``."""
    rows = list(results["rows"].values())
    lines = [
        "## Mixed widths against uniform ones",
        "",
        "| model | n | area, µm² a MAC | uniform | right | mixed | its area | right | mixed - uniform [95 %] "
        "| as good as uniform, area | its difference [95 %] | command |",
        "| --- | ---: | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        uniform, mixed = row["uniform"], row["mixed"]
        small = row.get("as_good")
        cells = [
            row["model"] + (", one array" if row["cost"] == "widest" else ""),
            f"{row['n']} {row['unit']}",
            f"{row['budget_um2']:.0f}",
            f"`{uniform['configs'][0]}` ({uniform['area_um2']:.0f})",
            f"{uniform['value']:.2f}",
            _counted(mixed),
            f"{mixed['area_um2']:.0f}",
            f"{mixed['value']:.2f}",
            _difference(row["mixed_against_uniform"]),
            "" if small is None else f"{small['area_um2']:.0f} ({_percent(small, uniform)})",
            "" if small is None else _difference(row["as_good_against_uniform"]),
            f"`{row['command']}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Area is the mean over multiply-accumulates: a set of arrays, each as large as its share of them and "
        "of one kind of MAC; of one array for all layers it is the largest MAC that any layer has. Uniform: "
        "the best one that the area affords. As good: the smallest set that is predicted to be no worse than "
        "it. All are chosen on training data by the error of the outputs, and judged on test inputs.",
        "",
    ]
    return "\n".join(lines)


def _counted(entry: dict) -> str:
    names = list(entry["layers"].values())
    return ", ".join(f"{names.count(name)} `{name}`" for name in entry["configs"])


def _difference(compared: dict) -> str:
    span = compared["interval"]
    return f"{compared['difference']:+.2f}" + ("" if span is None else f" [{span[0]:+.2f}, {span[1]:+.2f}]")


def _percent(small: dict, uniform: dict) -> str:
    return f"{100 * (small['area_um2'] / uniform['area_um2'] - 1):+.0f} %"

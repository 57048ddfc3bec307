"""Energies as tables: for the terminal, and as a section of docs/results.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from hw.cost.area import PARTS
from hw.cost.energies import KINDS

__all__ = ["section", "table"]

#: What everything is compared with.
_BASELINE = "float32"


def _label(row: dict) -> str:
    return f"{row['config']} wired" if row["wired"] else row["config"]


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]], *, markdown: bool) -> list[str]:
    rows = list(rows)
    if markdown:
        return [
            f"| {' | '.join(head)} |",
            f"| --- |{' ---: |' * (len(head) - 1)}",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return [
        "  ".join(
            each.ljust(width) if i == 0 else each.rjust(width)
            for i, (each, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    ]


def _pj(value: float) -> str:
    return f"{value:.3g}" if value < 0.1 else f"{value:.3f}"


def _energies(rows: Sequence[dict], *, markdown: bool) -> list[str]:
    """By kind, at the first stimulus."""
    head = ["accumulator", "pJ/MAC", *KINDS, "toggles of a net a cycle", "with glitches, estimated"]
    bases = {}
    for row in rows:
        first = next(iter(row["stimuli"].values()))
        if _label(row) == _BASELINE:
            bases = {"settled": first["energy_pj"], "glitches": first["energy_pj"] + first["glitch_pj"]}
    if bases:
        head[2:2] = [f"of {_BASELINE}"]
        head.append(f"of {_BASELINE}'s")
    lines = []
    for row in rows:
        first = next(iter(row["stimuli"].values()))
        whole, delayed = first["energy_pj"], first["energy_pj"] + first["glitch_pj"]
        cells = [_pj(whole), *(_pj(first["kinds"][kind]) for kind in KINDS)]
        cells += [f"{first['toggle_rate']:.3f}", _pj(delayed)]
        if bases:
            cells[1:1] = [f"{whole / bases['settled']:.0%}"]
            cells.append(f"{delayed / bases['glitches']:.0%}")
        lines.append([_name(row, markdown=markdown), *cells])
    return _lines(head, lines, markdown=markdown)


def _name(row: dict, *, markdown: bool) -> str:
    return f"`{row['config']}`" + (" wired" if row["wired"] else "") if markdown else _label(row)


def _activities(rows: Sequence[dict], *, markdown: bool) -> list[str]:
    """By stimulus, and how much the others are off the first."""
    names = list(rows[0]["stimuli"])
    head = ["accumulator", *names, *(f"{name} / {names[0]}" for name in names[1:])]
    lines = []
    for row in rows:
        pj = [row["stimuli"][name]["energy_pj"] for name in names]
        ratios = [f"{each / pj[0]:.2f}" for each in pj[1:]]
        lines.append([_name(row, markdown=markdown), *map(_pj, pj), *ratios])
    return _lines(head, lines, markdown=markdown)


def _parts(rows: Sequence[dict], *, markdown: bool) -> list[str]:
    known = [*PARTS, "inputs", "remainder"]
    found = {part for row in rows for part in row["parts"]}
    parts = [part for part in known if part in found] + sorted(found - set(known))
    lines = [
        [
            _name(row, markdown=markdown),
            *(_pj(row["parts"][part]) if part in row["parts"] else "" for part in parts),
        ]
        for row in rows
    ]
    return _lines(["accumulator", *(part.replace("_", " ") for part in parts)], lines, markdown=markdown)


def _by_technology(rows: Sequence[dict]) -> Iterable[tuple[tuple[str, float, int], list[dict]]]:
    for key, group in groupby(rows, key=lambda row: (row["technology"], row["clock_ns"], row["stages"])):
        yield key, list(group)


def table(rows: Sequence[dict]) -> str:
    """For the terminal."""
    lines = []
    for (technology, clock, stages), group in _by_technology(rows):
        first = next(iter(group[0]["stimuli"]))
        lines += [
            f"{technology}, {group[0]['voltage']:g} V, mapped for {clock:g} ns, {stages} stages, {first}:",
            *_energies(group, markdown=False),
            "",
            "by part, pJ:",
            *_parts(group, markdown=False),
            "",
        ]
        if len(group[0]["stimuli"]) > 1:
            lines += ["by stimulus, pJ:", *_activities(group, markdown=False), ""]
        for row in group:
            stimuli = row["stimuli"].values()
            cycles = min(each["cycles"] for each in stimuli)
            compared = f", {row['saif_pins']} pins as in Verilator's SAIF" if row["saif_pins"] else ""
            lines.append(
                f"{_label(row)} ({row['silicon']}): {row['um2']:.1f} um2, {row['delay_ns']:.2f} ns by "
                f"{row['timer']}; netlist = golden on {row['vectors']} vectors and {len(stimuli)} x {cycles} "
                f"cycles of stimuli, all {row['pins']} pins annotated{compared}"
            )
        lines.append("")
    return "\n".join(lines)


def section(results: dict) -> str:
    """Of docs/results.md, from the results file."""
    rows = results["rows"]
    stimuli = rows[0]["stimuli"]
    names = list(stimuli)
    real = stimuli[names[0]]
    lines = [
        "## Energy at real activity",
        "",
        f"Energy of a cycle, in which one MAC begins, in pJ; pipeline stages: {rows[0]['stages']}; mapped "
        f"for the clock that is stated. Activity is that of {real['description']}: {real['cycles']} cycles, "
        "weights held as in a column, incoming sums golden's. Each netlist answered all golden vectors and "
        "every cycle of the stimuli as golden does, and all pins have an activity. Wires and the clock's "
        "tree are not in it; glitches are not in the first figures, and estimated in the last. "
        "[power.md](power.md) has the method.",
        "",
    ]
    for (technology, clock, _), group in _by_technology(rows):
        late = [_name(row, markdown=True) for row in group if row["delay_ns"] > clock]
        lines += [f"### {technology}, {group[0]['voltage']:g} V, {clock:g} ns", ""]
        lines += [*_energies(group, markdown=True), ""]
        if late:
            lines += [f"Slower than this clock: {', '.join(late)}.", ""]
        lines += [f"By stimulus, and what the others would have said in place of {names[0]}:", ""]
        lines += [*_activities(group, markdown=True), "", _spread(group, names), ""]
        lines += [
            "By part, each mapped with its borders kept; the remainder is what the whole takes less:",
            "",
        ]
        lines += [*_parts(group, markdown=True), ""]
    compared = [row for row in rows if row["saif_pins"]]
    if compared:
        what = ", ".join(
            f"{row['saif_pins']} pins of `{row['config']}` in {row['technology']}" for row in compared
        )
        lines += [f"Toggles were compared with Verilator's SAIF files, and are equal: {what}.", ""]
    made = results["versions"]
    lines.append(
        f"By `{results['command']}`; seed {results['seed']}, pyosys {made['pyosys']}, {rows[0]['timer']}, "
        f"torch {made['torch']}. Stimuli: "
        + "; ".join(f"*{name}*, {stimuli[name]['description']}" for name in names)
        + "."
    )
    return "\n".join([*lines, ""])


def _spread(rows: Sequence[dict], names: Sequence[str]) -> str:
    """What default activities get wrong, in a sentence."""
    parts = []
    for name in names[1:]:
        ratios = [row["stimuli"][name]["energy_pj"] / row["stimuli"][names[0]]["energy_pj"] for row in rows]
        parts.append(f"{name} activity {min(ratios):.2f} to {max(ratios):.2f} times")
    return f"Against {names[0]}, {', '.join(parts)}."


def _slews(rows: Sequence[dict]) -> str:
    """What the slews that are assumed matter, in a sentence."""
    changes: dict[float, list[float]] = {}
    for row in rows:
        whole = next(iter(row["stimuli"].values()))["energy_pj"]
        for slew, pj in row["energy_at_slew_ps"].items():
            changes.setdefault(float(slew), []).append(pj / whole - 1)
    parts = [f"{min(each):+.1%} to {max(each):+.1%} at {slew:.0f} ps" for slew, each in changes.items()]
    return f"All slews are {rows[0]['slew_ps']:.0f} ps; energies would be {' and '.join(parts)}."

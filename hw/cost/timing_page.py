"""The section of the results page that ``python -m hw.cost.timing_results`` measures, and its figures."""

from __future__ import annotations

from statistics import median

from hw.cost.curve import ClockPoint, curve_chart

__all__ = ["figures", "section"]


def section(results: dict) -> str:
    """Markdown, from a heading of the second level on."""
    timer, pyosys = results["versions"]["timer"], results["versions"]["pyosys"]
    lines = [
        "## Timing: area over the clock, and areas at one clock",
        "",
        f"Written by `{results['command']}` ({timer}, pyosys {pyosys}); [cost.md](cost.md) says how. Every "
        f"netlist answered {results['vectors']} golden vectors. A delay is the least clock period between "
        "registers, before placement; exponent offsets are in registers.",
        "",
    ]
    for name, technology in results["technologies"].items():
        lines += [f"### {name}: {technology['what']}", ""]
        lines += [f"![Area over the clock in {name}](results/timing-{name}.svg)", ""]
        lines += [*_curve_table(technology["curves"]), ""]
        for clock, rows in technology["stages"].items():
            lines += [*_stage_table(float(clock), rows, results["baseline"]), ""]
        lines += [_timer_sentence(technology["timers"], timer), ""]
        if technology["trials"]:
            lines += [*_trial_table(technology["trials"]), ""]
    return "\n".join(lines)


def _curve_table(curves: dict[str, list[dict]]) -> list[str]:
    steps = len(next(iter(curves.values())))
    lines = [
        "Without pipeline stages, um2 at the clock in ns, from the fastest netlist found to the smallest:",
        "",
        "| accumulator |" + " |" * steps + " fastest to smallest |",
        "| --- |" + " ---: |" * (steps + 1),
    ]
    for name, points in curves.items():
        cells = "".join(f" {_um2(point)} at {point['clock_ps'] / 1000:.2f} |" for point in points)
        growth = points[-1]["um2"] / points[0]["um2"] - 1
        lines.append(f"| `{name}` |{cells} {growth:+.0%} |")
    return lines


def _um2(point: dict) -> str:
    return f"{point['um2']:.{0 if point['um2'] >= 1000 else 1}f}"


def _stage_table(clock_ns: float, rows: dict[str, dict], baseline: str) -> list[str]:
    counts = sorted({count for row in rows.values() for count in row["points"]})
    lines = [
        f"At {clock_ns:g} ns ({1000 / clock_ns:.0f} MHz), um2 by the number of pipeline stages, with the "
        "delay in ns where the clock is missed (fewer were not tried then); and the smallest that meets it:",
        "",
        "| accumulator |"
        + "".join(f" {count} |" for count in counts)
        + f" stages | um2 | NAND2 | against `{baseline}` |",
        "| --- |" + " ---: |" * (len(counts) + 4),
    ]
    chosen = {name: row["points"].get(str(row["stages"])) for name, row in rows.items()}
    reference = chosen[baseline]
    for name, row in rows.items():
        cells = "".join(_cell(row["points"].get(count), clock_ns) for count in counts)
        best, tail = chosen[name], " none | | | |"
        if best is not None:
            against = "" if reference is None else f"{best['um2'] / reference['um2'] - 1:+.1%}"
            tail = f" {row['stages']} | {_um2(best)} | {best['nand2']:.0f} | {against} |"
        lines.append(f"| `{name}` |{cells}{tail}")
    return lines


def _cell(point: dict | None, clock_ns: float) -> str:
    if point is None:
        return " |"
    delay = point["delay_ps"] / 1000
    return f" {_um2(point)} |" if delay <= clock_ns else f" {_um2(point)} ({delay:.2f}) |"


def _trial_table(rows: list[dict]) -> list[str]:
    variants = list(rows[0]["variants"])
    lines = [
        "What mapping for least area would be with other adders, with the library's full adders and with "
        "one clock gate in place of enables, um2 and ns; none is used, and none of these netlists was "
        "simulated:",
        "",
        "| accumulator | stages |" + "".join(f" {variant} |" for variant in variants),
        "| --- | ---: |" + " ---: |" * len(variants),
    ]
    for row in rows:
        first = row["variants"][variants[0]]["um2"]
        cells = "".join(
            f" {_um2(found)} ({found['um2'] / first - 1:+.1%}), {found['delay_ps'] / 1000:.2f} |"
            for found in row["variants"].values()
        )
        lines.append(f"| `{row['config']}` | {row['stages']} |{cells}")
    for row in rows:
        if "retimed" in row:
            lines += ["", _retiming_sentence(row)]
    return lines


def _retiming_sentence(row: dict) -> str:
    plain, moved = row["retimed"]["as it is"], row["retimed"]["retimed"]
    return (
        f"Of `{row['config']}` with {row['stages']} stages at {row['retimed']['clock_ps'] / 1000:g} ns, "
        f"ABC's retiming of the inner registers makes {_um2(moved)} um2 and {moved['delay_ps'] / 1000:.2f} "
        f"ns of {_um2(plain)} um2 and {plain['delay_ps'] / 1000:.2f} ns."
    )


def _timer_sentence(rows: list[dict], timer: str) -> str:
    ratios = [row["abc_ps"] / row["timer_ps"] for row in rows]
    registers = [row["registers_ps"] for row in rows if row["registers_ps"] is not None]
    if not registers:
        return f"Delays are {timer}'s, without clock-to-output and set-up."
    return (
        f"Of the netlists of least area ABC's own delay is {min(ratios):.2f} to {max(ratios):.2f} times that "
        f"of {timer}, which has the registers in it: {median(registers):.0f} ps of clock-to-output and "
        "set-up in the median."
    )


def figures(results: dict) -> dict[str, str]:
    """The curves, an SVG for each technology."""
    return {
        f"timing-{name}.svg": curve_chart(
            {config: [ClockPoint(**point) for point in points] for config, points in each["curves"].items()},
            name,
        )
        for name, each in results["technologies"].items()
    }

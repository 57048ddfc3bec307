"""The section of docs/results.md on the ECP5, from fpga.json alone."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["section"]


def section(results: dict) -> str:
    """Markdown, from a heading of the second level on."""
    rows = results["rows"]
    macs = [row for row in rows if row["rows"] == row["cols"] == 1]
    arrays = [row for row in rows if row not in macs]
    first = rows[0]["placement"]
    versions = ", ".join(f"{tool} {version}" for tool, version in first["versions"].items())
    seeds = len(macs[0]["placement"]["fmax_by_seed"])
    lines = [
        "## On an FPGA: Lattice ECP5",
        "",
        f"Yosys and nextpnr ({versions}), speed grade 6, without pins, clock the median of {seeds} "
        "placements "
        f"for MACs; each has {_stages(macs)}. A register before every input makes all of a MAC's paths count "
        "and is not counted itself. LUT4 are logic cells in use, carry chains among them; DSP are 18x18 "
        "multiplier blocks. `python -m hw.cost.fpga CONFIG` gives a row, `--results` all.",
        "",
        *_mac_table(macs),
        "",
    ]
    if arrays:
        side = f"{arrays[0]['rows']}x{arrays[0]['cols']}"
        lines += [
            f"Arrays of {side}, with the adders of chunk sums, memories and control, multiplier blocks "
            "allowed, "
            "one placement each:",
            "",
            *_array_table(arrays),
            "",
        ]
    return "\n".join([*lines, *_sentences(macs), ""])


def _stages(rows: Sequence[dict]) -> str:
    (stages,) = {row["stages"] for row in rows}
    return {0: "no pipeline register", 1: "one pipeline register"}.get(stages, f"{stages} pipeline registers")


def _label(row: dict) -> str:
    return f"`{row['config']}`" + (", wired" if row["hardwired"] else "")


def _mac_table(macs: Sequence[dict]) -> list[str]:
    placements: dict[str, dict[bool, dict]] = {}
    for row in macs:
        placements.setdefault(_label(row), {})[row["placement"]["dsp"]] = row["placement"]
    lines = [
        "| MAC | LUT4 | FF | DSP | MHz | LUT4 without DSP | MHz without DSP |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, by_dsp in placements.items():
        using, plain = by_dsp[True], by_dsp[False]
        lines.append(
            f"| {label} | {using['luts']} | {using['ffs']} | {using['dsps']} | {using['fmax_mhz']:.1f} "
            f"| {plain['luts']} | {plain['fmax_mhz']:.1f} |"
        )
    return lines


def _array_table(arrays: Sequence[dict]) -> list[str]:
    lines = [
        "| array of | device | LUT4 | FF | DSP | BRAM | MHz |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in arrays:
        p = row["placement"]
        lines.append(
            f"| {_label(row)} | ECP5-{p['device']} | {p['luts']} | {p['ffs']} | {p['dsps']} | {p['brams']} "
            f"| {p['fmax_mhz']:.1f} |"
        )
    return lines


def _sentences(macs: Sequence[dict]) -> list[str]:
    plain = {
        row["config"]: row["placement"]
        for row in macs
        if not row["placement"]["dsp"] and not row["hardwired"]
    }

    def saved(new: str, old: str) -> str:
        return f"{100 * (1 - plain[new]['luts'] / plain[old]['luts']):.0f} %"

    return [
        f"Without multiplier blocks a 12-bit float MAC takes {saved('float12', 'float32')} fewer LUTs than "
        "one of "
        f"float32 and runs at {plain['float12']['fmax_mhz'] / plain['float32']['fmax_mhz']:.2f} times its "
        "clock; "
        f"12-bit integers take {saved('int12', 'int32')} fewer than 32-bit ones. The exact accumulator takes "
        f"{plain['exact']['luts'] / plain['float12']['luts']:.2f} times the LUTs of the 12-bit float at "
        f"{plain['exact']['fmax_mhz'] / plain['float12']['fmax_mhz']:.2f} times its clock.",
    ]

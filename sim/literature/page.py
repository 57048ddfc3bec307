"""The section of docs/results.md on published units and claims, from literature.json alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hw.cost.gates import PUBLISHED_SAVING
from sim.literature.sentences import conclusions

__all__ = ["section"]

_SKY130, _ASAP7 = "sky130hd", "asap7"

#: Digits and unit of a claim's figures.
_UNITS = {"nand2": (0, "GE"), "energy_pj": (3, "pJ without glitches"), "luts": (0, "LUT4")}

_ONCE = (
    "Mapped to sky130hd once, in a throw-away check, modes tied off, at a relaxed clock by ABC's default "
    "script "
    "and by one for area, beside an early MAC of ours in those two mappings. Compare within this table only. "
    "Units of others have what the last column but one says, and ours do not."
)


def section(results: dict) -> str:
    """Markdown, from a heading of the second level on."""
    return "\n".join(
        [
            "## Against the literature",
            "",
            _introduction(results["meta"]),
            "",
            *_rows_table(results),
            "",
            *(f"{paragraph}\n" for paragraph in conclusions(results)),
            "### Gates counted on paper",
            "",
            "A reconstruction of the paper's count: what each reading of the aligned width saves over e8m23, "
            "under e3m4 operands, least to most over what else is open.",
            "",
            *_savings_table(results),
            "",
            "### Published savings beside ours",
            "",
            *_claims_table(results["claims"]),
            "",
            "### Units of others, mapped once",
            "",
            _ONCE,
            "",
            *_units_table(results),
            "",
        ]
    )


def _introduction(meta: dict) -> str:
    clock = {name: ps / 1000 for name, ps in meta["clock_ps"].items()}
    energy = (
        "no energies were measured"
        if meta["stimulus"] == "none"
        else f"energies are of the stimulus `{meta['stimulus']}`, seed {meta['seed']}"
    )
    return (
        "One multiply-accumulate with its output register, at one clock for all rows of a technology: "
        f"sky130hd {clock[_SKY130]:g} ns, ASAP7 {clock[_ASAP7]:g} ns; with zero, one or two more "
        "pipeline registers, whichever makes it smallest at that clock. GE is area over that of the smallest "
        f"NAND2. Delays by {meta['timer']}, before placement; {energy}; glitches are estimated. Every "
        "netlist answered its golden "
        "vectors. Method and readings: [literature.md](literature.md). `python -m sim.literature` measures "
        "all rows, and with `--rows KEY` one."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def _number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def _change(new: float | None, old: float | None) -> str:
    if new is None or not old:
        return ""
    percent = 100 * (new / old - 1)
    return "" if new == old else f"{round(percent):+d} %".replace("-", "−")


def _with_glitches(row: dict) -> float | None:
    return None if row["energy_pj"] is None else row["energy_pj"] + row["glitch_pj"]


def _rows_table(results: dict) -> list[str]:
    other = {row["key"]: row for row in results["rows"] if row["technology"] == _ASAP7}
    analytic = results["analytic"]["gates"]
    lines = []
    for group, title in results["meta"]["groups"].items():
        rows = [row for row in results["rows"] if row["group"] == group and row["technology"] == _SKY130]
        if not rows:
            continue
        first, first_other = rows[0], other.get(rows[0]["key"])
        lines.append([f"**{title}**", *[""] * 12])
        for row in rows:
            at_7nm = other.get(row["key"])
            slow = "" if row["met"] else " (misses the clock)"
            lines.append(
                [
                    row["label"] + slow,
                    str(row["stages"]),
                    _number(row["delay_ps"] / 1000, 1),
                    _number(row["um2"]),
                    _number(row["nand2"]),
                    _change(row["nand2"], first["nand2"]),
                    _number(row["energy_pj"], 2),
                    _change(row["energy_pj"], first["energy_pj"]),
                    _number(_with_glitches(row), 2),
                    "–".join(_number(count) for count in analytic.get(row["key"], [])),
                    "" if at_7nm is None else _number(at_7nm["um2"], 1),
                    "" if at_7nm is None else _number(at_7nm["nand2"]),
                    "" if at_7nm is None else _change(at_7nm["nand2"], (first_other or {}).get("nand2")),
                ]
            )
    head = [
        "accumulator",
        "stages",
        "ns",
        "µm²",
        "GE",
        "GE over first",
        "pJ",
        "pJ over first",
        "pJ with glitches",
    ]
    return _table([*head, "gates on paper", "ASAP7 µm²", "ASAP7 GE", "over first"], lines)


def _percent(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _savings_table(results: dict) -> list[str]:
    savings = results["analytic"]["savings"]
    formats = list(savings)
    widths = list(savings[formats[0]])
    rows = [[width, *(_percent(*savings[name][width]) for name in formats)] for width in widths]
    rows.append(["the paper", *(f"{100 * PUBLISHED_SAVING:.0f} %" if f == "e4m7" else "" for f in formats)])
    measured = {row["key"]: row["nand2"] for row in results["rows"] if row["technology"] == _SKY130}
    names = {"e5m10": "float16", "e4m7": "float12", "e4m3": "float8"}
    for policy, how in (("", "product rounded"), ("-px", "exact product")):
        base = measured[f"float/float32{policy}"]
        found = [f"{100 * (1 - measured[f'float/{names[f]}{policy}'] / base):.0f} %" for f in formats]
        rows.append([f"our netlists, sky130hd, {how}", *found])
    return _table(["aligned width, M of the accumulator, m of an operand", *formats], rows)


def _claims_table(claims: Sequence[dict]) -> list[str]:
    rows = []
    for claim in claims:
        ours = "nothing of that kind here"
        if claim["measured"] is not None:
            (new, old), (after, before) = claim["ours"], claim["figures"]
            digits, unit = _UNITS[claim["quantity"]]
            ours = (
                f"{100 * (1 - claim['measured']):.0f} % (`{new}` for `{old}`, {claim['technology']}: "
                f"{_number(before, digits)} to {_number(after, digits)} {unit})"
            )
        saved = f"{100 * (1 - claim['ratio']):.0f} %"
        rows.append(
            [claim["what"], f"{claim['published']} ({saved})", ours, claim["differs"], claim["source"]]
        )
    return _table(["what", "published", "saved here", "what differs", "source"], rows, left=5)


def _units_table(results: dict) -> list[str]:
    reference = results["same_flow_reference"]
    rows = []
    for unit in (reference, *results["same_flow"]):
        cells = [unit["name"], unit["computes"]]
        for script in ("default_um2", "area_um2"):
            cells += [_number(unit[script]), f"{unit[script] / reference[script]:.2f}"]
        rows.append([*cells, unit["has"] or "–", unit["source"]])
    head = ["unit", "computes", "default script, µm²", "over ours", "area script, µm²", "over ours"]
    lines = _table([*head, "has beyond ours", "source"], rows, left=2)
    return [lines[0], lines[1].removesuffix(" ---: | ---: |") + " --- | --- |", *lines[2:]]

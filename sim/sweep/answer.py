"""What a sweep says, in words: which accumulator to build for each loss that is allowed, at one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from golden.config import ConfigError
from sim.explorer.front import best_within, worst_loss

__all__ = ["LOSSES", "Choice", "choices", "sentences", "table"]

#: Points that may be lost, on every network.
LOSSES = (0.1, 0.5, 1.0)

#: Operands of the sentences; the table has all.
OPERANDS = "e3m4"
TECHNOLOGY = "sky130hd"

_FLOAT32 = (8, 23)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The points to build for an allowed loss, among those of the same operands, technology and clock."""

    loss: float
    operands: str
    clock_ns: float
    smallest: dict[str, Any] | None  #: Least area. None: no point loses so little.
    frugal: dict[str, Any] | None  #: Least energy.
    near: dict[str, Any] | None  #: Of what is smaller than the smallest, what loses least: too much.
    float32: dict[str, Any]  #: The smallest MAC with a float32 accumulator.

    def saved(self, point: dict[str, Any], figure: str) -> float:
        """Share of the float32 accumulator's figure."""
        return 1 - point[figure] / self.float32[figure]


def choices(export: dict[str, Any], operands: str, losses: Sequence[float] = LOSSES) -> list[Choice]:
    """The choices at the fastest clock that the float32 accumulator is measured at and meets.

    Raises :class:`ConfigError` where the export has no such MAC.
    """
    points = [
        point
        for point in export["points"]
        if point["operands"] == operands
        and point["technology"] == TECHNOLOGY
        and point["clock_ns"] is not None
        and point["met"]
    ]
    wide = [point for point in points if _is_float32(point)]
    if not wide:
        raise ConfigError(
            f"this sweep has no float32 accumulator under {operands} that meets a clock; add one to its space"
        )
    clock = min(point["clock_ns"] for point in wide)
    same = [point for point in points if point["clock_ns"] == clock]
    float32 = min((point for point in same if _is_float32(point)), key=lambda point: point["um2"])
    names = list(export["meta"]["networks"])
    judged = [point for point in same if worst_loss(point, names) is not None]

    def choice(loss: float) -> Choice:
        smallest = best_within(judged, loss, "um2", names)
        smaller = [point for point in judged if smallest is not None and point["um2"] < smallest["um2"]]
        return Choice(
            loss=loss,
            operands=operands,
            clock_ns=clock,
            smallest=smallest,
            frugal=best_within(judged, loss, "energy_pj", names),
            near=min(smaller, key=lambda point: worst_loss(point, names), default=None),
            float32=float32,
        )

    return [choice(loss) for loss in losses]


def _is_float32(point: dict[str, Any]) -> bool:
    split = (point["exp_bits"], point["man_bits"])
    return point["kind"] == "float" and split == _FLOAT32 and point["product"] == "exact"


def sentences(export: dict[str, Any]) -> list[str]:
    """One sentence for each allowed loss; one that has the answer of the sentence before says why."""
    found = choices(export, OPERANDS)
    before = [None, *(choice.smallest for choice in found)]
    return [
        _again(choice, export)
        if choice.smallest is not None and choice.smallest is last
        else _sentence(choice, export)
        for choice, last in zip(found, before, strict=False)
    ]


def _allowed(choice: Choice) -> str:
    return f"For at most {choice.loss:g} point{'s' * (choice.loss != 1)} lost"


def _again(choice: Choice, export: dict[str, Any]) -> str:
    text = f"{_allowed(choice)} the answer is the same, `{choice.smallest['label']}`"
    if choice.near is None:
        return f"{text}: nothing here is smaller."
    near = choice.near
    network = max(export["meta"]["networks"], key=near["loss"].get)
    return (
        f"{text}: of what is smaller, `{near['label']}` ({near['um2']:.0f} µm²) loses least, "
        f"{near['loss'][network]:.2f} points on {network}."
    )


def _sentence(choice: Choice, export: dict[str, Any]) -> str:
    if choice.smallest is None:
        return f"{_allowed(choice)} none of the accumulators of this sweep will do."
    best, frugal = choice.smallest, choice.frugal
    text = (
        f"{_allowed(choice)} against float32 accumulators build {_named(best)}: {best['um2']:.0f} µm² of "
        f"{TECHNOLOGY} at {choice.clock_ns:g} ns{_energy(best)}, {_less(choice, best)} than the smallest "
        f"float32-accumulator MAC at that clock"
    )
    if frugal is not None and frugal is not best:
        text += f" (least energy: {_named(frugal)}, {frugal['um2']:.0f} µm²{_energy(frugal)})"
    losses = ", ".join(_loss(best, name, facts) for name, facts in export["meta"]["networks"].items())
    return f"{text}; points lost: {losses}."


def _named(point: dict[str, Any]) -> str:
    stages = f", {point['stages']} stage{'s' * (point['stages'] != 1)} inside" if point["stages"] else ""
    kind = {"float": "float", "fixed": "fixed-point", "int": "integer", "exact": "exact"}[point["kind"]]
    return f"`{point['label']}` ({point['bits']}-bit {kind}, {_policy(point)}{stages})"


def _policy(point: dict[str, Any]) -> str:
    words = {"rz": "toward zero", "rne": "to nearest even", "floor": "no rounding"}
    rounding = words.get(point["rounding"], "stochastic")
    overflow = "wrapping" if point["overflow"] == "wrap" else "saturating"
    offsets = {"registers": "offsets in registers", "wired": "offsets wired in"}.get(point["offsets"])
    return ", ".join(filter(None, (rounding, overflow, offsets)))


def _energy(point: dict[str, Any]) -> str:
    return "" if point["energy_pj"] is None else f", {point['energy_pj']:.2f} pJ"


def _less(choice: Choice, point: dict[str, Any]) -> str:
    text = f"{100 * choice.saved(point, 'um2'):.0f} % less area"
    if point["energy_pj"] is not None and choice.float32["energy_pj"] is not None:
        text += f" and {100 * choice.saved(point, 'energy_pj'):.0f} % less energy"
    return text


def _loss(point: dict[str, Any], network: str, facts: dict[str, Any]) -> str:
    low, high = point["interval"][network]
    return (
        f"{point['loss'][network]:+.2f} on {network} "
        f"({facts['n']} images; 95 % interval {low:+.2f} to {high:+.2f})"
    )


def table(export: dict[str, Any]) -> str:
    """Markdown: for all operands and allowed losses the smallest MAC and the one of least energy."""
    operands = dict.fromkeys(point["operands"] for point in export["points"])
    networks = list(export["meta"]["networks"])
    titles = ["operands", "may lose", "what", "MAC", "stages", "µm²", "pJ", "area saved", "energy saved"]
    lines = [
        "| " + " | ".join([*titles, *(f"lost on {name}" for name in networks)]) + " |",
        "| --- | ---: | --- | --- |" + " ---: |" * (len(titles) - 4 + len(networks)),
    ]
    for name in operands:
        try:
            found = choices(export, name)
        except ConfigError:
            continue
        lines.append(_row(name, "", "float32 sums", found[0].float32, found[0], networks))
        for choice in found:
            for what, point in (("smallest", choice.smallest), ("least energy", choice.frugal)):
                if point is not None:
                    lines.append(_row(name, f"{choice.loss:g}", what, point, choice, networks))
    return "\n".join(lines) + "\n"


def _row(
    operands: str, loss: str, what: str, point: dict[str, Any], choice: Choice, networks: Sequence[str]
) -> str:
    energy = point["energy_pj"]
    base = choice.float32["energy_pj"]
    cells = [
        operands,
        loss,
        what,
        f"`{point['label']}`",
        str(point["stages"]),
        f"{point['um2']:.0f}",
        "" if energy is None else f"{energy:.3f}",
        f"{100 * choice.saved(point, 'um2'):.0f} %",
        "" if energy is None or base is None else f"{100 * choice.saved(point, 'energy_pj'):.0f} %",
        *(f"{point['loss'][name]:+.2f}" if name in point["loss"] else "" for name in networks),
    ]
    return f"| {' | '.join(cells)} |"

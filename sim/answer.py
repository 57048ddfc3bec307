"""What the report's rows say, in words: which accumulator is best at equal area."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sim.statistics import paired_interval

__all__ = ["Answer", "answer", "correct_images", "pareto_front"]

#: A denoiser "keeps" float32's quality if it loses at most so many dB.
TOLERANCE_DB = 0.1

#: A configuration "keeps" float32's accuracy if it loses at most this share of the images of every task.
TOLERANCE = 0.005

_WORDS = {"float": "float", "fixed": "fixed-point", "exact": "exact", "int": "integer"}


class Answer(NamedTuple):
    """The report's first words."""

    paragraph: str
    points: list[str]


def correct_images(row: dict) -> np.ndarray:
    """Which images the row's networks got right, all tasks one after another: bool[n]."""
    bits = [
        np.unpackbits(np.frombuffer(bytes.fromhex(t["correct"]), np.uint8))[: t["n"]]
        for t in row["tasks"].values()
    ]
    return np.concatenate(bits).astype(bool)


def pareto_front(rows: Sequence[dict]) -> list[dict]:
    """Rows that no smaller or equal row matches in accuracy, from the smallest on."""
    front: list[dict] = []
    for row in sorted(rows, key=lambda row: (_um2(row), -row["accuracy"])):
        if not front or row["accuracy"] > front[-1]["accuracy"]:
            front.append(row)
    return front


def answer(rows: Sequence[dict], reference: str) -> Answer:
    """Compare the kinds of accumulator at two equal areas, and by the area they need.

    The areas are that of row ``reference``, and that of the smallest row that keeps float32's accuracy.
    """
    at = next(row for row in rows if row["label"] == reference)
    n = sum(task["n"] for task in at["tasks"].values())
    keeping = [smallest for kind in _WORDS if (smallest := _smallest_keeping(rows, kind))]
    paragraph = (
        "Which accumulator is best at equal area? "
        f"In the area of the MAC with the 12-bit float accumulator ({_area(at)}), {_comparison(rows, at)}"
    )
    if keeping:
        least = min(keeping, key=_um2)
        if least is not at:
            paragraph += f" In that of {least['label']} ({_area(least)}), {_comparison(rows, least)}"
    paragraph += (
        f" {_smallest_sentence(rows)} {n} test images; float32 gets {100 * _float32(at):.2f} % right."
    )
    points = [
        f"Registers or wires for the offsets: {_wiring(rows, reference)}",
        f"A regression instead of classes: {_denoising(rows, at)}",
    ]
    return Answer(paragraph, points)


def _comparison(rows: Sequence[dict], at: dict) -> str:
    """The most accurate row of each kind that is no larger than ``at``, against the best of them."""
    best = {kind: row for kind in _WORDS if (row := _most_accurate(rows, kind, _um2(at)))}
    winner, *others = sorted(best.values(), key=lambda row: -row["accuracy"])
    parts = [f"the most accurate is {_WORDS[winner['kind']]}, {_accuracy(winner)}"]
    parts += [_against(winner, other) for other in others]
    if absent := [words for kind, words in _WORDS.items() if kind not in best]:
        parts.append(f"none that is {' or '.join(absent)} fits")
    return "; ".join(parts) + "."


def _um2(row: dict) -> float:
    return row["area"]["um2"]


def _smallest_keeping(rows: Sequence[dict], kind: str) -> dict | None:
    """The smallest row of a kind that keeps float32's accuracy."""
    enough = [
        row
        for row in rows
        if row["kind"] == kind and all(-task["difference"] <= TOLERANCE for task in row["tasks"].values())
    ]
    return min(enough, key=_um2, default=None)


def _most_accurate(rows: Sequence[dict], kind: str, budget: float) -> dict | None:
    affordable = [row for row in rows if row["kind"] == kind and _um2(row) <= budget]
    return max(affordable, key=lambda row: (row["accuracy"], -_um2(row)), default=None)


def _against(winner: dict, other: dict) -> str:
    a, b = correct_images(winner), correct_images(other)
    low, high = paired_interval(a, b)
    verdict = "" if low > 0 else ", so these images cannot tell them apart"
    return (
        f"the best {_WORDS[other['kind']]} one, {_accuracy(other)}, is {100 * (a.mean() - b.mean()):.2f} "
        f"points behind (95 % interval {100 * low:+.2f} to {100 * high:+.2f}{verdict})"
    )


def _smallest_sentence(rows: Sequence[dict]) -> str:
    found = {words: _smallest_keeping(rows, kind) for kind, words in _WORDS.items()}
    there = sorted((row for row in found.values() if row), key=_um2)
    parts = [f"{row['label']} ({_area(row)})" for row in there]
    parts += [f"none that is {words}" for words, row in found.items() if row is None]
    return (
        f"The smallest MAC of each kind that loses at most {100 * TOLERANCE:g} points against float32 on "
        "each task: "
        f"{'; '.join(parts)}."
    )


def _wiring(rows: Sequence[dict], reference: str) -> str:
    by_config = {row["label"]: row for row in rows}
    held, wired = by_config[reference], by_config[f"{reference} wired"]
    saved = 1 - _um2(wired) / _um2(held)
    return (
        f"with exponent offsets as constants, the same for all layers, {reference} takes {100 * saved:.0f} "
        f"% less area ({_area(wired)}) and gets {100 * wired['accuracy']:.2f} % right instead of "
        f"{100 * held['accuracy']:.2f} %."
    )


def _denoising(rows: Sequence[dict], at: dict) -> str:
    """The smallest row of each kind that denoises as well as float32, and how ``at`` does."""
    enough = [row for row in rows if -row["denoising"]["difference"] <= TOLERANCE_DB]
    kinds = {kind: [row for row in enough if row["kind"] == kind] for kind in _WORDS}
    there = sorted((min(some, key=_um2) for some in kinds.values() if some), key=_um2)
    parts = [f"{row['label']} ({_area(row)})" for row in there]
    parts += [f"none that is {_WORDS[kind]}" for kind, some in kinds.items() if not some]
    done = at["denoising"]
    return (
        f"the smallest MAC of each kind that loses at most {TOLERANCE_DB:g} dB against float32 "
        f"({done['float32_psnr']:.2f} dB) on {done['n']} denoised digits: {'; '.join(parts)}. {at['label']} "
        f"loses {-done['difference']:.2f} dB."
    )


def _float32(row: dict) -> float:
    tasks = row["tasks"].values()
    return sum(task["float32_accuracy"] * task["n"] for task in tasks) / sum(task["n"] for task in tasks)


def _area(row: dict) -> str:
    um2, nand2 = (f"{row['area'][unit]:_.0f}".replace("_", "\u202f") for unit in ("um2", "nand2"))
    return f"{um2} µm², {nand2} NAND2"


def _accuracy(row: dict) -> str:
    return f"{row['label']} ({_area(row)}; {100 * row['accuracy']:.2f} % right)"

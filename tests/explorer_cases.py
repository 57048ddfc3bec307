"""Made-up exports of sweeps, and what the explorer must show of them, found without its code."""

from __future__ import annotations

import math
import random

#: Text that would be markup, or end the script, if the page took it for more than text.
HOSTILE = "</script><img src=x onerror=alert(1)>&\u2028"

#: Which end of each axis is the better one: 1 where more is.
BETTER = {
    "accuracy": 1,
    "loss": -1,
    "um2": -1,
    "nand2": -1,
    "delay_ns": -1,
    "fmax_mhz": 1,
    "energy_pj": -1,
    "leakage_uw": -1,
    "throughput_per_area": 1,
    "bits": -1,
}

NETWORKS = {"digits": 1797, "ResNet-20": 1000}
KINDS = ("float", "fixed", "int", "exact")
PARTS = ("multiplier", "aligner", "adder", "registers")


def export(count: int = 330, seed: int = 7) -> dict:
    """An export with every kind of gap: no energy, no accuracy, missed clocks, equal figures, odd names."""
    rng = random.Random(seed)
    points = [_point(i, rng) for i in range(count)]
    for i in range(20, count, 40):  # twins, which differ in nothing that is plotted
        for key in ("um2", "accuracy", "loss", "technology", "clock_ns", "met", "energy_pj"):
            points[i][key] = points[i - 20][key]
    points[0]["label"] = HOSTILE
    points[0]["commands"]["evaluate"] = HOSTILE
    return {
        "meta": {
            "title": "A made-up sweep",
            "seed": seed,
            "networks": {name: {"n": n, "float32": 92.0} for name, n in NETWORKS.items()},
            "units": {"throughput_per_area": "MMAC/s per um2"},
            "notes": [HOSTILE],
        },
        "points": points,
    }


def _point(i: int, rng: random.Random) -> dict:
    kind, bits = rng.choice(KINDS), rng.randint(6, 32)
    technology = rng.choice(["sky130hd", "sky130hd", "asap7"])
    clock = rng.choice([None, 5.0, 5.0, 2.5])
    um2 = round(1000 + 90 * bits + rng.uniform(0, 1500), 1)
    delay = round(rng.uniform(1, 6), 3)
    losses = {name: round(max(-0.3, rng.gauss(14 - bits, 2)), 2) for name in NETWORKS}
    point = {
        "id": f"p{i:04}",
        "label": f"{kind}{bits}-{i}",
        "config": f"e3m4_e3m4_p_exact_a_{kind}{bits}_c16",
        "silicon": f"e3m4_{kind}{bits}_hw",
        "kind": kind,
        "bits": bits,
        "exp_bits": None,
        "man_bits": None,
        "rounding": rng.choice(["rz", "rne", "sr8"] if kind == "float" else ["rz", "floor"]),
        "overflow": rng.choice(["sat", "wrap"]),
        "alignment": rng.choice([None, None, 0, 2]),
        "product": rng.choice(["exact", "e4m7_rz"]),
        "chunk": 16,
        "operands": "int8" if kind == "int" else "e3m4",
        "offsets": rng.choice(["wired", "registers", "none"]),
        "stages": rng.choice([0, 1, 2]),
        "technology": technology,
        "clock_ns": clock,
        "um2": um2,
        "nand2": round(um2 / 3.75, 1),
        "delay_ns": delay,
        "fmax_mhz": round(1000 / delay, 1),
        "energy_pj": None if i % 11 == 3 else round(um2 * rng.uniform(3e-4, 6e-4), 4),
        "leakage_uw": round(um2 * 1e-4, 5),
        "throughput_per_area": round(1000 / delay / um2, 5),
        "parts_um2": {part: round(um2 / 5, 2) for part in PARTS},
        "parts_pj": {part: 0.1 for part in PARTS},
        "timer": "OpenSTA 2.0.17",
        "met": None if clock is None else delay <= clock,
        "accuracy": {name: round(92 - loss, 2) for name, loss in losses.items()},
        "loss": losses,
        "interval": {name: [round(loss - 0.5, 2), round(loss + 0.5, 2)] for name, loss in losses.items()},
        "n": dict(NETWORKS),
        "commands": {
            name: f'python -m some.{name} {kind}{bits} "--quoted, twice"'
            for name in ("generate", "test", "evaluate", "cost")
        },
    }
    if i % 17 == 5:
        del point["accuracy"]["ResNet-20"], point["loss"]["ResNet-20"]
    return point


def figure(point: dict, key: str, network: str) -> float | None:
    """A point's figure on an axis, accuracy and loss of the network."""
    if key in ("accuracy", "loss"):
        return point.get(key, {}).get(network)
    return point.get(key)


def worst_loss(point: dict) -> float:
    """Points lost on the network that loses most; infinite where one is not known."""
    return max(point["loss"].get(name, math.inf) for name in NETWORKS)


def front(points: list[dict], x: str, y: str, network: str) -> set[str]:
    """Ids of the Pareto front, each point held against each other."""
    placed = [(figure(p, x, network), figure(p, y, network), p["id"]) for p in points]
    placed = [
        (BETTER[x] * a, BETTER[y] * b, name) for a, b, name in placed if a is not None and b is not None
    ]
    return {
        name for a, b, name in placed if not any(c >= a and d >= b and (c, d) != (a, b) for c, d, _ in placed)
    }


def shown(points: list[dict], *, technology="sky130hd", clock=5.0, missed=False, keep=lambda _: True):
    """Points that pass filters: of one technology at one clock, which they meet unless ``missed``."""
    return [
        p
        for p in points
        if p["technology"] == technology
        and p["clock_ns"] == clock
        and (missed or p["met"] is not False)
        and keep(p)
    ]

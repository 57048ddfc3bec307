"""The export: every point of a space with all that the store knows of it, as JSON for the explorer."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from math import gcd
from typing import Any

import numpy as np

from golden.config import ArrayConfig, FixedAccumulator, MacConfig
from hw.options import DEPTH
from sim.statistics import paired_interval
from sim.sweep.formats import kind_of, label_of, operands_of
from sim.sweep.items import Needs
from sim.sweep.space import Network, Point
from sim.sweep.store import Store

__all__ = ["export", "export_text"]

#: Columns, and rows at most, of the arrays that commands make.
_SIDE = 16

UNITS = {
    "um2": "µm²",
    "nand2": "NAND2",
    "delay_ns": "ns",
    "fmax_mhz": "MHz",
    "energy_pj": "pJ per MAC",
    "glitch_pj": "pJ per MAC that glitches add, estimated",
    "leakage_uw": "µW",
    "throughput_per_area": "MMAC/s per µm²",
    "accuracy": "%",
    "loss": "points lost against float32 accumulators under the same operands",
}

_NOTES = (
    "Accuracy: networks as they were trained, every matrix product through the accumulator, bit for bit, "
    "without retraining. A layer's offsets (with integers the bits that operands use) are set on training "
    "images, or one setting for all layers where that gets more of them right; wired offsets are one for all "
    "networks.",
    "Loss is against the same network with the same operands and float32 accumulators, in points; negative "
    "where the narrow accumulator happened to do better. Intervals are 95 % for the difference of paired "
    "proportions (Newcombe 1998, method 10); points were picked on the images that they are judged on, and "
    "intervals do not allow for that.",
    "Cost is that of one MAC with its output register, mapped for its clock: no wires, no clock tree, and "
    "without the adder of chunk sums under each column. Each netlist passed golden vectors before it was "
    "admitted. A chunk is no matter of the MAC: points that differ in it alone share area and delay.",
)


def export_text(needs: Needs, store: Store) -> str:
    """JSON of :func:`export`, a line a point."""
    content = export(needs, store)
    points = ",\n".join(json.dumps(point, ensure_ascii=False) for point in content["points"])
    meta = json.dumps(content["meta"], ensure_ascii=False, indent=1)
    return f'{{"meta": {meta},\n"points": [\n{points}\n]}}\n'


def export(needs: Needs, store: Store) -> dict[str, Any]:
    """``{"meta": ..., "points": [...]}``; a figure that is not there yet is null, or not in its object."""
    known = store.results()
    points = [_point(i, point, needs, known) for i, point in enumerate(needs.space.points, 1)]
    space = needs.space
    return {
        "meta": {
            "title": space.title,
            "space": space.name,
            "command": f"python -m sim.sweep spaces/{space.name}.toml --export FILE",
            "seed": space.seed,
            "stimulus": space.stimulus,
            "networks": {network.name: _network(network, needs, known) for network in space.networks},
            "references": _references(needs, known),
            "units": UNITS,
            "versions": _versions(needs, known),
            "missing": {
                "cost": sum(point["um2"] is None for point in points),
                "accuracy": sum(
                    len(point["accuracy"]) < len(each.networks)
                    for point, each in zip(points, space.points, strict=True)
                ),
            },
            "notes": list(_NOTES),
        },
        "points": points,
    }


def _network(network: Network, needs: Needs, known: Mapping[str, dict]) -> dict[str, Any]:
    found = known.get(needs.float32(network).key)
    return {
        "n": found and found["n"],
        "images": "all test images" if network.images is None else f"the first {network.images} test images",
        "calibration": network.calibration,
        "float32": found and round(100 * float(_correct(found).mean()), 4),
        "longest_sum": found and found["longest_sum"],
        "unit": "%",
    }


def _references(needs: Needs, known: Mapping[str, dict]) -> dict[str, dict[str, float]]:
    """Operands -> network -> percent right with float32 accumulators."""
    found: dict[str, dict[str, float]] = {}
    for point in needs.space.points:
        for network in point.networks:
            result = known.get(needs.reference(point.config, network).key)
            if result:
                right = round(100 * float(_correct(result).mean()), 4)
                found.setdefault(operands_of(point.config), {})[network.name] = right
    return found


def _versions(needs: Needs, known: Mapping[str, dict]) -> dict[str, str]:
    found = {name: version(name) for name in ("torch", "numpy", "amaranth", "pyosys", "scikit-learn")}
    for point in needs.space.points:
        if record := needs.record(point, known):
            found |= record["versions"] | ({"timer": record["timer"]} if record["timer"] else {})
            break
    return {"python": platform.python_version(), **found}


def _correct(result: dict) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(result["correct"]), np.uint8))
    return bits[: result["n"]].astype(bool)


def _point(number: int, point: Point, needs: Needs, known: Mapping[str, dict]) -> dict[str, Any]:
    record = needs.record(point, known)
    stages = point.stages if record is None else record["stages"]
    accuracy, loss, interval, count = _judged(point, needs, known)
    offset = needs.offset_of(point, known)
    wired = point.offsets == "wired"
    return {
        "id": f"p{number:04d}",
        "label": label_of(point.config) + (" wired" if wired else ""),
        **_described(point.config),
        "offsets": point.offsets,
        "offset": offset,
        "stages": stages,
        "searched": point.stages is None,
        "technology": point.technology,
        "clock_ns": None if point.clock_ps is None else point.clock_ps / 1000,
        **_figures(record, point),
        "accuracy": accuracy,
        "loss": loss,
        "interval": interval,
        "n": count,
        "commands": _commands(point, needs, stages, offset),
    }


def _described(config: MacConfig) -> dict[str, Any]:
    acc = config.accumulator
    fixed = isinstance(acc, FixedAccumulator)
    return {
        "config": config.name,
        "silicon": config.silicon.mac_name,
        "kind": kind_of(config),
        "bits": acc.format.code_bits,
        "exp_bits": None if fixed else acc.format.exp_bits,
        "man_bits": None if fixed else acc.format.man_bits,
        "rounding": acc.rounding.value + (str(acc.random_bits) if acc.random_bits else ""),
        "overflow": acc.overflow.value if fixed else "sat",
        "alignment": None if fixed else acc.alignment_bits,
        "product": "exact" if config.product is None else config.product.name,
        "chunk": config.chunk_size,
        "operands": operands_of(config),
    }


def _figures(record: dict | None, point: Point) -> dict[str, Any]:
    if record is None:
        names = ("um2", "nand2", "cells", "delay_ns", "fmax_mhz", "energy_pj", "glitch_pj", "leakage_uw")
        return {
            **dict.fromkeys((*names, "throughput_per_area", "met", "timer", "recipe", "stimulus", "vectors")),
            "parts_um2": {},
            "parts_pj": {},
            "critical_ns": {},
        }
    delay = record["delay_ps"]
    fmax = record["fmax_mhz"]
    # At a clock that is asked for and met, the MAC runs at that clock.
    rate = fmax if point.clock_ps is None or not record["met"] else 1e6 / point.clock_ps
    return {
        "um2": _rounded(record["um2"], 2),
        "nand2": _rounded(record["nand2"], 1),
        "cells": record["cells"],
        "delay_ns": None if delay is None else round(delay / 1000, 4),
        "fmax_mhz": _rounded(fmax, 2),
        "energy_pj": _rounded(record["energy_pj"], 5),
        "glitch_pj": _rounded(record["glitch_pj"], 5),
        "leakage_uw": _rounded(record["leakage_uw"], 6),
        "throughput_per_area": None if rate is None else round(rate / record["um2"], 6),
        "met": record["met"],
        "timer": record["timer"],
        "recipe": record["recipe"],
        "stimulus": record["stimulus"],
        "vectors": record["vectors"],
        "parts_um2": {part: round(um2, 2) for part, um2 in (record["parts"] or {}).items()},
        "parts_pj": {part: round(pj, 5) for part, pj in (record["energy_parts"] or {}).items()},
        "critical_ns": {part: round(ps / 1000, 4) for part, ps in (record["critical"] or {}).items()},
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _judged(point: Point, needs: Needs, known: Mapping[str, dict]) -> tuple[dict, dict, dict, dict]:
    """Accuracy, loss, interval of the loss and number of images, by network, of those that are known."""
    accuracy, loss, interval, count = {}, {}, {}, {}
    offset = needs.offset_of(point, known)
    if point.offsets == "wired" and offset is None:
        return accuracy, loss, interval, count
    for network in point.networks:
        found = known.get(needs.accuracy(point.config, network, offset).key)
        reference = known.get(needs.reference(point.config, network).key)
        if found is None or reference is None:
            continue
        ours, theirs = _correct(found), _correct(reference)
        low, high = paired_interval(theirs, ours)
        name = network.name
        accuracy[name] = round(100 * float(ours.mean()), 4)
        loss[name] = round(100 * float(theirs.mean() - ours.mean()), 4)
        interval[name] = [round(100 * low, 3), round(100 * high, 3)]
        count[name] = found["n"]
    return accuracy, loss, interval, count


def _commands(point: Point, needs: Needs, stages: int | None, offset: int | None) -> dict[str, str]:
    """What makes the hardware, tries it, judges networks by it and measures it, in the project's folder."""
    wired = point.offsets == "wired"
    if stages is None or (wired and offset is None):
        return {}
    silicon = needs.silicon(point, offset)
    config = silicon.config if wired else point.config
    rows = gcd(config.chunk_size, _SIDE)
    array = ArrayConfig(silicon=silicon, rows=rows, cols=_SIDE, stages=stages, depth=DEPTH, events=False).name
    build = f"--config {config.name} --rows {rows} --stages {stages}" + " --hardwired-offsets" * wired
    only = f"python -m sim.sweep spaces/{needs.space.name}.toml --only {point.config.name}"
    return {
        "generate": f"python -m hw.generate {build} -o generated",
        "test": f"cd generated && iverilog -o check {array}.v {array}_tb.v && vvp -N check",
        "evaluate": f"{only} --accuracy-only",
        "cost": f"{only} --cost-only",
    }

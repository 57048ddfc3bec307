"""What a design can be judged by: the explorer's axes, their units, and which end is the better one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["AXES", "NETWORK_FIELDS", "NUMBERS", "Axis", "axes_of", "value"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One figure of a design point."""

    key: str  #: Of the point; ``accuracy`` and ``loss`` are those of the network that is looked at.
    label: str
    unit: str  #: Empty for a plain number.
    better: int  #: 1 where more is better, -1 where less is.
    log: bool  #: Drawn on a logarithmic axis unless asked otherwise.


AXES = (
    Axis(key="accuracy", label="Accuracy", unit="%", better=1, log=False),
    Axis(key="loss", label="Accuracy lost", unit="points", better=-1, log=False),
    Axis(key="um2", label="Area", unit="µm²", better=-1, log=False),
    Axis(key="nand2", label="Area", unit="GE", better=-1, log=False),
    Axis(key="delay_ns", label="Delay", unit="ns", better=-1, log=False),
    Axis(key="fmax_mhz", label="Highest clock", unit="MHz", better=1, log=False),
    Axis(key="energy_pj", label="Energy per MAC", unit="pJ", better=-1, log=False),
    Axis(key="leakage_uw", label="Leakage", unit="µW", better=-1, log=False),
    Axis(key="throughput_per_area", label="Throughput per area", unit="MMAC/s per µm²", better=1, log=False),
    Axis(key="bits", label="Accumulator width", unit="bits", better=-1, log=False),
)

#: Figures that a point has once a network: {network: number}.
NETWORK_FIELDS = ("accuracy", "loss", "n")

#: Figures that are one number a point.
NUMBERS = (
    *(axis.key for axis in AXES if axis.key not in NETWORK_FIELDS),
    *("exp_bits", "man_bits", "alignment", "chunk", "stages", "clock_ns", "cells", "vectors"),
    "offset",
)


def value(point: Mapping[str, Any], key: str, network: str | None) -> float | None:
    """The figure ``key`` of a point, None where it has none."""
    if key in NETWORK_FIELDS:
        return point.get(key, {}).get(network)
    return point.get(key)


def axes_of(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The axes as the page's script reads them; the unit of throughput is the one that the export says."""
    units = meta.get("units")
    said = units.get("throughput_per_area") if isinstance(units, Mapping) else None
    throughput = said.replace("um2", "µm²") if isinstance(said, str) else None
    return [
        asdict(axis) | ({"unit": throughput} if throughput and axis.key == "throughput_per_area" else {})
        for axis in AXES
    ]

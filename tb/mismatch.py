"""A result that differs from golden's: where, when, and by what; handed from the simulator to pytest."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from golden.codes import decode
from golden.config import MacConfig, parse_format

__all__ = ["PERIOD_NS", "Mismatch", "MismatchError", "mac_signals", "value_text"]

PERIOD_NS = 10  #: Of every testbench's clock.


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The first wrong result of a test."""

    instance: str  #: Of the MAC, array or tile: its name in the top level.
    column: int | None  #: Of an array.
    port: str  #: Where the result stood,
    lsb: int  #: and the lowest of its bits.
    time_ns: int  #: In the cycle in which the result stood on the wires and was taken.
    place: dict[
        str, int | None
    ]  #: Row m and column n of the product, and the first k with which it is wrong.
    got: int
    wanted: int
    number: str  #: Name of the format of both codes.
    what: str  #: What it is, and what went in.
    signals: dict[str, str]  #: Formats by names of ports inside that carry a code of theirs.

    @property
    def cycle(self) -> int:
        """Counted from the beginning of the waves."""
        return self.time_ns // PERIOD_NS

    @property
    def place_text(self) -> str:
        texts = [f"{name}={value}" for name, value in self.place.items() if value is not None]
        if None in self.place.values():
            texts.append("(no sum of its first products alone is wrong: it depends on what went before)")
        return " ".join(texts)

    def __str__(self) -> str:
        got, wanted = (value_text(code, self.number) for code in (self.got, self.wanted))
        return (
            f"{self.instance}, cycle {self.cycle} ({self.time_ns} ns), {self.place_text}: RTL gives {got}, "
            f"golden gives {wanted}; {self.what}"
        )

    @classmethod
    def reported(cls, path: Path) -> Mismatch | None:
        """The one that a run has left, if any."""
        return cls(**json.loads(path.read_text())) if path.exists() else None


class MismatchError(AssertionError):
    """Raised in a testbench. The first one of a run is left for pytest."""

    def __init__(self, mismatch: Mismatch):
        super().__init__(str(mismatch))
        self.mismatch = mismatch
        path = Path(os.environ["TB_MISMATCH"])
        if not path.exists():
            path.write_text(json.dumps(asdict(mismatch)))


def value_text(code: int, number: str) -> str:
    """A code and the number that it means: ``0x1a0 (0.40625)``."""
    return f"{code:#x} ({_value(code, number)})"


def _value(code: int, number: str) -> str:
    try:
        return f"{decode(np.array([code]), parse_format(number))[0]:.10g}"
    except ValueError:
        return "no number"


def mac_signals(mac: MacConfig) -> dict[str, str]:
    """Ports of a MAC that carry codes."""
    acc = mac.accumulator.format.name
    return {"x": mac.x.name, "w": mac.w.name, "acc": acc, "result": acc}

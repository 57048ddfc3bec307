"""What the study's tables and sentences are about."""

from __future__ import annotations

__all__ = ["NOISE", "WIDTH", "least_of", "level_of"]

WIDTH = "12"  #: Bits of the accumulator, a key of the results, that sentences on images are about,
NOISE = 0.25  #: and the standard deviation of their noise.


def least_of(least: int | None) -> str:
    """A least number of bits as a cell of a table."""
    return "none" if least is None else str(least)


def level_of(digits: dict) -> dict:
    """The digits' results at the noise ``NOISE``, or at the nearest there is."""
    return min(digits["levels"], key=lambda level: abs(level["sigma"] - NOISE))

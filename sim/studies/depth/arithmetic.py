"""The accumulators of the study, by mantissa bits and rounding."""

from __future__ import annotations

from golden.config import MacConfig

__all__ = ["MODES", "config_of"]

#: Mode -> (rounding, whether weights are divided by the gain).
MODES = {
    "rz": ("rz", False),
    "rz repaired": ("rz", True),
    "rne": ("rne", False),
    "sr8": ("sr8", False),
}


def config_of(man_bits: int, rounding: str) -> MacConfig:
    """Products and sums of so many mantissa bits, in chunks of 16.

    Six exponent bits and operands of half precision: neither range nor operands limit anything.
    """
    number = f"e6m{man_bits}_{rounding}"
    return MacConfig.parse(f"e5m10_e5m10_p_{number}_a_{number}_c16")

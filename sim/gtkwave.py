"""Codes as numbers in GTKWave: lines of its save files, and the tables that they refer to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from golden.codes import decode
from golden.config import Format

__all__ = ["HEXADECIMAL", "shown_as_numbers", "translation_text"]

HEXADECIMAL = "@22"  #: The flag of signals that are shown as codes.
_TRANSLATED = "@2022"
_TRANSLATED_BITS = 16  # of the widest format whose numbers are listed; wider codes are shown in hexadecimal


def shown_as_numbers(signal: str, number: Format, folder: Path) -> list[str]:
    """Lines of a save file in ``folder`` that show a signal's codes as numbers; their table is put there."""
    if number.code_bits > _TRANSLATED_BITS:
        return [HEXADECIMAL, signal]
    table = folder / f"{number.name}.txt"
    if not table.exists():
        table.write_text(translation_text(number))
    return [_TRANSLATED, f"^1 {table.absolute()}", signal]  # GTKWave may be started anywhere


def translation_text(number: Format) -> str:
    """GTKWave's translate filter file of a format: each code in hexadecimal, and its number."""
    digits = -(-number.code_bits // 4)
    lines = []
    for code in range(2**number.code_bits):
        try:
            value = f"{decode(np.array([code]), number)[0]:.10g}"
        except ValueError:
            value = "no_number"
        lines.append(f"{code:0{digits}x} {value}")
    return "\n".join(lines) + "\n"

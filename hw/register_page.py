"""``python -m hw.register_page``: writes the register map into docs/tile.md."""

from __future__ import annotations

import sys
from pathlib import Path

from golden.config import ArrayConfig, MacConfig, Rounding, parse_format
from golden.tile import OutputStage, TileConfig
from hw.files import write_files
from hw.register_text import register_table
from hw.registers import Register, register_map

__all__ = ["PAGE", "main", "page_with_registers"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tile.md"

_BEGIN, _END = "<!-- registers: python -m hw.register_page -->\n", "<!-- end of registers -->"

#: Together they have every register that there is.
_EXAMPLES = (
    ("e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16_o_e5m10_sr4", "e3m4", None),
    ("e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16_o_int40ln10_rz_sat", "int8", 16),
)


def _every_register() -> list[Register]:
    registers: dict[int, Register] = {}
    for name, target, multiplier_bits in _EXAMPLES:
        array = ArrayConfig(
            silicon=MacConfig.parse(name).silicon, rows=16, cols=16, stages=1, depth=64, events=True
        )
        stage = OutputStage(
            target=parse_format(target),
            rounding=Rounding.NEAREST_EVEN,
            channels=1024,
            multiplier_bits=multiplier_bits,
        )
        for register in register_map(TileConfig(array=array, output=stage)):
            registers.setdefault(register.address, register)
    return [registers[address] for address in sorted(registers)]


def page_with_registers(page: str) -> str:
    """The page with the register map of this program between its two marks."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page has no place for registers, between {_BEGIN.strip()} and {_END}")
    return f"{before}{begin}\n{register_table(_every_register(), constants=False)}\n{end}{after}"


def main() -> int:
    """Rewrite the page."""
    write_files({PAGE.name: page_with_registers(PAGE.read_text())}, PAGE.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())

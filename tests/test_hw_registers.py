"""The table of registers: addresses that do not collide, and the page that shows it."""

from __future__ import annotations

import pytest

from golden.config import ArrayConfig, MacConfig, Rounding, parse_format
from golden.tile import OutputStage, TileConfig
from hw.register_page import PAGE, page_with_registers
from hw.registers import register_map

NAMES = (
    ("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16", None),
    ("e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16", "e3m4"),
    ("int8_int8_p_exact_a_int20_floor_wrap_c16", "int8"),
    ("int8_int8_p_exact_a_int40_floor_sat_c16", "int16"),
)


def tile(name: str, target: str | None, *, events: bool) -> TileConfig:
    array = ArrayConfig(
        silicon=MacConfig.parse(name).silicon, rows=16, cols=8, stages=1, depth=64, events=events
    )
    if target is None:
        return TileConfig(array=array, output=None)
    number = parse_format(target)
    stage = OutputStage(
        target=number,
        rounding=Rounding.NEAREST_EVEN,
        channels=1000,
        multiplier_bits=16 if target.startswith("int") else None,
    )
    return TileConfig(array=array, output=stage)


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize(("name", "target"), NAMES)
def test_registers_do_not_collide(name, target, events):
    registers = register_map(tile(name, target, events=events))
    addresses = [register.address for register in registers]
    assert addresses == sorted(set(addresses))
    assert all(address % 4 == 0 and address < 2**12 for address in addresses)
    ports = [register.port(field) for register in registers for field in register.fields]
    assert len(ports) == len(set(ports))
    for register in registers:
        used = 0
        for field in register.fields:
            mask = (2**field.width - 1) << field.lsb
            assert mask < 2**32 and not mask & used, (register.name, field.name)
            assert field.constant is None or 0 <= field.constant < 2**field.width, (register.name, field.name)
            used |= mask


def test_an_address_means_the_same_in_every_tile():
    names: dict[int, set[str]] = {}
    for events in (False, True):
        for name, target in NAMES:
            for register in register_map(tile(name, target, events=events)):
                names.setdefault(register.address, set()).add(register.name)
    assert all(len(each) == 1 for each in names.values())


def test_what_nobody_asked_for_has_no_register():
    plain = {register.name for register in register_map(tile(*NAMES[0], events=False))}
    assert not {name for name in plain if "KEY" in name or "CHANNEL" in name or "FLOWS" in name}
    integers = {register.name for register in register_map(tile(*NAMES[2], events=True))}
    assert not {name for name in integers if name.endswith("OFFSET")} - {"OUTPUT_OFFSET"}
    assert {"OVERFLOWS", "UNDERFLOWS", "OUTPUT_OVERFLOWS", "CHANNEL_SHIFT"} <= integers


def test_the_page_shows_this_table():
    page = PAGE.read_text()
    assert page == page_with_registers(page), "run python -m hw.register_page"
    with pytest.raises(ValueError, match="no place for registers"):
        page_with_registers("nothing here")

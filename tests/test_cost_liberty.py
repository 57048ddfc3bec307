"""Real cell libraries, where they are: the table agrees with its source, and they map too."""

from pathlib import Path

import pytest

from golden.catalog import find
from golden.stimulus import mac_vectors
from hw.cost.area import area
from hw.cost.cells import builtin_library, liberty_library
from hw.cost.check import MIN_VECTORS
from hw.cost.functions import parse_function, truth_table

ASAP7 = ("asap7_simple.lib.gz", "asap7_invbuf.lib.gz", "asap7_seq.lib.gz")


def liberty_files(*names: str) -> list[Path]:
    """Files of the folder that lies beside the project; without it the test is skipped."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "liberty"
    if not folder.is_dir():
        pytest.skip(f"no cell libraries in {folder}: they are on no package registry")
    return [folder / name for name in names]


def test_the_table_states_facts_of_its_source():
    source = liberty_library(liberty_files("sky130hd_tt.lib.gz"))
    table = builtin_library()
    for name, cell in table.cells.items():
        original = source.cells[name]
        assert (cell.area, cell.inputs) == (original.area, original.inputs), name
        states = () if cell.flip_flop is None else ("IQ",)
        for (pin, function), (original_pin, original_function) in zip(
            cell.outputs, original.outputs, strict=True
        ):
            names = cell.inputs + states
            assert pin == original_pin
            assert truth_table(parse_function(function), names) == truth_table(
                parse_function(original_function), names
            ), name
        if cell.flip_flop is not None:
            assert cell.flip_flop.clocked_on == original.flip_flop.clocked_on
            names = cell.inputs + states
            assert truth_table(parse_function(cell.flip_flop.next_state), names) == truth_table(
                parse_function(original.flip_flop.next_state), names
            )
    assert table.nand2_um2 == source.nand2_um2


def test_nand2_and_inverter_are_found_in_the_three_parts_of_asap7():
    library = liberty_library(liberty_files(*ASAP7))
    assert library.nand2_um2 == 0.05832
    assert library.inverter.name == "INVx1_ASAP7_75t_R"
    assert library.fingerprint == liberty_library(liberty_files(*reversed(ASAP7))).fingerprint


def test_a_mac_maps_to_asap7_and_its_netlist_is_right():
    library = liberty_library(liberty_files(*ASAP7))
    silicon = find("int8").silicon
    (row,) = area(
        [silicon],
        library=library,
        stages=0,
        vectors=lambda s: mac_vectors(s.config, MIN_VECTORS, 1, hardwired=s.hardwired),
        progress=lambda line: None,
    )
    assert row.um2 == min(row.recipe_um2.values())
    assert row.nand2 == row.um2 / 0.05832
    assert row.vectors >= MIN_VECTORS

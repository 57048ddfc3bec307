"""Tiles behind other people's AXI drivers: products under stalls, resets, abuse, and mutants."""

from __future__ import annotations

from dataclasses import asdict

from hw.tile import Tile
from tb.tile_bank import bank_text
from tb.tile_cases import TileCase
from tb.tile_mutants import TILE_MUTANTS

SEED = 20241206
COUNT = 4  #: Products in a row, and so on.

#: What differs: formats, output stages, random words, pipelines, tiles of one row, of one column.
TILES = {
    "float12": TileCase(
        mac="e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c4",
        hardwired=False,
        rows=4,
        cols=3,
        stages=1,
        depth=4,
        events=True,
        output=None,
    ),
    "integers": TileCase(
        mac="int8_int8_p_exact_a_int16_floor_sat_c2_o_int24_floor_sat",
        hardwired=False,
        rows=2,
        cols=2,
        stages=0,
        depth=3,
        events=True,
        output=("int8", "rne", 7, 8),
    ),
    "stochastic": TileCase(
        mac="e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr5_c4_o_e5m10_sr3",
        hardwired=False,
        rows=2,
        cols=2,
        stages=0,
        depth=4,
        events=True,
        output=None,
    ),
    "floats": TileCase(
        mac="e3m4_e3m4_p_e4m7b12_rne_a_e4m7b10_rne_c6",
        hardwired=True,
        rows=3,
        cols=1,
        stages=2,
        depth=2,
        events=False,
        output=("e3m4", "rne", 5, None),
    ),
    "wide": TileCase(
        mac="int8_int8_p_exact_a_int40_floor_sat_c1",
        hardwired=False,
        rows=1,
        cols=2,
        stages=0,
        depth=1,
        events=False,
        output=("int16", "rz", 9, 12),
    ),
}


#: What mutants are changed from.
SMALL = TileCase(
    mac=TILE_MUTANTS[0].config,
    hardwired=False,
    rows=2,
    cols=2,
    stages=0,
    depth=2,
    events=False,
    output=None,
)


def parameters(seed: int, count: int) -> dict:
    """Of the testbench on that bank."""
    return {"tiles": {prefix: asdict(case) for prefix, case in TILES.items()}, "seed": seed, "count": count}


def test_tile(simulate):
    def make() -> str:
        return bank_text({prefix: Tile(case.config) for prefix, case in TILES.items()}, "tile_bank")

    simulate(make, "tile_bank", "tb.tile_tests", parameters(SEED, COUNT))


def test_tile_mutants(simulate):
    names = [mutant.name for mutant in TILE_MUTANTS]

    def make() -> str:
        tiles = {mutant.name: mutant.load("hw.tile").Tile(SMALL.config) for mutant in TILE_MUTANTS}
        return bank_text({"original": Tile(SMALL.config)} | tiles, "tile_mutants")

    tiles = dict.fromkeys(["original", *names], asdict(SMALL))
    about = {"tiles": tiles, "mutants": names, "seed": SEED, "count": 2}
    simulate(make, "tile_mutants", "tb.tile_mutant_tests", about)

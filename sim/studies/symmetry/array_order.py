"""The order of summation of the hardware, read off the Verilated array and tile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from golden.codes import decode, encode
from golden.config import ArrayConfig, MacConfig
from golden.tile import TileConfig
from hw.verilated import FIRST_WORDS, VerilatedArray, VerilatedTile
from sim.studies.symmetry.probe import leaves, part_sizes, pattern, reference_sizes, tree

__all__ = ["LARGE", "MAC", "array_of", "measure_array", "orders_of", "tile_of"]

#: Rounds to nearest, as the probe needs it; e6m7 holds 256 exactly, and 2**17 swallows as many.
MAC = MacConfig.parse("e5m2b12_e5m2b12_p_exact_a_e6m7_rne_c8")
LARGE = 2.0**17


def _array_config(*, rows: int, cols: int, stages: int) -> ArrayConfig:
    return ArrayConfig(silicon=MAC.silicon, rows=rows, cols=cols, stages=stages, depth=8, events=False)


def array_of(*, rows: int, cols: int, stages: int) -> VerilatedArray:
    """A bare array of :data:`MAC`; with fewer rows than a chunk, partial sums pass it several times."""
    return VerilatedArray(_array_config(rows=rows, cols=cols, stages=stages), trace=None)


def tile_of(*, rows: int, cols: int, stages: int) -> VerilatedTile:
    """The same behind registers and streams."""
    return VerilatedTile(
        TileConfig(array=_array_config(rows=rows, cols=cols, stages=stages), output=None), trace=None
    )


def _product(driver: VerilatedArray | VerilatedTile) -> Callable[[Tensor, Tensor], Tensor]:
    def product(a: Tensor, b: Tensor) -> Tensor:
        x, w = encode(a, MAC.x).numpy(), encode(b, MAC.w).numpy()
        codes = driver.matmul_codes(x, w, MAC, FIRST_WORDS).codes
        return decode(torch.from_numpy(codes), MAC.outer_accumulator.format)

    return product


def orders_of(driver: VerilatedArray | VerilatedTile, *, length: int, columns: int) -> dict:
    """How each output column adds ``length`` products up, and whether that is the contract's way.

    ``columns`` may be more than the array has: they are of several of its tiles.
    """
    sizes = part_sizes(_product(driver), length, columns, LARGE)
    trees = [tree(each) for each in sizes]
    ascending = reference_sizes(MAC, length, columns, LARGE, None)
    return {
        "length": length,
        "columns": columns,
        "probes": length * (length - 1) // 2,
        "distinct": len(torch.unique(sizes, dim=0)),
        "ascending": all(leaves(each) == list(range(length)) for each in trees),
        "contract": bool((sizes == ascending).all()),
        "pattern": pattern(trees[0]),
    }


def measure_array(quick: bool, report: Callable[[str], None]) -> dict:
    """Arrays with and without several passes for a chunk, and with pipeline stages; and a tile."""
    shapes = (
        [dict(rows=4, cols=4, stages=0)]
        if quick
        else [
            dict(rows=8, cols=4, stages=0),
            dict(rows=4, cols=4, stages=0),
            dict(rows=2, cols=3, stages=2),
        ]
    )
    found = []
    for shape in shapes:
        for kind, build in {"array": array_of, "tile": tile_of}.items():
            if quick and kind == "tile":
                continue
            driver = build(**shape)
            for length, columns in ((24, 3 * shape["cols"] - 1), (75, shape["cols"])):
                row = orders_of(driver, length=length, columns=columns)
                found.append({"kind": kind, **shape, **row})
                report(f"{kind} {shape}, K = {length}: {row['distinct']} order, contract {row['contract']}")
    return {"config": MAC.name, "chunk": MAC.chunk_size, "found": found}
